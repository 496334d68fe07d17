use colophon_receipt::checkpoint::Checkpoint;
use colophon_receipt::merkle::{consistency_proof, leaf_hash, root};
use colophon_signer::Ed25519Key;
use colophon_signer::note::sign_note;

use super::*;

const ORIGIN: &str = "log.example/1";

fn key(number: u8) -> Ed25519Key {
    Ed25519Key::from_seed(&[number; 32]).unwrap()
}

fn log_key() -> VerifierKey {
    VerifierKey::new(ORIGIN, NoteAlgorithm::Ed25519, key(1).public_key()).unwrap()
}

fn open(folder: &Path) -> Result<Cosigner, CosignerError> {
    let logs = vec![log_key()];
    Cosigner::open(CosignerConfig {
        name: "witness.example/w".into(),
        key: Arc::new(key(2)),
        logs,
        folder: folder.to_owned(),
    })
}

/// Leaves 0 to `n`, the last one by `fork`.
fn leaves(n: u64, fork: u8) -> Vec<Hash> {
    (0..n).map(|i| leaf_hash(&[i as u8, if i + 1 == n { fork } else { 0 }])).collect()
}

fn note(leaves: &[Hash]) -> String {
    let head = Checkpoint { origin: ORIGIN.into(), size: leaves.len() as u64, root: root(leaves) };
    sign_note(&head.to_text(), ORIGIN, &key(1)).unwrap()
}

/// The request from `old` leaves to these.
fn request(old: u64, leaves: &[Hash]) -> Vec<u8> {
    let proof = match old {
        0 => Vec::new(),
        old => consistency_proof(leaves, old as usize).unwrap(),
    };
    AddCheckpoint { old, proof, note: note(leaves) }.to_text().into_bytes()
}

#[track_caller]
fn cosigned(reply: &Reply, leaves: &[Hash], time: u64, witness: &Cosigner) {
    assert_eq!(reply.status, 200, "{}", reply.body);
    let note = Note::parse(&format!("{}{}", note(leaves), reply.body)).unwrap();
    let keys = [witness.vkey().clone()];
    let verified = note.verify(&keys).unwrap();
    assert_eq!(verified.signed[0].time, Some(time));
}

#[test]
fn a_log_that_grows_is_cosigned_across_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let witness = open(dir.path()).unwrap();
    cosigned(&witness.add_checkpoint(&request(0, &leaves(5, 0)), 100), &leaves(5, 0), 100, &witness);
    cosigned(&witness.add_checkpoint(&request(5, &leaves(8, 0)), 101), &leaves(8, 0), 101, &witness);
    // The same once more: a newer time.
    cosigned(&witness.add_checkpoint(&request(8, &leaves(8, 0)), 102), &leaves(8, 0), 102, &witness);
    assert!(matches!(open(dir.path()), Err(CosignerError::Locked(_))));
    drop(witness);
    let witness = open(dir.path()).unwrap();
    assert_eq!(witness.logs(), [(ORIGIN.to_owned(), 8)]);
    let conflict = witness.add_checkpoint(&request(0, &leaves(9, 0)), 103);
    assert_eq!(conflict, Reply { status: 409, content_type: "text/x.tlog.size", body: "8\n".into() });
    cosigned(&witness.add_checkpoint(&request(8, &leaves(300, 0)), 104), &leaves(300, 0), 104, &witness);
}

