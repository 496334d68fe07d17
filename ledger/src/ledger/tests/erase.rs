//! What is erased is gone from every byte of the folder, the log says so once, and everything else stays.

use super::*;
use crate::check::{CheckOptions, check};
use crate::ledger::keeper::private_name;
use crate::log::tests::support::Gate;
use crate::private::Found;
use crate::private::tests::clear_files;
use crate::{CameOf, SettleError, ToLog};
use colophon_receipt::erasure::{Erased, tenant_commitment};
use colophon_receipt::evidence::asked_id;
use colophon_receipt::merkle::leaf_hash;
use colophon_receipt::proof::Proof;
use colophon_receipt::receipt::Bytes;
use colophon_receipt::statement::Statement;
use colophon_signer::cose::Sign1;
use futures_util::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

/// The seed of exchange `n` (see `seal_for`): what opens it, and nothing else holds 32 such bytes.
fn seed(n: u64) -> [u8; 32] {
    [n as u8; 32]
}

/// Names of the files and objects that hold `needle`.
async fn holders(dir: &TempDir, store: &Arc<dyn ObjectStore>, needle: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![dir.path().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if std::fs::read(&path).unwrap().windows(needle.len()).any(|part| part == needle) {
                found.push(path.display().to_string());
            }
        }
    }
    for meta in store.list(None).try_collect::<Vec<_>>().await.unwrap() {
        let bytes = store.get(&meta.location).await.unwrap().bytes().await.unwrap();
        if bytes.windows(needle.len()).any(|part| part == needle) {
            found.push(meta.location.to_string());
        }
    }
    found
}

async fn erased(ledger: &Ledger, id: &RecordId) -> Option<u64> {
    match ledger.lookup(id).await.unwrap() {
        Lookup::Erased(erased) => Some(erased.logged.expect("logged").1),
        Lookup::Found(receipt) => {
            verify(ledger, &receipt);
            None
        }
        other => panic!("{other:?}"),
    }
}

async fn sound(store: &Arc<dyn ObjectStore>) -> (u64, u64) {
    let report = check(store.clone(), CheckOptions::default()).await;
    assert!(report.is_sound(), "{:?}", report.findings);
    (report.erasures, report.erased)
}

/// Three exchanges in one batch.
async fn three(ledger: &Ledger) -> [RecordId; 3] {
    let tickets = [101, 102, 103].map(|n| (n, accept(ledger, n).unwrap()));
    let ids = tickets.map(|(n, ticket)| complete(ledger, ticket, n).unwrap());
    settle(ledger).await;
    ids
}

fn slow(dir: &TempDir) -> Config {
    Config { batch_every: Duration::from_millis(100), ..config(dir.path()) }
}

#[tokio::test]
async fn what_is_erased_is_so_to_whoever_finds_it_by_a_listing_from_before() {
    let (dir, store) = (TempDir::new().unwrap(), FaultStore::new(memory(), Fault::HiccupBefore, usize::MAX));
    let (ledger, keeper) = open(slow(&dir), store.clone()).await.unwrap();
    let ids = three(&ledger).await;
    ledger.0.places.forget();
    for id in &ids {
        assert_eq!(erased(&ledger, id).await, None);
    }
    let listed = store.index_listings();
    let report = ledger.erase(Erase::Record(ids[1])).await.unwrap();
    assert_eq!(erased(&ledger, &ids[1]).await, report.logged.map(|(_, index)| index));
    assert_eq!(erased(&ledger, &ids[0]).await, None);
    assert_eq!(store.index_listings(), listed);
    keeper.close().await.unwrap();
}

