//! Taking openings out of the private store for good. Every step can be repeated: what an erasure took says so.

use super::NO_TENANT;
use super::crypt::{KEY_FILE, KEY_NAME, KeyName, PageKey, Place, Tenant};
use super::file::{self, Head, MAX_FILE, Page, Writer};
use super::vault::{Vault, damage};
use crate::index::civil_month;
use crate::ledger::LedgerError;
use crate::ledger::keeper::private_name;
use bytes::Bytes;
use colophon_receipt::erasure::ErasureId;
use colophon_receipt::record::RecordId;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// The file of one batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Batched<'a> {
    pub(crate) shard: &'a str,
    pub(crate) seq: u64,
    /// Id and completion time (µs) of each slot; needed where only part of a file goes.
    pub(crate) slots: Option<&'a [(RecordId, u64)]>,
}

/// Which openings go, by slot and tenant.
pub(crate) type Select<'a> = &'a (dyn Fn(u32, Tenant) -> bool + Sync);

/// A page before it is written again.
enum Kept<'a> {
    Page(&'a [u8]),
    /// An opening in clear.
    Clear(&'a [u8]),
    Erased(ErasureId),
}

impl Vault {
    /// Deletes the selected openings of a batch. Returns how many of it `erasure` has taken, now or before.
    pub(crate) async fn erase(
        &self,
        batch: Batched<'_>,
        erasure: &ErasureId,
        select: Select<'_>,
    ) -> Result<u64, LedgerError> {
        let name = private_name(batch.shard, batch.seq);
        let damaged = |e: file::FileError| damage(&name, e);
        let Some(bytes) = self.store.get(&name, MAX_FILE).await? else { return Ok(0) };
        let head = Head::read(&bytes).map_err(damaged)?;
        if let Head::Gone(by, openings) = head {
            return Ok(if by == *erasure { openings.into() } else { 0 });
        }
        let mut kept = Vec::new();
        let (mut taken, mut now, mut others) = (0u32, 0u32, 0u32);
        for (page, slot) in head.pages(&bytes).map_err(damaged)?.into_iter().zip(0..) {
            let (tenant, page) = match head {
                Head::Sealed(..) => match Page::read(page, slot).map_err(damaged)? {
                    Page::Erased(by) => {
                        (taken, others) =
                            (taken + u32::from(by == *erasure), others + u32::from(by != *erasure));
                        kept.push(Kept::Erased(by));
                        continue;
                    }
                    Page::Sealed(key, _) => (key.tenant, Kept::Page(page)),
                },
                // Version 1 knew one tenant.
                _ => (Tenant::new(NO_TENANT), Kept::Clear(page)),
            };
            if select(slot, tenant) {
                now += 1;
                kept.push(Kept::Erased(*erasure));
            } else {
                others += 1;
                kept.push(page);
            }
        }
        taken += now;
        if now > 0 {
            let file = match others {
                0 => vec![file::gone(erasure, taken).into()],
                _ => self.rewritten(batch, &head, &kept).await?,
            };
            self.store.put_parts(&name, file).await?;
        }
        Ok(taken.into())
    }

    /// A file of the pages that stay, those in clear sealed.
    async fn rewritten(
        &self,
        batch: Batched<'_>,
        head: &Head,
        kept: &[Kept<'_>],
    ) -> Result<Vec<Bytes>, LedgerError> {
        let name = private_name(batch.shard, batch.seq);
        let damaged = |e: file::FileError| damage(&name, e);
        let mut salt = [0; 16];
        match head {
            // What is not opened keeps its key, so its salt.
            Head::Sealed(_, kept) => salt = *kept,
            _ => getrandom::fill(&mut salt)?,
        }
        let mut keys: BTreeMap<u32, ([u8; KEY_NAME], PageKey)> = BTreeMap::new();
        let mut file = Writer::new(&salt);
        for (page, slot) in kept.iter().zip(0u32..) {
            match page {
                Kept::Page(page) => file.copy(page),
                Kept::Erased(by) => file.erased(by),
                Kept::Clear(text) => {
                    let place = batch.slots.and_then(|slots| slots.get(slot as usize));
                    let (id, at) = place.ok_or_else(|| damage(&name, "it has more slots than its batch"))?;
                    let month = civil_month(at / 1000);
                    let (key_name, key) = match keys.entry(month) {
                        Entry::Occupied(known) => known.into_mut(),
                        Entry::Vacant(new) => {
                            let key = self.writing_key((Tenant::new(NO_TENANT), month)).await?;
                            let page_key = key.of_file(&salt).map_err(|e| damaged(e.into()))?;
                            new.insert((key.name.to_bytes(), page_key))
                        }
                    };
                    let place = Place { shard: batch.shard, seq: batch.seq, slot, id };
                    file.sealed(key_name, key, place, |out| out.extend_from_slice(text)).map_err(damaged)?;
                }
            }
        }
        Ok(file.finish())
    }

    /// Destroys the selected keys: what they sealed stays sealed, wherever copies of it are.
    pub(crate) async fn destroy_keys(
        &self,
        erasure: &ErasureId,
        select: impl Fn(&KeyName) -> bool,
    ) -> Result<(), LedgerError> {
        for path in self.store.paths("keys").await? {
            let mut parts = path.split('/').skip(1);
            let tenant = parts.next().and_then(|tenant| {
                let mut half = [0; 16];
                hex::decode_to_slice(tenant, &mut half).ok()?;
                Some(Tenant(half))
            });
            let name = tenant.zip(parts.next()).and_then(|(tenant, file)| KeyName::parse(tenant, file));
            let Some(name) = name.filter(|name| name.path() == path && select(name)) else { continue };
            let known = self.store.get(&path, KEY_FILE as u64).await;
            let gone = known.is_ok_and(|bytes| bytes.is_some_and(|bytes| file::read_gone(&bytes).is_some()));
            if !gone {
                self.store.put(&path, file::gone(erasure, 0).into()).await?;
            }
            self.forget(&name);
        }
        Ok(())
    }
}
