use super::*;
use crate::model::{Authority, AuthorityError, Difference, ModelRevocation, Standing};
use colophon_receipt::revocation::Reason;

const FROM: u64 = 1_000;
const UNTIL: u64 = 2_000;

fn manifest(files: &[(&str, u8)]) -> Manifest {
    let files = files.iter().map(|(name, byte)| ((*name).to_owned(), [*byte; 32])).collect();
    Manifest::of(files, vec![".git".into()], false).unwrap()
}

fn terms() -> Terms {
    Terms::new("tiny", "1.0", "Model Lab", FROM, UNTIL).unwrap()
}

fn issued() -> (EcKey, Vec<u8>) {
    let key = EcKey::generate().unwrap();
    let file = ModelCertificate::issue(&manifest(&[("a", 1), ("b/c", 2)]), terms(), &key).unwrap();
    (key, file)
}

/// The file with its statement changed and signed again.
fn resigned(file: &[u8], key: &EcKey, change: impl FnOnce(&mut serde_json::Value)) -> Vec<u8> {
    let mut bundle: Bundle = serde_json::from_slice(file).unwrap();
    let mut statement = serde_json::from_slice(&bundle.dsse_envelope.payload).unwrap();
    change(&mut statement);
    bundle.dsse_envelope.payload = serde_json::to_vec(&statement).unwrap();
    bundle.dsse_envelope.signatures[0].sig = key.sign(&bundle.dsse_envelope.message());
    serde_json::to_vec(&bundle).unwrap()
}

#[test]
fn what_is_issued_is_read_again_and_verifies() {
    let (key, file) = issued();
    let public = key.public_key().unwrap();
    let read = ModelCertificate::parse(&file).unwrap();
    read.verify(&public).unwrap();
    assert!(read.hints_at(&public));
    assert_eq!((read.name(), read.terms.as_ref()), ("tiny", Some(&terms())));
    assert_eq!(read.manifest, manifest(&[("b/c", 2), ("a", 1)]), "the order is that of the paths");
    assert_eq!(EcPublicKey::from_pem(public.to_pem()).unwrap(), public);
    let other = EcKey::generate().unwrap().public_key().unwrap();
    assert_eq!(read.verify(&other), Err(EcError::Signature));
    assert!(!read.hints_at(&other));
}

#[test]
fn what_it_says_of_machines_is_signed_with_the_rest() {
    let key = EcKey::generate().unwrap();
    let spec = serde_json::json!({"platforms": {"tdx": {"referenceValues": {"mr_td": ["aa"]}}}});
    let said = terms().with_attestation(Some(spec.clone()));
    let manifest = manifest(&[("a", 1)]);
    let file = ModelCertificate::issue(&manifest, said, &key).unwrap();
    let read = ModelCertificate::parse(&file).unwrap();
    read.verify(&key.public_key().unwrap()).unwrap();
    assert_eq!(read.terms.unwrap().attestation, Some(spec));
    let other = resigned(&file, &EcKey::generate().unwrap(), |statement| {
        statement["predicate"]["colophon"]["attestation"]["platforms"]["tdx"]["referenceValues"]["mr_td"]
            [0] = "bb".into();
    });
    let other = ModelCertificate::parse(&other).unwrap();
    assert_eq!(other.verify(&key.public_key().unwrap()), Err(EcError::Signature));
    let list = terms().with_attestation(Some(serde_json::json!([])));
    assert!(matches!(ModelCertificate::issue(&manifest, list, &key), Err(CertificateError::Terms(_))));
}

#[test]
fn a_key_is_kept_in_a_file_of_its_owner_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key.pem");
    let key = EcKey::generate().unwrap();
    key.save(&path).unwrap();
    assert_eq!(EcKey::load(&path).unwrap().public_key(), key.public_key());
    assert!(key.save(&path).is_err(), "nothing is overwritten");
    let ed25519 = folder.path().join("ed25519.pem");
    crate::Ed25519Key::generate().unwrap().save(&ed25519).unwrap();
    let said = EcKey::load(&ed25519).unwrap_err().to_string();
    assert!(said.contains("ECDSA key on P-256"), "{said}");
}

