//! Opening a ledger: its stores, its log, what earlier lives left, its first shard, and all that runs beside it.

use super::folder::{self, Folder};
use super::ids::{Clock, Ids, Tokens};
use super::keeper::Keeper;
use super::late::{Earlier, Late};
use super::objects::Objects;
use super::{Book, Config, Inner, Ledger, LedgerError};
use crate::anchor::{Anchoring, Anchors};
use crate::attest::{self, Birth, Counting};
use crate::bypass::Bypasses;
use crate::destination::{Destination, Own};
use crate::draws::{self, Draws};
use crate::generation::{self, Older};
use crate::index::merge::{self, Whose};
use crate::lookup::{Batches, Places};
use crate::policy;
use crate::private::Vault;
use crate::shard::Shard;
use crate::store::{Location, Store};
use crate::wal::{self, Copier, Copy, Durability, Replay, Shelf, Wal};
use crate::witness::Witnesses;
use arc_swap::ArcSwap;
use colophon_receipt::receipt::MAX_ANCHORS;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, OnceLock};
use tokio::sync::{Notify, mpsc};
use tokio_util::task::TaskTracker;

/// Erasures and the like that wait for the one under way; more wait outside.
const WAITING_COMMANDS: usize = 16;

impl Ledger {
    /// Opens the data folder: locks it, takes up the log, announces a new shard, and has what earlier lives left in the
    /// WAL logged. The [`Keeper`] runs on the current tokio runtime until it is closed or dropped.
    pub async fn open(config: Config) -> Result<(Ledger, Keeper), LedgerError> {
        let folder = Folder::open(&config.data)?;
        let store = config.stores.open_public(folder.root())?;
        let private = config.stores.open_private(&folder)?;
        Ledger::open_stores(config, folder, Objects(store), Objects(private)).await
    }

