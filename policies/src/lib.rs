//! The policy language (DESIGN section 7): which exchanges ask for which level.
//!
//! A policy file is read once into matchers ([`Policy::parse`]); [`identify`] says what a request is, whatever its
//! spelling; [`Policy::decide`] takes the first rule that matches. Nothing here does I/O.
//!
//! What a program sees, in order:
//!
//! 1. `let route = identify(&method, raw_path)`
//! 2. `policy.needs_model(&head)`: only then is it worth reading a bounded prefix of the body for the model's name
//! 3. `let decision = policy.decide(&head)`

mod api;
mod canonical;
mod decide;
mod error;
mod matching;
mod path;
mod policy;
mod read;
mod routes;
mod yaml;

pub use api::{Api, UnknownApi};
pub use decide::{DEFAULT_RULE, Decision, Head, LEVEL_HEADER};
pub use error::PolicyError;
pub use policy::{FailurePolicy, MAX_POLICY_BYTES, Policy};
pub use routes::{Route, identify};

#[cfg(test)]
mod tests;
