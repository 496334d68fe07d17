//! Break glass: for a bounded time, exchanges go on without a record while the ledger cannot keep one.
//!
//! It is remembered in the data folder, so that a restart neither ends nor forgets it: `bypass/<id>.json` says who, why and
//! until when, and `bypass/<id>.count` has one byte for each exchange let through. Where the folder cannot be written
//! either, it lives in memory only, and a restart ends it. Both files go once the log has a statement that tells its end.

use crate::ledger::{LedgerError, replace};
use colophon_receipt::statement::{Bypass, MAX_BYPASSES};
use serde::{Deserialize, Serialize};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The folder in the data folder.
const FOLDER: &str = "bypass";
const FORMAT: &str = "colophon-bypass-v1";
/// Longest name of who broke the glass, in bytes.
pub const MAX_WHO: usize = 128;
/// Longest reason, in bytes.
pub const MAX_WHY: usize = 512;
/// Longest time of one bypass.
pub const MAX_TIME: Duration = Duration::from_secs(24 * 3600);
/// A file of a bypass is no longer than this.
const MAX_FILE: u64 = 16 << 10;

/// A bypass, as people ask about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Bypassing {
    /// 32 hexadecimal digits.
    pub id: String,
    /// Who said that it was theirs.
    pub who: String,
    /// The reason.
    pub why: String,
    /// When it began, µs.
    pub from: u64,
    /// When it ends by itself, µs.
    pub until: u64,
    /// Exchanges let through so far.
    pub exchanges: u64,
    /// Whether a restart remembers it.
    pub remembered: bool,
}

/// Why the glass was not broken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BypassError {
    /// There is one.
    #[error("a bypass is in force until it ends or is ended: \"{0}\"")]
    InForce(String),
    /// Nothing, too much, or for too long.
    #[error(
        "a bypass needs who it is by (up to {MAX_WHO} bytes), a reason (up to {MAX_WHY}), and a time of up to 24h"
    )]
    Form,
    /// More than a statement can tell wait for one.
    #[error(
        "{MAX_BYPASSES} bypasses wait for a statement that tells their end: the log has to be written first"
    )]
    TooMany,
    /// The operating system gave no randomness.
    #[error("no randomness from the operating system: {0}")]
    Random(getrandom::Error),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Saved {
    format: String,
    #[serde(with = "hex::serde")]
    id: [u8; 16],
    who: String,
    why: String,
    from: u64,
    until: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ended: Option<u64>,
}

struct Grant {
    saved: Saved,
    count: u64,
    /// Where each exchange is noted, if that can be.
    counted: Option<File>,
}

impl Grant {
    fn told(&self) -> Bypassing {
        Bypassing {
            id: hex::encode(self.saved.id),
            who: self.saved.who.clone(),
            why: self.saved.why.clone(),
            from: self.saved.from,
            until: self.saved.until,
            exchanges: self.count,
            remembered: self.counted.is_some(),
        }
    }
}

/// All bypasses that no statement has told to their end.
pub(crate) struct Bypasses {
    folder: PathBuf,
    grants: Mutex<Vec<Grant>>,
    /// The end of the one in force; 0 where there is none, so that the hot path takes no lock.
    until: AtomicU64,
}

