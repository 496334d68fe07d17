//! vLLM itself, asked directly and through the proxy; `cargo xtask e2e vllm` runs these.

use std::time::Duration;

use colophon_receipt::level::Outcome;
use colophon_tests::client::{Client, get, post_bytes};
use colophon_tests::colophon::Colophon;
use colophon_tests::receipts::Fetched;
use colophon_tests::same::assert_same;
use colophon_tests::vllm::{MODEL, Vllm};
use colophon_tests::{PATIENCE, pause, wait_for};

/// What may differ between two answers: ids, and readings of a clock.
const MAY_DIFFER: &[&str] = &[
    "arrival_time",
    "completed_at",
    "created",
    "created_at",
    "id",
    "item_id",
    "request_id",
    "system_fingerprint",
];

/// (path, body with `MODEL` for the model's name)
const REQUESTS: &[(&str, &str)] = &[
    (
        "/v1/chat/completions",
        r#"{"model":"MODEL","messages":[{"role":"user","content":"Once upon a time — é"}],"max_tokens":12,"temperature":0}"#,
    ),
    (
        "/v1/chat/completions",
        r#"{"model":"MODEL","messages":[{"role":"user","content":"Once"}],"max_tokens":12,"temperature":0,"stream":true,"stream_options":{"include_usage":true}}"#,
    ),
    (
        "/v1/chat/completions",
        r#"{"model":"MODEL","messages":[{"role":"user","content":"Once"}],"max_tokens":6,"temperature":0,"logprobs":true,"top_logprobs":2,"n":2}"#,
    ),
    (
        "/v1/completions",
        r#"{"model":"MODEL","prompt":["Once upon","There was"],"max_tokens":12,"temperature":0}"#,
    ),
    (
        "/v1/completions",
        r#"{"model":"MODEL","prompt":"Once upon","max_tokens":12,"temperature":0,"stream":true}"#,
    ),
    (
        "/v1/responses",
        r#"{"model":"MODEL","input":"Once upon a time","max_output_tokens":12,"temperature":0}"#,
    ),
    (
        "/v1/responses",
        r#"{"model":"MODEL","input":"Once upon a time","max_output_tokens":12,"temperature":0,"stream":true}"#,
    ),
    (
        "/v1/messages",
        r#"{"model":"MODEL","messages":[{"role":"user","content":"Once"}],"max_tokens":12,"temperature":0}"#,
    ),
    (
        "/v1/messages",
        r#"{"model":"MODEL","messages":[{"role":"user","content":"Once"}],"max_tokens":12,"temperature":0,"stream":true}"#,
    ),
    ("/tokenize", r#"{"model":"MODEL","prompt":"Once upon a time"}"#),
    ("/detokenize", r#"{"model":"MODEL","tokens":[50,51,52]}"#),
    // Refused by the server itself.
    ("/v1/chat/completions", r#"{"model":"nobody","messages":[{"role":"user","content":"Once"}]}"#),
    ("/v1/chat/completions", r#"{"model":"MODEL","messages":"no list"}"#),
    ("/v1/chat/completions", r#"{"model":"MODEL","messages":["#),
    ("/v1/nothing-here", r#"{}"#),
];

#[test]
fn answers_are_the_same_direct_and_through_the_proxy() {
    let Some(vllm) = Vllm::running() else { return };
    let colophon = Colophon::signing(&vllm.url());
    let requests: Vec<_> =
        REQUESTS.iter().map(|(path, body)| (*path, body.replace("MODEL", MODEL))).collect();
    assert_same(vllm.address(), &colophon, &requests, MAY_DIFFER);
}

#[test]
fn what_operators_ask_passes_untouched() {
    let Some(vllm) = Vllm::running() else { return };
    let colophon = Colophon::before(&vllm.url());
    for path in ["/health", "/version", "/v1/models", "/openapi.json"] {
        let (direct, through) = (get(vllm.address(), path), get(colophon.listen(), path));
        assert_eq!(through.status(), direct.status(), "{path}");
        // The list of models says when each was asked for.
        if path != "/v1/models" {
            assert_eq!(through.body, direct.body, "{path}");
        }
    }
    let metrics = get(colophon.listen(), "/metrics").text();
    assert!(metrics.contains("vllm:generation_tokens_total"), "{metrics}");
}

/// vLLM counts the tokens it makes: they stop soon after the client has gone, long before the answer's end.
#[test]
fn a_client_that_leaves_midway_stops_the_generation() {
    let Some(vllm) = Vllm::running() else { return };
    let colophon = Colophon::signing(&vllm.url());
    let tokens = || vllm.counter("vllm:generation_tokens_total");
    let before = tokens();
    let body = format!(
        r#"{{"model":"{MODEL}","messages":[{{"role":"user","content":"Once"}}],"max_tokens":900,"ignore_eos":true,"temperature":0,"stream":true}}"#
    );
    let mut client = Client::connect(colophon.listen());
    client.send(&post_bytes("/v1/chat/completions", "", &body));
    let mut got = client.wire().response_head();
    assert_eq!(got.status(), 200);
    client.wire().response_prefix(&mut got, 2000);
    drop(client);
    // Running requests: none is left, and nothing is generated any more.
    let idle = wait_for(PATIENCE, || (vllm.counter("vllm:num_requests_running") == 0.0).then_some(()));
    assert!(idle.is_some(), "vLLM goes on generating for nobody");
    let made = tokens() - before;
    pause(Duration::from_secs(1));
    assert!(made < 900.0, "all {made} tokens were generated");
    assert!((tokens() - before - made).abs() < 1.0, "tokens are still being generated");
    let receipt = Fetched::of(&got, colophon.listen());
    assert_eq!(receipt.outcome(), Outcome::ClientAborted);
}