#[tokio::test]
async fn one_record_leaves_nothing_behind_but_the_logs_word() {
    let (dir, store) = (TempDir::new().unwrap(), memory());
    let (ledger, keeper) = open(slow(&dir), store.clone()).await.unwrap();
    let ids = three(&ledger).await;
    let open_meanwhile = accept(&ledger, 7).unwrap();
    let handed_out = receipt(&ledger, &ids[1]).await;
    assert!(!holders(&dir, &store, &seed(102)).await.is_empty(), "the WAL has it until it is emptied");
    assert!(matches!(ledger.erase(Erase::Record([9; 16])).await, Err(EraseError::Unknown)));
    assert!(matches!(ledger.erase(Erase::Record(*open_meanwhile.id())).await, Err(EraseError::NotLogged)));

    let report = ledger.erase(Erase::Record(ids[1])).await.unwrap();
    assert_eq!((report.openings, report.earlier, report.salt), (1, false, None));
    let (at, index) = report.logged.unwrap();
    assert_eq!(holders(&dir, &store, &seed(102)).await, [""; 0]);
    assert_eq!(holders(&dir, &store, b"exchange 102").await, [""; 0], "its signature base");
    assert_eq!(holders(&dir, &store, b"/v1/102").await, [""; 0], "its fields");
    assert_eq!(erased(&ledger, &ids[1]).await, Some(index));
    for kept in [ids[0], ids[2]] {
        assert_eq!(erased(&ledger, &kept).await, None);
    }
    let leaf = verify(&ledger, &handed_out);
    let found = audit(&ledger).await;
    let (logged_at, erasure) = &found.erasures[0];
    let leaf_hash = colophon_receipt::merkle::leaf_hash(&leaf.encode());
    assert_eq!((*logged_at, erasure.at, erasure.openings), (index, at, 1));
    assert_eq!(erasure.what, Erased::Record { id: ids[1], leaf_hash });

    // Again: told so, and not logged again. The exchange that was open all the time is not lost.
    let again = ledger.erase(Erase::Record(ids[1])).await.unwrap();
    assert_eq!((again.earlier, again.logged, again.openings), (true, Some((at, index)), 1));
    let id = complete(&ledger, open_meanwhile, 7).unwrap();
    settle(&ledger).await;
    verify(&ledger, &receipt(&ledger, &id).await);
    keeper.close().await.unwrap();
    drop(ledger);
    assert_eq!(sound(&store).await, (1, 1));
    let (ledger, _keeper) = open(slow(&dir), store.clone()).await.unwrap();
    assert_eq!(erased(&ledger, &ids[1]).await, Some(index));
    assert_eq!(erased(&ledger, &ids[0]).await, None);
}

#[tokio::test]
async fn a_tenants_keys_and_pages_go_and_its_next_records_have_a_new_key() {
    let (dir, store) = (TempDir::new().unwrap(), memory());
    let (ledger, keeper) = open(slow(&dir), store.clone()).await.unwrap();
    let first = three(&ledger).await;
    let second = three(&ledger).await;
    ledger.erase(Erase::Record(first[0])).await.unwrap();
    for bad in [Vec::new(), vec![0; 1025]] {
        assert!(matches!(ledger.erase(Erase::Tenant(bad)).await, Err(EraseError::Tenant)));
    }
    let nobody = ledger.erase(Erase::Tenant(b"nobody".to_vec())).await.unwrap();
    assert_eq!((nobody.openings, nobody.logged), (0, None), "nothing to erase, nothing to log");
    let report = ledger.erase(Erase::Tenant(b"-".to_vec())).await.unwrap();
    assert_eq!(report.openings, 5);
    for id in first.iter().chain(&second).skip(1) {
        assert_eq!(erased(&ledger, id).await, Some(report.logged.unwrap().1));
    }
    for n in 101..=103 {
        assert_eq!(holders(&dir, &store, &seed(n)).await, [""; 0]);
    }
    let later = exchange(&ledger, 9);
    settle(&ledger).await;
    assert_eq!(erased(&ledger, &later).await, None);
    let found = audit(&ledger).await;
    let commitment = tenant_commitment(&report.salt.unwrap(), b"-");
    assert_eq!(found.erasures.last().unwrap().1.what, Erased::Tenant(commitment));
    assert_eq!(found.erasures.len(), 2);
    keeper.close().await.unwrap();
    drop(ledger);
    assert_eq!(sound(&store).await, (2, 6));
}

