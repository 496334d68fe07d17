//! Asking this machine's own hardware for evidence.
//!
//! What is generated is not trusted for that: verify it as any other. These calls block, for milliseconds (SEV-SNP) up to a
//! second (a GPU, a TDX quote through a busy host); call them outside of an async runtime's threads.

#[cfg(feature = "generate")]
pub mod configfs;
#[cfg(feature = "nsm")]
pub mod nsm;
#[cfg(feature = "nvml")]
pub mod nvml;
#[cfg(feature = "generate")]
pub mod tpm;

use crate::Platform;
use serde::Serialize;

/// Why there is no evidence.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    /// This machine, or its kernel, driver or mode, has nothing to ask.
    #[error("{0}")]
    Unavailable(String),
    /// Somebody else used the interface meanwhile, more often than this was tried again.
    #[error("{0} was busy at every try; try again")]
    Busy(&'static str),
    /// It said no.
    #[error("{what}: {error}")]
    Refused {
        /// What was asked, and where.
        what: String,
        /// The answer.
        error: String,
    },
}

/// Whether this machine can be asked for one kind of evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Ability {
    /// Which kind.
    pub platform: Platform,
    /// Whether it can.
    pub able: bool,
    /// How, or why not.
    pub why: String,
}

/// What this machine can prove, and why not the rest. Tells apart by looking (and, for GPUs, by asking the driver);
/// nothing is generated.
#[cfg(feature = "generate")]
pub fn abilities() -> Vec<Ability> {
    let tsm = configfs::provider();
    let by_provider = |platform: Platform, wanted: &str| match &tsm {
        Ok(provider) if provider == wanted => {
            Ability { platform, able: true, why: format!("configfs-tsm, provider {provider}") }
        }
        Ok(provider) => {
            Ability { platform, able: false, why: format!("configfs-tsm's provider is {provider}") }
        }
        Err(error) => Ability { platform, able: false, why: error.to_string() },
    };
    let asked = |platform: Platform, looked: Result<(), GenerateError>, how: &str| match looked {
        Ok(()) => Ability { platform, able: true, why: how.to_owned() },
        Err(error) => Ability { platform, able: false, why: error.to_string() },
    };
    vec![
        by_provider(Platform::Tdx, configfs::TDX),
        by_provider(Platform::SevSnp, configfs::SEV_SNP),
        gpu(),
        nitro(),
        asked(Platform::AzureVtpm, tpm::azure::look(), "the HCL report and key of an Azure vTPM"),
        asked(Platform::Tpm, tpm::look(), &format!("{}; counts for sign at most", tpm::DEVICE)),
    ]
}

#[cfg(feature = "nsm")]
fn nitro() -> Ability {
    let platform = Platform::Nitro;
    match nsm::look() {
        Ok(()) => Ability { platform, able: true, why: nsm::DEVICE.to_owned() },
        Err(error) => Ability { platform, able: false, why: error.to_string() },
    }
}

#[cfg(all(feature = "generate", not(feature = "nsm")))]
fn nitro() -> Ability {
    let why = "this program was built without AWS's library".to_owned();
    Ability { platform: Platform::Nitro, able: false, why }
}

#[cfg(feature = "nvml")]
fn gpu() -> Ability {
    let platform = Platform::NvidiaGpu;
    match nvml::look() {
        Ok(found) => Ability { platform, able: true, why: found },
        Err(error) => Ability { platform, able: false, why: error.to_string() },
    }
}

#[cfg(all(feature = "generate", not(feature = "nvml")))]
fn gpu() -> Ability {
    let why = "this program was built without NVML".to_owned();
    Ability { platform: Platform::NvidiaGpu, able: false, why }
}

/// Opens a device of the kernel to ask it. `missing` says what is not there without it, `denied` who may.
#[cfg(any(feature = "generate", feature = "nsm"))]
fn open_device(
    device: &std::path::Path,
    missing: &str,
    denied: Option<&str>,
) -> Result<std::fs::File, GenerateError> {
    use std::io::ErrorKind;
    let opened = std::fs::File::options().read(true).write(true).open(device);
    opened.map_err(|error| {
        let shown = device.display();
        GenerateError::Unavailable(match (error.kind(), denied) {
            (ErrorKind::NotFound, _) => format!("there is no {shown}: {missing}"),
            (ErrorKind::PermissionDenied, Some(denied)) => format!("no permission for {shown}; {denied}"),
            _ => format!("{shown}: {error}"),
        })
    })
}
