//! RFC 3161 timestamps: asking for one, and verifying a token offline.
//!
//! A token is a CMS SignedData (RFC 5652) over a `TSTInfo`: a time stamping authority (TSA) saw this hash at this time.
//! [`Token::parse`] verifies everything that the token itself can show, down to the signature by the certificate that it
//! carries. Whose certificate that is, is for [`Token::chain`] to say: the path to a root that the reader chose, judged at
//! the token's own time, so that a chain that expired later stays good. Nothing here has a clock or a network.
//!
//! Revocation is judged only by the CRLs that are at hand: those in the token, and those given with the roots.

mod algorithm;
pub(crate) mod certificate;
pub(crate) mod chain;
pub(crate) mod der;
mod request;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod token;
mod tst;

pub use chain::{Chain, ChainError, Roots, RootsError};
pub use request::{Request, ResponseError, token_of};
pub use token::Token;
pub use tst::TstInfo;

/// A TSA's whole answer is never longer: with a chain of RSA certificates it has about 6 KB.
pub const MAX_RESPONSE: usize = 64 << 10;

/// What a certificate (DER) calls its subject: the common name, else the organisation; `None` where it is none.
pub fn subject_name(certificate: &[u8]) -> Option<String> {
    certificate::Certificate::parse(certificate).ok().map(|certificate| certificate.name())
}

/// The last second in which a certificate (DER) is good, since the epoch; `None` where it is none.
pub fn valid_until(certificate: &[u8]) -> Option<u64> {
    certificate::Certificate::parse(certificate).ok().map(|certificate| certificate.not_after)
}

/// Media type of a request, RFC 3161 section 3.4.
pub const QUERY_TYPE: &str = "application/timestamp-query";
/// Media type of an answer.
pub const REPLY_TYPE: &str = "application/timestamp-reply";

/// Why a token is bad.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Longer than [`MAX_RESPONSE`].
    #[error("longer than {MAX_RESPONSE} bytes")]
    TooLong,
    /// Not the DER of a timestamp token.
    #[error("not a timestamp token: {0}")]
    Malformed(&'static str),
    /// It is one, but says or shows something that is not allowed.
    #[error("{0}")]
    Refused(&'static str),
    /// The signature over it is bad.
    #[error("the signature of the timestamp is bad")]
    Signature,
    /// It is about something else.
    #[error("it is a timestamp of something else: its imprint is {0}")]
    Imprint(String),
    /// It answers another request.
    #[error("its nonce is not the one that was sent")]
    Nonce,
}

#[cfg(test)]
mod tests;
