use super::*;

pub(crate) fn statement() -> Statement {
    let features = Some(BTreeMap::from([("b".into(), 2), ("a".into(), -1)]));
    Statement { features, ..Statement::about(&[0xab; 32], &"cd".repeat(32), "none") }
}

#[test]
fn the_digest_is_over_canonical_json() {
    let canonical = String::from_utf8(statement().canonical().unwrap()).unwrap();
    let expected = format!(
        r#"{{"circuit":"{}","features":{{"a":-1,"b":2}},"format":"colophon-statement-v1","quantisation":"none","record":"{}"}}"#,
        "cd".repeat(32),
        "ab".repeat(32)
    );
    assert_eq!(canonical, expected);
    assert_eq!(statement().digest().unwrap(), sha256(expected.as_bytes()));
}

#[test]
fn what_is_no_digest_or_unknown_is_refused_by_name() {
    statement().check().unwrap();
    let bad = Statement { circuit: "CD".repeat(32), ..statement() };
    assert!(matches!(bad.check(), Err(StatementError::Digest("circuit"))));
    let bad = Statement { tokenizer: Some("ab".into()), ..statement() };
    assert!(matches!(bad.check(), Err(StatementError::Digest("tokenizer"))));
    let bad = Statement { format: "colophon-statement-v2".into(), ..statement() };
    assert!(matches!(bad.check(), Err(StatementError::Format(_))));
    let mut json: serde_json::Value = serde_json::to_value(statement()).unwrap();
    json["score"] = 1.into();
    assert!(serde_json::from_value::<Statement>(json).is_err(), "an unknown member");
}

#[test]
fn limbs_are_the_hash_in_order() {
    let mut hash = [0; 32];
    hash[0] = 1;
    hash[1] = 2;
    hash[31] = 255;
    let limbs = limbs(&hash);
    assert_eq!((limbs[0], limbs[15]), (0x0102, 0x00ff));
}

#[test]
fn a_proof_commits_to_all_of_it() {
    let proof = Proof {
        format: Proof::FORMAT.into(),
        statement: statement(),
        prover: "ezkl 23.0.5".into(),
        hides: false,
        setup: Some("local".into()),
        artefact: Bytes(vec![1, 2, 3]),
    };
    proof.check().unwrap();
    let commitment = proof.commitment(&[7; 16]).unwrap();
    let changed = [
        Proof { prover: "ezkl 23".into(), ..proof.clone() },
        Proof { hides: true, ..proof.clone() },
        Proof { setup: None, ..proof.clone() },
        Proof { artefact: Bytes(vec![1, 2]), ..proof.clone() },
        Proof { statement: Statement { quantisation: "8 bit".into(), ..statement() }, ..proof.clone() },
    ];
    for other in changed {
        assert_ne!(other.commitment(&[7; 16]).unwrap(), commitment, "{other:?}");
    }
    assert_ne!(proof.commitment(&[8; 16]).unwrap(), commitment);
    for length in [0, MAX_ARTEFACT + 1] {
        let bad = Proof { artefact: Bytes(vec![0; length]), ..proof.clone() };
        assert!(matches!(bad.check(), Err(StatementError::Artefact { .. })), "{length}");
    }
}
