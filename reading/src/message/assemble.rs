//! One more event of a stream, by API.

use super::{Map, Uncanonical, Value, json};

type Object = Map<String, Value>;
type SoFar = Option<Object>;

/// The most choices or content blocks of one answer.
const MAX_PARTS: usize = 64;

/// OpenAI chat, as `ChatCompletionStreamState` of openai-python does it.
pub(super) fn chat(so_far: &mut SoFar, event: Object) -> Result<(), Uncanonical> {
    choices(so_far, event, "chat.completion", |choice, mut part| {
        let delta = object(part.remove("delta"));
        let Some(choice) = choice else {
            let mut message = Object::new();
            add(&mut message, delta)?;
            part.insert("message".into(), message.into());
            return Ok(Some(part));
        };
        if let Some(message) = choice.get_mut("message").and_then(Value::as_object_mut) {
            add(message, delta)?;
        }
        Ok(finish(choice, part))
    })
}

/// OpenAI completions: no library assembles them, so it is done likewise.
pub(super) fn completion(so_far: &mut SoFar, event: Object) -> Result<(), Uncanonical> {
    choices(so_far, event, "text_completion", |choice, mut part| {
        let Some(choice) = choice else { return Ok(Some(part)) };
        if let Some(text) = part.remove("text") {
            add(choice, Object::from_iter([("text".to_owned(), text)]))?;
        }
        Ok(finish(choice, part))
    })
}

/// OpenAI responses: the last event holds the whole response.
pub(super) fn response(so_far: &mut SoFar, mut event: Object) -> Result<(), Uncanonical> {
    let last = ["response.completed", "response.incomplete", "response.failed"];
    if event.get("type").and_then(Value::as_str).is_some_and(|kind| last.contains(&kind)) {
        *so_far = Some(object(event.remove("response")));
    }
    Ok(())
}

/// Anthropic messages, as `accumulate_event` of anthropic-sdk-python does it.
pub(super) fn anthropic(
    so_far: &mut SoFar,
    inputs: &mut Vec<String>,
    mut event: Object,
) -> Result<(), Uncanonical> {
    let kind = event.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
    if kind == "message_start" {
        let mut message = object(event.remove("message"));
        message.entry("content").or_insert_with(|| json!([]));
        *so_far = Some(message);
        return Ok(());
    }
    let Some(message) = so_far else {
        return if kind == "ping" { Ok(()) } else { Err(Uncanonical::NotWhole) };
    };
    let index = event.get("index").and_then(Value::as_u64).and_then(|index| usize::try_from(index).ok());
    match kind.as_str() {
        "content_block_start" => {
            let blocks =
                message.get_mut("content").and_then(Value::as_array_mut).ok_or(Uncanonical::NotWhole)?;
            if blocks.len() >= MAX_PARTS {
                return Err(Uncanonical::TooLong);
            }
            blocks.push(object(event.remove("content_block")).into());
            inputs.push(String::new());
        }
        "content_block_delta" => {
            let index = index.ok_or(Uncanonical::NotWhole)?;
            let blocks =
                message.get_mut("content").and_then(Value::as_array_mut).ok_or(Uncanonical::NotWhole)?;
            let block = blocks.get_mut(index).and_then(Value::as_object_mut).ok_or(Uncanonical::NotWhole)?;
            block_delta(
                block,
                inputs.get_mut(index).ok_or(Uncanonical::NotWhole)?,
                object(event.remove("delta")),
            )?;
        }
        "content_block_stop" => {
            let index = index.ok_or(Uncanonical::NotWhole)?;
            let input = inputs.get(index).filter(|input| !input.is_empty());
            let block = message.get_mut("content").and_then(|blocks| blocks.get_mut(index));
            if let (Some(input), Some(Value::Object(block))) = (input, block) {
                block.insert("input".into(), colophon_receipt::canonical::parse(input.as_bytes())?);
            }
        }
        "message_delta" => {
            message.extend(object(event.remove("delta")));
            let counts = object(event.remove("usage")).into_iter().filter(|(_, count)| !count.is_null());
            match message.get_mut("usage").and_then(Value::as_object_mut) {
                Some(usage) => usage.extend(counts),
                None => drop(message.insert("usage".into(), Value::Object(counts.collect()))),
            }
        }
        "error" => return Err(Uncanonical::NotWhole),
        _ => {}
    }
    Ok(())
}

fn block_delta(block: &mut Object, input: &mut String, mut delta: Object) -> Result<(), Uncanonical> {
    match delta.get("type").and_then(Value::as_str).unwrap_or_default() {
        "text_delta" => append(block, "text", delta.remove("text")),
        "thinking_delta" => append(block, "thinking", delta.remove("thinking")),
        "signature_delta" => {
            block.extend(delta.remove("signature").map(|signature| ("signature".to_owned(), signature)))
        }
        "input_json_delta" => {
            input.push_str(delta.get("partial_json").and_then(Value::as_str).unwrap_or_default())
        }
        "citations_delta" => match (block.get_mut("citations"), delta.remove("citation")) {
            (Some(Value::Array(citations)), Some(citation)) => citations.push(citation),
            (_, citation) => drop(block.insert("citations".into(), Value::from_iter(citation))),
        },
        _ => return Err(Uncanonical::NotWhole),
    }
    Ok(())
}

