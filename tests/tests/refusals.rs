//! What the policy refuses: recorded at the level that its rule names, over the whole request where that was on its way.

use std::time::{Duration, Instant};

use colophon_receipt::level::{Level, Outcome};
use colophon_receipt::merkle::sha256;
use colophon_tests::client::{Client, post, post_bytes};
use colophon_tests::colophon::Colophon;
use colophon_tests::receipts::Fetched;
use colophon_tests::upstream::Upstream;

const POLICY: &str = "\
apiVersion: colophon.dev/v1alpha1
kind: ProvenancePolicy
metadata: {name: refusals}
spec:
  defaults: {level: commit, failurePolicy: Ignore}
  rules:
  - {name: no chat, matches: [{apis: [chat]}], level: sign, deny: {reason: not here}}
  - {name: no embeddings, matches: [{apis: [embeddings]}], level: commit, deny: {reason: not here}}
";

fn refusing() -> (Upstream, Colophon) {
    let upstream = Upstream::answering("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let colophon = Colophon::start(&upstream.url(), |options| options.policy = Some(POLICY.to_owned()));
    (upstream, colophon)
}

#[test]
fn a_refusal_is_signed_over_the_whole_request() {
    let (upstream, colophon) = refusing();
    // Of one piece, of many, and none.
    for body in ["{\"model\":\"x\"}".to_owned(), "y".repeat(300_000), String::new()] {
        let response = post(colophon.listen(), "/v1/chat/completions", &body);
        assert_eq!(response.status(), 403);
        assert!(response.header("signature").is_some(), "{:?}", response.headers);
        let receipt = Fetched::of(&response, colophon.listen());
        assert_eq!((receipt.outcome(), receipt.leaf.level), (Outcome::Refused, Level::Sign));
        let digest = receipt.request_body().expect("a whole request");
        assert_eq!((digest.digest, digest.size), (sha256(body.as_bytes()), body.len() as u64));
        receipt.assert_verifies(colophon.listen(), body.as_bytes(), &response.body);
    }
    let response = post(colophon.listen(), "/v1/embeddings", "{}");
    let receipt = Fetched::of(&response, colophon.listen());
    assert_eq!((response.status(), receipt.leaf.level), (403, Level::Commit));
    assert_eq!(receipt.request_body().map(|body| body.size), Some(2));
    assert_eq!(upstream.received().len(), 0, "nothing is forwarded");
}

#[test]
fn who_sends_no_body_is_refused_at_once_all_the_same() {
    let (upstream, colophon) = refusing();
    let whole = post_bytes("/v1/chat/completions", "", "{\"model\":\"x\"}");
    let waiting = post_bytes("/v1/chat/completions", "Expect: 100-continue\r\n", "{\"model\":\"x\"}");
    // The last byte does not come; and whoever waits for a 100 gets none.
    for part in [&whole[..whole.len() - 1], &waiting[..waiting.len() - 13]] {
        let begun = Instant::now();
        let mut client = Client::connect(colophon.listen());
        assert!(client.send(part));
        let response = client.response("POST");
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        assert_eq!(response.status(), 403);
        let receipt = Fetched::of(&response, colophon.listen());
        assert_eq!((receipt.outcome(), receipt.leaf.level), (Outcome::Refused, Level::Commit));
        assert!(receipt.request_body().is_none(), "its end never came");
    }
    assert_eq!(upstream.received().len(), 0);
}
