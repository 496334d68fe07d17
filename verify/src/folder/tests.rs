use std::fs;
use std::io::Write as _;
use std::path::PathBuf;

use colophon_receipt::Hash;
use colophon_receipt::checkpoint::Checkpoint;
use colophon_receipt::merkle::{leaf_hash, root};
use colophon_receipt::tiles::{TileId, WIDTH, part};
use colophon_signer::Ed25519Key;
use colophon_signer::note::{NoteAlgorithm, VerifierKey, sign_note};
use tempfile::TempDir;

use super::*;
use crate::Verdict;
use crate::count::tests::{ORIGIN, SECOND, Scene, log_key};

/// An export being made: entries `first..end` of a log, without receipts.
struct Made {
    folder: TempDir,
}

fn trust_in(key: &Ed25519Key) -> Trust {
    Trust::in_logs(vec![VerifierKey::new(ORIGIN, NoteAlgorithm::Ed25519, key.public_key()).unwrap()])
}

/// A log of one announcement, `statements` statements of one record each, and a close.
fn scene(statements: u64) -> Scene {
    let mut scene = Scene::new();
    let mut life = scene.announce("clinic/aa", 2, SECOND, None);
    for _ in 0..statements {
        scene.state(&mut life, 1, |statement| statement.to = statement.from + 1000);
    }
    scene.close(&life);
    scene
}

