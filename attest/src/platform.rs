//! What evidence comes from, and what it can and cannot show.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A kind of evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Platform {
    /// An Intel TDX quote, version 4 or 5.
    Tdx,
    /// An Intel SGX quote, version 3.
    Sgx,
    /// An AMD SEV-SNP attestation report.
    SevSnp,
    /// An NVIDIA GPU's measurement report.
    NvidiaGpu,
    /// An NVIDIA NVSwitch's measurement report.
    NvidiaSwitch,
    /// An AWS Nitro Enclaves attestation document.
    Nitro,
    /// A TPM 2.0 quote.
    Tpm,
    /// A quote by the vTPM of an Azure confidential VM, its key bound by a hardware report.
    AzureVtpm,
    /// A token by another verifier.
    Token,
}

/// What every kind of evidence leaves open.
const NEVER: [&str; 3] = [
    "that the machine was not attacked physically: probes on the memory bus (TEE.fail, Battering RAM, WireTap) are outside of what TEEs promise",
    "that the measured software is free of mistakes, or does what its name says",
    "anything after the moment it was made",
];

impl Platform {
    /// All of them, in the order of the documentation.
    pub const ALL: [Platform; 9] = [
        Platform::Tdx,
        Platform::Sgx,
        Platform::SevSnp,
        Platform::NvidiaGpu,
        Platform::NvidiaSwitch,
        Platform::Nitro,
        Platform::Tpm,
        Platform::AzureVtpm,
        Platform::Token,
    ];

    /// The word in files and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Platform::Tdx => "tdx",
            Platform::Sgx => "sgx",
            Platform::SevSnp => "sev-snp",
            Platform::NvidiaGpu => "nvidia-gpu",
            Platform::NvidiaSwitch => "nvidia-switch",
            Platform::Nitro => "nitro",
            Platform::Tpm => "tpm",
            Platform::AzureVtpm => "azure-vtpm",
            Platform::Token => "token",
        }
    }

    /// What verified evidence of this kind shows, once it fits the reference values.
    pub fn proves(self) -> &'static [&'static str] {
        match self {
            Platform::Tdx => &[
                "a genuine Intel CPU with this TCB ran a trust domain with these measurements (MRTD, RTMRs)",
                "software in that trust domain asked for this report data",
            ],
            Platform::Sgx => &[
                "a genuine Intel CPU with this TCB ran an enclave with this MRENCLAVE and MRSIGNER",
                "the enclave asked for this report data",
            ],
            Platform::SevSnp => &[
                "a genuine AMD CPU with this TCB ran a guest with this launch measurement",
                "software in that guest asked for this report data",
            ],
            Platform::NvidiaGpu => &[
                "a genuine NVIDIA GPU with this firmware answered this nonce",
                "its firmware measured itself to these values",
            ],
            Platform::NvidiaSwitch => &["a genuine NVIDIA NVSwitch with this firmware answered this nonce"],
            Platform::Nitro => &[
                "AWS's Nitro hypervisor ran an enclave with these PCRs",
                "the enclave asked for this user data and nonce",
            ],
            Platform::Tpm => &["the holder of this attestation key signed these PCR values for this nonce"],
            Platform::AzureVtpm => &[
                "a confidential VM's hardware report names this vTPM's attestation key",
                "that vTPM signed these PCR values for this nonce",
            ],
            Platform::Token => &["the named verifier says that it checked evidence, with these results"],
        }
    }

    /// What it does not show, beyond what no evidence shows.
    fn leaves_open(self) -> &'static [&'static str] {
        match self {
            Platform::Tdx | Platform::Sgx => &[
                "which GPU the workload used, or whether it used one",
                "which model weights were loaded, unless they are measured into an RTMR that a reference value names",
                "the TCB's standing after the collateral's date: a later advisory is not seen",
            ],
            Platform::SevSnp => &[
                "which GPU the workload used, or whether it used one",
                "which model weights were loaded: the launch measurement ends with the firmware, kernel and what they verify",
                "that the TCB has no known weakness: AMD publishes no list inside the evidence, the floor is the policy's",
                "that the VCEK was not revoked, unless a revocation list was given",
            ],
            Platform::NvidiaGpu | Platform::NvidiaSwitch => &[
                "which virtual machine the device belonged to: the report names none. Only a nonce that is bound into that \
                 machine's own quote ties them",
                "which weights or kernels ran on it",
                "that the device was not revoked after its certificates were made: OCSP is not asked",
                "that the measurements are NVIDIA's golden ones, unless reference values name them",
            ],
            Platform::Nitro => &[
                "anything against AWS itself, who runs the hypervisor and the PKI",
                "which weights were loaded, unless they are in the enclave image",
            ],
            Platform::Tpm => &[
                "that the key lives in hardware: nothing here leads from it to a manufacturer",
                "that memory is protected from the host",
            ],
            Platform::AzureVtpm => &[
                "anything against Microsoft, whose paravisor runs the vTPM and writes the runtime data",
                "which GPU the workload used, or whether it used one",
            ],
            Platform::Token => &["that the verifier was right, or honest: its evidence is not here"],
        }
    }

    /// What verified evidence of this kind does not show.
    pub fn does_not_prove(self) -> Vec<&'static str> {
        self.leaves_open().iter().chain(&NEVER).copied().collect()
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
