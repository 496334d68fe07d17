//! YAML as typed: a tree in which every value knows its place, read within fixed limits.
//!
//! Reading into a tree first, rather than deriving, lets each error name the exact key or value it is about.

use crate::error::{At, Fault, shown, suggestion};
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::options::MergeKeyPolicy;
use serde_saphyr::{DuplicateKeyPolicy, Location, Spanned};
use std::fmt;

/// A value and its place.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) at: At,
    pub(crate) value: Value,
}

/// What a value is.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    /// As Rust writes it, which is how JSON does.
    Number(String),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

/// A key of a map and its place.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    pub(crate) at: At,
    pub(crate) name: String,
}

/// Reads one YAML document. Aliases are expanded within tight limits; merge keys, duplicate keys and unknown tags
/// are errors.
pub(crate) fn read(text: &str) -> Result<Node, Fault> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: 16,
            flow_nesting_limit: 16,
            max_nodes: 200_000,
            max_anchors: 64,
            max_aliases: 256,
            max_recorded_anchor_events: 20_000,
        },
        duplicate_keys: DuplicateKeyPolicy::Error,
        merge_keys: MergeKeyPolicy::Error,
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: 20_000,
            max_replay_stack_depth: 4,
        },
        // YAML 1.2: `on` and `yes` are words.
        strict_booleans: true,
        reject_unsupported_tags: true,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options::<Node>(text, options).map_err(|error| {
        let at = error.location().map(At::from).unwrap_or_default();
        let message = match error.without_snippet() {
            serde_saphyr::Error::DuplicateMappingKey { key: Some(key), .. } => {
                format!("duplicate key `{key}`")
            }
            serde_saphyr::Error::MultipleDocuments { .. } => {
                "a policy file holds one YAML document".to_owned()
            }
            serde_saphyr::Error::Budget { breach, .. } => {
                format!("too large or too deeply nested ({breach:?})")
            }
            other => shown_line(&other.to_string()),
        };
        Fault::new(at, message)
    })
}

impl Node {
    /// The text, or an error naming `what`.
    pub(crate) fn text(&self, what: &str) -> Result<&str, Fault> {
        match &self.value {
            Value::Text(text) => Ok(text),
            Value::Bool(_) | Value::Number(_) => {
                Err(self.fault(format!("`{what}` is a string, not {}: put it in quotes", self.value.kind())))
            }
            other => Err(self.fault(format!("`{what}` is a string, not {}", other.kind()))),
        }
    }

    /// The items of a list that is not empty, or an error naming `what`.
    pub(crate) fn items(&self, what: &str) -> Result<&[Node], Fault> {
        match &self.value {
            Value::List(items) if items.is_empty() => {
                Err(self.fault(format!("`{what}` is empty; leave it out instead")))
            }
            Value::List(items) => Ok(items),
            other => Err(self.fault(format!("`{what}` is a list, not {}", other.kind()))),
        }
    }

    /// The map, with only the keys `known`.
    pub(crate) fn map(&self, what: &str, known: &[&str]) -> Result<Map<'_>, Fault> {
        let Value::Map(entries) = &self.value else {
            return Err(self.fault(format!("`{what}` is a mapping, not {}", self.value.kind())));
        };
        for (key, _) in entries {
            let name = key.name.as_str();
            if !known.contains(&name) {
                let hint = suggestion(name, known.iter().copied());
                return Err(Fault::new(key.at, format!("unknown key `{}`{hint}", shown(name))));
            }
        }
        Ok(Map { at: self.at, what: what.to_owned(), entries })
    }

    /// The value as JSON, the keys of each mapping in order.
    pub(crate) fn json(&self) -> Result<serde_json::Value, Fault> {
        Ok(match &self.value {
            Value::Null => serde_json::Value::Null,
            Value::Bool(flag) => (*flag).into(),
            Value::Number(number) => {
                let number: Result<serde_json::Number, _> = number.parse();
                number.map_err(|_| self.fault("JSON has no such number"))?.into()
            }
            Value::Text(text) => text.as_str().into(),
            Value::List(items) => items.iter().map(Node::json).collect::<Result<Vec<_>, _>>()?.into(),
            Value::Map(entries) => {
                let mut entries: Vec<_> = entries.iter().collect();
                entries.sort_by(|(a, _), (b, _)| a.name.cmp(&b.name));
                let pairs = entries.into_iter().map(|(key, node)| Ok((key.name.clone(), node.json()?)));
                serde_json::Value::Object(pairs.collect::<Result<_, _>>()?)
            }
        })
    }

    /// An error at this value.
    pub(crate) fn fault(&self, message: impl Into<String>) -> Fault {
        Fault::new(self.at, message)
    }
}

/// A map whose keys have been checked.
pub(crate) struct Map<'a> {
    at: At,
    what: String,
    entries: &'a [(Key, Node)],
}

impl<'a> Map<'a> {
    /// The value of `key`, if the map has it.
    pub(crate) fn get(&self, key: &str) -> Option<&'a Node> {
        self.entries.iter().find(|(k, _)| k.name == key).map(|(_, node)| node)
    }

    /// The value of `key`, or an error at the map.
    pub(crate) fn required(&self, key: &str) -> Result<&'a Node, Fault> {
        self.get(key).ok_or_else(|| Fault::new(self.at, format!("`{}` needs the key `{key}`", self.what)))
    }

    /// Whether the map has no key at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl Value {
    fn kind(&self) -> &'static str {
        match self {
            Value::Null => "empty",
            Value::Bool(_) => "a boolean",
            Value::Number(_) => "a number",
            Value::Text(_) => "a string",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }
}

impl From<Location> for At {
    fn from(location: Location) -> At {
        At { line: location.line(), column: location.column() }
    }
}

fn shown_line(message: &str) -> String {
    message.lines().next().unwrap_or_default().chars().filter(|c| !c.is_control()).take(300).collect()
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Node, D::Error> {
        let spanned = Spanned::<Value>::deserialize(deserializer)?;
        Ok(Node { at: spanned.defined.into(), value: spanned.value })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string, a list or a mapping")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Number(number.to_string()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(Value::Number(number.to_string()))
    }

    fn visit_i128<E>(self, number: i128) -> Result<Value, E> {
        Ok(Value::Number(number.to_string()))
    }

    fn visit_u128<E>(self, number: u128) -> Result<Value, E> {
        Ok(Value::Number(number.to_string()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Value::Number(number.to_string()))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(Value::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Value::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries: Vec<(Key, Node)> = Vec::new();
        while let Some((key, value)) = map.next_entry::<Spanned<String>, Node>()? {
            entries.push((Key { at: key.defined.into(), name: key.value }, value));
        }
        Ok(Value::Map(entries))
    }
}

#[cfg(test)]
mod tests;
