//! The file of a batch's openings, in the three forms that a reader knows. Pure: bytes in, bytes out.
//!
//! ```text
//! "colophon open  2" | u32le count | salt (16) | (count + 1) × u64le offset | count × page
//!   page: 1 | key's name (28) | sealed opening, its tag included        or        0 | id of an erasure (16)
//! "colophon gone  1" | id of an erasure (16) | u32le how many openings it took     every page was erased
//! "colophon open  1" | u32le count | (count + 1) × u64le offset | count × opening, in clear
//! ```
//! The page of slot `n` lies from offset `n` to offset `n + 1`, counted from the start of the file.

use super::crypt::{CryptError, DataKey, KEY_NAME as NAME, KeyName, PageKey, Place, TAG, Tenant};
use crate::batch::MAX_RECORDS;
use crate::give_way::give_way;
use crate::index::civil_month;
use bytes::Bytes;
use colophon_receipt::erasure::ErasureId;
use colophon_receipt::record::{Record, RecordId};
use colophon_signer::httpsig::KeptSignature;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

const CLEAR: &[u8; 16] = b"colophon open  1";
const SEALED: &[u8; 16] = b"colophon open  2";
const GONE: &[u8; 16] = b"colophon gone  1";
/// The openings of one record have at most this many bytes.
const MAX_OPENING: u64 = 8 << 20;
const MAX_PAGE: u64 = MAX_OPENING + 1 + (NAME + TAG) as u64;
/// A whole file is read only where it is rewritten; one has at most this many bytes.
pub(crate) const MAX_FILE: u64 = 1 << 30;
/// A reader begins with this many bytes: the head, and in small batches the offsets too.
pub(crate) const FIRST_READ: u64 = 4096;

/// A file is put together in parts of this many bytes: memory of that size is used again, that of a large file would be given
/// back to the system and taken from it with each batch.
const PART: usize = 256 << 10;

const ERASED: u8 = 0;
const PAGE: u8 = 1;

/// Bytes that are not a file of openings, or a damaged one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FileError {
    #[error("it is no file of openings, or of another version")]
    Magic,
    #[error("its table of offsets makes no sense")]
    Offsets,
    #[error("it has no slot {0}")]
    Slot(u32),
    #[error("the page of slot {0} is neither sealed nor erased")]
    Page(u32),
    #[error(transparent)]
    Crypt(#[from] CryptError),
}

/// The records of one batch, in the order of its slots, that are to be opened later.
pub(crate) trait Openings: Send + Sync + 'static {
    fn entries(&self) -> impl ExactSizeIterator<Item = Entry<'_>>;

    /// Each with whose key seals it, of which month.
    fn kinds(&self) -> impl Iterator<Item = (Entry<'_>, (Tenant, u32))> {
        // Records of one tenant come in runs, and hashing its name would be paid for each.
        let mut last: Option<(&[u8], Tenant)> = None;
        self.entries().map(move |entry| {
            let tenant = match last {
                Some((name, tenant)) if name == entry.tenant => tenant,
                _ => Tenant::new(entry.tenant),
            };
            last = Some((entry.tenant, tenant));
            (entry, (tenant, civil_month(entry.completed_at / 1000)))
        })
    }
}

/// One record to be opened later.
#[derive(Clone, Copy)]
pub(crate) struct Entry<'a> {
    pub(crate) record: &'a Record,
    pub(crate) id: &'a RecordId,
    /// µs.
    pub(crate) completed_at: u64,
    pub(crate) tenant: &'a [u8],
    pub(crate) signatures: &'a [KeptSignature],
    pub(crate) announced: u64,
}

