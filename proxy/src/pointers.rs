//! The values at pointers into a JSON body, for the policy.
//!
//! Where the body is read for its meaning too, that one pass hands over the members on the way ([`of_members`]); what no
//! API's reader reads is looked through here ([`values`]).

use colophon_policies::{Pointer, Value};
use serde::de::{Deserializer as _, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// The values at `pointers`. What is no JSON text, or has a key on the way twice, is in doubt: servers differ in what
/// they make of it. An empty body has none.
pub(crate) fn values(body: &[u8], pointers: &[Pointer]) -> Vec<Value<'static>> {
    if pointers.is_empty() || body.is_empty() {
        return vec![Value::Absent; pointers.len()];
    }
    let read = std::str::from_utf8(body).ok().and_then(|text| serde_json::from_str::<&RawValue>(text).ok());
    let Some(document) = read else { return vec![Value::Unknown; pointers.len()] };
    let mut values = vec![Value::Absent; pointers.len()];
    let targets = pointers.iter().map(Pointer::tokens).enumerate().collect();
    fill(document.get(), targets, &mut values);
    values
}

/// The members that pointers begin with, each once.
pub(crate) fn first_names(pointers: &[Pointer]) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::with_capacity(pointers.len());
    for name in pointers.iter().filter_map(|pointer| pointer.tokens().first()) {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    names
}

/// As [`values`], of a body that is one sound JSON object, of which these are the members of the `first_names`.
pub(crate) fn of_members(
    members: &[(usize, &[u8])],
    names: &[&str],
    pointers: &[Pointer],
) -> Vec<Value<'static>> {
    let mut values = vec![Value::Absent; pointers.len()];
    for (number, name) in names.iter().enumerate() {
        let targets = pointers.iter().map(Pointer::tokens).enumerate().filter_map(|(slot, tokens)| {
            let (first, rest) = tokens.split_first()?;
            (first == name).then_some((slot, rest))
        });
        let targets: Targets<'_> = targets.collect();
        let mut found = members.iter().filter(|(which, _)| *which == number);
        match (found.next(), found.next()) {
            (None, _) => {}
            (Some((_, value)), None) if let Ok(text) = std::str::from_utf8(value) => {
                fill(text, targets, &mut values);
            }
            // Twice: servers differ in which they take.
            _ => targets.iter().for_each(|(slot, _)| values[*slot] = Value::Unknown),
        }
    }
    values
}

/// The places in `values` still to be found, each with what is left of its pointer.
type Targets<'p> = Vec<(usize, &'p [String])>;

fn fill(text: &str, targets: Targets<'_>, values: &mut [Value<'static>]) {
    let (here, deeper): (Targets<'_>, Targets<'_>) =
        targets.into_iter().partition(|(_, left)| left.is_empty());
    for (slot, _) in here {
        values[slot] = scalar(text);
    }
    if deeper.is_empty() {
        return;
    }
    let mut json = serde_json::Deserializer::from_str(text);
    let doubtful = deeper.clone();
    let walk = Walk { targets: deeper, values };
    let walked = match text.as_bytes().first() {
        Some(b'{') => json.deserialize_map(walk),
        Some(b'[') => json.deserialize_seq(walk),
        _ => return,
    };
    if walked.is_err() {
        doubtful.iter().for_each(|(slot, _)| values[*slot] = Value::Unknown);
    }
}

fn scalar(text: &str) -> Value<'static> {
    match text.as_bytes().first() {
        Some(b'{' | b'[') => Value::Container,
        Some(b'n') => Value::Null,
        Some(b't') => Value::Bool(true),
        Some(b'f') => Value::Bool(false),
        Some(b'"') => {
            serde_json::from_str(text).map_or(Value::Unknown, |text: String| Value::Text(Cow::Owned(text)))
        }
        _ => Value::Number(Cow::Owned(text.to_owned())),
    }
}

struct Walk<'p, 'v> {
    targets: Targets<'p>,
    values: &'v mut [Value<'static>],
}

impl<'p> Walk<'p, '_> {
    /// The targets below the member or element of this name.
    fn below(&self, name: &str) -> Targets<'p> {
        let below = self.targets.iter().filter_map(|(slot, left)| {
            let (first, rest) = left.split_first()?;
            (first == name).then_some((*slot, rest))
        });
        below.collect()
    }
}

impl<'de> Visitor<'de> for Walk<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or an array")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen: Vec<usize> = Vec::new();
        while let Some(Key(key)) = map.next_key::<Key<'de>>()? {
            let below = self.below(&key);
            if below.is_empty() {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let slots: Vec<usize> = below.iter().map(|(slot, _)| *slot).collect();
            let value = map.next_value::<&RawValue>()?;
            if slots.iter().any(|slot| seen.contains(slot)) {
                slots.iter().for_each(|slot| self.values[*slot] = Value::Unknown);
            } else {
                fill(value.get(), below, self.values);
            }
            seen.extend(slots);
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let mut place: usize = 0;
        while let Some(value) = seq.next_element::<&RawValue>()? {
            let below = self.below(&place.to_string());
            if !below.is_empty() {
                fill(value.get(), below, self.values);
            }
            place = place.checked_add(1).ok_or_else(|| A::Error::custom("too many elements"))?;
        }
        Ok(())
    }
}

/// A key, borrowed unless it has escapes.
#[derive(serde::Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests;
