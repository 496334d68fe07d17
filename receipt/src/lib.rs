//! The nouns of Colophon and pure checks of them: no I/O, no async, no clock.

pub mod cbor;
pub mod level;
pub mod merkle;

pub use level::{Level, Outcome};
pub use merkle::Hash;