#[test]
fn the_digest_is_that_of_what_was_signed_not_of_its_spelling() {
    let (_, file) = issued();
    let read = ModelCertificate::parse(&file).unwrap();
    let value: serde_json::Value = serde_json::from_slice(&file).unwrap();
    let respelled = serde_json::to_vec_pretty(&value).unwrap();
    assert_ne!(respelled, file);
    assert_eq!(ModelCertificate::parse(&respelled).unwrap().digest(), read.digest());
}

/// Every byte of the signed statement is under the signature.
#[test]
fn a_changed_statement_does_not_verify() {
    let (key, file) = issued();
    let public = key.public_key().unwrap();
    let bundle: Bundle = serde_json::from_slice(&file).unwrap();
    for at in 0..bundle.dsse_envelope.payload.len() {
        let mut envelope = bundle.dsse_envelope.clone();
        envelope.payload[at] ^= 1;
        assert!(public.verify(&envelope.message(), &envelope.signatures[0].sig).is_err(), "byte {at}");
    }
}

#[test]
fn files_that_are_no_certificate_are_refused() {
    let (key, file) = issued();
    assert!(matches!(ModelCertificate::parse(b""), Err(CertificateError::Empty)));
    assert!(matches!(ModelCertificate::parse(b"{}"), Err(CertificateError::Json(_))));
    assert!(matches!(ModelCertificate::parse(&vec![b' '; MAX_BYTES + 1]), Err(CertificateError::TooLarge)));
    let says = |change: &dyn Fn(&mut serde_json::Value)| {
        ModelCertificate::parse(&resigned(&file, &key, |statement| change(statement)))
            .unwrap_err()
            .to_string()
    };
    let resources = |statement: &mut serde_json::Value, with: serde_json::Value| {
        statement["predicate"]["resources"] = with;
    };
    let one =
        |name: &str| serde_json::json!([{"name": name, "algorithm": "sha256", "digest": "00".repeat(32)}]);
    for name in ["../a", "/a", "a/../b", "a//b", "", ".", "a\\b", "a\0b", &"x".repeat(5000)] {
        let said = says(&|statement| resources(statement, one(name)));
        assert!(said.contains("no name of a file"), "{name:?}: {said}");
    }
    assert!(says(&|statement| resources(statement, serde_json::json!([]))).contains("lists no file"));
    assert!(says(&|statement| resources(statement, one("a"))).contains("do not lead to the digest"));
    let twice = serde_json::json!([one("a")[0], one("a")[0]]);
    assert!(says(&|statement| resources(statement, twice.clone())).contains("twice"));
    let short = serde_json::json!([{"name": "a", "algorithm": "sha256", "digest": "00"}]);
    assert!(says(&|statement| resources(statement, short.clone())).contains("no SHA-256"));
    let blake = serde_json::json!([{"name": "a", "algorithm": "blake3", "digest": "00".repeat(32)}]);
    assert!(says(&|statement| resources(statement, blake.clone())).contains("no SHA-256"));
    assert!(
        says(&|statement| statement["predicate"]["serialization"]["method"] = "shards".into())
            .contains("by shards")
    );
    assert!(says(&|statement| statement["predicateType"] = "https://other".into()).contains("Model Signing"));
    let many = vec![one("a")[0].clone(); crate::model::manifest::MAX_FILES + 1];
    assert!(says(&|statement| resources(statement, many.clone().into())).contains("more than 100000"));
    let term = |key: &str, value: serde_json::Value| {
        says(&|statement| statement["predicate"]["colophon"][key] = value.clone())
    };
    assert!(term("not_after", FROM.into()).contains("ends before it begins"));
    assert!(term("name", "".into()).contains("1 to 256 bytes"));
    assert!(term("format", "colophon-model-certificate-v2".into()).contains("another format"));
    assert!(term("more", 1.into()).contains("unknown field"));
    // What others add to the predicate is passed over, as its version 1.0 asks.
    let more = resigned(&file, &key, |statement| statement["predicate"]["card"] = "x".into());
    ModelCertificate::parse(&more).unwrap().verify(&key.public_key().unwrap()).unwrap();
}