    pub(super) async fn open_stores(
        mut config: Config,
        folder: Folder,
        objects: Objects,
        private: Objects,
    ) -> Result<(Ledger, Keeper), LedgerError> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if config.name.is_empty() || config.name.len() > 128 || !config.name.chars().all(plain) {
            return Err(LedgerError::Name(config.name));
        }
        config.max_batch = config.max_batch.clamp(1, crate::batch::MAX_RECORDS);
        let (token_key, token_made) = match &config.stores.token_key {
            Some(shared) => (folder::shared_token_key(shared)?, false),
            None => folder.token_key()?,
        };
        let tokens = Tokens::new(&token_key);
        let vault = Arc::new(open_vault(&config, &folder, private).await?);
        policy::keep(&objects, &config.policy).await?;
        // First of all: from here on no process that this one takes over from can keep records.
        let (replay, shelf) = replayed(&config, &folder, &vault).await?;
        let own = Own {
            store: objects.0.clone(),
            origin: config.origin.clone(),
            state: config.state.clone(),
            adopt: config.adopt,
            now: Clock::new(0).now(),
        };
        let mut log = Destination::open(&config.log, own, folder.log_head()).await?;
        let witnesses = match config.witnesses.as_ref().zip(log.own()) {
            Some((witnessing, log)) => {
                let mut witnesses = Witnesses::new(witnessing, log).await?;
                witnesses.first_round(&log.head()).await.map_err(LedgerError::Witness)?;
                Some(witnesses)
            }
            None => None,
        };
        let cosigned = witnesses.as_ref().map(Witnesses::kept).unwrap_or_default();
        let tsas = config.timestamps.as_ref().map_or(MAX_ANCHORS, |timestamps| timestamps.urls.len());
        // Of a log elsewhere as well: whoever dates its heads may keep the tokens here.
        let dated_in = format!("log/{}", log.generation());
        let keys = log.vkey().parse().ok().into_iter().collect();
        let anchors = Anchors::open(Store::new(objects.0.clone(), dated_in), keys, tsas).await?;
        let anchoring = match &config.timestamps {
            Some(timestamps) => Some(Anchoring::new(timestamps, anchors.clone(), cosigned.clone()).await?),
            None => None,
        };
        if token_made && log.head().size() > 1 {
            let file = folder.token_path();
            tracing::error!(
                file = %file.display(),
                "the key of the receipt links was missing though the log has records; it was made anew, so every link \
                 handed out before is refused (403) until the old file is put back"
            );
        }
        let root = config.stores.public.as_ref().map_or(Some(folder.root()), Location::folder);
        let removed = root.map_or(0, |root| log.clean_staging(root));
        if removed > 0 {
            tracing::info!(removed, "half-written files of a process that died are gone");
        }
        // After the log is open: a rotation that was interrupted is completed by that.
        let generation = log.generation();
        let older = match log.is_away() {
            false => {
                generation::older(&log.files().unwrap_or(objects.0.clone()), &objects.0, generation).await
            }
            true => Vec::new(),
        };
        let last_shard = folder.last_shard()?;
        let last_tag = last_shard.as_ref().map(|(name, _)| crate::shard::tag(name));
        let newest = replay.done.iter().map(|done| done.completed_at).max().unwrap_or(0);
        let limits = wal::Limits { durability: config.durability, max_bytes: config.max_backlog_bytes };
        let wal = Wal::new(folder.wal(), &replay, wal::MAX_SEGMENT, limits);
        let mut earlier = Earlier { replay, last_shard, recovered: Vec::new() };
        if !log.is_away() {
            earlier.leave_generations(&log, &objects, &older).await?;
        }
        let evidence = config.evidence.clone();
        let counting = Counting::default();
        let birth = Birth { attesting: evidence.as_ref(), anchors: &anchors, counting: &counting };
        let (clock, shard, from, book, late) = match log.is_away() {
            false => {
                let found = earlier.find(&mut log, &objects, &folder, None, &birth, |past| {
                    let clock = Clock::new(past.to.unwrap_or(0).max(newest));
                    let shard = Shard::generate(&config.name, clock.now(), config.shard_key_life)?;
                    Ok((shard, clock))
                });
                let (found, clock) = found.await?;
                let now = clock.now();
                let (shard, from, recovered) = found.taken_up(&mut earlier, &folder, &wal, now, now)?;
                let mut book = Book::new(from);
                recovered.into_iter().for_each(|pending| book.recover(pending));
                wal.release([]);
                (clock, shard, from, book, None)
            }
            true => {
                let clock = Clock::new(newest);
                let now = clock.now();
                let late = Late::begin(earlier, &log, &config, &folder, &wal, now, &birth).await?;
                let mut book = Book::new(now);
                book.expect(late.ids());
                (clock, late.shard().clone(), now, book, Some(late))
            }
        };
        // Before anything of the shard is logged: a machine that takes over has to know it.
        let copier = match shelf {
            Some((shelf, taken)) => Some(Copier::begin(shelf, taken, &wal, clock.now()).await?),
            None => None,
        };
        wal.start()?;
        let bypasses = Bypasses::open(folder.root(), clock.now())?;
        let shard = Arc::new(shard);
        let (commands, asked) = mpsc::channel(WAITING_COMMANDS);
        let drawing = config.drawing.clone();
        let ledger = Ledger(Arc::new(Inner {
            config,
            folder,
            origin: log.origin().to_owned(),
            vkey: log.vkey(),
            head: log.heads(),
            reader: log.reader(),
            log_files: log.files().map_or_else(|| objects.clone(), Objects),
            older: ArcSwap::from_pointee(older),
            late_announced: OnceLock::new(),
            objects,
            draws: Draws::new(drawing.chain.clone()),
            attested: counting,
            vault,
            copies: copier.as_ref().map(Copier::copies),
            shard: ArcSwap::new(shard.clone()),
            wal,
            bypasses,
            book: Mutex::new(book),
            clock,
            ids: Ids::default(),
            tokens,
            malformed: AtomicU64::new(0),
            wal_failed: AtomicBool::new(false),
            left: TaskTracker::new(),
            keeper_ended: AtomicBool::new(false),
            places: Places::default(),
            batches: Batches::default(),
            full: Notify::new(),
            kept: cosigned,
            witnesses: witnesses.as_ref().map(Witnesses::status),
            anchors,
            timestamps: anchoring.as_ref().map(|(anchoring, demands)| (anchoring.status(), demands.clone())),
            commands,
        }));
        let mut keeper = Keeper::start(ledger.clone(), log, shard, from, asked, late);
        if let Some(copier) = copier {
            let (wal, inner) = (ledger.0.wal.clone(), Arc::downgrade(&ledger.0));
            keeper.beside(copier.copies().sweep(wal.clone()));
            keeper.beside(copier.run(wal, move || inner.upgrade().map_or(0, |inner| inner.clock.now())));
        }
        if let Some(witnesses) = witnesses {
            keeper.beside(witnesses.run(ledger.0.head.clone()));
        }
        if let Some((anchoring, _)) = anchoring {
            let ended = ledger.0.older.load().iter().map(Older::end).collect();
            keeper.beside(anchoring.run(ledger.0.head.clone(), ended));
        }
        keeper.beside(ledger.merging(last_tag));
        keeper.beside(draws::task::run(Arc::downgrade(&ledger.0), drawing));
        if let Some(attesting) = evidence {
            keeper.beside(attest::renew::run(Arc::downgrade(&ledger.0), attesting));
        }
        Ok((ledger, keeper))
    }

    /// Merges index files of past hours. Keeps the ledger from nothing, its end included.
    fn merging(&self, last_tag: Option<[u8; 2]>) -> impl Future<Output = ()> + use<> {
        let own_folder = self.0.config.stores.public.as_ref().is_none_or(|store| store.folder().is_some());
        let whose = match own_folder {
            true => Whose::All,
            false => Whose::Tags(last_tag.into_iter().collect()),
        };
        let (now, ledger) = (Clock::new(0), Arc::downgrade(&self.0));
        let tag = move || ledger.upgrade().map(|inner| inner.shard.load().tag);
        merge::run(self.0.objects.clone(), whose, move || now.now() / 1000, tag)
    }
}

/// What earlier lives left in the WAL and, with durability `node`, in the store.
async fn replayed(
    config: &Config,
    folder: &Folder,
    vault: &Arc<Vault>,
) -> Result<(Replay, Option<(Shelf, Vec<Copy>)>), LedgerError> {
    if config.durability != Durability::Node {
        return Ok((wal::replay(&folder.wal())?, None));
    }
    let now = Clock::new(0).now();
    let shelf = Shelf::claim(vault.clone(), &config.name, now).await?;
    let own = folder.add_life(shelf.life())?;
    let left = shelf.look().await?;
    if left.is_lost(&own) {
        wal::put_aside(&folder.wal())?;
    }
    let mut replay = wal::replay(&folder.wal())?;
    let taken = shelf.take_over(left, &mut replay, now).await?;
    Ok((replay, Some((shelf, taken))))
}

/// The private store, opened by the key given or by the data folder's own.
async fn open_vault(config: &Config, folder: &Folder, store: Objects) -> Result<Vault, LedgerError> {
    let kek = match &config.private_key {
        Some(kek) => kek.clone(),
        None => Arc::new(folder.private_key(Vault::is_sealed(&store).await?)?),
    };
    Vault::open(store, kek).await
}
