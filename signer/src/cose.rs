//! COSE_Sign1 (RFC 9052) as the log's leaves use it: a Signed Statement in the sense of RFC 9943.
//!
//! Always the tagged form (tag 18), so that a leaf names its own type. The protected header is the deterministic map
//! `{1: -8 (EdDSA), 3: content type, 4: kid, 15: {1: iss, 2: sub}}` (CWT claims: RFC 9597), the unprotected header is
//! empty, the payload is attached, external data is empty. Anything else is refused.

pub mod receipt;

use colophon_receipt::cbor::{CborError, MapReader, Value};

use crate::keys::{PublicKey, SIGNATURE_LEN, SignError, SignatureError, Signer};

/// Tag 18, COSE_Sign1.
const TAG: u8 = 0xd2;
/// Header labels and the algorithm number EdDSA = -8, which is -1 - 7.
const ALG: u64 = 1;
const CONTENT_TYPE: u64 = 3;
const KID: u64 = 4;
const CWT_CLAIMS: u64 = 15;
const EDDSA: Value = Value::Nint(7);
/// CWT claims.
const ISS: u64 = 1;
const SUB: u64 = 2;

/// Why bytes are not a statement of ours, or not one of this key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CoseError {
    /// The message is not tagged as COSE_Sign1.
    #[error("not a tagged COSE_Sign1")]
    Tag,
    /// The CBOR is not deterministic, or not of this shape.
    #[error("COSE_Sign1: {0}")]
    Cbor(#[from] CborError),
    /// The `kid` names another key.
    #[error("the statement names another key")]
    Kid,
    /// The signature was refused.
    #[error("COSE_Sign1: {0}")]
    Signature(#[from] SignatureError),
}

/// Signs `payload` as a tagged COSE_Sign1; `kid` is the key id of `signer`.
///
/// # Errors
/// Those of `signer`.
pub fn sign_statement(
    payload: &[u8],
    content_type: &str,
    iss: &str,
    sub: &str,
    signer: &dyn Signer,
) -> Result<Vec<u8>, SignError> {
    let claims = Value::Map(vec![(ISS, Value::text(iss)), (SUB, Value::text(sub))]);
    let protected = Value::Map(vec![
        (ALG, EDDSA),
        (CONTENT_TYPE, Value::text(content_type)),
        (KID, Value::bytes(signer.public_key().key_id())),
        (CWT_CLAIMS, claims),
    ])
    .encode();
    let signature = signer.sign(&to_be_signed(&protected, payload))?;
    let message = Value::Array(vec![
        Value::Bytes(protected),
        Value::Map(vec![]),
        Value::bytes(payload),
        Value::bytes(signature),
    ]);
    let mut out = Vec::with_capacity(payload.len() + 256);
    out.push(TAG);
    message.encode_into(&mut out);
    Ok(out)
}

/// The `Sig_structure` of RFC 9052 section 4.4.
fn to_be_signed(protected: &[u8], payload: &[u8]) -> Vec<u8> {
    Value::Array(vec![
        Value::text("Signature1"),
        Value::bytes(protected),
        Value::bytes([]),
        Value::bytes(payload),
    ])
    .encode()
}

/// A parsed COSE_Sign1. Parsing proves nothing: [`Sign1::verify`] does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sign1 {
    protected: Vec<u8>,
    payload: Vec<u8>,
    signature: [u8; SIGNATURE_LEN],
    content_type: String,
    kid: [u8; 32],
    iss: String,
    sub: String,
}

impl Sign1 {
    /// Parses exactly one message; the bytes have to be those that [`sign_statement`] would have written.
    pub fn parse(bytes: &[u8]) -> Result<Sign1, CoseError> {
        let untagged = bytes.strip_prefix(&[TAG]).ok_or(CoseError::Tag)?;
        let message = Value::decode(untagged)?;
        let [protected, unprotected, payload, signature] = message.as_items("COSE_Sign1")? else {
            return Err(CborError::Value("COSE_Sign1").into());
        };
        if *unprotected != Value::Map(vec![]) {
            return Err(CborError::Value("unprotected header").into());
        }
        let protected = protected.as_bytes("protected header")?;
        let mut header = MapReader::decode(protected)?;
        if header.required(ALG)? != EDDSA {
            return Err(CborError::Value("alg").into());
        }
        let content_type = header.required(CONTENT_TYPE)?.as_text("content type")?.to_owned();
        let kid = header.required(KID)?.as_array("kid")?;
        let mut claims = MapReader::new(header.required(CWT_CLAIMS)?)?;
        header.finish()?;
        let iss = claims.required(ISS)?.as_text("iss")?.to_owned();
        let sub = claims.required(SUB)?.as_text("sub")?.to_owned();
        claims.finish()?;
        Ok(Sign1 {
            protected: protected.to_vec(),
            payload: payload.as_bytes("payload")?.to_vec(),
            signature: signature.as_array("signature")?,
            content_type,
            kid,
            iss,
            sub,
        })
    }

    /// Verifies that `key` signed this message and that `kid` names it.
    pub fn verify(&self, key: &PublicKey) -> Result<(), CoseError> {
        if self.kid != key.key_id() {
            return Err(CoseError::Kid);
        }
        Ok(key.verify(&to_be_signed(&self.protected, &self.payload), &self.signature)?)
    }

    /// The signed payload.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// The payload's content type.
    pub fn content_type(&self) -> &str {
        &self.content_type
    }

    /// The key id: SHA-256 of the signer's public key.
    pub fn kid(&self) -> &[u8; 32] {
        &self.kid
    }

    /// The CWT issuer: the log's origin.
    pub fn iss(&self) -> &str {
        &self.iss
    }

    /// The CWT subject: the shard.
    pub fn sub(&self) -> &str {
        &self.sub
    }
}

#[cfg(test)]
mod tests;