#[tokio::test]
async fn what_completed_before_a_time_goes_and_no_more() {
    let (dir, store) = (TempDir::new().unwrap(), memory());
    let (ledger, keeper) = open(slow(&dir), store.clone()).await.unwrap();
    let begun = ledger.now();
    let first = three(&ledger).await;
    let second = three(&ledger).await;
    assert!(matches!(ledger.erase(Erase::Before(u64::MAX)).await, Err(EraseError::Future)));
    let none = ledger.erase(Erase::Before(begun)).await.unwrap();
    assert_eq!((none.openings, none.logged, none.id), (0, None, None));
    // In the middle of the second batch.
    let leaf = verify(&ledger, &receipt(&ledger, &second[1]).await);
    let report = ledger.erase(Erase::Before(leaf.completed_at)).await.unwrap();
    assert_eq!(report.openings, 4);
    let index = report.logged.unwrap().1;
    for id in [first[0], first[1], first[2], second[0]] {
        assert_eq!(erased(&ledger, &id).await, Some(index));
    }
    for id in [second[1], second[2]] {
        assert_eq!(erased(&ledger, &id).await, None);
    }
    let found = audit(&ledger).await;
    assert_eq!(found.erasures[0].1.what, Erased::Before(leaf.completed_at));
    let again = ledger.erase(Erase::Before(leaf.completed_at)).await.unwrap();
    assert_eq!((again.openings, again.logged), (0, None));
    // Up to now: nothing is left.
    let all = ledger.erase(Erase::Before(ledger.now())).await.unwrap();
    assert_eq!(all.openings, 2);
    assert_eq!(erased(&ledger, &second[2]).await, Some(all.logged.unwrap().1));
    keeper.close().await.unwrap();
    drop(ledger);
    assert_eq!(sound(&store).await, (2, 6));
}

/// Openings in clear, of an earlier version: what stays is sealed, what goes is gone.
#[tokio::test]
async fn a_file_of_version_1_is_rewritten_sealed() {
    let (dir, store) = (TempDir::new().unwrap(), memory());
    let (ledger, _keeper) = open(slow(&dir), store.clone()).await.unwrap();
    let ids = three(&ledger).await;
    let (target, _) = ledger.0.places.newest().get(&ids[0]).unwrap();
    let mut openings = Vec::new();
    for (id, slot) in ids.iter().zip(0..) {
        match ledger.0.vault.opening(&target.shard, target.seq, slot, id).await.unwrap() {
            Found::Opening(opening) => openings.push((*id, opening)),
            Found::Erased(_) => panic!("erased"),
        }
    }
    let name = private_name(&target.shard, target.seq);
    store.put(&Path::from(name.as_str()), clear_files(&openings).into()).await.unwrap();
    assert!(holders(&dir, &store, &seed(103)).await.contains(&name));
    ledger.erase(Erase::Record(ids[1])).await.unwrap();
    for n in [101, 102, 103] {
        assert_eq!(holders(&dir, &store, &seed(n)).await, [""; 0], "sealed or gone");
    }
    assert!(erased(&ledger, &ids[1]).await.is_some());
    for kept in [ids[0], ids[2]] {
        assert_eq!(erased(&ledger, &kept).await, None);
    }
    // Another whole: its tenant is the one that version 1 knew.
    store.put(&Path::from(name.as_str()), clear_files(&openings).into()).await.unwrap();
    assert_eq!(ledger.erase(Erase::Tenant(b"-".to_vec())).await.unwrap().openings, 3);
    assert_eq!(holders(&dir, &store, &seed(101)).await, [""; 0]);
}

