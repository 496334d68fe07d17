//! The leaves of the log, read strictly but not yet believed.

use colophon_receipt::cbor::CborError;
use colophon_receipt::erasure::{ERASURE_TYPE, Erasure};
use colophon_receipt::policy_change::{POLICY_CHANGE_TYPE, PolicyChange};
use colophon_receipt::revocation::{REVOCATION_TYPE, Revocation};
use colophon_receipt::statement::{
    ANNOUNCEMENT_TYPE, Announcement, CLOSE_TYPE, Genesis, STATEMENT_TYPE, ShardClose, Statement,
};
use colophon_signer::cose::{CoseError, Sign1};

/// One leaf, by what it says it is. Parsing proves nothing: the signatures are for the caller to verify.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leaf {
    /// Leaf 0.
    Genesis(Genesis),
    /// The log's word that a key speaks for a shard.
    Announcement(Sign1, Announcement),
    /// The description of one batch.
    Statement(Sign1, Statement),
    /// The clean end of a shard.
    Close(Sign1, ShardClose),
    /// A shard's word that openings were deleted on purpose.
    Erasure(Sign1, Erasure),
    /// A shard's word that another policy is in force.
    PolicyChange(Sign1, PolicyChange),
    /// The log's word that a key counts no longer.
    Revocation(Sign1, Revocation),
}

/// Why bytes are not a leaf.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeafError {
    /// Neither a genesis nor a COSE_Sign1 of ours.
    #[error(transparent)]
    Cose(#[from] CoseError),
    /// The payload is not of the one allowed form.
    #[error(transparent)]
    Cbor(#[from] CborError),
    /// A content type that this version does not know.
    #[error("unknown content type {0:?}")]
    ContentType(String),
    /// The COSE subject is not the shard that the payload names.
    #[error("signed for the shard {subject}, but the payload is about {shard}")]
    Subject {
        /// The CWT subject.
        subject: String,
        /// The payload's shard.
        shard: String,
    },
}

/// The first byte of a tagged COSE_Sign1.
const COSE_SIGN1: u8 = 0xd2;

impl Leaf {
    /// Reads a leaf; bytes that would not be written like this are refused.
    ///
    /// # Errors
    /// [`LeafError`].
    pub fn parse(bytes: &[u8]) -> Result<Leaf, LeafError> {
        if bytes.first() != Some(&COSE_SIGN1) {
            return Ok(Leaf::Genesis(Genesis::decode(bytes)?));
        }
        let signed = Sign1::parse(bytes)?;
        let leaf = match signed.content_type() {
            ANNOUNCEMENT_TYPE => {
                let announcement = Announcement::decode(signed.payload())?;
                Leaf::Announcement(signed, announcement)
            }
            STATEMENT_TYPE => {
                let statement = Statement::decode(signed.payload())?;
                Leaf::Statement(signed, statement)
            }
            CLOSE_TYPE => {
                let close = ShardClose::decode(signed.payload())?;
                Leaf::Close(signed, close)
            }
            ERASURE_TYPE => {
                let erasure = Erasure::decode(signed.payload())?;
                Leaf::Erasure(signed, erasure)
            }
            POLICY_CHANGE_TYPE => {
                let change = PolicyChange::decode(signed.payload())?;
                Leaf::PolicyChange(signed, change)
            }
            REVOCATION_TYPE => {
                let revocation = Revocation::decode(signed.payload())?;
                Leaf::Revocation(signed, revocation)
            }
            other => return Err(LeafError::ContentType(other.to_owned())),
        };
        match leaf.signed().map(Sign1::sub).zip(leaf.shard()) {
            Some((subject, shard)) if subject != shard => {
                Err(LeafError::Subject { subject: subject.to_owned(), shard: shard.to_owned() })
            }
            _ => Ok(leaf),
        }
    }

    /// The shard that the leaf is about, or the log; the genesis is about none.
    pub fn shard(&self) -> Option<&str> {
        match self {
            Leaf::Genesis(_) => None,
            Leaf::Announcement(_, announcement) => Some(&announcement.shard),
            Leaf::Statement(_, statement) => Some(&statement.shard),
            Leaf::Close(_, close) => Some(&close.shard),
            Leaf::Erasure(_, erasure) => Some(&erasure.shard),
            Leaf::PolicyChange(_, change) => Some(&change.shard),
            // The log's own key is about no shard: the subject is then the log.
            Leaf::Revocation(signed, revocation) => Some(revocation.shard.as_deref().unwrap_or(signed.iss())),
        }
    }

    /// The message and its signature; the genesis has none but the checkpoint's.
    pub fn signed(&self) -> Option<&Sign1> {
        match self {
            Leaf::Genesis(_) => None,
            Leaf::Announcement(signed, _)
            | Leaf::Statement(signed, _)
            | Leaf::Close(signed, _)
            | Leaf::Erasure(signed, _)
            | Leaf::PolicyChange(signed, _)
            | Leaf::Revocation(signed, _) => Some(signed),
        }
    }
}
