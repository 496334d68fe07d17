//! What a classifier is shown of an exchange: whole numbers that follow from a record's opened fields, by a formula that
//! anybody can compute again (`docs/PROVERS.md`).
//!
//! Each lies between 0 and [`MOST`]; a circuit takes it as so many 128ths. What is absent counts as 0: the leaf's bitmap
//! proves that it is. What is withheld cannot be computed.

use crate::cbor::{CborError, Value};
use crate::fields::{
    ANSWER, Answer, BodyDigest, OPERATION, Operation, REQUEST_BODY, RESPONSE_BODY, RESPONSE_HEAD,
    ResponseHead, SAMPLING, USAGE, Usage, name, read_sampling,
};
use crate::receipt::Field;
use crate::record::decode_field;
use std::collections::BTreeMap;

/// The largest value.
pub const MOST: i64 = 128;
/// What APIs call the parameter that bounds the length of an answer.
const LENGTHS: [&str; 5] =
    ["max_tokens", "max_completion_tokens", "max_output_tokens", "max_new_tokens", "n_predict"];
/// Finish reasons that say that the answer was cut at its bound.
const CUT: [&[u8]; 4] = [b"length", b"max_tokens", b"max_output_tokens", b"MAX_TOKENS"];

/// The names, as circuits and statements use them.
pub const NAMES: [&str; 12] = [
    "prompt_tokens",
    "completion_tokens",
    "cached_tokens",
    "reasoning_tokens",
    "request_size",
    "response_size",
    "temperature",
    "max_tokens",
    "status",
    "finish_length",
    "tool_calls",
    "streamed",
];

/// Features that cannot be computed.
#[derive(Debug, thiserror::Error)]
pub enum FeatureError {
    /// No such feature is known.
    #[error("there is no feature `{0}`")]
    Unknown(String),
    /// The field that it follows from is withheld.
    #[error("the feature `{feature}` follows from the field \"{field}\", which is withheld")]
    Withheld {
        /// The feature.
        feature: &'static str,
        /// The field.
        field: &'static str,
    },
    /// The field is not what its number says.
    #[error("the field \"{0}\" cannot be read: {1}")]
    Field(&'static str, CborError),
}

/// Computes the features of these names from a record's fields. Whether the fields are the record's is the caller's to check.
///
/// # Errors
/// [`FeatureError`].
pub fn of<'a>(
    names: impl IntoIterator<Item = &'a str>,
    fields: &[Field],
) -> Result<BTreeMap<String, i64>, FeatureError> {
    let mut features = BTreeMap::new();
    for asked in names {
        let known = NAMES.iter().find(|known| **known == asked);
        let known = known.ok_or_else(|| FeatureError::Unknown(asked.to_owned()))?;
        features.insert(asked.to_owned(), feature(known, fields)?.min(MOST as u64) as i64);
    }
    Ok(features)
}

fn feature(feature: &'static str, fields: &[Field]) -> Result<u64, FeatureError> {
    let number = match feature {
        "prompt_tokens" | "completion_tokens" | "cached_tokens" | "reasoning_tokens" => USAGE,
        "request_size" => REQUEST_BODY,
        "response_size" => RESPONSE_BODY,
        "temperature" | "max_tokens" => SAMPLING,
        "status" => RESPONSE_HEAD,
        "finish_length" | "tool_calls" => ANSWER,
        _ => OPERATION,
    };
    let Some(value) = value(feature, number, fields)? else { return Ok(0) };
    computed(feature, value).map_err(|error| FeatureError::Field(name(number), error))
}

fn computed(feature: &'static str, value: Value) -> Result<u64, CborError> {
    let count = |count: Option<u64>| magnitude(count.unwrap_or(0));
    let flag = |is: bool| if is { MOST as u64 } else { 0 };
    Ok(match feature {
        "prompt_tokens" => count(Usage::read(value)?.prompt),
        "completion_tokens" => count(Usage::read(value)?.completion),
        "cached_tokens" => count(Usage::read(value)?.cached),
        "reasoning_tokens" => count(Usage::read(value)?.reasoning),
        "request_size" | "response_size" => magnitude(BodyDigest::read(&value)?.size),
        "temperature" => temperature(&read_sampling(&value)?),
        "max_tokens" => magnitude(bound(&read_sampling(&value)?)),
        "status" => ResponseHead::read(value)?.status.unwrap_or(0) / 4,
        "finish_length" => {
            let reasons = Answer::read(value)?.finish_reasons.unwrap_or_default();
            flag(reasons.iter().any(|reason| CUT.contains(&reason.as_slice())))
        }
        "tool_calls" => Answer::read(value)?.tool_calls.unwrap_or(0).saturating_mul(16),
        _ => flag(Operation::read(value)?.streamed == Some(true)),
    })
}

/// The value of a field; `None` where the record has none.
fn value(feature: &'static str, number: u8, fields: &[Field]) -> Result<Option<Value>, FeatureError> {
    for field in fields {
        match field {
            Field::Opened(opened) if opened.number == number => {
                let (_, value) = decode_field(&opened.value.0)
                    .map_err(|error| FeatureError::Field(name(number), error))?;
                return Ok(Some(value));
            }
            Field::Withheld(withheld) if withheld.number == number => {
                return Err(FeatureError::Withheld { feature, field: name(number) });
            }
            _ => {}
        }
    }
    Ok(None)
}

/// Eight steps for each doubling: 0 for 0, 1 for 1, 9 for 2, 81 for 1,024.
fn magnitude(count: u64) -> u64 {
    if count == 0 {
        return 0;
    }
    let doublings = u64::from(count.ilog2());
    // The three binary digits after the first.
    let rest = (u128::from(count) << 3 >> doublings) as u64 & 7;
    8 * doublings + rest + 1
}

/// 64ths, rounded down; of what is not a number above 0, nothing.
fn temperature(parameters: &[(String, Vec<u8>)]) -> u64 {
    let value = parameter(parameters, &["temperature"]);
    let number = value.as_ref().and_then(serde_json::Value::as_f64);
    // A number of JSON is finite; the cast takes what is below 0 as 0.
    number.map_or(0, |number| (number * 64.0).floor() as u64)
}

fn bound(parameters: &[(String, Vec<u8>)]) -> u64 {
    parameter(parameters, &LENGTHS).as_ref().and_then(serde_json::Value::as_u64).unwrap_or(0)
}

/// The first of these parameters that the request named.
fn parameter(parameters: &[(String, Vec<u8>)], names: &[&str]) -> Option<serde_json::Value> {
    let raw = |name: &&str| parameters.iter().find(|(known, _)| known == *name).map(|(_, raw)| raw);
    names.iter().find_map(raw).and_then(|raw| serde_json::from_slice(raw).ok())
}

#[cfg(test)]
mod tests;
