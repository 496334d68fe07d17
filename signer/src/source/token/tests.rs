//! Against a real SoftHSM2, with pkcs11-tool and OpenSSL as independent readers.
//!
//! SoftHSM finds its tokens by `SOFTHSM2_CONF` alone, and a test cannot set its own environment: each test starts this
//! program again, with the variable set, for its `inner` part.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::keys::{Ed25519Key, PublicKey};
use crate::note::{Note, NoteAlgorithm, VerifierKey, sign_note};
use crate::source::KeySource;

const MODULES: [&str; 4] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/opt/homebrew/lib/softhsm/libsofthsm2.so",
];
const PIN: &str = "0123-pin";

fn module() -> Option<&'static str> {
    MODULES.into_iter().find(|path| Path::new(path).exists())
}

/// Runs `inner`, a test of this module that is ignored otherwise, with a SoftHSM of its own.
fn with_softhsm(inner: &str) {
    let Some(module) = module().filter(|_| ran("softhsm2-util", &["--version"])) else {
        return println!("skipped: no SoftHSM2 (Debian: softhsm2)");
    };
    if !ran("pkcs11-tool", &["--help"]) {
        return println!("skipped: no pkcs11-tool (Debian: opensc)");
    }
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("tokens")).unwrap();
    let conf = dir.path().join("softhsm2.conf");
    let tokens = dir.path().join("tokens");
    std::fs::write(
        &conf,
        format!(
            "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n",
            tokens.display()
        ),
    )
    .unwrap();
    let name = format!("{}::{inner}", module_path!().split_once("::").unwrap().1);
    let done = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &name, "--ignored", "--nocapture", "--test-threads=1"])
        .env("SOFTHSM2_CONF", &conf)
        .env("COLOPHON_TEST_HSM", dir.path())
        .env("COLOPHON_TEST_MODULE", module)
        .env("COLOPHON_TEST_PIN", PIN)
        .env("COLOPHON_TEST_WRONG_PIN", "wrong-pin")
        .output()
        .unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success() && text.contains("1 passed"), "{text}");
}

fn ran(program: &str, args: &[&str]) -> bool {
    // pkcs11-tool --help ends with 1.
    Command::new(program).args(args).output().is_ok()
}

struct Hsm {
    dir: PathBuf,
    module: String,
}

impl Hsm {
    fn new() -> Hsm {
        let hsm = Hsm {
            dir: std::env::var("COLOPHON_TEST_HSM").unwrap().into(),
            module: std::env::var("COLOPHON_TEST_MODULE").unwrap(),
        };
        hsm.init_token("colophon");
        hsm
    }

    fn init_token(&self, label: &str) {
        let args = ["--init-token", "--free", "--label", label, "--so-pin", "so-pin", "--pin", PIN];
        let done = Command::new("softhsm2-util").args(args).output().unwrap();
        assert!(done.status.success(), "{done:?}");
    }

    fn tool(&self, args: &[&str]) -> Output {
        let mut all = vec!["--module", &self.module, "--token-label", "colophon", "--login", "--pin", PIN];
        all.extend(args);
        Command::new("pkcs11-tool").args(all).current_dir(&self.dir).output().unwrap()
    }

    fn tool_does(&self, args: &[&str]) {
        let done = self.tool(args);
        assert!(done.status.success(), "{args:?}: {done:?}");
    }

    fn uri(&self, path: &str, pin: &str) -> KeySource {
        format!("pkcs11:{path}?module-path={}&pin-source={pin}", self.module).parse().unwrap()
    }

    fn key(&self, object: &str) -> KeySource {
        self.uri(&format!("token=colophon;object={object}"), "env:COLOPHON_TEST_PIN")
    }

    fn why(&self, source: &KeySource) -> String {
        source.open().err().expect("an error").to_string()
    }

