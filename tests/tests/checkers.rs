//! Independent implementations agree with ours: the Python programs of `tests/checkers` on receipts, signatures and
//! checkpoints of a running proxy.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use colophon_tests::client::{post_bytes, send};
use colophon_tests::colophon::Colophon;
use colophon_tests::receipts::Fetched;
use colophon_tests::upstream::Upstream;
use colophon_tests::wire::Message;
use colophon_tests::{client, paths, process};

fn run(checker: &str, args: &[&Path]) {
    let mut command = Command::new(paths::python());
    command.arg(paths::tests("checkers").join(checker)).args(args);
    let output = process::run(&mut command, Duration::from_secs(120));
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{checker} {args:?}: {}\n{said}", output.status);
    assert!(said.contains("ok - "), "{checker} checked nothing:\n{said}");
}

/// The exchange in the form that `httpsig.py` reads.
fn exchange(request: &[u8], target: &str, colophon: &Colophon, response: &Message) -> Vec<u8> {
    let head = String::from_utf8_lossy(request);
    let head = head.split("\r\n\r\n").next().unwrap_or_default();
    let headers: Vec<(&str, &str)> = head.lines().skip(1).filter_map(|line| line.split_once(": ")).collect();
    let json = serde_json::json!({
        "request": {
            "method": head.split(' ').next(),
            "url": format!("http://{}{target}", colophon.listen()),
            "headers": headers,
        },
        "response": {"status": response.status(), "headers": response.headers, "trailers": response.trailers},
    });
    json.to_string().into_bytes()
}

#[test]
fn others_agree_with_receipts_and_signatures() {
    let stream = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
    let upstream = Upstream::serve(move |conn| {
        while let Some(request) = conn.request() {
            if request.text().contains("stream") {
                conn.send(format!("{stream}e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n").as_bytes());
            } else {
                conn.send(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n{\"id\":\"x\"}");
            }
        }
    });
    let colophon = Colophon::signing(&upstream.url());
    let folder = colophon.folder();
    let save = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let trust = save("trust.json", &client::get(colophon.listen(), "/.well-known/colophon/keys").body);
    let target = "/v1/chat/completions?a=b";
    let cases = [
        (
            "whole",
            "Colophon-Client-Nonce: :AAECAwQFBgcICQoLDA0ODw==:\r\nConnection: close\r\n",
            r#"{"model":"m"}"#,
        ),
        ("stream", "Connection: close\r\n", r#"{"model":"m","stream":true}"#),
        ("trailers", "TE: trailers\r\nConnection: TE, close\r\n", r#"{"model":"m","stream":true}"#),
    ];
    for (name, headers, body) in cases {
        let request = post_bytes(target, headers, body);
        let response = send(colophon.listen(), &request);
        assert_eq!(response.status(), 200, "{name}: {}", response.text());
        let fetched = Fetched::of(&response, colophon.listen());
        fetched.assert_verifies(colophon.listen(), body.as_bytes(), &response.body);
        let receipt = save(&format!("{name}.receipt"), &fetched.json);
        let body = save(&format!("{name}.body"), &response.body);
        let exchange = save(&format!("{name}.exchange"), &exchange(&request, target, &colophon, &response));
        let (with_receipt, with_trust, with_body) =
            (Path::new("--receipt"), Path::new("--trust"), Path::new("--body"));
        run("cbor.py", &[&receipt]);
        run("merkle.py", &[Path::new("receipt"), &receipt]);
        run("cose.py", &[&receipt, with_trust, &trust]);
        run("note.py", &[with_receipt, &receipt, with_trust, &trust]);
        run("httpsig.py", &[&exchange, with_receipt, &receipt, with_body, &body]);
        run(
            "spoilt.py",
            &[&receipt, with_trust, &trust, Path::new("--exchange"), &exchange, with_body, &body],
        );
    }
    // The checkpoint as a log's monitor would read it.
    let about = client::get(colophon.listen(), "/.well-known/colophon/about");
    let about: serde_json::Value = serde_json::from_slice(&about.body).expect("about is JSON");
    let origin = about["log"]["origin"].as_str().expect("the log's origin");
    let generation = origin.rsplit('/').next().unwrap_or_default();
    let note = client::get(colophon.listen(), &format!("/.well-known/colophon/log/{generation}/checkpoint"));
    assert_eq!(note.status(), 200, "{}", note.text());
    assert_eq!(note.text().lines().next(), Some(origin));
    let note = save("checkpoint", &note.body);
    run("note.py", &[&note, Path::new("--trust"), &trust]);
}