#[test]
fn an_authority_says_how_its_certificates_stand() {
    let (key, file) = issued();
    let certificate = ModelCertificate::parse(&file).unwrap();
    let mut authority = Authority::new("Model Lab", &key.public_key().unwrap()).unwrap();
    authority.signed(&certificate).unwrap();
    assert_eq!(authority.standing(&certificate, FROM), Standing::Good);
    assert_eq!(authority.standing(&certificate, UNTIL), Standing::Good);
    assert_eq!(authority.standing(&certificate, FROM - 1), Standing::NotYet(FROM));
    assert_eq!(authority.standing(&certificate, UNTIL + 1), Standing::Expired(UNTIL));
    let revocation = ModelRevocation {
        certificate: certificate.digest(),
        reason: Reason::Superseded,
        at: 1_600,
        from: 1_500,
    };
    authority.revoke(revocation.clone(), &key).unwrap();
    let read = Authority::from_json(&authority.to_json().unwrap()).unwrap();
    assert_eq!(read, authority);
    assert_eq!(read.standing(&certificate, 1_499), Standing::Good);
    assert_eq!(read.standing(&certificate, 1_500), Standing::Revoked(revocation.clone()));
    // Past its end it is revoked all the same.
    assert_eq!(read.standing(&certificate, UNTIL + 1), Standing::Revoked(revocation.clone()));

    let stranger = EcKey::generate().unwrap();
    let other = Authority::new("Model Lab", &stranger.public_key().unwrap()).unwrap();
    assert!(matches!(other.signed(&certificate), Err(AuthorityError::NotSigned(_))));
    let renamed = Authority::new("Lab Model", &key.public_key().unwrap()).unwrap();
    assert!(matches!(renamed.signed(&certificate), Err(AuthorityError::Issuer(..))));
    assert!(matches!(authority.revoke(revocation, &stranger), Err(AuthorityError::Revocation(1, _))));
}

#[test]
fn an_authority_s_file_is_read_strictly() {
    let (key, _) = issued();
    let mut authority = Authority::new("Model Lab", &key.public_key().unwrap()).unwrap();
    let revocation = ModelRevocation { certificate: [7; 32], reason: Reason::KeyCompromise, at: 5, from: 5 };
    authority.revoke(revocation, &key).unwrap();
    let file = authority.to_json().unwrap();
    let says = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut value: serde_json::Value = serde_json::from_slice(&file).unwrap();
        change(&mut value);
        Authority::from_json(&serde_json::to_vec(&value).unwrap()).unwrap_err().to_string()
    };
    assert!(says(&|file| file["keys"] = serde_json::json!([])).contains("names no key"));
    assert!(says(&|file| file["keys"] = serde_json::json!(["x"])).contains("keys[0]"));
    assert!(says(&|file| file["name"] = "".into()).contains("1 to 256"));
    assert!(says(&|file| file["format"] = "x".into()).contains("format"));
    assert!(says(&|file| file["more"] = 1.into()).contains("unknown field"));
    let other = EcKey::generate().unwrap().public_key().unwrap();
    let keys = serde_json::json!([other.to_pem()]);
    assert!(says(&|file| file["keys"] = keys.clone()).contains("no key of this authority signed it"));
    assert!(says(&|file| file["revocations"][0]["payloadType"] = "x".into()).contains("no revocation"));
    assert!(Authority::from_json(&vec![b' '; super::super::authority::MAX_BYTES + 1]).is_err());
}