    /// OpenSSL's opinion of a signature.
    fn openssl_accepts(&self, public: PublicKey, message: &[u8], signature: &[u8]) -> bool {
        let der =
            [&[0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x21, 0][..], public.as_bytes()].concat();
        for (name, bytes) in [("public.der", &der[..]), ("message", message), ("signature", signature)] {
            std::fs::write(self.dir.join(name), bytes).unwrap();
        }
        let args =
            "pkeyutl -verify -pubin -keyform DER -inkey public.der -rawin -in message -sigfile signature";
        let done = Command::new("openssl").args(args.split(' ')).current_dir(&self.dir).output().unwrap();
        done.status.success()
    }
}

#[test]
fn a_key_in_a_token_signs_what_others_verify() {
    with_softhsm("inner_signs");
}

#[test]
#[ignore = "run by a_key_in_a_token_signs_what_others_verify"]
fn inner_signs() {
    let hsm = Hsm::new();
    // Made by another program, used by us.
    hsm.tool_does(&["--keypairgen", "--key-type", "EC:edwards25519", "--label", "theirs", "--id", "0a0b"]);
    let theirs = hsm.key("theirs").open().unwrap();
    assert!(theirs.waits());
    let by_id = hsm.uri("id=%0a%0B", "env:COLOPHON_TEST_PIN").open().unwrap();
    assert_eq!(by_id.public_key(), theirs.public_key());
    // Made by us, used by another program.
    let ours = hsm.key("ours;id=%0c").generate().unwrap();
    assert_ne!(ours.public_key(), theirs.public_key());
    assert_eq!(hsm.key("ours").open().unwrap().public_key(), ours.public_key());
    std::fs::write(hsm.dir.join("text"), b"by another program").unwrap();
    hsm.tool_does(&["--sign", "--mechanism", "EDDSA", "--id", "0c", "-i", "text", "-o", "by-tool"]);
    let by_tool = std::fs::read(hsm.dir.join("by-tool")).unwrap();
    assert_eq!(ours.public_key().verify(b"by another program", &by_tool), Ok(()));
    assert_eq!(ours.sign(b"by another program").unwrap().to_vec(), by_tool);

    // A checkpoint, signed by the token, verified by us and by OpenSSL.
    for key in [&theirs, &ours] {
        let text = "log.example/1\n3\nC0aVN5COzkPZaSyq48af0r068IbLsoksNk/fGHMoB2w=\n";
        let note = sign_note(text, "log.example/1", key.as_ref()).unwrap();
        let vkey = VerifierKey::new("log.example/1", NoteAlgorithm::Ed25519, key.public_key()).unwrap();
        let note = Note::parse(&note).unwrap();
        assert_eq!(note.verify(&[vkey]).unwrap().signed.len(), 1);
        let signature = &note.signatures()[0].signature;
        assert!(hsm.openssl_accepts(key.public_key(), text.as_bytes(), signature));
        assert!(!hsm.openssl_accepts(key.public_key(), b"another text", signature));
    }

    // Two keys of one name are not guessed between, and nothing is overwritten.
    let again = hsm.key("ours").generate().err().unwrap().to_string();
    assert!(again.contains("already has a key"), "{again}");
    hsm.tool_does(&["--keypairgen", "--key-type", "EC:edwards25519", "--label", "ours", "--id", "ff"]);
    assert!(hsm.why(&hsm.key("ours")).contains("add id="), "{}", hsm.why(&hsm.key("ours")));
    let one = hsm.uri("object=ours;id=%ff", "env:COLOPHON_TEST_PIN").open().unwrap();
    assert_ne!(one.public_key(), ours.public_key());
    // The private key that we made cannot be taken out.
    let shown = hsm.tool(&["--list-objects", "--type", "privkey", "--label", "ours"]);
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains("always sensitive, never extractable"), "{shown}");
}

#[test]
fn what_is_wrong_with_a_token_is_said() {
    with_softhsm("inner_refuses");
}

