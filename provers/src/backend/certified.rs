//! A backend whose circuit a model certificate names: nothing counts that is under another verifying key, another certificate or
//! another SRS, whatever the backend says.

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
    /// The structured reference string.
    pub srs: String,
}

/// The backend, held to it.
pub struct Certified {
    /// Who does the work.
    pub backend: Arc<dyn Backend>,
    /// What it has to be under.
    pub names: Names,
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

    /// Whether the verifier looked with this circuit and SRS.
    fn looked_with(&self, verified: &Verified) -> Result<(), BackendError> {
        let named = [
            ("verifying key", "circuit", &verified.circuit, &self.circuit),
            ("SRS", "srs", &verified.srs, &self.srs),
        ];
        for (what, member, said, named) in named {
            match said {
                Some(said) if said == named => {}
                Some(said) => {
                    return Err(BackendError::Uncertified(format!(
                        "another {what}: the verifier looked with {said}, the certificate names {named}"
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
        self.names.allow(&task.statement)?;
        self.backend.submit(task).await
    }

    async fn verify(&self, task: &Task, artefact: &[u8]) -> Result<Verified, BackendError> {
        self.names.allow(&task.statement)?;
        let verified = self.backend.verify(task, artefact).await?;
        self.names.looked_with(&verified)?;
        Ok(verified)
    }
}

#[cfg(test)]
mod tests;
