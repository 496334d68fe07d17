use super::{ClientReader, ServerReader, SessionMeaning};
use crate::MAX_CHOICES;
use crate::response::Usage;

/// A text message, as a server sends it.
fn message(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).unwrap().to_be_bytes();
    [&[0x81, 126][..], &length, text.as_bytes()].concat()
}

fn server(events: &[&str]) -> SessionMeaning {
    let bytes: Vec<u8> = events.iter().flat_map(|event| message(event)).collect();
    let read = |step: usize| {
        let mut reader = ServerReader::default();
        bytes.chunks(step).for_each(|piece| reader.push(piece));
        reader.finish()
    };
    let whole = read(bytes.len().max(1));
    assert_eq!(read(1), whole);
    whole
}

fn done(id: &str, status: &str, input: u64, output: u64) -> String {
    format!(
        r#"{{"type":"response.done","event_id":"e","response":{{"object":"realtime.response","id":"{id}","status":"{status}",
           "output":[{{"type":"message"}},{{"type":"function_call","name":"f","arguments":"{{}}"}}],
           "usage":{{"total_tokens":{},"input_tokens":{input},"output_tokens":{output},
           "input_token_details":{{"cached_tokens":1,"text_tokens":3,"audio_tokens":0}},
           "output_token_details":{{"text_tokens":2,"audio_tokens":0}}}}}}}}"#,
        input.saturating_add(output)
    )
}

#[test]
fn a_session_of_two_responses() {
    let created = r#"{"type":"session.created","session":{"id":"sess_1","object":"realtime.session","model":"gpt-realtime"}}"#;
    let begun =
        r#"{"type":"response.created","response":{"id":"resp_1","status":"in_progress","usage":null}}"#;
    let delta = r#"{"type":"response.output_audio.delta","response_id":"resp_1","delta":"UklGRg=="}"#;
    let (first, second) = (done("resp_1", "completed", 10, 5), done("resp_2", "cancelled", 20, 7));
    let said = server(&[created, begun, delta, &first, &second]);
    assert_eq!(said.responses, [b"resp_1", b"resp_2"]);
    let answer = said.answer;
    assert_eq!(
        (answer.id.as_deref(), answer.model.as_deref()),
        (Some(&b"sess_1"[..]), Some(&b"gpt-realtime"[..]))
    );
    let usage = Usage {
        prompt: Some(30),
        completion: Some(12),
        total: Some(42),
        cached: Some(2),
        ..Usage::default()
    };
    assert_eq!(answer.usage, usage);
    assert_eq!(answer.finish_reasons, [&b"completed"[..], b"cancelled"]);
    assert_eq!((answer.tool_calls, answer.events, answer.unreadable, answer.error), (2, 5, None, None));
}

#[test]
fn the_events_of_vllm() {
    let said = server(&[
        r#"{"type":"session.created","id":"sess-7","created":1}"#,
        r#"{"type":"transcription.delta","delta":"Once"}"#,
        r#"{"type":"transcription.done","text":"Once","usage":{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11}}"#,
        r#"{"type":"error","error":"no audio","code":"bad"}"#,
    ]);
    assert_eq!(said.answer.id.as_deref(), Some(&b"sess-7"[..]));
    assert_eq!((said.answer.usage.prompt, said.answer.usage.completion), (Some(9), Some(2)));
    assert_eq!(said.answer.error.as_deref(), Some(&b"no audio"[..]));
    assert_eq!(said.responses.len(), 0);
}

#[test]
fn errors_are_kept_as_in_other_apis() {
    let event =
        r#"{"type":"error","error":{"type":"invalid_request_error","code":"x","message":"no","param":null}}"#;
    assert_eq!(server(&[event]).answer.error.as_deref(), Some(&b"invalid_request_error: no"[..]));
}

#[test]
fn a_client_asks_for_a_model() {
    let mut reader = ClientReader::default();
    for event in [
        r#"{"type":"session.update","model":"first"}"#,
        r#"{"type":"input_audio_buffer.append","audio":"UklGRg=="}"#,
        r#"{"type":"session.update","session":{"type":"realtime","model":"second","instructions":"Be brief"}}"#,
        r#"{"type":"response.create"}"#,
    ] {
        reader.push(&message(event));
    }
    let asked = reader.finish();
    assert_eq!((asked.model.as_deref(), asked.unreadable), (Some(&b"second"[..]), None));
}

#[test]
fn what_cannot_be_read_says_why_and_the_rest_is_read() {
    for (wrong, why) in [
        (message("{\"type\":"), "cut short"),
        (message("hello"), "not an object"),
        (message("{hello}"), "not json"),
        (message("{\"type\":\"a\",\"type\":\"b\"}"), "duplicate key"),
        (message("{\"usage\":7}"), "unexpected type"),
        (b"\xc1\x02xx".to_vec(), "compressed messages"),
        (b"\x81\x0d{\"type\":\"\xff\xff\"}".to_vec(), "not utf-8"),
    ] {
        let mut reader = ServerReader::default();
        reader.push(&wrong);
        reader.push(&message(&done("resp_1", "completed", 1, 1)));
        let said = reader.finish();
        assert_eq!((said.answer.unreadable, said.responses.len()), (Some(why), 1), "{wrong:?}");
    }
    let mut reader = ServerReader::default();
    reader.push(&message(&done("resp_1", "completed", 1, 1))[..40]);
    assert_eq!(reader.finish().answer.unreadable, Some("cut short"));
    let mut reader = ServerReader::default();
    reader.push(b"\xff\x00");
    assert_eq!(reader.finish().answer.unreadable, Some("not websocket frames"));
}

#[test]
fn an_endless_session_is_bounded() {
    let mut reader = ServerReader::default();
    for number in 0..10_000 {
        reader.push(&message(&done(&format!("resp_{number}"), "completed", u64::MAX, 1)));
    }
    let said = reader.finish();
    assert_eq!((said.responses.len(), said.answer.finish_reasons.len()), (MAX_CHOICES, MAX_CHOICES));
    assert_eq!(
        (said.answer.unreadable, said.answer.usage.prompt),
        (Some("too many choices"), Some(u64::MAX))
    );
    assert_eq!(said.answer.events, 10_000);
}
