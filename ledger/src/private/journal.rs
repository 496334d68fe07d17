//! What the private store remembers of erasures: `erasures/<id, 32 hex digits>`, written once the log has its entry.

use super::vault::{Vault, damage};
use crate::ledger::LedgerError;
use crate::lookup::ErasedRecord;
use colophon_receipt::erasure::ErasureId;
use serde::{Deserialize, Serialize};

const FORMAT: &str = "colophon-erasure-v1";
const MAX_FILE: u64 = 4096;

/// An erasure that is done and logged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Done {
    format: String,
    #[serde(with = "hex::serde")]
    id: ErasureId,
    /// µs.
    pub(crate) at: u64,
    pub(crate) log_index: u64,
    pub(crate) openings: u64,
    /// Of a tenant: what shows, with its name, that the log entry is about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) salt: Option<String>,
}

impl Done {
    pub(crate) fn new(id: ErasureId, at: u64, log_index: u64, openings: u64, salt: Option<String>) -> Done {
        Done { format: FORMAT.into(), id, at, log_index, openings, salt }
    }
}

fn name(id: &ErasureId) -> String {
    format!("erasures/{}", hex::encode(id))
}

impl Vault {
    /// Remembers an erasure.
    pub(crate) async fn set_done(&self, done: &Done) -> Result<(), LedgerError> {
        let name = name(&done.id);
        let mut json = serde_json::to_vec_pretty(done).map_err(|e| damage(&name, e))?;
        json.push(b'\n');
        self.store.put(&name, json.into()).await
    }

    /// An erasure, if it is logged.
    pub(crate) async fn done(&self, id: &ErasureId) -> Result<Option<Done>, LedgerError> {
        let name = name(id);
        let Some(bytes) = self.store.get(&name, MAX_FILE).await? else { return Ok(None) };
        let done: Done = serde_json::from_slice(&bytes).map_err(|e| damage(&name, e))?;
        match done.format == FORMAT && done.id == *id {
            true => Ok(Some(done)),
            false => Err(damage(&name, "it is not of this erasure")),
        }
    }

    /// What is known of a record that an erasure took the opening of.
    pub(crate) async fn erased(&self, id: &ErasureId) -> Result<ErasedRecord, LedgerError> {
        let logged = self.done(id).await?.map(|done| (done.at, done.log_index));
        Ok(ErasedRecord { erasure: *id, logged })
    }
}
