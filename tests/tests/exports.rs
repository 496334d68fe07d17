//! Exports for an auditor: made from a data folder, checked as a whole by the program that strangers use, and spoilt in
//! every way that matters.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine as _};

use colophon_tests::client::{get, post};
use colophon_tests::colophon::{self, Colophon};
use colophon_tests::receipts::Fetched;
use colophon_tests::upstream::Upstream;
use colophon_tests::{PATIENCE, log, paths, process};

fn saying(body: &str) -> Upstream {
    Upstream::answering(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
}

/// A proxy that has recorded this many exchanges in two lives and stopped, and its trust file.
fn recorded(exchanges: usize) -> (Colophon, PathBuf) {
    let upstream = saying("{}");
    let mut colophon = Colophon::signing(&upstream.url());
    let ask = |colophon: &Colophon| {
        let response = post(colophon.listen(), "/v1/chat/completions", "{}");
        Fetched::of(&response, colophon.listen());
    };
    (1..exchanges).for_each(|_| ask(&colophon));
    let trust = colophon.folder().join("trust.json");
    fs::write(&trust, get(colophon.listen(), "/.well-known/colophon/keys").body).unwrap();
    colophon.kill();
    colophon.restart();
    ask(&colophon);
    assert!(colophon.stop().success());
    (colophon, trust)
}

fn export(colophon: &Colophon, to: &Path, trust: &Path, more: &[&str]) -> (i32, String) {
    let (data, to, trust) = (colophon.data(), to.display().to_string(), trust.display().to_string());
    let data = data.display().to_string();
    colophon::run(&[&["receipt", "export", &data, "-o", &to, "--trust", &trust], more].concat())
}

/// `colophon-verify --json`: its exit code and the report.
fn verify(export: &Path, trust: Option<&Path>) -> (i32, serde_json::Value) {
    let mut command = Command::new(paths::program("colophon-verify"));
    command.arg(export).arg("--json");
    if let Some(trust) = trust {
        command.arg("--trust").arg(trust);
    }
    let output = process::run(&mut command, PATIENCE);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let report = serde_json::from_slice(&output.stdout).unwrap_or(serde_json::Value::String(said));
    (output.status.code().unwrap_or(-1), report)
}

fn receipts(export: &Path) -> Vec<PathBuf> {
    log::files(&export.join("receipts"))
}

#[test]
fn an_export_is_verified_as_a_whole() {
    let (colophon, trust) = recorded(4);
    let folder = colophon.folder().join("export");
    let (code, said) = export(&colophon, &folder, &trust, &[]);
    assert!(code == 0 && said.contains("4 receipts of 4 recorded"), "{code} {said}");
    assert_eq!(receipts(&folder).len(), 4);
    let readme = fs::read_to_string(folder.join("README.md")).unwrap();
    assert!(readme.contains("colophon-verify") && readme.contains("4 recorded exchanges"), "{readme}");

    let (code, report) = verify(&folder, Some(&trust));
    assert_eq!(
        (code, &report["result"], &report["unbroken"]),
        (0, &"trusted".into(), &true.into()),
        "{report}"
    );
    assert_eq!(report["receipts"]["trusted"], 4);
    let (code, report) = verify(&folder, None);
    assert_eq!((code, &report["result"]), (3, &"consistent-not-trusted".into()), "{report}");
    // A trust file that came along vouches for nothing.
    let (code, report) = verify(&folder, Some(&folder.join("trust.json")));
    assert_eq!((code, &report["result"]), (3, &"consistent-not-trusted".into()), "{report}");

    let packed = colophon.folder().join("export.tar.zst");
    assert_eq!(export(&colophon, &packed, &trust, &[]).0, 0);
    let (code, report) = verify(&packed, Some(&trust));
    assert_eq!((code, &report["receipts"]["trusted"]), (0, &4.into()), "{report}");
    // Neither is written over.
    assert_eq!(export(&colophon, &packed, &trust, &[]).0, 2);
    assert_eq!(export(&colophon, &folder, &trust, &[]).0, 2);
    let stranger = Colophon::signing(&saying("{}").url());
    let strange = colophon.folder().join("strange.json");
    fs::write(&strange, get(stranger.listen(), "/.well-known/colophon/keys").body).unwrap();
    assert_eq!(verify(&packed, Some(&strange)).0, 1);
    assert_eq!(export(&colophon, &colophon.folder().join("x"), &strange, &[]).0, 2);

    // What a person sees.
    let mut command = Command::new(paths::program("colophon-verify"));
    let output = process::run(command.arg(&packed).arg("--trust").arg(&trust), PATIENCE);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    for says in
        ["TRUSTED", "recorded   4 in", "without a close", "4 verified, 4 trusted", "bypassed the sidecars"]
    {
        assert!(said.contains(says), "{says}: {said}");
    }
}

/// Two receipts of one export that lead to two trees of one size, both signed by the log: the export convicts it.
#[test]
fn receipts_of_two_histories_are_bad_together() {
    use colophon_receipt::checkpoint::{Checkpoint, TlogProof};
    use colophon_receipt::merkle::{inclusion_proof, root};
    use colophon_receipt::receipt::Receipt;
    let (colophon, trust) = recorded(3);
    let folder = colophon.folder().join("export");
    assert_eq!(export(&colophon, &folder, &trust, &[]).0, 0);
    let file = receipts(&folder).remove(0);
    let good = fs::read(&file).unwrap();
    let mut receipt = Receipt::from_json(&good).unwrap();
    let proof = TlogProof::parse(&receipt.log_proof).unwrap();
    let size = proof.checkpoint.lines().nth(1).unwrap().parse::<usize>().unwrap();
    let announcement = TlogProof::parse(&receipt.announcements[0].log_proof).unwrap();
    // Its own two leaves stay, another one changes.
    let (own, announced) = (proof.index as usize, announcement.index as usize);
    let tile = fs::read(colophon.data().join(format!("log/1/tile/0/000.p/{size}"))).unwrap();
    let mut leaves: Vec<[u8; 32]> = tile.chunks(32).map(|hash| hash.try_into().unwrap()).collect();
    let other = (0..size).find(|at| ![own, announced].contains(at)).unwrap();
    leaves[other][0] ^= 1;
    let key = colophon_signer::Ed25519Key::load(&colophon.data().join("keys/log.pem")).unwrap();
    let origin = proof.checkpoint.lines().next().unwrap().to_owned();
    let head = Checkpoint { origin: origin.clone(), size: size as u64, root: root(&leaves) };
    let note = colophon_signer::note::sign_note(&head.to_text(), &origin, &key).unwrap();
    let forged = |index: usize| {
        let path = inclusion_proof(&leaves, index).unwrap();
        TlogProof { index: index as u64, path, checkpoint: note.clone() }.to_text()
    };
    receipt.log_proof = forged(own);
    receipt.announcements[0].log_proof = forged(announced);
    fs::write(&file, receipt.to_json().unwrap()).unwrap();
    // By itself nothing is wrong with it: a reader who has one receipt sees one history.
    let (code, report) = verify(&file, Some(&trust));
    assert_eq!(code, 0, "{report:#}");
    let (code, report) = verify(&folder, Some(&trust));
    assert_eq!((code, &report["receipts"]["bad"]), (1, &1.into()), "{report:#}");
    assert!(report["faults"][0].as_str().unwrap().contains("different roots"), "{report:#}");
    fs::write(&file, good).unwrap();
    assert_eq!(verify(&folder, Some(&trust)).0, 0);
}

#[test]
fn what_is_missing_doubled_or_foreign_is_found() {
    let (colophon, trust) = recorded(3);
    let folder = colophon.folder().join("export");
    assert_eq!(export(&colophon, &folder, &trust, &[]).0, 0);
    let files = receipts(&folder);
    let first = fs::read(&files[0]).unwrap();

    fs::remove_file(&files[0]).unwrap();
    let (code, report) = verify(&folder, Some(&trust));
    assert_eq!((code, &report["receipts"]["missing"]), (3, &1.into()), "{report}");
    assert!(report["missing"][0].as_str().unwrap().contains("1 of the 1 records"), "{report}");
    fs::write(&files[0], &first).unwrap();

    // The same receipt twice, under its name in another folder.
    let twice = folder.join("receipts/other").join(files[0].file_name().unwrap());
    fs::create_dir_all(twice.parent().unwrap()).unwrap();
    fs::write(&twice, &first).unwrap();
    let (code, report) = verify(&folder, Some(&trust));
    assert_eq!((code, &report["receipts"]["bad"]), (1, &1.into()), "{report}");
    assert!(report["faults"][0].as_str().unwrap().contains("a second receipt"), "{report}");
    fs::rename(&twice, folder.join("receipts/other/another-name.json")).unwrap();
    let (code, report) = verify(&folder, Some(&trust));
    assert!(code == 1 && report["faults"][0].as_str().unwrap().contains("named after another"), "{report}");
    fs::remove_dir_all(folder.join("receipts/other")).unwrap();

    // A receipt that is good, of the same log, but of another interval.
    let part = colophon.folder().join("part");
    let statement = report["count"]["sidecars"][0]["from"].as_u64().unwrap();
    let to = (statement / 1_000_000).to_string();
    assert_eq!(export(&colophon, &part, &trust, &["--to", &to]).0, 0);
    let inside = receipts(&part).len();
    let foreign = part.join("receipts").join(files[2].file_name().unwrap());
    fs::create_dir_all(part.join("receipts")).unwrap();
    fs::copy(&files[2], &foreign).unwrap();
    let (code, report) = verify(&part, Some(&trust));
    assert_eq!((code, &report["receipts"]["bad"]), (1, &1.into()), "{inside}: {report}");
    assert!(report["faults"][0].as_str().unwrap().contains("no batch of this account"), "{report}");

    // One byte of one receipt, and of the log's entries.
    let entries =
        log::files(&folder.join("log")).into_iter().find(|file| file.to_string_lossy().contains("entries"));
    for file in [files[1].clone(), entries.unwrap()] {
        let good = fs::read(&file).unwrap();
        let mut bad = good.clone();
        let at = bad.len() / 2;
        bad[at] ^= 1;
        fs::write(&file, bad).unwrap();
        assert_eq!(verify(&folder, Some(&trust)).0, 1, "{}", file.display());
        fs::write(&file, good).unwrap();
    }
    assert_eq!(verify(&folder, Some(&trust)).0, 0);
    // Not an export at all.
    assert_eq!(verify(&colophon.data(), Some(&trust)).0, 2);
}

#[test]
fn the_proof_of_a_count_is_checked_by_others() {
    let (colophon, trust) = recorded(3);
    let (data, proof) = (colophon.data().display().to_string(), colophon.folder().join("proof"));
    let (to, by) = (proof.display().to_string(), trust.display().to_string());
    let (code, said) = colophon::run(&["log", "count", &data, "--proof", &to, "--trust", &by]);
    assert_eq!(code, 0, "{said}");
    let (code, report) = verify(&proof, Some(&trust));
    assert_eq!((code, &report["count"]["totals"]["recorded"]), (0, &3.into()), "{report}");
    assert_eq!(report["receipts"]["expected"], false);
    // The receipts are not needed for it, nor is the key to the openings: only for an export of receipts.
    fs::remove_file(colophon.data().join("keys/private")).unwrap();
    let (code, said) = export(&colophon, &colophon.folder().join("export"), &trust, &[]);
    assert!(code == 2 && said.contains("--private-key"), "{code} {said}");
}

/// Anybody can check what a proxy publishes, with its URL alone.
#[test]
fn a_published_log_is_checked_and_counted_by_its_url() {
    let upstream = saying("{}");
    let colophon = Colophon::signing(&upstream.url());
    Fetched::of(&post(colophon.listen(), "/v1/chat/completions", "{}"), colophon.listen());
    let trust = colophon.folder().join("trust.json");
    fs::write(&trust, get(colophon.listen(), "/.well-known/colophon/keys").body).unwrap();
    let (url, trust) = (format!("http://{}", colophon.listen()), trust.display().to_string());
    for url in [url.clone(), format!("{url}/v1/colophon"), format!("{url}/.well-known/colophon/")] {
        let (code, said) = colophon::run(&["log", "check", &url, "--trust", &trust, "--json"]);
        let report: serde_json::Value = serde_json::from_str(&said).expect("JSON");
        // Looking for the log below other paths goes through the proxy, and is recorded.
        assert_eq!((code, &report["sound"]), (0, &true.into()), "{url} {said}");
        assert!(report["statements"].as_u64().is_some_and(|statements| statements >= 1), "{url} {said}");
        let (code, said) = colophon::run(&["log", "count", &url, "--trust", &trust]);
        assert!(
            code == 0 && said.contains("recorded    ") && !said.contains("recorded    0"),
            "{url} {code} {said}"
        );
    }
    let nothing = format!("{url}/nothing/here");
    for wrong in
        [&["log", "check", &nothing][..], &["log", "check", "http://127.0.0.1:1"], &["log", "index", &url]]
    {
        let (code, said) = colophon::run(wrong);
        assert!(code == 2 && !said.contains("panicked"), "{wrong:?} {code} {said}");
    }
}

/// The index says nothing that log and batches do not say.
#[test]
fn an_index_that_is_gone_is_made_again() {
    let (mut colophon, _) = recorded(3);
    let index = colophon.data().join("index");
    let files = log::files(&index);
    let before: Vec<Vec<u8>> = files.iter().map(|file| fs::read(file).unwrap()).collect();
    assert!(!files.is_empty());
    let data = colophon.data().display().to_string();
    let (code, said) = colophon::run(&["log", "index", &data]);
    assert!(code == 0 && said.starts_with("0 of "), "{code} {said}");
    fs::remove_file(&files[0]).unwrap();
    fs::write(files.last().unwrap(), b"garbage").unwrap();
    let (code, said) = colophon::run(&["log", "index", &data]);
    assert!(code == 0 && said.starts_with("2 of ") || files.len() == 1, "{code} {said}");
    fs::remove_dir_all(&index).unwrap();
    let (code, said) = colophon::run(&["log", "index", &data]);
    assert_eq!(code, 0, "{said}");
    let after: Vec<Vec<u8>> = log::files(&index).iter().map(|file| fs::read(file).unwrap()).collect();
    assert_eq!((log::files(&index), after), (files, before));
    let batch = log::files(&colophon.data().join("shard")).remove(0);
    fs::write(&batch, b"garbage").unwrap();
    let (code, said) = colophon::run(&["log", "index", &data]);
    assert!(code == 1 && said.contains("batch"), "{code} {said}");
    assert!(colophon.process().ended().is_some());
}

/// Runs somebody else's verifier.
fn checker(command: &mut Command) {
    let output = process::run(command, Duration::from_secs(60));
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success() && said.contains("ok - "), "{command:?}: {said}");
}

