//! The texts of policies, kept in the store under their digests, so that what a record names can be read.

use crate::ledger::LedgerError;
use crate::ledger::objects::Objects;
use crate::store::{Store, StoreError};
use colophon_receipt::Hash;
use colophon_receipt::merkle::sha256;
use colophon_receipt::policy_change::policy_file;
use std::sync::Arc;

/// A policy's canonical text is no longer than this.
pub const MAX_POLICY: u64 = 8 << 20;

/// A policy's canonical text, by which its digest is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyText {
    text: Arc<str>,
    digest: Hash,
}

impl PolicyText {
    /// The policy with this canonical text.
    pub fn new(text: &str) -> PolicyText {
        PolicyText { text: Arc::from(text), digest: sha256(text.as_bytes()) }
    }

    /// What records and statements call the policy digest.
    pub fn digest(&self) -> Hash {
        self.digest
    }
}

/// Writes a policy's text where auditors find it; what is there and differs is damaged, and replaced.
pub(crate) async fn keep(objects: &Objects, policy: &PolicyText) -> Result<(), LedgerError> {
    let name = policy_file(&policy.digest);
    match objects.get(&name, MAX_POLICY).await {
        Ok(Some(bytes)) if bytes == policy.text.as_bytes() => return Ok(()),
        Ok(None) => {}
        Ok(Some(_)) | Err(LedgerError::Damaged { .. }) => {
            tracing::error!(name, "this policy's text was altered; it is written again");
        }
        Err(error) => return Err(error),
    }
    objects.put(&name, policy.text.as_bytes().to_vec().into()).await
}

/// The text of the policy with this digest, `None` where the store has none.
///
/// # Errors
/// When it cannot be read, or is another text than the digest's.
pub(crate) async fn read(store: &Store, digest: &Hash) -> Result<Option<String>, TextError> {
    let Some(bytes) = store.get(&policy_file(digest), MAX_POLICY).await? else { return Ok(None) };
    let text = String::from_utf8(bytes.into()).map_err(|_| TextError::Altered)?;
    if sha256(text.as_bytes()) != *digest {
        return Err(TextError::Altered);
    }
    Ok(Some(text))
}

/// Why a policy's text is no good.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TextError {
    #[error("it is not the text that its name is the SHA-256 of")]
    Altered,
    #[error(transparent)]
    Store(#[from] StoreError),
}
