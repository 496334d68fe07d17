//! Another key-encryption key for a private store: the data keys are wrapped again, what they sealed stays as it is.

use super::crypt::{CryptError, DataKey, KEY_FILE, Kek, KeyName, Tenant};
use super::file;
use super::vault::{KEK_NAME, damage, private_key};
use crate::ledger::LedgerError;
use crate::ledger::Stores;
use crate::ledger::folder::Folder;
use crate::ledger::objects::Objects;
use std::path::PathBuf;

/// Passes over the keys: a process that shares the store and was not stopped may make one meanwhile.
const PASSES: usize = 3;

/// What a re-wrap needs.
pub struct Rewrap {
    /// The data folder, of which no process may make use. Nor may another process that shares the private store.
    pub data: PathBuf,
    /// Where the private store is, if elsewhere.
    pub stores: Stores,
    /// The key so far; absent: the one kept in the data folder.
    pub old: Option<Kek>,
    /// The key from now on.
    pub new: Kek,
}

/// What a re-wrap did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rewrapped {
    /// Data keys that were wrapped again.
    pub keys: u64,
    /// Data keys that the new key wrapped before: by a re-wrap that was interrupted.
    pub before: u64,
}

/// Wraps every data key of the private store by another key. Interrupted, the same call completes it; until then openings
/// can be read with neither key alone.
///
/// # Errors
/// When the folder is in use, no opening was ever sealed there, or a key is wrapped by neither of the two: then nothing
/// more is changed, and the error names it.
pub async fn rewrap(rewrap: Rewrap) -> Result<Rewrapped, LedgerError> {
    let folder = Folder::open(&rewrap.data)?;
    let store = Objects(rewrap.stores.open_private(&folder)?);
    let old = match rewrap.old {
        Some(old) => old,
        None => folder.private_key(true)?,
    };
    let named = store.get(KEK_NAME, 64).await?;
    let named =
        named.ok_or_else(|| damage(KEK_NAME, "it is missing: nothing was ever sealed in this store"))?;
    let named = String::from_utf8_lossy(&named).trim().to_owned();
    if named != old.id() && named != rewrap.new.id() {
        let source = CryptError::OtherKek { wrapped: named, given: old.id() };
        return Err(LedgerError::PrivateKey { what: KEK_NAME.into(), source });
    }
    let mut done = Rewrapped::default();
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..PASSES {
        let names: Vec<_> =
            store.paths("keys").await?.into_iter().filter_map(|path| key_name(&path)).collect();
        for name in names.into_iter().filter(|name| seen.insert(*name)) {
            one(&store, &name, &old, &rewrap.new, &mut done).await?;
        }
        store.put(KEK_NAME, format!("{}\n", rewrap.new.id()).into_bytes().into()).await?;
    }
    Ok(done)
}

async fn one(
    store: &Objects,
    name: &KeyName,
    old: &Kek,
    new: &Kek,
    done: &mut Rewrapped,
) -> Result<(), LedgerError> {
    let failed = |source| private_key(name, source);
    // Erased between the listing and now, it is gone for good.
    let Some(bytes) = store.get(&name.path(), KEY_FILE as u64).await? else { return Ok(()) };
    if file::read_gone(&bytes).is_some() {
        return Ok(());
    }
    if new.unwrap(name, &bytes).is_ok() {
        done.before += 1;
        return Ok(());
    }
    let key: DataKey = old.unwrap(name, &bytes).map_err(failed)?;
    store.put(&name.path(), new.wrap(&key).map_err(failed)?.into()).await?;
    done.keys += 1;
    Ok(())
}

/// The data key whose file has this path.
fn key_name(path: &str) -> Option<KeyName> {
    let mut parts = path.strip_prefix("keys/")?.split('/');
    let mut tenant = [0; 16];
    hex::decode_to_slice(parts.next()?, &mut tenant).ok()?;
    let name = KeyName::parse(Tenant(tenant), parts.next()?)?;
    (name.path() == path).then_some(name)
}
