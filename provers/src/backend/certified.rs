//! A backend whose circuit a model certificate names: nothing counts that is under another verifying key, another certificate, other
//! settings or another SRS, or while the certificate itself does not count, whatever the backend says.

use super::{Backend, BackendError, Capabilities, Estimate, Running, Task, Verified};
use async_trait::async_trait;
use colophon_receipt::proof::Statement;
use std::path::PathBuf;
use std::sync::Arc;

/// What the certificate names. Digests are SHA-256 in lower-case hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// The certificate.
    pub certificate: String,
    /// The circuit's verifying key.
    pub circuit: String,
    /// The model's file.
    pub model: String,
    /// The circuit's settings.
    pub settings: String,
    /// The structured reference string.
    pub srs: String,
}

/// Says why the certificate does not count now, if so: it has expired, or was taken back. It may read a file; an error of it says why
/// nobody can tell.
pub type Judge = Arc<dyn Fn() -> Result<Option<String>, String> + Send + Sync>;

/// The backend, held to it.
pub struct Certified {
    /// Who does the work.
    pub backend: Arc<dyn Backend>,
    /// What it has to be under.
    pub names: Names,
    /// Whether the certificate counts, asked before each proof is begun and before each is taken for one.
    pub judge: Judge,
}

impl Names {
    /// Whether a statement is about this circuit, model and certificate.
    fn allow(&self, statement: &Statement) -> Result<(), BackendError> {
        let refuse = |what: &str, said: &str, named: &str| {
            let why = format!("{what}: {said} in the statement, {named} in the certificate");
            Err(BackendError::Uncertified(why))
        };
        if statement.circuit != self.circuit {
            return refuse("another verifying key", &statement.circuit, &self.circuit);
        }
        match statement.weights.as_deref() {
            Some(model) if model == self.model => {}
            other => return refuse("another model", other.unwrap_or("none"), &self.model),
        }
        match statement.model_certificate.as_deref() {
            Some(certificate) if certificate == self.certificate => Ok(()),
            other => Err(BackendError::Uncertified(format!(
                "another model certificate: {} in the statement, this prover's is {}",
                other.unwrap_or("none"),
                self.certificate
            ))),
        }
    }

    /// Whether the verifier looked with this circuit, these settings and this SRS.
    fn looked_with(&self, verified: &Verified) -> Result<(), BackendError> {
        let named = [
            ("verifying key", "circuit", &verified.circuit, &self.circuit),
            ("settings", "settings", &verified.settings, &self.settings),
            ("SRS", "srs", &verified.srs, &self.srs),
        ];
        for (what, member, said, named) in named {
            match said {
                Some(said) if said == named => {}
                Some(said) => {
                    let other = if what == "settings" { "other" } else { "another" };
                    return Err(BackendError::Uncertified(format!(
                        "{other} {what}: the verifier looked with {said}, the certificate names {named}"
                    )));
                }
                None => {
                    return Err(BackendError::Malformed(format!(
                        "`verify` does not say `{member}`, which has to be the one of the model certificate"
                    )));
                }
            }
        }
        Ok(())
    }
}

impl Certified {
    /// Whether this statement may be proven and verified now.
    async fn allows(&self, task: &Task) -> Result<(), BackendError> {
        self.names.allow(&task.statement)?;
        let judge = self.judge.clone();
        let judged = tokio::task::spawn_blocking(move || judge()).await;
        match judged.unwrap_or_else(|error| Err(error.to_string())) {
            Ok(None) => Ok(()),
            Ok(Some(why)) => Err(BackendError::Uncertified(why)),
            Err(why) => Err(BackendError::Unusable(format!("whether its certificate counts: {why}"))),
        }
    }
}

#[async_trait]
impl Backend for Certified {
    fn name(&self) -> &str {
        self.backend.name()
    }

    async fn capabilities(&self, folder: PathBuf) -> Result<Capabilities, BackendError> {
        self.backend.capabilities(folder).await
    }

    async fn estimate(&self, task: &Task) -> Result<Estimate, BackendError> {
        self.names.allow(&task.statement)?;
        self.backend.estimate(task).await
    }

    async fn submit(&self, task: &Task) -> Result<Box<dyn Running>, BackendError> {
        self.allows(task).await?;
        self.backend.submit(task).await
    }

    async fn verify(&self, task: &Task, artefact: &[u8]) -> Result<Verified, BackendError> {
        self.allows(task).await?;
        let verified = self.backend.verify(task, artefact).await?;
        self.names.looked_with(&verified)?;
        Ok(verified)
    }
}

#[cfg(test)]
mod tests;
