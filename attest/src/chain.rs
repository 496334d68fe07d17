//! Certificate paths (RFC 5280 section 6.1) to a root that is pinned, at a given time.

use crate::roots::Pinned;
use crate::{Refusal, report::Root};
use colophon_receipt::merkle::sha256;
use colophon_signer::x509::{Certificate, Crl};
use p384::ecdsa::signature::hazmat::PrehashVerifier as _;
use sha2::{Digest, Sha384};

/// Certificates between a leaf and a root.
const MAX_BETWEEN: usize = 6;

/// A verified path.
pub(crate) struct Path {
    pub(crate) root: Root,
    pub(crate) simulated: bool,
    /// The authority that issued the leaf, as it calls itself.
    pub(crate) issuer: String,
    /// The first end of a validity on it, seconds.
    pub(crate) good_until: u64,
    /// Whether each certificate but the root stood against a revocation list that covers the time.
    pub(crate) revocation_checked: bool,
}

/// Parses certificates that came with evidence.
pub(crate) fn parse_all(certificates: &[Vec<u8>]) -> Result<Vec<Certificate<'_>>, Refusal> {
    certificates
        .iter()
        .map(|der| {
            Certificate::parse(der).map_err(|error| Refusal::malformed("certificate", error.to_string()))
        })
        .collect()
}

/// Finds the path from `leaf` over `others` to one of `roots`. Roots among `others` count for nothing.
pub(crate) fn verify(
    leaf: &Certificate<'_>,
    others: &[Certificate<'_>],
    crls: &[Vec<u8>],
    roots: &[Pinned],
    at: u64,
) -> Result<Path, Refusal> {
    let roots: Vec<(&Pinned, Certificate<'_>)> = roots
        .iter()
        .filter_map(|pinned| Certificate::parse(&pinned.der).ok().map(|certificate| (pinned, certificate)))
        .collect();
    let mut path: Vec<&Certificate<'_>> = vec![leaf];
    let (pinned, root) = loop {
        let last = path[path.len() - 1];
        if let Some(found) = roots.iter().find(|(_, root)| last.is_issued_by(root)) {
            break found;
        }
        let known = |other: &Certificate<'_>| path.iter().any(|known| known.raw() == other.raw());
        let next = others.iter().find(|other| !known(other) && last.is_issued_by(other));
        match next {
            Some(next) if path.len() <= MAX_BETWEEN => path.push(next),
            _ => return Err(no_path(last)),
        }
    };
    path.push(root);
    let crls: Vec<Crl<'_>> = crls
        .iter()
        .map(|der| Crl::parse(der).map_err(|error| Refusal::malformed("revocation list", error.to_string())))
        .collect::<Result<_, _>>()?;
    let mut good_until = u64::MAX;
    let mut revocation_checked = true;
    for (depth, certificate) in path.iter().enumerate() {
        check(certificate, depth, at)?;
        good_until = good_until.min(certificate.validity().1);
        if let Some(issuer) = path.get(depth + 1) {
            revocation_checked &= check_revocation(certificate, issuer, &crls, at)?;
        }
    }
    Ok(Path {
        root: Root { name: root.name(), sha256: sha256(root.raw()) },
        simulated: pinned.simulated,
        issuer: path[1].name(),
        good_until,
        revocation_checked,
    })
}

/// One certificate of a path, `depth` steps from the leaf.
fn check(certificate: &Certificate<'_>, depth: usize, at: u64) -> Result<(), Refusal> {
    let (from, to) = certificate.validity();
    let name = certificate.name();
    if at < from {
        return Err(Refusal::Time(format!("the certificate of {name:?} was not yet valid")));
    }
    if at > to {
        return Err(Refusal::Time(format!("the certificate of {name:?} had expired")));
    }
    let wrong = |error| Refusal::Chain(format!("the certificate of {name:?}: {error}"));
    certificate.check_critical().map_err(wrong)?;
    if depth > 0 { certificate.check_issuer(depth - 1).map_err(wrong) } else { Ok(()) }
}

/// Whether a list of `issuer` that covers the time was there; an error where any list of his revokes it.
fn check_revocation(
    certificate: &Certificate<'_>,
    issuer: &Certificate<'_>,
    crls: &[Crl<'_>],
    at: u64,
) -> Result<bool, Refusal> {
    let mut covered = false;
    for crl in crls.iter().filter(|crl| crl.is_by(issuer)) {
        covered |= crl.covers(at);
        let revoked = crl.revokes(certificate).map_err(|error| Refusal::Chain(error.to_string()))?;
        if revoked {
            return Err(Refusal::Chain(format!("the certificate of {:?} is revoked", certificate.name())));
        }
    }
    Ok(covered)
}

fn no_path(last: &Certificate<'_>) -> Refusal {
    if last.name().starts_with(crate::roots::SIMULATED) {
        return Refusal::Simulated("its certificates are of a simulation");
    }
    Refusal::Chain(format!("nothing leads from the certificate of {:?} to a pinned root", last.name()))
}

/// Verifies a raw `r ‖ s` ECDSA signature on P-384 with SHA-384, both numbers big-endian.
pub(crate) fn verify_p384(
    key: &Certificate<'_>,
    message: &[u8],
    signature: &[u8],
    what: &'static str,
) -> Result<(), Refusal> {
    let bad = Refusal::Signature(what);
    let point = key.key().map_err(|error| Refusal::malformed("certificate", error.to_string()))?;
    let key = p384::ecdsa::VerifyingKey::from_sec1_bytes(point).map_err(|_| bad.clone())?;
    let signature = p384::ecdsa::Signature::from_slice(signature).map_err(|_| bad.clone())?;
    key.verify_prehash(&Sha384::digest(message), &signature).map_err(|_| bad)
}
