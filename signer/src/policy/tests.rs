use super::*;
use crate::keys::Ed25519Key;

fn key(number: u8, name: &str, algorithm: NoteAlgorithm) -> VerifierKey {
    let key = Ed25519Key::from_seed(&[number; 32]).unwrap();
    VerifierKey::new(name, algorithm, key.public_key()).unwrap()
}

fn witness(number: u8) -> VerifierKey {
    key(number, &format!("witness.example/w{number}"), NoteAlgorithm::CosignatureV1)
}

fn log(number: u8) -> VerifierKey {
    key(number, "log.example/1", NoteAlgorithm::Ed25519)
}

/// Six witnesses, then `rest`.
fn policy(rest: &str) -> Result<TlogPolicy, PolicyError> {
    let witnesses: String = (1..=6).map(|n| format!("witness W{n} {}\n", witness(n))).collect();
    TlogPolicy::parse(format!("{witnesses}{rest}").as_bytes())
}

#[test]
fn the_example_of_the_specification_counts_as_it_says() {
    let policy = policy(
        "\t# two organisations\n\n  group\tX 2 W1 W2 W3 \ngroup Y any W4 W5 W6\ngroup X-and-Y all X Y\nquorum X-and-Y\n",
    )
    .unwrap();
    assert!(policy.needs_witnesses());
    for (signed, met) in [
        (&[][..], false),
        (&[1, 2][..], false),
        (&[1, 2, 3][..], false),
        (&[1, 4][..], false),
        (&[4, 5, 6][..], false),
        (&[1, 3, 6][..], true),
        (&[1, 2, 3, 4, 5, 6][..], true),
    ] {
        assert_eq!(policy.is_met(|key| signed.iter().any(|n| witness(*n) == *key)), met, "{signed:?}");
    }
}

#[test]
fn a_single_witness_a_single_log_and_nobody() {
    let text = format!(
        "log {} https://log.example/\nwitness \u{e4} {} https://w.example/x\nquorum \u{e4}\n",
        log(9),
        witness(1)
    );
    let policy = TlogPolicy::parse(text.as_bytes()).unwrap();
    assert_eq!(policy.logs[0], PolicyLog { key: log(9), url: Some("https://log.example/".into()) });
    assert_eq!(policy.witnesses[0].url.as_deref(), Some("https://w.example/x"));
    assert!(policy.is_met(|key| *key == witness(1)) && !policy.is_met(|_| false));
    let none = TlogPolicy::parse(b"quorum none\n").unwrap();
    assert!(none.is_met(|_| false) && !none.needs_witnesses());
    // Names are bytes, not text.
    let bytes =
        [format!("witness W {}\n", witness(1)).as_bytes(), b"group \xff any W\nquorum \xff\n"].concat();
    assert!(TlogPolicy::parse(&bytes).unwrap().is_met(|_| true));
}

#[test]
fn what_the_specification_does_not_allow_is_an_error_with_its_line() {
    let vkey = |n| witness(n).to_string();
    for (rest, line, what) in [
        ("", 6, "no `quorum` line"),
        ("quorum W1", 7, "newline"),
        ("quorum W1\nquorum W2\n", 8, "second quorum"),
        ("quorum W9\n", 7, "no witness or group `W9`"),
        ("quorum G\ngroup G any W1\n", 7, "no witness or group `G`"),
        ("quorum W1 W2\n", 7, "a quorum is"),
        ("group G any\nquorum G\n", 7, "at least one member"),
        ("group G 0 W1\nquorum G\n", 7, "number from 1 to 1"),
        ("group G 2 W1\nquorum G\n", 7, "number from 1 to 1"),
        ("group G 01 W1\nquorum G\n", 7, "neither"),
        ("group G +1 W1\nquorum G\n", 7, "neither"),
        ("group G most W1\nquorum G\n", 7, "neither"),
        ("group G any W1 W1\nquorum G\n", 7, "already"),
        ("group G any W1\ngroup H any W1\nquorum G\n", 8, "already"),
        ("group G any G\nquorum G\n", 7, "no witness or group"),
        ("group G any none\nquorum G\n", 7, "`none` cannot"),
        ("group none any W1\nquorum none\n", 7, "`none` is taken"),
        ("group W1 any W2\nquorum W1\n", 7, "earlier line"),
        ("policy x\nquorum none\n", 7, "none of log"),
        ("quorum none\r\n", 7, "0x0d"),
        ("# \u{1}\nquorum none\n", 7, "0x01"),
        ("witness W7\nquorum none\n", 7, "a witness is"),
        ("witness W7 x+00000000+AA==\nquorum none\n", 7, "verifier key"),
        ("log\nquorum none\n", 7, "a log is"),
    ] {
        let error = policy(rest).unwrap_err();
        assert_eq!(error.line, line, "{rest:?}: {error}");
        assert!(error.what.contains(what), "{rest:?}: {error}");
    }
    for (rest, what) in [
        (format!("witness W7 {}\nquorum none\n", vkey(1)), "twice"),
        (format!("witness W7 {}\nquorum none\n", log(7)), "0x04"),
        (format!("log {}\nquorum none\n", vkey(7)), "0x01"),
        (format!("log {}\nlog {}\nquorum none\n", log(7), log(7)), "twice"),
        // The same key under another name is the same witness.
        (format!("witness W7 {}\nquorum none\n", key(1, "other", NoteAlgorithm::CosignatureV1)), "twice"),
    ] {
        let error = policy(&rest).unwrap_err();
        assert!(error.what.contains(what), "{rest:?}: {error}");
    }
    assert_eq!(TlogPolicy::parse(b"").unwrap_err().line, 1);
    assert!(TlogPolicy::parse(&vec![b'\n'; MAX_BYTES + 1]).is_err());
}

mod random {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_fall_over(file in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = TlogPolicy::parse(&file);
        }

        #[test]
        fn no_words_make_the_reader_fall_over(file in "((log|witness|group|quorum|all|any|none|W1|W2|1|2|#)[ \t\n]){0,60}") {
            let _ = policy(&file);
        }
    }
}
