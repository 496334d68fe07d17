//! What opens the records of a batch: `<shard>/<seq>` in the private store, whose folder or bucket is its own.
//!
//! Every opening is sealed on its own (AES-256-GCM) and bound to its record and place, so that one can be taken out
//! without the others, and none can be put in another's place. Keys belong to a tenant and month (`crypt.rs`); forms of
//! the file are in `file.rs`. An opening is the CBOR array
//! `[seed, fields, [[base, signature], …], log index of the announcement of the key that signed]`.

use crate::wal::read_signatures;
use colophon_receipt::cbor::{CborError, Value};
use colophon_receipt::record::{FieldSet, Seed};
use colophon_signer::httpsig::KeptSignature;

mod crypt;
mod file;
mod frames;
mod journal;
mod proofs;
mod rewrap;
mod rewrite;
mod source;
#[cfg(feature = "testing")]
pub(crate) mod testing;
mod vault;

pub(crate) use crypt::Tenant;
pub use crypt::{CryptError, Kek};
pub(crate) use file::{Entry, Openings};
pub(crate) use frames::{MAX_COPY, Shelved, fence};
pub(crate) use journal::Done;
pub use rewrap::{Rewrap, Rewrapped, rewrap};
pub(crate) use rewrite::Batched;
pub use source::KekError;
pub(crate) use vault::{Found, Vault};

/// The tenant of records that name none.
pub(crate) const NO_TENANT: &[u8] = b"-";

/// What opens one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    /// Gives every salt.
    pub seed: Seed,
    /// The fields.
    pub fields: FieldSet,
    /// Signatures that left with the answer.
    pub signatures: Vec<KeptSignature>,
    /// Log index of the announcement of the key that made `signatures`.
    pub announced: u64,
}

/// Reads the opening of one record.
fn read(bytes: &[u8]) -> Result<Opening, CborError> {
    match Value::decode(bytes)?.as_items("opening")? {
        [seed, fields, signatures, announced] => Ok(Opening {
            seed: seed.as_array("seed")?,
            fields: FieldSet::from_bytes(fields.as_bytes("fields")?.to_vec())?,
            signatures: read_signatures(signatures)?,
            announced: announced.as_uint("announcement")?,
        }),
        _ => Err(CborError::Value("opening")),
    }
}

#[cfg(test)]
pub(crate) mod tests;
