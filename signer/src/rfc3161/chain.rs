//! X.509 paths (RFC 5280) from a TSA's certificate to a root that the reader chose, at a moment in the past.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::TokenError;
use super::algorithm::Scheme;
use super::certificate::{Certificate, Crl};

/// Certificates in a file of roots.
const MAX_ROOTS: usize = 100;
/// CRLs in a file of roots.
const MAX_CRLS: usize = 100;
/// Certificates between a TSA's and the root.
const MAX_BETWEEN: usize = 6;
/// Signatures looked at before a path is given up: a token can hold certificates that all seem to issue each other.
const MAX_SIGNATURES: usize = 32;

/// The certificates of TSAs' roots that the reader trusts, and CRLs that came with them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roots {
    certificates: Vec<Vec<u8>>,
    crls: Vec<Vec<u8>>,
}

/// Why a file is none of roots.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RootsError {
    /// A certificate cannot be read.
    #[error("certificate {number}: {error}")]
    Certificate {
        /// Which one, from 1.
        number: usize,
        /// Why.
        error: TokenError,
    },
    /// A CRL cannot be read.
    #[error("CRL {number}: {error}")]
    Crl {
        /// Which one, from 1.
        number: usize,
        /// Why.
        error: TokenError,
    },
    /// The file is not PEM.
    #[error("not PEM: {0}")]
    Pem(&'static str),
    /// More than anyone needs.
    #[error("more than {MAX_ROOTS} certificates or {MAX_CRLS} CRLs")]
    TooMany,
    /// Nothing in it.
    #[error("it holds no certificate (-----BEGIN CERTIFICATE-----)")]
    Empty,
}

/// Why no path counts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// Nothing leads from the TSA to a root that was given.
    #[error("its TSA leads to none of the given roots")]
    Unknown,
    /// A path to a given root is there and may not be used.
    #[error("{0}")]
    Bad(String),
}

/// A path that counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// The TSA as its certificate names it: common name, else organisation, else empty. As typed there, unescaped.
    pub tsa: String,
    /// Which of the given roots it leads to.
    pub root: usize,
    /// For each certificate from the TSA's on, whether a CRL of its issuer was at hand that covers the token's time.
    pub crl_checked: Vec<bool>,
}

impl Roots {
    /// Reads the certificates and CRLs of a PEM file; other blocks and text between them are passed over.
    ///
    /// # Errors
    /// [`RootsError`] names what cannot be read; a file without certificates is an error too.
    pub fn from_pem(pem: &str) -> Result<Roots, RootsError> {
        let mut roots = Roots::default();
        for (label, contents) in pem_blocks(pem).map_err(RootsError::Pem)? {
            match label {
                "CERTIFICATE" => roots.add_der(contents)?,
                "X509 CRL" => roots.add_crl(contents)?,
                _ => {}
            }
        }
        if roots.is_empty() { Err(RootsError::Empty) } else { Ok(roots) }
    }

    /// Adds a root as DER.
    ///
    /// # Errors
    /// When it is no certificate, or one too many.
    pub fn add_der(&mut self, certificate: Vec<u8>) -> Result<(), RootsError> {
        if self.certificates.len() == MAX_ROOTS {
            return Err(RootsError::TooMany);
        }
        let number = self.certificates.len() + 1;
        Certificate::parse(&certificate).map_err(|error| RootsError::Certificate { number, error })?;
        if !self.certificates.contains(&certificate) {
            self.certificates.push(certificate);
        }
        Ok(())
    }

    /// Adds a CRL as DER. It counts where its issuer signed it.
    ///
    /// # Errors
    /// When it is none, or one too many.
    pub fn add_crl(&mut self, crl: Vec<u8>) -> Result<(), RootsError> {
        if self.crls.len() == MAX_CRLS {
            return Err(RootsError::TooMany);
        }
        let number = self.crls.len() + 1;
        Crl::parse(&crl).map_err(|error| RootsError::Crl { number, error })?;
        self.crls.push(crl);
        Ok(())
    }

    /// Adds all of another file's.
    ///
    /// # Errors
    /// [`RootsError::TooMany`].
    pub fn extend(&mut self, other: Roots) -> Result<(), RootsError> {
        other.certificates.into_iter().try_for_each(|certificate| self.add_der(certificate))?;
        other.crls.into_iter().try_for_each(|crl| self.add_crl(crl))
    }

    /// The roots, DER each.
    pub fn certificates(&self) -> &[Vec<u8>] {
        &self.certificates
    }

    /// Whether there is no root.
    pub fn is_empty(&self) -> bool {
        self.certificates.is_empty()
    }

    /// Finds a path at `time`, µs since the epoch.
    pub(super) fn chain(
        &self,
        signer: &[u8],
        others: &[Vec<u8>],
        crls: &[Vec<u8>],
        time: u64,
    ) -> Result<Chain, ChainError> {
        let roots = parsed(&self.certificates);
        let others = parsed(others);
        let crls: Vec<Crl<'_>> =
            self.crls.iter().chain(crls).filter_map(|raw| Crl::parse(raw).ok()).collect();
        let signer = Certificate::parse(signer).map_err(|error| ChainError::Bad(error.to_string()))?;
        let mut search =
            Search { roots: &roots, others: &others, crls: &crls, time, signatures: 0, bad: None };
        let mut path = vec![signer.clone()];
        match search.extend(&mut path) {
            Some((root, crl_checked)) => Ok(Chain { tsa: signer.name(), root, crl_checked }),
            None => Err(search.bad.map_or(ChainError::Unknown, ChainError::Bad)),
        }
    }
}

