//! The readers of answers, of every API and form: the same meaning however the body is cut, and bounded.
#![no_main]

use colophon_fuzz::api;
use colophon_reading::{MAX_CHOICES, MAX_TEXT, ResponseReader, read_metadata_header, read_token_headers};
use libfuzzer_sys::fuzz_target;

const KINDS: [Option<&str>; 6] = [
    Some("application/json"),
    Some("text/event-stream; charset=utf-8"),
    Some("application/x-ndjson"),
    Some("application/problem+json"),
    Some("text/plain"),
    None,
];

fuzz_target!(|data: &[u8]| {
    let [which, how, step, body @ ..] = data else { return };
    let (api, kind) = (api(*which), KINDS[usize::from(*how & 0x0f) % KINDS.len()]);
    let status = if how & 0x80 == 0 { 200 } else { 400 };
    let read = |pieces: &mut dyn Iterator<Item = &[u8]>| {
        let mut reader = ResponseReader::new(api, status, kind).assembling();
        pieces.for_each(|piece| reader.push(piece));
        reader.finish()
    };
    let whole = read(&mut [body].into_iter());
    assert_eq!(read(&mut body.chunks(1)), whole, "byte by byte");
    assert_eq!(read(&mut body.chunks(usize::from(*step) + 1)), whole, "cut every {step} + 1 bytes");
    let mut at_once = ResponseReader::new(api, status, kind).assembling();
    at_once.push_last(body);
    assert_eq!(at_once.finish(), whole, "in place");
    let texts = [&whole.model, &whole.id, &whole.system_fingerprint];
    assert!(texts.into_iter().flatten().chain(&whole.finish_reasons).all(|text| text.len() <= MAX_TEXT));
    assert!(whole.finish_reasons.len() <= MAX_CHOICES);
    let mut meaning = whole;
    read_metadata_header(body, &mut meaning);
    read_token_headers(Some(body), Some(body), &mut meaning);
});
