//! Puts Colophon beside a model server in Kubernetes: a pure function from a Pod to a JSON patch ([`inject`]), served as a
//! mutating webhook, or applied to a manifest ([`manifest`]).
//!
//! Pods are `serde_json::Value`s here, not a client library's types: what this program does not know of a Pod, fields of
//! newer API servers among it, has to come out as it went in.

mod asked;
mod engine;
mod inject;
pub mod manifest;
pub mod patch;
pub mod policies;
mod ports;
mod probes;
mod quantity;
pub mod review;
pub mod settings;
mod sidecar;
mod value;
pub mod webhook;

pub use inject::{Injection, Refusal, When, inject};
pub use settings::Settings;

/// The label by which a Pod asks: `enabled`, or `disabled`.
pub const LABEL: &str = "colophon.dev/inject";
/// The annotation that says which version of this program was here.
pub const INJECTED: &str = "colophon.dev/injected";
