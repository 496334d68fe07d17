//! The texts of c2sp.org/tlog-witness, for both sides.

use std::fmt::Write as _;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use colophon_receipt::Hash;
use colophon_signer::note::Note;

/// The path below a witness's submission prefix.
pub const ADD_CHECKPOINT: &str = "add-checkpoint";
/// The media type of a request.
pub const REQUEST_TYPE: &str = "text/plain; charset=utf-8";
/// The media type of a conflict's body.
pub const SIZE_TYPE: &str = "text/x.tlog.size";
/// A request is at most this long: 63 hashes and a checkpoint with many signatures.
pub const MAX_REQUEST: usize = 64 << 10;
/// A tree of 2^64 leaves has no longer proofs.
pub const MAX_PROOF: usize = 63;

/// An `add-checkpoint` request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddCheckpoint {
    /// The size that the witness is thought to have cosigned last; 0 for none.
    pub old: u64,
    /// The consistency proof from there.
    pub proof: Vec<Hash>,
    /// The checkpoint, a signed note.
    pub note: String,
}

impl AddCheckpoint {
    /// The request's body.
    pub fn to_text(&self) -> String {
        let mut text = format!("old {}\n", self.old);
        for hash in &self.proof {
            let _ = writeln!(text, "{}", BASE64_STANDARD.encode(hash));
        }
        text.push('\n');
        text.push_str(&self.note);
        text
    }

    /// Reads a request's body strictly; `None` when it is none.
    pub fn parse(body: &[u8]) -> Option<AddCheckpoint> {
        if body.len() > MAX_REQUEST {
            return None;
        }
        let (head, note) = std::str::from_utf8(body).ok()?.split_once("\n\n")?;
        let mut lines = head.split('\n');
        let old = size(lines.next()?.strip_prefix("old ")?)?;
        let mut proof = Vec::new();
        for line in lines {
            if proof.len() == MAX_PROOF {
                return None;
            }
            proof.push(hash(line)?);
        }
        Some(AddCheckpoint { old, proof, note: note.to_owned() })
    }
}

/// The three lines of a checkpoint that a witness reads (c2sp.org/tlog-checkpoint). Extension lines may follow: they are
/// cosigned, and nothing is said about them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The log's origin.
    pub origin: String,
    /// Leaves.
    pub size: u64,
    /// The root over them.
    pub root: Hash,
}

impl Head {
    /// Reads the text of a note.
    pub fn parse(note: &Note) -> Option<Head> {
        let mut lines = note.text().strip_suffix('\n')?.split('\n');
        let (origin, size, root) = (lines.next()?, lines.next()?, lines.next()?);
        let head = Head { origin: origin.to_owned(), size: self::size(size)?, root: hash(root)? };
        (!origin.is_empty() && lines.all(|line| !line.is_empty())).then_some(head)
    }
}

/// A size in decimal, without leading zeros.
pub fn size(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    (digits && (text == "0" || !text.starts_with('0'))).then(|| text.parse().ok()).flatten()
}

/// The size in the body of a conflict.
pub fn conflict_size(body: &[u8]) -> Option<u64> {
    size(std::str::from_utf8(body).ok()?.strip_suffix('\n')?)
}

fn hash(text: &str) -> Option<Hash> {
    BASE64_STANDARD.decode(text).ok()?.try_into().ok()
}
