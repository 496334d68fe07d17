use super::*;

fn receipt() -> Receipt {
    Receipt {
        format: FORMAT.into(),
        notice: NOTICE.into(),
        record: RecordPart {
            leaf: Bytes(vec![1, 2, 3]),
            fields: vec![
                Field::Opened(OpenedField { number: 0, salt: Bytes(vec![0; 16]), value: Bytes(vec![5]) }),
                Field::Withheld(WithheldField { number: 3, hash: Bytes(vec![9; 32]) }),
            ],
        },
        batch: BatchPart { index: 1, path: vec![Bytes(vec![7; 32])] },
        statement: Bytes(vec![8]),
        log_proof: "proof\n".into(),
        announcements: vec![AnnouncementPart { statement: Bytes(vec![9]), log_proof: "p".into() }],
        http_signatures: vec![],
        anchors: vec![],
        beacon: None,
        upstream_evidence: None,
        key_evidence: None,
        round: None,
        evidence: vec![],
    }
}

#[test]
fn a_receipt_comes_back_exactly() {
    let json = receipt().to_json().unwrap();
    assert_eq!(Receipt::from_json(&json).unwrap(), receipt());
    assert!(json.ends_with(b"}\n"));
}

#[test]
fn a_round_and_evidence_are_there_only_where_there_are_some() {
    let json = String::from_utf8(receipt().to_json().unwrap()).unwrap();
    assert!(!json.contains("round") && !json.contains("evidence"));
    let part = EvidencePart {
        leaf: Bytes(vec![1]),
        batch: BatchPart { index: 0, path: vec![] },
        statement: Bytes(vec![2]),
        log_proof: "p".into(),
        announcement: None,
        proof: None,
    };
    let drawn = Receipt {
        round: Some(RoundPart { chain: "52db".into(), number: 7, signature: Bytes(vec![3]) }),
        evidence: vec![part],
        ..receipt()
    };
    let json = String::from_utf8(drawn.to_json().unwrap()).unwrap();
    assert!(json.contains(
        "\"round\": {\n    \"chain\": \"52db\",\n    \"number\": 7,\n    \"signature\": \"Aw==\"\n  }"
    ));
    assert_eq!(Receipt::from_json(json.as_bytes()).unwrap(), drawn);
    let wrong = json.replace("\"number\": 7", "\"number\": 7,\n    \"more\": 1");
    assert!(wrong != json && Receipt::from_json(wrong.as_bytes()).is_err());
}

#[test]
fn anchors_are_there_only_where_there_are_some() {
    let json = String::from_utf8(receipt().to_json().unwrap()).unwrap();
    assert!(!json.contains("anchors") && !json.contains("beacon"));
    let dated =
        Receipt { anchors: vec![Anchor::Rfc3161(Bytes(vec![1]))], beacon: Some(Bytes(vec![2])), ..receipt() };
    let json = String::from_utf8(dated.to_json().unwrap()).unwrap();
    assert!(json.ends_with(
        "\"anchors\": [\n    {\n      \"rfc3161\": \"AQ==\"\n    }\n  ],\n  \"beacon\": \"Ag==\"\n}\n"
    ));
    assert_eq!(Receipt::from_json(json.as_bytes()).unwrap(), dated);
    for wrong in
        [json.replace("rfc3161", "rfc9999"), json.replace("\"beacon\": \"Ag==\"", "\"beacon\": null")]
    {
        assert_ne!(wrong, json);
        assert!(Receipt::from_json(wrong.as_bytes()).is_err(), "{wrong}");
    }
}

#[test]
fn no_other_spelling_of_a_receipt_is_read() {
    let json = String::from_utf8(receipt().to_json().unwrap()).unwrap();
    for wrong in [
        json.replace("\n  ", "\n   "),
        json.trim_end().to_owned(),
        format!("{json}\n"),
        json.replacen("{\n", "{\n  \"extra\": 1,\n", 1),
        json.replace("\"index\": 1", "\"index\": 1.0"),
        json.replace("\"index\": 1", "\"index\": 1e0"),
        json.replace("colophon-receipt-v1", "colophon-receipt-v2"),
        json.replace("It never shows", "It always shows"),
        json.replace("AQID", "AQI D"),
        json.replace("\"number\": 3", "\"number\": 3,\n        \"salt\": \"\""),
        json.replace("\"proof\\n\"", "\"proof\\u000a\""),
        json.replace("\"index\": 1,", "\"index\": 1,\n    \"index\": 1,"),
        json.replace("\"announcements\"", "\"http_signatures\": [],\n  \"announcements\""),
        String::new(),
    ] {
        assert_ne!(wrong, json, "the edit did nothing");
        assert!(Receipt::from_json(wrong.as_bytes()).is_err(), "{wrong}");
    }
    assert!(matches!(Receipt::from_json(&vec![b' '; MAX_BYTES + 1]), Err(ReceiptError::TooLarge)));
}
