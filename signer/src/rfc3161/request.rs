//! `TimeStampReq` and `TimeStampResp` (RFC 3161 section 2.4).

use super::der::{BIT_STRING, SEQUENCE, Value};
use super::{MAX_RESPONSE, TokenError};

/// What is asked of a TSA: to sign that it saw this hash. Version 1, SHA-256, with its certificate in the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// SHA-256 of what is to be dated.
    pub imprint: [u8; 32],
    /// Random bytes that the token has to repeat: an old token is no answer.
    pub nonce: [u8; 16],
}

/// Why an answer has no token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResponseError {
    /// Longer than [`MAX_RESPONSE`].
    #[error("the answer is longer than {MAX_RESPONSE} bytes")]
    TooLong,
    /// Not the DER of an answer.
    #[error("the answer is no RFC 3161 response")]
    Malformed,
    /// The TSA refuses. `status` is its PKIStatus (2 is rejection), `failure` the numbers of the bits set in
    /// PKIFailureInfo (0 bad algorithm, 2 bad request, 5 bad format, 14 time not available, 15 unaccepted policy,
    /// 16 unaccepted extension, 17 information not available, 25 system failure).
    #[error("the TSA refuses: status {status}, failure info {failure:?}")]
    Rejected {
        /// PKIStatus.
        status: u64,
        /// Bits of PKIFailureInfo.
        failure: Vec<usize>,
    },
}

/// `SEQUENCE { SEQUENCE { sha256, NULL }, OCTET STRING (32) }` up to the hash.
const IMPRINT_PREFIX: [u8; 19] = [
    0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00,
    0x04, 0x20,
];

impl Request {
    /// The `TimeStampReq`.
    pub fn to_der(&self) -> Vec<u8> {
        let mut body = vec![0x02, 0x01, 0x01];
        body.extend_from_slice(&IMPRINT_PREFIX);
        body.extend_from_slice(&self.imprint);
        let nonce = self.nonce_contents();
        body.extend_from_slice(&[0x02, nonce.len() as u8]);
        body.extend_from_slice(&nonce);
        body.extend_from_slice(&[0x01, 0x01, 0xff]);
        let mut request = vec![0x30, body.len() as u8];
        request.extend_from_slice(&body);
        request
    }

    /// The nonce as an INTEGER's contents: positive, in the shortest form.
    pub(super) fn nonce_contents(&self) -> Vec<u8> {
        let zeros = self.nonce.iter().take_while(|byte| **byte == 0).count().min(15);
        let mut contents = self.nonce[zeros..].to_vec();
        if contents[0] >= 0x80 {
            contents.insert(0, 0);
        }
        contents
    }
}

/// The token in a TSA's answer. Nothing of it is verified yet.
///
/// # Errors
/// When the answer is too long, malformed, or a refusal.
pub fn token_of(response: &[u8]) -> Result<&[u8], ResponseError> {
    if response.len() > MAX_RESPONSE {
        return Err(ResponseError::TooLong);
    }
    read(response).map_err(|_| ResponseError::Malformed)?
}

fn read(response: &[u8]) -> Result<Result<&[u8], ResponseError>, TokenError> {
    let what = "response";
    let mut walk = Value::only(response, SEQUENCE, what)?.inside(what)?;
    let mut info = walk.next(SEQUENCE)?.inside(what)?;
    let status = info.uint()?;
    let _text = info.optional(SEQUENCE)?;
    let failure = info.optional(BIT_STRING)?.map(|bits| set_bits(bits.contents)).unwrap_or_default();
    info.end()?;
    // 0 is granted, 1 granted with changes; the changes show when the token is compared with the request.
    if status > 1 {
        return Ok(Err(ResponseError::Rejected { status, failure }));
    }
    let token = walk.next(SEQUENCE)?;
    walk.end()?;
    Ok(Ok(token.raw))
}

fn set_bits(contents: &[u8]) -> Vec<usize> {
    let bytes = contents.get(1..).unwrap_or_default().iter().take(8);
    let bits = bytes.flat_map(|byte| (0..8).map(move |bit| byte >> (7 - bit) & 1 == 1));
    bits.enumerate().filter(|(_, set)| *set).map(|(bit, _)| bit).collect()
}
