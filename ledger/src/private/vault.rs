//! The private store with its keys: seals what is written, opens what is read.

use super::crypt::{CryptError, DataKey, KEY_FILE, Kek, KeyName, Place, Tenant};
use super::file::{self, FIRST_READ, Head, Openings, Page};
use super::{Opening, read};
use crate::ledger::LedgerError;
use crate::ledger::keeper::private_name;
use crate::ledger::objects::Objects;
use bytes::Bytes;
use colophon_receipt::erasure::ErasureId;
use colophon_receipt::record::RecordId;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Names the key-encryption key of the store, so that a wrong one is noticed at the start.
pub(super) const KEK_NAME: &str = "keys/kek";
/// Data keys kept in memory; more are read again.
const MAX_KEYS: usize = 1024;
/// A key that another process destroys while it is used is replaced this often.
const TRIES: usize = 5;

/// What a slot holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Opening(Opening),
    /// Deleted on purpose.
    Erased(ErasureId),
}

/// What a file of openings has at a slot.
pub(super) enum Kept {
    /// All of the file was erased.
    Gone(ErasureId),
    /// An opening of a version that sealed nothing.
    Clear(Bytes),
    /// A page, with the salt of the file's keys.
    Sealed([u8; 16], Bytes),
}

/// A data key as the store has it.
enum Stored {
    Key(DataKey),
    Erased(ErasureId),
    Missing,
}

/// The private store.
pub(crate) struct Vault {
    pub(crate) store: Objects,
    kek: Arc<Kek>,
    keys: Mutex<HashMap<KeyName, Arc<DataKey>>>,
    /// Which of them seal what is written now.
    writing: Mutex<BTreeMap<(Tenant, u32), Arc<DataKey>>>,
    /// Whether proofs of records are kept: by this process, or by any before it started.
    pub(super) proofs: AtomicBool,
}

impl Vault {
    /// Whether openings were ever sealed in `store`: then their key-encryption key is needed.
    pub(crate) async fn is_sealed(store: &Objects) -> Result<bool, LedgerError> {
        store.exists(KEK_NAME).await
    }

    /// Takes the store up, or begins it.
    pub(crate) async fn open(store: Objects, kek: Arc<Kek>) -> Result<Vault, LedgerError> {
        let own = format!("{}\n", kek.id());
        let mut known = store.get(KEK_NAME, 64).await?;
        if known.is_none() && !store.create(KEK_NAME, own.clone().into_bytes().into()).await? {
            // Another process that shares the store was faster.
            known = store.get(KEK_NAME, 64).await?;
        }
        if let Some(known) = known.filter(|known| **known != *own.as_bytes()) {
            let (wrapped, given) = (String::from_utf8_lossy(&known).trim().to_owned(), kek.id());
            let source = CryptError::OtherKek { wrapped, given };
            return Err(LedgerError::PrivateKey { what: KEK_NAME.into(), source });
        }
        let proofs = AtomicBool::new(Vault::has_proofs(&store).await?);
        Ok(Vault { store, kek, keys: Mutex::default(), writing: Mutex::default(), proofs })
    }

    /// Seals the openings of a batch and stores them.
    pub(crate) async fn put(
        &self,
        shard: &str,
        seq: u64,
        openings: &Arc<impl Openings>,
    ) -> Result<(), LedgerError> {
        let name = private_name(shard, seq);
        for _ in 0..TRIES {
            let mut keys = BTreeMap::new();
            let kinds: BTreeSet<_> = openings.kinds().map(|(_, kind)| kind).collect();
            for kind in kinds {
                keys.insert(kind, self.writing_key(kind).await?);
            }
            let mut salt = [0; 16];
            getrandom::fill(&mut salt)?;
            let (openings, owner, used) = (openings.clone(), shard.to_owned(), keys.clone());
            // A large batch takes tens of milliseconds.
            let seal = move || file::seal(&*openings, &owner, seq, &salt, &used);
            let sealed = tokio::task::spawn_blocking(seal).await;
            let file = sealed.map_err(|e| damage(&name, e))?.map_err(|e| damage(&name, e))?;
            self.store.put_parts(&name, file).await?;
            // Whoever shares the store may have destroyed a key between its look-up and now.
            let mut live = true;
            for key in keys.values() {
                if !matches!(self.stored(&key.name).await?, Stored::Key(_)) {
                    self.forget(&key.name);
                    live = false;
                }
            }
            if live {
                return Ok(());
            }
        }
        Err(damage(&name, "its keys are destroyed again and again while it is written"))
    }

