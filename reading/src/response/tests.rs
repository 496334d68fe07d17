use colophon_policies::Api;
use proptest::prelude::*;
use sha2::{Digest, Sha256};

use super::{Form, ResponseMeaning, ResponseReader, Usage, read_metadata_header, read_token_headers};
use crate::{MAX_DOCUMENT, MAX_EVENT, MAX_TEXT};

const STREAM: &str = "text/event-stream; charset=utf-8";
const JSON: &str = "application/json";

fn read(api: Api, content_type: &str, body: impl AsRef<[u8]>) -> ResponseMeaning {
    let mut reader = ResponseReader::new(api, 200, Some(content_type));
    reader.push(body.as_ref());
    reader.finish()
}

/// A stream of these documents.
fn stream(api: Api, events: &[&str]) -> ResponseMeaning {
    let body: String = events.iter().map(|event| format!("data: {event}\n\n")).collect();
    read(api, STREAM, body)
}

fn texts(values: &[Vec<u8>]) -> Vec<&str> {
    values.iter().map(|value| std::str::from_utf8(value).unwrap()).collect()
}

fn usage(prompt: u64, completion: u64, total: u64) -> Usage {
    Usage { prompt: Some(prompt), completion: Some(completion), total: Some(total), ..Usage::default() }
}

#[test]
fn chat_chunks_add_up() {
    let meaning = stream(
        Api::Chat,
        &[
            r#"{"id":"c1","model":"m","choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}"#,
            r#"{"id":"c1","model":"m","choices":[{"index":1,"delta":{"tool_calls":[{"index":0,"id":"x"}]}}]}"#,
            r#"{"id":"c1","model":"m","choices":[{"index":1,"delta":{"tool_calls":[{"index":0},{"index":1}]}}]}"#,
            r#"{"id":"c1","model":"m","choices":[{"index":1,"delta":{},"finish_reason":"tool_calls"}]}"#,
            r#"{"choices":[],"system_fingerprint":"f","usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7,"prompt_tokens_details":{"cached_tokens":2},"completion_tokens_details":{"reasoning_tokens":1}}}"#,
            "[DONE]",
        ],
    );
    assert_eq!(texts(&meaning.finish_reasons), ["", "tool_calls"]);
    assert_eq!(meaning.usage, Usage { cached: Some(2), reasoning: Some(1), ..usage(3, 4, 7) });
    assert_eq!((meaning.tool_calls, meaning.events), (2, 6));
    assert_eq!(meaning.system_fingerprint.as_deref(), Some(&b"f"[..]));
    assert!(meaning.terminated);
    assert_eq!(meaning.unreadable, None);
}

#[test]
fn tgi_prompts_report_each_their_own_usage() {
    let chunk = |index: u32, prompt: u32| {
        format!(
            r#"{{"object":"text_completion","choices":[{{"index":{index},"finish_reason":"length"}}],
            "usage":{{"prompt_tokens":{prompt},"completion_tokens":6,"total_tokens":{}}}}}"#,
            prompt + 6
        )
        .replace('\n', "")
    };
    let meaning = stream(Api::Completions, &[&chunk(0, 2), &chunk(1, 3), "[DONE]"]);
    assert_eq!(meaning.usage, usage(5, 12, 17));
    let total = r#"{"object":"text_completion","choices":[],"usage":{"prompt_tokens":1,"total_tokens":1}}"#;
    let meaning = stream(Api::Completions, &[&chunk(0, 2), total]);
    assert_eq!(meaning.usage, Usage { prompt: Some(1), total: Some(1), ..Usage::default() });
}