#[tokio::test]
async fn a_store_that_lost_or_garbled_a_file_is_erased_as_far_as_it_goes() {
    let (dir, store) = (TempDir::new().unwrap(), memory());
    let (ledger, keeper) = open(slow(&dir), store.clone()).await.unwrap();
    let [first, second] = [three(&ledger).await, three(&ledger).await];
    let name = |id: &RecordId| {
        let (target, _) = ledger.0.places.newest().get(id).unwrap();
        Path::from(private_name(&target.shard, target.seq))
    };
    store.delete(&name(&first[0])).await.unwrap();
    let lost = ledger.erase(Erase::Record(first[0])).await.unwrap();
    assert_eq!((lost.openings, lost.logged), (0, None), "there is nothing to erase");
    let whole = store.get(&name(&second[0])).await.unwrap().bytes().await.unwrap();
    store.put(&name(&second[0]), whole.slice(..whole.len() - 3).into()).await.unwrap();
    let error = ledger.erase(Erase::Record(second[0])).await.unwrap_err();
    assert!(error.to_string().contains(name(&second[0]).as_ref()), "{error}");
    // Repaired, the erasure that was begun is finished by the next, whatever that is.
    store.put(&name(&second[0]), whole.into()).await.unwrap();
    let next = ledger.erase(Erase::Record(second[0])).await.unwrap();
    assert!(next.earlier && next.openings == 1, "{next:?}");
    // A copy of a damaged WAL segment may hold anything.
    let aside = dir.path().join("data/wal/1.wal.damaged");
    std::fs::write(&aside, b"?").unwrap();
    let error = ledger.erase(Erase::Record(second[1])).await.unwrap_err();
    assert!(matches!(&error, EraseError::DamagedWal(files) if *files == [aside.clone()]));
    assert!(error.to_string().contains("1.wal.damaged"), "{error}");
    assert_eq!(erased(&ledger, &second[1]).await, None);
    std::fs::remove_file(&aside).unwrap();
    assert_eq!(ledger.erase(Erase::Record(second[1])).await.unwrap().openings, 1);
    keeper.close().await.unwrap();
    assert!(matches!(ledger.erase(Erase::Record(second[2])).await, Err(EraseError::Closed)));
}

#[tokio::test]
async fn half_written_openings_go_too() {
    let dir = TempDir::new().unwrap();
    let (ledger, keeper) = Ledger::open(slow(&dir)).await.unwrap();
    let ids = three(&ledger).await;
    let (target, _) = ledger.0.places.newest().get(&ids[0]).unwrap();
    let file = dir.path().join("data/private").join(private_name(&target.shard, target.seq));
    let staged = file.with_file_name(format!("{}#1", target.seq));
    // What a process killed in the middle of a write leaves.
    std::fs::write(&staged, std::fs::read(&file).unwrap()).unwrap();
    ledger.erase(Erase::Record(ids[0])).await.unwrap();
    assert!(!staged.exists());
    keeper.close().await.unwrap();
}

/// One attempt that dies at a write of the store, then another life: erased, logged once.
fn survive(fault: Fault, at: usize, what: impl Fn(&[RecordId; 3]) -> Erase, taken: u64) -> bool {
    let (dir, inner) = (TempDir::new().unwrap(), memory());
    let run = |work: &mut dyn FnMut(&tokio::runtime::Runtime)| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        work(&runtime);
    };
    let mut ids = [[0; 16]; 3];
    run(&mut |runtime| {
        runtime.block_on(async {
            let (ledger, keeper) = open(slow(&dir), inner.clone()).await.unwrap();
            ids = three(&ledger).await;
            keeper.close().await.unwrap();
        });
    });
    let faulty = FaultStore::new(inner.clone(), fault, at);
    run(&mut |runtime| {
        runtime.block_on(async {
            let Ok((ledger, keeper)) = open(slow(&dir), faulty.clone()).await else { return };
            // The reply may never come: the process is dead by then.
            let erase = ledger.erase(what(&ids));
            let _ = tokio::time::timeout(Duration::from_millis(400), erase).await;
            drop(keeper);
        });
    });
    run(&mut |runtime| {
        runtime.block_on(async {
            let (ledger, keeper) = open(slow(&dir), inner.clone()).await.unwrap();
            // Asked again, as whoever got no answer would.
            let report = ledger.erase(what(&ids)).await.unwrap();
            assert!(report.openings == taken || report.openings == 0, "{fault:?} at {at}: {report:?}");
            assert!(erased(&ledger, &ids[1]).await.is_some(), "{fault:?} at {at}");
            let found = audit(&ledger).await;
            let openings: Vec<u64> = found.erasures.iter().map(|(_, erasure)| erasure.openings).collect();
            assert_eq!(openings, [taken], "{fault:?} at {at}");
            keeper.close().await.unwrap();
            assert_eq!(holders(&dir, &inner, &seed(102)).await, [""; 0], "{fault:?} at {at}");
            assert!(crate::erase::Intent::load_all(&dir.path().join("data/wal")).unwrap().is_empty());
            sound(&inner).await;
        });
    });
    faulty.tripped()
}