/// Label and contents of the blocks of a PEM file; text between them is passed over.
pub(crate) fn pem_blocks(pem: &str) -> Result<Vec<(&str, Vec<u8>)>, &'static str> {
    let mut blocks = Vec::new();
    for block in pem.split("-----BEGIN ").skip(1) {
        let (label, rest) = block.split_once("-----").ok_or("a BEGIN line without end")?;
        let end = format!("-----END {label}-----");
        let (body, _) = rest.split_once(&end).ok_or("a block without its END line")?;
        let body: String = body.split_ascii_whitespace().collect();
        blocks.push((label, STANDARD.decode(&body).map_err(|_| "a block that is not base64")?));
    }
    Ok(blocks)
}

/// Those that can be read; the others issue nothing.
fn parsed(certificates: &[Vec<u8>]) -> Vec<Certificate<'_>> {
    certificates.iter().filter_map(|raw| Certificate::parse(raw).ok()).collect()
}

/// A search for a path, deepest first.
struct Search<'a> {
    roots: &'a [Certificate<'a>],
    others: &'a [Certificate<'a>],
    crls: &'a [Crl<'a>],
    time: u64,
    signatures: usize,
    /// Why a path that leads to a root may not be used: the first such reason.
    bad: Option<String>,
}

impl<'a> Search<'a> {
    /// Goes on from the last certificate of `path`. The root's number, and which certificates a CRL was there for.
    fn extend(&mut self, path: &mut Vec<Certificate<'a>>) -> Option<(usize, Vec<bool>)> {
        let last = path.last()?.clone();
        // A TSA's own certificate may be given as the root.
        if let Some(root) = self.roots.iter().position(|root| root.raw == last.raw) {
            return self.judge(path, None).map(|crls| (root, crls));
        }
        for (number, root) in self.roots.iter().enumerate() {
            if self.issued(&last, root)
                && let Some(crls) = self.judge(path, Some(root))
            {
                return Some((number, crls));
            }
        }
        if path.len() > MAX_BETWEEN {
            return None;
        }
        for issuer in self.others {
            if path.iter().any(|known| known.raw == issuer.raw) || !self.issued(&last, issuer) {
                continue;
            }
            path.push(issuer.clone());
            let found = self.extend(path);
            path.pop();
            if found.is_some() {
                return found;
            }
        }
        None
    }

    /// Whether `issuer`'s key signed `certificate`, as their names say.
    fn issued(&mut self, certificate: &Certificate<'_>, issuer: &Certificate<'_>) -> bool {
        if certificate.issuer != issuer.subject || self.signatures == MAX_SIGNATURES {
            return false;
        }
        self.signatures += 1;
        certificate.is_signed_by(issuer)
    }

    /// Whether a path whose signatures are good may be used, and which certificates of it a CRL was there for.
    fn judge(&mut self, path: &[Certificate<'a>], root: Option<&Certificate<'a>>) -> Option<Vec<bool>> {
        let whole: Vec<&Certificate<'a>> = path.iter().chain(root).collect();
        match judge(&whole, self.crls, self.time) {
            Ok(crls) => Some(crls),
            Err(why) => {
                self.bad.get_or_insert(why);
                None
            }
        }
    }
}

/// RFC 5280 section 6.1 for a path from the TSA's certificate to a root, its signatures already verified.
fn judge(path: &[&Certificate<'_>], crls: &[Crl<'_>], time: u64) -> Result<Vec<bool>, String> {
    let mut checked = Vec::new();
    for (depth, certificate) in path.iter().enumerate() {
        let name = || format!("the certificate of {:?} in its chain", certificate.name());
        let wrong = |error: TokenError| format!("{}: {error}", name());
        let seconds = time / 1_000_000;
        if seconds < certificate.not_before {
            return Err(format!("{} was not yet valid at the timestamp's time", name()));
        }
        if seconds > certificate.not_after {
            return Err(format!("{} had expired at the timestamp's time", name()));
        }
        certificate.check_critical().map_err(wrong)?;
        if depth > 0 {
            certificate.check_authority(depth - 1).map_err(wrong)?;
        }
        let Some(issuer) = path.get(depth + 1) else { break };
        let mut covered = false;
        for crl in crls.iter().filter(|crl| crl.is_by(issuer)) {
            covered |= crl.covers(time);
            if crl.revokes(certificate, time).map_err(wrong)? {
                return Err(format!("{} is revoked", name()));
            }
        }
        checked.push(covered);
    }
    Ok(checked)
}

/// A signature of X.509: `SEQUENCE { signed, algorithm, BIT STRING }`, taken apart.
pub(super) fn verify_signed(
    signed: &[u8],
    algorithm: super::der::Value<'_>,
    signature: &[u8],
    issuer: &Certificate<'_>,
) -> bool {
    let scheme = Scheme::parse(algorithm, None);
    scheme.is_ok_and(|scheme| scheme.verify(issuer.spki, signed, signature).is_ok())
}
