//! Other people's transparency-log programs against ours: torchwood's witness, tessera's checker of log folders and its
//! client of witnesses, Go's own note and Merkle code on our proofs. Part of `cargo xtask test --full`.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use colophon_receipt::receipt::Receipt;
use colophon_signer::note::{Note, VerifierKey};
use colophon_tests::colophon::Colophon;
use colophon_tests::process::{self, Process};
use colophon_tests::receipts::Fetched;
use colophon_tests::upstream::Upstream;
use colophon_tests::witness::{Witness, make_key, vkey};
use colophon_tests::{PATIENCE, client, paths, wait_for};

const ORIGIN: &str = "log.example/t/1";

/// A program that `cargo xtask test --full` builds, unless it is not there.
fn installed(name: &str) -> Option<PathBuf> {
    let program = paths::installed(&format!("tlog/{name}"));
    if program.is_none() {
        assert!(std::env::var_os("COLOPHON_TEST_FULL").is_none(), "{name} is not installed");
        eprintln!("skipped: no {name} (cargo xtask test --full builds it)");
    }
    program
}

fn hello() -> Upstream {
    Upstream::answering("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello")
}

fn succeed(command: &mut Command) -> String {
    let output = process::run(command, PATIENCE);
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(output.status.success(), "{command:?}: {said}");
    said
}

/// torchwood's witness, its key in an ssh-agent, as it wants it.
struct Litewitness {
    process: Process,
    _agent: Process,
    folder: PathBuf,
    fingerprint: String,
    listen: SocketAddr,
    vkey: String,
}

impl Litewitness {
    fn start(folder: &Path, program: &Path, log: &str) -> Self {
        let folder = folder.join("litewitness");
        fs::create_dir(&folder).unwrap();
        let (key, socket) = (folder.join("key"), folder.join("agent.sock"));
        succeed(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key));
        let shown = succeed(Command::new("ssh-keygen").arg("-lf").arg(&key));
        let fingerprint = shown.split_whitespace().nth(1).unwrap().to_owned();
        let mut agent = Command::new("ssh-agent");
        let agent = Process::start(agent.arg("-D").arg("-a").arg(&socket), &folder.join("agent.log"));
        assert!(wait_for(PATIENCE, || socket.exists().then_some(())).is_some(), "{}", agent.log());
        succeed(Command::new("ssh-add").arg("-q").arg(&key).env("SSH_AUTH_SOCK", &socket));
        let listen = process::free_address();
        let process = Self::spawn(&folder, program, &fingerprint, listen);
        let vkey = wait_for(PATIENCE, || {
            TcpStream::connect(listen).ok()?;
            let log = process.log();
            let (_, rest) = log.split_once("vkey=")?;
            Some(rest.split_whitespace().next()?.trim_matches('"').to_owned())
        });
        let vkey = vkey.unwrap_or_else(|| panic!("litewitness does not listen: {}", process.log()));
        // What `witnessctl add-log` does; that one needs a module that cannot be had everywhere.
        let insert = "import sqlite3, sys, hashlib, base64\n\
            db = sqlite3.connect(sys.argv[1], timeout=10)\n\
            empty = base64.b64encode(hashlib.sha256(b'').digest()).decode()\n\
            db.execute('INSERT INTO log VALUES (?, 0, ?)', (sys.argv[2], empty))\n\
            db.execute('INSERT INTO key VALUES (?, ?)', (sys.argv[2], sys.argv[3]))\n\
            db.commit()\n";
        succeed(Command::new("python3").args(["-c", insert]).arg(folder.join("db")).args([ORIGIN, log]));
        Self { process, _agent: agent, folder, fingerprint, listen, vkey }
    }

    fn spawn(folder: &Path, program: &Path, fingerprint: &str, listen: SocketAddr) -> Process {
        let mut command = Command::new(program);
        command.args(["-name", "litewitness.example/w", "-key", fingerprint, "-listen", &listen.to_string()]);
        command.arg("-db").arg(folder.join("db")).arg("-ssh-agent").arg(folder.join("agent.sock"));
        Process::start(&mut command, &folder.join("log"))
    }

    fn restart(&mut self, program: &Path) {
        self.process.kill();
        self.process = Self::spawn(&self.folder, program, &self.fingerprint, self.listen);
        let there = wait_for(PATIENCE, || TcpStream::connect(self.listen).ok());
        assert!(there.is_some(), "{}", self.process.log());
    }
}

/// Waits until both have cosigned the newest checkpoint of a data folder.
fn until_cosigned(data: &Path, keys: &[&str]) -> String {
    let keys: Vec<VerifierKey> = keys.iter().map(|key| key.parse().unwrap()).collect();
    let cosigned = wait_for(PATIENCE, || {
        let note = fs::read_to_string(data.join("log/1/checkpoint")).ok()?;
        let parsed = Note::parse(&note).ok()?;
        let count = parsed.verify(&keys).map_or(0, |verified| verified.signed.len());
        (count == keys.len()).then_some(note)
    });
    cosigned.expect("not everyone cosigned")
}

