//! An HTTPS server that is asked for evidence of itself, answers that as a test says, and notes everything else it gets.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use colophon_attest::evidence::Bundle;
use colophon_attest::simulate::{DEFAULT_SEED, Faults, Simulation};
use colophon_attest::{Collateral, Document, Evidence, Keyset, aci, verify};
use colophon_receipt::merkle::sha256;
use colophon_signer::x509::Certificate;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::PATIENCE;
use crate::certs::Issued;

/// Where it is asked, in one form or another.
const PATHS: [&str; 3] = [
    "GET /.well-known/colophon/attestation?nonce=",
    "GET /v1/aci/attestation?nonce=",
    "GET /v1/attestation/report?nonce=",
];

/// What the server knows of a connection on which it is asked.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The nonce, as it came.
    pub nonce: String,
    /// The connection's TLS exporter.
    pub exporter: [u8; 32],
    /// SHA-256 of the server's SubjectPublicKeyInfo.
    pub spki: [u8; 32],
    /// Which connection it is, from 0.
    pub connection: usize,
    /// How often it was asked before.
    pub before: usize,
}

/// The server.
pub struct Proving {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    /// Whatever came that was no question for evidence, one entry a request.
    received: Mutex<Vec<Vec<u8>>>,
    asked: AtomicUsize,
    connections: AtomicUsize,
    stopped: AtomicBool,
}

impl Proving {
    /// Listens. `prove` gives the answer to a question for evidence (nothing: the connection closes), `answer` those to everything else, in
    /// pieces that it sends itself.
    pub fn serve(
        issued: &Issued,
        config: Arc<ServerConfig>,
        prove: impl Fn(&Asked) -> Option<Vec<u8>> + Send + Sync + 'static,
        answer: impl Fn(&mut dyn std::io::Write) -> std::io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        Self::serve_at(([127, 0, 0, 1], 0).into(), issued, config, prove, answer)
    }

    /// The same at this address.
    pub fn serve_at(
        at: SocketAddr,
        issued: &Issued,
        config: Arc<ServerConfig>,
        prove: impl Fn(&Asked) -> Option<Vec<u8>> + Send + Sync + 'static,
        answer: impl Fn(&mut dyn std::io::Write) -> std::io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let spki = sha256(Certificate::parse(&issued.certificate).expect("a certificate").spki());
        let listener = TcpListener::bind(at).expect("a free port");
        let address = listener.local_addr().expect("its address");
        let shared = Arc::new(Shared {
            received: Mutex::default(),
            asked: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            stopped: AtomicBool::new(false),
        });
        let of_thread = shared.clone();
        let (prove, answer) = (Arc::new(prove), Arc::new(answer));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if of_thread.stopped.load(Ordering::SeqCst) {
                    return;
                }
                let connection = of_thread.connections.fetch_add(1, Ordering::SeqCst);
                let (config, shared) = (config.clone(), of_thread.clone());
                let (prove, answer) = (prove.clone(), answer.clone());
                thread::spawn(move || {
                    stream.set_read_timeout(Some(PATIENCE)).ok();
                    stream.set_nodelay(true).ok();
                    let Ok(session) = ServerConnection::new(config) else { return };
                    let mut tls = StreamOwned::new(session, stream);
                    let asked = |nonce: String, tls: &StreamOwned<ServerConnection, TcpStream>| Asked {
                        nonce,
                        exporter: tls
                            .conn
                            .export_keying_material([0; 32], b"EXPORTER-Channel-Binding", Some(&[]))
                            .unwrap_or_default(),
                        spki,
                        connection,
                        before: shared.asked.fetch_add(1, Ordering::SeqCst),
                    };
                    while let Some((head, mut rest)) = head(&mut tls) {
                        let asking = PATHS.iter().find_map(|path| head.strip_prefix(path));
                        if let Some(nonce) = asking {
                            let nonce = nonce.split([' ', '&']).next().unwrap_or_default().to_owned();
                            let Some(bytes) = prove(&asked(nonce, &tls)) else { return };
                            if tls.write_all(&bytes).and_then(|()| tls.flush()).is_err() {
                                return;
                            }
                            continue;
                        }
                        let length = head.to_ascii_lowercase();
                        let length = length.split("content-length: ").nth(1);
                        let length =
                            length.and_then(|text| text.split('\r').next()?.parse().ok()).unwrap_or(0);
                        let mut more = vec![0; usize::saturating_sub(length, rest.len())];
                        let whole = tls.read_exact(&mut more).is_ok();
                        rest.extend(more);
                        let request = [head.as_bytes(), &rest].concat();
                        shared.received.lock().expect("no thread panics with it").push(request);
                        if !whole || answer(&mut tls).and_then(|()| tls.flush()).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Self { address, shared }
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("https://localhost:{}", self.address.port())
    }

    /// Whatever it got beside questions for evidence.
    pub fn received(&self) -> Vec<Vec<u8>> {
        self.shared.received.lock().expect("no thread panics with it").clone()
    }

    /// How often it was asked for evidence.
    pub fn asked(&self) -> usize {
        self.shared.asked.load(Ordering::SeqCst)
    }

    /// How many connections it has accepted.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Proving {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        TcpStream::connect(self.address).ok();
    }
}

/// A request's head, and what came with it of the body.
fn head(tls: &mut StreamOwned<ServerConnection, TcpStream>) -> Option<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let mut some = [0; 4096];
    loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let rest = bytes.split_off(end + 4);
            return Some((String::from_utf8_lossy(&bytes).into_owned(), rest));
        }
        match tls.read(&mut some) {
            Ok(count) if count > 0 && bytes.len() < 1 << 16 => bytes.extend_from_slice(&some[..count]),
            _ => return None,
        }
    }
}

