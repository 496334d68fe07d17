//! A real time stamping authority: OpenSSL's `ts`, behind a small HTTP server.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use tempfile::TempDir;

use crate::process::run;
use crate::upstream::{Conn, Upstream};
use crate::wire::Message;
use crate::{PATIENCE, pause};

/// What kind of TSA it is.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// `openssl genpkey` options of its key and its authorities' keys.
    pub key: &'static [&'static str],
    /// The hash of its tokens and of its authorities' signatures.
    pub digest: &'static str,
    /// The hash that names its certificate in tokens.
    pub names_by: &'static str,
    /// Options with which its certificates are signed.
    pub signing: &'static [&'static str],
    /// Whether an authority stands between it and its root.
    pub between: bool,
}

/// A P-256 key, as is usual today.
pub const P256: Kind = Kind {
    key: &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
    digest: "sha256",
    names_by: "sha256",
    signing: &[],
    between: false,
};

/// A TSA's keys, certificates and counter, in a folder of its own.
pub struct Tsa {
    folder: TempDir,
    kind: Kind,
    /// OpenSSL counts the serial number in a file.
    turn: Mutex<()>,
}

/// How a server answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mood {
    /// As it should.
    Good,
    /// With this status and body.
    Says(u16, Vec<u8>),
    /// As it should, to another request.
    Mistaken,
    /// Not within anybody's patience.
    Slow,
    /// It closes the connection.
    Down,
}

/// A server; dropping it ends it.
pub struct TsaServer {
    upstream: Upstream,
    mood: Arc<Mutex<Mood>>,
    tsa: Arc<Tsa>,
}

impl Tsa {
    /// Makes its keys and certificates.
    pub fn new(kind: Kind) -> Self {
        let folder = tempfile::Builder::new().prefix("tsa-").tempdir().expect("a temporary folder");
        let tsa = Self { folder, kind, turn: Mutex::new(()) };
        fs::write(tsa.path("tsa.cnf"), config(&kind)).expect("a file");
        fs::write(tsa.path("serial"), "01\n").expect("a file");
        for name in ["root", "between", "tsa"] {
            let mut command = tsa.openssl(&["genpkey", "-out", &format!("{name}.key")]);
            ok(command.args(kind.key));
        }
        let digest = format!("-{}", kind.digest);
        let root =
            ["req", "-x509", "-new", "-key", "root.key", "-subj", "/CN=OpenSSL root", "-days", "30", &digest];
        ok(tsa
            .openssl(&root)
            .args(["-config", "tsa.cnf", "-extensions", "ca", "-out", "root.pem"])
            .args(kind.signing));
        let issuer = if kind.between { "between" } else { "root" };
        if kind.between {
            tsa.certify("between", "/CN=OpenSSL between", "root", "ca");
        }
        tsa.certify("tsa", "/O=Tests/CN=OpenSSL TSA", issuer, "tsa");
        let chain =
            if kind.between { fs::read(tsa.path("between.pem")).expect("a certificate") } else { Vec::new() };
        fs::write(tsa.path("chain.pem"), chain).expect("a file");
        tsa
    }

    fn certify(&self, name: &str, subject: &str, issuer: &str, extensions: &str) {
        let (key, request, out) = (format!("{name}.key"), format!("{name}.csr"), format!("{name}.pem"));
        let new = ["req", "-new", "-key", &key, "-subj", subject, "-config", "tsa.cnf", "-out", &request];
        ok(&mut self.openssl(&new));
        let (issuer, issuer_key) = (format!("{issuer}.pem"), format!("{issuer}.key"));
        let digest = format!("-{}", self.kind.digest);
        let sign = [
            "x509",
            "-req",
            "-in",
            &request,
            "-CA",
            &issuer,
            "-CAkey",
            &issuer_key,
            "-CAcreateserial",
            &digest,
        ];
        let rest = ["-days", "20", "-extfile", "tsa.cnf", "-extensions", extensions, "-out", &out];
        ok(self.openssl(&sign).args(rest).args(self.kind.signing));
    }