impl Made {
    fn of(scene: &Scene, first: u64, end: u64) -> Made {
        let made = Made { folder: tempfile::tempdir().unwrap() };
        let leaves: Vec<Hash> = scene.entries.iter().map(|entry| leaf_hash(entry)).collect();
        let size = leaves.len() as u64;
        let text = Checkpoint { origin: ORIGIN.into(), size, root: root(&leaves) }.to_text();
        made.write("log/1/checkpoint", sign_note(&text, ORIGIN, &log_key()).unwrap().as_bytes());
        for (tile, width) in part(&(first..end), size) {
            made.write(&format!("log/1/{}", tile.name_at(width)), &file(scene, &leaves, tile, width));
        }
        made.manifest(|manifest| (manifest.first, manifest.end) = (first, end));
        made
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn manifest(&self, change: impl FnOnce(&mut Manifest)) {
        let mut manifest = Manifest {
            format: manifest::FORMAT.into(),
            origin: ORIGIN.into(),
            generation: 1,
            from: 0,
            to: 1000 * SECOND,
            shard: None,
            first: 0,
            end: 0,
            receipts: false,
        };
        change(&mut manifest);
        self.write(MANIFEST, manifest.to_json().as_bytes());
    }

    fn check(&self) -> Result<FolderReport, FolderError> {
        check(self.folder.path(), Some(&trust_in(&log_key())), None, None, &mut |_, _| ())
    }
}

fn file(scene: &Scene, leaves: &[Hash], tile: TileId, width: usize) -> Vec<u8> {
    let first = tile.index as usize * WIDTH;
    match tile.level {
        None => {
            let entries = &scene.entries[first..first + width];
            entries.iter().flat_map(|e| [&(e.len() as u16).to_be_bytes()[..], e].concat()).collect()
        }
        Some(level) => {
            let span = 1 << (8 * level);
            let hash = |n: usize| root(&leaves[n * span..(n + 1) * span]);
            (first..first + width).flat_map(hash).collect()
        }
    }
}

#[test]
fn a_whole_log_and_a_part_of_it_give_the_same_account() {
    let scene = scene(700);
    for (first, end) in [(0, 703), (0, 512)] {
        let made = Made::of(&scene, first, end);
        let statements = end.min(702).saturating_sub(2);
        let to = SECOND + statements * 1000;
        made.manifest(|manifest| (manifest.first, manifest.end, manifest.to) = (first, end, to));
        let report = made.check().unwrap();
        assert_eq!(report.count.totals.recorded, statements, "{report:?}");
        assert_eq!((report.result, report.unbroken), (Verdict::Trusted, true), "{report:?}");
        assert_eq!((report.size, report.count.end), (703, end));
    }
    // Of an interval that goes on where the entries end, those that follow may be kept back; not where the log itself ends.
    for (end, result) in [(512, Verdict::ConsistentNotTrusted), (703, Verdict::Trusted)] {
        let report = Made::of(&scene, 0, end).check().unwrap();
        assert_eq!((report.result, report.not_covered.len()), (result, 1));
        let kept_back = report.lacking.iter().any(|what| what.contains("entries that are not here"));
        assert_eq!(kept_back, end == 512);
    }
    // Of nothing, everything holds.
    let report = Made::of(&scene, 0, 0).check().unwrap();
    assert_eq!((report.result, report.unbroken), (Verdict::ConsistentNotTrusted, true), "{report:?}");
    assert!(report.lacking[0].contains("statements about the interval"), "{report:?}");
    // Without the announcement, the statements are strangers'.
    let report = Made::of(&scene, 256, 703).check().unwrap();
    assert_eq!((report.result, report.count.totals.recorded), (Verdict::Bad, 0));
    assert!(report.count.faults[0].contains("not announced in the entries shown"), "{report:?}");
}

#[test]
fn without_a_trust_file_it_is_consistent_at_best() {
    let made = Made::of(&scene(3), 0, 6);
    let report = check(made.folder.path(), None, None, None, &mut |_, _| ()).unwrap();
    assert_eq!((report.result, report.unbroken), (Verdict::ConsistentNotTrusted, true), "{report:?}");
    let stranger = trust_in(&Ed25519Key::from_seed(&[9; 32]).unwrap());
    let report = check(made.folder.path(), Some(&stranger), None, None, &mut |_, _| ()).unwrap();
    assert_eq!((report.result, report.unbroken), (Verdict::Bad, false), "{report:?}");
}

#[test]
fn a_flipped_bit_anywhere_in_the_log_part_is_bad() {
    let scene = scene(700);
    let made = Made::of(&scene, 0, 256);
    made.manifest(|manifest| (manifest.end, manifest.to) = (256, SECOND + 254 * 1000));
    let names = ["checkpoint", "tile/entries/000", "tile/0/002.p/191", "tile/1/000.p/2"];
    for name in names.map(|name| format!("log/1/{name}")) {
        let good = fs::read(made.path(&name)).unwrap();
        // The second bundle's subtree is the second hash of its tile.
        for at in [good.len() - 5, good.len() / 3] {
            let mut bad = good.clone();
            bad[at] ^= 1;
            made.write(&name, &bad);
            let used = name != "log/1/tile/1/000.p/2" || at > 32;
            let result = made.check().unwrap().result;
            assert_eq!(result == Verdict::Bad, used, "{name} at {at}");
        }
        made.write(&name, &good[..good.len() - 1]);
        assert_eq!(made.check().unwrap().result, Verdict::Bad, "{name} cut");
        fs::remove_file(made.path(&name)).unwrap();
        assert_eq!(made.check().unwrap().result, Verdict::Bad, "{name} gone");
        made.write(&name, &good);
    }
    assert_eq!(made.check().unwrap().result, Verdict::Trusted);
}

#[test]
fn a_manifest_cannot_claim_what_is_not_there() {
    let made = Made::of(&scene(700), 0, 703);
    type Change = fn(&mut Manifest);
    let changes: [Change; 7] = [
        |m| (m.first, m.end) = (0, 702),
        |m| (m.first, m.end) = (1, 703),
        |m| (m.first, m.end) = (512, 256),
        |m| (m.first, m.end) = (0, u64::MAX),
        |m| m.end = 703 + 256,
        |m| (m.end, m.generation) = (703, 2),
        |m| (m.end, m.origin) = (703, "other.example/1".into()),
    ];
    for change in changes {
        made.manifest(change);
        let report = made.check().unwrap();
        assert_eq!((report.result, report.count.totals.recorded), (Verdict::Bad, 0), "{report:?}");
    }
    // Receipts that are promised and not there are missed.
    made.manifest(|m| (m.end, m.receipts) = (703, true));
    let report = made.check().unwrap();
    assert_eq!((report.result, report.receipts.missing), (Verdict::ConsistentNotTrusted, 700), "{report:?}");
    for wrong in [&b"{}"[..], b"", b"\xff", b"{\"format\": \"colophon-export-v2\"}"] {
        made.write(MANIFEST, wrong);
        assert!(matches!(made.check(), Err(FolderError::Form(_))));
    }
    fs::remove_file(made.path(MANIFEST)).unwrap();
    assert!(matches!(made.check(), Err(FolderError::Form(_))));
}

#[test]
fn receipts_of_nobody_and_other_files() {
    let made = Made::of(&scene(3), 0, 6);
    made.write("notes.txt", b"the auditor's own");
    let report = made.check().unwrap();
    assert_eq!((report.result, &report.unread[..]), (Verdict::Trusted, &["notes.txt".to_owned()][..]));
    made.write("receipts/2026/x.json", b"garbage");
    let report = made.check().unwrap();
    assert_eq!(
        (report.result, report.receipts.bad, report.receipts.missing),
        (Verdict::Bad, 1, 3),
        "{report:?}"
    );
    // A good receipt, but of another log.
    let other = crate::testing::Plan::default().make();
    made.write("receipts/2026/x.json", &other.file());
    let report = made.check().unwrap();
    assert_eq!((report.result, report.receipts.bad), (Verdict::Bad, 1), "{report:?}");
}

/// Whoever takes the receipts out and says so in the manifest cannot spare a reader what the trust file requires.
#[test]
fn a_count_alone_is_not_what_a_trust_file_requires_of_receipts() {
    let made = Made::of(&scene(3), 0, 6);
    let vkey = VerifierKey::new(ORIGIN, NoteAlgorithm::Ed25519, log_key().public_key()).unwrap();
    let trust = |more: &str| {
        let logs = format!(r#"[{{"origin":"{ORIGIN}","vkey":"{vkey}"}}]"#);
        Trust::from_json(format!(r#"{{"format":"colophon-trust-v1","logs":{logs}{more}}}"#).as_bytes())
            .unwrap()
    };
    let result = |more: &str| {
        let report = check(made.folder.path(), Some(&trust(more)), None, None, &mut |_, _| ()).unwrap();
        report.result
    };
    assert_eq!(result(""), Verdict::Trusted);
    for what in [r#""request":true"#, r#""response":true"#, r#""model":true"#, r#""timestamps":1"#] {
        let more = format!(r#","require":{{{what}}}"#);
        assert_eq!(result(&more), Verdict::ConsistentNotTrusted, "{what}");
    }
    let policy = format!(r#","witness_policy":"witness w1 {}\nquorum w1\n""#, crate::testing::witness(21));
    assert_eq!(result(&policy), Verdict::ConsistentNotTrusted);
}

#[cfg(unix)]
#[test]
fn links_are_not_followed() {
    let made = Made::of(&scene(3), 0, 6);
    std::os::unix::fs::symlink("/etc/passwd", made.path("receipts.json")).unwrap();
    assert!(
        matches!(made.check(), Err(FolderError::Form(what)) if what.contains("neither a file nor a folder"))
    );
}

/// An archive of these entries, as they are.
fn archive(entries: &[(&str, tar::EntryType, Vec<u8>)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, kind, bytes) in entries {
        let mut header = tar::Header::new_ustar();
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(*kind);
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        out.extend_from_slice(header.as_bytes());
        out.extend_from_slice(bytes);
        out.resize(out.len().next_multiple_of(512), 0);
    }
    out.resize(out.len() + 1024, 0);
    out
}

fn check_archive(tar: &[u8]) -> Result<FolderReport, FolderError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("export.tar.zst");
    let packed = ruzstd::encoding::compress_to_vec(tar, ruzstd::encoding::CompressionLevel::Fastest);
    fs::File::create(&path).unwrap().write_all(&packed).unwrap();
    check(&path, Some(&trust_in(&log_key())), None, None, &mut |_, _| ())
}

#[test]
fn an_archive_is_checked_as_the_folder_is() {
    use tar::EntryType::{GNULongName, Link, Regular, Symlink, XHeader};
    let made = Made::of(&scene(3), 0, 6);
    let names = ["export.json", "log/1/checkpoint", "log/1/tile/entries/000.p/6"];
    let good = || -> Vec<_> {
        names.iter().map(|name| (*name, Regular, fs::read(made.path(name)).unwrap())).collect()
    };
    let report = check_archive(&archive(&good())).unwrap();
    assert_eq!((report.result, report.count.totals.recorded), (Verdict::Trusted, 3), "{report:?}");

    for name in ["../x", "/etc/x", "log/../../x", "a//b", ".", "log\\x"] {
        let mut entries = good();
        entries.push((name, Regular, vec![]));
        let refused = check_archive(&archive(&entries));
        assert!(
            matches!(&refused, Err(FolderError::Form(what)) if what.contains("no name")),
            "{name}: {refused:?}"
        );
    }
    for kind in [Symlink, Link, XHeader, GNULongName, tar::EntryType::Char] {
        let mut entries = good();
        entries.push(("x", kind, vec![]));
        assert!(matches!(check_archive(&archive(&entries)), Err(FolderError::Form(_))), "{kind:?}");
    }
    let mut twice = good();
    twice.push(twice[1].clone());
    assert!(matches!(check_archive(&archive(&twice)), Err(FolderError::Form(_))));

    let tar = archive(&good());
    for cut in [0, 100, 600, tar.len() - 1024] {
        assert!(check_archive(&tar[..cut]).is_err(), "cut at {cut}");
    }
    let mut damaged = tar.clone();
    damaged[3] ^= 1;
    assert!(matches!(check_archive(&damaged), Err(FolderError::Form(what)) if what.contains("damaged")));
}

/// A few kilobytes that unpack to more than anything may have, and a size that is not there.
#[test]
fn a_bomb_does_not_go_off() {
    let mut entries = vec![("export.json", tar::EntryType::Regular, vec![b' '; (tiles_max() + 1) as usize])];
    assert!(
        matches!(check_archive(&archive(&entries)), Err(FolderError::Form(what)) if what.contains("longer"))
    );
    entries[0].2 = b"{}".to_vec();
    let mut tar = archive(&entries);
    let mut header = tar::Header::new_ustar();
    header.as_mut_bytes().copy_from_slice(&tar[..512]);
    header.set_size(1 << 60);
    header.set_cksum();
    tar[..512].copy_from_slice(header.as_bytes());
    assert!(matches!(check_archive(&tar), Err(FolderError::Form(_))));
    header.set_size(tiles_max());
    header.set_cksum();
    tar[..512].copy_from_slice(header.as_bytes());
    assert!(matches!(check_archive(&tar), Err(FolderError::Form(what)) if what.contains("ends within")));
}

fn tiles_max() -> u64 {
    colophon_receipt::tiles::MAX_BUNDLE
}
