//! Texts that are nearly always JSON, with the members that the readers know, for comparisons with `serde_json`.

use proptest::prelude::*;

/// Keys that mean something somewhere, some spelt with escapes, one that nobody knows.
const KEYS: [&str; 30] = [
    "model",
    "m\\u006fdel",
    "id",
    "type",
    "object",
    "usage",
    "choices",
    "index",
    "delta",
    "message",
    "messages",
    "finish_reason",
    "tool_calls",
    "response",
    "status",
    "output",
    "error",
    "stop",
    "stream",
    "temperature",
    "n",
    "prompt",
    "input",
    "parameters",
    "prompt_tokens",
    "total_tokens",
    "prompt_tokens_details",
    "cached_tokens",
    "tool\\u005fcalls",
    "x",
];

/// Values without members, as they are written.
const SCALARS: [&str; 26] = [
    "null",
    "true",
    "false",
    "0",
    "-0",
    "1",
    "64",
    "18446744073709551615",
    "18446744073709551616",
    "-1",
    "1.50",
    "1e2",
    "0.1E-3",
    "\"\"",
    "\"stop\"",
    "\"a\\n\\\"b\\\\\"",
    "\"\\u00e9\\ud83d\\ude00\"",
    "\"é😀\"",
    "\"a long text of more than thirty-two bytes, with no escapes at all\"",
    "\"a long text of more than thirty-two bytes, with an escape: \\t\"",
    "\"text_completion\"",
    "\"function_call\"",
    "\"a/b\\/c\"",
    "\"tool_use\"",
    "\"\\b\\f\\r\"",
    "\"\u{7f}\"",
];

/// What breaks a text, or does not.
const BREAKS: [&str; 22] = [
    "NaN",
    "01",
    "+1",
    "1.",
    "1e",
    "-",
    "tru",
    "nul",
    "\"\\x\"",
    "\"\\u12\"",
    "\"\\ud800\"",
    "\"\n\"",
    "\"\u{1}\"",
    ",",
    ":",
    "{",
    "}",
    "[",
    "]",
    "\"",
    "//",
    " ",
];

/// A text: as written, cut short, or with something put in.
pub(crate) fn text() -> impl Strategy<Value = String> {
    let whole = (document(), "[ \n\t\r]{0,2}").prop_map(|(text, space)| format!("{space}{text}{space}"));
    (whole, 0_u8..4, any::<prop::sample::Index>(), prop::sample::select(BREAKS.to_vec())).prop_map(
        |(text, how, at, put)| {
            let at = text.floor_char_boundary(at.index(text.len() + 1));
            match how {
                0 => text[..at].to_owned(),
                1 => format!("{}{put}{}", &text[..at], &text[at..]),
                _ => text,
            }
        },
    )
}

/// Whether `serde_json` skips the text and does not read it: it has a number that no `f64` holds, or half of a surrogate pair, which
/// it refuses only where it converts them.
pub(crate) fn is_doubtful(text: &str) -> bool {
    let skipped = serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
    skipped && serde_json::from_str::<serde_json::Value>(text).is_err()
}

fn document() -> impl Strategy<Value = String> {
    object(value()).boxed()
}

fn value() -> impl Strategy<Value = String> {
    let scalar = prop::sample::select(SCALARS.to_vec()).prop_map(str::to_owned);
    scalar.prop_recursive(4, 40, 5, |inner| prop_oneof![object(inner.clone()), array(inner)])
}

fn object(value: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    let member = (prop::sample::select(KEYS.to_vec()), value, " ?");
    prop::collection::vec(member, 0..6).prop_map(|members| {
        let members: Vec<String> =
            members.iter().map(|(key, value, space)| format!("\"{key}\"{space}:{space}{value}")).collect();
        format!("{{{}}}", members.join(","))
    })
}

fn array(value: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    prop::collection::vec(value, 0..5).prop_map(|values| format!("[{}]", values.join(" ,")))
}