#[test]
fn killed_at_any_write_an_erasure_is_finished_once() {
    for fault in [Fault::DeadBefore, Fault::DeadAfter, Fault::HiccupBefore, Fault::HiccupAfter] {
        let tripped = (0..16).filter(|at| survive(fault, *at, |ids| Erase::Record(ids[1]), 1)).count();
        assert!(tripped > 12, "{fault:?}: {tripped}");
    }
    for fault in [Fault::DeadBefore, Fault::DeadAfter] {
        let tripped = (6..18).filter(|at| survive(fault, *at, |_| Erase::Tenant(b"-".to_vec()), 3)).count();
        assert!(tripped > 8, "{fault:?}: {tripped}");
    }
}

/// What came of a proof about a record that somebody asked for.
async fn proven(ledger: &Ledger, id: RecordId, artefact: &[u8]) -> CameOf {
    let made = receipt(ledger, &id).await;
    let subject = leaf_hash(&made.record.leaf.0);
    let to = Statement::decode(Sign1::parse(&made.statement.0).unwrap().payload()).unwrap().to;
    let proof = Proof {
        format: Proof::FORMAT.into(),
        statement: colophon_receipt::proof::Statement::about(&subject, &"cd".repeat(32), "none"),
        prover: "p 1".into(),
        hides: false,
        setup: None,
        artefact: Bytes(artefact.to_vec()),
    };
    CameOf { record: id, subject, evidence: asked_id(to, &id, &subject, Level::Zk), proof: Some(proof) }
}

#[tokio::test]
async fn what_was_proven_of_a_record_is_kept_once_and_goes_with_it() {
    let (dir, store) = (TempDir::new().unwrap(), memory());
    let (ledger, keeper) = open(slow(&dir), store.clone()).await.unwrap();
    let ids = three(&ledger).await;
    let came = proven(&ledger, ids[1], b"first").await;
    let evidence = came.evidence;
    let second = proven(&ledger, ids[1], b"second").await;
    ledger.settle(came.clone()).await.unwrap();
    ledger.settle(second).await.unwrap();
    let made = receipt(&ledger, &ids[1]).await;
    verify(&ledger, &made);
    assert_eq!(made.evidence.len(), 1);
    assert_eq!(made.evidence[0].proof.as_ref().unwrap().proof.artefact.0, b"first");
    assert_eq!(ledger.0.vault.proofs_of(&ids[1]).await.unwrap(), [evidence]);
    assert_eq!(ledger.0.vault.proven().await.unwrap(), [ids[1]]);

    ledger.erase(Erase::Record(ids[1])).await.unwrap();
    assert!(erased(&ledger, &ids[1]).await.is_some());
    assert!(ledger.0.vault.proofs_of(&ids[1]).await.unwrap().is_empty());
    assert!(ledger.0.vault.proven().await.unwrap().is_empty());
    // Nothing is kept of it any more.
    let late = ledger.settle(CameOf { evidence: [7; 16], ..came }).await;
    assert!(matches!(late, Err(SettleError::NoRecord)), "{late:?}");
    assert!(ledger.0.vault.proofs_of(&ids[1]).await.unwrap().is_empty());
    assert!(erased(&ledger, &ids[0]).await.is_none());
    keeper.close().await.unwrap();
    assert_eq!(sound(&store).await.1, 1);
}

/// Two jobs may be about one draw. What is told is what the log says, whichever of them it is told of.
#[tokio::test]
async fn what_the_log_said_first_is_what_it_says() {
    let (dir, store) = (TempDir::new().unwrap(), memory());
    let (ledger, keeper) = open(slow(&dir), store.clone()).await.unwrap();
    let [first, second, _] = three(&ledger).await;
    let drawn = |came: CameOf| CameOf { evidence: [7; 16], ..came };
    let nothing = |came: &CameOf| CameOf { proof: None, ..came.clone() };
    // Nothing was done, the log says; a proof that comes after that is none that it speaks of.
    let late = drawn(proven(&ledger, first, b"artefact").await);
    ledger.settle(nothing(&late)).await.unwrap();
    assert!(matches!(ledger.prepare(late).await.unwrap(), ToLog::Settled { holds: false }));
    // A proof is kept and about to be logged: that nothing was done is not said before it.
    let kept = CameOf { evidence: [8; 16], ..proven(&ledger, second, b"artefact").await };
    let ToLog::Leaf(leaf) = ledger.prepare(kept.clone()).await.unwrap() else { panic!("nothing to log") };
    assert!(matches!(ledger.prepare(nothing(&kept)).await.unwrap(), ToLog::Elsewhere));
    ledger.log_prepared(vec![leaf]).await.unwrap();
    assert!(matches!(ledger.prepare(nothing(&kept)).await.unwrap(), ToLog::Settled { holds: true }));
    keeper.close().await.unwrap();
}

