//! The policy language (DESIGN section 7): which exchanges ask for which level.
//!
//! A policy's files are read once into matchers ([`Policy::parse_all`]); [`identify`] says what a request is, whatever its
//! spelling; [`Policy::decide`] takes the first rule that matches. Nothing here does I/O, and nothing here reads JSON.
//!
//! What a program sees, in order:
//!
//! 1. `let route = identify(&method, raw_path)`
//! 2. `policy.needs_body(&head)`: only then is it worth reading the body, for the model, whether a stream is asked for, and
//!    the values at [`Policy::pointers`]
//! 3. `let decision = policy.decide(&head)`

mod actions;
mod api;
mod ast;
mod canonical;
mod cases;
mod compile;
mod coverage;
mod decide;
mod error;
mod explain;
mod head;
mod matching;
mod path;
mod policy;
mod read;
mod routes;
mod yaml;

pub use actions::{Actions, Draw, FailurePolicy, Honours, OnMiss, Refusal, Sample};
pub use api::{Api, UnknownApi};
pub use cases::{CaseResult, Cases};
pub use coverage::{Covered, ServerRoute, openapi_routes};
pub use decide::{DEFAULT_RULE, Decision, LEVEL_HEADER};
pub use error::{Place, PolicyError, Warning};
pub use explain::{Check, Entry, Explanation, Step};
pub use head::{Body, Content, Head, Value};
pub use matching::Fit;
pub use matching::body::Pointer;
pub use policy::Upstream;
pub use policy::{MAX_POLICY_BYTES, MAX_POLICY_FILES, Policy};
pub use routes::{KnownRoute, Route, identify, known_routes};

/// The JSON Schema of policy files, for editors.
pub const SCHEMA: &str = include_str!("../policy.schema.json");

#[cfg(test)]
mod tests;
