//! The readers of requests, of every API: what they keep is bounded.
#![no_main]

use colophon_fuzz::api;
use colophon_reading::{MAX_PARAMETER, MAX_TEXT, RequestMeaning, read_request};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let [which, body @ ..] = data else { return };
    let meaning = read_request(api(*which), Some("application/json"), body);
    let texts = [&meaning.model, &meaning.conversation, &meaning.parent];
    for text in texts.into_iter().flatten() {
        assert!(text.len() <= MAX_TEXT && std::str::from_utf8(text).is_ok());
    }
    for (at, (name, value)) in meaning.sampling.iter().enumerate() {
        assert!(value.len() <= MAX_PARAMETER);
        assert!(
            meaning.sampling.iter().take(at).all(|(earlier, _)| earlier != name),
            "{name} is there twice"
        );
    }
    // What was read was JSON; what was not says nothing else.
    if meaning.unreadable.is_none() && meaning != RequestMeaning::default() {
        assert!(serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok());
    }
});