/// The file, sealed. `keys` has one for each of the openings' kinds. `salt` is random.
pub(crate) fn seal(
    openings: &impl Openings,
    shard: &str,
    seq: u64,
    salt: &[u8; 16],
    keys: &BTreeMap<(Tenant, u32), Arc<DataKey>>,
) -> Result<Vec<Bytes>, FileError> {
    let mut page_keys = BTreeMap::new();
    for (kind, key) in keys {
        page_keys.insert(*kind, (key.name.to_bytes(), key.of_file(salt)?));
    }
    let mut file = Writer::new(salt);
    for ((entry, kind), slot) in openings.kinds().zip(0..) {
        let (name, key) = page_keys.get(&kind).ok_or(FileError::Crypt(CryptError::Seal))?;
        let place = Place { shard, seq, slot, id: entry.id };
        file.sealed(name, key, place, |out| encode(&entry, out))?;
    }
    Ok(file.finish())
}

fn encode(entry: &Entry<'_>, out: &mut Vec<u8>) {
    let mut e = minicbor::Encoder::new(out);
    // Writing into a Vec cannot fail.
    drop((|| {
        e.array(4)?.bytes(&entry.record.seed)?.bytes(entry.record.fields.as_bytes())?;
        e.array(entry.signatures.len() as u64)?;
        for signature in entry.signatures {
            e.array(2)?.bytes(&signature.base)?.bytes(&signature.signature)?;
        }
        e.u64(entry.announced)?;
        Ok::<_, minicbor::encode::Error<std::convert::Infallible>>(())
    })());
}

/// Puts a file of pages together, in parts.
pub(super) struct Writer {
    salt: [u8; 16],
    /// Where each page ends, counted from the first.
    ends: Vec<u64>,
    parts: Vec<Bytes>,
    /// Bytes of `parts`.
    before: u64,
    /// The part that grows.
    out: Vec<u8>,
}

impl Writer {
    pub(super) fn new(salt: &[u8; 16]) -> Writer {
        Writer { salt: *salt, ends: Vec::new(), parts: Vec::new(), before: 0, out: Vec::with_capacity(PART) }
    }

    /// Adds a page whose text `write` appends, sealed.
    pub(super) fn sealed(
        &mut self,
        name: &[u8; NAME],
        key: &PageKey,
        place: Place<'_>,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), FileError> {
        self.out.push(PAGE);
        self.out.extend_from_slice(name);
        let start = self.out.len();
        write(&mut self.out);
        key.seal_from(place, &mut self.out, start)?;
        self.ended();
        Ok(())
    }

    /// Adds a page as it is.
    pub(super) fn copy(&mut self, page: &[u8]) {
        self.out.extend_from_slice(page);
        self.ended();
    }

    /// Adds what stands for an erased page.
    pub(super) fn erased(&mut self, erasure: &ErasureId) {
        self.out.push(ERASED);
        self.copy(erasure);
    }

    fn ended(&mut self) {
        self.ends.push(self.before + self.out.len() as u64);
        if self.out.len() >= PART - PART / 8 {
            give_way();
            self.before += self.out.len() as u64;
            self.parts.push(std::mem::replace(&mut self.out, Vec::with_capacity(PART)).into());
        }
    }

    pub(super) fn finish(self) -> Vec<Bytes> {
        let count = self.ends.len();
        let start = (SEALED.len() + 4 + self.salt.len() + (count + 1) * 8) as u64;
        let mut head = Vec::with_capacity(start as usize);
        head.extend_from_slice(SEALED);
        head.extend_from_slice(&(count as u32).to_le_bytes());
        head.extend_from_slice(&self.salt);
        for end in std::iter::once(0).chain(self.ends) {
            head.extend_from_slice(&(start + end).to_le_bytes());
        }
        std::iter::once(head.into()).chain(self.parts).chain([self.out.into()]).collect()
    }
}

/// What takes the place of a file with that many openings, or of a key (0), that an erasure removed.
pub(crate) fn gone(erasure: &ErasureId, openings: u32) -> Vec<u8> {
    [GONE.as_slice(), erasure, &openings.to_le_bytes()].concat()
}

/// Reads what took the place of a file or key.
pub(crate) fn read_gone(bytes: &[u8]) -> Option<(ErasureId, u32)> {
    let (erasure, openings) = bytes.strip_prefix(GONE)?.split_first_chunk()?;
    Some((*erasure, u32::from_le_bytes(openings.try_into().ok()?)))
}

