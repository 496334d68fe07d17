use super::*;
use crate::ledger::objects::Objects;
use crate::log::tests::support::{Gate, memory};
use crate::private::{Kek, Shelved};
use crate::wal::frame::Parsed;
use crate::wal::tests::field_set;
use crate::wal::{Durability, Limits, MAX_SEGMENT, replay};
use colophon_receipt::Level;
use tempfile::TempDir;

const NOW: u64 = 1_700_000_000_000_000;
/// Nothing here takes longer.
const PATIENCE: Duration = Duration::from_secs(20);

/// A WAL whose frames are copied, as a ledger does it.
struct Life {
    wal: Arc<Wal>,
    copies: Arc<Copies>,
    vault: Arc<Vault>,
    owner: String,
    tasks: tokio::task::JoinSet<()>,
}

impl Life {
    async fn begin(dir: &TempDir, store: Arc<Gate>) -> Life {
        let limits = Limits { durability: Durability::Node, max_bytes: u64::MAX };
        let wal = Wal::new(dir.path().to_owned(), &replay(dir.path()).unwrap(), MAX_SEGMENT, limits);
        wal.set_shard("host/ab", 3);
        let kek = Arc::new(Kek::new(&[5; 32]).unwrap());
        let vault = Arc::new(Vault::open(Objects(store), kek).await.unwrap());
        let shelf = Shelf::claim(vault.clone(), "host", NOW).await.unwrap();
        let owner = shelf.owner();
        let copier = Copier::begin(shelf, Vec::new(), &wal, NOW).await.unwrap();
        let copies = copier.copies();
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(copies.clone().sweep(wal.clone()));
        let copying = wal.clone();
        tasks.spawn(async move { copier.run(copying, || NOW).await });
        Life { wal, copies, vault, owner, tasks }
    }

    /// An exchange whose frame is written to the current segment.
    fn begun(&self, n: u8) {
        let queued = self.wal.queue_open(&[n; 16], 900, Level::Commit, &field_set(n), None).unwrap();
        self.wal.written_open(&[n; 16], queued).unwrap();
    }

    /// Nothing holds their frames any more.
    fn logged<const N: usize>(&self, exchanges: [u8; N]) {
        self.wal.release(exchanges.map(|n| self.wal.undone(&[n; 16])));
    }

    /// Whose frames the copies in the store hold.
    async fn copied(&self) -> Vec<u8> {
        let mut ids = Vec::new();
        for name in self.vault.store.paths("wal").await.unwrap() {
            let number = name.rsplit('/').next().unwrap().parse().unwrap();
            let bytes = self.vault.store.get(&name, MAX_COPY).await.unwrap().unwrap();
            let shelved = self.vault.shelved(&self.owner, number, &bytes).await.unwrap();
            let Shelved::Frames(frames) = shelved else { panic!("{name} is a fence") };
            let mut rest = frames.as_slice();
            while !rest.is_empty() {
                let Parsed::Good(kind, payload, step) = frame::parse(rest) else { panic!("{name}") };
                if kind == frame::OPEN {
                    ids.push(frame::OpenFrame::read(payload).unwrap().id[0]);
                }
                rest = &rest[step..];
            }
        }
        ids
    }
}

#[tokio::test]
async fn no_copy_has_frames_of_a_retired_segment_and_of_a_later_one() {
    let (dir, store) = (TempDir::new().unwrap(), Gate::new(memory()));
    let mut life = Life::begin(&dir, store.clone()).await;
    // While one copy is under way, frames of both segments wait for the next.
    let held = store.hold("wal/host/");
    life.begun(1);
    timeout(PATIENCE, held.reached.notified()).await.unwrap();
    life.begun(2);
    let retired = life.wal.retire().unwrap();
    life.begun(3);
    life.logged([1, 2]);
    assert!(life.wal.is_gone(retired).unwrap(), "from the disk");
    assert!(!life.copies.are_gone(retired), "two are still to come");
    held.go.notify_one();
    let gone = async {
        while !life.copies.are_gone(retired) {
            life.logged([]);
            sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(PATIENCE, gone).await.expect("they go");
    assert_eq!(life.copied().await, [3], "what came after stays");
    life.tasks.shutdown().await;
}
