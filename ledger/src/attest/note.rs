//! The note on evidence about a shard's own key: how it is found from the shard, and what opens its commitment.

use colophon_receipt::Hash;
use colophon_receipt::cbor::{CborError, Value};
use colophon_receipt::evidence::commitment;
use colophon_receipt::record::RecordId;

/// A note has at most this many bytes.
pub(crate) const MAX_BYTES: u64 = 128;

/// `[id, salt, digest]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Note {
    /// The evidence leaf's.
    pub(crate) id: RecordId,
    pub(crate) salt: [u8; 16],
    /// SHA-256 of the document, which is kept by that name.
    pub(crate) digest: Hash,
}

impl Note {
    /// What the leaf holds of the document.
    pub(crate) fn commitment(&self) -> Hash {
        commitment(&self.salt, &self.digest)
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        Value::Array(vec![Value::bytes(self.id), Value::bytes(self.salt), Value::bytes(self.digest)]).encode()
    }

    pub(crate) fn read(bytes: &[u8]) -> Result<Note, CborError> {
        const WHAT: &str = "note on evidence about a key";
        match Value::decode(bytes)?.as_items(WHAT)? {
            [id, salt, digest] => Ok(Note {
                id: id.as_array(WHAT)?,
                salt: salt.as_array(WHAT)?,
                digest: digest.as_array(WHAT)?,
            }),
            _ => Err(CborError::Value(WHAT)),
        }
    }
}

/// The reader on its own, for fuzz targets.
#[cfg(feature = "testing")]
pub(crate) mod testing {
    use super::Note;

    /// Reads a note, and writes what was read.
    pub fn read_note(bytes: &[u8]) -> Option<Vec<u8>> {
        Note::read(bytes).ok().map(|note| note.encode())
    }
}
