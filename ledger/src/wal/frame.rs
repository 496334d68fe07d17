//! One frame: `u32le length | u32le crc32c | u8 type | payload`; length and checksum cover type and payload.

use super::WalError;
use colophon_receipt::cbor::{CborError, Value};
use colophon_receipt::record::{FieldSet, Record, RecordId, RecordLeaf, Seed};
use colophon_receipt::{Level, merkle};
use colophon_signer::httpsig::KeptSignature;
use std::sync::Arc;

/// Names the shard that wrote a segment, and the version of these formats. The first frame of every segment.
pub(super) const HEADER: u8 = 0;
/// An exchange was accepted.
pub(super) const OPEN: u8 = 1;
/// Its record was made.
pub(super) const DONE: u8 = 2;

/// Of a header that says nothing of its place: copies in a store, and segments of earlier builds.
const VERSION: u64 = 1;
/// Of a header that names its segment's number and data folder.
const PLACED: u64 = 2;
/// Bytes before the type.
const PREFIX: usize = 8;
/// A frame's type and payload have at most this many bytes: fields and signatures of one exchange are far smaller.
pub(super) const MAX_FRAME: usize = 8 << 20;

/// Appends a frame to `out`, whose payload `write` appends.
pub(super) fn frame(out: &mut Vec<u8>, kind: u8, write: impl FnOnce(&mut Vec<u8>)) -> Result<(), WalError> {
    let start = out.len();
    out.extend_from_slice(&[0; PREFIX]);
    out.push(kind);
    write(out);
    let (prefix, body) = out[start..].split_at_mut(PREFIX);
    let len = u32::try_from(body.len()).ok().filter(|_| body.len() <= MAX_FRAME);
    let len = len.ok_or(WalError::TooLarge(body.len()))?;
    prefix[..4].copy_from_slice(&len.to_le_bytes());
    prefix[4..].copy_from_slice(&crc_fast::crc32_iscsi(body).to_le_bytes());
    Ok(())
}

/// The frame of the longest header has at most this many bytes; names of shards are under 150.
pub(super) const MAX_HEADER: usize = 256;

/// What stands at the start of some bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Parsed<'a> {
    /// A good frame, and how many bytes it takes.
    Good(u8, &'a [u8], usize),
    /// A bad one; where its length is to be believed, the next starts this many bytes on.
    Bad(Option<usize>),
}

/// Reads the frame at the start of `bytes`, which are not empty.
pub(super) fn parse(bytes: &[u8]) -> Parsed<'_> {
    let (Some(len), Some(crc)) = (u32_at(bytes, 0), u32_at(bytes, 4)) else {
        return Parsed::Bad(None);
    };
    let len = len as usize;
    if len == 0 || len > MAX_FRAME {
        return Parsed::Bad(None);
    }
    match bytes.get(PREFIX..PREFIX + len) {
        None => Parsed::Bad(None),
        Some(body) if crc_fast::crc32_iscsi(body) != crc => Parsed::Bad(Some(PREFIX + len)),
        Some(body) => Parsed::Good(body[0], &body[1..], PREFIX + len),
    }
}

/// Whether a good frame of a usual size seems to begin here. Only to tell damage from a torn end: what is found this
/// way may be content.
pub(super) fn looks_good(bytes: &[u8]) -> bool {
    let usual = u32_at(bytes, 0).is_some_and(|len| len <= 1 << 20);
    usual && bytes.get(PREFIX).is_some_and(|kind| *kind <= DONE) && matches!(parse(bytes), Parsed::Good(..))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// What is known of an exchange when it is accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OpenFrame {
    pub(crate) id: RecordId,
    /// µs.
    pub(crate) received_at: u64,
    pub(crate) level: Level,
    pub(crate) fields: FieldSet,
    /// Whose keys are to seal the opening.
    pub(crate) tenant: Option<Vec<u8>>,
}

/// A finished record, as the log, the batch and the private store will hold it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DoneFrame {
    pub(crate) id: RecordId,
    /// µs.
    pub(crate) completed_at: u64,
    pub(crate) record: Record,
    pub(crate) signatures: Vec<KeptSignature>,
    /// Log index of the announcement of the key that made `signatures`.
    pub(crate) announced: u64,
    pub(crate) refused: bool,
    /// The shard whose header is before it: of the same life, so announced in the same generation of the log.
    pub(crate) shard: Option<Arc<str>>,
    /// Whose keys are to seal the opening.
    pub(crate) tenant: Option<Vec<u8>>,
}

/// The header's payload: `[version, shard, log index of its announcement]`.
pub(super) fn header(shard: &str, announced: u64) -> Vec<u8> {
    Value::Array(vec![Value::Uint(VERSION), Value::text(shard), Value::Uint(announced)]).encode()
}

/// The payload of a segment's header: `[version, shard, log index of its announcement, segment, data folder]`.
pub(super) fn placed_header(shard: &str, announced: u64, place: Place) -> Vec<u8> {
    let Place { segment, folder } = place;
    let (shard, announced) = (Value::text(shard), Value::Uint(announced));
    let place = [Value::Uint(segment), Value::bytes(folder)];
    Value::Array([Value::Uint(PLACED), shard, announced].into_iter().chain(place).collect()).encode()
}

/// Which segment of which data folder's WAL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) segment: u64,
    pub(super) folder: FolderId,
}

