//! TEE evidence (RFC 9334): verified offline over the raw bytes, generated where the machine can.
//!
//! [`verify`](verify()) takes evidence, its collateral and a question (at what time, for which nonce, against which
//! reference values) and gives one [`Report`] of claims, or a [`Refusal`]. It is pure computation: no network, no clock.
//! One module a platform:
//!
//! * [`intel`]: TDX and SGX quotes, by `dcap-qvl`.
//! * [`snp`]: AMD SEV-SNP reports, with VCEK or VLEK.
//! * [`nvidia`]: SPDM measurement reports of GPUs and NVSwitches.
//! * [`nitro`]: AWS Nitro attestation documents.
//! * [`tpm`]: TPM 2.0 quotes with event log, and Azure's vTPM.
//! * [`token`]: tokens by other verifiers (feature `tokens`).
//!
//! [`aci`] is the statement that evidence of Colophon's own is about, [`document`] what a Colophon says of itself, [`told`] what others say in their own forms, [`policy`] what a reader asks of evidence.
//!
//! **Evidence bytes are malleable**: the same quote can be written in several ways that all verify. Never use a digest of
//! them as a key for uniqueness or against replay; use what the evidence is about (nonce, report data).

pub mod aci;
#[cfg(any(test, feature = "generate", feature = "simulate"))]
pub mod attester;
mod bytes;
mod chain;
pub mod collateral;
pub mod document;
pub mod evidence;
#[cfg(any(test, feature = "generate", feature = "simulate"))]
pub mod generate;
pub mod intel;
pub mod nitro;
pub mod nvidia;
pub mod platform;
pub mod policy;
pub mod refusal;
pub mod report;
mod roots;
#[cfg(any(test, feature = "simulate"))]
pub mod simulate;
pub mod snp;
#[cfg(test)]
mod testing;
#[cfg(feature = "tokens")]
pub mod token;
pub mod told;
pub mod tpm;
mod verify;

pub use collateral::Collateral;
pub use document::{Attested, Document, Keyset};
pub use evidence::Evidence;
pub use platform::Platform;
pub use policy::Policy;
pub use refusal::Refusal;
pub use report::{Report, Source};
pub use roots::SimulatedRoots;
pub use told::{Speaks, Told};
pub use verify::{Question, Results, verify, verify_bundle};
