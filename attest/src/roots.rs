//! The vendors' root certificates, and those of simulations.
//!
//! Public certificates, as their vendors hand them out; the SHA-256 of each stands here so that a reader can compare it
//! with the vendor's own page without trusting this repository's files (a test does the same).

/// A root that chains may end in.
#[derive(Clone)]
pub(crate) struct Pinned {
    pub(crate) der: Vec<u8>,
    pub(crate) simulated: bool,
}

/// How the names of all certificates of simulations begin.
pub(crate) const SIMULATED: &str = "Colophon simulated";

/// Intel SGX Root CA, also of TDX.
/// 44a0196b2b99f889b8e149e95b807a350e7424964399e885a7cbb8ccfab674d3
pub(crate) const INTEL: &[u8] = include_bytes!("roots/intel-sgx-root.der");
/// ARK-Milan. 69d063b45344d26a2e94e1f4210de49ef555308287d4c174445c95639a540bcd
const ARK_MILAN: &[u8] = include_bytes!("roots/amd-ark-milan.der");
/// ARK-Genoa. 4c6598d19c18719c5dfd4a7d335f674e5bfe1d8f800cea2cf270c10d103db2f1
const ARK_GENOA: &[u8] = include_bytes!("roots/amd-ark-genoa.der");
/// ARK-Turin. 1f084161a44bb6d93778a904877d4819cafa5d05ef4193b2ded9dd9c73dd3f6a
const ARK_TURIN: &[u8] = include_bytes!("roots/amd-ark-turin.der");
/// SEV-Milan. 67d303bd3905fd38db8b20e0793699870e7fa612eaad5dec358293fd8c0bac1b
const ASK_MILAN: &[u8] = include_bytes!("roots/amd-ask-milan.der");
/// SEV-Genoa. 5464738c1546aed5f2cecf1dc98c5c960a92e8913238a61711bc90ec6e828521
const ASK_GENOA: &[u8] = include_bytes!("roots/amd-ask-genoa.der");
/// SEV-Turin. 5b77ef5fe7a7a004fd9032668fba9d0fda22f88c4442069a479636a6ae3b3185
const ASK_TURIN: &[u8] = include_bytes!("roots/amd-ask-turin.der");
/// SEV-VLEK-Milan. c5e081f59b7efab1fe2f8b505e159704e72f29cab7ef7cf628a05a42439082f5
const ASVK_MILAN: &[u8] = include_bytes!("roots/amd-asvk-milan.der");
/// SEV-VLEK-Genoa. 197e610743a917d6b9bb982a5a9226ccc0a15b611be0619e626aca9151457372
const ASVK_GENOA: &[u8] = include_bytes!("roots/amd-asvk-genoa.der");
/// SEV-VLEK-Turin. 104e10a8bd060a3c20a434261a57d0588fd65a88915b4f65b08bdecaf8df1a3c
const ASVK_TURIN: &[u8] = include_bytes!("roots/amd-asvk-turin.der");
/// NVIDIA Device Identity CA. See the test for its digest.
const NVIDIA: &[u8] = include_bytes!("roots/nvidia-device-root.der");
/// AWS Nitro Enclaves Root-G1. 641a0321a3e244efe456463195d606317ed7cdcc3c1756e09893f3c68f79bb5b
const NITRO: &[u8] = include_bytes!("roots/aws-nitro-root-g1.der");

/// AMD's intermediate authorities, so that a VCEK or VLEK alone is enough.
pub(crate) const AMD_BETWEEN: [&[u8]; 6] =
    [ASK_MILAN, ASK_GENOA, ASK_TURIN, ASVK_MILAN, ASVK_GENOA, ASVK_TURIN];

/// The roots of one simulation: what [`crate::simulate`] makes from a seed. Evidence under them is marked as simulated
/// and counts for `sign` at most.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SimulatedRoots {
    pub(crate) intel: Vec<u8>,
    pub(crate) amd: Vec<u8>,
    pub(crate) amd_turin: Vec<u8>,
    pub(crate) nvidia: Vec<u8>,
    pub(crate) nitro: Vec<u8>,
}

fn with(pinned: &[&[u8]], simulated: Option<&Vec<u8>>) -> Vec<Pinned> {
    let real = pinned.iter().map(|der| Pinned { der: der.to_vec(), simulated: false });
    real.chain(simulated.map(|der| Pinned { der: der.clone(), simulated: true })).collect()
}

pub(crate) fn amd(simulated: Option<&SimulatedRoots>) -> Vec<Pinned> {
    let mut roots = with(&[ARK_MILAN, ARK_GENOA, ARK_TURIN], simulated.map(|roots| &roots.amd));
    roots.extend(with(&[], simulated.map(|roots| &roots.amd_turin)));
    roots
}

pub(crate) fn nvidia(simulated: Option<&SimulatedRoots>) -> Vec<Pinned> {
    with(&[NVIDIA], simulated.map(|roots| &roots.nvidia))
}

pub(crate) fn nitro(simulated: Option<&SimulatedRoots>) -> Vec<Pinned> {
    with(&[NITRO], simulated.map(|roots| &roots.nitro))
}

#[cfg(test)]
mod tests;
