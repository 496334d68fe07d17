//! Timestamps as they are kept: which checkpoints are dated, by which tokens, and which token is the beacon.
//!
//! Relative to the log's folder: `anchor/<size>/checkpoint`, the note; `anchor/<size>/<tsa>.tst`, a token over it;
//! `timestamped/<size>`, which says that there is one (cosigned checkpoints are in `anchor/` too, and many more);
//! `beacon/<hash>`, the tokens that statements may name, by what they name them.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use colophon_receipt::Hash;
use colophon_receipt::merkle::sha256;
use colophon_receipt::receipt::MAX_ANCHORS;
use colophon_signer::note::{Note, VerifierKey};
use colophon_signer::rfc3161::{MAX_RESPONSE, Roots, Token};

use super::client::Verified;
use crate::head::{self, SignedHead};
use crate::store::{Store, StoreError};

/// Dated checkpoints whose tokens are in memory.
const IN_MEMORY: usize = 64;
/// A beacon is looked for in so many dated checkpoints, the newest first.
const LOOK_BACK: usize = 8;
/// Where a checkpoint was not dated by all TSAs, so many later ones are looked at for more.
const LOOK_AHEAD: usize = 6;
/// Which checkpoints others have had dated is looked up at most this often.
const LIST_EVERY: Duration = Duration::from_secs(60);
/// What the name of a token's file ends in.
pub(crate) const ENDING: &str = ".tst";
/// The folder of the sizes that are dated.
pub(crate) const SIZES: &str = "timestamped";

/// SHA-256 of a checkpoint with the log's own signature line alone: what TSAs are asked to date. Cosignatures that come
/// later do not change it.
pub(crate) fn imprint(head: &SignedHead) -> Option<Hash> {
    let own = Note::parse(&head.note).ok()?.with_only(&head.checkpoint.origin)?;
    Some(sha256(own.as_bytes()))
}

/// The folder of what others signed over the checkpoint of this size.
pub(crate) fn folder(size: u64) -> String {
    format!("anchor/{size}")
}

/// The name of a token that statements may name.
pub(crate) fn beacon_name(hash: &Hash) -> String {
    format!("beacon/{}", hex::encode(hash))
}

/// A checkpoint with tokens over it.
#[derive(Clone, Debug)]
pub(crate) struct Dated {
    pub(crate) head: SignedHead,
    /// Good for this checkpoint; whether their TSAs are trusted is the reader's affair.
    pub(crate) tokens: Vec<Vec<u8>>,
}

/// The token that statements name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Beacon {
    hash: Hash,
    time: u64,
}

/// The timestamps of a log; clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Anchors(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    store: Store,
    /// The keys that the log's checkpoints may be signed by.
    keys: Vec<VerifierKey>,
    /// How many TSAs are asked.
    tsas: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Sizes of the checkpoints that are dated.
    sizes: BTreeSet<u64>,
    /// When they were last listed: other processes of the same store have heads dated too.
    listed: Option<Instant>,
    beacon: Option<Beacon>,
    /// The last ones that were read, newest last.
    read: VecDeque<(u64, Arc<Dated>)>,
}

impl Anchors {
    /// Reads which checkpoints are dated; `tsas` is how many tokens each should get from now on.
    pub(crate) async fn open(
        store: Store,
        keys: Vec<VerifierKey>,
        tsas: usize,
    ) -> Result<Anchors, StoreError> {
        let anchors = Anchors(Arc::new(Shared { store, keys, tsas, state: Mutex::default() }));
        anchors.list().await?;
        Ok(anchors)
    }

    async fn list(&self) -> Result<(), StoreError> {
        let names = self.0.store.list(SIZES).await?;
        let mut state = self.state();
        state.sizes.extend(names.iter().filter_map(|name| name.parse::<u64>().ok()));
        state.listed = Some(Instant::now());
        Ok(())
    }

    /// Lists again, now and then, where leaf `index` is not under a dated checkpoint yet.
    async fn look_again(&self, index: u64) {
        let due = {
            let mut state = self.state();
            let known = state.sizes.last().is_some_and(|size| *size > index);
            let due = !known && state.listed.is_none_or(|listed| listed.elapsed() >= LIST_EVERY);
            if due {
                state.listed = Some(Instant::now());
            }
            due
        };
        if due && let Err(error) = self.list().await {
            tracing::warn!(%error, "which checkpoints are dated cannot be listed");
        }
    }

    /// Makes the newest token of an earlier life the beacon, if its TSA leads to `roots` and it is not of the future.
    pub(super) async fn find_beacon(&self, roots: &Roots, latest: u64) -> Result<(), StoreError> {
        let sizes: Vec<u64> = self.state().sizes.iter().rev().take(LOOK_BACK).copied().collect();
        for size in sizes {
            let Some(dated) = self.read(size).await? else { continue };
            let good = dated.tokens.iter().filter_map(|der| {
                let token = Token::parse(der).ok()?;
                token.chain(roots).ok()?;
                Some((token.info().gen_time, der)).filter(|(time, _)| *time <= latest)
            });
            if let Some((time, der)) = good.max_by_key(|(time, _)| *time) {
                return self.light(&Verified { der: der.clone(), time }).await;
            }
        }
        Ok(())
    }

    /// The token that a statement made now names.
    pub(crate) fn beacon(&self) -> Option<Hash> {
        self.state().beacon.map(|beacon| beacon.hash)
    }

