//! SIGKILL at many moments under load of every kind, and a restart on the same folder each time: one log, which only
//! grew; nothing that was released is lost; nothing is there twice.

use std::collections::BTreeSet;
use std::time::Duration;

use colophon_receipt::level::Outcome;
use colophon_tests::client::{get, post};
use colophon_tests::colophon::{self, Colophon};
use colophon_tests::log;
use colophon_tests::power::Disk;
use colophon_tests::receipts::Fetched;
use colophon_tests::soak::{Soak, upstream};
use colophon_tests::wire::Message;
use colophon_tests::{PATIENCE, wait_for};

const CHAT: &str = "/v1/chat/completions";

/// Kills of one run; `cargo xtask soak` asks for more.
const KILLS: u64 = 12;

#[test]
fn killed_at_any_moment_it_goes_on_with_the_same_log() {
    kill_again_and_again("process");
}

#[test]
fn killed_with_power_it_goes_on_with_the_same_log() {
    kill_again_and_again("power");
}

/// With `--durability node` each time the data folder and the state folder are gone as well.
#[test]
fn killed_with_its_disk_it_goes_on_with_the_same_log() {
    kill_again_and_again("node");
}

/// With each kill the power fails: what was not synced, of the log's files as well as of the WAL, is forgotten.
#[test]
fn without_power_it_goes_on_with_the_same_log() {
    if Disk::new().is_none() {
        eprintln!("skipped: without_power_it_goes_on_with_the_same_log: no C compiler");
        return;
    }
    soak(&Soak { durability: "power".to_owned(), power_loss: true, kills: KILLS, ..Soak::default() });
}

/// What is not promised is not kept: the disk of the test above does forget.
#[test]
fn without_power_a_process_loses_what_it_did_not_sync() {
    let Some(disk) = Disk::new() else {
        eprintln!("skipped: without_power_a_process_loses_what_it_did_not_sync: no C compiler");
        return;
    };
    let upstream = upstream();
    let mut colophon = Colophon::start(&upstream.url(), |options| {
        options.sign_all().batch_every = "1h".to_owned();
        disk.set(options);
    });
    let released = post(colophon.listen(), CHAT, "{}");
    let receipt = released.header("colophon-receipt").expect("a receipt").trim_matches('"').to_owned();
    let receipt = receipt.split('"').next().expect("a path");
    colophon.kill();
    disk.lose_power(&[colophon.data(), colophon.state()]);
    colophon.options().batch_every = "100ms".to_owned();
    colophon.restart();
    assert_eq!(get(colophon.listen(), receipt).status(), 404);
}

fn kill_again_and_again(durability: &str) {
    soak(&Soak { durability: durability.to_owned(), kills: KILLS, ..Soak::default() });
}

fn soak(soak: &Soak) {
    let done = soak.run(&|| false, &|_| ());
    assert!(done.whole > 100 && done.cut >= 6, "{done}");
}

/// Killed again before it is ready, several times over: starting is as safe as serving.
#[test]
fn killed_while_it_recovers() {
    let upstream = upstream();
    let mut colophon = Colophon::start(&upstream.url(), |options| {
        options.sign_all().batch_every = "1h".to_owned();
    });
    let released: Vec<Message> = (0..50).map(|_| post(colophon.listen(), CHAT, "{}")).collect();
    colophon.kill();
    let wal = log::files(&colophon.data().join("wal"));
    assert!(wal.iter().any(|file| file.metadata().unwrap().len() > 1000), "{wal:?}");
    colophon.options().batch_every = "100ms".to_owned();
    for round in 0..8 {
        colophon.start_and_kill(Duration::from_millis(5 + round * 9));
    }
    colophon.restart();
    for response in &released {
        assert_eq!(Fetched::of(response, colophon.listen()).outcome(), Outcome::Complete);
    }
    assert!(colophon.stop().success());
    let recorded = log::recorded_ids(&colophon.data());
    let distinct: BTreeSet<&[u8; 16]> = recorded.iter().collect();
    assert_eq!((recorded.len(), distinct.len()), (50, 50));
    let (code, said) = colophon::run(&["log", "check", &colophon.data().display().to_string()]);
    assert_eq!(code, 0, "{said}");
}

