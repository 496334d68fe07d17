//! ML-DSA-44 cosignatures (c2sp.org/tlog-cosignature, type 0x06), verified only.

use colophon_receipt::checkpoint::Checkpoint;
use ml_dsa::{EncodedSignature, EncodedVerifyingKey, MlDsa44, Signature, VerifyingKey};

use super::NoteError;

/// An ML-DSA-44 public key (FIPS 204).
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct MlDsa44Key(Box<[u8]>);

impl TryFrom<&[u8]> for MlDsa44Key {
    type Error = NoteError;

    fn try_from(bytes: &[u8]) -> Result<MlDsa44Key, NoteError> {
        match EncodedVerifyingKey::<MlDsa44>::try_from(bytes) {
            Ok(_) => Ok(MlDsa44Key(bytes.into())),
            Err(_) => Err(NoteError::VerifierKey("not a key of 1312 bytes")),
        }
    }
}

impl MlDsa44Key {
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether `signature` is the cosigner's of this name over the checkpoint `text`, at `time`. A checkpoint with extension
    /// lines is refused: the signature says nothing about them.
    pub(super) fn verifies(&self, name: &str, time: u64, text: &str, signature: &[u8]) -> bool {
        let Some(message) = message(name, time, text) else { return false };
        let Ok(key) = EncodedVerifyingKey::<MlDsa44>::try_from(self.as_bytes()) else { return false };
        let Ok(signature) = EncodedSignature::<MlDsa44>::try_from(signature) else { return false };
        let Some(signature) = Signature::<MlDsa44>::decode(&signature) else { return false };
        VerifyingKey::<MlDsa44>::decode(&key).verify_with_context(&message, &[], &signature)
    }
}

/// The `cosigned_message` of a whole tree.
fn message(name: &str, time: u64, text: &str) -> Option<Vec<u8>> {
    let checkpoint = Checkpoint::parse(text).ok()?;
    let short = |text: &str| {
        let length = u8::try_from(text.len()).ok().filter(|length| *length > 0)?;
        Some([&[length], text.as_bytes()].concat())
    };
    let mut message = b"subtree/v1\n\0".to_vec();
    message.extend(short(name)?);
    message.extend(time.to_be_bytes());
    message.extend(short(&checkpoint.origin)?);
    message.extend(0u64.to_be_bytes());
    message.extend(checkpoint.size.to_be_bytes());
    message.extend(checkpoint.root);
    Some(message)
}

/// A cosigner in a box, for tests.
#[cfg(any(test, feature = "testing"))]
#[allow(clippy::expect_used)] // Tests fail loudly.
pub mod testing {
    use ml_dsa::{ExpandedSigningKey, MlDsa44};

    use super::super::vkey::Material;
    use super::super::{NoteAlgorithm, NoteSignature, VerifierKey};
    use super::{MlDsa44Key, message};

    /// The key that is made of 32 bytes `seed`, and its line, newline included, over the checkpoint `text`.
    ///
    /// # Panics
    /// When the name is none, or `text` is no checkpoint.
    pub fn subtree_cosignature(seed: u8, name: &str, time: u64, text: &str) -> (VerifierKey, String) {
        let key = ExpandedSigningKey::<MlDsa44>::from_seed(&[seed; 32].into());
        let public = MlDsa44Key(key.verifying_key().encode().as_slice().into());
        let vkey =
            VerifierKey::of(name, NoteAlgorithm::SubtreeV1, Material::MlDsa44(public)).expect("a name");
        let message = message(name, time, text).expect("a checkpoint");
        let signed = key.sign_deterministic(&message, &[]).expect("a signature");
        let signature = [&time.to_be_bytes()[..], signed.encode().as_slice()].concat();
        let line = NoteSignature { name: name.to_owned(), id: vkey.id(), signature };
        (vkey, format!("{line}\n"))
    }
}