    /// The time of the beacon, µs since the epoch.
    pub(crate) fn beacon_time(&self) -> Option<u64> {
        self.state().beacon.map(|beacon| beacon.time)
    }

    /// Whether a token of this name over the checkpoint of this size is stored.
    pub(super) async fn has(&self, size: u64, name: &str) -> Result<bool, StoreError> {
        self.0.store.exists(&format!("{}/{name}{ENDING}", folder(size))).await
    }

    /// Stores a token for good. One that is there already stays.
    pub(super) async fn keep(
        &self,
        head: &SignedHead,
        name: &str,
        token: &Verified,
    ) -> Result<(), StoreError> {
        let (store, folder) = (&self.0.store, folder(head.size()));
        store.create(&format!("{folder}/checkpoint"), head.note.clone().into_bytes()).await?;
        store.create(&format!("{folder}/{name}{ENDING}"), token.der.clone()).await?;
        let mark = format!("{name}{ENDING}\n").into_bytes();
        store.create(&format!("{SIZES}/{}", head.size()), mark).await?;
        let mut state = self.state();
        state.sizes.insert(head.size());
        state.read.retain(|(size, _)| *size != head.size());
        Ok(())
    }

    /// Makes a stored token the beacon, unless there is a newer one.
    pub(super) async fn light(&self, token: &Verified) -> Result<(), StoreError> {
        let beacon = Beacon { hash: sha256(&token.der), time: token.time };
        if self.beacon_time().is_some_and(|time| time >= beacon.time) {
            return Ok(());
        }
        // First the place where receipts find it.
        self.0.store.create(&beacon_name(&beacon.hash), token.der.clone()).await?;
        self.state().beacon = Some(beacon);
        Ok(())
    }

    /// The dated checkpoint that proves leaf `index`, with its tokens: the earliest one that all TSAs have dated, or else
    /// the one with most tokens among the next few. What is damaged is told and passed over: a receipt without a timestamp
    /// is better than none.
    pub(crate) async fn covering(&self, index: u64) -> Option<Arc<Dated>> {
        self.look_again(index).await;
        let after = index.saturating_add(1);
        let sizes: Vec<u64> = self.state().sizes.range(after..).take(LOOK_AHEAD).copied().collect();
        let mut best: Option<Arc<Dated>> = None;
        for size in sizes {
            match self.read(size).await {
                Ok(Some(dated)) => {
                    let most = best.as_ref().map_or(0, |best| best.tokens.len());
                    if dated.tokens.len() > most {
                        best = Some(dated);
                    }
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::error!(%error, size, "a dated checkpoint cannot be read; receipts go without it");
                }
            }
            if best.as_ref().is_some_and(|best| best.tokens.len() >= self.0.tsas) {
                break;
            }
        }
        best
    }

    /// The token that a statement names as its beacon.
    pub(crate) async fn named(&self, hash: &Hash) -> Option<Vec<u8>> {
        let name = beacon_name(hash);
        match self.0.store.get(&name, MAX_RESPONSE as u64).await {
            Ok(Some(der)) if sha256(&der) == *hash => return Some(der.to_vec()),
            Ok(Some(_)) => {
                tracing::error!(name, "is not the token that it is named after; receipts go without it")
            }
            Ok(None) => {
                tracing::error!(name, "is missing; receipts of statements that name it go without it")
            }
            Err(error) => tracing::error!(%error, name, "cannot be read; receipts go without it"),
        }
        None
    }

    /// A dated checkpoint and its tokens, each checked; `None` where nothing good is left of it.
    async fn read(&self, size: u64) -> Result<Option<Arc<Dated>>, StoreError> {
        let known =
            self.state().read.iter().find(|(known, _)| *known == size).map(|(_, dated)| dated.clone());
        if known.is_some() {
            return Ok(known);
        }
        let (Shared { store, keys, .. }, folder) = (&*self.0, folder(size));
        let file = format!("{folder}/checkpoint");
        let note =
            store.get(&file, head::MAX_FILE).await?.and_then(|note| String::from_utf8(note.into()).ok());
        let head = note.and_then(|note| keys.iter().find_map(|key| SignedHead::parse(&note, key).ok()));
        let head = head.filter(|head| head.size() == size);
        let Some((head, imprint)) = head.and_then(|head| imprint(&head).map(|imprint| (head, imprint)))
        else {
            tracing::error!(file, "is missing or no checkpoint of this log; receipts go without it");
            return Ok(None);
        };
        let mut names = store.list(&folder).await?;
        names.retain(|name| name.ends_with(ENDING));
        names.sort();
        let mut tokens = Vec::new();
        for name in names.iter().take(MAX_ANCHORS) {
            let file = format!("{folder}/{name}");
            let Some(der) = store.get(&file, MAX_RESPONSE as u64).await? else { continue };
            match Token::parse(&der).and_then(|token| token.check_imprint(&imprint)) {
                Ok(()) => tokens.push(der.to_vec()),
                Err(error) => tracing::error!(file, %error, "a damaged timestamp; receipts go without it"),
            }
        }
        if tokens.is_empty() {
            return Ok(None);
        }
        let dated = Arc::new(Dated { head, tokens });
        let mut state = self.state();
        state.read.push_back((size, dated.clone()));
        if state.read.len() > IN_MEMORY {
            state.read.pop_front();
        }
        Ok(Some(dated))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
