//! HTTP Message Signatures (RFC 9421) with Ed25519: the signature base, the two fields, and reading them back.
//!
//! The signer lists covered components with their values, as they stand in the message; which components a signature
//! has to cover is the reader's rule for the `tag`, not this module's.

use std::fmt::Write as _;

use crate::keys::SIGNATURE_LEN;
use crate::sf::{self, SfError};

pub use self::kept::{KeptError, KeptSignature, Known, Line, Value, Writer, expand, shorten};
pub use self::parse::{CoveredComponent, SignatureInput, parse_signature, parse_signature_input};

mod kept;
mod parse;

/// The registered name of the only algorithm used here (RFC 9421 section 3.3.6).
pub const ALG: &str = "ed25519";

/// Why a signature base cannot be built, or a field not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HttpSigError {
    /// The field is not a structured field of the expected form.
    #[error(transparent)]
    Field(#[from] SfError),
    /// A member of the field is not what RFC 9421 wants there.
    #[error("HTTP signature {label}: {what}")]
    Member {
        /// The signature's label.
        label: String,
        /// What is wrong.
        what: &'static str,
    },
    /// A component's name is not a lower-case field name or a derived component.
    #[error("HTTP signature: not a component name")]
    Name,
    /// A component is covered twice.
    #[error("HTTP signature: {0} is covered twice")]
    Repeated(String),
    /// A component's value holds line breaks, control characters or bytes outside ASCII.
    #[error("HTTP signature: the value of {0} cannot be covered")]
    Value(String),
    /// A covered component is not in the message.
    #[error("HTTP signature: the message has no {0}")]
    Absent(String),
    /// A covered component has parameters other than `req` and `tr`.
    #[error("HTTP signature: {0} has parameters that are not supported")]
    Parameters(String),
}

/// One covered component and its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Component<'a> {
    /// A lower-case field name, or a derived component such as `@status` or `@path`.
    pub name: &'a str,
    /// Whether it comes from the request that is being answered (`;req`).
    pub req: bool,
    /// Whether it stands in the trailer section (`;tr`).
    pub tr: bool,
    /// The value: for a field the result of [`field_value`], for `@query` with its leading question mark.
    pub value: &'a str,
}

/// The signature's own parameters, written in this order; `alg="ed25519"` stands before the tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Params<'a> {
    /// When the signature was made, in seconds since the epoch.
    pub created: u64,
    /// Which key signs.
    pub keyid: &'a str,
    /// What the signature is for.
    pub tag: &'a str,
}

/// What is signed: one line a component, and the line of the parameters (RFC 9421 section 2.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignatureBase {
    text: String,
    /// Where the inner list with its parameters begins; it ends with the text.
    params_at: usize,
}

/// Builds the signature base of `components`, in their order. The text is one allocation.
pub fn signature_base(
    components: &[Component<'_>],
    params: &Params<'_>,
) -> Result<SignatureBase, HttpSigError> {
    let mut base =
        Lines::with_capacity(components.iter().map(|c| 2 * c.name.len() + c.value.len() + 24).sum());
    for (i, component) in components.iter().enumerate() {
        let same = |other: &Component<'_>| {
            (other.name, other.req, other.tr) == (component.name, component.req, component.tr)
        };
        if components[..i].iter().any(same) {
            return Err(HttpSigError::Repeated(component.name.to_owned()));
        }
        base.push(component)?;
    }
    base.finish(|out| {
        out.push('(');
        for (i, component) in components.iter().enumerate() {
            if i > 0 {
                out.push(' ');
            }
            push_identifier(out, component);
        }
        write!(out, ");created={};keyid=", params.created).map_err(|_| SfError::Unwritable("created"))?;
        sf::push_string(out, params.keyid)?;
        out.push_str(";alg=\"ed25519\";tag=");
        sf::push_string(out, params.tag)
    })
}

impl SignatureBase {
    /// The bytes to sign or to verify.
    pub fn as_bytes(&self) -> &[u8] {
        self.text.as_bytes()
    }

    /// The same as text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The inner list with its parameters: the value of `@signature-params`.
    pub fn signature_params(&self) -> &str {
        self.text.get(self.params_at..).unwrap_or_default()
    }

    /// The `Signature-Input` member `label=(…);…`; `label` is a structured-field key.
    pub fn signature_input(&self, label: &str) -> String {
        let params = self.signature_params();
        let mut out = String::with_capacity(label.len() + 1 + params.len());
        out.push_str(label);
        out.push('=');
        out.push_str(params);
        out
    }
}

/// The `Signature` member `label=:…:`; `label` is a structured-field key.
pub fn signature_value(label: &str, signature: &[u8; SIGNATURE_LEN]) -> String {
    let mut out = String::with_capacity(label.len() + 91);
    out.push_str(label);
    out.push('=');
    sf::push_bytes(&mut out, signature);
    out
}

/// The value of a field for the signature base (RFC 9421 section 2.1): every line trimmed and unfolded, joined by
/// `", "`. `None` if there is no line.
pub fn field_value<'a>(lines: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let mut value: Option<String> = None;
    for line in lines {
        let out = match &mut value {
            Some(out) => {
                out.push_str(", ");
                out
            }
            None => value.insert(String::with_capacity(line.len())),
        };
        unfold(line.trim_matches([' ', '\t', '\r', '\n']), out);
    }
    value
}

/// Replaces obsolete line folding, a line break with the white space around it, by one space.
fn unfold(line: &str, out: &mut String) {
    let mut parts = line.split('\n').map(|part| part.trim_end_matches('\r'));
    out.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let kept = out.trim_end_matches([' ', '\t']).len();
        out.truncate(kept);
        out.push(' ');
        out.push_str(part.trim_start_matches([' ', '\t']));
    }
}

/// The base while it is being written.
struct Lines(String);

impl Lines {
    fn with_capacity(components: usize) -> Lines {
        Lines(String::with_capacity(components + 256))
    }

    fn push(&mut self, component: &Component<'_>) -> Result<(), HttpSigError> {
        if !is_component_name(component.name) {
            return Err(HttpSigError::Name);
        }
        // A line break here would let a value pose as the next component.
        if !is_coverable(component.value) {
            return Err(HttpSigError::Value(component.name.to_owned()));
        }
        push_identifier(&mut self.0, component);
        self.0.push_str(": ");
        self.0.push_str(component.value);
        self.0.push('\n');
        Ok(())
    }

    fn finish(
        self,
        write_params: impl FnOnce(&mut String) -> Result<(), SfError>,
    ) -> Result<SignatureBase, HttpSigError> {
        let mut text = self.0;
        text.push_str("\"@signature-params\": ");
        let params_at = text.len();
        write_params(&mut text)?;
        Ok(SignatureBase { text, params_at })
    }
}

fn push_identifier(out: &mut String, component: &Component<'_>) {
    out.push('"');
    out.push_str(component.name);
    out.push('"');
    out.push_str(if component.req { ";req" } else { "" });
    out.push_str(if component.tr { ";tr" } else { "" });
}

/// Whether a value has nothing but visible ASCII, spaces and tabs.
fn is_coverable(value: &str) -> bool {
    // All of it, whatever was found: a loop without a way out is done 32 bytes at a time.
    value.bytes().fold(true, |good, byte| good & ((byte == b'\t') | (0x20..0x7f).contains(&byte)))
}

fn is_component_name(name: &str) -> bool {
    let name = name.strip_prefix('@').unwrap_or(name);
    let tchar = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"!#$%&'*+-.^_`|~".contains(&b);
    !name.is_empty() && name != "signature-params" && name.bytes().all(tchar)
}

#[cfg(test)]
mod tests;
