//! The readers of a realtime session, both directions: the same meaning however the bytes are cut, and bounded.
#![no_main]

use colophon_reading::{ClientReader, MAX_CHOICES, MAX_TEXT, ServerReader};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let [step, bytes @ ..] = data else { return };
    let step = usize::from(*step) + 1;
    let said = |step: usize| {
        let mut reader = ServerReader::default();
        bytes.chunks(step).for_each(|piece| reader.push(piece));
        reader.finish()
    };
    let asked = |step: usize| {
        let mut reader = ClientReader::default();
        bytes.chunks(step).for_each(|piece| reader.push(piece));
        reader.finish()
    };
    let whole = bytes.len().max(1);
    let session = said(whole);
    assert_eq!(said(1), session, "byte by byte");
    assert_eq!(said(step), session, "cut every {step} bytes");
    assert_eq!(asked(1), asked(whole));
    let answer = session.answer;
    assert!(session.responses.len() <= MAX_CHOICES && answer.finish_reasons.len() <= MAX_CHOICES);
    let texts = [&answer.model, &answer.id, &answer.error].into_iter().flatten().chain(&session.responses);
    assert!(texts.chain(&answer.finish_reasons).all(|text| text.len() <= MAX_TEXT));
});
