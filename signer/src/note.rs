//! C2SP signed notes (c2sp.org/signed-note) and cosignatures (c2sp.org/tlog-cosignature).
//!
//! A note is a text that ends in a newline, a blank line, and signature lines `— <name> <base64(key id ‖ signature)>`.
//! The log signs its checkpoints with plain Ed25519 (type 0x01); witnesses cosign them with a time, by
//! Ed25519 (type 0x04) or ML-DSA-44 (type 0x06), of which the latter is verified only.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use colophon_receipt::merkle::sha256;

use crate::keys::{SignError, Signer};

#[cfg(any(test, feature = "testing"))]
pub use self::subtree::testing;
use self::vkey::Material;
pub use self::vkey::{NoteAlgorithm, VerifierKey};

mod subtree;
mod vkey;

/// A note's text has at most this many bytes.
pub const MAX_TEXT: usize = 1 << 20;
/// A note has at most this many signatures.
pub const MAX_SIGNATURES: usize = 100;
/// A note is at most this long: room for a hundred post-quantum signatures of other people's keys.
const MAX_NOTE: usize = MAX_TEXT + MAX_SIGNATURES * MAX_LINE;
const MAX_LINE: usize = 8 * 1024;

/// Why something is not a note, or not one to believe.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// The note is longer than this reader accepts.
    #[error("the note is too long or has too many signatures")]
    TooLong,
    /// The note is not of the specified form.
    #[error("malformed note: {0}")]
    Malformed(&'static str),
    /// The key name is empty or holds spaces, plus signs or control characters.
    #[error("a key name is non-empty and holds no spaces, plus signs or control characters")]
    Name,
    /// The verifier key is not of the specified form.
    #[error("malformed verifier key: {0}")]
    VerifierKey(&'static str),
    /// A line carries the name and id of a known key, but not its signature.
    #[error("the signature by {0} is bad")]
    BadSignature(String),
    /// None of the known keys signed.
    #[error("no known key signed this note")]
    Unsigned,
    /// The key that was to sign did not.
    #[error(transparent)]
    Sign(#[from] SignError),
}

/// Signs `text`, which ends in a newline, and returns the whole note with one Ed25519 signature line.
pub fn sign_note(text: &str, name: &str, signer: &dyn Signer) -> Result<String, NoteError> {
    let line = signature_line(text, name, signer)?;
    Ok(format!("{text}\n{line}"))
}

/// The Ed25519 signature line, newline included, of `signer` under `name` over `text`.
pub fn signature_line(text: &str, name: &str, signer: &dyn Signer) -> Result<String, NoteError> {
    check_text(text)?;
    let key = VerifierKey::new(name, NoteAlgorithm::Ed25519, signer.public_key())?;
    Ok(line(&key, &signer.sign(text.as_bytes())?))
}

/// The cosignature/v1 line, newline included, of a witness that saw `text` at `time` (seconds since the epoch).
pub fn cosignature_line(text: &str, name: &str, time: u64, signer: &dyn Signer) -> Result<String, NoteError> {
    check_text(text)?;
    if i64::try_from(time).is_err() {
        return Err(NoteError::Malformed("a cosignature's time is below 2^63"));
    }
    let key = VerifierKey::new(name, NoteAlgorithm::CosignatureV1, signer.public_key())?;
    let mut stamped = time.to_be_bytes().to_vec();
    stamped.extend_from_slice(&signer.sign(&cosigned(text, time))?);
    Ok(line(&key, &stamped))
}

fn line(key: &VerifierKey, signature: &[u8]) -> String {
    let line = NoteSignature { name: key.name().to_owned(), id: key.id(), signature: signature.to_vec() };
    format!("{line}\n")
}

/// The message that an Ed25519 cosigner signs.
fn cosigned(text: &str, time: u64) -> Vec<u8> {
    format!("cosignature/v1\ntime {time}\n{text}").into_bytes()
}

/// One signature line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoteSignature {
    /// The key's name.
    pub name: String,
    /// The key's four-byte id.
    pub id: [u8; 4],
    /// What follows the id: the signature in the key's own form.
    pub signature: Vec<u8>,
}

/// The line, without its newline.
impl fmt::Display for NoteSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = [&self.id[..], &self.signature].concat();
        write!(f, "\u{2014} {} {}", self.name, STANDARD.encode(bytes))
    }
}

/// A parsed note. Parsing proves nothing: [`Note::verify`] does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    text: String,
    signatures: Vec<NoteSignature>,
}

/// What [`Note::verify`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedNote<'a> {
    /// The good signatures by known keys, each key once, in the note's order. Never empty.
    pub signed: Vec<VerifiedSignature<'a>>,
    /// The lines that no known key claims: they say nothing.
    pub unknown: Vec<&'a NoteSignature>,
}

/// One good signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedSignature<'a> {
    /// The key that signed.
    pub key: &'a VerifierKey,
    /// When, by the cosigner's clock in seconds since the epoch; absent from plain Ed25519 signatures, and where an ML-DSA-44
    /// cosigner said 0, which is no time. Where a key cosigned several times, the latest.
    pub time: Option<u64>,
}

