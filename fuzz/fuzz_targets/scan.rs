//! The JSON scanner beside `serde_json`: they take the same texts, and read the same out of them.
#![no_main]

use colophon_reading::testing;
use libfuzzer_sys::fuzz_target;
use serde::de::IgnoredAny;
use serde_json::Value;

/// `serde_json` reads numbers beyond 64 bits as floats, the scanner hands them out as written.
fn same(ours: &Value, theirs: &Value) -> bool {
    match (ours, theirs) {
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::String(written), Value::Number(number)) => {
            number.as_u64().is_none() && written.parse::<f64>().ok() == number.as_f64()
        }
        (a, b) => a == b,
    }
}

fuzz_target!(|data: &[u8]| {
    // What is skipped may be no UTF-8, for both.
    let skipped = serde_json::from_slice::<IgnoredAny>(data);
    assert_eq!(testing::is_json(data), skipped.is_ok(), "{skipped:?}");
    // serde_json goes no deeper than 127, and has no number beyond a double's.
    match serde_json::from_slice::<Value>(data) {
        Ok(theirs) => {
            let ours = testing::value(data).expect("serde_json reads it");
            assert!(same(&ours, &theirs), "{ours} is not {theirs}");
        }
        Err(error) if std::str::from_utf8(data).is_ok() => {
            let beyond = ["recursion limit", "number out of range"]
                .iter()
                .any(|what| error.to_string().contains(what));
            assert!(beyond || testing::value(data).is_none(), "serde_json refuses it: {error}");
        }
        Err(_) => {}
    }
});
