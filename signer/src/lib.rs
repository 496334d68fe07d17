//! Keys and signatures, one module a specification.
//!
//! * [`keys`]: Ed25519 (RFC 8032) behind one trait, keys at rest as PKCS#8 (RFC 8410, RFC 5958).
//! * [`source`]: where a private key is found: a file, the environment, a PKCS#11 token.
//! * [`note`]: C2SP signed notes and Ed25519 cosignatures, for checkpoints.
//! * [`policy`]: C2SP tlog-policy files: which witnesses are enough.
//! * [`cose`]: COSE_Sign1 (RFC 9052), for log leaves.
//! * [`dsse`]: envelopes of in-toto statements.
//! * [`ec`]: ECDSA keys, for model certificates.
//! * [`model`]: model certificates (OpenSSF Model Signing) and who issues them.
//! * [`httpsig`]: HTTP Message Signatures (RFC 9421), for answers on the wire.
//! * [`rfc3161`]: timestamps by others (RFC 3161), for checkpoints.
//! * [`x509`]: the same reader of certificates for chains that are no TSA's.
//! * [`sf`]: the part of Structured Fields (RFC 9651) that those and Colophon's own headers need.
//!
//! With the feature `fast` (the default) aws-lc-rs signs and verifies, without it ed25519-dalek does. Both accept exactly
//! the same signatures.

pub mod cose;
pub mod drand;
pub mod dsse;
pub mod ec;
pub mod httpsig;
pub mod keys;
pub mod model;
pub mod note;
pub mod policy;
pub mod rfc3161;
pub mod sf;
pub mod source;
pub mod x509;

pub use keys::{Ed25519Key, KeyError, PublicKey, SIGNATURE_LEN, SignError, SignatureError, Signer};
pub use source::{KeySource, SourceError};
