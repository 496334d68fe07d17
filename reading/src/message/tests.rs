use colophon_policies::Api;
use colophon_receipt::canonical::{MAX_TEXT, Uncanonical, message_digest};

use super::Message;

fn streamed(api: Api, events: &[&str]) -> Result<[u8; 32], Uncanonical> {
    let mut message = Message::new(api);
    events.iter().for_each(|event| message.event(event.as_bytes()));
    message.finish()
}

fn whole(message: &str) -> Result<[u8; 32], Uncanonical> {
    message_digest(message.as_bytes())
}

#[test]
fn chat_chunks_make_up_a_completion() {
    let events = [
        r#"{"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}]}"#,
        r#"{"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":1,"delta":{"role":"assistant","tool_calls":[{"index":0,"id":"t","type":"function","function":{"name":"f","arguments":""}}]}}]}"#,
        r#"{"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"content":"On"}},{"index":1,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"a\""}}]}}]}"#,
        r#"{"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"content":"ce"},"finish_reason":"stop"},{"index":1,"delta":{"tool_calls":[{"index":0,"function":{"arguments":":1}"}}]},"finish_reason":"tool_calls"}]}"#,
        r#"{"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[],"usage":{"total_tokens":7}}"#,
    ];
    let completion = r#"{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[
        {"index":0,"message":{"role":"assistant","content":"Once"},"finish_reason":"stop"},
        {"index":1,"message":{"role":"assistant","tool_calls":[{"id":"t","type":"function","function":{"name":"f","arguments":"{\"a\":1}"}}]},"finish_reason":"tool_calls"}],
        "usage":{"total_tokens":7}}"#;
    assert_eq!(streamed(Api::Chat, &events), whole(completion));
    assert_ne!(streamed(Api::Chat, &events[..4]), whole(completion));
    assert_ne!(streamed(Api::Chat, &events), whole(&completion.replace("Once", "Twice")));
}

#[test]
fn completion_chunks_make_up_a_completion() {
    let events = [
        r#"{"id":"c","object":"text_completion","choices":[{"index":0,"text":"On","finish_reason":null,"logprobs":{"tokens":["On"]}}]}"#,
        r#"{"id":"c","object":"text_completion","choices":[{"index":0,"text":"ce","finish_reason":"length","logprobs":{"tokens":["ce"]}}],"usage":null}"#,
    ];
    let completion = r#"{"id":"c","object":"text_completion","choices":[{"index":0,"text":"Once","finish_reason":"length","logprobs":{"tokens":["On","ce"]}}]}"#;
    assert_eq!(streamed(Api::Completions, &events), whole(completion));
}

#[test]
fn the_last_event_of_the_responses_api_is_the_response() {
    let response = r#"{"id":"r","status":"completed","output":[{"type":"message"}]}"#;
    let last = format!(r#"{{"type":"response.completed","sequence_number":3,"response":{response}}}"#);
    let created = r#"{"type":"response.created","response":{"id":"r","status":"in_progress"}}"#;
    assert_eq!(streamed(Api::Responses, &[created, &last]), whole(response));
    assert_eq!(streamed(Api::Responses, &[created]), Err(Uncanonical::NotWhole));
}

#[test]
fn anthropic_events_make_up_a_message() {
    let events = [
        r#"{"type":"message_start","message":{"id":"i","type":"message","role":"assistant","content":[],"stop_reason":null,"usage":{"input_tokens":3,"output_tokens":0}}}"#,
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#,
        r#"{"type":"ping"}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Once"}}"#,
        r#"{"type":"content_block_stop","index":0}"#,
        r#"{"type":"content_block_start","index":1,"content_block":{"type":"tool_use","id":"t","name":"f","input":{}}}"#,
        r#"{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"{\"a\""}}"#,
        r#"{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":": 1}"}}"#,
        r#"{"type":"content_block_stop","index":1}"#,
        r#"{"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null},"usage":{"output_tokens":9}}"#,
        r#"{"type":"message_stop"}"#,
    ];
    let message = r#"{"id":"i","type":"message","role":"assistant","content":[{"type":"text","text":"Once"},
        {"type":"tool_use","id":"t","name":"f","input":{"a":1}}],"stop_reason":"tool_use","usage":{"input_tokens":3,"output_tokens":9}}"#;
    assert_eq!(streamed(Api::Messages, &events), whole(message));
}

#[test]
fn what_is_no_message_says_so() {
    let chunk = r#"{"id":"c","choices":[{"index":0,"delta":{"content":"a"}}]}"#;
    assert_eq!(streamed(Api::Chat, &[]), Err(Uncanonical::NotWhole));
    assert_eq!(streamed(Api::Chat, &[chunk, r#"{"error":{"message":"no"}}"#]), Err(Uncanonical::NotWhole));
    assert_eq!(streamed(Api::Chat, &[chunk, r#"{"id":1,"id":2}"#]), Err(Uncanonical::DuplicateKey));
    assert_eq!(streamed(Api::Chat, &[chunk, "{"]), Err(Uncanonical::NotJson));
    assert_eq!(streamed(Api::Embeddings, &[chunk]), Err(Uncanonical::NotWhole));
    let long = format!(r#"{{"choices":[],"x":"{}"}}"#, "y".repeat(MAX_TEXT / 2));
    assert_eq!(streamed(Api::Chat, &[&long, &long]), Err(Uncanonical::TooLong));
}
