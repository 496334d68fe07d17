//! Why the log role does not take a leaf, and how it says so.

/// Why the log does not take a leaf.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is not of the form that the log takes.
    #[error("it is not for this log: {0}")]
    Unfit(String),
    /// No announcement of the shard is known.
    #[error("the log knows no announcement of this shard where it says that it was announced")]
    Unknown,
    /// The shard's key has expired.
    #[error("the shard's key has expired: announce a new shard")]
    Expired,
    /// The shard has ended.
    #[error("the shard is closed")]
    Closed,
    /// The operator has revoked the shard's key.
    #[error("the shard's key is revoked, by leaf {index}: announce a new shard")]
    Revoked {
        /// Where the revocation is.
        index: u64,
    },
    /// A later shard of the same sidecar goes on from where this one was.
    #[error("another life of this sidecar goes on where this shard ended")]
    Superseded,
    /// Another key speaks for a shard of this name.
    #[error("a shard of this name is announced with another key")]
    Taken,
    /// Statements come in order, without gaps.
    #[error("the shard's next statement is number {next}")]
    Gap {
        /// The number that the log waits for.
        next: u64,
    },
    /// The statement names another one before it than the log holds.
    #[error("the statement before it is another one in the log: this shard's chain has forked")]
    Chain,
    /// The place is taken by another statement that the same key signed.
    #[error(
        "FORK: the log holds another statement for this place, at leaf {index}, signed by the same key. Both are kept \
         as proof. Was this sidecar's memory copied, as with a snapshot of a virtual machine?"
    )]
    Fork {
        /// Where the logged one is.
        index: u64,
    },
    /// The predecessor that an announcement names is not where its chain ends.
    #[error("the predecessor's last statement is number {seq}, at leaf {index}")]
    Predecessor {
        /// Its number.
        seq: u64,
        /// Where it is.
        index: u64,
    },
    /// The log cannot take anything at the moment; trying again helps.
    #[error("the log cannot take it at the moment: {0}")]
    Busy(String),
}

/// The wire's name of [`Refusal::Predecessor`].
pub(crate) const PREDECESSOR_CODE: &str = "predecessor";

impl Refusal {
    /// The reason's name on the wire.
    pub fn code(&self) -> &'static str {
        match self {
            Refusal::Unfit(_) => "unfit",
            Refusal::Unknown => "unknown-shard",
            Refusal::Expired => "expired",
            Refusal::Closed => "closed",
            Refusal::Revoked { .. } => "revoked",
            Refusal::Superseded => "superseded",
            Refusal::Taken => "taken",
            Refusal::Gap { .. } => "gap",
            Refusal::Chain => "chain",
            Refusal::Fork { .. } => "fork",
            Refusal::Predecessor { .. } => PREDECESSOR_CODE,
            Refusal::Busy(_) => "busy",
        }
    }

    /// The HTTP status that says the same.
    pub fn status(&self) -> u16 {
        match self {
            Refusal::Unfit(_) => 400,
            Refusal::Unknown => 404,
            Refusal::Expired | Refusal::Revoked { .. } => 403,
            Refusal::Busy(_) => 503,
            _ => 409,
        }
    }
}
