//! Sigstore's time stamping authority dates our checkpoints. Part of `cargo xtask test --full`.

use std::process::Command;

use colophon_signer::rfc3161::{Request, Roots, Token, token_of};
use colophon_tests::client::{post_bytes, send};
use colophon_tests::colophon::Colophon;
use colophon_tests::process::{self, Process};
use colophon_tests::receipts::Fetched;
use colophon_tests::upstream::Upstream;
use colophon_tests::{PATIENCE, client, paths, wait_for};

#[test]
fn sigstores_timestamps_count_as_any_others() {
    let Some(program) = paths::installed("timestamp-server/timestamp-server") else {
        assert!(std::env::var_os("COLOPHON_TEST_FULL").is_none(), "timestamp-server is not installed");
        eprintln!("skipped: no timestamp-server (cargo xtask test --full builds it)");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let at = process::free_address();
    let mut command = Command::new(program);
    command.args([
        "serve",
        "--host",
        "127.0.0.1",
        "--port",
        &at.port().to_string(),
        "--timestamp-signer",
        "memory",
    ]);
    command.args(["--disable-ntp-monitoring", "--log-type", "prod"]).current_dir(folder.path());
    let server = Process::start(&mut command, &folder.path().join("log"));
    let chain = wait_for(PATIENCE, || {
        std::net::TcpStream::connect(at).ok()?;
        let answer = client::get(at, "/api/v1/timestamp/certchain");
        (answer.status() == 200).then(|| answer.text())
    });
    let chain = chain.unwrap_or_else(|| panic!("no chain: {}", server.log()));
    // The TSA's own certificate comes first. Its tokens hold no other, so what issued it is trusted as a root is.
    let root = format!("-----BEGIN {}", chain.splitn(3, "-----BEGIN ").nth(2).unwrap());
    let file = folder.path().join("root.pem");
    std::fs::write(&file, &root).unwrap();

    let request = Request { imprint: [3; 32], nonce: [0x81; 16] };
    let head = format!(
        "POST /api/v1/timestamp HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\
         Content-Type: application/timestamp-query\r\nContent-Length: {}\r\n\r\n",
        request.to_der().len()
    );
    let answer = send(at, &[head.as_bytes(), &request.to_der()].concat());
    let token = Token::parse(token_of(&answer.body).unwrap()).unwrap();
    token.check_request(&request).unwrap();
    token.chain(&Roots::from_pem(&root).unwrap()).unwrap();

    let upstream = Upstream::answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
    let url = format!("http://{at}/api/v1/timestamp");
    let colophon = Colophon::start(&upstream.url(), |options| {
        options.sign_all().arg(&["--tsa", &url, "--tsa-root", file.to_str().unwrap()]);
    });
    let answer = send(colophon.listen(), &post_bytes("/v1/completions", "Connection: close\r\n", "{}"));
    Fetched::of(&answer, colophon.listen());
    let now = b"POST /timestamp HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    let dated = send(colophon.admin(), now);
    assert_eq!(dated.status(), 200, "{}", dated.text());
    let fetched = Fetched::of(&answer, colophon.listen());
    assert_eq!(fetched.receipt().anchors.len(), 1);
    let keys = client::get(colophon.listen(), "/.well-known/colophon/keys").text();
    let trust = keys.replace("\"timestamps\": 0", "\"timestamps\": 1");
    let (code, said) = fetched.verify_by(trust.as_bytes(), None, None);
    assert!(code == 0 && said.contains("unchanged since"), "{code}: {said}");
}
