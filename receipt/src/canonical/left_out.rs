//! What an answer's message form does not have: nothing is said of it by a digest, so who compares has to name it.

use super::{ADDED, canonical, message_form, parse};
use serde_json::Value;

/// Paths kept; more are counted.
const MAX_PATHS: usize = 10;

/// Members of an object that its [`message_form`] leaves out, `null` ones aside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Their paths, such as `choices[0].message.obfuscation`.
    pub paths: Vec<String>,
    /// How many there are beyond these.
    pub more: usize,
    /// One that is not what the text beside it says, if there is one: libraries read it out of that text.
    pub differs: Option<String>,
}

/// Looks for what [`message_form`] leaves out. What follows from the rest (`parsed` that is the JSON of its content, an index
/// that is the place) is not in it.
pub fn left_out(message: &Value) -> LeftOut {
    let mut found = LeftOut::default();
    look(message, "", &mut found);
    found
}

fn look(value: &Value, path: &str, found: &mut LeftOut) {
    match value {
        Value::Object(members) => {
            for (key, member) in members.iter().filter(|(_, member)| !member.is_null()) {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                if ADDED.contains(&key.as_str()) {
                    let texts = if key == "parsed" { &["content", "text"][..] } else { &["arguments"] };
                    let text = texts.iter().find_map(|name| members.get(*name)?.as_str());
                    match text.filter(|_| key != "obfuscation").and_then(|text| says(text, member)) {
                        Some(true) => {}
                        is => add(path, is == Some(false), found),
                    }
                    continue;
                }
                if key == "tool_calls" {
                    for (place, call) in member.as_array().into_iter().flatten().enumerate() {
                        let index = call.get("index").filter(|index| !index.is_null());
                        if index.is_some_and(|index| index.as_u64() != Some(place as u64)) {
                            add(format!("{path}[{place}].index"), false, found);
                        }
                    }
                }
                look(member, &path, found);
            }
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(at, item)| look(item, &format!("{path}[{at}]"), found));
        }
        _ => {}
    }
}

fn add(path: String, differs: bool, found: &mut LeftOut) {
    if differs && found.differs.is_none() {
        found.differs = Some(path.clone());
    }
    match found.paths.len() < MAX_PATHS {
        true => found.paths.push(path),
        false => found.more += 1,
    }
}

/// Whether JSON in a text says what a value does; `None` where there is none in it.
fn says(text: &str, value: &Value) -> Option<bool> {
    let said = parse(text.as_bytes()).ok()?;
    let form = |value: Value| canonical(&message_form(value)).ok();
    Some(form(said)? == form(value.clone())?)
}
