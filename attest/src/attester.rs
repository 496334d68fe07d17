//! Whom a running program asks for evidence of itself.

use crate::aci::Statement;
use crate::document::{Document, Keyset};
use crate::evidence::Bundle;
use crate::generate::GenerateError;
#[cfg(feature = "generate")]
use crate::generate::{configfs, tpm};
#[cfg(any(test, feature = "simulate"))]
use crate::simulate::{DEFAULT_SEED, Faults, Simulation};
use crate::{Collateral, Evidence, Platform, SimulatedRoots};
use std::str::FromStr;

/// Makes evidence about statements.
pub enum Attester {
    /// This machine, which has to be of this platform: `tdx`, `snp`, `nitro` or `azure-vtpm`.
    Machine(Platform),
    /// A simulation: `simulated` or `simulated:SEED`. For tests; counts for `sign` at most.
    #[cfg(any(test, feature = "simulate"))]
    Simulated(Simulation),
}

impl FromStr for Attester {
    type Err = String;

    fn from_str(text: &str) -> Result<Attester, String> {
        match text {
            "tdx" => return Ok(Attester::Machine(Platform::Tdx)),
            "snp" | "sev-snp" => return Ok(Attester::Machine(Platform::SevSnp)),
            "nitro" => return Ok(Attester::Machine(Platform::Nitro)),
            "azure-vtpm" => return Ok(Attester::Machine(Platform::AzureVtpm)),
            _ => {}
        }
        #[cfg(any(test, feature = "simulate"))]
        match text.strip_prefix("simulated") {
            Some("") => return Ok(Attester::Simulated(Simulation::new(DEFAULT_SEED))),
            Some(seed) if seed.len() > 1 && seed.starts_with(':') => {
                return Ok(Attester::Simulated(Simulation::new(&seed[1..])));
            }
            _ => {}
        }
        Err(format!(
            "`{text}` can attest nothing here; give tdx, snp, nitro, azure-vtpm, or simulated:SEED for tests"
        ))
    }
}

impl Attester {
    /// Whether what it makes is simulated.
    pub fn is_simulated(&self) -> bool {
        !matches!(self, Attester::Machine(_))
    }

    /// The roots that its evidence leads to, where it is simulated.
    pub fn simulated_roots(&self) -> Option<SimulatedRoots> {
        match self {
            Attester::Machine(_) => None,
            #[cfg(any(test, feature = "simulate"))]
            Attester::Simulated(simulation) => Some(simulation.roots()),
        }
    }

    /// Evidence that these keys live here, for this nonce, made at `at` (seconds since the epoch). Blocks, for up to a
    /// second. `token` is the RFC 3161 token that the nonce is of, `collateral` what goes along.
    ///
    /// # Errors
    /// The machine gave none, or the nonce is malformed.
    pub fn document(
        &self,
        keyset: &Keyset,
        nonce: Option<String>,
        token: Option<Vec<u8>>,
        collateral: &Collateral,
        at: u64,
    ) -> Result<Document, GenerateError> {
        let statement = Statement { keyset_digest: keyset.digest(), nonce };
        let malformed = |error: crate::aci::StatementError| GenerateError::Refused {
            what: "the statement".into(),
            error: error.to_string(),
        };
        let report_data = statement.report_data().map_err(malformed)?;
        let gpu_nonce = statement.nonce.as_deref().and_then(|nonce| hex::decode(nonce).ok()?.try_into().ok());
        let (evidence, more) = self.evidence(report_data, gpu_nonce, at)?;
        let mut collateral = collateral.clone();
        collateral.extend(more);
        let mut bundle = Bundle::new(evidence, collateral);
        bundle.statement = Some(statement.to_json().map_err(malformed)?);
        Ok(Document::new(keyset, bundle, token))
    }

    /// The machine's own piece first. GPUs answer nonces of 32 bytes.
    fn evidence(
        &self,
        report_data: [u8; 64],
        gpu_nonce: Option<[u8; 32]>,
        at: u64,
    ) -> Result<(Vec<Evidence>, Collateral), GenerateError> {
        match self {
            Attester::Machine(platform) => {
                Ok((machine(*platform, report_data, gpu_nonce)?, Collateral::default()))
            }
            #[cfg(any(test, feature = "simulate"))]
            Attester::Simulated(simulation) => {
                let (quote, collateral) = simulation.tdx(report_data, at, Faults::default());
                let gpu = gpu_nonce.map(|nonce| simulation.hopper(nonce, Faults::default()));
                Ok((std::iter::once(quote).chain(gpu).collect(), collateral))
            }
        }
    }
}

#[cfg(feature = "generate")]
fn machine(
    platform: Platform,
    report_data: [u8; 64],
    gpu_nonce: Option<[u8; 32]>,
) -> Result<Vec<Evidence>, GenerateError> {
    let evidence = match platform {
        Platform::Nitro => nitro(report_data)?,
        Platform::AzureVtpm => tpm::azure::generate(&report_data)?,
        _ => configfs::generate(&report_data)?,
    };
    if evidence.platform() != platform {
        let why = format!("this machine is {}, not {platform}", evidence.platform());
        return Err(GenerateError::Unavailable(why));
    }
    let mut pieces = vec![evidence];
    pieces.extend(gpus(gpu_nonce));
    Ok(pieces)
}

/// The nonce is in the statement already.
#[cfg(feature = "nsm")]
fn nitro(report_data: [u8; 64]) -> Result<Evidence, GenerateError> {
    crate::generate::nsm::generate(&report_data, &[])
}

#[cfg(all(feature = "generate", not(feature = "nsm")))]
fn nitro(_: [u8; 64]) -> Result<Evidence, GenerateError> {
    Err(GenerateError::Unavailable("this program was built without AWS's library".into()))
}

#[cfg(not(feature = "generate"))]
fn machine(platform: Platform, _: [u8; 64], _: Option<[u8; 32]>) -> Result<Vec<Evidence>, GenerateError> {
    Err(GenerateError::Unavailable(format!("this program was built without asking {platform}")))
}

/// Of every GPU that gives a report; whether one has to be there is for the reader to say.
#[cfg(feature = "nvml")]
fn gpus(nonce: Option<[u8; 32]>) -> Vec<Evidence> {
    let asked = nonce.and_then(|nonce| crate::generate::nvml::generate(nonce).ok());
    asked.into_iter().flatten().filter_map(|gpu| gpu.evidence.ok()).collect()
}

#[cfg(all(feature = "generate", not(feature = "nvml")))]
fn gpus(_: Option<[u8; 32]>) -> Vec<Evidence> {
    Vec::new()
}
