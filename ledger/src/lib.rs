//! WAL, batches, the log and its checkpoints, and the look-up of a receipt by id.

pub mod anchor;
mod attest;
pub mod batch;
pub mod bypass;
pub mod check;
pub mod cosigner;
mod destination;
pub mod draws;
pub mod erase;
pub mod generation;
mod give_way;
pub mod head;
mod id_hash;
pub mod index;
pub mod leaf;
pub mod ledger;
pub mod log;
pub mod lookup;
pub mod monitor;
pub mod policy;
pub mod post;
pub mod private;
pub mod prove;
mod recover;
pub mod reindex;
pub mod remote;
pub mod revoke;
pub mod sequencer;
pub mod service;
pub mod shard;
pub mod show;
mod signing;
pub mod state;
pub mod store;
pub mod tally;
#[cfg(feature = "testing")]
pub mod testing;
pub mod tiles;
mod trust;
pub mod wal;
pub mod witness;

pub use attest::{KeyAttesting, KeyEvidence, KeyEvidenceCounts, MAX_ANNOUNCED};
pub use bypass::{BypassError, Bypassing};
pub use destination::LogAt;
pub use draws::{DrawCounts, Drawing, DrawnRecord, Escalation, LeaveDrawn, RoundFiles, RoundSource};
pub use erase::{Erase, EraseError, ErasureReport};
pub use head::SignedHead;
pub use ledger::{
    CameOf, Config, Counts, Done, Finishing, Keeper, Ledger, LedgerError, Open, PolicyNotChanged, Prepared,
    SettleError, Stores, Ticket, ToLog, Unfinished,
};
pub use lookup::archive::Archive;
pub use lookup::{ErasedRecord, Lookup};
pub use policy::PolicyText;
pub use private::Kek;
pub use remote::{Remote, Transport};
pub use service::{LogService, Refusal, ServiceTask};

pub use shard::Shard;
pub use store::{Access, Location};
pub use wal::{Durability, WalError};
pub use witness::Witnessing;