    /// A file of its folder: `root.pem`, above all.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn openssl(&self, args: &[&str]) -> Command {
        let mut command = Command::new("openssl");
        command.args(args).current_dir(self.folder.path());
        command
    }

    /// Its answer to a `TimeStampReq`.
    pub fn reply(&self, request: &[u8]) -> Vec<u8> {
        let _turn = self.turn.lock().expect("nobody panics with the lock");
        fs::write(self.path("request.tsq"), request).expect("a file");
        let args =
            ["ts", "-reply", "-config", "tsa.cnf", "-section", "tsa_default", "-queryfile", "request.tsq"];
        let mut command = self.openssl(&args);
        command.args(["-signer", "tsa.pem", "-inkey", "tsa.key", "-out", "reply.tsr"]);
        if self.kind.between {
            command.args(["-chain", "chain.pem"]);
        }
        ok(&mut command);
        fs::read(self.path("reply.tsr")).expect("an answer")
    }

    /// Whether `openssl ts -verify` accepts a token over this SHA-256.
    pub fn verifies(&self, token: &Path, imprint: &[u8; 32]) -> Result<(), String> {
        let digest: String = imprint.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut command = self.openssl(&["ts", "-verify", "-digest", &digest, "-token_in", "-in"]);
        command.arg(token).args(["-CAfile", "root.pem", "-untrusted", "chain.pem"]);
        if !self.kind.between {
            command = self.openssl(&["ts", "-verify", "-digest", &digest, "-token_in", "-in"]);
            command.arg(token).args(["-CAfile", "root.pem"]);
        }
        let output = run(&mut command, PATIENCE);
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        if said.contains("Verification: OK") { Ok(()) } else { Err(said) }
    }

    /// Serves it over HTTP.
    pub fn serve(self) -> TsaServer {
        let (mood, tsa) = (Arc::new(Mutex::new(Mood::Good)), Arc::new(self));
        let (of_server, of_tsa) = (mood.clone(), tsa.clone());
        let upstream = Upstream::serve(move |conn| {
            while let Some(request) = conn.request() {
                let mood = of_server.lock().expect("nobody panics with the lock").clone();
                if !answer(conn, &request, &mood, &of_tsa) {
                    return;
                }
            }
        });
        TsaServer { upstream, mood, tsa }
    }
}

fn answer(conn: &mut Conn, request: &Message, mood: &Mood, tsa: &Tsa) -> bool {
    let (status, body) = match mood {
        Mood::Good => (200, tsa.reply(&request.body)),
        Mood::Says(status, body) => (*status, body.clone()),
        Mood::Mistaken => {
            let mut request = request.body.clone();
            // The first byte of the imprint: `30 len 02 01 01 30 31 30 0d 06 09 … 04 20`.
            request[24] ^= 1;
            (200, tsa.reply(&request))
        }
        Mood::Slow => {
            pause(PATIENCE);
            return false;
        }
        Mood::Down => return false,
    };
    let head = format!(
        "HTTP/1.1 {status} X\r\nContent-Type: application/timestamp-reply\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    conn.send(head.as_bytes()) && conn.send(&body)
}

impl TsaServer {
    /// Its URL.
    pub fn url(&self) -> String {
        self.upstream.url()
    }

    /// From now on it answers like this.
    pub fn mood(&self, mood: Mood) {
        *self.mood.lock().expect("nobody panics with the lock") = mood;
    }

    /// The requests it got.
    pub fn received(&self) -> Vec<Message> {
        self.upstream.received()
    }

    /// The authority itself.
    pub fn tsa(&self) -> &Tsa {
        &self.tsa
    }
}

fn config(kind: &Kind) -> String {
    let Kind { digest, names_by, .. } = kind;
    format!(
        "[req]\ndistinguished_name = dn\nprompt = no\n[dn]\nCN = x\n\
         [ca]\nbasicConstraints = critical,CA:TRUE\nkeyUsage = critical,keyCertSign,cRLSign\nsubjectKeyIdentifier = hash\n\
         [tsa]\nbasicConstraints = critical,CA:FALSE\nkeyUsage = critical,digitalSignature\n\
         extendedKeyUsage = critical,timeStamping\nsubjectKeyIdentifier = hash\n\
         [tsa_default]\nserial = serial\nsigner_digest = {digest}\ndefault_policy = 1.2.3.4.1\ndigests = sha256\n\
         accuracy = secs:1, millisecs:500\nclock_precision_digits = 3\nordering = yes\ntsa_name = yes\n\
         ess_cert_id_chain = no\ness_cert_id_alg = {names_by}\n"
    )
}

fn ok(command: &mut Command) {
    let output = run(command, PATIENCE);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{command:?}: {}\n{said}", output.status);
}
