//! Opening a log: a new one begins with its genesis, an old one continues only if nothing contradicts it.

use std::sync::Arc;

use colophon_receipt::checkpoint::Checkpoint;
use colophon_receipt::merkle::empty_root;
use colophon_receipt::statement::Genesis;
use colophon_signer::note::{NoteAlgorithm, VerifierKey};
use object_store::ObjectStore;
use tokio::sync::watch;
use tracing::{info, warn};

use super::identity::Identity;
use super::{Log, LogConfig, LogError, Publisher, Veto, write_tiles};
use crate::head::{self, Stored};
use crate::leaf::Leaf;
use crate::prove::{LogReader, fetch};
use crate::sequencer::{self, SeqEntry};
use crate::state::{Last, StateFile};
use crate::store::{Store, StoreError};
use crate::tiles::{Edge, TileId};

/// What is known before the first leaf is looked at.
struct Opening {
    store: Store,
    config: LogConfig,
    state: Option<StateFile>,
    last: Option<Last>,
    identity: Option<Identity>,
}

pub(super) async fn open(inner: Arc<dyn ObjectStore>, config: LogConfig) -> Result<Log, LogError> {
    let mut store = Store::new(inner, format!("log/{}", config.generation));
    match store.probe_create().await {
        Err(StoreError::NoConditionalCreate) if !config.several_writers => {
            warn!(
                "THE STORE HAS NO CONDITIONAL CREATE: nothing but care keeps a second writer from overwriting this \
                 log's entries. Let no other `colophon serve` write to it"
            );
            store = store.unconditional();
        }
        probed => probed?,
    }
    let key = config.key.public_key();
    // Locked before it is read, for as long as the log lives: what it says stays true until it is written.
    let state = match &config.state {
        Some(folder) => Some(StateFile::open(folder, &key, config.generation).await?),
        None => {
            warn!(
                "no state folder: a data folder restored from an old copy would not be noticed (see --state)"
            );
            None
        }
    };
    let last = match &state {
        Some(file) => match file.load().await {
            Err(e) if config.adopt => {
                warn!("{e}: replaced, because of --adopt");
                None
            }
            loaded => loaded?,
        },
        None => None,
    };
    let identity = Identity::read(&store).await?;
    let hint = last.as_ref().map_or(0, |last| last.seq);
    let newest = sequencer::newest(&store, hint).await?;
    let mut opening = Opening { store, config, state, last, identity };
    let newest = match newest {
        Some(n) => n,
        None => opening.begin().await?,
    };
    opening.resume(newest).await
}

impl Opening {
    /// A folder without entries becomes a new log, unless someone knows better. Returns the newest entry's number.
    async fn begin(&mut self) -> Result<u64, LogError> {
        if (self.config.generation > 1) != self.config.predecessor.is_some() {
            let folder = self.store.full("");
            return Err(LogError::Contradiction(format!(
                "{folder} is empty, and only a rotation of the log's key begins a later generation"
            )));
        }
        if let Some(last) = self.last.as_ref().filter(|last| last.size > 0) {
            return Err(self.rolled_back(last, "the store holds no log entries at all"));
        }
        if self.store.exists(head::NAME).await? {
            let (checkpoint, seq) = (self.store.full(head::NAME), self.store.full("seq"));
            return Err(LogError::Contradiction(format!("there is a {checkpoint}, but no entries in {seq}")));
        }
        let identity = match self.identity.take() {
            Some(identity) => identity,
            None => {
                let identity = self.invent()?;
                // State first: a store whose token no state knows would look like a copy.
                self.bind(&identity).await?;
                identity.create(&self.store).await?
            }
        };
        self.check_origin(&identity.origin)?;
        self.bind(&identity).await?;
        let genesis = Genesis {
            origin: identity.origin.clone(),
            vkeys: vec![self.vkey(&identity.origin)?.to_string()],
            inception: self.config.now,
            predecessor: self.config.predecessor.clone(),
        };
        let entry = SeqEntry {
            n: 0,
            previous_size: 0,
            previous_root: empty_root(),
            writer: random()?,
            leaves: vec![genesis.encode()],
        };
        if self.store.create(&SeqEntry::name(0), entry.encode()).await? {
            info!(origin = identity.origin, "new log");
        }
        self.identity = Some(identity);
        // Ours, or another writer's who was faster.
        Ok(sequencer::newest(&self.store, 0).await?.unwrap_or(0))
    }

    /// A new identity, or the one that an earlier attempt recorded outside but did not get to use.
    fn invent(&self) -> Result<Identity, LogError> {
        let base = match &self.config.origin {
            Some(base) => base.clone(),
            None => format!("colophon.local/{}", hex::encode(random::<8>()?)),
        };
        let origin = format!("{base}/{}", self.config.generation);
        // A name that cannot be a key's name must not get as far as the store.
        self.vkey(&origin)?;
        Ok(match &self.last {
            Some(last) if self.config.origin.is_none() || last.origin == origin => {
                Identity::new(last.origin.clone(), last.token)
            }
            _ => Identity::new(origin, random()?),
        })
    }

