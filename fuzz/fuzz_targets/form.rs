//! Forms, as speech APIs take them: the same meaning however the body is cut, and bounded.
#![no_main]

use colophon_policies::Api;
use colophon_reading::{FormReader, read_request};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let [step, boundary, body @ ..] = data else { return };
    let types = [
        "multipart/form-data; boundary=b",
        "multipart/form-data; boundary=\"a b\"",
        "Multipart/Form-Data; charset=x; BOUNDARY=--",
        "multipart/form-data; boundary=----WebKitFormBoundary7MA4YWxkTrZu0gW",
    ];
    let kind = types[usize::from(*boundary) % types.len()];
    let read = |pieces: &mut dyn Iterator<Item = &[u8]>| {
        let mut form = FormReader::new(kind).expect("a form");
        pieces.for_each(|piece| form.push(piece));
        form.finish()
    };
    let whole = read_request(Api::Audio, Some(kind), body);
    assert_eq!(read(&mut body.chunks(1)), whole, "byte by byte");
    assert_eq!(read(&mut body.chunks(usize::from(*step) + 1)), whole, "cut every {step} + 1 bytes");
    assert!(whole.sampling.len() <= 64);
    // And a content type of any kind.
    if let Ok(kind) = std::str::from_utf8(body) {
        let _ = FormReader::new(kind);
    }
});
