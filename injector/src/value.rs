//! Reading and writing within a Pod, which may be of any shape: what is not as expected is as if it were not there.

use serde_json::{Map, Value};

/// The elements of an array, or none.
pub(crate) fn items<'a>(of: &'a Value, name: &str) -> &'a [Value] {
    of.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// A text member.
pub(crate) fn text<'a>(of: &'a Value, name: &str) -> Option<&'a str> {
    of.get(name).and_then(Value::as_str)
}

/// The texts of an array, and none where it is no array or holds anything else.
pub(crate) fn words(of: &Value, name: &str) -> Vec<String> {
    items(of, name)
        .iter()
        .map(|word| word.as_str().map(str::to_owned))
        .collect::<Option<_>>()
        .unwrap_or_default()
}

/// A member that is a map, made where there is none.
pub(crate) fn map<'a>(of: &'a mut Value, name: &str) -> Option<&'a mut Map<String, Value>> {
    let member = of.as_object_mut()?.entry(name).or_insert_with(|| Value::Object(Map::new()));
    if member.is_null() {
        *member = Value::Object(Map::new());
    }
    member.as_object_mut()
}

/// A member that is an array, made where there is none.
pub(crate) fn array<'a>(of: &'a mut Value, name: &str) -> Option<&'a mut Vec<Value>> {
    let member = of.as_object_mut()?.entry(name).or_insert_with(|| Value::Array(Vec::new()));
    if member.is_null() {
        *member = Value::Array(Vec::new());
    }
    member.as_array_mut()
}

/// A container's name, for a message.
pub(crate) fn name(container: &Value) -> &str {
    text(container, "name").unwrap_or("(without a name)")
}

/// Whether the Pod has this label or annotation, and its value.
pub(crate) fn meta<'a>(pod: &'a Value, kind: &str, key: &str) -> Option<&'a Value> {
    pod.get("metadata")?.get(kind)?.get(key)
}