    /// Records outside the store that this log is ours and that nothing of it is signed yet.
    async fn bind(&mut self, identity: &Identity) -> Result<(), LogError> {
        let last = Last::nothing(identity.origin.clone(), identity.token);
        if let Some(state) = self.state.as_ref().filter(|_| self.last.as_ref() != Some(&last)) {
            state.save(&last).await?;
        }
        self.last = Some(last);
        Ok(())
    }

    /// Redoes the newest entry, once everything that could contradict it was asked.
    async fn resume(mut self, n: u64) -> Result<Log, LogError> {
        let adopting = match self.check_identity() {
            Err(foreign) => return Err(self.other_key().await.unwrap_or(foreign)),
            Ok(adopting) => adopting,
        };
        if adopting {
            self.last = None;
        }
        let name = self.store.full(&SeqEntry::name(n));
        let entry = match sequencer::read(&self.store, n).await? {
            Some(Ok(entry)) => entry,
            Some(Err(e)) => return Err(LogError::corrupt(name, e.to_string())),
            None => return Err(LogError::corrupt(name, "it came and went")),
        };
        self.check_given_way(entry.leaves.last()).await?;
        let size = entry.previous_size + entry.leaves.len() as u64;
        if let Some(last) = self.last.as_ref().filter(|last| last.size > size) {
            let what = format!("it holds {size} leaves");
            return Err(self.rolled_back(last, &what));
        }
        let before = fetch::edge(&self.store, entry.previous_size, &entry.previous_root).await?;
        let (after, writes) = before.extend(&entry.leaves);
        let vkey = self.check_genesis(&entry).await?;
        if let Some(last) = &self.last {
            let signed = Checkpoint { origin: last.origin.clone(), size: last.size, root: last.root };
            if !self.is_prefix(&signed, &before, &after).await? {
                return Err(self.rolled_back(last, "it holds another history than the one signed"));
            }
        }
        self.check_checkpoint(n, &vkey, &before, &after).await?;

        let token = match &self.identity {
            Some(identity) => identity.token,
            None => Identity::new(vkey.name().to_owned(), random()?).create(&self.store).await?.token,
        };
        if adopting {
            warn!(log = self.store.full(""), leaves = size, "adopted: this machine now continues the log");
        }
        let last = self.last.take().unwrap_or_else(|| Last {
            size: before.size(),
            root: before.root(),
            seq: n.saturating_sub(1),
            ..Last::nothing(vkey.name().to_owned(), token)
        });
        write_tiles(&self.store, writes).await?;
        let mut publisher =
            Publisher { vkey, lock: Arc::default(), key: self.config.key, state: self.state, last };
        let head = publisher.publish(&self.store, &after, n).await?;
        Ok(Log {
            reader: LogReader::new(self.store.clone()),
            store: self.store,
            publisher,
            writer: random()?,
            next: n.saturating_add(1),
            edge: after,
            pending: None,
            obsolete: Vec::new(),
            head: watch::Sender::new(head),
            veto: Veto::default(),
        })
    }

    /// Whether the store is to be adopted; an error when it is not this machine's and may not be.
    fn check_identity(&self) -> Result<bool, LogError> {
        if let Some(identity) = &self.identity {
            self.check_origin(&identity.origin)?;
        }
        let Some(state) = &self.state else { return Ok(false) };
        let what = match (&self.last, &self.identity) {
            (Some(last), Some(identity)) if last.token == identity.token => return Ok(false),
            (Some(_), Some(_)) => "the store carries another token than the state outside it",
            (Some(_), None) => "the store has lost its identity file",
            (None, _) => "there is no state outside the store",
        };
        if self.config.adopt {
            return Ok(true);
        }
        Err(LogError::Foreign {
            folder: self.store.full(""),
            state: state.path().to_owned(),
            what: what.to_owned(),
        })
    }

    /// Refuses to go on with a log whose last leaf gives way to another key where this machine has signed under that: the store has lost
    /// the newer generation. A rotation that was interrupted has signed nothing yet.
    async fn check_given_way(&self, last: Option<&Vec<u8>>) -> Result<(), LogError> {
        let Some(state) = self.state.as_ref().filter(|_| !self.config.adopt) else { return Ok(()) };
        let Some(Ok(Leaf::Revocation(_, said))) = last.map(|leaf| Leaf::parse(leaf)) else { return Ok(()) };
        let successor = said.successor.as_deref().and_then(|vkey| vkey.parse::<VerifierKey>().ok());
        let Some((successor, key)) = successor.as_ref().and_then(|vkey| Some((vkey, vkey.public_key()?)))
        else {
            return Ok(());
        };
        let generation = self.config.generation;
        match state.next(key, generation).await? {
            Some((state, next)) if next.size > 0 => Err(LogError::RolledBack {
                folder: self.store.beside(format!("log/{}", generation + 1)).full(""),
                state,
                signed: next.size,
                what: format!(
                    "its last leaf gives way to {}, of which the store has nothing",
                    successor.name()
                ),
            }),
            _ => Ok(()),
        }
    }

