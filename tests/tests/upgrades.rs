//! From one version to the next: what an earlier build left is gone on with, and what a later one would leave is refused by name.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use colophon_receipt::level::Outcome;
use colophon_tests::client::{get, post};
use colophon_tests::colophon::{self, Colophon, Options};
use colophon_tests::receipts::Fetched;
use colophon_tests::upstream::Upstream;
use colophon_tests::{PATIENCE, paths, process, wait_for};
use tempfile::TempDir;

const OK: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n{\"id\":\"x\"}";

/// A copy of `fixtures/0.1.0`.
struct Left {
    folder: TempDir,
}

impl Left {
    fn by_the_first_version() -> Left {
        let folder = tempfile::tempdir().unwrap();
        for name in ["data", "state"] {
            let mut copy = Command::new("cp");
            copy.arg("-a").arg(fixture(name)).arg(folder.path());
            let done = process::run(&mut copy, PATIENCE);
            assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        }
        // What a version control keeps no modes of.
        for key in fs::read_dir(folder.path().join("data/keys")).unwrap() {
            fs::set_permissions(key.unwrap().path(), fs::Permissions::from_mode(0o600)).unwrap();
        }
        Left { folder }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn used_by(&self, options: &mut Options) {
        options.data = Some(self.data());
        options.state = Some(self.folder.path().join("state"));
        options.arg(&["--name", "fixture"]);
    }

    /// Writes another version into the one file of a folder, or its first.
    fn change(&self, folder: &str, from: &str, to: &str) -> String {
        let mut files: Vec<_> =
            fs::read_dir(self.folder.path().join(folder)).unwrap().map(|one| one.unwrap().path()).collect();
        files.sort();
        let holds = |file: &&PathBuf| fs::read(file).is_ok_and(|bytes| find(&bytes, from).is_some());
        let file = files.iter().find(holds).unwrap_or_else(|| panic!("no {from} in {files:?}"));
        let mut bytes = fs::read(file).unwrap();
        let at = find(&bytes, from).unwrap();
        bytes[at..at + from.len()].copy_from_slice(to.as_bytes());
        fs::write(file, bytes).unwrap();
        file.file_name().unwrap().to_string_lossy().into_owned()
    }

    fn check(&self) -> (i32, String) {
        colophon::run(&["log", "check", &self.data().display().to_string()])
    }
}

fn find(bytes: &[u8], text: &str) -> Option<usize> {
    bytes.windows(text.len()).position(|window| window == text.as_bytes())
}

fn fixture(name: &str) -> PathBuf {
    paths::tests("fixtures").join("0.1.0").join(name)
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

#[test]
fn a_folder_of_the_first_version_is_gone_on_with() {
    let (left, upstream) = (Left::by_the_first_version(), Upstream::answering(OK));
    let mut colophon = Colophon::start(&upstream.url(), |options| left.used_by(options));
    let trust = fs::read(fixture("trust.json")).unwrap();
    let links = text(&fixture("links"));
    let links: Vec<_> = links.lines().collect();
    assert_eq!(links.len(), 3);
    // The last one's record was in the write-ahead log of a process that was killed.
    for link in links {
        let there = wait_for(PATIENCE, || {
            let response = get(colophon.listen(), link);
            (response.status() == 200).then_some(response.body)
        });
        let receipt = Fetched::parse(there.unwrap_or_else(|| panic!("no receipt at {link}")));
        assert_eq!(receipt.outcome(), Outcome::Complete);
        let (code, said) = receipt.verify_by(&trust, None, None);
        assert_eq!(code, 0, "{said}");
    }
    // Handed out then, verified now.
    let answer = fs::read(fixture("answer.json")).unwrap();
    let old = Fetched::parse(fs::read(fixture("receipt.json")).unwrap());
    let (code, said) = old.verify_by(&trust, None, Some(&answer));
    assert_eq!(code, 0, "{said}");
    let response = post(colophon.listen(), "/v1/chat/completions", "{}");
    let new = Fetched::of(&response, colophon.listen());
    assert_eq!(new.verify_by(&trust, None, Some(&response.body)).0, 0, "it is the same log");
    assert!(colophon.stop().success());
    let (code, said) = left.check();
    assert_eq!(code, 0, "{said}");
    let (code, said) = colophon::run(&["log", "count", &left.data().display().to_string(), "--json"]);
    assert!([0, 3].contains(&code), "{said}");
    let count: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(count["count"]["totals"]["recorded"], 4, "{said}");
}

/// Whoever goes back to an older version is told so, and nothing is guessed or overwritten.
#[test]
fn files_of_a_later_version_are_refused_by_name() {
    let upstream = Upstream::answering(OK);
    for (folder, from, to, says) in [
        ("data/log/1", "log-identity-v1", "log-identity-v9", "log/1/identity"),
        ("state", "log-state-v1", "log-state-v9", "its format is not colophon-log-state-v1"),
        (
            "data/shard/fixture/5fbfecd44a7192e5/batch",
            "batch 2",
            "batch 9",
            "not a batch file of version 1 or 2",
        ),
    ] {
        let left = Left::by_the_first_version();
        let file = left.change(folder, from, to);
        let (status, said) = Colophon::refused(&upstream.url(), |options| left.used_by(options));
        assert!(!status.success(), "{folder}: {said}");
        assert!(said.contains(says) && said.contains(&file) && !said.contains("panicked"), "{said}");
    }
    // Found where it is read: no other record suffers.
    let left = Left::by_the_first_version();
    left.change("data/log/1/seq/000000000", "seq-v1", "seq-v9");
    let (code, said) = left.check();
    assert!(code == 1 && said.contains("sequence entry"), "{code} {said}");
    let left = Left::by_the_first_version();
    left.change("data/private/fixture/5fbfecd44a7192e5", "open  2", "open  9");
    let colophon = Colophon::start(&upstream.url(), |options| left.used_by(options));
    let links = text(&fixture("links"));
    let status = |link: &str| get(colophon.listen(), link).status();
    let links: Vec<_> = links.lines().collect();
    assert_eq!((status(links[0]), status(links[1])), (503, 503), "both are in that file");
    let third = wait_for(PATIENCE, || (status(links[2]) == 200).then_some(()));
    assert!(third.is_some(), "a record of another file");
}
