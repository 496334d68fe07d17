//! What the check of an export found.

use serde::Serialize;

use super::account::Account;
use super::{MAX_NAMED, Manifest};
use crate::count::{Count, Standing};
use crate::text::{edge, line, quoted, shown};
use crate::{Trust, Verdict};

/// The receipts of an export.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ReceiptCount {
    /// The export is meant to have them.
    pub expected: bool,
    /// Receipts verified, bad ones included.
    pub verified: u64,
    /// Receipts that are trusted each for itself.
    pub trusted: u64,
    /// Receipts with an independent time.
    pub dated: u64,
    /// Receipts that failed, were there twice, or do not belong here.
    pub bad: u64,
    /// Receipts that name a policy whose text is not here.
    pub without_policy: u64,
    /// Records without a receipt.
    pub missing: u64,
}

/// What the check of an export found.
#[derive(Clone, Debug, Serialize)]
pub struct FolderReport {
    /// The result, as for one receipt.
    pub result: Verdict,
    /// The log's origin, escaped for display.
    pub origin: String,
    /// The key that signed the checkpoint, if the trust file names it.
    pub log_key: Option<String>,
    /// Entries of the log.
    pub size: u64,
    /// The tree's root, in hexadecimal.
    pub root: String,
    /// The interval, µs, and whose.
    pub from: u64,
    /// Its end, µs.
    pub to: u64,
    /// The shard or sidecar asked for, escaped for display.
    pub shard: Option<String>,
    /// What the statements account for.
    pub count: Count,
    /// Whether nothing in that account is missing or contradicts; see `not_covered` too.
    pub unbroken: bool,
    /// Parts of the interval that no statement is about, µs.
    pub not_covered: Vec<(u64, u64)>,
    /// The receipts.
    pub receipts: ReceiptCount,
    /// What is wrong, the account's faults aside; bounded.
    pub faults: Vec<String>,
    /// Records without a receipt, by batch; bounded.
    pub missing: Vec<String>,
    /// Files that no export has and nothing was read from; bounded.
    pub unread: Vec<String>,
    /// Why a result is not "trusted".
    pub lacking: Vec<String>,
}

impl Default for FolderReport {
    fn default() -> FolderReport {
        FolderReport {
            result: Verdict::Bad,
            origin: String::new(),
            log_key: None,
            size: 0,
            root: String::new(),
            from: 0,
            to: 0,
            shard: None,
            count: Count::default(),
            unbroken: false,
            not_covered: Vec::new(),
            receipts: ReceiptCount::default(),
            faults: Vec::new(),
            missing: Vec::new(),
            unread: Vec::new(),
            lacking: Vec::new(),
        }
    }
}

fn push(list: &mut Vec<String>, what: String) {
    if list.len() < MAX_NAMED {
        list.push(what);
    }
}

impl FolderReport {
    pub(super) fn fault(&mut self, what: &str) {
        push(&mut self.faults, line(what));
    }

    pub(super) fn bad(&mut self, name: &str, what: &str) {
        self.receipts.bad += 1;
        push(&mut self.faults, line(&format!("{}: {what}", quoted(name))));
    }

    pub(super) fn missing(&mut self, shard: &str, seq: u64, missing: u64, count: u64) {
        self.receipts.missing += missing;
        let what = format!("{missing} of the {count} records of statement {seq} of {}", quoted(shard));
        push(&mut self.missing, what);
    }

    pub(super) fn unread(&mut self, name: &str) {
        push(&mut self.unread, shown(name));
    }

    /// Takes the account in and gives the result.
    pub(super) fn judge(&mut self, manifest: &Manifest, account: Account, trust: Option<&Trust>) {
        self.origin = shown(&manifest.origin);
        (self.from, self.to) = (manifest.from, manifest.to);
        self.shard = manifest.shard.as_ref().map(shown);
        self.log_key = account.log_key.as_ref().map(|key| shown(key.to_string()));
        if let Some(head) = &account.checkpoint {
            (self.size, self.root) = (head.size, hex::encode(head.root));
        }
        let standing = account.count.standing();
        self.unbroken = account.checkpoint.is_some() && standing != Standing::Broken;
        if let Standing::NotCovered(parts) = standing {
            self.not_covered = parts;
        }
        self.count = account.count;
        let mut lack = |is: bool, what: &str| {
            if is {
                self.lacking.push(what.to_owned());
            }
        };
        lack(trust.is_none(), "a trust file from elsewhere (--trust); the one in the export does not count");
        let ReceiptCount { expected, verified, trusted, missing, .. } = self.receipts;
        lack(missing > 0, "the receipts of all records");
        lack(
            expected && trust.is_some() && trusted < verified,
            "what the trust file requires of each receipt (copies of the bodies, timestamps, witnesses)",
        );
        let required = trust.is_some_and(Trust::requires_something);
        lack(!expected && required, "receipts: no count shows what the trust file requires of each of them");
        // Of nothing, everything holds.
        lack(self.count.sidecars.is_empty(), "statements about the interval: it has none");
        for (from, to) in self.not_covered.iter().filter(|_| !self.count.sidecars.is_empty()) {
            // Where the log itself begins or ends there, nothing is kept back. Of one shard, the rest may well be of others.
            let kept_back = (*from == self.from && self.count.first > 0)
                || (*to == self.to && self.count.end < self.size);
            let (from, to) = (edge(*from), edge(*to));
            let what = format!("statements about {from} to {to}, which entries that are not here may hold");
            lack(kept_back && self.shard.is_none(), &what);
        }
        self.result = match () {
            () if !self.faults.is_empty() || !self.unbroken => Verdict::Bad,
            () if self.lacking.is_empty() => Verdict::Trusted,
            () => Verdict::ConsistentNotTrusted,
        };
    }
}
