//! `TSTInfo` (RFC 3161 section 2.4.2): what the TSA signs.

use ::der::DateTime;

use super::TokenError;
use super::algorithm::Hash;
use super::der::{
    BOOLEAN, GENERALIZED_TIME, INTEGER, OCTET_STRING, SEQUENCE, Value, context, context_primitive, uint,
};

const WHAT: &str = "TSTInfo";

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TstInfo {
    /// When the TSA made it, in µs since the epoch, by its clock.
    pub gen_time: u64,
    /// How far that may be off either way, in µs, where the TSA says so.
    pub accuracy: Option<u64>,
    /// SHA-256 of what was dated.
    pub imprint: [u8; 32],
    /// The number of this token at its TSA, in hexadecimal.
    pub serial: String,
    /// The TSA's policy, as dotted numbers.
    pub policy: String,
    /// The nonce of the request, as an INTEGER's contents.
    pub(super) nonce: Option<Vec<u8>>,
}

impl TstInfo {
    pub(super) fn parse(bytes: &[u8]) -> Result<TstInfo, TokenError> {
        let mut walk = Value::only(bytes, SEQUENCE, WHAT)?.inside(WHAT)?;
        if walk.uint()? != 1 {
            return Err(TokenError::Malformed("TSTInfo of another version than 1"));
        }
        let policy = walk.oid()?.to_string();
        let mut imprint = walk.next(SEQUENCE)?.inside(WHAT)?;
        let hash = Hash::of_algorithm(imprint.next(SEQUENCE)?)?;
        let hashed = imprint.next(OCTET_STRING)?.contents;
        imprint.end()?;
        if hash != Hash::Sha256 {
            return Err(TokenError::Refused("its imprint is not SHA-256"));
        }
        let imprint = hashed.try_into().map_err(|_| TokenError::Malformed("imprint"))?;
        let serial = hex::encode(walk.next(INTEGER)?.contents);
        let gen_time = time(walk.next(GENERALIZED_TIME)?.contents)?;
        let accuracy = walk.optional(SEQUENCE)?.map(accuracy).transpose()?;
        if let Some(ordering) = walk.optional(BOOLEAN)? {
            // FALSE is the default, which DER leaves out; some TSAs write it.
            if !matches!(ordering.contents, [0x00 | 0xff]) {
                return Err(TokenError::Malformed(WHAT));
            }
        }
        let nonce = walk.optional(INTEGER)?.map(|nonce| nonce.contents.to_vec());
        let _tsa = walk.optional(context(0))?;
        if walk.optional(context(1))?.is_some() {
            return Err(TokenError::Refused("TSTInfo has extensions, which this program does not know"));
        }
        walk.end()?;
        Ok(TstInfo { gen_time, accuracy, imprint, serial, policy, nonce })
    }
}

/// `YYYYMMDDhhmmss[.f…]Z` in µs since the epoch. Digits beyond µs are cut.
fn time(contents: &[u8]) -> Result<u64, TokenError> {
    let malformed = TokenError::Malformed("genTime");
    let parse = || {
        let text = std::str::from_utf8(contents).ok()?.strip_suffix('Z')?;
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
        // No trailing zeros, no lone point: RFC 3161 allows one spelling.
        let odd = text.len() != whole.len() && (fraction.is_empty() || fraction.ends_with('0'));
        if whole.len() != 14 || fraction.len() > 18 || !digits(whole) || !digits(fraction) || odd {
            return None;
        }
        let number = |from: usize, to: usize| whole.get(from..to)?.parse::<u16>().ok();
        let byte = |from| number(from, from + 2).and_then(|n| u8::try_from(n).ok());
        let date = DateTime::new(number(0, 4)?, byte(4)?, byte(6)?, byte(8)?, byte(10)?, byte(12)?).ok()?;
        let micros: String = fraction.chars().chain("000000".chars()).take(6).collect();
        date.unix_duration().as_secs().checked_mul(1_000_000)?.checked_add(micros.parse().ok()?)
    };
    parse().ok_or(malformed)
}

/// `Accuracy { seconds, [0] millis, [1] micros }` in µs.
fn accuracy(value: Value<'_>) -> Result<u64, TokenError> {
    let malformed = TokenError::Malformed("accuracy");
    let mut walk = value.inside("accuracy")?;
    let seconds = walk.optional(INTEGER)?;
    let millis = walk.optional(context_primitive(0))?;
    let micros = walk.optional(context_primitive(1))?;
    walk.end()?;
    let mut sum = 0u64;
    for (part, unit, most) in [(seconds, 1_000_000, u64::MAX), (millis, 1000, 999), (micros, 1, 999)] {
        let Some(part) = part else { continue };
        let number = uint(part.contents).filter(|number| *number <= most).ok_or(malformed.clone())?;
        let added = number.checked_mul(unit).and_then(|part| sum.checked_add(part));
        sum = added.ok_or(malformed.clone())?;
    }
    Ok(sum)
}