/// The tail of the WAL in every state a crash of the machine may leave: cut at any byte, zeros, rubbish, flipped bits.
#[test]
fn a_torn_wal_is_read_up_to_the_tear() {
    let upstream = upstream();
    let mut colophon = Colophon::start(&upstream.url(), |options| {
        options.sign_all().batch_every = "1h".to_owned();
    });
    let released: Vec<Message> = (0..4).map(|_| post(colophon.listen(), CHAT, "{}")).collect();
    colophon.kill();
    let files = log::files(&colophon.data().join("wal"));
    let wal = files.iter().max_by_key(|file| file.metadata().unwrap().len()).expect("a WAL").clone();
    let whole = std::fs::read(&wal).unwrap();
    let saved = colophon.folder().join("saved");
    let copy = |from: &std::path::Path, to: &std::path::Path| {
        std::fs::remove_dir_all(to).ok();
        let status = std::process::Command::new("cp").arg("-a").arg(from).arg(to).status();
        assert!(status.is_ok_and(|status| status.success()));
    };
    copy(&colophon.data(), &saved);
    colophon.options().batch_every = "100ms".to_owned();
    let mut torn: Vec<(String, Vec<u8>)> =
        [1, 4, 9, 60].map(|cut| (format!("{cut} bytes short"), whole[..whole.len() - cut].to_vec())).into();
    for (name, tail) in
        [("zeros", vec![0u8; 4096]), ("rubbish", (0..999u32).map(|n| ((n * 7919) >> 3) as u8).collect())]
    {
        torn.push((format!("{name} after it"), [whole.as_slice(), &tail].concat()));
    }
    for at in [2, 40] {
        let mut flipped = whole.clone();
        let byte = flipped.len() - at;
        flipped[byte] ^= 0x81;
        torn.push((format!("a flipped byte {at} before its end"), flipped));
    }
    let state = colophon.state();
    let saved_state = colophon.folder().join("saved-state");
    copy(&state, &saved_state);
    for (what, bytes) in torn {
        copy(&saved, &colophon.data());
        copy(&saved_state, &state);
        std::fs::write(&wal, &bytes).unwrap();
        let before = colophon.process().log().len();
        colophon.restart();
        let said = colophon.process().log()[before..].to_owned();
        let lost = !what.contains("after");
        for (number, response) in released.iter().enumerate() {
            let receipt = Fetched::of(response, colophon.listen());
            let expected = if lost && number == 3 { Outcome::Recovered } else { Outcome::Complete };
            assert_eq!(receipt.outcome(), expected, "{what}: answer {number}");
        }
        assert!(said.to_lowercase().contains("wal"), "{what}: nothing is said of it:\n{said}");
        assert!(colophon.stop().success());
        let (code, said) = colophon::run(&["log", "check", &colophon.data().display().to_string()]);
        assert_eq!(code, 0, "{what}: {said}");
    }
}

/// Killed in the middle of everything, it is ready again at once.
#[test]
fn a_restart_is_quick() {
    let upstream = upstream();
    let mut colophon = Colophon::start(&upstream.url(), |options| {
        options.sign_all().batch_every = "1h".to_owned();
    });
    for _ in 0..200 {
        assert_eq!(post(colophon.listen(), CHAT, "{}").status(), 200);
    }
    colophon.kill();
    let begun = std::time::Instant::now();
    colophon.restart();
    assert!(begun.elapsed() < Duration::from_secs(10), "it took {:?}", begun.elapsed());
    let logged = wait_for(PATIENCE, || (log::recorded_ids(&colophon.data()).len() == 200).then_some(()));
    assert!(logged.is_some(), "{} records", log::recorded_ids(&colophon.data()).len());
}
