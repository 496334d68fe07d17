//! C2SP tlog-checkpoint bodies and tlog-proof texts.

use crate::merkle::Hash;
use base64::prelude::{BASE64_STANDARD, Engine};

/// A log's tree head, without its signatures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log's origin line.
    pub origin: String,
    /// Leaves in the tree.
    pub size: u64,
    /// RFC 6962 root.
    pub root: Hash,
}

/// Why a text is not a checkpoint or a proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// Not the lines that the format has.
    #[error("malformed at: {0}")]
    Malformed(&'static str),
    /// Right lines, in another spelling than the only one allowed.
    #[error("not in its canonical form")]
    NotCanonical,
}

impl Checkpoint {
    /// The note text: origin, size, root; no extension lines.
    pub fn to_text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, BASE64_STANDARD.encode(self.root))
    }

    /// Reads a note text with exactly three lines.
    pub fn parse(text: &str) -> Result<Checkpoint, TextError> {
        let mut lines = text.strip_suffix('\n').ok_or(TextError::Malformed("final newline"))?.split('\n');
        let (Some(origin), Some(size), Some(root), None) =
            (lines.next(), lines.next(), lines.next(), lines.next())
        else {
            return Err(TextError::Malformed("number of lines"));
        };
        if origin.is_empty() {
            return Err(TextError::Malformed("origin"));
        }
        let checkpoint = Checkpoint {
            origin: origin.to_owned(),
            size: decimal(size).ok_or(TextError::Malformed("tree size"))?,
            root: hash(root).ok_or(TextError::Malformed("root hash"))?,
        };
        if checkpoint.to_text() == text { Ok(checkpoint) } else { Err(TextError::NotCanonical) }
    }
}

/// An inclusion proof in the text form of c2sp.org/tlog-proof, without extra data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlogProof {
    /// Index of the entry in the log.
    pub index: u64,
    /// Sibling of the leaf first.
    pub path: Vec<Hash>,
    /// The signed checkpoint, verbatim.
    pub checkpoint: String,
}

const PROOF_HEADER: &str = "c2sp.org/tlog-proof@v1";

impl TlogProof {
    /// The text form.
    pub fn to_text(&self) -> String {
        let mut text = format!("{PROOF_HEADER}\nindex {}\n", self.index);
        for hash in &self.path {
            text.push_str(&BASE64_STANDARD.encode(hash));
            text.push('\n');
        }
        text.push('\n');
        text.push_str(&self.checkpoint);
        text
    }

    /// Reads the text form. Extra data is refused: nothing authenticates it.
    pub fn parse(text: &str) -> Result<TlogProof, TextError> {
        let (head, checkpoint) = text.split_once("\n\n").ok_or(TextError::Malformed("empty line"))?;
        let mut lines = head.split('\n');
        if lines.next() != Some(PROOF_HEADER) {
            return Err(TextError::Malformed("first line"));
        }
        let index = lines
            .next()
            .and_then(|line| line.strip_prefix("index "))
            .and_then(decimal)
            .ok_or(TextError::Malformed("index"))?;
        // A tree of 2^64 leaves has proofs of 64 hashes.
        let path: Vec<Hash> =
            lines.take(65).map(hash).collect::<Option<_>>().ok_or(TextError::Malformed("proof hash"))?;
        let proof = TlogProof { index, path, checkpoint: checkpoint.to_owned() };
        if proof.to_text() == text { Ok(proof) } else { Err(TextError::NotCanonical) }
    }
}

fn decimal(text: &str) -> Option<u64> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

fn hash(text: &str) -> Option<Hash> {
    BASE64_STANDARD.decode(text).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests;