#[tokio::test]
async fn several_proofs_are_logged_by_one_statement() {
    let (dir, store) = (TempDir::new().unwrap(), memory());
    let (ledger, keeper) = open(slow(&dir), store.clone()).await.unwrap();
    let ids = three(&ledger).await;
    let mut leaves = Vec::new();
    for id in ids {
        let came = proven(&ledger, id, b"artefact").await;
        let ToLog::Leaf(leaf) = ledger.prepare(came).await.unwrap() else { panic!("nothing to log") };
        leaves.push(leaf);
    }
    ledger.log_prepared(leaves).await.unwrap();
    let statements: HashSet<_> = {
        let mut of = HashSet::new();
        for id in ids {
            let made = receipt(&ledger, &id).await;
            verify(&ledger, &made);
            of.insert(made.evidence[0].statement.0.clone());
            // What is logged is not prepared once more.
            let again = proven(&ledger, id, b"another").await;
            assert!(matches!(ledger.prepare(again).await.unwrap(), ToLog::Settled { holds: true }));
        }
        of
    };
    assert_eq!(statements.len(), 1);
    keeper.close().await.unwrap();
    assert_eq!(sound(&store).await.1, 0);
}

#[tokio::test]
async fn a_tenants_proofs_go_with_its_openings_and_others_stay() {
    let (dir, store) = (TempDir::new().unwrap(), memory());
    let (ledger, keeper) = open(slow(&dir), store.clone()).await.unwrap();
    let ids = three(&ledger).await;
    for id in ids {
        let came = proven(&ledger, id, b"artefact").await;
        ledger.settle(came).await.unwrap();
    }
    ledger.erase(Erase::Record(ids[0])).await.unwrap();
    assert_eq!(ledger.0.vault.proven().await.unwrap(), ids[1..]);
    ledger.erase(Erase::Tenant(b"-".to_vec())).await.unwrap();
    assert!(ledger.0.vault.proven().await.unwrap().is_empty());
    let later = exchange(&ledger, 9);
    settle(&ledger).await;
    let came = proven(&ledger, later, b"artefact").await;
    ledger.settle(came).await.unwrap();
    ledger.erase(Erase::Tenant(b"nobody".to_vec())).await.unwrap();
    assert_eq!(ledger.0.vault.proven().await.unwrap(), [later]);
    assert!(receipt(&ledger, &later).await.evidence[0].proof.is_some());
    keeper.close().await.unwrap();
}

#[tokio::test]
async fn a_proof_that_is_kept_while_its_record_is_erased_does_not_stay() {
    for whole in [false, true] {
        let dir = TempDir::new().unwrap();
        let gate = Gate::new(memory());
        let (ledger, keeper) = open(slow(&dir), gate.clone()).await.unwrap();
        let ids = three(&ledger).await;
        let came = proven(&ledger, ids[1], b"artefact").await;
        // Its record was there when it was looked for, and the proof is about to be written.
        let held = gate.hold("proof/");
        let what = if whole { Erase::Tenant(b"-".to_vec()) } else { Erase::Record(ids[1]) };
        let erasing = async {
            held.reached.notified().await;
            ledger.erase(what).await.unwrap();
            held.go.notify_one();
        };
        let (settled, ()) = tokio::join!(ledger.settle(came), erasing);
        assert!(matches!(settled, Err(SettleError::NoRecord)), "{settled:?}");
        assert!(ledger.0.vault.proofs_of(&ids[1]).await.unwrap().is_empty());
        assert!(ledger.0.vault.proven().await.unwrap().is_empty());
        keeper.close().await.unwrap();
    }
}
