//! Promises: receipts whose records the log has to go on holding, and saved heads of answers whose records have to be in
//! the log within `mmd`.

use super::super::get;
use crate::facts::parse_id;
use colophon_ledger::index::id_ms;
use colophon_ledger::monitor::LogMonitor;
use colophon_receipt::checkpoint::TlogProof;
use colophon_receipt::merkle::leaf_hash;
use colophon_receipt::receipt::{MAX_BYTES, Receipt};
use colophon_receipt::record::{RecordId, RecordLeaf};
use colophon_signer::note::VerifierKey;
use colophon_signer::sf;
use colophon_verify::{Bodies, Trust, Verdict, verify};
use http::{StatusCode, Uri};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// Files looked at in one round.
const MAX_FILES: usize = 100_000;

/// A saved head is no longer.
const MAX_HEAD: usize = 256 << 10;

/// The promise's time in seconds, where the head names none.
const DEFAULT_MMD: u64 = 86_400;

/// The folder of one log's promises. Files about other logs are left alone.
pub(super) struct Promises {
    folder: PathBuf,
    key: VerifierKey,
    /// Where the log's operator answers, if it is a proxy over HTTP.
    operator: Option<Uri>,
    ca: Option<PathBuf>,
}

/// What `Colophon-Record` promises.
struct Promise {
    file: String,
    id: RecordId,
    leaf: Option<Vec<u8>>,
    /// When it is due, µs since the epoch: by the id's own time.
    due: u64,
    signed: bool,
    /// Path and query of the receipt.
    receipt: Option<String>,
}

impl Promises {
    pub(super) fn new(folder: PathBuf, key: VerifierKey, place: &str, ca: Option<PathBuf>) -> Promises {
        let operator = place.parse::<Uri>().ok().filter(|uri| uri.scheme().is_some());
        Promises { folder, key, operator, ca }
    }

    /// What is wrong: (kind, sentence) each.
    pub(super) async fn look(&mut self, monitor: &LogMonitor, now: u64) -> Vec<(&'static str, String)> {
        let mut wrong = Vec::new();
        let mut kept: BTreeMap<RecordId, [u8; 32]> = BTreeMap::new();
        let mut promises = Vec::new();
        let (files, unseen) = self.files(MAX_FILES);
        if unseen > 0 {
            wrong.push((
                "unseen",
                format!(
                    "{unseen} files of {} are beyond the {MAX_FILES} of a round and are not looked at: give some of them a folder and a \
                     monitor of their own",
                    self.folder.display()
                ),
            ));
        }
        for path in files {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let Some(bytes) = read(&path, MAX_BYTES) else { continue };
            if path.extension().is_some_and(|extension| extension == "json") {
                match self.receipt(monitor, &bytes).await {
                    Ok(Some((id, leaf))) => drop(kept.insert(id, leaf)),
                    Ok(None) => {}
                    Err(what) => wrong.push(("receipt", format!("{name}: {what}"))),
                }
            } else if bytes.len() <= MAX_HEAD {
                promises.extend(self.promise(&name, &bytes));
            }
        }
        for promise in promises {
            if !kept.contains_key(&promise.id) {
                self.fetch(monitor, &promise, &mut kept).await;
            }
            match kept.get(&promise.id) {
                Some(leaf) if promise.leaf.as_deref().is_none_or(|promised| promised == leaf) => {}
                Some(_) => wrong.push((
                    "promise",
                    format!("{}: the record in the log is not the one that was promised", promise.file),
                )),
                None if now > promise.due => wrong.push((
                    "promise",
                    format!(
                        "{}: the record {} is not shown to be in the log, though its time is over ({})",
                        promise.file,
                        hex::encode(promise.id),
                        if promise.signed { "the promise is signed" } else { "the promise is not signed" }
                    ),
                )),
                None => {}
            }
        }
        wrong
    }

