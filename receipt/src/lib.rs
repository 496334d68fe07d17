//! The nouns of Colophon and pure checks of them: no I/O, no async, no clock.

pub mod canonical;
pub mod cbor;
pub mod checkpoint;
pub mod draw;
pub mod erasure;
pub mod evidence;
pub mod features;
pub mod fields;
pub mod level;
pub mod merkle;
pub mod policy_change;
pub mod proof;
pub mod receipt;
pub mod record;
pub mod revocation;
pub mod statement;
pub mod subtrees;
pub mod tiles;

pub use level::{Level, Outcome};
pub use merkle::Hash;
