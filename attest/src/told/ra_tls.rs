//! Certificates that hold a quote about their own key (RA-TLS): dstack's, and Intel's first form, which Gramine writes too.
//!
//! The quote answers no nonce: it is as old as the certificate, and who has the key may be elsewhere by now. What is fresh is the
//! handshake alone.

use super::Claim;
use crate::Refusal;
use colophon_receipt::merkle::sha256;
use colophon_signer::x509::Certificate;
use sha2::{Digest as _, Sha512};

const WHAT: &str = "RA-TLS certificate";
/// Phala's arc: the quote, an OCTET STRING in the extension.
pub(super) const DSTACK: &str = "1.3.6.1.4.1.62397.1.1";
/// Intel's: the quote as it is.
pub(super) const INTEL: &str = "1.2.840.113741.1337.6";

pub(super) fn claim(der: &[u8], at: u64) -> Result<Claim, Refusal> {
    let certificate = Certificate::parse(der).map_err(|error| Refusal::malformed(WHAT, error.to_string()))?;
    let (from, to) = certificate.validity();
    if at < from || at > to {
        return Err(Refusal::Time("the certificate with the quote was not valid then".into()));
    }
    let spki = certificate.spki();
    let mut report_data = [0; 64];
    let quote = match (certificate.extension(DSTACK), certificate.extension(INTEL)) {
        (Some(extension), _) => {
            report_data.copy_from_slice(&Sha512::digest([b"ratls-cert:", spki].concat()));
            octets(extension)?
        }
        (None, Some(quote)) => {
            report_data[..32].copy_from_slice(&sha256(spki));
            quote
        }
        (None, None) => return Err(Refusal::malformed(WHAT, "it holds no quote")),
    };
    Ok(Claim { quote: quote.to_vec(), report_data, tls_spki: vec![sha256(spki)] })
}

/// The contents of a DER OCTET STRING that is all there is.
fn octets(der: &[u8]) -> Result<&[u8], Refusal> {
    let contents = match der {
        [4, length, rest @ ..] if *length < 0x80 => Some((usize::from(*length), rest)),
        [4, 0x81, length, rest @ ..] => Some((usize::from(*length), rest)),
        [4, 0x82, high, low, rest @ ..] => Some((usize::from(u16::from_be_bytes([*high, *low])), rest)),
        _ => None,
    };
    let contents = contents.filter(|(length, rest)| *length == rest.len()).map(|(_, rest)| rest);
    contents.ok_or_else(|| Refusal::malformed(WHAT, "its quote is no OCTET STRING"))
}