/// The frame that chat and completions share: the first event without its choices, then choice by choice. `each` gets a
/// choice, if it has begun, and what comes to it; it gives a new one.
fn choices(
    so_far: &mut SoFar,
    mut event: Object,
    kind: &str,
    each: impl Fn(Option<&mut Object>, Object) -> Result<Option<Object>, Uncanonical>,
) -> Result<(), Uncanonical> {
    if event.get("error").is_some_and(|error| !error.is_null()) {
        return Err(Uncanonical::NotWhole);
    }
    let parts = match event.remove("choices") {
        Some(Value::Array(parts)) => parts,
        _ => return Err(Uncanonical::NotWhole),
    };
    let message = match so_far {
        None => {
            event.insert("object".into(), kind.into());
            event.insert("choices".into(), json!([]));
            so_far.insert(event)
        }
        Some(message) => {
            for key in ["usage", "system_fingerprint"] {
                message.insert(key.into(), event.remove(key).unwrap_or_default());
            }
            message
        }
    };
    let Some(Value::Array(choices)) = message.get_mut("choices") else { return Err(Uncanonical::NotWhole) };
    for part in parts.into_iter().map(|part| object(Some(part))) {
        let index = part.get("index").and_then(Value::as_u64).unwrap_or(0);
        let same = |choice: &&mut Value| choice.get("index").and_then(Value::as_u64).unwrap_or(0) == index;
        let known = choices.iter_mut().find(same).and_then(Value::as_object_mut);
        if let Some(begun) = each(known, part)? {
            if choices.len() >= MAX_PARTS {
                return Err(Uncanonical::TooLong);
            }
            let place = choices
                .partition_point(|choice| choice.get("index").and_then(Value::as_u64).unwrap_or(0) < index);
            choices.insert(place, begun.into());
        }
    }
    Ok(())
}

/// What a choice says once: why it ended, and its log probabilities, which add up.
fn finish(choice: &mut Object, mut part: Object) -> Option<Object> {
    if let Some(why @ Value::String(_)) = part.remove("finish_reason") {
        choice.insert("finish_reason".into(), why);
    }
    if let Some(Value::Object(more)) = part.remove("logprobs") {
        match choice.get_mut("logprobs").and_then(Value::as_object_mut) {
            None => drop(choice.insert("logprobs".into(), more.into())),
            Some(known) => {
                for (key, more) in more {
                    match (known.get_mut(&key), more) {
                        (Some(Value::Array(known)), Value::Array(more)) => known.extend(more),
                        (_, Value::Null) => {}
                        (_, more) => drop(known.insert(key, more)),
                    }
                }
            }
        }
    }
    None
}

/// Adds a delta to what has come: texts are appended, objects merged, entries with an `index` merged with theirs
/// (`accumulate_delta` of openai-python).
fn add(so_far: &mut Object, delta: Object) -> Result<(), Uncanonical> {
    for (key, more) in delta {
        let known = so_far.entry(key.as_str()).or_insert(Value::Null);
        match (&mut *known, more) {
            (Value::Null, Value::Array(more)) if more.iter().any(|entry| entry.get("index").is_some()) => {
                *known = json!([]);
                add_entries(known, more)?;
            }
            (Value::Null, more) => *known = more,
            (_, Value::Null) => {}
            (_, more) if key == "index" || key == "type" => *known = more,
            (Value::String(known), Value::String(more)) => known.push_str(&more),
            (Value::Object(known), Value::Object(more)) => add(known, more)?,
            (Value::Array(_), Value::Array(more)) => add_entries(known, more)?,
            (known, more) => *known = more,
        }
    }
    Ok(())
}

fn add_entries(known: &mut Value, more: Vec<Value>) -> Result<(), Uncanonical> {
    let Value::Array(entries) = known else { return Err(Uncanonical::NotWhole) };
    for entry in more {
        let index = entry.get("index").and_then(Value::as_u64);
        let Some(index) = index.and_then(|index| usize::try_from(index).ok()) else {
            entries.push(entry);
            continue;
        };
        let full = entries.len() >= MAX_PARTS;
        match entries.get_mut(index) {
            Some(Value::Object(known)) => add(known, object(Some(entry)))?,
            _ if full => return Err(Uncanonical::TooLong),
            _ => entries.push(entry),
        }
    }
    Ok(())
}

fn append(block: &mut Object, key: &str, more: Option<Value>) {
    let Some(Value::String(more)) = more else { return };
    match block.get_mut(key) {
        Some(Value::String(text)) => text.push_str(&more),
        _ => drop(block.insert(key.into(), more.into())),
    }
}

fn object(value: Option<Value>) -> Object {
    match value {
        Some(Value::Object(object)) => object,
        _ => Object::new(),
    }
}
