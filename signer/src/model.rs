//! Model certificates: who says that these files are that model, from when to when.
//!
//! A certificate *is* a signature of OpenSSF Model Signing (PyPI `model-signing`, predicate
//! `https://model_signing/signature/v1.0`, manifest by files, SHA-256, an elliptic curve key), with name, version, issuer
//! and validity in a member of the predicate that other readers pass over. Formats: `docs/MODEL-CA.md`.
//!
//! All of this is pure: no file is read here.

pub mod authority;
pub mod certificate;
mod circuit;
pub mod manifest;

pub use authority::{Authority, AuthorityError, AuthorityFile, ModelRevocation, Standing};
pub use certificate::{CertificateError, ModelCertificate, Terms};
pub use circuit::Circuit;
pub use manifest::{Difference, Manifest, ManifestError};
