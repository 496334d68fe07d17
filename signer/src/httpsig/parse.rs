//! Reading `Signature-Input` and `Signature` (RFC 9421 section 4).

use super::{Component, HttpSigError, Lines, SignatureBase, is_component_name};
use crate::sf::{BareItem, InnerList, Member, Parameters, parse_dictionary};

/// One member of `Signature-Input`: what a signature covers, and its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignatureInput {
    label: String,
    components: Vec<CoveredComponent>,
    /// The member as it stood in the field, parameters in their order.
    list: InnerList,
}

/// A component identifier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoveredComponent {
    /// The lower-case field name or derived component.
    pub name: String,
    /// Whether it comes from the request.
    pub req: bool,
    /// Whether it stands in the trailer section.
    pub tr: bool,
    /// Whether it has parameters besides `req` and `tr`; Colophon's own never have.
    pub other: bool,
}

/// Parses a `Signature-Input` field, its lines joined with commas. One bad member refuses the field.
pub fn parse_signature_input(field: &str) -> Result<Vec<SignatureInput>, HttpSigError> {
    parse_dictionary(field)?.into_iter().map(|(label, member)| SignatureInput::new(label, member)).collect()
}

/// Parses a `Signature` field, its lines joined with commas, into labels and signatures.
pub fn parse_signature(field: &str) -> Result<Vec<(String, Vec<u8>)>, HttpSigError> {
    let mut signatures = Vec::new();
    for (label, member) in parse_dictionary(field)? {
        match member {
            Member::Item(item) if item.params.is_empty() => match item.value {
                BareItem::Bytes(bytes) => signatures.push((label, bytes)),
                _ => return Err(HttpSigError::Member { label, what: "not a byte sequence" }),
            },
            _ => return Err(HttpSigError::Member { label, what: "not a byte sequence" }),
        }
    }
    Ok(signatures)
}

impl SignatureInput {
    fn new(label: String, member: Member) -> Result<SignatureInput, HttpSigError> {
        let Member::List(list) = member else {
            return Err(HttpSigError::Member { label, what: "not an inner list" });
        };
        let mut components: Vec<CoveredComponent> = Vec::with_capacity(list.items.len());
        for (i, item) in list.items.iter().enumerate() {
            let name = match &item.value {
                BareItem::String(name) if is_component_name(name) => name,
                _ => return Err(HttpSigError::Name),
            };
            if list.items[..i].contains(item) {
                return Err(HttpSigError::Repeated(name.clone()));
            }
            components.push(component(name, &item.params).ok_or(HttpSigError::Name)?);
        }
        let known = SignatureInput { label, components, list };
        known.check_params()?;
        Ok(known)
    }

    /// The types of the registered parameters (RFC 9421 section 2.3); others are carried, not judged.
    fn check_params(&self) -> Result<(), HttpSigError> {
        for (key, value) in self.list.params.iter() {
            let fits = match key {
                "created" | "expires" => value.as_integer().is_some(),
                "keyid" | "alg" | "tag" | "nonce" => value.as_string().is_some(),
                _ => true,
            };
            if !fits {
                return Err(HttpSigError::Member {
                    label: self.label.clone(),
                    what: "parameter of a wrong type",
                });
            }
        }
        Ok(())
    }

    /// The signature's label.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// What is covered, in order.
    pub fn components(&self) -> &[CoveredComponent] {
        &self.components
    }

    /// Whether the component of the head is covered, without other parameters.
    pub fn covers(&self, name: &str, req: bool) -> bool {
        self.components.iter().any(|c| c.name == name && c.req == req && !c.tr && !c.other)
    }

    /// Whether the response's trailer is covered, without other parameters.
    pub fn covers_trailer(&self, name: &str) -> bool {
        self.components.iter().any(|c| c.name == name && c.tr && !c.req && !c.other)
    }

    /// All parameters.
    pub fn params(&self) -> &Parameters {
        &self.list.params
    }

    /// When the signature was made, in seconds since the epoch.
    pub fn created(&self) -> Option<u64> {
        self.params().get("created")?.as_integer()?.try_into().ok()
    }

    /// Until when it counts, in seconds since the epoch.
    pub fn expires(&self) -> Option<u64> {
        self.params().get("expires")?.as_integer()?.try_into().ok()
    }

    /// Which key signed.
    pub fn keyid(&self) -> Option<&str> {
        self.params().get("keyid")?.as_string()
    }

    /// By which algorithm.
    pub fn alg(&self) -> Option<&str> {
        self.params().get("alg")?.as_string()
    }

    /// What the signature is for.
    pub fn tag(&self) -> Option<&str> {
        self.params().get("tag")?.as_string()
    }

    /// Rebuilds the signature base; `value` gives the value of a component in the message at hand.
    pub fn signature_base<'v>(
        &self,
        value: impl Fn(&CoveredComponent) -> Option<&'v str>,
    ) -> Result<SignatureBase, HttpSigError> {
        let mut base = Lines::with_capacity(64 * self.components.len());
        for covered in &self.components {
            let CoveredComponent { name, req, tr, other } = covered;
            if *other {
                return Err(HttpSigError::Parameters(name.clone()));
            }
            let value = value(covered).ok_or_else(|| HttpSigError::Absent(name.clone()))?;
            base.push(&Component { name, req: *req, tr: *tr, value })?;
        }
        base.finish(|out| self.list.write(out))
    }
}

/// `None` if `req` or `tr` is there with a value.
fn component(name: &str, params: &Parameters) -> Option<CoveredComponent> {
    let flag = |key| match params.get(key) {
        None => Some(false),
        Some(BareItem::Boolean(true)) => Some(true),
        Some(_) => None,
    };
    let other = params.iter().any(|(key, _)| key != "req" && key != "tr");
    Some(CoveredComponent { name: name.to_owned(), req: flag("req")?, tr: flag("tr")?, other })
}
