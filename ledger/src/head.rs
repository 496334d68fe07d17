//! Signed tree heads: `checkpoint` (C2SP tlog-checkpoint), the one file of the log that is replaced.

use std::sync::Arc;

use colophon_receipt::Hash;
use colophon_receipt::checkpoint::{Checkpoint, TextError};
use colophon_signer::Signer;
use colophon_signer::note::{self, Note, NoteAlgorithm, NoteError, NoteSignature, VerifierKey};

use crate::store::{Store, StoreError, Swap};

/// The name of the checkpoint, relative to the log's folder.
pub const NAME: &str = "checkpoint";
/// A checkpoint with many witnesses' lines is still shorter than this.
pub(crate) const MAX_FILE: u64 = 64 << 10;
/// Two writers in a row may overtake us; a hundred means that something else is wrong.
const TRIES: usize = 100;

/// A checkpoint with the log's signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedHead {
    /// Origin, size and root.
    pub checkpoint: Checkpoint,
    /// The whole signed note, as the file holds it.
    pub note: String,
    /// The log's Ed25519 signature over the note's text.
    pub signature: [u8; 64],
}

/// Why a note is not a head of this log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// Not a signed note, or not signed by the log's key.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// Not a checkpoint.
    #[error("checkpoint: {0}")]
    Checkpoint(#[from] TextError),
    /// A checkpoint of another log.
    #[error("it is of the log {0}")]
    Origin(String),
}

impl SignedHead {
    /// Signs the head of a tree.
    ///
    /// # Errors
    /// When the origin cannot be the name of a key (spaces, plus signs, control characters).
    pub fn sign(origin: &str, size: u64, root: Hash, key: &dyn Signer) -> Result<SignedHead, NoteError> {
        let checkpoint = Checkpoint { origin: origin.to_owned(), size, root };
        let note = note::sign_note(&checkpoint.to_text(), origin, key)?;
        let vkey = VerifierKey::new(origin, NoteAlgorithm::Ed25519, key.public_key())?;
        let signature = signature(&Note::parse(&note)?, &vkey)?;
        Ok(SignedHead { checkpoint, note, signature })
    }

    /// Reads a note and verifies that `key` signed it as a checkpoint of the log that `key` is named after.
    ///
    /// # Errors
    /// [`HeadError`] when it did not.
    pub fn parse(text: &str, key: &VerifierKey) -> Result<SignedHead, HeadError> {
        let note = Note::parse(text)?;
        let keys = [key.clone()];
        note.verify(&keys)?;
        let checkpoint = Checkpoint::parse(note.text())?;
        if checkpoint.origin != key.name() {
            return Err(HeadError::Origin(checkpoint.origin));
        }
        let signature = signature(&note, key)?;
        Ok(SignedHead { checkpoint, note: text.to_owned(), signature })
    }

    /// Stands for the head of a log that has not answered yet: of no leaves, which no log is, and signed by nobody.
    pub(crate) fn unknown(origin: &str) -> SignedHead {
        let root = colophon_receipt::merkle::empty_root();
        let checkpoint = Checkpoint { origin: origin.to_owned(), size: 0, root };
        SignedHead { checkpoint, note: String::new(), signature: [0; 64] }
    }

    /// Whether it is one.
    pub fn is_known(&self) -> bool {
        self.checkpoint.size > 0
    }

    /// Leaves in the tree.
    pub fn size(&self) -> u64 {
        self.checkpoint.size
    }

    /// The same head with witnesses' lines after the log's own, each once; what else the note had is left out.
    ///
    /// # Errors
    /// When the note is none, which a head's never is.
    pub fn with_cosignatures(&self, lines: &[NoteSignature]) -> Result<SignedHead, NoteError> {
        let note = Note::parse(&self.note)?;
        let own = note.signatures().iter().find(|line| line.signature == self.signature);
        let own = own.ok_or(NoteError::Unsigned)?;
        let mut text = format!("{}\n{own}\n", note.text());
        for (at, line) in lines.iter().enumerate() {
            if line != own && !lines[..at].contains(line) {
                text.push_str(&format!("{line}\n"));
            }
        }
        Ok(SignedHead { note: text, ..self.clone() })
    }

    /// The lines of the note that are not the log's own. Nothing about them is verified.
    pub fn other_lines(&self) -> Vec<NoteSignature> {
        let lines = Note::parse(&self.note).map(|note| note.signatures().to_vec()).unwrap_or_default();
        lines.into_iter().filter(|line| line.signature != self.signature).collect()
    }
}

