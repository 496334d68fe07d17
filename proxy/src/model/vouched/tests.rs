use super::*;
use colophon_provers::local::now;
use colophon_signer::ec::EcKey;
use colophon_signer::model::{Manifest, Terms};
use serde_json::json;
use std::fs;

fn certificate(key: &EcKey, machines: Option<serde_json::Value>, until: u64) -> Vec<u8> {
    let terms = Terms::new("tiny", "1.0", "Model Lab", 1, until).unwrap().with_attestation(machines);
    let manifest = Manifest::of(vec![("weights".into(), [1; 32])], vec![], false).unwrap();
    ModelCertificate::issue(&manifest, terms, key).unwrap()
}

#[test]
fn an_upstream_says_either_values_or_a_certificate() {
    let values = json!({"platforms": {"tdx": {"referenceValues": {"mr_td": ["aa"]}}}});
    assert!(matches!(Demanded::read("a", &values), Ok(Demanded::Values(_))));
    let named = json!({"modelCertificate": "ab".repeat(32), "speaks": "aci"});
    assert_eq!(Demanded::read("a", &named), Ok(Demanded::Certificate([0xab; 32], Speaks::Aci)));
    for wrong in [
        json!({"modelCertificate": "ab"}),
        json!({"modelCertificate": "zz".repeat(32)}),
        json!({"modelCertificate": 1}),
        json!({"modelCertificate": "ab".repeat(32), "gpu": "off"}),
        json!({"modelCertificate": "ab".repeat(32), "platforms": values["platforms"]}),
    ] {
        assert!(Demanded::read("a", &wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_certificate_counts_by_its_authority_and_only_if_it_speaks_of_machines() {
    let folder = tempfile::tempdir().unwrap();
    let (path, authority) = (folder.path().join("cert.json"), folder.path().join("key.pub"));
    let key = EcKey::generate().unwrap();
    fs::write(&authority, key.public_key().unwrap().to_pem()).unwrap();
    let resolve = |file: &[u8], authority: Option<&Path>| {
        fs::write(&path, file).unwrap();
        let digest = ModelCertificate::parse(file).unwrap().digest();
        let named = Demanded::Certificate(digest, Speaks::Aci);
        named.resolve(std::slice::from_ref(&path), authority).map_err(|error| format!("{error:#}"))
    };
    let machines = json!({"platforms": {"tdx": {"referenceValues": {"mr_td": ["aa"]}}}});
    let later = now() + 3_600_000_000;
    let good = certificate(&key, Some(machines.clone()), later);
    let (policy, vouched) = resolve(&good, Some(&authority)).unwrap();
    assert_eq!(policy, Policy::from_spec("tiny", &machines).unwrap().with_speaks(Speaks::Aci));
    vouched.unwrap().counts().unwrap();

    let refused = |file: &[u8], authority: Option<&Path>, why: &str| {
        let error = resolve(file, authority).map(drop).unwrap_err();
        assert!(error.contains(why), "{error}");
    };
    refused(&good, None, "--model-authority");
    refused(&certificate(&key, None, later), Some(&authority), "says nothing of machines");
    refused(&certificate(&key, Some(json!({"platforms": {}})), later), Some(&authority), "no platform");
    refused(&certificate(&key, Some(machines.clone()), 2), Some(&authority), "expired");
    let other = EcKey::generate().unwrap();
    assert!(resolve(&certificate(&other, Some(machines), later), Some(&authority)).is_err(), "another's");
    // The policy names another one than the file is.
    fs::write(&path, &good).unwrap();
    let named = Demanded::Certificate([1; 32], Speaks::Colophon);
    assert!(named.resolve(&[path], Some(&authority)).is_err());
}