impl Bypasses {
    /// Takes up what earlier lives began in the data folder `root`.
    pub(crate) fn open(root: &Path, now: u64) -> Result<Bypasses, LedgerError> {
        let folder = root.join(FOLDER);
        let failed = |source| LedgerError::Folder { path: folder.clone(), source };
        let mut grants = Vec::new();
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => Some(entries),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(failed(error)),
        };
        for entry in entries.into_iter().flatten() {
            let path = entry.map_err(failed)?.path();
            if path.extension().is_none_or(|kind| kind != "json") {
                continue;
            }
            // One that cannot be read lets nothing through; what it did is not told, and that is said.
            match load(&path) {
                Ok(grant) => grants.push(grant),
                Err(error) => tracing::error!(path = %path.display(), error, "a bypass is forgotten"),
            }
        }
        grants.sort_by_key(|grant| grant.saved.from);
        let in_force = grants.iter().find(|grant| grant.saved.ended.is_none() && grant.saved.until > now);
        if let Some(grant) = in_force {
            tracing::warn!(who = grant.saved.who, why = grant.saved.why, "a bypass goes on");
        }
        let until = AtomicU64::new(in_force.map_or(0, |grant| grant.saved.until));
        Ok(Bypasses { folder, grants: Mutex::new(grants), until })
    }

    pub(crate) fn begin(
        &self,
        who: &str,
        why: &str,
        now: u64,
        time: Duration,
    ) -> Result<Bypassing, BypassError> {
        let sized = |text: &str, max| !text.trim().is_empty() && text.len() <= max;
        if !sized(who, MAX_WHO) || !sized(why, MAX_WHY) || time.is_zero() || time > MAX_TIME {
            return Err(BypassError::Form);
        }
        let mut id = [0; 16];
        getrandom::fill(&mut id).map_err(BypassError::Random)?;
        let mut grants = self.lock();
        self.expire(&mut grants, now);
        if let Some(grant) = grants.iter().find(|grant| grant.saved.ended.is_none()) {
            return Err(BypassError::InForce(grant.saved.why.clone()));
        }
        if grants.len() >= MAX_BYPASSES {
            return Err(BypassError::TooMany);
        }
        let until = now.saturating_add(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
        let (format, who, why) = (FORMAT.to_owned(), who.to_owned(), why.to_owned());
        let saved = Saved { format, id, who, why, from: now, until, ended: None };
        let counted = self.remember(&saved);
        if counted.is_none() {
            tracing::error!(
                "the data folder cannot be written: a restart will end this bypass and lose its count"
            );
        }
        let grant = Grant { saved, count: 0, counted };
        let told = grant.told();
        tracing::warn!(
            who = told.who,
            why = told.why,
            until,
            "BYPASS: what cannot be recorded goes on unrecorded"
        );
        grants.push(grant);
        self.until.store(until, Ordering::Release);
        Ok(told)
    }

    /// Ends the one in force.
    pub(crate) fn end(&self, now: u64) -> Option<Bypassing> {
        let mut grants = self.lock();
        self.expire(&mut grants, now);
        self.until.store(0, Ordering::Release);
        let grant = grants.iter_mut().find(|grant| grant.saved.ended.is_none())?;
        grant.saved.ended = Some(now);
        self.save_ended(grant);
        tracing::warn!(exchanges = grant.count, "the bypass was ended");
        Some(grant.told())
    }

    pub(crate) fn in_force(&self, now: u64) -> Option<Bypassing> {
        let mut grants = self.lock();
        self.expire(&mut grants, now);
        grants.iter().find(|grant| grant.saved.ended.is_none()).map(Grant::told)
    }

    /// Counts an exchange that goes on without a record; false where no bypass is in force.
    pub(crate) fn count(&self, now: u64) -> bool {
        if self.until.load(Ordering::Acquire) <= now {
            return false;
        }
        let mut grants = self.lock();
        let mut open = grants.iter_mut().filter(|grant| grant.saved.ended.is_none());
        let Some(grant) = open.find(|grant| grant.saved.until > now) else { return false };
        grant.count += 1;
        if let Some(file) = &mut grant.counted
            && let Err(error) = file.write_all(b".")
        {
            tracing::error!(%error, "this bypassed exchange is counted in memory only");
        }
        true
    }

    /// What the next statement tells, and which of these it tells to their end.
    pub(crate) fn notes(&self, now: u64) -> (Vec<Bypass>, Vec<[u8; 16]>) {
        let mut grants = self.lock();
        self.expire(&mut grants, now);
        let note = |grant: &Grant| Bypass {
            id: grant.saved.id,
            who: grant.saved.who.clone().into_bytes(),
            why: grant.saved.why.clone().into_bytes(),
            from: grant.saved.from,
            until: grant.saved.until,
            count: grant.count,
            ended: grant.saved.ended,
        };
        let notes: Vec<Bypass> = grants.iter().take(MAX_BYPASSES).map(note).collect();
        let told = notes.iter().filter(|note| note.ended.is_some()).map(|note| note.id).collect();
        (notes, told)
    }

    /// The log has a statement that tells their end.
    pub(crate) fn told(&self, ids: &[[u8; 16]]) {
        if ids.is_empty() {
            return;
        }
        self.lock().retain(|grant| !ids.contains(&grant.saved.id));
        for id in ids {
            for kind in ["count", "json"] {
                // Left there, it is told once more by a later life.
                let _ = fs::remove_file(self.file(id, kind));
            }
        }
    }

    fn expire(&self, grants: &mut [Grant], now: u64) {
        let due = |grant: &&mut Grant| grant.saved.ended.is_none() && grant.saved.until <= now;
        for grant in grants.iter_mut().filter(due) {
            self.until.store(0, Ordering::Release);
            grant.saved.ended = Some(grant.saved.until);
            self.save_ended(grant);
            tracing::warn!(exchanges = grant.count, "the bypass is over");
        }
    }

    fn save_ended(&self, grant: &Grant) {
        if grant.counted.is_none() {
            return;
        }
        if let Err(error) = self.save(&grant.saved) {
            tracing::error!(%error, "the end of the bypass is in memory only; it ends by itself all the same");
        }
    }

    /// Writes a new bypass down; gives the file that its exchanges are noted in.
    fn remember(&self, saved: &Saved) -> Option<File> {
        let mut builder = DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&self.folder).ok()?;
        let counted = open_count(&self.file(&saved.id, "count")).ok()?;
        self.save(saved).ok()?;
        Some(counted)
    }

    fn save(&self, saved: &Saved) -> Result<(), LedgerError> {
        let path = self.file(&saved.id, "json");
        let json = serde_json::to_vec(saved).map_err(|error| LedgerError::Folder {
            path: path.clone(),
            source: std::io::Error::other(error),
        })?;
        replace(&path, &json)
    }

    fn file(&self, id: &[u8; 16], kind: &str) -> PathBuf {
        self.folder.join(format!("{}.{kind}", hex::encode(id)))
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Grant>> {
        self.grants.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn open_count(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

fn load(path: &Path) -> Result<Grant, String> {
    if fs::metadata(path).map_err(|error| error.to_string())?.len() > MAX_FILE {
        return Err("its file is too long".into());
    }
    let json = fs::read(path).map_err(|error| error.to_string())?;
    let saved: Saved = serde_json::from_slice(&json).map_err(|error| error.to_string())?;
    let bounded = saved.until.saturating_sub(saved.from) <= MAX_TIME.as_micros() as u64
        && saved.who.len() <= MAX_WHO
        && saved.why.len() <= MAX_WHY;
    if saved.format != FORMAT || !bounded || saved.until < saved.from {
        return Err("its file is no bypass's".into());
    }
    let counted = open_count(&path.with_extension("count")).map_err(|error| error.to_string())?;
    let count = counted.metadata().map_err(|error| error.to_string())?.len();
    Ok(Grant { saved, count, counted: Some(counted) })
}

#[cfg(test)]
mod tests;
