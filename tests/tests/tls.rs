//! TLS on both sides: HTTP/1.1 and HTTP/2 by ALPN, certificates replaced while it runs, private CAs, client
//! certificates.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use colophon_receipt::fields::{self, Failure, Upstream};
use colophon_receipt::level::Outcome;
use colophon_tests::certs::{Authority, Issued};
use colophon_tests::client::{get, post};
use colophon_tests::colophon::Colophon;
use colophon_tests::receipts::Fetched;
use colophon_tests::server::{ANSWER, Server};
use colophon_tests::session::Session;
use colophon_tests::wire::Message;
use colophon_tests::{PATIENCE, wait_for};
use http::Version;
use tempfile::TempDir;

const CHAT: &str = "/v1/chat/completions";

/// Longer than the listener's files are left unread.
const POLLED_WITHIN: Duration = Duration::from_secs(20);

/// A CA, and a listener's files with a certificate of it.
struct Files {
    folder: TempDir,
    ca: Authority,
}

impl Files {
    fn new() -> (Self, Issued) {
        let files = Self { folder: tempfile::tempdir().unwrap(), ca: Authority::new() };
        let first = files.ca.issue("the first");
        first.write(&files.path("tls.crt"), &files.path("tls.key"));
        (files, first)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    fn listener(&self, upstream: &str) -> Colophon {
        Colophon::start(upstream, |options| {
            options.sign_all().arg(&[
                "--tls-cert",
                &self.text("tls.crt"),
                "--tls-key",
                &self.text("tls.key"),
            ]);
        })
    }

    fn connect(&self, to: &Colophon, protocols: &[&str]) -> Session {
        Session::tls(to.listen(), self.ca.client(protocols)).expect("a handshake")
    }
}

/// The record's receipt, fetched through the same connection, verifies.
fn verified(session: &mut Session, response: &Message, request: &str) -> Fetched {
    assert_eq!(response.status(), 200, "{}", response.text());
    let receipt = Fetched::with(response, |path| session.get(path));
    let trust = session.get("/.well-known/colophon/keys").body;
    let (code, said) = receipt.verify_by(&trust, Some(request.as_bytes()), Some(&response.body));
    assert_eq!(code, 0, "{said}");
    receipt
}

#[test]
fn https_speaks_what_the_client_prefers() {
    let (files, first) = Files::new();
    let server = Server::plain(false);
    let colophon = files.listener(&server.url());
    let offers: [(&[&str], Version); 4] = [
        (&["h2", "http/1.1"], Version::HTTP_2),
        (&["h2"], Version::HTTP_2),
        (&["http/1.1"], Version::HTTP_11),
        (&[], Version::HTTP_11),
    ];
    for (protocols, version) in offers {
        let mut session = files.connect(&colophon, protocols);
        assert_eq!(session.version(), version, "{protocols:?}");
        assert_eq!(session.certificate(), Some(&first.certificate));
        let response = session.post(CHAT, "{}");
        assert_eq!(response.text(), ANSWER);
        let receipt = verified(&mut session, &response, "{}");
        let line = fields::RequestLine::read(receipt.field(fields::REQUEST_LINE).unwrap()).unwrap();
        let spoken = if version == Version::HTTP_2 { "HTTP/2.0" } else { "HTTP/1.1" };
        assert_eq!(line.version.as_deref(), Some(spoken));
        assert_eq!(
            line.authority,
            Some(format!("localhost:{}", colophon.listen().port()).into_bytes().into())
        );
    }
    assert!(Session::tls(colophon.listen(), files.ca.client(&["spdy/3"])).is_err(), "no protocol in common");
    assert!(
        Session::tls(colophon.listen(), Authority::new().client(&[])).is_err(),
        "a stranger's certificate"
    );
}

/// Waits until new handshakes get this certificate.
fn until_shown(files: &Files, colophon: &Colophon, certificate: &Issued, limit: Duration) {
    let shown = wait_for(limit, || {
        let session = files.connect(colophon, &[]);
        (session.certificate() == Some(&certificate.certificate)).then_some(())
    });
    assert!(shown.is_some(), "the new certificate is not shown after {limit:?}");
}

#[test]
fn a_new_certificate_is_taken_up_at_sighup() {
    let (files, _) = Files::new();
    let server = Server::plain(false);
    let mut colophon = files.listener(&server.url());
    let mut before = files.connect(&colophon, &["h2"]);
    assert_eq!(before.post(CHAT, "{}").status(), 200);
    // rcgen's certificates end with the year 4095.
    assert_eq!(colophon.metric("colophon_tls_certificate_not_after_seconds"), Some(67_090_118_400.0));
    let second = files.ca.issue("the second");
    second.write(&files.path("tls.crt"), &files.path("tls.key"));
    colophon.process().signal("HUP");
    until_shown(&files, &colophon, &second, Duration::from_secs(5));
    // Connections from before go on.
    assert_eq!(before.post(CHAT, "{}").status(), 200);
}

#[test]
fn a_new_certificate_is_taken_up_without_a_signal() {
    let (files, _) = Files::new();
    let server = Server::plain(false);
    let colophon = files.listener(&server.url());
    let second = files.ca.issue("the second");
    second.write(&files.path("tls.crt"), &files.path("tls.key"));
    until_shown(&files, &colophon, &second, POLLED_WITHIN);
}

/// Half a file, a key of another certificate, no file: the old one stays, and the log says why.
#[test]
fn a_broken_certificate_leaves_the_old_one() {
    let (files, first) = Files::new();
    let server = Server::plain(false);
    let mut colophon = files.listener(&server.url());
    let other = files.ca.issue("another");
    let breaks: [(&str, Option<String>); 4] = [
        ("tls.crt", Some(first.pem[..first.pem.len() / 2].to_owned())),
        ("tls.crt", Some(String::new())),
        ("tls.key", Some(other.key_pem.clone())),
        ("tls.key", None),
    ];
    for (complaints, (name, text)) in (1..).zip(breaks) {
        match &text {
            Some(text) => std::fs::write(files.path(name), text).unwrap(),
            None => std::fs::remove_file(files.path(name)).unwrap(),
        }
        colophon.process().signal("HUP");
        let said = wait_for(PATIENCE, || {
            let log = colophon.process().log();
            (log.matches("the old certificate stays in force").count() >= complaints).then_some(log)
        });
        let said = said.unwrap_or_else(|| panic!("nothing is said of {name} {text:?}"));
        assert!(said.contains("tls.crt") || said.contains("tls.key"), "{said}");
        let mut session = files.connect(&colophon, &[]);
        assert_eq!(session.certificate(), Some(&first.certificate), "{name} {text:?}");
        assert_eq!(session.post(CHAT, "{}").status(), 200);
        first.write(&files.path("tls.crt"), &files.path("tls.key"));
    }
    other.write(&files.path("tls.crt"), &files.path("tls.key"));
    colophon.process().signal("HUP");
    until_shown(&files, &colophon, &other, Duration::from_secs(5));
}

#[test]
fn a_listener_without_a_usable_certificate_does_not_start() {
    let (files, _) = Files::new();
    let other = files.ca.issue("another");
    std::fs::write(files.path("other.key"), &other.key_pem).unwrap();
    std::fs::write(files.path("empty"), "").unwrap();
    for (chain, key, named) in [
        ("missing", "tls.key", "missing"),
        ("empty", "tls.key", "empty"),
        ("tls.crt", "empty", "empty"),
        ("tls.crt", "other.key", "other.key"),
    ] {
        let (status, said) = Colophon::refused("http://127.0.0.1:9", |options| {
            options.arg(&["--tls-cert", &files.text(chain), "--tls-key", &files.text(key)]);
        });
        assert!(!status.success() && said.contains(named) && !said.contains("panicked"), "{status} {said}");
    }
    let (status, said) = Colophon::refused("http://127.0.0.1:9", |options| {
        options.arg(&["--tls-cert", &files.text("tls.crt")]);
    });
    assert!(!status.success() && said.contains("--tls-key"), "{status} {said}");
}

/// Plain HTTP at the TLS port, and a handshake that never goes on: both end, and others are served meanwhile.
#[test]
fn what_is_no_handshake_is_cut() {
    let (files, _) = Files::new();
    let server = Server::plain(false);
    let colophon = Colophon::start(&server.url(), |options| {
        let (chain, key) = (files.text("tls.crt"), files.text("tls.key"));
        options.sign_all().arg(&["--tls-cert", &chain, "--tls-key", &key, "--header-timeout", "1s"]);
    });
    let starts: [&[u8]; 3] = [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01", b""];
    for start in starts {
        let mut stream = TcpStream::connect(colophon.listen()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(start).unwrap();
        let begun = Instant::now();
        assert_eq!(files.connect(&colophon, &[]).post(CHAT, "{}").status(), 200);
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).ok();
        assert!(begun.elapsed() < Duration::from_secs(15), "{start:?}: cut only after {:?}", begun.elapsed());
        assert!(!rest.starts_with(b"HTTP/"), "plain HTTP was answered at the TLS port");
    }
}

/// Signs all, and trusts the files' CA for the upstream.
fn trusting(files: &Files, upstream: &str, more: &[&str]) -> Colophon {
    let ca = files.ca.write(&files.path("ca.pem")).display().to_string();
    Colophon::start(upstream, |options| {
        options.sign_all().arg(&["--upstream-ca", &ca]).arg(more);
    })
}

fn upstream_of(receipt: &Fetched) -> Upstream<'_> {
    Upstream::read(receipt.field(fields::UPSTREAM).expect("the upstream is on record")).unwrap()
}

#[test]
fn an_upstream_behind_tls_with_a_private_ca() {
    let (files, first) = Files::new();
    for (protocols, version, written) in [
        (&["h2", "http/1.1"][..], Version::HTTP_2, "HTTP/2.0"),
        (&["http/1.1"][..], Version::HTTP_11, "HTTP/1.1"),
        (&[][..], Version::HTTP_11, "HTTP/1.1"),
    ] {
        let server = Server::tls(first.server(protocols, None));
        let colophon = trusting(&files, &server.url(), &[]);
        let response = post(colophon.listen(), CHAT, "{\"model\":\"m\"}");
        assert_eq!((response.status(), response.text().as_str()), (200, ANSWER));
        let receipt = Fetched::of(&response, colophon.listen());
        receipt.assert_verifies(colophon.listen(), b"{\"model\":\"m\"}", ANSWER.as_bytes());
        let upstream = upstream_of(&receipt);
        assert_eq!(upstream.url, Some(server.url().into_bytes().into()));
        assert_eq!(upstream.version.as_deref(), Some(written), "{protocols:?}");
        let seen = server.seen().remove(0);
        assert_eq!(
            (seen.version, &seen.body[..], seen.target.as_str()),
            (version, &b"{\"model\":\"m\"}"[..], CHAT)
        );
        assert!(!seen.certified);
        assert_eq!(get(colophon.admin(), "/readyz").status(), 200);
    }
}

/// 502 in the API's shape with a record that blames the upstream.
fn assert_refused(colophon: &Colophon) -> String {
    let response = post(colophon.listen(), CHAT, "{}");
    assert_eq!(response.status(), 502, "{}", response.text());
    let error: serde_json::Value = serde_json::from_slice(&response.body).expect("the API's error shape");
    assert!(error["error"]["message"].is_string(), "{error}");
    let receipt = Fetched::of(&response, colophon.listen());
    assert_eq!(receipt.outcome(), Outcome::UpstreamFailed);
    receipt.assert_verifies(colophon.listen(), b"{}", &response.body);
    let failure = Failure::read(receipt.field(fields::FAILURE).expect("the reason is on record")).unwrap();
    assert_eq!(failure.fault.as_deref(), Some("upstream"));
    failure.reason.expect("a reason").into_owned()
}

#[test]
fn an_upstream_that_cannot_be_trusted_gets_nothing() {
    let (files, _) = Files::new();
    let stranger = Authority::new().issue("a stranger");
    let server = Server::tls(stranger.server(&[], None));
    let reason = assert_refused(&trusting(&files, &server.url(), &[]));
    assert!(reason.to_lowercase().contains("certificate"), "{reason}");
    // The system's CAs do not know it either.
    let reason = assert_refused(&Colophon::signing(&server.url()));
    assert!(reason.to_lowercase().contains("certificate"), "{reason}");
    // The right CA, but not the name that was asked for.
    let server = Server::tls(files.ca.issue("right").server(&[], None));
    let other_name = server.url().replace("localhost", "127.0.0.2");
    let reason = assert_refused(&trusting(&files, &other_name, &[]));
    assert!(reason.to_lowercase().contains("certificate") || reason.contains("connect"), "{reason}");
    assert!(server.seen().is_empty());
}

#[test]
fn an_upstream_that_asks_for_a_certificate_gets_ours() {
    let (files, first) = Files::new();
    let clients = Authority::new();
    let server = Server::tls(first.server(&["h2", "http/1.1"], Some(&clients)));
    clients.issue("the proxy").write(&files.path("client.crt"), &files.path("client.key"));
    let (chain, key) = (files.text("client.crt"), files.text("client.key"));
    let colophon = trusting(&files, &server.url(), &["--upstream-cert", &chain, "--upstream-key", &key]);
    let response = post(colophon.listen(), CHAT, "{}");
    assert_eq!(response.status(), 200, "{}", response.text());
    assert!(server.seen()[0].certified);
    Fetched::of(&response, colophon.listen()).assert_verifies(colophon.listen(), b"{}", ANSWER.as_bytes());

    assert_refused(&trusting(&files, &server.url(), &[]));
    Authority::new().issue("a stranger").write(&files.path("client.crt"), &files.path("client.key"));
    assert_refused(&trusting(&files, &server.url(), &["--upstream-cert", &chain, "--upstream-key", &key]));
    assert_eq!(server.seen().len(), 1);
}

/// TLS on one side says nothing of the other.
#[test]
fn https_in_front_and_behind() {
    let (files, first) = Files::new();
    let server = Server::tls(first.server(&["h2"], None));
    let ca = files.ca.write(&files.path("ca.pem")).display().to_string();
    let colophon = Colophon::start(&server.url(), |options| {
        let (chain, key) = (files.text("tls.crt"), files.text("tls.key"));
        options.sign_all().arg(&["--tls-cert", &chain, "--tls-key", &key, "--upstream-ca", &ca]);
    });
    for protocols in [&["h2"][..], &["http/1.1"][..]] {
        let mut session = files.connect(&colophon, protocols);
        let response = session.post(CHAT, "{}");
        let receipt = verified(&mut session, &response, "{}");
        assert_eq!(upstream_of(&receipt).version.as_deref(), Some("HTTP/2.0"));
    }
    let authority = format!("localhost:{}", colophon.listen().port());
    for seen in server.seen() {
        // The client's name for us, which `--upstream-host preserve` hands on.
        let host = seen.headers.get("host").map(|host| host.to_str().unwrap().to_owned());
        assert!(host.is_none_or(|host| host == authority), "{:?}", seen.headers);
    }
}
