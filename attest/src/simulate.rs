//! The vendors' PKIs in a box: evidence from a seed that verifies through the production code, marked as simulated.
//!
//! Whoever knows the seed can make any such evidence, and the usual seed is public. That is why it is refused unless the
//! reader allows it, and counts for `sign` at most: the mark does not lie in the evidence, where it could be taken off, but
//! in which root its chain ends in.

mod der;
mod intel;
mod vendors;

use crate::roots::{SIMULATED, SimulatedRoots};
use crate::{Collateral, Evidence};
use der::{Certificate, Identity};

/// The seed of `--allow-simulated`.
pub const DEFAULT_SEED: &str = "colophon";

/// What the simulated machine does wrong; by default nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Debugging is on.
    pub debug: bool,
    /// Migration is on.
    pub migration: bool,
    /// The TCB is older than it should be: TDX's status is `OutOfDate`, SEV-SNP's report is not of its key's TCB.
    pub outdated: bool,
    /// The report is about another device or firmware than its key.
    pub other_device: bool,
    /// An NVIDIA device's report does not name its firmware.
    pub no_fwid: bool,
}

/// All the PKIs of one seed.
pub struct Simulation {
    seed: String,
}

impl Simulation {
    /// The PKIs of this seed.
    pub fn new(seed: &str) -> Simulation {
        Simulation { seed: seed.to_owned() }
    }

    /// The roots, for [`crate::Question::simulated`].
    pub fn roots(&self) -> SimulatedRoots {
        SimulatedRoots {
            intel: self.intel_root().certificate,
            amd: self.amd_root("ARK-Milan").certificate,
            amd_turin: self.amd_root("ARK-Turin").certificate,
            nvidia: self.nvidia_root().certificate,
            nitro: self.nitro_root().certificate,
        }
    }

    /// A TDX quote (version 4) over this report data, with collateral that was issued a day before `at` (seconds) and is
    /// good for 29 more.
    pub fn tdx(&self, report_data: [u8; 64], at: u64, faults: Faults) -> (Evidence, Collateral) {
        intel::tdx(self, report_data, at, faults)
    }

    /// An SEV-SNP report of a Milan over this report data, by a VCEK that comes with it.
    pub fn snp(&self, report_data: [u8; 64], faults: Faults) -> Evidence {
        vendors::snp(self, report_data, faults)
    }

    /// The same of a Turin, whose report is of version 5, and whose TCB and chip id are laid out otherwise.
    pub fn turin(&self, report_data: [u8; 64], faults: Faults) -> Evidence {
        vendors::turin(self, report_data, faults)
    }

    /// A Hopper's report for this nonce.
    pub fn hopper(&self, nonce: [u8; 32], faults: Faults) -> Evidence {
        vendors::nvidia(self, "GH100 A01 GSP FMC LF", "2.23.133.5.4.1", nonce, faults)
    }

    /// A Blackwell's report for this nonce.
    pub fn blackwell(&self, nonce: [u8; 32], faults: Faults) -> Evidence {
        vendors::nvidia(self, "GB100 A01 GSP FMC LF", "2.23.133.5.4.1.1", nonce, faults)
    }

    /// An NVSwitch's report for this nonce.
    pub fn nvswitch(&self, nonce: [u8; 32], faults: Faults) -> Evidence {
        vendors::nvidia(self, "LS10 A01 SOE FMC LF", "2.23.133.5.4.1", nonce, faults)
    }

    /// A Nitro document made at `at` (seconds).
    pub fn nitro(&self, user_data: &[u8], nonce: &[u8], at: u64, faults: Faults) -> Evidence {
        vendors::nitro(self, user_data, nonce, at, faults)
    }

    /// The SubjectPublicKeyInfo of [`ra_tls`](Simulation::ra_tls)'s certificate.
    pub fn ra_tls_key(&self) -> Vec<u8> {
        let made = self.ra_tls("1.2.3.4", vec![0]);
        // Its key follows from seed and name, whatever it holds.
        colophon_signer::x509::Certificate::parse(&made)
            .map(|parsed| parsed.spki().to_vec())
            .unwrap_or_default()
    }

    /// A certificate with this extension.
    pub fn ra_tls(&self, oid: &str, contents: Vec<u8>) -> Vec<u8> {
        let extensions = [(oid, contents)];
        self.identity("RA-TLS", der::Curve::P256, Certificate::leaf(&extensions), None).certificate
    }

    /// A key and certificate of this name; the name is marked. Without an issuer it signs itself.
    fn identity(
        &self,
        name: &str,
        curve: der::Curve,
        template: Certificate<'_>,
        issuer: Option<&Identity>,
    ) -> Identity {
        Identity::new(&self.seed, &format!("{SIMULATED} {name}"), curve, template, issuer)
    }

    fn intel_root(&self) -> Identity {
        self.identity("Intel SGX Root CA", der::Curve::P256, Certificate::authority(), None)
    }

    fn amd_root(&self, name: &str) -> Identity {
        self.identity(name, der::Curve::P384, Certificate::authority(), None)
    }

    fn nvidia_root(&self) -> Identity {
        self.identity("NVIDIA Device Identity CA", der::Curve::P384, Certificate::authority(), None)
    }

    fn nitro_root(&self) -> Identity {
        self.identity("aws.nitro-enclaves", der::Curve::P384, Certificate::authority(), None)
    }
}

impl SimulatedRoots {
    /// Those of a seed.
    pub fn of_seed(seed: &str) -> SimulatedRoots {
        Simulation::new(seed).roots()
    }
}

#[cfg(test)]
mod tests;
