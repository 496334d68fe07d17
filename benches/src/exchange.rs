//! What the record of a usual chat says.

use colophon_receipt::Level;
use colophon_receipt::fields::{
    ANSWER, Answer, BodyDigest, DECISION, DecisionField, MODEL, Model, OPERATION, Operation, REQUEST_BODY,
    REQUEST_LINE, RESPONSE_BODY, RESPONSE_HEAD, RequestLine, ResponseHead, SAMPLING, TIMES, Times, UPSTREAM,
    USAGE, Upstream, Usage,
};
use colophon_receipt::record::FieldSet;

/// What is known when the request is there.
#[must_use]
pub fn early_fields() -> FieldSet {
    let mut set = FieldSet::new();
    line().write(REQUEST_LINE, &mut set);
    Upstream { url: Some(b"http://127.0.0.1:8000".into()), ..Upstream::default() }.write(UPSTREAM, &mut set);
    set
}

fn line() -> RequestLine<'static> {
    RequestLine {
        method: Some(b"POST".into()),
        path: Some(b"/v1/chat/completions".into()),
        authority: Some(b"127.0.0.1:8000".into()),
        content_type: Some(b"application/json".into()),
        version: Some("1.1".into()),
        ..RequestLine::default()
    }
}

/// Twelve fields, as a usual chat has; the number tells one exchange from another.
#[must_use]
pub fn fields(number: u64) -> FieldSet {
    let (mut digest, size) = ([7; 32], 1536);
    digest[..8].copy_from_slice(&number.to_be_bytes());
    let body = BodyDigest { digest, size };
    let mut set = FieldSet::new();
    body.write(REQUEST_BODY, &mut set);
    line().write(REQUEST_LINE, &mut set);
    body.write(RESPONSE_BODY, &mut set);
    ResponseHead {
        status: Some(200),
        content_type: Some(b"application/json".into()),
        headers: Some([8; 32]),
        ..ResponseHead::default()
    }
    .write(RESPONSE_HEAD, &mut set);
    Operation { api: Some("chat".into()), operation: Some("create".into()), ..Operation::default() }
        .write(OPERATION, &mut set);
    Model { requested: Some(b"bench-7b".into()), reported: Some(b"bench-7b".into()), ..Model::default() }
        .write(MODEL, &mut set);
    set.add(SAMPLING, |e| drop(e.array(1).and_then(|e| e.array(2)?.bytes(b"temperature")?.bytes(b"0.7"))));
    Usage { prompt: Some(310), completion: Some(256), total: Some(566), ..Usage::default() }
        .write(USAGE, &mut set);
    Answer { id: Some(b"chatcmpl-0123456789abcdef".into()), ..Answer::default() }.write(ANSWER, &mut set);
    Times {
        received: Some(1_790_000_000_000_000),
        first_byte: Some(1_790_000_000_200_000),
        clock: Some("system".into()),
        ..Times::default()
    }
    .write(TIMES, &mut set);
    DecisionField {
        rule: Some(b"answers".into()),
        policy: Some([9; 32]),
        asked: Some(Level::Sign.code()),
        granted: Some(Level::Sign.code()),
        ..DecisionField::default()
    }
    .write(DECISION, &mut set);
    Upstream { url: Some(b"http://127.0.0.1:8000".into()), ..Upstream::default() }.write(UPSTREAM, &mut set);
    set
}