/// tessera's `fsck` on a log folder: what it said, and whether it is content.
fn fsck(program: &Path, folder: &Path, log: &str, key: &Path) -> (bool, String) {
    fs::write(key, log).unwrap();
    let mut command = Command::new(program);
    command.arg(format!("--storage_url=file://{}/", folder.display()));
    command.args(["--ui=false", "-v=1", "-logtostderr"]).arg(format!("--public_key={}", key.display()));
    let output = process::run(&mut command, PATIENCE);
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    // It ends with 0 either way.
    let good = output.status.success() && said.contains("Completed ranges") && !said.contains("fsck failed");
    (good, said)
}

#[test]
fn litewitness_cosigns_our_log_and_go_reads_our_proofs_and_folder() {
    let (Some(litewitness), Some(checkproof), Some(checker)) =
        (installed("litewitness"), installed("checkproof"), installed("fsck"))
    else {
        return;
    };
    let (upstream, folder) = (hello(), tempfile::tempdir().unwrap());
    let key = folder.path().join("log.pem");
    make_key(&key);
    let log = vkey(&key, "--origin", ORIGIN);
    let mut theirs = Litewitness::start(folder.path(), &litewitness, &log);
    let ours = Witness::start(folder.path(), "ours", &[&log]);
    let policy = folder.path().join("policy");
    let line = format!("witness theirs {} http://{}\n", theirs.vkey, theirs.listen);
    fs::write(&policy, format!("{line}{}group both all theirs ours\nquorum both\n", ours.line())).unwrap();
    let mut colophon = Colophon::start(&upstream.url(), |options| {
        options.sign_all().arg(&["--origin", "log.example/t", "--witness-every", "100ms"]);
        options.arg(&["--log-key", &key.display().to_string()]);
        options.arg(&["--witness-policy", &policy.display().to_string()]);
    });
    let answer = client::post(colophon.listen(), "/v1/completions", "{}");
    Fetched::of(&answer, colophon.listen());
    let keys = [theirs.vkey.clone(), ours.vkey().to_owned()];
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    until_cosigned(&colophon.data(), &keys);

    // Restarted, it knows what it has cosigned, and so do we.
    theirs.restart(&litewitness);
    for _ in 0..5 {
        client::post(colophon.listen(), "/v1/completions", "{}");
    }
    let late = client::post(colophon.listen(), "/v1/completions", "{}");
    Fetched::of(&late, colophon.listen());
    until_cosigned(&colophon.data(), &keys);

    // Our proof, read by Go.
    let receipt = Fetched::of(&late, colophon.listen());
    let receipt: Receipt = serde_json::from_slice(&receipt.json).unwrap();
    let (proof, entry) = (folder.path().join("a.tlog-proof"), folder.path().join("entry"));
    fs::write(&proof, &receipt.log_proof).unwrap();
    fs::write(&entry, &receipt.statement.0).unwrap();
    let said = succeed(Command::new(&checkproof).arg(&proof).arg(&entry).arg(&log).args(&keys));
    assert!(said.contains("2 cosignatures"), "{said}");
    fs::write(&entry, [receipt.statement.0.as_slice(), b"x"].concat()).unwrap();
    let output =
        process::run(Command::new(&checkproof).arg(&proof).arg(&entry).arg(&log).args(&keys), PATIENCE);
    assert!(!output.status.success());

    // Our folder, read by tessera; and spoilt.
    assert!(colophon.stop().success());
    let (folder_of_log, key_file) = (colophon.data().join("log/1"), folder.path().join("log.vkey"));
    let (good, said) = fsck(&checker, &folder_of_log, &log, &key_file);
    assert!(good, "{said}");
    let bundle = colophon_tests::log::files(&folder_of_log.join("tile/entries/000.p")).pop().unwrap();
    let mut bytes = fs::read(&bundle).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&bundle, &bytes).unwrap();
    let widest = Colophon::data(&colophon).join("log/1/tile/entries/000.p");
    for file in colophon_tests::log::files(&widest) {
        let mut bytes = fs::read(&file).unwrap();
        bytes[40] ^= 1;
        fs::write(&file, bytes).unwrap();
    }
    let (good, said) = fsck(&checker, &folder_of_log, &log, &key_file);
    assert!(!good && said.contains("fsck failed"), "{said}");
}

#[test]
fn a_log_of_tesseras_is_cosigned_by_our_witness() {
    let (Some(logged), Some(checker)) = (installed("logged"), installed("fsck")) else { return };
    let folder = tempfile::tempdir().unwrap();
    let (store, policy) = (folder.path().join("log"), folder.path().join("policy"));
    let mut command = Command::new(logged);
    command.arg(&store).arg(&policy).arg("5");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut log = String::new();
    out.read_line(&mut log).unwrap();
    let witness = Witness::start(folder.path(), "ours", &[log.trim()]);
    fs::write(&policy, format!("{}quorum ours\n", witness.line())).unwrap();
    child.stdin.take().unwrap().write_all(b"go\n").unwrap();
    let mut checkpoint = String::new();
    // It gives up after a minute itself.
    out.read_to_string(&mut checkpoint).unwrap();
    assert!(child.wait().unwrap().success());
    let note = Note::parse(&checkpoint).unwrap();
    let keys = [log.trim().parse().unwrap(), witness.vkey().parse().unwrap()];
    assert_eq!(note.verify(&keys).unwrap().signed.len(), 2, "{checkpoint}");
    assert_eq!(note.text().lines().nth(1), Some("5"));
    let (good, said) = fsck(&checker, &store, log.trim(), &folder.path().join("log.vkey"));
    assert!(good, "{said}");
}
