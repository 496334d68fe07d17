//! Models on disk: the files of a folder, their digests, and what that makes of a certificate.

pub mod cache;
pub mod digests;
pub mod folder;
pub mod identity;
pub mod progress;
pub(crate) mod vouched;

use crate::files;
use anyhow::Context as _;
use cache::Cache;
use colophon_provers::local::now;
use colophon_signer::ec::EcPublicKey;
use colophon_signer::model::certificate::{self, ModelCertificate};
use colophon_signer::model::{Authority, Difference, Manifest, Standing, authority};
use colophon_verify::time;
use digests::Digesting;
use folder::Stamp;
use progress::Progress;
use std::path::Path;
use std::sync::atomic::AtomicBool;

/// A folder that was read.
#[derive(Debug)]
pub struct Read {
    /// Its files.
    pub manifest: Manifest,
    /// How they were found, in the order of their names: as long as this is so, they need not be read again.
    pub stamps: Vec<(String, Stamp)>,
}

/// Reads all files of a folder but those ignored. Blocks.
///
/// # Errors
/// As [`folder::list`] and [`digests::digest`].
pub fn read_folder(
    folder: &Path,
    ignored: &[String],
    symlinks: bool,
    cache: Option<&Cache>,
    stop: &AtomicBool,
) -> anyhow::Result<Read> {
    let files = folder::list(folder, ignored, symlinks)?;
    let bar = Progress::new(files.iter().map(|file| file.stamp.size).sum());
    let progress = |bytes| bar.add(bytes);
    let digests = digests::digest(&files, &Digesting { cache, progress: &progress, stop })?;
    let stamps = stamps_of(files);
    // A file that came while others were read.
    let now = stamps_of(folder::list(folder, ignored, symlinks)?);
    anyhow::ensure!(now == stamps, "{} changed while it was read", folder.display());
    let manifest = Manifest::of(digests, ignored.to_vec(), symlinks)?;
    Ok(Read { manifest, stamps })
}

/// Names and stamps, in the order of names.
pub fn stamps_of(files: Vec<folder::Found>) -> Vec<(String, Stamp)> {
    let mut stamps: Vec<_> = files.into_iter().map(|file| (file.name, file.stamp)).collect();
    stamps.sort();
    stamps
}

/// Reads a folder as a certificate describes it, and says how it differs.
///
/// # Errors
/// As [`read_folder`].
pub fn compare(
    certificate: &ModelCertificate,
    folder: &Path,
    cache: Option<&Cache>,
    stop: &AtomicBool,
) -> anyhow::Result<(Read, Vec<Difference>)> {
    let listed = &certificate.manifest;
    let read = read_folder(folder, &listed.ignored, listed.symlinks, cache, stop)?;
    let differences = listed.differences(&read.manifest);
    Ok((read, differences))
}

/// The first few differences in words.
pub fn in_words(differences: &[Difference]) -> String {
    const NAMED: usize = 5;
    let named: Vec<String> = differences.iter().take(NAMED).map(ToString::to_string).collect();
    match differences.len().saturating_sub(NAMED) {
        0 => named.join("; "),
        more => format!("{}; and {more} more", named.join("; ")),
    }
}

/// Reads a certificate's file.
///
/// # Errors
/// When it cannot be read, or is none.
pub fn read_certificate(path: &Path) -> anyhow::Result<(Vec<u8>, ModelCertificate)> {
    let file = files::read(path, certificate::MAX_BYTES)?;
    let certificate = ModelCertificate::parse(&file).with_context(|| path.display().to_string())?;
    Ok((file, certificate))
}

/// Reads an authority's file, or the PEM of its public key alone, which has no name and took nothing back.
///
/// # Errors
/// When it cannot be read, or is neither.
pub fn read_authority(path: &Path, issuer: &str) -> anyhow::Result<Authority> {
    let file = files::read(path, authority::MAX_BYTES)?;
    let read = match std::str::from_utf8(&file) {
        Ok(text) if text.contains("-----BEGIN") && !text.trim_start().starts_with('{') => {
            Authority::new(issuer, &EcPublicKey::from_pem(text).with_context(|| path.display().to_string())?)
        }
        _ => Authority::from_json(&file),
    };
    read.with_context(|| path.display().to_string())
}

/// Why a certificate does not count now, if so, by an authority's file.
///
/// # Errors
/// When that cannot be read, or is none.
pub fn counts(authority: &Path, certificate: &ModelCertificate) -> anyhow::Result<Option<String>> {
    let issuer = certificate.terms.as_ref().map_or("the key given", |terms| &terms.issuer);
    let authority = read_authority(authority, issuer)?;
    Ok(match authority.signed(certificate) {
        Err(error) => Some(error.to_string()),
        Ok(()) => refusal(&authority.standing(certificate, now())),
    })
}

/// Why a certificate does not count, if it does not.
pub fn refusal(standing: &Standing) -> Option<String> {
    match standing {
        Standing::Good | Standing::Timeless => None,
        Standing::NotYet(from) => Some(format!("the certificate is valid only from {} on", time(*from))),
        Standing::Expired(until) => Some(format!("the certificate expired at {}", time(*until))),
        Standing::Revoked(revoked) => {
            Some(format!("the certificate is revoked ({}) from {} on", revoked.reason, time(revoked.from)))
        }
    }
}
