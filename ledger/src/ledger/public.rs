//! What may be shown to anybody, and whether records can be kept at the moment.

use super::{Ledger, LedgerError};
use bytes::Bytes;
use std::sync::atomic::Ordering;

/// No tile, bundle or checkpoint is longer: 256 entries of at most 65,535 bytes with their lengths.
const MAX_FILE: u64 = 256 * (2 + 65_535);

/// Bytes that have to fit on the disk before records are kept again.
const PROBE: usize = 64 * 1024;

impl Ledger {
    /// A file of the public log, `<generation>/checkpoint`, `…/cosigned`, `…/beacon/…` or `…/tile/…`; nothing else of the store.
    pub async fn public_log_file(&self, file: &str) -> Result<Option<Bytes>, LedgerError> {
        if !is_public(file) {
            return Ok(None);
        }
        self.0.log_files.get(&format!("log/{file}"), MAX_FILE).await
    }

    /// Whether a new exchange would get a record: the ledger is open, its keeper runs, the log keeps up, and the WAL takes
    /// frames, as does the store of copies. After a failed write this tries whether the disk takes bytes again, since
    /// without readiness there may be no exchange that would. Does blocking file I/O in that case.
    pub fn healthy(&self) -> bool {
        if self.0.keeper_ended.load(Ordering::Relaxed) {
            return false;
        }
        {
            let book = self.book();
            if book.is_closed()
                || book.unlogged() >= self.0.config.max_backlog
                || book.admit_age(self.0.config.max_backlog_age, self.now()).is_err()
                || self.0.wal.bytes() >= self.0.config.max_backlog_bytes
                || self.0.wal.copying().is_err()
            {
                return false;
            }
        }
        if self.0.wal_failed.load(Ordering::Relaxed) && self.probe().is_ok() {
            self.0.wal_failed.store(false, Ordering::Relaxed);
        }
        !self.0.wal_failed.load(Ordering::Relaxed)
    }

    fn probe(&self) -> std::io::Result<()> {
        let path = self.0.folder.root().join("probe");
        let written = std::fs::write(&path, [0; PROBE]);
        let removed = std::fs::remove_file(&path);
        written.and(removed)
    }
}

/// C2SP tlog-tiles paths under a generation, `cosigned`, the timestamps that statements name, and no others: `checkpoint`,
/// `cosigned`, `beacon/<SHA-256>`, `tile/<L>/<N>[.p/<W>]`, `tile/entries/<N>…`.
pub(crate) fn is_public(file: &str) -> bool {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let Some((generation, rest)) = file.split_once('/') else { return false };
    if !digits(generation) {
        return false;
    }
    if matches!(rest, "checkpoint" | "cosigned") {
        return true;
    }
    if let Some(beacon) = rest.strip_prefix("beacon/") {
        return beacon.len() == 64 && beacon.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'a'..=b'f'));
    }
    let Some(tile) = rest.strip_prefix("tile/") else { return false };
    let mut parts = tile.split('/');
    let level = parts.next().is_some_and(|level| level == "entries" || digits(level));
    let name = |part: &str| {
        let part = part.strip_suffix(".p").unwrap_or(part);
        digits(part.strip_prefix('x').unwrap_or(part))
    };
    level && parts.clone().count() > 0 && parts.all(name)
}

#[cfg(test)]
mod tests {
    use super::is_public;

    #[test]
    fn only_the_log_is_public() {
        for public in [
            "1/checkpoint",
            "1/cosigned",
            "1/tile/0/000",
            "1/tile/0/x001/234.p/17",
            "12/tile/entries/x001/x002/003",
            "1/beacon/00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff",
        ] {
            assert!(is_public(public), "{public}");
        }
        for private in [
            "1/seq/000",
            "checkpoint",
            "1/tile/",
            "1/tile/0/",
            "1/tile/0/../../seq/0",
            "../keys/log.pem",
            "1/tile/0/%2e",
            "1/identity",
            "/checkpoint",
            "1//checkpoint",
            "1/tile/entries/",
            "1/beacon/",
            "1/beacon/../../../keys/log.pem",
            "1/beacon/00112233445566778899AABBCCDDEEFF00112233445566778899aabbccddeeff",
            "1/anchor/3/a.tst",
        ] {
            assert!(!is_public(private), "{private}");
        }
    }
}