/// An answer of 200 with this body.
pub fn answer(body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// A simulated TDX machine's evidence for these keys and this nonce, made at `at` (seconds).
pub fn document(keyset: &Keyset, nonce: &str, at: u64, faults: Faults) -> Vec<u8> {
    let statement = aci::Statement { keyset_digest: keyset.digest(), nonce: Some(nonce.to_owned()) };
    let report_data = statement.report_data().expect("a nonce");
    let (quote, collateral) = Simulation::new(DEFAULT_SEED).tdx(report_data, at, faults);
    let mut bundle = Bundle::new(vec![quote], collateral);
    bundle.statement = Some(statement.to_json().expect("a nonce"));
    Document::new(keyset, bundle, None).to_json()
}

/// A simulated TDX machine's quote over this report data, made now, and its collateral as a file has it.
pub fn quote(report_data: [u8; 64]) -> (Vec<u8>, Vec<u8>) {
    match Simulation::new(DEFAULT_SEED).tdx(report_data, now(), Faults::default()) {
        (Evidence::IntelQuote { quote }, collateral) => {
            (quote, serde_json::to_vec(&collateral).expect("strings and lists"))
        }
        (other, _) => panic!("{other:?}"),
    }
}

/// Now, in seconds since the epoch.
pub fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs()
}

/// The `attestation` of a policy that takes the simulated TDX machine.
pub fn takes_simulated() -> String {
    let simulation = Simulation::new(DEFAULT_SEED);
    let (quote, collateral): (Evidence, Collateral) = simulation.tdx([0; 64], now(), Faults::default());
    let roots = simulation.roots();
    let question = colophon_attest::Question { at: now(), simulated: Some(&roots), ..Default::default() };
    let report = verify(&quote, &collateral, &question).expect("a good quote");
    let mr_td = &report.measurements["mr_td"];
    format!("{{gpu: off, platforms: {{tdx: {{referenceValues: {{mr_td: [\"{mr_td}\"]}}}}}}}}")
}
