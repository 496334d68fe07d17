//! Colophon, a transparent reverse proxy that gives every answer of an LLM server a colophon.
//!
//! The modules in the order of the traffic: `accept` → `exchange` (with `head`, `own`) → `request_body` → `forward` (with
//! `upstream`) → `facts`, `in_flight` (with `observe`, `decode`, `stamp`) → `response_body` or `upgrade`.

// They panic where standard output or error is closed or full; `outln!` and `errln!` of `cli` do not. The data path has nothing to say
// there.
#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod accept;
pub mod admin;
pub mod app;
mod attestation;
mod attested;
pub mod bypass;
pub mod callers;
pub mod cli;
pub mod config;
pub mod decode;
mod drand;
pub mod erase;
pub mod exchange;
pub mod facts;
mod files;
pub mod forward;
mod goodbye;
pub mod head;
mod health;
pub mod in_flight;
pub mod inspect;
mod jwks;
pub mod log_client;
pub mod log_role;
pub mod log_store;
pub mod metrics;
pub mod model;
pub mod observe;
pub mod own;
mod patience;
mod places;
mod pointers;
pub mod policy_files;
pub mod post;
pub mod problem;
mod profile;
pub mod proofs;
pub mod reload;
pub mod request_body;
pub mod response_body;
pub mod rolling;
mod sampling;
mod seldom;
pub mod serve;
pub mod stamp;
mod status;
mod taken;
pub mod telemetry;
pub mod tls;
pub mod upgrade;
pub mod upstream;