fn signature(note: &Note, key: &VerifierKey) -> Result<[u8; 64], NoteError> {
    let line = note.signatures().iter().find(|line| line.id == key.id() && line.name == key.name());
    let signature = line.ok_or(NoteError::Unsigned)?.signature.as_slice();
    signature.try_into().map_err(|_| NoteError::BadSignature(key.name().to_owned()))
}

/// The size that a note claims, signature unseen.
pub(crate) fn claimed_size(note: &str) -> Option<u64> {
    let note = Note::parse(note).ok()?;
    Checkpoint::parse(note.text()).ok().map(|checkpoint| checkpoint.size)
}

/// What `checkpoint` holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stored {
    /// No file.
    Missing,
    /// A file that is no head of this log; the text says why.
    Garbled(String),
    /// A head.
    Head(SignedHead),
}

/// Reads `checkpoint` and verifies its signature.
pub(crate) async fn read(store: &Store, key: &VerifierKey) -> Result<Stored, StoreError> {
    match store.get(NAME, MAX_FILE).await {
        Ok(Some(bytes)) => Ok(judge(&bytes, key)),
        Ok(None) => Ok(Stored::Missing),
        Err(e @ StoreError::TooLong { .. }) => Ok(Stored::Garbled(e.to_string())),
        Err(e) => Err(e),
    }
}

fn judge(bytes: &[u8], key: &VerifierKey) -> Stored {
    match std::str::from_utf8(bytes) {
        Ok(text) => match SignedHead::parse(text, key) {
            Ok(head) => Stored::Head(head),
            Err(e) => Stored::Garbled(e.to_string()),
        },
        Err(_) => Stored::Garbled("not UTF-8".into()),
    }
}

/// How a write of `checkpoint` ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    /// The file is now this head, or already was one at least as large.
    Current,
    /// The file is signed by this log's key for the same size and another root: the log forked.
    Fork,
}

/// Makes `checkpoint` this head, unless it is already of this size or larger.
pub(crate) async fn write(
    store: &Store,
    head: &Arc<SignedHead>,
    key: &VerifierKey,
) -> Result<Written, StoreError> {
    for _ in 0..TRIES {
        let (stored, version) = match store.get_versioned(NAME, MAX_FILE).await {
            Ok(Some((bytes, version))) => (judge(&bytes, key), version),
            Ok(None) => (Stored::Missing, crate::store::Version::Absent),
            // Garbage that long is replaced unread; no other writer puts it there.
            Err(StoreError::TooLong { .. }) => {
                store.put(NAME, head.note.clone().into_bytes()).await?;
                return Ok(Written::Current);
            }
            Err(e) => return Err(e),
        };
        if let Stored::Head(stored) = stored {
            if stored.size() > head.size() {
                return Ok(Written::Current);
            }
            if stored.size() == head.size() {
                return Ok(match stored.checkpoint.root == head.checkpoint.root {
                    true => Written::Current,
                    false => Written::Fork,
                });
            }
        }
        if store.swap(NAME, head.note.clone().into_bytes(), version).await? == Swap::Done {
            return Ok(Written::Current);
        }
    }
    // Others replaced it a hundred times meanwhile: with larger heads, or the next write will tell.
    Ok(Written::Current)
}

/// Adds the witnesses' lines of `cosigned` to `checkpoint`, if that still is this head; a newer line of a key takes the
/// place of an older one. Where the store cannot compare and swap, nobody else of this process may write meanwhile.
pub(crate) async fn cosign(
    store: &Store,
    cosigned: &SignedHead,
    key: &VerifierKey,
) -> Result<(), StoreError> {
    for _ in 0..TRIES {
        let Some((bytes, version)) = store.get_versioned(NAME, MAX_FILE).await? else { return Ok(()) };
        let Stored::Head(stored) = judge(&bytes, key) else { return Ok(()) };
        if stored.checkpoint != cosigned.checkpoint {
            return Ok(());
        }
        let mut lines = cosigned.other_lines();
        let newer = |line: &NoteSignature| lines.iter().any(|l| (&l.name, l.id) == (&line.name, line.id));
        let kept: Vec<_> = stored.other_lines().into_iter().filter(|line| !newer(line)).collect();
        lines.splice(0..0, kept);
        let Ok(merged) = stored.with_cosignatures(&lines) else { return Ok(()) };
        if merged.note == stored.note
            || store.swap(NAME, merged.note.into_bytes(), version).await? == Swap::Done
        {
            return Ok(());
        }
    }
    // It changes all the time: with larger heads, which get cosignatures of their own.
    Ok(())
}

#[cfg(test)]
mod tests;
