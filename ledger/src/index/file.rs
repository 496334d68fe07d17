//! An index file, of one batch or of many.
//!
//! ```text
//! "colophon index 2" | u16le shards | shards × (u64le log index of its announcement | u16le length | shard)
//!   | u32le batches | batches × (u16le shard | u64le log index of the statement | u32le seq)
//!   | rows of 24 bytes: id (16) | u32le batch | u32le slot
//! ```
//! Shards and batches are numbered from 0, in the order in which they stand. Version 1 is that of one batch (`index.rs`).

use super::{IndexError, MAGIC, ROW, Target, id_ms, id_tag};
use bytes::Bytes;
use colophon_receipt::merkle::sha256;
use colophon_receipt::record::RecordId;
use std::collections::BTreeMap;

const MERGED: &[u8; 16] = b"colophon index 2";

/// An index file that was read.
#[derive(Clone, Debug)]
pub struct Index {
    /// What rows point into; version 1 has one, and its rows say the seq.
    targets: Vec<Target>,
    of_one: bool,
    rows: Bytes,
}

impl Index {
    /// Reads a file of either version. Rows are not looked at.
    ///
    /// # Errors
    /// [`IndexError`] where it makes no sense.
    pub fn read(file: &Bytes) -> Result<Index, IndexError> {
        let mut rest = Reader(file);
        let magic = rest.array::<16>()?;
        let of_one = magic == *MAGIC;
        let targets = match () {
            () if of_one => {
                let (log_index, announced) = (rest.u64()?, rest.u64()?);
                vec![Target { shard: rest.text()?, seq: 0, log_index, announced }]
            }
            () if magic == *MERGED => rest.targets()?,
            () => return Err(IndexError),
        };
        let rows = file.slice_ref(rest.0);
        if rows.len().is_multiple_of(ROW) { Ok(Index { targets, of_one, rows }) } else { Err(IndexError) }
    }

    fn rows(&self) -> &[[u8; ROW]] {
        self.rows.as_chunks().0
    }

    /// The ids, in the order in which they stand.
    pub fn ids(&self) -> impl Iterator<Item = RecordId> {
        self.rows().iter().map(id)
    }

    /// The batch and slot of `id`.
    ///
    /// # Errors
    /// [`IndexError`] where its row names no batch.
    pub fn find(&self, id: &RecordId) -> Result<Option<(Target, u32)>, IndexError> {
        let rows = self.rows();
        let Ok(at) = rows.binary_search_by(|row| row[..16].cmp(&id[..])) else { return Ok(None) };
        rows.get(at).map(|row| self.place(row)).transpose()
    }

    fn place(&self, row: &[u8; ROW]) -> Result<(Target, u32), IndexError> {
        let mut rest = Reader(&row[16..]);
        let (batch, slot) = (rest.u32()?, rest.u32()?);
        let target = match self.of_one {
            true => self.targets.first().map(|target| Target { seq: batch.into(), ..target.clone() }),
            false => self.targets.get(batch as usize).cloned(),
        };
        Ok((target.ok_or(IndexError)?, slot))
    }
}

/// What stands in a merged file's name for what is in it.
pub(super) fn hash(file: &[u8]) -> String {
    hex::encode(&sha256(file)[..8])
}

fn id(row: &[u8; ROW]) -> RecordId {
    let mut id = [0; 16];
    id.copy_from_slice(&row[..16]);
    id
}

/// Rows of several files, to become one.
#[derive(Debug, Default)]
pub(super) struct Merged(BTreeMap<RecordId, (Target, u32)>);

impl Merged {
    /// Takes the rows of a file in.
    ///
    /// # Errors
    /// A row that names no batch; then none is taken.
    pub(super) fn add(&mut self, file: &Index) -> Result<(), IndexError> {
        let rows: Vec<_> =
            file.rows().iter().map(|row| Ok((id(row), file.place(row)?))).collect::<Result<_, _>>()?;
        self.0.extend(rows);
        Ok(())
    }

    /// The last part of its name, and the file; `None` without rows. The same rows make the same file.
    pub(super) fn file(&self) -> Option<(String, Vec<u8>)> {
        let (first, last) = (self.0.keys().next()?, self.0.keys().next_back()?);
        let mut shards: Vec<(&str, u64)> =
            self.0.values().map(|(target, _)| (target.shard.as_str(), target.announced)).collect();
        shards.sort_unstable();
        shards.dedup();
        let mut batches: Vec<&Target> = self.0.values().map(|(target, _)| target).collect();
        batches.sort_unstable();
        batches.dedup();
        let mut out = MERGED.to_vec();
        out.extend_from_slice(&u16::try_from(shards.len()).ok()?.to_le_bytes());
        for (shard, announced) in &shards {
            out.extend_from_slice(&announced.to_le_bytes());
            out.extend_from_slice(&(shard.len() as u16).to_le_bytes());
            out.extend_from_slice(shard.as_bytes());
        }
        out.extend_from_slice(&(batches.len() as u32).to_le_bytes());
        for target in &batches {
            let shard = shards.binary_search(&(target.shard.as_str(), target.announced)).ok()?;
            out.extend_from_slice(&(shard as u16).to_le_bytes());
            out.extend_from_slice(&target.log_index.to_le_bytes());
            out.extend_from_slice(&(target.seq as u32).to_le_bytes());
        }
        for (id, (target, slot)) in &self.0 {
            let batch = batches.binary_search(&target).ok()?;
            out.extend_from_slice(id);
            out.extend_from_slice(&(batch as u32).to_le_bytes());
            out.extend_from_slice(&slot.to_le_bytes());
        }
        let (tag, hash) = (hex::encode(id_tag(first)), hash(&out));
        Some((format!("{:013}-{:013}-{tag}-m{hash}", id_ms(first), id_ms(last)), out))
    }
}

/// What is left to read.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], IndexError> {
        let (array, rest) = self.0.split_first_chunk().ok_or(IndexError)?;
        self.0 = rest;
        Ok(*array)
    }

    fn u16(&mut self) -> Result<u16, IndexError> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, IndexError> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, IndexError> {
        self.array().map(u64::from_le_bytes)
    }

    fn text(&mut self) -> Result<String, IndexError> {
        let length = self.u16()?;
        let (text, rest) = self.0.split_at_checked(length.into()).ok_or(IndexError)?;
        self.0 = rest;
        str::from_utf8(text).map(str::to_owned).map_err(|_| IndexError)
    }

    /// Shards and batches of a merged file.
    fn targets(&mut self) -> Result<Vec<Target>, IndexError> {
        let count = self.u16()?;
        let shards = (0..count).map(|_| Ok((self.u64()?, self.text()?)));
        let shards: Vec<(u64, String)> = shards.collect::<Result<_, IndexError>>()?;
        let count = self.u32()?;
        let targets = (0..count).map(|_| {
            let (announced, shard) = shards.get(usize::from(self.u16()?)).ok_or(IndexError)?;
            let (log_index, seq) = (self.u64()?, self.u32()?.into());
            Ok(Target { shard: shard.clone(), seq, log_index, announced: *announced })
        });
        targets.collect()
    }
}

#[cfg(test)]
mod tests;
