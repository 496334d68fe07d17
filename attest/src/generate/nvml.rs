//! NVIDIA GPUs through NVML, whose library is opened at run time: a confidential-computing report for a nonce, with the
//! device's chain. It takes a GPU in confidential mode (Hopper or later), inside of a confidential VM.

use super::GenerateError;
use crate::Evidence;
use colophon_signer::x509;
use nvml_wrapper::Nvml;
use nvml_wrapper::error::NvmlError;

/// GPUs of one machine.
const MAX_DEVICES: u32 = 64;

/// One GPU's answer.
pub struct Asked {
    /// Its number, from 0.
    pub index: u32,
    /// As the driver calls it.
    pub name: String,
    /// The report for the nonce, or what the driver said instead.
    pub evidence: Result<Evidence, GenerateError>,
}

/// Asks every GPU for a report that answers this nonce.
///
/// # Errors
/// When there is no driver or no GPU. A GPU that refuses is in the list, with its reason.
pub fn generate(nonce: [u8; 32]) -> Result<Vec<Asked>, GenerateError> {
    let nvml = open()?;
    let count = nvml.device_count().map_err(|error| refused("the number of GPUs", &error))?.min(MAX_DEVICES);
    if count == 0 {
        return Err(GenerateError::Unavailable("the NVIDIA driver is there, and no GPU".into()));
    }
    let ask = |index| {
        let name = nvml.device_by_index(index).and_then(|device| device.name());
        let name = name.unwrap_or_else(|error| format!("a GPU that does not tell its name ({error})"));
        Asked { index, name, evidence: device(&nvml, index, nonce) }
    };
    Ok((0..count).map(ask).collect())
}

fn device(nvml: &Nvml, index: u32, nonce: [u8; 32]) -> Result<Evidence, GenerateError> {
    let device = nvml.device_by_index(index).map_err(|error| refused("a GPU", &error))?;
    let report = device.confidential_compute_gpu_attestation_report(nonce).map_err(|error| {
        match device.is_cc_enabled() {
            // Driver 580 answers it with "an internal driver error", which helps nobody.
            Ok(false) => GenerateError::Unavailable(format!(
                "confidential computing is off (asked for its attestation report, the driver said: {error})"
            )),
            _ => refused("its attestation report", &error),
        }
    })?;
    let chain =
        device.confidential_compute_gpu_certificate().map_err(|error| refused("its certificates", &error))?;
    let pem = String::from_utf8_lossy(&chain.attestation_cert_chain).into_owned();
    let certificates = x509::certificates(&pem).map_err(|error| GenerateError::Refused {
        what: "its certificates".into(),
        error: error.to_string(),
    })?;
    Ok(Evidence::Nvidia { report: report.attestation_report, certificates })
}

/// What there is to ask, in words, without asking it.
///
/// # Errors
/// When there is no driver or GPU, or none in confidential mode.
pub fn look() -> Result<String, GenerateError> {
    let nvml = open()?;
    let count = nvml.device_count().map_err(|error| refused("the number of GPUs", &error))?;
    let driver = nvml.sys_driver_version().unwrap_or_else(|_| "of unknown version".into());
    let first = nvml.device_by_index(0).map_err(|error| refused("the first GPU", &error))?;
    let name = first.name().unwrap_or_else(|_| "a GPU".into());
    let what = format!("{count} GPU(s), the first is {name}, driver {driver}");
    match first.is_cc_enabled() {
        Ok(true) => Ok(format!("{what}; confidential computing is on")),
        Ok(false) => Err(GenerateError::Unavailable(format!("{what}; confidential computing is off"))),
        Err(error) => Err(GenerateError::Unavailable(format!(
            "{what}; asked for confidential computing it says: {error}"
        ))),
    }
}

fn open() -> Result<Nvml, GenerateError> {
    Nvml::init().map_err(|error| match error {
        NvmlError::LibloadingError(_) => {
            GenerateError::Unavailable("there is no NVIDIA driver (libnvidia-ml.so)".into())
        }
        other => GenerateError::Unavailable(format!("the NVIDIA driver does not answer: {other}")),
    })
}

fn refused(what: &str, error: &NvmlError) -> GenerateError {
    GenerateError::Refused { what: what.to_owned(), error: error.to_string() }
}
