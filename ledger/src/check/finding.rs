//! What can be wrong with a log.

use colophon_receipt::record::RecordId;

/// One thing that is wrong, and where. The variant is its name; `Display` says it to people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Finding {
    /// A file could not be read, or is longer than the format allows.
    #[error("unreadable: {0}")]
    Unreadable(String),
    /// The checkpoint is missing, malformed, or not signed by the log's key.
    #[error("checkpoint: {0}")]
    Checkpoint(String),
    /// The leaves lead to another root than the one signed.
    #[error("root: the {size} leaves lead to {computed}, the checkpoint is signed for {signed}")]
    Root {
        /// Leaves in the tree.
        size: u64,
        /// The root over the leaves, in hex.
        computed: String,
        /// The root of the checkpoint, in hex.
        signed: String,
    },
    /// A tile is missing or not that of the leaves.
    #[error("tile {file}: {what}")]
    Tile {
        /// The file.
        file: String,
        /// What is wrong.
        what: &'static str,
    },
    /// An entry bundle is missing or malformed.
    #[error("bundle {file}: {what}")]
    Bundle {
        /// The file.
        file: String,
        /// What is wrong.
        what: &'static str,
    },
    /// A sequence entry is missing, damaged, or contradicts the leaves.
    #[error("sequence entry {n}: {what}")]
    Sequence {
        /// Its number.
        n: u64,
        /// What is wrong.
        what: String,
    },
    /// Leaf 0 is not the genesis of this log.
    #[error("genesis: {0}")]
    Genesis(String),
    /// A leaf that is none of the known kinds, or not in its one allowed form.
    #[error("leaf {index}: {what}")]
    Leaf {
        /// Index in the log.
        index: u64,
        /// Why.
        what: String,
    },
    /// The signature, issuer or key of a leaf is wrong.
    #[error("leaf {index}: signature: {what}")]
    Signature {
        /// Index in the log.
        index: u64,
        /// Why.
        what: String,
    },
    /// An announcement does not hold: its proof of possession, its dates, its predecessor, or its shard had a key.
    #[error("leaf {index}: announcement of {shard}: {what}")]
    Announcement {
        /// Index in the log.
        index: u64,
        /// The shard announced.
        shard: String,
        /// Why.
        what: &'static str,
    },
    /// A statement or close by a shard that the log never announced.
    #[error("leaf {index}: {shard} was never announced")]
    Unannounced {
        /// Index in the log.
        index: u64,
        /// The shard.
        shard: String,
    },
    /// Statements are missing, or out of order.
    #[error(
        "leaf {index}: {shard} continues with statement {found}, expected {expected}; {records} records are missing"
    )]
    Gap {
        /// Index in the log.
        index: u64,
        /// The shard.
        shard: String,
        /// The number that comes next.
        expected: u64,
        /// The number that came.
        found: u64,
        /// How many records the totals of the next statement have too many, if it comes later.
        records: u64,
    },
    /// Two different payloads for one number of a shard: proof of misbehaviour by whoever holds its key.
    #[error("leaf {index}: {shard} signed two different statements {seq}")]
    Equivocation {
        /// Index of the second.
        index: u64,
        /// The shard.
        shard: String,
        /// The number.
        seq: u64,
    },
    /// Records in a batch file of a shard that has ended, which no statement accounts for and no other batch holds.
    #[error("{file}: {records} records of {shard} were never logged")]
    Unlogged {
        /// The batch file.
        file: String,
        /// Its shard.
        shard: String,
        /// The records in it that are nowhere else.
        records: u64,
    },
    /// The same statement twice.
    #[error("leaf {index}: statement {seq} of {shard} is already in the log")]
    Repeated {
        /// Index of the second.
        index: u64,
        /// The shard.
        shard: String,
        /// The number.
        seq: u64,
    },
    /// A statement does not follow from the one before it.
    #[error("leaf {index}: statement {seq} of {shard}: {what}")]
    Chain {
        /// Index in the log.
        index: u64,
        /// The shard.
        shard: String,
        /// The statement's number.
        seq: u64,
        /// What does not follow.
        what: &'static str,
    },
    /// A shard's counters do not add up.
    #[error("leaf {index}: statement {seq} of {shard}: counters: {what}")]
    Counters {
        /// Index in the log.
        index: u64,
        /// The shard.
        shard: String,
        /// The statement's number.
        seq: u64,
        /// What does not add up.
        what: &'static str,
    },
    /// A shard's close does not fit its last statement.
    #[error("leaf {index}: close of {shard}: {what}")]
    Close {
        /// Index in the log.
        index: u64,
        /// The shard.
        shard: String,
        /// Why.
        what: &'static str,
    },
    /// An erasure of a record that is not in the log, or one that is there twice.
    #[error("leaf {index}: erasure: {what}")]
    Erasure {
        /// Index in the log.
        index: u64,
        /// Why.
        what: &'static str,
    },
    /// A policy change that does not follow from what its shard said before.
    #[error("leaf {index}: policy change: {what}")]
    PolicyChange {
        /// Index in the log.
        index: u64,
        /// Why.
        what: &'static str,
    },
    /// The text of a policy that was in force is missing, or another.
    #[error("policy {file}: {what}")]
    Policy {
        /// The file.
        file: String,
        /// Why.
        what: String,
    },
    /// A revocation of a key that is not there.
    #[error("leaf {index}: revocation: {what}")]
    Revocation {
        /// Index in the log.
        index: u64,
        /// Why.
        what: &'static str,
    },
    /// A statement by a key that the log had revoked before.
    #[error("leaf {index}: {shard} goes on although its key was revoked")]
    Revoked {
        /// Index in the log.
        index: u64,
        /// The shard.
        shard: String,
    },
    /// A generation does not continue the one before it.
    #[error("generation {generation}: {what}")]
    Generation {
        /// The later one.
        generation: u32,
        /// Why.
        what: String,
    },
    /// A batch file is missing, malformed, or not the one its statement describes.
    #[error("batch {file}: {what}")]
    Batch {
        /// The file.
        file: String,
        /// Why.
        what: String,
    },
    /// A timestamp, or what it dates, is missing or not what it should be.
    #[error("anchor {file}: {what}")]
    Anchor {
        /// The file.
        file: String,
        /// Why.
        what: String,
    },
    /// A draw that does not come out as it should: no evidence for what was drawn, or evidence for what was not.
    #[error("draw {file}: {what}")]
    Draw {
        /// The batch file of the record or of the evidence, or the round's file.
        file: String,
        /// Why.
        what: String,
    },
    /// The same record id twice.
    #[error("record {} is in the log twice: leaves {first} and {second}", hex::encode(id))]
    DuplicateRecord {
        /// The id.
        id: RecordId,
        /// Log index of the first one's statement.
        first: u64,
        /// Log index of the second one's statement.
        second: u64,
    },
}