    /// The first `most` files, and how many are left out.
    fn files(&self, most: usize) -> (Vec<PathBuf>, usize) {
        let Ok(entries) = std::fs::read_dir(&self.folder) else {
            tracing::warn!(folder = %self.folder.display(), "--promises cannot be read");
            return (Vec::new(), 0);
        };
        let mut files: Vec<PathBuf> =
            entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()).collect();
        // Heads first: they are the promises.
        files.sort_by_cached_key(|path| {
            (path.extension().is_some_and(|extension| extension == "json"), path.clone())
        });
        let unseen = files.len().saturating_sub(most);
        files.truncate(most);
        (files, unseen)
    }

    /// A receipt of this log: it verifies, and the log still holds its statement. `None` for another log's.
    async fn receipt(
        &self,
        monitor: &LogMonitor,
        bytes: &[u8],
    ) -> Result<Option<(RecordId, [u8; 32])>, String> {
        let receipt = Receipt::from_json(bytes).map_err(|error| error.to_string())?;
        let proof = TlogProof::parse(&receipt.log_proof).map_err(|error| error.to_string())?;
        if proof.checkpoint.lines().next() != Some(self.key.name()) {
            return Ok(None);
        }
        let report = verify(bytes, Some(&Trust::in_logs(vec![self.key.clone()])), &Bodies::default(), None);
        if report.result == Verdict::Bad {
            let failed: Vec<&str> = report.failed().map(|check| check.name).collect();
            return Err(format!("the receipt is bad: {} failed", failed.join(", ")));
        }
        let leaf = RecordLeaf::decode(&receipt.record.leaf.0).map_err(|error| error.to_string())?;
        if proof.index >= monitor.size() {
            // It may have grown since it was looked at; where it never does, no promise is kept by this.
            tracing::warn!(
                index = proof.index,
                size = monitor.size(),
                "a receipt is beyond the log as it is seen here"
            );
            return Ok(None);
        }
        match monitor.holds(proof.index, &receipt.statement.0).await {
            Ok(true) => Ok(Some((leaf.id, leaf_hash(&receipt.record.leaf.0)))),
            Ok(false) => {
                Err(format!("the log now has another entry {} than this receipt proves", proof.index))
            }
            // Not read is not broken.
            Err(why) => {
                tracing::warn!(why, "a receipt cannot be compared with the log");
                Ok(Some((leaf.id, leaf_hash(&receipt.record.leaf.0))))
            }
        }
    }

    /// The promise in a saved head, if it is this log's.
    fn promise(&self, file: &str, head: &[u8]) -> Option<Promise> {
        let text = String::from_utf8_lossy(head);
        let header = |name: &str| {
            text.lines().find_map(|line| {
                let (found, value) = line.split_once(':')?;
                found.trim().eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
            })
        };
        let log = sf::parse_item(&header("colophon-log")?).ok()?;
        if log.value.as_string() != Some(self.key.name()) {
            return None;
        }
        let record = sf::parse_item(&header("colophon-record")?).ok()?;
        let id = parse_id(record.value.as_string()?)?;
        let mmd =
            record.params.get("mmd").and_then(|mmd| mmd.as_integer()).and_then(|mmd| u64::try_from(mmd).ok());
        let due = id_ms(&id).saturating_mul(1000);
        Some(Promise {
            file: file.to_owned(),
            id,
            leaf: record.params.get("leaf").and_then(|leaf| leaf.as_bytes()).map(<[u8]>::to_vec),
            due: due.saturating_add(mmd.unwrap_or(DEFAULT_MMD).saturating_mul(1_000_000)),
            signed: header("signature").is_some(),
            receipt: header("colophon-receipt").map(|value| value.trim_matches('"').to_owned()),
        })
    }

    /// Asks the log's operator for the receipt, and keeps it beside the promise.
    async fn fetch(&self, monitor: &LogMonitor, promise: &Promise, kept: &mut BTreeMap<RecordId, [u8; 32]>) {
        let (Some(operator), Some(path)) = (&self.operator, &promise.receipt) else { return };
        let (Some(scheme), Some(authority)) = (operator.scheme_str(), operator.authority()) else { return };
        if !path.starts_with('/') {
            return;
        }
        let url = format!("{scheme}://{authority}{path}");
        let answer = match get::get(&url, self.ca.as_deref()).await {
            Ok(answer) if answer.status() == StatusCode::OK => answer,
            Ok(answer) => return tracing::debug!(status = %answer.status(), "no receipt yet"),
            Err(error) => return tracing::warn!(error = format!("{error:#}"), "a receipt cannot be fetched"),
        };
        match self.receipt(monitor, answer.body()).await {
            Ok(Some((id, leaf))) => {
                kept.insert(id, leaf);
                let file = self.folder.join(format!("{}.json", hex::encode(id)));
                if let Err(error) = std::fs::write(&file, answer.body()) {
                    tracing::warn!(file = %file.display(), %error, "a receipt could not be kept");
                }
            }
            Ok(None) => {}
            Err(why) => tracing::warn!(why, "the receipt that was fetched is no good"),
        }
    }
}

fn read(path: &Path, max: usize) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(max as u64 + 1).read_to_end(&mut bytes));
    match read {
        Ok(_) if bytes.len() <= max => Some(bytes),
        Ok(_) => None,
        Err(error) => {
            tracing::warn!(file = %path.display(), %error, "cannot be read");
            None
        }
    }
}

#[cfg(test)]
mod tests;
