//! What reading costs in memory does not grow with a stream's length.

use allocation_counter::{AllocationInfo, measure};
use colophon_policies::Api;
use colophon_reading::{FormReader, ResponseReader, ServerReader};

const EVENTS: &str = "text/event-stream";

/// One event of each API's stream, and what its stream ends with.
const STREAMS: [(Api, &str, &str, &str); 6] = [
    (
        Api::Chat,
        EVENTS,
        "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" wörd\\n\"},\"finish_reason\":null}]}\n\n",
        "data: {\"id\":\"chatcmpl-1\",\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2,\"total_tokens\":3}}\n\ndata: [DONE]\n\n",
    ),
    (
        Api::Completions,
        EVENTS,
        "data: {\"id\":\"cmpl-1\",\"object\":\"text_completion\",\"model\":\"m\",\"choices\":[{\"index\":0,\"text\":\" word\",\"finish_reason\":null}]}\n\n",
        "data: [DONE]\n\n",
    ),
    (
        Api::Messages,
        EVENTS,
        "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\" word\"}}\n\n",
        "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
    ),
    (
        Api::Responses,
        EVENTS,
        "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"item_id\":\"msg_1\",\"output_index\":0,\"delta\":\" word\"}\n\n",
        "event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"id\":\"resp_1\",\"model\":\"m\",\"status\":\"completed\"}}\n\n",
    ),
    (
        Api::Generate,
        EVENTS,
        "data:{\"index\":1,\"token\":{\"id\":5,\"text\":\" word\",\"logprob\":-0.1,\"special\":false},\"generated_text\":null,\"details\":null}\n\n",
        "data:{\"index\":2,\"token\":{\"id\":5,\"text\":\"\",\"logprob\":0,\"special\":true},\"generated_text\":\"words\",\"details\":null}\n\n",
    ),
    (
        Api::Generate,
        "application/x-ndjson",
        "{\"content\":\" word\",\"stop\":false,\"index\":0}\n",
        "{\"content\":\"\",\"stop\":true,\"index\":0,\"stop_type\":\"eos\"}\n",
    ),
];

/// Reads a stream of so many events, cut every `step` bytes.
fn stream((api, kind, event, end): (Api, &str, &str, &str), events: usize, step: usize) -> AllocationInfo {
    let bytes = event.repeat(events) + end;
    measure(|| {
        let mut reader = ResponseReader::new(api, 200, Some(kind));
        bytes.as_bytes().chunks(step).for_each(|piece| reader.push(piece));
        let meaning = reader.finish();
        assert!(meaning.terminated && meaning.unreadable.is_none(), "{api}: {meaning:?}");
        assert!(meaning.events > events as u64 - 1, "{api}: {meaning:?}");
    })
}

#[test]
fn a_stream_a_hundred_times_as_long_allocates_no_more() {
    for of in STREAMS {
        // As they come, and cut anywhere: then the start of a line is carried over, however long it happens to be.
        for step in [of.2.len(), 7, 10_000] {
            let (short, long) = (stream(of, 200, step), stream(of, 20_000, step));
            let (api, kind) = (of.0, of.1);
            assert!(
                long.count_total <= short.count_total + 4,
                "{api} {kind} cut at {step}: {short:?} {long:?}"
            );
            assert!(
                long.bytes_max <= short.bytes_max + 1000,
                "{api} {kind} cut at {step}: {short:?} {long:?}"
            );
        }
    }
}

#[test]
fn a_session_and_a_form_of_any_length_take_bounded_memory() {
    let event = br#"{"type":"response.output_audio.delta","response_id":"resp_1","delta":"UklGRg=="}"#;
    let message = [&[0x81, u8::try_from(event.len()).unwrap()][..], event].concat();
    let session = |messages: usize| {
        let bytes = message.repeat(messages);
        measure(|| {
            let mut reader = ServerReader::default();
            bytes.chunks(1000).for_each(|piece| reader.push(piece));
            assert_eq!(reader.finish().answer.events, messages as u64);
        })
    };
    let (short, long) = (session(200), session(20_000));
    assert_eq!((long.count_total, long.bytes_max), (short.count_total, short.bytes_max));

    let head = "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\n\r\n";
    let form = |audio: usize| {
        let body = format!("{head}{}\r\n--b--\r\n", "RIFF".repeat(audio));
        measure(|| {
            let mut reader = FormReader::new("multipart/form-data; boundary=b").unwrap();
            body.as_bytes().chunks(1000).for_each(|piece| reader.push(piece));
            assert_eq!(reader.finish().unreadable, None);
        })
        .bytes_max
    };
    assert!(form(1_000_000) <= form(10_000) + 1000, "{} {}", form(1_000_000), form(10_000));
}
