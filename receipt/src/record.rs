//! The record of one exchange: salted fields under a Merkle root, and the leaf that commits to them (DESIGN section 3).

use crate::cbor::{CborError, MapReader, Value};
use crate::level::{Level, Outcome};
use crate::merkle::{self, Hash};

/// The number of an exchange: UUIDv7 bytes.
pub type RecordId = [u8; 16];

/// A record's id as a UUID is written.
pub fn id_text(id: &RecordId) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    // Where the two digits of a byte stand: a hyphen lies before some.
    const PLACES: [usize; 16] = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];
    let mut text = [b'-'; 36];
    for (byte, place) in id.iter().zip(PLACES) {
        text[place] = DIGITS[usize::from(byte >> 4)];
        text[place + 1] = DIGITS[usize::from(byte & 15)];
    }
    str::from_utf8(&text).unwrap_or_default().to_owned()
}

/// 32 random bytes per record, from which every salt follows. Whoever has it can open every field.
pub type Seed = [u8; 32];

/// The random bytes before a field's value, which keep it from being guessed.
pub type Salt = [u8; 16];

/// Field numbers run from 0 to 63, one bit each in the leaf's bitmap.
pub const MAX_FIELDS: usize = 64;

const SALT_DOMAIN: &[u8] = b"colophon/salt/v1";

/// The salt of field `number`.
pub fn salt(seed: &Seed, number: u8) -> Salt {
    half(&salt_pair(seed, number / 2), number)
}

/// `salt_2k ‖ salt_2k+1`.
fn salt_pair(seed: &Seed, k: u8) -> Hash {
    merkle::sha256_of([SALT_DOMAIN, seed, &u16::from(k).to_be_bytes()])
}

fn half(pair: &Hash, number: u8) -> Salt {
    let (even, odd) = pair.split_at(16);
    let mut salt = [0; 16];
    salt.copy_from_slice(if number.is_multiple_of(2) { even } else { odd });
    salt
}

/// The leaf hash of a field: `H(0x00 ‖ salt ‖ cbor([number, value]))`.
pub fn field_hash(salt: &Salt, encoded: &[u8]) -> Hash {
    merkle::sha256_of([&[0x00], salt, encoded])
}

/// The fields of one record, each as `cbor([number, value])`, in ascending number, one after the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSet {
    bytes: Vec<u8>,
    /// (number, end of its bytes).
    ends: Vec<(u8, usize)>,
}

impl FieldSet {
    /// An empty set with room for a usual exchange: some 450 bytes in 12 fields. Not much more than that, since tens of
    /// thousands of records may wait for their batch in memory.
    pub fn new() -> FieldSet {
        FieldSet::with_room(640, 12)
    }

    /// An empty set that takes so many bytes in so many fields before it allocates again.
    pub fn with_room(bytes: usize, fields: usize) -> FieldSet {
        FieldSet { bytes: Vec::with_capacity(bytes), ends: Vec::with_capacity(fields) }
    }

    /// Adds field `number`, whose value `write` encodes. Numbers must ascend; one that does not is ignored (a
    /// programming error, caught in tests: a record is worth more than a field).
    pub fn add(&mut self, number: u8, write: impl FnOnce(&mut minicbor::Encoder<&mut Vec<u8>>)) {
        if !self.takes(number) {
            return;
        }
        let mut encoder = minicbor::Encoder::new(&mut self.bytes);
        // Writing into a Vec cannot fail.
        drop(encoder.array(2).and_then(|e| e.u8(number)));
        write(&mut encoder);
        self.ends.push((number, self.bytes.len()));
    }

    /// The fields as (number, encoded) in ascending number.
    pub fn iter(&self) -> impl Iterator<Item = (u8, &[u8])> {
        let mut start = 0;
        self.ends.iter().map(move |(number, end)| {
            let encoded = &self.bytes[start..*end];
            start = *end;
            (*number, encoded)
        })
    }

    /// The encoded bytes of one field, if present.
    pub fn get(&self, number: u8) -> Option<&[u8]> {
        self.iter().find(|(n, _)| *n == number).map(|(_, encoded)| encoded)
    }

    /// The bitmap of present fields.
    pub fn present(&self) -> u64 {
        self.ends.iter().fold(0, |bits, (number, _)| bits | 1 << number)
    }

    /// Adds a field as another set has it, under the rules of [`add`](FieldSet::add).
    pub fn copy(&mut self, number: u8, from: &FieldSet) {
        if let (true, Some(encoded)) = (self.takes(number), from.get(number)) {
            self.bytes.extend_from_slice(encoded);
            self.ends.push((number, self.bytes.len()));
        }
    }

    fn takes(&self, number: u8) -> bool {
        let ascending = self.ends.last().is_none_or(|(last, _)| *last < number);
        let takes = ascending && usize::from(number) < MAX_FIELDS;
        debug_assert!(takes, "field {number} out of order");
        takes
    }

    /// The leaf hashes under the salts of `seed`, in ascending number.
    pub fn hashes(&self, seed: &Seed) -> Vec<Hash> {
        let mut hashes = Vec::with_capacity(self.ends.len());
        // One hash gives the salts of two numbers.
        let (mut pair, mut salts) = (u8::MAX, Hash::default());
        for (number, encoded) in self.iter() {
            if pair != number / 2 {
                (pair, salts) = (number / 2, salt_pair(seed, number / 2));
            }
            hashes.push(field_hash(&half(&salts, number), encoded));
        }
        hashes
    }

