//! An export as a whole: a folder, or the same as `.tar.zst`, with a part of a log and the receipts of an interval.
//!
//! What the folder says of itself only tells where to look. The account is derived anew: the entries lead to the signed
//! checkpoint, their statements say how many records there have to be, and each receipt is verified and belongs to
//! exactly one of these places. Memory and reads are bounded whatever the archive says.

mod account;
pub mod manifest;
mod receipts;
mod report;
mod source;

use std::collections::BTreeMap;
use std::path::Path;

use colophon_receipt::merkle::sha256;
use colophon_receipt::policy_change::POLICIES;
use colophon_signer::drand::Chain;

use self::account::Account;
pub use self::manifest::Manifest;
use self::receipts::Receipts;
pub use self::report::FolderReport;
pub(crate) use self::source::ZSTD;
use self::source::{Item, Source, is_receipt};
use crate::Trust;
use crate::text::quoted;

/// The name of the manifest in an export.
pub const MANIFEST: &str = "export.json";
/// The folder of the receipts in an export.
pub const RECEIPTS: &str = "receipts";
/// Files for people, which nothing is read from.
const FOR_PEOPLE: [&str; 2] = ["README.md", "trust.json"];
/// The log's part of an export takes at most this many bytes; a month of batches every second is about 1 GB, so exports
/// of busy logs are best made by the day.
const MAX_LOG: usize = 512 << 20;
/// Files named in a report.
const MAX_NAMED: usize = 100;

/// Why an export could not be looked at; what is wrong *in* it is in the report.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// A file of it cannot be read, or the archive is broken or not one.
    #[error("cannot read {name}: {source}")]
    Read {
        /// The file.
        name: String,
        /// Why.
        source: std::io::Error,
    },
    /// It holds something that no export does, or more than one may.
    #[error("{0}")]
    Form(String),
}

/// Checks the export at `path`. `trust` has to come from elsewhere; `at` is as for [`crate::verify`], and `chain` draws,
/// quicknet if `None`. `progress` is
/// called with (receipts verified, records that the statements count).
///
/// # Errors
/// [`FolderError`] when it is not a readable export at all.
pub fn check(
    path: &Path,
    trust: Option<&Trust>,
    at: Option<u64>,
    chain: Option<&Chain>,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<FolderReport, FolderError> {
    let mut source = Source::open(path)?;
    let mut log = LogPart::default();
    let mut report = FolderReport::default();
    // The receipts come last, in folders by the reader's order, in archives by the writer's.
    let mut first_receipt = None;
    while let Some(item) = source.next()? {
        if is_receipt(&item.name) {
            first_receipt = Some(item);
            break;
        }
        log.take(item, &mut report)?;
    }
    let manifest = log.manifest.take().ok_or_else(|| FolderError::Form(format!("it has no {MANIFEST}")))?;
    let account = Account::derive(&manifest, &log.files, trust, &mut report);
    let policies = std::mem::take(&mut log.policies);
    let mut receipts = Receipts::new(&account, &policies, trust, at, chain);
    let mut next = first_receipt;
    while let Some(item) = next {
        if is_receipt(&item.name) {
            receipts.take(item, &mut report);
            progress(report.receipts.verified, account.records);
        } else {
            report.unread(&item.name);
        }
        next = source.next()?;
    }
    receipts.finish(&manifest, &mut report);
    progress(report.receipts.verified, account.records);
    report.judge(&manifest, account, trust);
    Ok(report)
}

/// The files beside the receipts.
#[derive(Default)]
struct LogPart {
    manifest: Option<Manifest>,
    files: BTreeMap<String, Vec<u8>>,
    /// Texts of policies by their digests in hexadecimal.
    policies: BTreeMap<String, Vec<u8>>,
    bytes: usize,
}

impl LogPart {
    fn take(&mut self, item: Item, report: &mut FolderReport) -> Result<(), FolderError> {
        let Item { name, bytes } = item;
        if name == MANIFEST {
            let manifest = Manifest::from_json(&bytes).map_err(FolderError::Form)?;
            if self.manifest.replace(manifest).is_some() {
                return Err(FolderError::Form(format!("it has two {MANIFEST}")));
            }
        } else if name.starts_with("log/") {
            self.bytes = self.bytes.saturating_add(bytes.len());
            if self.bytes > MAX_LOG {
                let mib = MAX_LOG >> 20;
                return Err(FolderError::Form(format!(
                    "its log part is longer than {mib} MiB; export less at once"
                )));
            }
            if self.files.insert(name, bytes).is_some() {
                return Err(FolderError::Form("it has a file of the log twice".into()));
            }
        } else if let Some(digest) = policy(&name) {
            self.bytes = self.bytes.saturating_add(bytes.len());
            if self.bytes > MAX_LOG {
                return Err(FolderError::Form("its policies are too long".into()));
            }
            if hex::encode(sha256(&bytes)) != digest {
                report
                    .fault(&format!("{}: it is not the text that its name is the SHA-256 of", quoted(&name)));
            }
            self.policies.insert(digest.to_owned(), bytes);
        } else if !FOR_PEOPLE.contains(&name.as_str()) {
            report.unread(&name);
        }
        Ok(())
    }
}

/// The digest that a policy's file is named after.
fn policy(name: &str) -> Option<&str> {
    name.strip_prefix(POLICIES)?.strip_prefix('/')?.strip_suffix(".json")
}

#[cfg(test)]
mod tests;
