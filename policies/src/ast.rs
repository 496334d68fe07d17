//! A policy as typed: every value with its place, words understood, nothing looked up yet.

use crate::actions::{Draw, FailurePolicy, OnMiss};
use crate::api::Api;
use crate::error::At;
use colophon_receipt::Level;
use std::time::Duration;

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Placed<T> {
    pub(crate) at: At,
    pub(crate) value: T,
}

/// One policy file.
#[derive(Debug)]
pub(crate) struct Document {
    pub(crate) name: Placed<String>,
    pub(crate) spec: Spec,
}

#[derive(Debug, Default)]
pub(crate) struct Spec {
    pub(crate) defaults: Option<Placed<Defaults>>,
    pub(crate) ceiling: Option<Placed<Level>>,
    pub(crate) upstreams: Vec<Upstream>,
    pub(crate) provers: Vec<Prover>,
    pub(crate) rules: Vec<Rule>,
}

#[derive(Debug, Default)]
pub(crate) struct Defaults {
    pub(crate) level: Option<Level>,
    pub(crate) failure_policy: Option<FailurePolicy>,
}

/// An attested server that rules may send requests to.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) name: Placed<String>,
    pub(crate) url: String,
    /// What its evidence has to say: the `spec` of an attestation policy, keys in order.
    pub(crate) attestation: Option<Placed<serde_json::Value>>,
}

/// A prover that rules may name.
#[derive(Debug)]
pub(crate) struct Prover {
    pub(crate) name: Placed<String>,
    pub(crate) backend: Backend,
}

/// How a prover is reached (DESIGN section 9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backend {
    Exec,
    Http,
    Native,
}

#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) name: Placed<String>,
    pub(crate) matches: Vec<Match>,
    pub(crate) level: Option<Placed<Level>>,
    pub(crate) failure_policy: Option<FailurePolicy>,
    pub(crate) sample: Option<Placed<Sample>>,
    pub(crate) deadline: Option<Placed<Duration>>,
    pub(crate) on_miss: Option<Placed<OnMiss>>,
    pub(crate) prover: Option<Placed<String>>,
    /// The attested servers that answer, the first that can.
    pub(crate) upstreams: Vec<Placed<String>>,
    /// The reason.
    pub(crate) deny: Option<Placed<String>>,
}

#[derive(Debug)]
pub(crate) struct Sample {
    /// In millionths of a percent, 1 to 100 million.
    pub(crate) share: u64,
    pub(crate) to: Level,
    pub(crate) draw: Draw,
}

/// One entry of `matches`.
#[derive(Debug, Default)]
pub(crate) struct Match {
    pub(crate) method: Option<Placed<String>>,
    pub(crate) path: Option<(PathKind, Placed<String>)>,
    pub(crate) headers: Vec<Named>,
    pub(crate) query: Vec<Named>,
    pub(crate) apis: Option<Vec<Api>>,
    pub(crate) models: Vec<Placed<String>>,
    pub(crate) tenants: Vec<Placed<String>>,
    pub(crate) callers: Vec<Placed<String>>,
    pub(crate) stream: Option<bool>,
    pub(crate) body: Vec<Body>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PathKind {
    Exact,
    PathPrefix,
    RegularExpression,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TextKind {
    Exact,
    RegularExpression,
}

/// A header or a parameter of the query.
#[derive(Debug)]
pub(crate) struct Named {
    pub(crate) name: Placed<String>,
    pub(crate) kind: TextKind,
    pub(crate) value: Placed<String>,
}

/// What is asked of one value in the body.
#[derive(Debug)]
pub(crate) struct Body {
    pub(crate) pointer: Placed<String>,
    pub(crate) op: Op,
}

#[derive(Debug)]
pub(crate) enum Op {
    Exists,
    Equals(Scalar),
    In(Vec<Scalar>),
    Matches(Placed<String>),
}

/// A value that a body's may be compared with.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Scalar {
    Null,
    Bool(bool),
    /// A JSON number as written.
    Number(String),
    Text(String),
}
