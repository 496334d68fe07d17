use super::{Alike, MAX_KEPT};
use crate::document::Document;
use crate::loose::parse_noting;

/// Keeps this event as the reader would.
fn kept(event: &str) -> Alike {
    let mut document = Document::default();
    let skipped = parse_noting(event.as_bytes(), &mut document).unwrap();
    assert!(!document.adds_up(), "{event}");
    let mut alike = Alike::default();
    alike.keep(b"", event.as_bytes(), skipped);
    alike
}

#[test]
fn events_of_every_api_differ_in_skipped_texts_only() {
    for event in [
        r#"{"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"content":"§"},"logprobs":null,"finish_reason":null}]}"#,
        r#"{"choices":[{"finish_reason":null,"index":0,"delta":{"content":"§"}}],"created":1,"id":"c","model":"m","system_fingerprint":"b","object":"chat.completion.chunk"}"#,
        r#"{"id":"c","choices":[{"index":0,"delta":{"content":"§"}}],"service_tier":"default","obfuscation":"§"}"#,
        r#"{"id":"c","object":"text_completion","model":"m","choices":[{"index":0,"text":"§","logprobs":null,"finish_reason":null}]}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"§"}}"#,
        r#"{"type":"response.output_text.delta","item_id":"m","output_index":0,"delta":"§"}"#,
    ] {
        let with = |text: &str| event.replace('§', text);
        let alike = kept(&with("a"));
        // The last shape's text is a member that means something elsewhere, so it is none of the skipped ones.
        let skipped = !event.contains("response.output_text");
        for same in [
            "a",
            "",
            " word",
            "é😀",
            r#"\"\\\n\u00e9\ud83d"#,
            "a text of more than thirty-two bytes, as code is",
        ] {
            assert_eq!(alike.is(b"", with(same).as_bytes()), skipped || same == "a", "{}", with(same));
        }
        for other in ["\"", "\\", "\\x", "\\u12", "\n", "a\",\"content\":\"b", "\u{1}"] {
            assert!(!alike.is(b"", with(other).as_bytes()), "{}", with(other));
        }
        let whole = with("b");
        assert!(!alike.is(b"error", whole.as_bytes()), "another name");
        for cut in 0..whole.len() {
            assert!(!alike.is(b"", whole.get(..cut).unwrap_or("é").as_bytes()), "{whole} cut at {cut}");
        }
        assert!(!alike.is(b"", format!("{whole} ").as_bytes()));
        assert!(!alike.is(b"", whole.replace("\"c\"", "\"d\"").replace(":0", ":1").as_bytes()));
    }
}

#[test]
fn too_many_texts_and_too_long_events_are_not_kept() {
    let event = |texts: usize| format!(r#"{{"logprobs":["a"{}]}}"#, r#","b""#.repeat(texts - 1));
    for (texts, is_kept) in [(4, true), (5, false)] {
        let event = event(texts);
        assert_eq!(kept(&event).is(b"", event.as_bytes()), is_kept, "{event}");
    }
    let event = |length: usize| format!(r#"{{"x":"{}"}}"#, "y".repeat(length - 8));
    for (length, is_kept) in [(MAX_KEPT, true), (MAX_KEPT + 1, false)] {
        let event = event(length);
        assert_eq!(event.len(), length);
        assert_eq!(kept(&event).is(b"", event.as_bytes()), is_kept, "{length}");
    }
    let mut alike = kept(r#"{"x":"y"}"#);
    alike.forget();
    assert!(!alike.is(b"", br#"{"x":"y"}"#) && !alike.is(b"", b""));
}