#[test]
fn differences_are_named() {
    let mine = manifest(&[("a", 1), ("b", 2), ("c", 3)]);
    let there = manifest(&[("a", 1), ("b", 9), ("d", 4)]);
    assert_eq!(
        mine.differences(&there),
        [Difference::Changed("b".into()), Difference::Missing("c".into()), Difference::Added("d".into())]
    );
    assert_eq!(mine.differences(&mine), []);
}

#[test]
fn files_are_ordered_by_the_parts_of_their_paths() {
    let files = ["a.txt", "a/b", "a-", "B", "é"];
    let files = files.iter().map(|name| ((*name).to_owned(), [0; 32])).collect();
    let ordered = Manifest::of(files, Vec::new(), false).unwrap();
    let names: Vec<&str> = ordered.files().iter().map(|(name, _)| name.as_str()).collect();
    // As strings, `a-` and `a.txt` go before `a/b`.
    assert_eq!(names, ["B", "a/b", "a-", "a.txt", "é"]);
}

fn circuit(byte: &str) -> Circuit {
    Circuit {
        name: "classifier".into(),
        circuit: byte.repeat(32),
        model: "01".repeat(32),
        settings: "02".repeat(32),
        srs: "03".repeat(32),
        setup: "local".into(),
        quantisation: "fixed point, scale 7".into(),
    }
}

#[test]
fn circuits_are_part_of_what_is_signed() {
    let key = EcKey::generate().unwrap();
    let terms = terms().with_circuits(vec![circuit("aa"), circuit("bb")]).unwrap();
    let file = ModelCertificate::issue(&manifest(&[("a", 1)]), terms, &key).unwrap();
    let read = ModelCertificate::parse(&file).unwrap();
    assert_eq!(read.circuit(&"bb".repeat(32)), Some(&circuit("bb")));
    assert_eq!(read.circuit(&"cc".repeat(32)), None);
    let without = ModelCertificate::parse(&issued().1).unwrap();
    assert_eq!(without.circuit(&"aa".repeat(32)), None);
    // Another SRS without another signature is another statement.
    let changed = |member: &str, value: serde_json::Value| {
        resigned(&file, &key, |statement| {
            statement["predicate"]["colophon"]["circuits"][0][member] = value;
        })
    };
    let other = ModelCertificate::parse(&changed("srs", "04".repeat(32).into())).unwrap();
    assert_ne!(other.digest(), read.digest());
    for (member, value, why) in [
        ("srs", "04".into(), "SHA-256 digests"),
        ("model", "AA".repeat(32), "SHA-256 digests"),
        ("name", String::new(), "texts of 1 to 256 bytes"),
        ("quantisation", "x".repeat(257), "texts of 1 to 256 bytes"),
        ("circuit", "bb".repeat(32), "one circuit is there twice"),
        ("more", "x".into(), "unknown field"),
    ] {
        let said = ModelCertificate::parse(&changed(member, value.into())).unwrap_err().to_string();
        assert!(said.contains(why), "{member}: {said}");
    }
}

#[test]
fn what_differs_between_circuits_has_a_name() {
    let own = circuit("aa");
    assert_eq!(own.differs_from(&Circuit { name: "other".into(), ..own.clone() }), None);
    for (other, what) in [
        (circuit("bb"), "another verifying key"),
        (Circuit { srs: "09".repeat(32), ..own.clone() }, "another SRS"),
        (Circuit { model: "09".repeat(32), ..own.clone() }, "another model"),
        (Circuit { settings: "09".repeat(32), ..own.clone() }, "other settings"),
        (Circuit { setup: "ceremony".into(), ..own.clone() }, "another setup"),
        (Circuit { quantisation: "none".into(), ..own.clone() }, "another quantisation"),
    ] {
        assert_eq!(own.differs_from(&other), Some(what));
    }
}