#[test]
fn a_fork_is_never_cosigned_and_two_roots_of_one_size_are_kept_as_proof() {
    let dir = tempfile::tempdir().unwrap();
    let witness = open(dir.path()).unwrap();
    cosigned(&witness.add_checkpoint(&request(0, &leaves(5, 0)), 100), &leaves(5, 0), 100, &witness);
    // The other tree's own proof is no proof from the tree that was cosigned.
    let fork: Vec<Hash> = leaves(5, 9).into_iter().chain(leaves(9, 9).split_off(5)).collect();
    assert_eq!(witness.add_checkpoint(&request(5, &fork), 101).status, 422);
    let same_size = witness.add_checkpoint(&request(5, &leaves(5, 9)), 101);
    assert_eq!((same_size.status, same_size.content_type), (409, "text/x.tlog.size"));
    // Rolled back, with and without a proof.
    assert_eq!(witness.add_checkpoint(&request(0, &leaves(3, 0)), 101).status, 409);
    assert_eq!(witness.add_checkpoint(&request(3, &leaves(4, 0)), 101).status, 409);
    let proofs: Vec<_> = std::fs::read_dir(dir.path())
        .unwrap()
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().contains("fork-5"))
        .collect();
    assert_eq!(proofs.len(), 1);
    let proof = std::fs::read_to_string(proofs[0].path()).unwrap();
    assert_eq!(proof, format!("{}\n{}", note(&leaves(5, 0)), note(&leaves(5, 9))));
    cosigned(&witness.add_checkpoint(&request(5, &leaves(6, 0)), 102), &leaves(6, 0), 102, &witness);
}

#[test]
fn every_refusal_has_the_status_of_the_specification() {
    let dir = tempfile::tempdir().unwrap();
    let witness = open(dir.path()).unwrap();
    cosigned(&witness.add_checkpoint(&request(0, &leaves(5, 0)), 100), &leaves(5, 0), 100, &witness);
    let text = |old: &str, proof: &str, note: &str| format!("old {old}\n{proof}\n{note}").into_bytes();
    let good = note(&leaves(8, 0));
    let hash = format!("{}\n", base64::Engine::encode(&base64::prelude::BASE64_STANDARD, [7; 32]));
    let other = |origin: &str, signer: u8| {
        let head = Checkpoint { origin: origin.into(), size: 8, root: [1; 32] };
        sign_note(&head.to_text(), origin, &key(signer)).unwrap()
    };
    for (body, status) in [
        (Vec::new(), 400),
        (b"\xff\xff".to_vec(), 400),
        (text("05", "", &good), 400),
        (text("", "", &good), 400),
        (text("+5", "", &good), 400),
        (text("99999999999999999999999", "", &good), 400),
        (text("5", "AAAA\n", &good), 400),
        (text("5", "not base64\n", &good), 400),
        (text("5", &hash.repeat(64), &good), 400),
        (text("5", "", "no note\n"), 400),
        (text("5", "", "log.example/1\n8\n"), 400),
        (text("5", "", &good.replace("\n8\n", "\n08\n")), 400),
        (vec![b'a'; MAX_REQUEST + 1], 400),
        (text("5", "", &other("log.example/2", 1)), 404),
        (text("5", "", &other(ORIGIN, 3)), 403),
        (text("5", "", &good.replace("\n8\n", "\n9\n")), 403),
        (
            request(5, &leaves(8, 0))
                .into_iter()
                .map(|b| if b == b'5' { b'9' } else { b })
                .take(6)
                .chain(request(5, &leaves(8, 0)).into_iter().skip(6))
                .collect(),
            400,
        ),
        (text("4", "", &good), 409),
        (text("5", "", &good), 422),
        (text("5", &hash.repeat(63), &good), 422),
        (text("5", &hash, &note(&leaves(5, 0))), 422),
    ] {
        let reply = witness.add_checkpoint(&body, 101);
        assert_eq!(reply.status, status, "{}: {}", String::from_utf8_lossy(&body), reply.body);
        assert!(!reply.body.contains('\u{2014}'));
    }
    assert_eq!(witness.logs(), [(ORIGIN.to_owned(), 5)]);
    // A proof where there is nothing to prove from.
    let fresh = tempfile::tempdir().unwrap();
    let fresh = open(fresh.path()).unwrap();
    assert_eq!(fresh.add_checkpoint(&text("0", &hash, &good), 101).status, 422);
}