#[test]
fn anthropic_events() {
    let events = "event: message_start\n\
        data: {\"type\":\"message_start\",\"message\":{\"id\":\"i\",\"model\":\"m\",\"usage\":\
        {\"input_tokens\":3,\"cache_read_input_tokens\":1,\"output_tokens\":0}}}\n\n\
        event: ping\ndata: {\"type\":\"ping\"}\n\n\
        data: {\"type\":\"content_block_start\",\"content_block\":{\"type\":\"tool_use\"},\"index\":0}\n\n\
        data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"tool_use\"},\"usage\":{\"output_tokens\":9}}\n\n";
    let meaning = read(Api::Messages, STREAM, events);
    assert_eq!((meaning.id.as_deref(), meaning.model.as_deref()), (Some(&b"i"[..]), Some(&b"m"[..])));
    let expected = Usage { prompt: Some(3), completion: Some(9), cached: Some(1), ..Usage::default() };
    assert_eq!(meaning.usage, expected);
    assert_eq!(texts(&meaning.finish_reasons), ["tool_use"]);
    assert_eq!((meaning.tool_calls, meaning.events, meaning.terminated), (1, 4, false));
    // By the type in the data, or by the event's name alone.
    for end in ["data: {\"type\":\"message_stop\"}\n\n", "event: message_stop\ndata: {}\n\n"] {
        assert!(read(Api::Messages, STREAM, format!("{events}{end}")).terminated);
    }
    assert!(!read(Api::Messages, STREAM, format!("{events}data: [DONE]\n\n")).terminated);
}

