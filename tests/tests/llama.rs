//! llama.cpp, asked directly and through the proxy: the same bytes, but for the ids and times that also differ when it
//! is asked twice directly.

use std::time::Duration;

use colophon_tests::client::{post, post_bytes, send};
use colophon_tests::colophon::Colophon;
use colophon_tests::llama::{Llama, MODEL};
use colophon_tests::pause;
use colophon_tests::same::assert_same;
use colophon_tests::wire::End;

/// What may differ between two answers: ids, and readings of a clock.
const MAY_DIFFER: &[&str] = &[
    "completed_at",
    "created",
    "created_at",
    "id",
    "id_slot",
    "item_id",
    "predicted_ms",
    "predicted_per_second",
    "predicted_per_token_ms",
    "prompt_ms",
    "prompt_per_second",
    "prompt_per_token_ms",
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
        "/v1/completions",
        r#"{"model":"MODEL","prompt":"Once upon","max_tokens":12,"temperature":0,"logprobs":2}"#,
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
    ("/v1/embeddings", r#"{"model":"MODEL","input":["Once upon a time","there was"]}"#),
    ("/completion", r#"{"prompt":"Once upon a time","n_predict":12,"temperature":0,"id_slot":0}"#),
    (
        "/completion",
        r#"{"prompt":"Once upon a time","n_predict":12,"temperature":0,"id_slot":0,"stream":true}"#,
    ),
    // Refused by the server itself.
    ("/v1/chat/completions", r#"{"model":"MODEL","messages":"no list"}"#),
    ("/v1/chat/completions", r#"{"model":"MODEL","messages":["#),
    ("/v1/nothing-here", r#"{}"#),
];

#[test]
fn answers_are_the_same_direct_and_through_the_proxy() {
    let llama = Llama::start();
    let colophon = Colophon::signing(&llama.url());
    // The first answers differ from later ones in places (a slot not used yet).
    post(llama.address(), "/completion", r#"{"prompt":"warm","n_predict":2,"id_slot":0}"#);
    let requests: Vec<_> =
        REQUESTS.iter().map(|(path, body)| (*path, body.replace("MODEL", MODEL))).collect();
    assert_same(llama.address(), &colophon, &requests, MAY_DIFFER);
}

#[test]
fn one_connection_carries_many_answers() {
    let llama = Llama::start();
    let colophon = Colophon::before(&llama.url());
    let body = format!(r#"{{"model":"{MODEL}","prompt":"Once","max_tokens":4,"temperature":0}}"#);
    let mut client = colophon_tests::client::Client::connect(colophon.listen());
    for _ in 0..20 {
        assert!(client.send(&post_bytes("/v1/completions", "", &body)));
        let response = client.response("POST");
        assert_eq!((response.status(), response.end.clone()), (200, End::Complete), "{}", response.text());
    }
    // llama.cpp and uvicorn close connections after 5 s of silence: the proxy must not run into that.
    pause(Duration::from_secs(6));
    assert!(client.send(&post_bytes("/v1/completions", "", &body)));
    assert_eq!(client.response("POST").status(), 200);
    assert_eq!(send(colophon.listen(), &post_bytes("/v1/completions", "", &body)).status(), 200);
}
