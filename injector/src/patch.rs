//! What changed, as an RFC 6902 JSON patch.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// One operation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "lowercase")]
pub enum Operation {
    /// Puts a member into a map, or an element before the one at that index.
    Add {
        /// RFC 6901.
        path: String,
        /// What is put there.
        value: Value,
    },
    /// Puts another value where one is.
    Replace {
        /// RFC 6901.
        path: String,
        /// What is put there.
        value: Value,
    },
    /// Takes away what is there.
    Remove {
        /// RFC 6901.
        path: String,
    },
}

/// What makes `after` of `before`, in order. Nothing that is the same in both is named.
pub fn between(before: &Value, after: &Value) -> Vec<Operation> {
    let mut operations = Vec::new();
    compare("", before, after, &mut operations);
    operations
}

fn compare(path: &str, before: &Value, after: &Value, to: &mut Vec<Operation>) {
    match (before, after) {
        _ if before == after => {}
        (Value::Object(before), Value::Object(after)) => maps(path, before, after, to),
        (Value::Array(before), Value::Array(after)) => arrays(path, before, after, to),
        _ => to.push(Operation::Replace { path: path.to_owned(), value: after.clone() }),
    }
}

fn maps(path: &str, before: &Map<String, Value>, after: &Map<String, Value>, to: &mut Vec<Operation>) {
    for (name, value) in before {
        let path = format!("{path}/{}", escape(name));
        match after.get(name) {
            Some(now) => compare(&path, value, now, to),
            None => to.push(Operation::Remove { path }),
        }
    }
    for (name, value) in after.iter().filter(|(name, _)| !before.contains_key(*name)) {
        to.push(Operation::Add { path: format!("{path}/{}", escape(name)), value: value.clone() });
    }
}

fn arrays(path: &str, before: &[Value], after: &[Value], to: &mut Vec<Operation>) {
    for (index, (old, new)) in before.iter().zip(after).enumerate() {
        compare(&format!("{path}/{index}"), old, new, to);
    }
    // From the end, so that no index moves under the next operation.
    for index in (after.len()..before.len()).rev() {
        to.push(Operation::Remove { path: format!("{path}/{index}") });
    }
    for (index, value) in after.iter().enumerate().skip(before.len()) {
        to.push(Operation::Add { path: format!("{path}/{index}"), value: value.clone() });
    }
}

/// RFC 6901 section 3.
fn escape(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests;
