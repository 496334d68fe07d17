//! What workers elsewhere say of their jobs, whichever way it comes: by the admin side ([`super::api`]) or a NATS server
//! ([`super::nats`]).

use super::Proving;
use colophon_provers::local::{StoreError, now};
use colophon_provers::{Artefact, Failure, JobId, Progress};
use colophon_receipt::merkle::sha256;
use colophon_receipt::receipt::Bytes as Base64;
use serde::{Deserialize, Serialize};

/// It says how far it is.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Renew {
    /// Its name.
    pub(super) worker: String,
    /// How far.
    pub(super) progress: Progress,
}

/// It hands in what it proved, and what the backend's verifier has accepted.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Proven {
    /// Its name.
    pub(super) worker: String,
    /// What.
    pub(super) artefact: Artefact,
    /// Its bytes.
    pub(super) bytes: Base64,
}

/// It came to nothing.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Failed {
    /// Its name.
    pub(super) worker: String,
    /// Why.
    pub(super) failure: Failure,
    /// Whether another try may help.
    pub(super) again: bool,
    /// CPU seconds that it took.
    pub(super) cpu_seconds: f64,
}

/// One of these.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Word {
    Renew(Renew),
    Proven(Proven),
    Failed(Failed),
}

/// Why a word counts for nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum WordError {
    #[error("the bytes are not the artefact that is named")]
    OtherBytes,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Word {
    /// Whose word it says that it is.
    pub(super) fn worker(&self) -> &str {
        match self {
            Word::Renew(Renew { worker, .. })
            | Word::Proven(Proven { worker, .. })
            | Word::Failed(Failed { worker, .. }) => worker,
        }
    }
}

impl Proven {
    /// Whether the bytes are the artefact that is named.
    fn is_what_it_names(&self) -> bool {
        let (bytes, named) = (&self.bytes.0, &self.artefact);
        let digest = hex::encode(sha256(bytes));
        !bytes.is_empty() && bytes.len() as u64 == named.bytes && digest == named.digest
    }
}

impl Proving {
    /// Takes in what is said of a job that is leased under the name `holder`.
    ///
    /// # Errors
    /// It counts for nothing: the job is not leased under that name (any more), or the artefact is another.
    pub(super) async fn take_word(&self, id: JobId, holder: String, word: Word) -> Result<(), WordError> {
        let now = now();
        match word {
            Word::Renew(Renew { progress, .. }) => {
                let renew =
                    self.store.beside(move |store| Ok(store.queue.renew(id, &holder, progress, now)?));
                return Ok(renew.await.map(drop)?);
            }
            Word::Failed(Failed { failure, again, cpu_seconds, .. }) => {
                let failed = self.store.beside(move |store| {
                    Ok(store.queue.failed(id, &holder, failure, again, cpu_seconds, now)?)
                });
                failed.await?;
            }
            Word::Proven(proven) if !proven.is_what_it_names() => return Err(WordError::OtherBytes),
            Word::Proven(Proven { artefact, bytes, .. }) => {
                let proven =
                    self.store.beside(move |store| store.proven(id, &holder, artefact, &bytes.0, now));
                self.counted.cpu_seconds.inc_by(proven.await?);
            }
        }
        self.ended.notify_one();
        Ok(())
    }
}