impl Finding {
    /// The finding's name, for scripts.
    pub fn name(&self) -> &'static str {
        match self {
            Finding::Unreadable(_) => "unreadable",
            Finding::Checkpoint(_) => "checkpoint",
            Finding::Root { .. } => "root",
            Finding::Tile { .. } => "tile",
            Finding::Bundle { .. } => "bundle",
            Finding::Sequence { .. } => "sequence",
            Finding::Genesis(_) => "genesis",
            Finding::Leaf { .. } => "leaf",
            Finding::Signature { .. } => "signature",
            Finding::Announcement { .. } => "announcement",
            Finding::Unannounced { .. } => "unannounced",
            Finding::Gap { .. } => "gap",
            Finding::Equivocation { .. } => "equivocation",
            Finding::Unlogged { .. } => "unlogged",
            Finding::Repeated { .. } => "repeated",
            Finding::Chain { .. } => "chain",
            Finding::Counters { .. } => "counters",
            Finding::Close { .. } => "close",
            Finding::Erasure { .. } => "erasure",
            Finding::PolicyChange { .. } => "policy-change",
            Finding::Policy { .. } => "policy",
            Finding::Revocation { .. } => "revocation",
            Finding::Revoked { .. } => "revoked",
            Finding::Generation { .. } => "generation",
            Finding::Batch { .. } => "batch",
            Finding::Anchor { .. } => "anchor",
            Finding::Draw { .. } => "draw",
            Finding::DuplicateRecord { .. } => "duplicate-record",
        }
    }
}
