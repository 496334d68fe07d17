//! Values in the body.

use super::Fit;
use super::pattern::Pattern;
use crate::ast::Scalar;
use crate::head::Value;

/// A pointer may have this many parts.
const MAX_DEPTH: usize = 16;

/// A JSON Pointer (RFC 6901) to a value in the body.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pointer {
    text: String,
    tokens: Vec<String>,
}

impl Pointer {
    /// Reads a pointer.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(text: &str) -> Result<Pointer, String> {
        let Some(rest) = text.strip_prefix('/') else {
            return Err("a pointer begins with `/`, as in `/metadata/decision` (RFC 6901)".to_owned());
        };
        let plain = |token: &str| {
            let wrong = token.split('~').skip(1).any(|after| !after.starts_with(['0', '1']));
            if wrong { None } else { Some(token.replace("~1", "/").replace("~0", "~")) }
        };
        let tokens: Option<Vec<String>> = rest.split('/').map(plain).collect();
        let tokens = tokens.ok_or("`~` in a pointer is written `~0`, and `/` in a name `~1` (RFC 6901)")?;
        if tokens.len() > MAX_DEPTH {
            return Err(format!("a pointer has {MAX_DEPTH} parts at most"));
        }
        Ok(Pointer { text: text.to_owned(), tokens })
    }

    /// As written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Its parts, escapes undone: names of members, or places in arrays.
    pub fn tokens(&self) -> &[String] {
        &self.tokens
    }
}

/// What is asked of one value.
#[derive(Debug)]
pub(crate) struct BodyMatch {
    /// The number of the pointer in the policy's list.
    pub(crate) pointer: usize,
    pub(crate) op: BodyOp,
}

#[derive(Debug)]
pub(crate) enum BodyOp {
    Exists,
    /// `Equals` is a list of one.
    In(Vec<Scalar>),
    Matches(Pattern),
}

impl BodyMatch {
    pub(crate) fn fit(&self, value: &Value<'_>) -> Fit {
        if *value == Value::Unknown {
            return Fit::Maybe;
        }
        match &self.op {
            BodyOp::Exists => (*value != Value::Absent).into(),
            BodyOp::In(scalars) => scalars.iter().map(|scalar| equal(scalar, value)).max().unwrap_or(Fit::No),
            BodyOp::Matches(pattern) => match value {
                Value::Text(text) => pattern.fits(text.as_bytes()).into(),
                // A server may take it for a text.
                Value::Number(number) if pattern.fits(number.as_bytes()) => Fit::Maybe,
                Value::Bool(true) if pattern.fits(b"true") => Fit::Maybe,
                Value::Bool(false) if pattern.fits(b"false") => Fit::Maybe,
                _ => Fit::No,
            },
        }
    }
}

/// Whether they are equal; `Maybe` where only a server that converts one type into another would say so.
fn equal(scalar: &Scalar, value: &Value<'_>) -> Fit {
    match (scalar, value) {
        (Scalar::Null, Value::Null) => Fit::Yes,
        (Scalar::Bool(a), Value::Bool(b)) => (a == b).into(),
        (Scalar::Text(a), Value::Text(b)) => (a == b).into(),
        (Scalar::Number(a), Value::Number(b)) => same_number(a, b).into(),
        (Scalar::Bool(flag), Value::Text(text) | Value::Number(text)) if reads_as(*flag, text) => Fit::Maybe,
        (Scalar::Text(text) | Scalar::Number(text), Value::Bool(flag)) if reads_as(*flag, text) => Fit::Maybe,
        (Scalar::Number(number), Value::Text(text)) if same_number(number, text.trim()) => Fit::Maybe,
        (Scalar::Text(text), Value::Number(number)) if same_number(number, text.trim()) => Fit::Maybe,
        _ => Fit::No,
    }
}

fn same_number(a: &str, b: &str) -> bool {
    if a == b {
        return true;
    }
    match (a.parse::<i128>(), b.parse::<i128>()) {
        (Ok(a), Ok(b)) => a == b,
        _ => matches!((a.parse::<f64>(), b.parse::<f64>()), (Ok(a), Ok(b)) if a == b),
    }
}

/// Whether a lenient server takes `text` for this flag.
fn reads_as(flag: bool, text: &str) -> bool {
    let words: [&str; 7] = match flag {
        true => ["true", "1", "1.0", "yes", "on", "y", "t"],
        false => ["false", "0", "0.0", "no", "off", "n", "f"],
    };
    let text = text.trim();
    words.iter().any(|word| word.eq_ignore_ascii_case(text))
}
