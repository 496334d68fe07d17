//! The leaf that says what came of evidence for an earlier record (DESIGN section 3): in a later batch, pointing back.

use crate::cbor::{CborError, MapReader, Value};
use crate::level::Level;
use crate::merkle::{Hash, sha256};
use crate::record::{RecordId, RecordLeaf, Salt};

/// What came of the evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The record was drawn, and the evidence was not made.
    NotDone,
    /// It was made, and the operator's verifier accepted it.
    Holds,
    /// It was made, and the operator's verifier refused it.
    Fails,
}

impl Verdict {
    /// Its number in the leaf.
    pub fn code(self) -> u64 {
        match self {
            Verdict::NotDone => 0,
            Verdict::Holds => 1,
            Verdict::Fails => 2,
        }
    }

    /// Its word.
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::NotDone => "not-done",
            Verdict::Holds => "holds",
            Verdict::Fails => "fails",
        }
    }

    fn from_code(code: u64) -> Result<Verdict, CborError> {
        [Verdict::NotDone, Verdict::Holds, Verdict::Fails]
            .into_iter()
            .find(|verdict| verdict.code() == code)
            .ok_or(CborError::Value("verdict"))
    }
}

/// What a batch commits to about evidence for a record of an earlier batch (type 6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvidenceLeaf {
    /// [`draw_id`], of evidence for a draw.
    pub id: RecordId,
    /// When it was settled, µs by the operator's clock.
    pub at: u64,
    /// Hash of the record's leaf.
    pub subject: Hash,
    /// The level that the evidence is to show: `sign` or above.
    pub kind: Level,
    /// `H(salt ‖ digest of the evidence)`; [`no_evidence`] where there is none.
    pub commitment: Hash,
    /// What came of it.
    pub verdict: Verdict,
}

impl EvidenceLeaf {
    const TYPE: u64 = 6;

    /// The deterministic encoding.
    pub fn encode(&self) -> Vec<u8> {
        Value::Map(vec![
            (1, Value::Uint(Self::TYPE)),
            (2, Value::bytes(self.id)),
            (3, Value::Uint(self.at)),
            (4, Value::bytes(self.subject)),
            (5, Value::Uint(self.kind.code())),
            (6, Value::bytes(self.commitment)),
            (7, Value::Uint(self.verdict.code())),
        ])
        .encode()
    }

    /// Reads a canonical evidence leaf.
    ///
    /// # Errors
    /// What is no such leaf, and "not done" with a commitment to evidence.
    pub fn decode(bytes: &[u8]) -> Result<EvidenceLeaf, CborError> {
        let mut map = MapReader::decode(bytes)?;
        map.expect_type(Self::TYPE, "evidence type")?;
        let leaf = EvidenceLeaf {
            id: map.required(2)?.as_array("evidence id")?,
            at: map.required(3)?.as_uint("evidence time")?,
            subject: map.required(4)?.as_array("evidence subject")?,
            kind: Level::from_code(map.required(5)?.as_uint("evidence kind")?)?,
            commitment: map.required(6)?.as_array("evidence commitment")?,
            verdict: Verdict::from_code(map.required(7)?.as_uint("verdict")?)?,
        };
        map.finish()?;
        let none = leaf.verdict == Verdict::NotDone;
        if leaf.kind < Level::Sign || none != (leaf.commitment == no_evidence()) {
            return Err(CborError::Value("evidence"));
        }
        Ok(leaf)
    }
}

/// What a leaf holds of evidence: `H(salt ‖ digest of the evidence)`.
pub fn commitment(salt: &Salt, digest: &Hash) -> Hash {
    sha256(&[&salt[..], digest].concat())
}

/// What stands for evidence that was not made: a salt of zeros, and the digest of nothing.
pub fn no_evidence() -> Hash {
    commitment(&[0; 16], &sha256(b""))
}

/// The id of the evidence that a draw asks for: it follows from the record and its statement, so that it is found from
/// there, and the same evidence twice is the same id twice. A UUIDv7 with the time of the statement's `to` (µs) and the
/// shard tag of the record's own id; its other bits are of `H("colophon/evidence/v1" ‖ u8 target ‖ leaf hash)`.
pub fn draw_id(to: u64, record: &RecordId, leaf_hash: &Hash, target: Level) -> RecordId {
    id(DRAWN, &moved_to(to, record), leaf_hash, target)
}

/// The id of evidence that somebody asked for, whatever was drawn: as [`draw_id`], with `"colophon/asked/v1"` as what the hash begins with.
pub fn asked_id(to: u64, record: &RecordId, leaf_hash: &Hash, kind: Level) -> RecordId {
    id(ASKED, &moved_to(to, record), leaf_hash, kind)
}

/// Whether a leaf's id is that of evidence that was asked for about its own subject: it can be told from the leaf alone.
pub fn is_asked(leaf: &RecordId, subject: &Hash, kind: Level) -> bool {
    id(ASKED, leaf, subject, kind) == *leaf
}

const DRAWN: &[u8] = b"colophon/evidence/v1";
const ASKED: &[u8] = b"colophon/asked/v1";

/// The record's id, moved to another time, µs.
fn moved_to(time: u64, record: &RecordId) -> RecordId {
    let mut place = *record;
    place[..6].copy_from_slice(&(time / 1000).to_be_bytes()[2..]);
    place
}

/// Time and shard tag of `place`, all else of the hash.
fn id(domain: &[u8], place: &RecordId, leaf_hash: &Hash, target: Level) -> RecordId {
    let mut input = domain.to_vec();
    input.push(target as u8);
    input.extend(leaf_hash);
    let mut id: RecordId = [0; 16];
    id.copy_from_slice(&sha256(&input)[..16]);
    id[..6].copy_from_slice(&place[..6]);
    id[6] = 0x70 | id[6] & 0x0f;
    // The tag: the low 6 bits of byte 8, byte 9, the high 2 bits of byte 10.
    (id[8], id[9]) = (0x80 | place[8] & 0x3f, place[9]);
    id[10] = place[10] & 0xc0 | id[10] & 0x3f;
    id
}

/// A leaf of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BatchLeaf {
    /// An exchange.
    Record(RecordLeaf),
    /// Evidence for an earlier one.
    Evidence(EvidenceLeaf),
}

impl BatchLeaf {
    /// Reads either.
    ///
    /// # Errors
    /// Neither.
    pub fn decode(bytes: &[u8]) -> Result<BatchLeaf, CborError> {
        if is_evidence(bytes) {
            return EvidenceLeaf::decode(bytes).map(BatchLeaf::Evidence);
        }
        RecordLeaf::decode(bytes).map(BatchLeaf::Record)
    }

    /// Its id.
    pub fn id(&self) -> RecordId {
        match self {
            BatchLeaf::Record(leaf) => leaf.id,
            BatchLeaf::Evidence(leaf) => leaf.id,
        }
    }

    /// The time that its statement's interval contains, µs.
    pub fn at(&self) -> u64 {
        match self {
            BatchLeaf::Record(leaf) => leaf.completed_at,
            BatchLeaf::Evidence(leaf) => leaf.at,
        }
    }
}

/// Whether a canonical leaf is of this type: a map of seven whose key 1 says so. Not that it is one.
pub fn is_evidence(leaf: &[u8]) -> bool {
    leaf.starts_with(&[0xa7, 1, EvidenceLeaf::TYPE as u8])
}

#[cfg(test)]
mod tests;
