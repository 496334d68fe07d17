//! Proof files: two things that a log, or a shard of it, signed and that cannot both be true.

use std::path::{Path, PathBuf};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use colophon_receipt::merkle::sha256;
use colophon_signer::note::VerifierKey;
use serde_json::json;

use super::StateError;
use crate::head::SignedHead;
use crate::leaf::Leaf;
use crate::prove::LogReader;
use crate::state::replace;
use crate::tiles::WIDTH;

const FORMAT: &str = "colophon-proof-v1";
/// Entries read backwards in search of an earlier statement.
const MAX_SEARCH: u64 = 1 << 20;

/// Keeps two signed heads. Returns the file.
pub(super) fn heads(
    folder: &Path,
    key: &VerifierKey,
    kind: &str,
    what: &str,
    first: &SignedHead,
    second: &SignedHead,
) -> Result<PathBuf, StateError> {
    let proof = json!({
        "format": FORMAT,
        "kind": kind,
        "log": key.to_string(),
        "what": what,
        "first": first.note,
        "second": second.note,
    });
    keep(folder, key, kind, &proof)
}

/// Keeps two leaves with the proofs that the log holds both; `None` where those cannot be had.
pub(super) async fn statements(
    folder: &Path,
    key: &VerifierKey,
    what: &str,
    reader: &LogReader,
    head: &SignedHead,
    leaves: [(u64, &[u8]); 2],
) -> Result<Option<PathBuf>, StateError> {
    let mut parts = Vec::new();
    for (index, leaf) in leaves {
        let Ok(proof) = reader.tlog_proof(index, head).await else { return Ok(None) };
        parts.push(json!({"statement": BASE64_STANDARD.encode(leaf), "log_proof": proof}));
    }
    let kind = "two-statements";
    let proof = json!({
        "format": FORMAT,
        "kind": kind,
        "log": key.to_string(),
        "what": what,
        "first": parts[0],
        "second": parts[1],
    });
    keep(folder, key, kind, &proof).map(Some)
}

/// The same proof has the same name, so that it is kept once.
fn keep(
    folder: &Path,
    key: &VerifierKey,
    kind: &str,
    proof: &serde_json::Value,
) -> Result<PathBuf, StateError> {
    let text = format!("{proof:#}\n");
    let (log, name) = (hex::encode(&sha256(key.to_string().as_bytes())[..4]), sha256(text.as_bytes()));
    let path = folder.join("proofs").join(format!("{log}-{kind}-{}.json", hex::encode(&name[..8])));
    if !path.exists() {
        replace(&path, text.as_bytes()).map_err(|source| StateError::Io { path: path.clone(), source })?;
    }
    Ok(path)
}

/// The statement of this number that stands before leaf `before`, if it is found.
pub(super) async fn earlier(
    reader: &LogReader,
    head: &SignedHead,
    shard: &str,
    seq: u64,
    before: u64,
) -> Option<(u64, Vec<u8>)> {
    let mut end = before;
    while end > 0 && before - end < MAX_SEARCH {
        let start = (end - 1) / WIDTH as u64 * WIDTH as u64;
        let entries = reader.entries(start..end, &head.checkpoint).await.ok()?;
        for (entry, index) in entries.into_iter().rev().zip((start..end).rev()) {
            if let Ok(Leaf::Statement(_, statement)) = Leaf::parse(&entry)
                && statement.shard == shard
                && statement.seq == seq
            {
                return Some((index, entry));
            }
        }
        end = start;
    }
    None
}
