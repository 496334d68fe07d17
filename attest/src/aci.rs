//! What evidence of Colophon's own is about: the open ACI statement, and the epoch nonce.

use colophon_receipt::merkle::{Hash, sha256};

/// The only value of `purpose`.
pub const PURPOSE: &str = "aci.report_data.v1";
/// What the epoch nonce's hash begins with.
const EPOCH: &[u8] = b"colophon/epoch/v1";
/// Characters of a nonce.
const MAX_NONCE: usize = 128;

/// `{"keyset_digest","nonce","purpose"}`: these keys, for whoever asked with this nonce.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// SHA-256 of the set of keys that were born in the trusted environment, in canonical JSON (RFC 8785).
    pub keyset_digest: Hash,
    /// What the reader, or the epoch, gave: 1 to 128 of `0-9A-Za-z_-`. Without one the binding shows nothing about time.
    pub nonce: Option<String>,
}

/// Why text is no statement, or not the one that evidence is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StatementError {
    /// Other keys, other spacing, another order, or a purpose that is not [`PURPOSE`].
    #[error("not an ACI statement in its one spelling")]
    Form,
    /// The nonce is empty, too long, or has other characters.
    #[error("its nonce must be 1 to 128 of 0-9 A-Z a-z _ -")]
    Nonce,
    /// The evidence is about something else.
    #[error("the evidence's report data is not the digest of this statement")]
    Binding,
}

impl Statement {
    /// The statement's one spelling: keys in order, no spaces, the digest as `sha256:` and lower-case hexadecimal.
    ///
    /// # Errors
    /// [`StatementError::Nonce`].
    pub fn to_json(&self) -> Result<String, StatementError> {
        let nonce = match &self.nonce {
            None => "null".to_owned(),
            Some(nonce) if is_nonce(nonce) => format!("\"{nonce}\""),
            Some(_) => return Err(StatementError::Nonce),
        };
        let digest = hex::encode(self.keyset_digest);
        Ok(format!(r#"{{"keyset_digest":"sha256:{digest}","nonce":{nonce},"purpose":"{PURPOSE}"}}"#))
    }

    /// Reads a statement; only the bytes that [`Statement::to_json`] writes count.
    ///
    /// # Errors
    /// [`StatementError::Form`] and [`StatementError::Nonce`].
    pub fn from_json(text: &str) -> Result<Statement, StatementError> {
        let parse = || {
            let rest = text.strip_prefix(r#"{"keyset_digest":"sha256:"#)?;
            let (digest, rest) = rest.split_at_checked(64)?;
            let nonce =
                rest.strip_prefix(r#"","nonce":"#)?.strip_suffix(r#","purpose":"aci.report_data.v1"}"#)?;
            let keyset_digest = hex::decode(digest).ok()?.try_into().ok()?;
            let nonce = match nonce {
                "null" => None,
                quoted => Some(quoted.strip_prefix('"')?.strip_suffix('"')?.to_owned()),
            };
            Some(Statement { keyset_digest, nonce })
        };
        let statement = parse().ok_or(StatementError::Form)?;
        // Upper-case hexadecimal would be a second spelling of the same statement.
        if statement.to_json()? == text { Ok(statement) } else { Err(StatementError::Form) }
    }

    /// What the evidence has to hold: the statement's SHA-256, and 32 zeros.
    ///
    /// # Errors
    /// [`StatementError::Nonce`].
    pub fn report_data(&self) -> Result<[u8; 64], StatementError> {
        let mut data = [0; 64];
        data[..32].copy_from_slice(&sha256(self.to_json()?.as_bytes()));
        Ok(data)
    }

    /// Checks that evidence with this report data is about this statement.
    ///
    /// # Errors
    /// [`StatementError::Binding`].
    pub fn check(&self, report_data: &[u8]) -> Result<(), StatementError> {
        if report_data == self.report_data()? { Ok(()) } else { Err(StatementError::Binding) }
    }
}

/// Whether a statement may have this nonce: 1 to 128 of `0-9A-Za-z_-`.
pub fn is_nonce(nonce: &str) -> bool {
    (1..=MAX_NONCE).contains(&nonce.len())
        && nonce.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

/// The nonce of an epoch: evidence that answers it was made after this RFC 3161 token. `token` is the token's DER; that it
/// is a good one, by a TSA that the reader trusts, is for `colophon_signer::rfc3161` to say.
pub fn epoch_nonce(token: &[u8]) -> Hash {
    let mut bytes = EPOCH.to_vec();
    bytes.extend(sha256(token));
    sha256(&bytes)
}

#[cfg(test)]
mod tests;
