use super::*;

fn command(script: &str) -> ProverCommand {
    ProverCommand(["/bin/sh", "-c", script].map(str::to_owned).to_vec())
}

fn statement() -> Statement {
    Statement::about(&[0xab; 32], &"cd".repeat(32), "none")
}

fn asked(script: &str) -> Result<Accepted, NotProven> {
    command(script).verify(&statement(), b"the artefact")
}

#[test]
fn the_program_finds_the_artefact_and_the_statement() {
    let script = r#"read -r call; case $call in *'"op":"verify"'*abab*) ;; *) exit 1 ;; esac
        [ "$(cat artefact)" = 'the artefact' ] || exit 1
        echo '{"progress":{"stage":"x","percent":1}}'
        echo '{"result":{"accepted":true,"setup":"local","srs":"05","claims":{"score":[1.5]}}}'"#;
    let accepted = asked(script).unwrap();
    let claims = Some(json!({"score": [1.5]}));
    let (setup, srs) = (Some("local".into()), Some("05".into()));
    assert_eq!(accepted, Accepted { setup, claims, srs, settings: None });
}

#[test]
fn a_refusal_is_one_and_whatever_else_is_no_judgement() {
    let refused = asked(r#"echo '{"error":{"refused":true,"message":"another record"}}'"#);
    assert_eq!(refused, Err(NotProven::Refused("another record".into())));
    assert!(matches!(asked(r#"echo '{"result":{"accepted":false}}'"#), Err(NotProven::Refused(_))));
    for script in [
        "exit 3",
        "true",
        "echo accepted",
        r#"echo '{"result":{"accepted":"yes"}}'"#,
        r#"echo '{"result":{"accepted":true}}'; exit 1"#,
        r#"echo '{"error":{"refused":true,"unknown":true,"message":"no such circuit"}}'"#,
        r#"echo '{"error":{"refused":false,"message":"no memory"}}'"#,
        "while echo aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa; do :; done",
    ] {
        assert!(matches!(asked(script), Err(NotProven::Unknown(_))), "{script}");
    }
    let missing = ProverCommand::new("/no/such/program").unwrap().verify(&statement(), b"a");
    assert!(matches!(missing, Err(NotProven::Unknown(_))));
    assert!(ProverCommand::new("  ").is_err());
}

#[test]
fn a_program_that_runs_on_after_its_last_word_is_ended() {
    let mut child = Command::new("sleep").arg("600").spawn().unwrap();
    let begun = Instant::now();
    let ended = within(&mut child, Duration::from_millis(50)).unwrap();
    assert!(!ended.success() && begun.elapsed() < Duration::from_secs(60));
}

#[test]
fn the_program_does_not_come_from_the_folder_of_the_receipt() {
    // The tests run in the crate's folder, which has a file of this name.
    let command = ProverCommand::new("Cargo.toml Cargo.toml ./Cargo.toml").unwrap();
    assert_eq!(command.0[0], "Cargo.toml");
    assert!(command.0[1..].iter().all(|word| Path::new(word).is_absolute()), "{command:?}");
    assert!(Path::new(&ProverCommand::new("./Cargo.toml").unwrap().0[0]).is_absolute());
}