    /// The key that seals records of a tenant and month: one that there is, or a new one.
    pub(super) async fn writing_key(&self, kind: (Tenant, u32)) -> Result<Arc<DataKey>, LedgerError> {
        if let Some(key) = lock(&self.writing).get(&kind) {
            return Ok(key.clone());
        }
        let (tenant, month) = kind;
        let mut names = self.store.list(&tenant.folder()).await?;
        names.sort();
        let mut found = None;
        for name in names.iter().filter_map(|file| KeyName::parse(tenant, file)).filter(|n| n.month == month)
        {
            match self.stored(&name).await {
                Ok(Stored::Key(key)) => {
                    found = Some(Arc::new(key));
                    break;
                }
                Ok(Stored::Erased(_) | Stored::Missing) => {}
                // What it sealed cannot be opened; that is no reason not to record.
                Err(error) => tracing::error!(%error, "a key of the private openings cannot be used"),
            }
        }
        let key = match found {
            Some(key) => key,
            None => {
                let key = DataKey::generate(tenant, month)?;
                let wrapped = self.kek.wrap(&key).map_err(|e| private_key(&key.name, e))?;
                self.store.put(&key.name.path(), wrapped.into()).await?;
                Arc::new(key)
            }
        };
        let mut writing = lock(&self.writing);
        if writing.len() >= MAX_KEYS {
            writing.clear();
        }
        writing.insert(kind, key.clone());
        Ok(key)
    }

    async fn stored(&self, name: &KeyName) -> Result<Stored, LedgerError> {
        let Some(bytes) = self.store.get(&name.path(), KEY_FILE as u64).await? else {
            return Ok(Stored::Missing);
        };
        if let Some((erasure, _)) = file::read_gone(&bytes) {
            return Ok(Stored::Erased(erasure));
        }
        self.kek.unwrap(name, &bytes).map(Stored::Key).map_err(|e| private_key(name, e))
    }

    /// Forgets a key that was destroyed.
    pub(super) fn forget(&self, name: &KeyName) {
        lock(&self.keys).remove(name);
        lock(&self.writing).retain(|_, key| key.name != *name);
    }

    /// What the slot of a batch holds, decrypted but not yet compared with the record.
    pub(crate) async fn opening(
        &self,
        shard: &str,
        seq: u64,
        slot: u32,
        id: &RecordId,
    ) -> Result<Found, LedgerError> {
        let name = private_name(shard, seq);
        let (salt, page) = match self.kept(&name, slot).await? {
            Kept::Gone(erasure) => return Ok(Found::Erased(erasure)),
            Kept::Clear(page) => return read(&page).map(Found::Opening).map_err(|e| damage(&name, e)),
            Kept::Sealed(salt, page) => (salt, page),
        };
        let (key_name, sealed) = match Page::read(&page, slot).map_err(|e| damage(&name, e))? {
            Page::Erased(erasure) => return Ok(Found::Erased(erasure)),
            Page::Sealed(key_name, sealed) => (key_name, sealed),
        };
        let key = match self.reading_key(&key_name, &name).await? {
            Ok(key) => key,
            Err(erasure) => return Ok(Found::Erased(erasure)),
        };
        let opened = key.of_file(&salt).and_then(|key| key.open(Place { shard, seq, slot, id }, sealed));
        let text = opened.map_err(|e| damage(&name, e))?;
        read(&text).map(Found::Opening).map_err(|e| damage(&name, e))
    }

    /// What a file of openings has at a slot.
    pub(super) async fn kept(&self, name: &str, slot: u32) -> Result<Kept, LedgerError> {
        let missing = || damage(name, "it is missing");
        let first = self.store.get_range(name, 0..FIRST_READ).await?.ok_or_else(missing)?;
        let head = Head::read(&first).map_err(|e| damage(name, e))?;
        if let Head::Gone(erasure, _) = head {
            return Ok(Kept::Gone(erasure));
        }
        let part =
            async |range: std::ops::Range<u64>| match first.get(range.start as usize..range.end as usize) {
                Some(bytes) => Ok(Bytes::copy_from_slice(bytes)),
                None => self.store.get_range(name, range).await?.ok_or_else(missing),
            };
        let row = part(head.row(slot).map_err(|e| damage(name, e))?).await?;
        let page = part(head.page(&row).map_err(|e| damage(name, e))?).await?;
        Ok(match head {
            Head::Sealed(_, salt) => Kept::Sealed(salt, page),
            _ => Kept::Clear(page),
        })
    }

    /// A key by its name, or the erasure that destroyed it.
    pub(super) async fn reading_key(
        &self,
        name: &KeyName,
        file: &str,
    ) -> Result<Result<Arc<DataKey>, ErasureId>, LedgerError> {
        if let Some(key) = lock(&self.keys).get(name) {
            return Ok(Ok(key.clone()));
        }
        let key = match self.stored(name).await? {
            Stored::Key(key) => Arc::new(key),
            Stored::Erased(erasure) => return Ok(Err(erasure)),
            Stored::Missing => {
                return Err(damage(file, format!("its key {} is missing", name.path())));
            }
        };
        let mut keys = lock(&self.keys);
        if keys.len() >= MAX_KEYS {
            keys.clear();
        }
        keys.insert(*name, key.clone());
        Ok(Ok(key))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn damage(what: &str, why: impl std::fmt::Display) -> LedgerError {
    LedgerError::Damaged { what: what.to_owned(), why: why.to_string() }
}

pub(super) fn private_key(name: &KeyName, source: CryptError) -> LedgerError {
    LedgerError::PrivateKey { what: name.path(), source }
}