/// The head of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Head {
    /// Version 1: openings in clear.
    Clear(u32),
    /// Version 2, with the salt of its keys.
    Sealed(u32, [u8; 16]),
    /// Nothing is left of that many openings.
    Gone(ErasureId, u32),
}

impl Head {
    /// Reads it from the first bytes of a file; what follows is not looked at.
    pub(crate) fn read(bytes: &[u8]) -> Result<Head, FileError> {
        if bytes.starts_with(GONE) {
            return read_gone(bytes).map(|(id, n)| Head::Gone(id, n)).ok_or(FileError::Magic);
        }
        let (magic, rest) = bytes.split_first_chunk::<16>().ok_or(FileError::Magic)?;
        let (count, rest) = rest.split_first_chunk().ok_or(FileError::Magic)?;
        let count = u32::from_le_bytes(*count);
        if count as usize > MAX_RECORDS {
            return Err(FileError::Offsets);
        }
        match magic {
            CLEAR => Ok(Head::Clear(count)),
            SEALED => {
                let (salt, _) = rest.split_first_chunk().ok_or(FileError::Magic)?;
                Ok(Head::Sealed(count, *salt))
            }
            _ => Err(FileError::Magic),
        }
    }

    fn parts(&self) -> (u32, u64) {
        match self {
            Head::Clear(count) => (*count, 20),
            Head::Sealed(count, _) => (*count, 36),
            Head::Gone(..) => (0, 0),
        }
    }

    /// Where the two offsets of a slot's page are.
    pub(crate) fn row(&self, slot: u32) -> Result<Range<u64>, FileError> {
        let (count, table) = self.parts();
        if slot >= count {
            return Err(FileError::Slot(slot));
        }
        let start = table + u64::from(slot) * 8;
        Ok(start..start + 16)
    }

    /// Where the page is, from the bytes at `row`.
    pub(crate) fn page(&self, row: &[u8]) -> Result<Range<u64>, FileError> {
        let at = |bytes: Option<&[u8]>| bytes.and_then(|b| b.try_into().ok()).map(u64::from_le_bytes);
        let (start, end) =
            at(row.get(..8)).zip(at(row.get(8..16))).filter(|_| row.len() == 16).ok_or(FileError::Offsets)?;
        let (count, table) = self.parts();
        let first = table + (u64::from(count) + 1) * 8;
        match end.checked_sub(start) {
            Some(1..=MAX_PAGE) if start >= first && end <= MAX_FILE => Ok(start..end),
            _ => Err(FileError::Offsets),
        }
    }

    /// All pages of a file that was read whole.
    pub(crate) fn pages<'a>(&self, file: &'a [u8]) -> Result<Vec<&'a [u8]>, FileError> {
        let (count, table) = self.parts();
        let mut end = table + (u64::from(count) + 1) * 8;
        let mut pages = Vec::new();
        for slot in 0..count {
            let row = self.row(slot)?;
            let row = file.get(row.start as usize..row.end as usize).ok_or(FileError::Offsets)?;
            let page = self.page(row)?;
            if page.start != end {
                return Err(FileError::Offsets);
            }
            end = page.end;
            pages.push(file.get(page.start as usize..page.end as usize).ok_or(FileError::Offsets)?);
        }
        if end == file.len() as u64 { Ok(pages) } else { Err(FileError::Offsets) }
    }
}

/// The page of one slot of a version 2 file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Page<'a> {
    Erased(ErasureId),
    Sealed(KeyName, &'a [u8]),
}

impl Page<'_> {
    pub(crate) fn read(bytes: &[u8], slot: u32) -> Result<Page<'_>, FileError> {
        let bad = FileError::Page(slot);
        match bytes.split_first() {
            Some((&ERASED, erasure)) => erasure.try_into().map(Page::Erased).map_err(|_| bad),
            Some((&PAGE, rest)) => {
                let (name, sealed) = rest.split_first_chunk().ok_or(bad)?;
                Ok(Page::Sealed(KeyName::from_bytes(name), sealed))
            }
            _ => Err(bad),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
