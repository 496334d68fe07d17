use super::*;
use crate::job::Limits;

fn digest(byte: &str) -> String {
    byte.repeat(32)
}

fn names() -> Names {
    Names {
        certificate: digest("ce"),
        circuit: digest("cd"),
        model: digest("0d"),
        settings: digest("5e"),
        srs: digest("05"),
    }
}

fn statement() -> Statement {
    Statement {
        model_certificate: Some(digest("ce")),
        weights: Some(digest("0d")),
        ..Statement::about(&[0xab; 32], &digest("cd"), "none")
    }
}

/// Accepts everything, and says what it looked with.
struct Accepts(Verified);

#[async_trait]
impl Backend for Accepts {
    fn name(&self) -> &str {
        "accepts"
    }

    async fn capabilities(&self, _folder: PathBuf) -> Result<Capabilities, BackendError> {
        Err(BackendError::Unusable("not asked here".into()))
    }

    async fn estimate(&self, _task: &Task) -> Result<Estimate, BackendError> {
        Ok(Estimate { cpu_seconds: 1.0, memory: 1 })
    }

    async fn submit(&self, _task: &Task) -> Result<Box<dyn Running>, BackendError> {
        Err(BackendError::Failed("begun".into()))
    }

    async fn verify(&self, _task: &Task, _artefact: &[u8]) -> Result<Verified, BackendError> {
        Ok(self.0.clone())
    }
}

fn verified(circuit: Option<&str>, srs: Option<&str>) -> Verified {
    let settings = Some(digest("5e"));
    Verified { cpu_seconds: 1.0, setup: None, circuit: circuit.map(digest), settings, srs: srs.map(digest) }
}

fn certified(verified: Verified) -> Certified {
    judged(verified, Ok(None))
}

fn judged(verified: Verified, judgement: Result<Option<String>, String>) -> Certified {
    let judge = Arc::new(move || judgement.clone());
    Certified { backend: Arc::new(Accepts(verified)), names: names(), judge }
}

fn good() -> Verified {
    verified(Some("cd"), Some("05"))
}

fn task(statement: Statement) -> Task {
    Task { statement, limits: Limits::default(), folder: PathBuf::from("/nowhere") }
}

#[tokio::test]
async fn a_statement_of_another_key_model_or_certificate_is_not_begun_and_not_verified() {
    let prover = certified(verified(Some("cd"), Some("05")));
    let own = task(statement());
    assert_eq!(prover.submit(&own).await.err(), Some(BackendError::Failed("begun".into())));
    assert_eq!(prover.verify(&own, b"a").await, Ok(verified(Some("cd"), Some("05"))));
    for (other, why) in [
        (Statement { circuit: digest("ee"), ..statement() }, "another verifying key"),
        (Statement { weights: Some(digest("ee")), ..statement() }, "another model: "),
        (Statement { weights: None, ..statement() }, "another model: none"),
        (Statement { model_certificate: Some(digest("ee")), ..statement() }, "another model certificate"),
        (Statement { model_certificate: None, ..statement() }, "another model certificate: none"),
    ] {
        let task = task(other);
        for error in [
            prover.submit(&task).await.err(),
            prover.verify(&task, b"a").await.err(),
            prover.estimate(&task).await.err(),
        ] {
            match error {
                Some(BackendError::Uncertified(said)) => assert!(said.contains(why), "{why}: {said}"),
                other => panic!("{why}: {other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn a_verifier_that_looked_with_another_srs_or_key_or_does_not_say_counts_for_nothing() {
    for (looked, why) in [
        (verified(Some("cd"), Some("06")), "another SRS"),
        (verified(Some("ee"), Some("05")), "another verifying key"),
        (verified(Some("cd"), None), "does not say `srs`"),
        (verified(None, Some("05")), "does not say `circuit`"),
        (Verified { settings: Some(digest("5f")), ..good() }, "other settings"),
        (Verified { settings: None, ..good() }, "does not say `settings`"),
    ] {
        let error = certified(looked).verify(&task(statement()), b"a").await.unwrap_err();
        assert!(error.to_string().contains(why) && !error.may_help_again(), "{why}: {error}");
    }
}

#[tokio::test]
async fn under_a_certificate_that_does_not_count_any_more_nothing_is_begun_and_nothing_is_a_proof() {
    let own = task(statement());
    for (judgement, code, again) in [
        (Ok(Some("the certificate expired at noon".to_owned())), "uncertified", false),
        (Err("its authority's file is missing".to_owned()), "unusable", true),
    ] {
        let prover = judged(good(), judgement);
        for error in [prover.submit(&own).await.err(), prover.verify(&own, b"a").await.err()] {
            let error = error.expect("refused");
            assert_eq!((error.code(), error.may_help_again()), (code, again), "{error}");
        }
    }
}