#[test]
#[ignore = "run by what_is_wrong_with_a_token_is_said"]
fn inner_refuses() {
    let hsm = Hsm::new();
    let says = |source: &KeySource, why: &str| {
        let error = hsm.why(source);
        assert!(error.contains(why) && error.starts_with("pkcs11:"), "{why}: {error}");
    };
    says(&hsm.key("none"), "no such private key");
    says(&hsm.uri("token=other;object=a", "env:COLOPHON_TEST_PIN"), "no token fits; there are `colophon`");
    says(&hsm.uri("slot-id=999;object=a", "env:COLOPHON_TEST_PIN"), "no token fits");
    says(&hsm.uri("object=a", "env:COLOPHON_NO_SUCH_PIN"), "no variable COLOPHON_NO_SUCH_PIN");
    says(&hsm.uri("object=a", "/nonexistent/pin"), "the PIN file /nonexistent/pin cannot be read");
    let open = hsm.dir.join("open-pin");
    std::fs::write(&open, PIN).unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o644)).unwrap();
        says(&hsm.uri("object=a", &open.display().to_string()), "chmod 600");
    }
    let module = |path: &str| format!("pkcs11:object=a?module-path={path}").parse::<KeySource>().unwrap();
    says(&module("/nonexistent/module.so"), "cannot be used");
    says(&module(&open.display().to_string()), "cannot be used");
    says(&module(&hsm.module), "without pin-source");

    hsm.tool_does(&["--keypairgen", "--key-type", "rsa:2048", "--label", "rsa", "--id", "01"]);
    says(&hsm.key("rsa"), "no Ed25519 key");
    hsm.tool_does(&["--keypairgen", "--key-type", "EC:prime256v1", "--label", "p256", "--id", "02"]);
    says(&hsm.key("p256"), "no Ed25519 key");
    hsm.tool_does(&["--keypairgen", "--key-type", "EC:edwards25519", "--label", "alone", "--id", "03"]);
    hsm.tool_does(&["--delete-object", "--type", "pubkey", "--id", "03"]);
    says(&hsm.key("alone"), "no such public key beside");

    // A public key that belongs to another private key.
    for (label, id) in [("a", "04"), ("b", "05")] {
        hsm.tool_does(&["--keypairgen", "--key-type", "EC:edwards25519", "--label", label, "--id", id]);
    }
    hsm.tool_does(&["--delete-object", "--type", "pubkey", "--id", "04"]);
    let taken = hsm.tool(&["--read-object", "--type", "pubkey", "--id", "05", "-o", "b.der"]);
    if taken.status.success() {
        let put = hsm.tool(&["--write-object", "b.der", "--type", "pubkey", "--label", "a", "--id", "04"]);
        if put.status.success() {
            says(&hsm.key("a"), "does not verify");
        }
    }

    hsm.init_token("colophon");
    says(&hsm.key("a"), "2 tokens fit");
}

#[test]
fn a_wrong_pin_is_not_tried_until_the_token_locks() {
    with_softhsm("inner_wrong_pin");
}

#[test]
#[ignore = "run by a_wrong_pin_is_not_tried_until_the_token_locks"]
fn inner_wrong_pin() {
    let hsm = Hsm::new();
    hsm.tool_does(&["--keypairgen", "--key-type", "EC:edwards25519", "--label", "log", "--id", "01"]);
    let wrong = hsm.uri("object=log", "env:COLOPHON_TEST_WRONG_PIN");
    let error = hsm.why(&wrong);
    assert!(error.contains("refused the PIN from env:COLOPHON_TEST_WRONG_PIN"), "{error}");
    assert!(!error.contains("wrong-pin"), "{error}");

    // A PIN that was changed while the key was in use.
    let pin = hsm.dir.join("pin");
    let write_pin = |text: &str| {
        let _ = std::fs::remove_file(&pin);
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        std::io::Write::write_all(&mut options.open(&pin).unwrap(), text.as_bytes()).unwrap();
    };
    write_pin(PIN);
    let uri = match hsm.uri("object=log", &pin.display().to_string()) {
        KeySource::Token(uri) => *uri,
        other => panic!("{other}"),
    };
    let mut worker = super::Worker { uri, public: None, session: None, pin_refused: false };
    worker.first().unwrap();
    write_pin("changed");
    worker.session = None;
    assert!(worker.sign(b"m").unwrap_err().contains("refused the PIN"));
    write_pin(PIN);
    for _ in 0..3 {
        assert!(worker.sign(b"m").unwrap_err().contains("start again"));
    }
}