impl Note {
    /// Parses a note strictly.
    pub fn parse(note: &str) -> Result<Note, NoteError> {
        if note.len() > MAX_NOTE {
            return Err(NoteError::TooLong);
        }
        // The text is separated from the signatures by the last empty line.
        let split = note.rfind("\n\n").ok_or(NoteError::Malformed("no blank line before the signatures"))?;
        let (text, lines) = (&note[..split + 1], &note[split + 2..]);
        check_text(text)?;
        let lines = lines.strip_suffix('\n').ok_or(NoteError::Malformed("does not end in a newline"))?;
        let mut signatures = Vec::new();
        for line in lines.split('\n') {
            if signatures.len() == MAX_SIGNATURES || line.len() > MAX_LINE {
                return Err(NoteError::TooLong);
            }
            signatures.push(NoteSignature::parse(line)?);
        }
        Ok(Note { text: text.to_owned(), signatures })
    }

    /// The text, its final newline included, without the blank line.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The signature lines, in order.
    pub fn signatures(&self) -> &[NoteSignature] {
        &self.signatures
    }

    /// The note with no other signature than the first one under `name`, byte for byte as its owner signed it: what others
    /// added since does not change it. `None` where nobody of that name signed.
    pub fn with_only(&self, name: &str) -> Option<String> {
        let line = self.signatures.iter().find(|line| line.name == name)?;
        let mut bytes = line.id.to_vec();
        bytes.extend_from_slice(&line.signature);
        Some(format!("{}\n\u{2014} {} {}\n", self.text, line.name, STANDARD.encode(bytes)))
    }

    /// Says which of `keys` signed. A bad signature under a known key's name and id refuses the note, as does the
    /// absence of any good one; lines of unknown keys are listed and otherwise ignored.
    pub fn verify<'a>(&'a self, keys: &'a [VerifierKey]) -> Result<VerifiedNote<'a>, NoteError> {
        let mut found = VerifiedNote { signed: Vec::new(), unknown: Vec::new() };
        for signature in &self.signatures {
            let mut known = keys.iter().filter(|key| key.names(signature)).peekable();
            if known.peek().is_none() {
                found.unknown.push(signature);
            }
            for key in known {
                found.add(VerifiedSignature { key, time: self.verify_one(key, signature)? });
            }
        }
        if found.signed.is_empty() { Err(NoteError::Unsigned) } else { Ok(found) }
    }

    fn verify_one(&self, key: &VerifierKey, line: &NoteSignature) -> Result<Option<u64>, NoteError> {
        let bad = || NoteError::BadSignature(key.name().to_owned());
        if key.algorithm() == NoteAlgorithm::Ed25519 {
            let public_key = key.public_key().ok_or_else(bad)?;
            return public_key
                .verify(self.text.as_bytes(), &line.signature)
                .map(|()| None)
                .map_err(|_| bad());
        }
        let (time, signature) = line.signature.split_first_chunk::<8>().ok_or_else(bad)?;
        let time = u64::from_be_bytes(*time);
        if i64::try_from(time).is_err() {
            return Err(bad());
        }
        match key.material() {
            Material::Ed25519(public_key) => {
                public_key.verify(&cosigned(&self.text, time), signature).map_err(|_| bad())?;
                Ok(Some(time))
            }
            Material::MlDsa44(public_key) => {
                if !public_key.verifies(key.name(), time, &self.text, signature) {
                    return Err(bad());
                }
                // The cosigner says that it saw no fork, and nothing of when.
                Ok(Some(time).filter(|time| *time > 0))
            }
        }
    }
}

impl<'a> VerifiedNote<'a> {
    /// Whether `key` signed.
    pub fn signed_by(&self, key: &VerifierKey) -> bool {
        self.signed.iter().any(|signature| signature.key == key)
    }

    fn add(&mut self, new: VerifiedSignature<'a>) {
        // A second line by the same key is not a second opinion.
        match self.signed.iter_mut().find(|old| old.key == new.key) {
            Some(old) => old.time = old.time.max(new.time),
            None => self.signed.push(new),
        }
    }
}

impl NoteSignature {
    /// Reads a line, without its newline.
    ///
    /// # Errors
    /// [`NoteError::Malformed`] when it is none.
    pub fn parse(line: &str) -> Result<NoteSignature, NoteError> {
        let line =
            line.strip_prefix("\u{2014} ").ok_or(NoteError::Malformed("signature line without em dash"))?;
        let (name, encoded) =
            line.split_once(' ').ok_or(NoteError::Malformed("signature line without signature"))?;
        vkey::check_name(name)?;
        let bytes = STANDARD.decode(encoded).map_err(|_| NoteError::Malformed("signature is not base64"))?;
        match bytes.split_first_chunk::<4>() {
            Some((id, signature)) if !signature.is_empty() => {
                Ok(NoteSignature { name: name.to_owned(), id: *id, signature: signature.to_vec() })
            }
            _ => Err(NoteError::Malformed("signature too short")),
        }
    }
}

fn check_text(text: &str) -> Result<(), NoteError> {
    if text.len() > MAX_TEXT {
        return Err(NoteError::TooLong);
    }
    if !text.ends_with('\n') {
        return Err(NoteError::Malformed("the text does not end in a newline"));
    }
    if text.bytes().any(|byte| byte < 0x20 && byte != b'\n') {
        return Err(NoteError::Malformed("control characters"));
    }
    Ok(())
}

/// `SHA-256(name ‖ "\n" ‖ type ‖ public key)[..4]`.
fn key_id(name: &str, algorithm: NoteAlgorithm, public_key: &[u8]) -> [u8; 4] {
    let [a, b, c, d, ..] = sha256(&[name.as_bytes(), b"\n", &[algorithm as u8], public_key].concat());
    [a, b, c, d]
}

#[cfg(test)]
mod tests;
