use super::*;
use crate::testing::recorded;

/// From the ACI specification's own fixture: this nonce was asked, the report holds that digest.
const NONCE: &str = "cd20088d763605cf78564e5b35524ad52715419624b76e029582a3652758708d";

#[test]
fn a_recorded_aci_report_is_about_its_statement() {
    let Some(file) = recorded("aci/aci_report_fixture.json") else { return };
    let report: serde_json::Value = serde_json::from_slice(&file).unwrap();
    let digest = report["workload_keyset_digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
    let statement = Statement {
        keyset_digest: hex::decode(digest).unwrap().try_into().unwrap(),
        nonce: Some(NONCE.into()),
    };
    let mut data = hex::decode(report["attestation"]["report_data"].as_str().unwrap()).unwrap();
    data.resize(64, 0);
    assert_eq!(statement.check(&data), Ok(()));
    let other = Statement { nonce: Some(NONCE.replace('c', "d")), ..statement.clone() };
    assert_eq!(other.check(&data), Err(StatementError::Binding));
    data[63] = 1;
    assert_eq!(statement.check(&data), Err(StatementError::Binding), "what follows the digest is zeros");
}

#[test]
fn a_statement_has_one_spelling() {
    for nonce in [None, Some("abc_-9".to_owned())] {
        let statement = Statement { keyset_digest: [0xab; 32], nonce };
        let text = statement.to_json().unwrap();
        assert_eq!(Statement::from_json(&text), Ok(statement));
        for other in [
            text.replace("ab", "AB"),
            text.replace(',', ", "),
            text.replace("aci.report_data.v1", "aci.report_data.v2"),
            format!("{text}\n"),
            text.replace("sha256:", ""),
        ] {
            assert!(Statement::from_json(&other).is_err(), "{other}");
        }
    }
    for nonce in ["", "a b", "\"", &"a".repeat(129)] {
        let statement = Statement { keyset_digest: [0; 32], nonce: Some(nonce.into()) };
        assert_eq!(statement.to_json(), Err(StatementError::Nonce), "{nonce:?}");
    }
}

#[test]
fn the_epoch_nonce_is_of_its_token() {
    // SHA-256("colophon/epoch/v1" ‖ SHA-256("token")), by sha256sum.
    let wanted = "458c97dcb719c1ee97846388936949a519516ddab22efc783533d427d1df5aaf";
    let nonce = hex::encode(epoch_nonce(b"token"));
    assert_eq!(nonce, wanted);
    assert_ne!(epoch_nonce(b"token"), epoch_nonce(b"other"));
}