#[test]
fn a_token_that_was_pulled_out_is_used_again_once_it_is_back() {
    with_softhsm("inner_pulled");
}

#[test]
#[ignore = "run by a_token_that_was_pulled_out_is_used_again_once_it_is_back"]
fn inner_pulled() {
    let hsm = Hsm::new();
    let source = hsm.key("log");
    let key = source.generate().unwrap();
    let public = key.public_key();
    let (tokens, away) = (hsm.dir.join("tokens"), hsm.dir.join("away"));
    for _ in 0..2 {
        assert!(key.sign(b"before").is_ok());
        std::fs::rename(&tokens, &away).unwrap();
        std::fs::create_dir(&tokens).unwrap();
        let error = key.sign(b"while it is away").unwrap_err().to_string();
        assert!(error.contains("no signature by pkcs11:") && error.contains("token"), "{error}");
        assert!(key.sign(b"still").is_err());
        std::fs::remove_dir_all(&tokens).unwrap();
        std::fs::rename(&away, &tokens).unwrap();
        let signature = key.sign(b"after").unwrap();
        assert_eq!(public.verify(b"after", &signature), Ok(()));
    }
    // Another token with another key of the same names does not take its place.
    std::fs::rename(&tokens, &away).unwrap();
    std::fs::create_dir(&tokens).unwrap();
    hsm.init_token("colophon");
    hsm.tool_does(&["--keypairgen", "--key-type", "EC:edwards25519", "--label", "log", "--id", "01"]);
    assert!(key.sign(b"m").is_err());
    let error = key.sign(b"m").unwrap_err().to_string();
    assert!(error.contains("another key"), "{error}");
    // The key may not have been where a key in memory would be.
    assert!(Ed25519Key::generate().unwrap().public_key() != public);
}

/// A module's memory is freed as the process ends: a thread that still closes its session then crashes it, one time in a
/// hundred with SoftHSM2. So whoever lets go of a token waits for all that its thread still does.
#[test]
fn the_end_of_the_thread_is_waited_for() {
    let done = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let closed = done.clone();
    let thread = super::Thread::start(move |requests| {
        while requests.recv().is_ok() {}
        // As closing a session takes a while.
        let (_held, never) = std::sync::mpsc::channel::<()>();
        assert!(never.recv_timeout(std::time::Duration::from_millis(200)).is_err());
        closed.store(true, std::sync::atomic::Ordering::SeqCst);
    });
    drop(thread.unwrap());
    assert!(done.load(std::sync::atomic::Ordering::SeqCst), "it still works");
}

/// A module that hangs keeps the process for five seconds, not for ever; one that crashed, not at all.
#[test]
fn a_thread_that_hangs_is_left_behind() {
    let (free, held) = std::sync::mpsc::channel::<()>();
    let thread = super::Thread::start(move |_| while held.recv().is_ok() {}).unwrap();
    let start = std::time::Instant::now();
    drop(thread);
    let took = start.elapsed();
    assert!((super::FAREWELL..super::FAREWELL * 4).contains(&took), "{took:?}");
    drop(free);

    let start = std::time::Instant::now();
    drop(super::Thread::start(|_| panic!("as a module would")).unwrap());
    assert!(start.elapsed() < super::FAREWELL, "{:?}", start.elapsed());
}