#[test]
fn responses_events() {
    let added = r#"{"type":"response.output_item.added","item":{"type":"function_call"}}"#;
    let last = r#"{"type":"response.incomplete","response":{"id":"r","model":"m","status":"incomplete","incomplete_details":{"reason":"max_output_tokens"},"output":[{"type":"message"},{"type":"function_call"}],"usage":{"input_tokens":1,"output_tokens":2,"total_tokens":3}}}"#;
    let meaning = stream(Api::Responses, &[added, last]);
    assert_eq!((meaning.tool_calls, meaning.terminated), (1, true));
    assert_eq!(texts(&meaning.finish_reasons), ["max_output_tokens"]);
    assert_eq!(meaning.usage, usage(1, 2, 3));
    assert_eq!(stream(Api::Responses, &[last]).tool_calls, 1);
    let failed = r#"{"type":"response.failed","response":{"status":"failed","error":{"code":"server_error","message":"no"}}}"#;
    let meaning = stream(
        Api::Responses,
        &[r#"{"type":"response.created","response":{"status":"in_progress"}}"#, failed],
    );
    assert_eq!(meaning.error.as_deref(), Some(&b"server_error: no"[..]));
    assert_eq!(texts(&meaning.finish_reasons), ["failed"]);
    assert!(meaning.terminated);
}

#[test]
fn llama_completion_ends_with_the_last_prompt() {
    let open = r#"{"index":1,"content":"a","stop":false}"#;
    let one = r#"{"index":0,"content":"","stop":true,"model":"m","stop_type":"limit","tokens_predicted":8,"tokens_evaluated":5}"#;
    let other = r#"{"index":1,"content":"","stop":true,"model":"m","stop_type":"eos","tokens_predicted":2,"tokens_evaluated":1}"#;
    assert!(!stream(Api::Generate, &[open, one]).terminated);
    assert!(!stream(Api::Generate, &[one, open]).terminated);
    let meaning = stream(Api::Generate, &["null", open, one, other]);
    assert_eq!((meaning.terminated, meaning.unreadable, meaning.events), (true, None, 4));
    assert_eq!(texts(&meaning.finish_reasons), ["limit", "eos"]);
    assert_eq!((meaning.usage.prompt, meaning.usage.completion), (Some(6), Some(10)));
    let array = read(Api::Generate, JSON, format!("[{one},{other}]"));
    assert_eq!((array.finish_reasons, array.usage), (meaning.finish_reasons, meaning.usage));
    assert!(array.terminated);
}

#[test]
fn errors_of_every_shape() {
    let error = |api, events: &[&str]| {
        stream(api, events).error.map(|error| String::from_utf8(error).unwrap()).unwrap_or_default()
    };
    assert_eq!(error(Api::Generate, &[r#"{"error":"e","error_type":"validation"}"#]), "validation: e");
    assert_eq!(error(Api::Chat, &[r#"{"error":{"message":"e","http_status_code":422}}"#]), "e");
    assert_eq!(error(Api::Chat, &[r#"{"object":"error","message":"e","type":"T","code":400}"#]), "T: e");
    assert_eq!(error(Api::Messages, &[r#"{"type":"error","error":{"type":"T","message":"e"}}"#]), "T: e");
    assert_eq!(error(Api::Responses, &[r#"{"type":"error","code":"c","message":"e"}"#]), "c: e");
    assert_eq!(error(Api::Chat, &[r#"{"error":{}}"#, r#"{"error":"second"}"#]), "error");
    assert_eq!(error(Api::Chat, &[r#"{"error":null,"model":"m"}"#]), "");
    let named = read(Api::Chat, STREAM, "event: error\ndata: out of memory\n\n");
    assert_eq!((named.error.as_deref(), named.unreadable), (Some(&b"out of memory"[..]), None));
    let long = format!(r#"{{"error":"{}"}}"#, "e".repeat(9999));
    assert_eq!(error(Api::Chat, &[&long]).len(), MAX_TEXT);
    let mut reader = ResponseReader::new(Api::Chat, 404, Some(JSON));
    reader.push(br#"{"detail":"Not Found"}"#);
    assert_eq!(reader.finish().error.as_deref(), Some(&b"Not Found"[..]));
}

#[test]
fn what_cannot_be_read_says_why_and_the_rest_is_read() {
    let good = r#"{"id":"i","model":"m"}"#;
    let cases = [
        ("{no", "not json"),
        ("hello", "not json"),
        ("[1]", "not an object"),
        (r#"{"model":"m","temperature":NaN}"#, "not json"),
        (r#"{"model":"a","model":"b"}"#, "duplicate key"),
        (r#"{"model":"n"}"#, "conflicting model"),
        (r#"{"id":"j"}"#, "conflicting id"),
        (r#"{"model":5}"#, "unexpected type"),
        (r#"{"usage":[]}"#, "unexpected type"),
        (r#"{"usage":{"prompt_tokens":-1}}"#, "unexpected type"),
        (r#"{"usage":{"prompt_tokens":1e400}}"#, "unexpected type"),
        (r#"{"choices":[{"index":64,"finish_reason":"stop"}]}"#, "too many choices"),
    ];
    for (bad, reason) in cases {
        let meaning = stream(Api::Chat, &[good, bad, "[DONE]"]);
        assert_eq!(meaning.unreadable, Some(reason), "{bad}");
        assert_eq!(meaning.model.as_deref(), Some(&b"m"[..]), "{bad}");
        assert_eq!((meaning.events, meaning.terminated), (3, true), "{bad}");
    }
    let large = format!(r#"{{"x":"{}"}}"#, "y".repeat(MAX_EVENT));
    assert_eq!(stream(Api::Chat, &[&large, good]).unreadable, Some("too large"));
    assert_eq!(stream(Api::Chat, &[&large, good]).model.as_deref(), Some(&b"m"[..]));
    assert_eq!(read(Api::Chat, STREAM, "data: [DONE]\n").unreadable, Some("cut short"));
    assert!(!read(Api::Chat, STREAM, "data: [DONE]\n").terminated);
    let invalid = read(Api::Chat, STREAM, b"data: {\"model\":\"m\",\"text\":\"\xff\"}\n\n");
    assert_eq!((invalid.unreadable, invalid.model.as_deref()), (Some("not utf-8"), Some(&b"m"[..])));
}

#[test]
fn documents() {
    assert_eq!(read(Api::Chat, JSON, "{\"model\":\"m\"").unreadable, Some("cut short"));
    assert_eq!(read(Api::Chat, JSON, ""), ResponseMeaning::default());
    let large = read(Api::Chat, JSON, vec![b' '; MAX_DOCUMENT + 1]);
    assert_eq!((large.unreadable, large.terminated), (Some("too large"), false));
    let meaning = read(Api::Embeddings, "Application/Problem+JSON;a=b", r#"{"model":"m","data":[1.5]} "#);
    assert_eq!((meaning.model.as_deref(), meaning.terminated), (Some(&b"m"[..]), true));
    assert_eq!(read(Api::Chat, "text/plain", "x").unreadable, Some("content type not read"));
    assert_eq!(read(Api::Chat, "text/plain", "").unreadable, None);
    assert_eq!(read(Api::Models, JSON, r#"{"id":"i"}"#), ResponseMeaning::default());
    let lines = "{\"model\":\"m\"}\n\r\n{\"choices\":[{\"finish_reason\":\"stop\"}]}";
    let meaning = read(Api::Chat, "application/x-ndjson", lines);
    assert_eq!((meaning.events, texts(&meaning.finish_reasons)), (2, vec!["stop"]));
}

#[test]
fn tools_have_names_and_digests_of_their_arguments() {
    let digest = |arguments: &str| -> [u8; 32] { Sha256::digest(arguments).into() };
    let expected = |arguments| vec![(b"f".to_vec(), digest(arguments)), (b"g".to_vec(), digest("{}"))];
    let chat = stream(
        Api::Chat,
        &[
            r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"id":"x","function":{"name":"f","arguments":""}}]}}]}"#,
            r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"a\""}},{"index":1,"function":{"name":"g","arguments":"{}"}}]}}]}"#,
            r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":": 1}"}}]}}]}"#,
        ],
    );
    assert_eq!((chat.tools, chat.tool_calls), (expected("{\"a\": 1}"), 2));
    let whole = r#"{"choices":[{"message":{"tool_calls":[{"function":{"name":"f","arguments":"{\"a\": 1}"}},{"function":{"name":"g","arguments":"{}"}}]}}]}"#;
    assert_eq!(read(Api::Chat, JSON, whole).tools, expected("{\"a\": 1}"));
    let anthropic = stream(
        Api::Messages,
        &[
            r#"{"type":"content_block_start","index":1,"content_block":{"type":"tool_use","name":"f","input":{}}}"#,
            r#"{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"{\"a\""}}"#,
            r#"{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":": 1}"}}"#,
            r#"{"type":"content_block_start","index":2,"content_block":{"type":"tool_use","name":"g","input":{}}}"#,
            r#"{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":"{}"}}"#,
        ],
    );
    assert_eq!(anthropic.tools, expected("{\"a\": 1}"));
    let whole = r#"{"content":[{"type":"text"},{"type":"tool_use","name":"f","input":{"a": 1}},{"type":"tool_use","name":"g","input":{}}]}"#;
    assert_eq!(read(Api::Messages, JSON, whole).tools, expected("{\"a\": 1}"));
    let added =
        r#"{"type":"response.output_item.added","item":{"type":"function_call","name":"f","arguments":""}}"#;
    let last = r#"{"type":"response.completed","response":{"output":[{"type":"function_call","name":"f","arguments":"{}"},{"type":"function_call","name":"g","arguments":"{}"}]}}"#;
    let responses = stream(Api::Responses, &[added, last]);
    assert_eq!((responses.tools, responses.tool_calls), (expected("{}"), 2));
    assert_eq!(stream(Api::Responses, &[added]).tool_calls, 1);
    let many: String = (0..500).map(|n| format!(r#"{{"index":{n},"function":{{"name":"f"}}}},"#)).collect();
    let many = read(
        Api::Chat,
        JSON,
        format!(r#"{{"choices":[{{"message":{{"tool_calls":[{}]}}}}]}}"#, many.trim_end_matches(',')),
    );
    assert_eq!(many.tools.len(), 64);
}

#[test]
fn arrays_of_answers_and_counts_of_tokens() {
    let ranks: String = (0..100).map(|n| format!(r#"{{"index":{n},"score":0.5}},"#)).collect();
    let ranks = read(Api::Rerank, JSON, format!("[{}]", ranks.trim_end_matches(',')));
    assert_eq!((ranks.terminated, ranks.unreadable), (true, None));
    let chat =
        read(Api::Chat, JSON, r#"[{"model":"m","choices":[{"index":0}]}, {"usage":{"total_tokens":4}}]"#);
    assert_eq!((chat.model.as_deref(), chat.usage.total, chat.terminated), (Some(&b"m"[..]), Some(4), true));
    assert_eq!(read(Api::Embeddings, JSON, "[[0.1,0.2]]").unreadable, None);
    assert_eq!(read(Api::Chat, JSON, "[1]").unreadable, Some("not an object"));
    assert_eq!(read(Api::Chat, JSON, r#"[{"model":"m"},"#).unreadable, Some("cut short"));
    assert_eq!(
        read(Api::Tokenize, JSON, r#"{"count":3,"tokens":[1,2,3],"max_model_len":9}"#).usage.prompt,
        Some(3)
    );
    assert_eq!(read(Api::Tokenize, JSON, r#"{"input_tokens":5}"#).usage.prompt, Some(5));
    let usage = r#"{"usage":{"input_tokens":1,"cache_creation_input_tokens":7,"cache_read_input_tokens":2}}"#;
    assert_eq!(read(Api::Messages, JSON, usage).usage.cache_write, Some(7));
}

#[test]
fn the_message_is_the_same_streamed_or_not() {
    let read = |content_type, body: &str| {
        let mut reader = ResponseReader::new(Api::Chat, 200, Some(content_type)).assembling();
        body.as_bytes().chunks(7).for_each(|piece| reader.push(piece));
        reader.finish().message
    };
    let whole = r#"{"id":"c","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"ab"},"finish_reason":"stop"}]}"#;
    let chunks = [r#"{"role":"assistant","content":"a"},"finish_reason":null"#, r#"{"content":"b"},"finish_reason":"stop""#]
        .map(|delta| format!("data: {{\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"choices\":[{{\"index\":0,\"delta\":{delta}}}]}}\n\n"));
    let streamed = read(STREAM, &(chunks.concat() + "data: [DONE]\n\n"));
    assert!(matches!(streamed, Some(Ok(_))), "{streamed:?}");
    assert_eq!(streamed, read(JSON, whole));
    assert_eq!(read(JSON, r#"{"id":1,"id":1}"#), Some(Err("duplicate key")));
    assert_eq!(ResponseReader::new(Api::Chat, 200, Some(JSON)).finish().message, None);
}

#[test]
fn memory_is_bounded_whatever_comes() {
    const MIB: usize = 1 << 20;
    let piece = vec![b'x'; MIB];
    for content_type in [JSON, STREAM, "application/jsonl", "text/html"] {
        let mut reader = ResponseReader::new(Api::Chat, 200, Some(content_type));
        for _ in 0..100 {
            reader.push(&piece);
            let held = match &reader.form {
                Form::Document(document) => document.capacity(),
                Form::Events(splitter) => splitter.capacity(),
                Form::Lines(splitter) => splitter.capacity(),
                Form::Unread(_) | Form::Meaningless => 0,
            };
            assert!(held <= 2 * MAX_DOCUMENT, "{content_type}: {held}");
        }
        assert!(reader.finish().unreadable.is_some());
    }
    // As many small events do not add up.
    let mut reader = ResponseReader::new(Api::Chat, 200, Some(STREAM));
    for _ in 0..100_000 {
        reader.push(b"data: {\"id\":\"i\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"word\"}}]}\n\n");
    }
    let Form::Events(splitter) = &reader.form else { panic!("a stream") };
    assert_eq!(splitter.capacity(), 0);
    assert_eq!(reader.finish().events, 100_000);
}

#[test]
fn deep_nesting_is_read_without_deep_recursion() {
    for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
        let deep = format!("{}1{}", open.repeat(100_000), close.repeat(100_000));
        for member in ["x", "choices", "usage", "error", "message", "response", "delta", "model"] {
            let meaning = stream(Api::Messages, &[&format!(r#"{{"{member}":{deep},"id":"i"}}"#)]);
            assert_eq!(meaning.events, 1);
        }
        let meaning = stream(Api::Chat, &[&format!(r#"{{"x":{deep},"id":"i"}}"#)]);
        assert_eq!((meaning.id.as_deref(), meaning.unreadable), (Some(&b"i"[..]), None));
    }
}

#[test]
fn headers_fill_what_the_body_leaves_out() {
    let mut meaning = read(Api::Embeddings, "application/octet-stream", b"\x00\x01");
    assert_eq!(meaning.unreadable, Some("content type not read"));
    let header =
        br#"{"id":"e","model":"m","data":[{"index":0}],"usage":{"prompt_tokens":3,"total_tokens":3}}"#;
    read_metadata_header(header, &mut meaning);
    assert_eq!((meaning.id.as_deref(), meaning.model.as_deref()), (Some(&b"e"[..]), Some(&b"m"[..])));
    assert_eq!((meaning.usage.total, meaning.unreadable), (Some(3), None));
    read_metadata_header(b"\xff", &mut meaning);
    assert_eq!(meaning.unreadable, Some("not json"));
    let mut meaning = ResponseMeaning { usage: usage(1, 2, 3), ..ResponseMeaning::default() };
    meaning.usage.completion = None;
    read_token_headers(Some(b"5"), Some(b" 10"), &mut meaning);
    assert_eq!(meaning.usage, usage(1, 10, 3));
    read_token_headers(None, Some(b"-1"), &mut ResponseMeaning::default());
}

const APIS: [Api; 8] = [
    Api::Chat,
    Api::Completions,
    Api::Responses,
    Api::Messages,
    Api::Generate,
    Api::Embeddings,
    Api::Score,
    Api::Unknown,
];

fn any_reader() -> impl Strategy<Value = (Api, u16, &'static str)> {
    let types = prop::sample::select(vec![STREAM, JSON, "application/jsonl", "text/html"]);
    (prop::sample::select(APIS.to_vec()), 100_u16..600, types)
}

proptest! {
    #[test]
    fn no_bytes_panic_and_no_cut_matters(
        (api, status, content_type) in any_reader(),
        body in prop::collection::vec(any::<u8>(), 0..300),
        piece in 1_usize..40,
    ) {
        same_however_cut(api, status, content_type, &body, piece)?;
        crate::read_request(api, Some(content_type), &body);
    }

    /// Nearly right documents, which get further than random bytes do.
    #[test]
    fn no_mangled_document_panics(
        (api, status, content_type) in any_reader(),
        words in prop::collection::vec(prop::sample::select(vec![
            "{", "}", "[", "]", ",", ":", "null", "1", "-1e9", "true", "\"\"", "\"a\"", "\"\\ud800\"", "\"model\":",
            "\"choices\":", "\"usage\":", "\"index\":", "\"error\":", "\"message\":", "\"stop\":", "\"delta\":",
            "\"response\":", "\"tool_calls\":", "\"finish_reason\":", "\n", "data: ", "[DONE]", "\n\n", "event: error",
        ]), 0..40),
        piece in 1_usize..40,
    ) {
        let body = words.concat();
        same_however_cut(api, status, content_type, body.as_bytes(), piece)?;
        crate::read_request(api, Some(content_type), body.as_bytes());
    }
}

fn same_however_cut(
    api: Api,
    status: u16,
    content_type: &str,
    body: &[u8],
    piece: usize,
) -> Result<(), TestCaseError> {
    let read = |pieces: &mut dyn Iterator<Item = &[u8]>| {
        let mut reader = ResponseReader::new(api, status, Some(content_type));
        pieces.for_each(|piece| reader.push(piece));
        reader.finish()
    };
    let whole = read(&mut [body].into_iter());
    prop_assert_eq!(&read(&mut body.chunks(piece)), &whole);
    prop_assert_eq!(&read(&mut body.chunks(1)), &whole);
    prop_assert!(whole.finish_reasons.len() <= 64);
    Ok(())
}

/// A client that leaves has had the whole of a stream once its terminator has gone, but nothing yet of a document that
/// was only read.
#[test]
fn only_a_stream_has_a_terminator_of_its_own() {
    let document = br#"{"error":{"message":"cut off"}}"#;
    let mut reader = ResponseReader::new(Api::Chat, 400, Some(JSON));
    reader.push_last(document);
    assert!(!reader.terminated());
    assert!(reader.finish().terminated);

    let mut reader = ResponseReader::new(Api::Chat, 200, Some(STREAM));
    reader.push(b"data: {\"choices\":[]}\n\n");
    assert!(!reader.terminated());
    reader.push(b"data: [DONE]\n\n");
    assert!(reader.terminated());
}

#[test]
fn an_event_known_by_the_one_before_is_not_read() {
    let event = |text: &str, why: &str| {
        format!(
            r#"{{"id":"c","choices":[{{"index":0,"delta":{{"content":"{text}"}},"finish_reason":{why}}}]}}"#
        )
    };
    for (content_type, begin, end) in [(STREAM, "data: ", "\n\n"), ("application/x-ndjson", "", "\n")] {
        let mut reader = ResponseReader::new(Api::Chat, 200, Some(content_type));
        let mut push = |data: &str| {
            reader.push(format!("{begin}{data}{end}").as_bytes());
            String::from_utf8(reader.reading.before.kept().to_vec()).unwrap()
        };
        // One that is read takes the place of the one before; one that is known leaves it.
        let first = event("a", "null");
        for text in ["a", "b", " a longer one, \\n\\\"é😀\\\""] {
            assert_eq!(push(&event(text, "null")), first, "{content_type}");
        }
        let last = event("b", "\"stop\"");
        assert_eq!(push(&last), last);
        assert_eq!(
            push(r#"{"id":"c","choices":[],"usage":{"prompt_tokens":1}}"#),
            "",
            "counts are not repeated"
        );
        assert_eq!(texts(&reader.finish().finish_reasons), ["stop"]);
    }
}

/// Events of all APIs and shapes, odd ones too; `§` stands for a text.
const SHAPES: [&str; 26] = [
    r#"{"id":"c","object":"chat.completion.chunk","model":"m","choices":[{"index":0,"delta":{"content":"§"},"finish_reason":null}]}"#,
    r#"{"id":"c","model":"m","choices":[{"index":0,"delta":{"role":"§","content":"§"}}],"obfuscation":"§"}"#,
    r#"{"id":"§","model":"m","choices":[{"index":1,"delta":{"content":"§"},"finish_reason":"§"}]}"#,
    r#"{"id":"c","model":"§","system_fingerprint":"§","choices":[]}"#,
    r#"{"id":"c","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"name":"§","arguments":"§"}}]}}]}"#,
    r#"{"id":"c","choices":[{"index":0,"delta":{"tool_calls":"§"}}]}"#,
    r#"{"choices":[{"index":0,"text":"§"}],"usage":{"prompt_tokens":3,"completion_tokens":4}}"#,
    r#"{"object":"text_completion","choices":[{"index":0,"text":"§"}],"usage":{"prompt_tokens":3,"completion_tokens":4}}"#,
    r#"{"type":"content_block_start","index":1,"content_block":{"type":"tool_use","name":"§","input":{}}}"#,
    r#"{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"§"}}"#,
    r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"§"}}"#,
    r#"{"type":"message_start","message":{"id":"§","model":"m","usage":{"input_tokens":5,"output_tokens":1}}}"#,
    r#"{"type":"message_stop","x":"§"}"#,
    r#"{"type":"response.output_item.added","item":{"type":"function_call","name":"§","arguments":"§"}}"#,
    r#"{"type":"response.output_text.delta","delta":"§","logprobs":["§"]}"#,
    r#"{"type":"response.completed","response":{"id":"c","status":"completed","output":[{"type":"function_call","name":"§","arguments":"§"}]}}"#,
    r#"{"output":[{"type":"function_call","name":"f","input":"§"}]}"#,
    r#"{"content":[{"type":"tool_use","name":"f","input":{"x":"§"}}]}"#,
    r#"{"index":0,"content":"§","stop":false}"#,
    r#"{"index":0,"content":"§","stop":true,"stop_type":"§","tokens_evaluated":2,"tokens_predicted":3}"#,
    r#"{"index":1,"token":{"text":"§"},"generated_text":"§","details":{"finish_reason":"§","generated_tokens":2,"input_length":1}}"#,
    r#"{"token":{"text":"§"},"generated_text":null,"details":null}"#,
    r#"{"count":2,"x":"§"}"#,
    r#"{"error":{"type":"§","message":"§"}}"#,
    r#"{"message":"§","x":"§","detail":"§"}"#,
    r#"{"id":{"x":"§"},"usage":["§"],"choices":"§"}"#,
];

proptest! {
    #[test]
    fn knowing_an_event_by_the_one_before_changes_no_meaning(
        api in proptest::sample::select(Api::ALL.to_vec()),
        status in proptest::sample::select(vec![200_u16, 400]),
        lines: bool,
        events in prop::collection::vec(
            (
                prop::sample::select(SHAPES.to_vec()),
                prop::sample::select(vec!["", "", "", "event: error\n", "event: x\n", "event: message_stop\n"]),
                1..4_usize,
            ),
            1..6,
        ),
        texts in prop::collection::vec(
            prop::sample::select(vec!["", "a", "b", "stop", "a longer text, é😀 and more than that", "\\n", "\\\"", "\\x", "\"", "\\ud800"]),
            1..8,
        ),
        odd: prop::sample::Index,
        byte: Option<u8>,
        done: prop::sample::Index,
    ) {
        let mut texts = texts.iter().cycle();
        let mut pieces = Vec::new();
        for (shape, name, times) in events {
            for _ in 0..times {
                let mut parts = shape.split('§');
                let mut event = parts.next().unwrap_or_default().to_owned();
                for part in parts {
                    event.push_str(texts.next().unwrap());
                    event.push_str(part);
                }
                pieces.push(match lines {
                    true => format!("{event}\n").into_bytes(),
                    false => format!("{name}data: {event}\n\n").into_bytes(),
                });
            }
        }
        pieces.insert(done.index(pieces.len()), b"data: [DONE]\n\n".to_vec());
        if let Some(byte) = byte {
            let piece = odd.get(&pieces).clone();
            let at = odd.index(piece.len());
            pieces.push(piece.clone());
            let mut piece = piece;
            piece[at] = byte;
            pieces.push(piece);
        }
        let content_type = if lines { "application/x-ndjson" } else { STREAM };
        let mut reader = ResponseReader::new(api, status, Some(content_type));
        let mut forgetful = ResponseReader::new(api, status, Some(content_type));
        for piece in &pieces {
            reader.push(piece);
            forgetful.reading.before.forget();
            forgetful.push(piece);
        }
        prop_assert_eq!(reader.finish(), forgetful.finish(), "{}", String::from_utf8_lossy(&pieces.concat()));
    }
}