#[test]
fn one_receipt_in_the_forms_of_others() {
    let (colophon, trust) = recorded(2);
    let folder = colophon.folder().join("export");
    assert_eq!(export(&colophon, &folder, &trust, &[]).0, 0);
    let receipt = receipts(&folder).remove(0);
    let key = log::files(&colophon.data().join("keys")).into_iter().find(|file| file.ends_with("log.pem"));
    let key = key.expect("the log's key").display().to_string();
    let shown = colophon::run(&["key", "show", &key]).1;
    let (from, by) = (receipt.display().to_string(), trust.display().to_string());
    let write = |format: &str, more: &[&str]| {
        let to = colophon.folder().join(format);
        let to = to.display().to_string();
        let args = ["receipt", "export", from.as_str(), "--format", format, "-o", to.as_str()];
        colophon::run(&[&args[..], more].concat())
    };
    let all = ["--trust", by.as_str(), "--key", key.as_str()];
    for format in ["cose", "dsse"] {
        let (code, said) = write(format, &all);
        assert!(code == 0 && said.contains("signed by the log's own key"), "{code} {said}");
        assert_eq!(write(format, &all[..2]).0, 2);
        assert_eq!(write(format, &all[2..]).0, 2);
    }
    let made: colophon_receipt::receipt::Receipt =
        serde_json::from_slice(&fs::read(&receipt).unwrap()).unwrap();
    let vkey = fs::read_to_string(&trust).unwrap();
    let vkey: serde_json::Value = serde_json::from_str(&vkey).unwrap();
    let vkey = vkey["logs"][0]["vkey"].as_str().unwrap();
    // `name+id+base64(0x01 and the key)`.
    let public = BASE64_STANDARD.decode(vkey.splitn(3, '+').nth(2).unwrap()).unwrap();
    let public: String = public[1..].iter().map(|byte| format!("{byte:02x}")).collect();
    let head: Vec<&str> = made.log_proof.split("\n\n").nth(1).unwrap().lines().collect();
    let root = BASE64_STANDARD.decode(head[2]).unwrap();
    let root: String = root.iter().map(|byte| format!("{byte:02x}")).collect();

    match paths::installed("npm/node_modules/@transmute/cose") {
        Some(module) => checker(
            Command::new("node")
                .arg(paths::tests("checkers/cose_receipt.mjs"))
                .arg(colophon.folder().join("cose"))
                .args([&public, &root, head[1], &BASE64_STANDARD.encode(&made.statement.0)])
                .env("NODE_MODULES", module.parent().and_then(Path::parent).unwrap()),
        ),
        None => eprintln!(
            "skipped: the COSE Receipt is not checked without @transmute/cose: run `cargo xtask setup`"
        ),
    }
    match paths::installed("python/bin/python") {
        Some(python) => checker(
            Command::new(python)
                .arg(paths::tests("checkers/dsse.py"))
                .arg(colophon.folder().join("dsse"))
                .args(["--key", &public, "--receipt", &from]),
        ),
        None => {
            eprintln!("skipped: the DSSE envelope is not checked without Python: run `cargo xtask setup`")
        }
    }

    // Somebody else's key says so, and a receipt that does not verify is signed by nobody.
    let other = colophon.folder().join("other.pem").display().to_string();
    assert_eq!(colophon::run(&["key", "generate", &other]).0, 0, "{shown}");
    let (code, said) = write("dsse", &["--trust", &by, "--key", &other]);
    assert!(code == 0 && said.contains("not the log's key"), "{code} {said}");
    fs::write(&receipt, [&fs::read(&receipt).unwrap()[..], b" "].concat()).unwrap();
    for format in ["cose", "dsse"] {
        let (code, said) = write(format, &all);
        assert!(code == 2 && said.contains("nothing is signed"), "{code} {said}");
    }
}