    /// All encoded fields one after the other, as the WAL and the private store keep them.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Splits what `as_bytes` gave, checking each field and the order of the numbers.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<FieldSet, CborError> {
        let mut ends: Vec<(u8, usize)> = Vec::new();
        let mut decoder = minicbor::Decoder::new(&bytes);
        while decoder.position() < bytes.len() {
            let start = decoder.position();
            decoder.skip().map_err(|_| CborError::Malformed("truncated field"))?;
            let (number, _) = decode_field(&bytes[start..decoder.position()])?;
            if ends.last().is_some_and(|(last, _)| *last >= number) {
                return Err(CborError::Malformed("field numbers not strictly ascending"));
            }
            ends.push((number, decoder.position()));
        }
        Ok(FieldSet { bytes, ends })
    }
}

/// Reads `cbor([number, value])`, canonical and with a number that exists.
pub fn decode_field(encoded: &[u8]) -> Result<(u8, Value), CborError> {
    match Value::decode(encoded)? {
        Value::Array(items) => match <[Value; 2]>::try_from(items) {
            Ok([Value::Uint(number), value]) if number < MAX_FIELDS as u64 => Ok((number as u8, value)),
            _ => Err(CborError::Value("field")),
        },
        _ => Err(CborError::Value("field")),
    }
}

/// What a batch commits to about one exchange (type 1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordLeaf {
    /// UUIDv7 made when the request was accepted.
    pub id: RecordId,
    /// µs since the epoch by the operator's clock.
    pub completed_at: u64,
    /// Root of the tree over the present fields.
    pub field_root: Hash,
    /// Bit `n` is set when field `n` is present.
    pub present: u64,
    /// The level that was granted.
    pub level: Level,
    /// How the exchange ended.
    pub outcome: Outcome,
    /// (threshold, target level) of a sampling draw.
    pub draw: Option<(u64, Level)>,
}

impl RecordLeaf {
    const TYPE: u64 = 1;

    /// The deterministic encoding. Written without an intermediate value: it is on the hot path.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(96);
        let mut e = minicbor::Encoder::new(&mut out);
        let written = (|| {
            e.map(if self.draw.is_some() { 8 } else { 7 })?;
            e.u64(1)?.u64(Self::TYPE)?.u64(2)?.bytes(&self.id)?.u64(3)?.u64(self.completed_at)?;
            e.u64(4)?.bytes(&self.field_root)?.u64(5)?.u64(self.present)?;
            e.u64(6)?.u64(self.level.code())?.u64(7)?.u64(self.outcome.code())?;
            if let Some((threshold, target)) = self.draw {
                e.u64(8)?.array(2)?.u64(threshold)?.u64(target.code())?;
            }
            Ok::<_, minicbor::encode::Error<std::convert::Infallible>>(())
        })();
        debug_assert!(written.is_ok(), "a Vec takes every byte");
        out
    }

    /// Reads a canonical record leaf.
    pub fn decode(bytes: &[u8]) -> Result<RecordLeaf, CborError> {
        let mut map = MapReader::decode(bytes)?;
        map.expect_type(Self::TYPE, "record type")?;
        let leaf = RecordLeaf {
            id: map.required(2)?.as_array("record id")?,
            completed_at: map.required(3)?.as_uint("completed_at")?,
            field_root: map.required(4)?.as_array("field root")?,
            present: map.required(5)?.as_uint("field bitmap")?,
            level: Level::from_code(map.required(6)?.as_uint("level")?)?,
            outcome: Outcome::from_code(map.required(7)?.as_uint("outcome")?)?,
            draw: match map.optional(8) {
                None => None,
                Some(draw) => match draw.as_items("draw")? {
                    [threshold, target] => {
                        Some((threshold.as_uint("draw")?, Level::from_code(target.as_uint("draw")?)?))
                    }
                    _ => return Err(CborError::Value("draw")),
                },
            },
        };
        map.finish()?;
        Ok(leaf)
    }
}

/// Whether a record's canonical leaf says that it may be drawn: of its maps only that one has eight entries.
pub fn may_be_drawn(leaf: &[u8]) -> bool {
    leaf.first() == Some(&0xa8)
}

/// A record ready to be written and batched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The leaf's canonical bytes, which the batch commits to.
    pub leaf: Vec<u8>,
    /// `merkle::leaf_hash` of `leaf`.
    pub leaf_hash: Hash,
    /// Opens every field; private.
    pub seed: Seed,
    /// The fields; private.
    pub fields: FieldSet,
}

/// Builds the record of an exchange from its fields.
pub fn seal(
    id: RecordId,
    completed_at: u64,
    level: Level,
    outcome: Outcome,
    seed: Seed,
    fields: FieldSet,
) -> Record {
    seal_sampled(id, completed_at, level, outcome, seed, fields, None)
}

/// The same for an exchange whose rule samples: `draw` is (threshold, target level).
pub fn seal_sampled(
    id: RecordId,
    completed_at: u64,
    level: Level,
    outcome: Outcome,
    seed: Seed,
    fields: FieldSet,
    draw: Option<(u64, Level)>,
) -> Record {
    let field_root = merkle::root(&fields.hashes(&seed));
    let leaf =
        RecordLeaf { id, completed_at, field_root, present: fields.present(), level, outcome, draw }.encode();
    Record { leaf_hash: merkle::leaf_hash(&leaf), leaf, seed, fields }
}

#[cfg(test)]
mod tests;
