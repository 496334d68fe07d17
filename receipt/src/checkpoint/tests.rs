use super::*;

#[test]
fn checkpoint_texts_have_one_spelling() {
    let checkpoint = Checkpoint { origin: "example.com/log".into(), size: 20, root: [1; 32] };
    let text = checkpoint.to_text();
    assert_eq!(text, "example.com/log\n20\nAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=\n");
    assert_eq!(Checkpoint::parse(&text), Ok(checkpoint));
    for wrong in [
        text.trim_end().to_owned(),
        format!("{text}extension\n"),
        text.replace("20", "020"),
        text.replace("20", "+20"),
        text.replace("20", "-1"),
        text.replace("20", ""),
        text.replace("AQE=", "AQF="),
        text.replace("AQE=", "AQE"),
        text.replace("example.com/log", ""),
        text.replace('\n', "\r\n"),
        String::new(),
    ] {
        assert!(Checkpoint::parse(&wrong).is_err(), "{wrong:?}");
    }
}

#[test]
fn proofs_have_one_spelling() {
    let proof =
        TlogProof { index: 7, path: vec![[1; 32], [2; 32]], checkpoint: "o\n9\nr\n\n— o sig\n".into() };
    let text = proof.to_text();
    assert!(text.starts_with("c2sp.org/tlog-proof@v1\nindex 7\nAQEB"));
    assert_eq!(TlogProof::parse(&text), Ok(proof.clone()));
    let alone = TlogProof { path: vec![], ..proof };
    assert_eq!(TlogProof::parse(&alone.to_text()), Ok(alone));
    for wrong in [
        text.replace("@v1", "@v2"),
        text.replace("index 7", "index 07"),
        text.replace("index 7", "extra AAAA\nindex 7"),
        text.replace("index 7", "index -7"),
        text.replace("AgI=\n", "AgJ=\n"),
        text.replace("\n\n", "\n"),
        format!(
            "c2sp.org/tlog-proof@v1\nindex 0\n{}\n\nx",
            vec!["AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="; 66].join("\n")
        ),
    ] {
        assert!(TlogProof::parse(&wrong).is_err(), "{wrong:?}");
    }
}