/// Tells data folders apart: random, made with the first segment.
pub(super) type FolderId = [u8; 16];

/// What a header says.
pub(super) struct Header {
    pub(super) shard: String,
    /// Log index of the shard's announcement.
    pub(super) announced: u64,
    pub(super) place: Option<Place>,
}

/// Reads a header of either version.
pub(super) fn read_header(payload: &[u8]) -> Result<Header, CborError> {
    let value = Value::decode(payload)?;
    let (version, shard, announced, place) = match value.as_items("WAL header")? {
        [Value::Uint(version), Value::Text(shard), Value::Uint(announced), place @ ..] => {
            (*version, shard.clone(), *announced, place)
        }
        _ => return Err(CborError::Value("WAL header")),
    };
    let place = match (version, place) {
        (VERSION, []) => None,
        (PLACED, [Value::Uint(segment), folder]) => {
            Some(Place { segment: *segment, folder: folder.as_array("data folder")? })
        }
        _ => return Err(CborError::Value("WAL header")),
    };
    Ok(Header { shard, announced, place })
}

impl OpenFrame {
    /// `[id, received, level, fields, ?tenant]`.
    pub(super) fn frame(
        out: &mut Vec<u8>,
        id: &RecordId,
        received_at: u64,
        level: Level,
        fields: &FieldSet,
        tenant: Option<&[u8]>,
    ) -> Result<(), WalError> {
        frame(out, OPEN, |out| {
            let mut e = minicbor::Encoder::new(out);
            // Writing into a Vec cannot fail.
            drop((|| {
                e.array(4 + u64::from(tenant.is_some()))?;
                e.bytes(id)?.u64(received_at)?.u64(level.code())?.bytes(fields.as_bytes())?;
                if let Some(tenant) = tenant {
                    e.bytes(tenant)?;
                }
                Ok::<_, minicbor::encode::Error<std::convert::Infallible>>(())
            })());
        })
    }

    pub(super) fn read(payload: &[u8]) -> Result<OpenFrame, CborError> {
        match Value::decode(payload)?.as_items("OPEN")? {
            [id, received, level, fields, tenant @ ..] => Ok(OpenFrame {
                id: id.as_array("record id")?,
                received_at: received.as_uint("received")?,
                level: Level::from_code(level.as_uint("level")?)?,
                fields: FieldSet::from_bytes(fields.as_bytes("fields")?.to_vec())?,
                tenant: read_tenant(tenant)?,
            }),
            _ => Err(CborError::Value("OPEN")),
        }
    }
}

impl DoneFrame {
    /// `[leaf, seed, fields, [[base, signature], …], announcement, refused, ?tenant]`.
    pub(super) fn frame(
        out: &mut Vec<u8>,
        record: &Record,
        signatures: &[KeptSignature],
        announced: u64,
        refused: bool,
        tenant: Option<&[u8]>,
    ) -> Result<(), WalError> {
        frame(out, DONE, |out| {
            let mut e = minicbor::Encoder::new(out);
            drop((|| {
                e.array(6 + u64::from(tenant.is_some()))?;
                e.bytes(&record.leaf)?.bytes(&record.seed)?.bytes(record.fields.as_bytes())?;
                e.array(signatures.len() as u64)?;
                for signature in signatures {
                    e.array(2)?.bytes(&signature.base)?.bytes(&signature.signature)?;
                }
                e.u64(announced)?.bool(refused)?;
                if let Some(tenant) = tenant {
                    e.bytes(tenant)?;
                }
                Ok::<_, minicbor::encode::Error<std::convert::Infallible>>(())
            })());
        })
    }

    pub(super) fn read(payload: &[u8]) -> Result<DoneFrame, CborError> {
        let value = Value::decode(payload)?;
        let [leaf, seed, fields, signatures, announced, Value::Bool(refused), tenant @ ..] =
            value.as_items("DONE")?
        else {
            return Err(CborError::Value("DONE"));
        };
        let leaf = leaf.as_bytes("leaf")?.to_vec();
        let RecordLeaf { id, completed_at, .. } = RecordLeaf::decode(&leaf)?;
        let seed: Seed = seed.as_array("seed")?;
        let fields = FieldSet::from_bytes(fields.as_bytes("fields")?.to_vec())?;
        Ok(DoneFrame {
            id,
            completed_at,
            record: Record { leaf_hash: merkle::leaf_hash(&leaf), leaf, seed, fields },
            signatures: read_signatures(signatures)?,
            announced: announced.as_uint("announcement")?,
            refused: *refused,
            shard: None,
            tenant: read_tenant(tenant)?,
        })
    }
}

/// What stands after the fields that every frame has.
fn read_tenant(rest: &[Value]) -> Result<Option<Vec<u8>>, CborError> {
    match rest {
        [] => Ok(None),
        [tenant] => Ok(Some(tenant.as_bytes("tenant")?.to_vec())),
        _ => Err(CborError::Value("tenant")),
    }
}

/// Reads `[[base, signature], …]`.
pub(crate) fn read_signatures(value: &Value) -> Result<Vec<KeptSignature>, CborError> {
    let read = |item: &Value| match item.as_items("signature")? {
        [base, signature] => Ok(KeptSignature {
            base: base.as_bytes("signature base")?.to_vec(),
            signature: signature.as_array("signature")?,
        }),
        _ => Err(CborError::Value("signature")),
    };
    value.as_items("signatures")?.iter().map(read).collect()
}
