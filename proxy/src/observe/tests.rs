use super::*;
use http::HeaderValue;

fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
    lines.iter().map(|(name, value)| ((*name).parse().unwrap(), HeaderValue::from_static(value))).collect()
}

#[test]
fn a_request_is_hashed_and_read_from_a_copy() {
    let body = br#"{"model":"m","stream":true}"#;
    let mut seen = RequestSeen::new(Api::Chat, &headers(&[("content-type", "application/json")]), Vec::new());
    seen.push(&Bytes::from_static(&body[..5]));
    assert!(!seen.complete());
    seen.push(&Bytes::from_static(&body[5..]));
    seen.end();
    assert_eq!(seen.digest().size, body.len() as u64);
    assert_eq!(seen.digest().digest, colophon_receipt::merkle::sha256(body));
    assert_eq!(seen.meaning().model.as_deref(), Some(&b"m"[..]));
    assert_eq!(seen.decoded(), None);
}

#[test]
fn a_body_past_the_limit_is_hashed_and_not_kept() {
    let mut seen = RequestSeen::new(Api::Chat, &headers(&[("content-type", "application/json")]), Vec::new());
    let frame = Bytes::from(vec![b' '; 1 << 20]);
    for _ in 0..5 {
        seen.push(&frame);
    }
    assert_eq!(seen.digest().size, 5 << 20);
    assert_eq!(seen.meaning().unreadable, Some("too large"));
}

#[test]
fn an_encoded_answer_is_read_decoded() {
    use std::io::Write as _;
    let text = b"data: {\"id\":\"c1\",\"model\":\"m\",\"choices\":[{\"index\":0,\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text).unwrap();
    let encoded = encoder.finish().unwrap();
    let head = headers(&[("content-type", "text/event-stream"), ("content-encoding", "gzip")]);
    let mut seen = ResponseSeen::new(Api::Chat, 200, &head);
    for byte in &encoded {
        seen.push(&[*byte]);
    }
    assert!(seen.terminated());
    assert_eq!(seen.decoded().unwrap().digest, colophon_receipt::merkle::sha256(text));
    assert_eq!(seen.digest().digest, colophon_receipt::merkle::sha256(&encoded));
    assert_eq!(seen.meaning().unwrap().model.as_deref(), Some(&b"m"[..]));
}

#[test]
fn a_body_in_single_bytes_costs_what_it_holds() {
    let mut copy = Copy::default();
    for _ in 0..100_000 {
        copy.push(Bytes::from_static(b" "));
    }
    assert!(copy.frames.is_empty() && copy.tail.len() == 100_000);
    copy.push(Bytes::from(vec![b'x'; SMALL_FRAME]));
    copy.push(Bytes::from_static(b"y"));
    let joined = copy.joined().unwrap();
    assert_eq!(joined.len(), 100_001 + SMALL_FRAME);
    assert!(joined.starts_with(b" ") && joined.ends_with(b"xy"));
}