#[test]
fn extension_lines_are_cosigned_with_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let witness = open(dir.path()).unwrap();
    let head = Checkpoint { origin: ORIGIN.into(), size: 3, root: root(&leaves(3, 0)) };
    let signed = sign_note(&format!("{}an extension\n", head.to_text()), ORIGIN, &key(1)).unwrap();
    let body = AddCheckpoint { old: 0, proof: Vec::new(), note: signed.clone() }.to_text();
    let reply = witness.add_checkpoint(body.as_bytes(), 7);
    assert_eq!(reply.status, 200);
    let note = Note::parse(&format!("{signed}{}", reply.body)).unwrap();
    assert!(note.verify(std::slice::from_ref(witness.vkey())).is_ok());
}

#[test]
fn a_damaged_state_keeps_the_witness_from_starting() {
    let dir = tempfile::tempdir().unwrap();
    let witness = open(dir.path()).unwrap();
    witness.add_checkpoint(&request(0, &leaves(5, 0)), 100);
    let path = witness.logs[ORIGIN].path.clone();
    drop(witness);
    let good = std::fs::read(&path).unwrap();
    for bad in [&good[..10], &good[..good.len() - 1], b"", &[good.as_slice(), b"x"].concat()] {
        std::fs::write(&path, bad).unwrap();
        assert!(matches!(open(dir.path()), Err(CosignerError::Damaged { .. })));
    }
    let mut flipped = good.clone();
    flipped[16] ^= 1;
    std::fs::write(&path, flipped).unwrap();
    assert!(matches!(open(dir.path()), Err(CosignerError::Damaged { .. })));
    std::fs::write(&path, good).unwrap();
    assert_eq!(open(dir.path()).unwrap().logs()[0].1, 5);
}

#[test]
fn a_state_that_cannot_be_written_gives_no_cosignature() {
    let dir = tempfile::tempdir().unwrap();
    let witness = open(dir.path()).unwrap();
    let path = &witness.logs[ORIGIN].path;
    // What it is staged as is taken by a folder.
    std::fs::create_dir(path.with_extension("json.new")).unwrap();
    assert_eq!(witness.add_checkpoint(&request(0, &leaves(5, 0)), 100).status, 500);
    assert_eq!(witness.logs()[0].1, 0);
    std::fs::remove_dir(path.with_extension("json.new")).unwrap();
    cosigned(&witness.add_checkpoint(&request(0, &leaves(5, 0)), 100), &leaves(5, 0), 100, &witness);
}

#[test]
fn two_requests_at_once_never_take_the_log_back() {
    let dir = tempfile::tempdir().unwrap();
    let witness = open(dir.path()).unwrap();
    witness.add_checkpoint(&request(0, &leaves(5, 0)), 100);
    let replies: Vec<Reply> = std::thread::scope(|scope| {
        let requests: Vec<_> = (6..26).map(|n| request(5, &leaves(n, 0))).collect();
        let threads: Vec<_> = requests
            .into_iter()
            .map(|request| {
                scope.spawn(|| {
                    let request = request;
                    witness.add_checkpoint(&request, 101)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(replies.iter().filter(|reply| reply.status == 200).count(), 1);
    assert!(replies.iter().all(|reply| matches!(reply.status, 200 | 409)));
}

#[test]
fn wrong_settings_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let with = |name: &str, logs: Vec<VerifierKey>| {
        let folder = dir.path().to_owned();
        Cosigner::open(CosignerConfig { name: name.into(), key: Arc::new(key(2)), logs, folder })
    };
    assert!(matches!(with("a b", vec![log_key()]), Err(CosignerError::Name(_))));
    assert!(matches!(with("w", vec![]), Err(CosignerError::NoLogs)));
    let own = VerifierKey::new(ORIGIN, NoteAlgorithm::Ed25519, key(2).public_key()).unwrap();
    assert!(matches!(with("w", vec![own]), Err(CosignerError::OwnKey(_))));
    let witness = VerifierKey::new(ORIGIN, NoteAlgorithm::CosignatureV1, key(3).public_key()).unwrap();
    assert!(matches!(with("w", vec![witness]), Err(CosignerError::LogKey(_))));
}