    /// Why nothing is known of this log here, if that is because the key given is not its key: the state is kept by key.
    async fn other_key(&self) -> Option<LogError> {
        let first = sequencer::read(&self.store, 0).await.ok()??.ok()?;
        let genesis = Genesis::decode(first.leaves.first()?).ok()?;
        let given = self.vkey(&genesis.origin).ok()?.to_string();
        let known = genesis.vkeys.contains(&given);
        (!known).then(|| LogError::Key { genesis: genesis.vkeys.join(", "), given })
    }

    fn check_origin(&self, stored: &str) -> Result<(), LogError> {
        let Some(base) = &self.config.origin else { return Ok(()) };
        let given = format!("{base}/{}", self.config.generation);
        if given == stored { Ok(()) } else { Err(LogError::Origin { stored: stored.to_owned(), given }) }
    }

    /// Reads leaf 0, which says whose log this is. Returns the log's verifier key.
    async fn check_genesis(&self, entry: &SeqEntry) -> Result<VerifierKey, LogError> {
        let leaf = match entry.leaves.first().filter(|_| entry.previous_size == 0) {
            Some(leaf) => leaf.clone(),
            None => {
                let before = self.checkpoint(entry.previous_size, entry.previous_root);
                LogReader::new(self.store.clone()).entry(0, &before).await?
            }
        };
        let genesis = Genesis::decode(&leaf).map_err(|e| {
            LogError::corrupt(
                self.store.full(&TileId::bundle(0).name()),
                format!("leaf 0 is no genesis: {e}"),
            )
        })?;
        self.check_origin(&genesis.origin)?;
        if let Some(identity) = self.identity.as_ref().filter(|identity| identity.origin != genesis.origin) {
            let given = identity.origin.clone();
            return Err(LogError::Origin { stored: genesis.origin, given });
        }
        let vkey = self.vkey(&genesis.origin)?;
        if !genesis.vkeys.contains(&vkey.to_string()) {
            return Err(LogError::Key { genesis: genesis.vkeys.join(", "), given: vkey.to_string() });
        }
        Ok(vkey)
    }

    /// A checkpoint may lag behind, be missing or be garbage: it is written anew. It may not say anything else.
    async fn check_checkpoint(
        &self,
        n: u64,
        vkey: &VerifierKey,
        before: &Edge,
        after: &Edge,
    ) -> Result<(), LogError> {
        let name = self.store.full(head::NAME);
        let stored = match head::read(&self.store, vkey).await? {
            Stored::Head(stored) => stored.checkpoint,
            Stored::Missing => {
                if before.size() > 0 {
                    warn!("{name} is missing: written anew from the entries");
                }
                return Ok(());
            }
            Stored::Garbled(why) => {
                warn!("{name} is unreadable ({why}): written anew from the entries");
                return Ok(());
            }
        };
        let (size, held) = (stored.size, after.size());
        if size > held && self.store.exists(&SeqEntry::name(n + 1)).await? {
            // Another writer went on since the newest entry was looked for; its entries are replayed at the next append.
            return Ok(());
        }
        if size > held {
            return Err(LogError::Contradiction(format!(
                "{name} is signed for {size} leaves, but {} holds only {held}; was part of the folder restored from \
                 an older copy?",
                self.store.full("seq")
            )));
        }
        match self.is_prefix(&stored, before, after).await? {
            true => Ok(()),
            false => Err(LogError::Contradiction(format!(
                "{name} is signed for {size} leaves with another root than the entries lead to"
            ))),
        }
    }

    /// Whether `old`, not larger than `after`, is an earlier head of the same tree.
    async fn is_prefix(&self, old: &Checkpoint, before: &Edge, after: &Edge) -> Result<bool, LogError> {
        for edge in [before, after] {
            if old.size == edge.size() {
                return Ok(old.root == edge.root());
            }
        }
        if old.size > before.size() {
            // Heads are signed at the borders of entries only.
            return Ok(false);
        }
        let before = self.checkpoint(before.size(), before.root());
        match LogReader::new(self.store.clone()).consistency(old, &before).await {
            Ok(_) => Ok(true),
            Err(LogError::Contradiction(_)) => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// An unsigned head, to read by. Its origin plays no part.
    fn checkpoint(&self, size: u64, root: colophon_receipt::Hash) -> Checkpoint {
        Checkpoint { origin: String::new(), size, root }
    }

    fn rolled_back(&self, last: &Last, what: &str) -> LogError {
        let state = self.state.as_ref().map(|state| state.path().to_owned()).unwrap_or_default();
        let folder = self.store.full("");
        LogError::RolledBack { folder, state, signed: last.size, what: what.to_owned() }
    }

    fn vkey(&self, origin: &str) -> Result<VerifierKey, LogError> {
        Ok(VerifierKey::new(origin, NoteAlgorithm::Ed25519, self.config.key.public_key())?)
    }
}

fn random<const N: usize>() -> Result<[u8; N], LogError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(crate::store::StoreError::from)?;
    Ok(bytes)
}
