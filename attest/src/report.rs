//! What verified evidence says: one shape for all platforms.

use crate::Platform;
use colophon_receipt::level::Level;
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;

/// How a fact is known (DESIGN section 4). An order: later is stronger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The operator says so.
    OperatorAsserted,
    /// The provider of the machine says so, a cloud's own key for example.
    ProviderAsserted,
    /// Another verifier looked at evidence that is not here.
    VerifierDerived,
    /// A chain to the hardware vendor's root was verified here.
    HardwareProven,
}

impl Source {
    /// The word in records and reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Source::OperatorAsserted => "operator_asserted",
            Source::ProviderAsserted => "provider_asserted",
            Source::VerifierDerived => "verifier_derived",
            Source::HardwareProven => "hardware_proven",
        }
    }
}

/// What one piece of evidence says, verified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// What it comes from.
    pub platform: Platform,
    /// How it is known. Simulated evidence is never more than [`Source::OperatorAsserted`].
    pub source: Source,
    /// Made by a simulation or a software TPM. Private so that nothing outside of the verifier can clear it.
    simulated: bool,
    /// The device or key it is about, as the vendor names it.
    pub about: String,
    /// The root that its chain ends in.
    pub root: Root,
    /// The time it was judged at, seconds since the epoch.
    pub at: u64,
    /// What it can be said to be fresh by: when the evidence was made where it says so, and how long its collateral is good.
    pub age: Age,
    /// What the evidence binds: 64 bytes of report data, a Nitro user data, a TPM's qualifying data.
    #[serde(serialize_with = "hex_option")]
    pub report_data: Option<Vec<u8>>,
    /// The nonce where the platform keeps one apart from the report data.
    #[serde(serialize_with = "hex_option")]
    pub nonce: Option<Vec<u8>>,
    /// What reference values are compared with: hexadecimal digests, or printable words (a driver's version).
    pub measurements: BTreeMap<String, String>,
    /// Numbers that floors are compared with.
    pub tcb: BTreeMap<String, u64>,
    /// Everything else worth showing.
    pub claims: BTreeMap<String, String>,
    /// What a reader should know about this very piece.
    pub notes: Vec<String>,
    /// Whether reference values of a policy were compared, and fit.
    pub compared: bool,
}

/// A root key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Root {
    /// As its certificate calls it.
    pub name: String,
    /// SHA-256 of the certificate or key.
    #[serde(serialize_with = "hex_array")]
    pub sha256: [u8; 32],
}

/// How fresh.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Age {
    /// When the evidence was made, by its own signed clock, seconds since the epoch.
    pub made: Option<u64>,
    /// Issue date of the oldest dated piece of collateral that can go stale.
    pub collateral_from: Option<u64>,
    /// The first second at which a certificate or piece of collateral is no longer good, less one.
    pub good_until: Option<u64>,
}

impl Report {
    pub(crate) fn new(platform: Platform, root: Root, simulated: bool, at: u64) -> Report {
        Report {
            platform,
            source: if simulated { Source::OperatorAsserted } else { Source::HardwareProven },
            simulated,
            about: String::new(),
            root,
            at,
            age: Age::default(),
            report_data: None,
            nonce: None,
            measurements: BTreeMap::new(),
            tcb: BTreeMap::new(),
            claims: BTreeMap::new(),
            notes: Vec::new(),
            compared: false,
        }
    }

    /// Made by a simulation or a software TPM.
    pub fn is_simulated(&self) -> bool {
        self.simulated
    }

    /// The highest level a receipt can claim from this: `sign` for what is simulated or only asserted, whatever else is so.
    pub fn highest_level(&self) -> Level {
        match self.source {
            _ if self.simulated => Level::Sign,
            Source::HardwareProven | Source::VerifierDerived => Level::Tee,
            Source::ProviderAsserted | Source::OperatorAsserted => Level::Sign,
        }
    }

    pub(crate) fn claim(&mut self, name: &str, value: impl ToString) {
        self.claims.insert(name.to_owned(), value.to_string());
    }

    pub(crate) fn measure(&mut self, name: &str, digest: &[u8]) {
        self.measurements.insert(name.to_owned(), hex::encode(digest));
    }
}

#[allow(clippy::ref_option)] // serde's shape
fn hex_option<S: Serializer>(bytes: &Option<Vec<u8>>, to: S) -> Result<S::Ok, S::Error> {
    bytes.as_ref().map(hex::encode).serialize(to)
}

fn hex_array<S: Serializer>(bytes: &[u8; 32], to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&hex::encode(bytes))
}
