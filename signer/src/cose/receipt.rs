//! COSE Receipts (RFC 9942): that a statement is in a tree, in the form that SCITT tools read.
//!
//! A receipt is a COSE_Sign1 whose payload, the tree's root, is detached: whoever verifies it computes the root from the
//! inclusion proof in the unprotected header. The standard leaves the tree's size unauthenticated there (RFC 9942 section
//! 5.2), so it stands in the protected header as well, under a private label.

use colophon_receipt::Hash;
use colophon_receipt::checkpoint::TlogProof;
use minicbor::Encoder;
use minicbor::data::Tag;

use super::{CoseError, Sign1};
use crate::keys::{SignError, Signer};

/// Header labels: `vds` and `vdp` of RFC 9942, `receipts` of RFC 9943.
const VDS: u32 = 395;
const VDP: u32 = 396;
const RECEIPTS: u32 = 394;
/// RFC9162_SHA256, and the inclusion proofs among its proofs.
const RFC9162_SHA256: u32 = 1;
const INCLUSION: i32 = -1;
/// The tree's size in the protected header: a label for private use.
pub const TREE_SIZE: i32 = -65_537;
/// Algorithm EdDSA.
const EDDSA: i32 = -8;
/// Tag 18, COSE_Sign1.
const COSE_SIGN1: Tag = Tag::new(18);

type Encoded = Result<(), minicbor::encode::Error<std::convert::Infallible>>;

/// The statement `bytes` with a receipt in its unprotected header: an RFC 9943 Transparent Statement. `signer` vouches
/// for the root that `proof` leads to, `iss` says in whose name.
///
/// # Errors
/// When the bytes are no statement of ours, or there is no signature.
pub fn transparent(
    bytes: &[u8],
    proof: &TlogProof,
    size: u64,
    root: &Hash,
    iss: &str,
    signer: &dyn Signer,
) -> Result<Vec<u8>, ReceiptError> {
    let statement = Sign1::parse(bytes)?;
    let receipt = receipt(proof, size, root, iss, statement.sub(), signer)?;
    Ok(encoded(|e| {
        e.tag(COSE_SIGN1)?.array(4)?.bytes(&statement.protected)?;
        e.map(1)?.u32(RECEIPTS)?.array(1)?.bytes(&receipt)?;
        e.bytes(&statement.payload)?.bytes(&statement.signature)?;
        Ok(())
    }))
}

/// Why there is no COSE Receipt.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptError {
    /// The statement is not one.
    #[error(transparent)]
    Statement(#[from] CoseError),
    /// The key did not sign.
    #[error(transparent)]
    Sign(#[from] SignError),
}

fn receipt(
    proof: &TlogProof,
    size: u64,
    root: &Hash,
    iss: &str,
    sub: &str,
    signer: &dyn Signer,
) -> Result<Vec<u8>, SignError> {
    let kid = signer.public_key().key_id();
    // Deterministic: labels in the order of their encodings.
    let protected = encoded(|e| {
        e.map(5)?.u8(1)?.i32(EDDSA)?.u8(4)?.bytes(&kid)?;
        e.u8(15)?.map(2)?.u8(1)?.str(iss)?.u8(2)?.str(sub)?;
        e.u32(VDS)?.u32(RFC9162_SHA256)?;
        e.i32(TREE_SIZE)?.u64(size)?;
        Ok(())
    });
    let signature = signer.sign(&super::to_be_signed(&protected, root))?;
    let inclusion = encoded(|e| {
        e.array(3)?.u64(size)?.u64(proof.index)?.array(proof.path.len() as u64)?;
        proof.path.iter().try_for_each(|hash| e.bytes(hash).map(drop))
    });
    Ok(encoded(|e| {
        e.tag(COSE_SIGN1)?.array(4)?.bytes(&protected)?;
        e.map(1)?.u32(VDP)?.map(1)?.i32(INCLUSION)?.array(1)?.bytes(&inclusion)?;
        e.null()?.bytes(&signature)?;
        Ok(())
    }))
}

fn encoded(write: impl FnOnce(&mut Encoder<&mut Vec<u8>>) -> Encoded) -> Vec<u8> {
    let mut out = Vec::new();
    // Writing into a Vec cannot fail.
    let _ = write(&mut Encoder::new(&mut out));
    out
}

#[cfg(test)]
mod tests;
