//! X.509 certificates and CRLs (RFC 5280), as much of them as judging a TSA's chain takes.

use ::der::asn1::ObjectIdentifier;
use ::der::{DateTime, Decode};

use super::TokenError;
use super::chain::verify_signed;
use super::der::{
    BIT_STRING, BOOLEAN, GENERALIZED_TIME, INTEGER, OCTET_STRING, SEQUENCE, SET, UTC_TIME, Value, Walk,
    context, context_primitive, uint,
};

const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
const ORGANISATION: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.10");
const SUBJECT_KEY_IDENTIFIER: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.14");
const KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.15");
const SUBJECT_ALT_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.17");
const BASIC_CONSTRAINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.19");
const REASON_CODE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.21");
const CERTIFICATE_POLICIES: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.32");
const EXTENDED_KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37");
const ANY_EXTENDED_KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37.0");
const TIME_STAMPING: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.8");

/// Extensions of a certificate or CRL.
const MAX_EXTENSIONS: usize = 64;
/// Revoked certificates in a CRL; more do not fit a token, and roots' CRLs are short.
const MAX_REVOKED: usize = 100_000;

const WHAT: &str = "certificate";

/// A certificate taken apart.
#[derive(Clone)]
pub(crate) struct Certificate<'a> {
    /// All of it.
    pub(crate) raw: &'a [u8],
    signed: &'a [u8],
    algorithm: Value<'a>,
    signature: &'a [u8],
    /// Contents of the serial number.
    pub(crate) serial: &'a [u8],
    /// The issuer's name, DER.
    pub(crate) issuer: &'a [u8],
    /// The subject's name, DER.
    pub(crate) subject: &'a [u8],
    /// SubjectPublicKeyInfo, DER.
    pub(crate) spki: &'a [u8],
    /// In seconds since the epoch.
    pub(crate) not_before: u64,
    /// In seconds since the epoch; good through this second.
    pub(crate) not_after: u64,
    extensions: Vec<Extension<'a>>,
}

#[derive(Clone)]
struct Extension<'a> {
    oid: ObjectIdentifier,
    critical: bool,
    value: &'a [u8],
}

impl<'a> Certificate<'a> {
    pub(crate) fn parse(raw: &'a [u8]) -> Result<Certificate<'a>, TokenError> {
        let mut outer = Value::only(raw, SEQUENCE, WHAT)?.inside(WHAT)?;
        let (signed, algorithm, signature) = (outer.next(SEQUENCE)?, outer.next(SEQUENCE)?, outer.bits()?);
        outer.end()?;
        let mut walk = signed.inside(WHAT)?;
        let version = walk.optional(context(0))?;
        let version = version.map(|value| Walk::new(value.contents, WHAT)?.uint()).transpose()?;
        let serial = walk.next(INTEGER)?.contents;
        if walk.next(SEQUENCE)?.raw != algorithm.raw {
            return Err(TokenError::Malformed("certificate with two signature algorithms"));
        }
        let issuer = walk.next(SEQUENCE)?.raw;
        let mut validity = walk.next(SEQUENCE)?.inside(WHAT)?;
        let (not_before, not_after) = (time(validity.any()?)?, time(validity.any()?)?);
        validity.end()?;
        let subject = walk.next(SEQUENCE)?.raw;
        let spki = walk.next(SEQUENCE)?.raw;
        let _issuer_id = walk.optional(context_primitive(1))?;
        let _subject_id = walk.optional(context_primitive(2))?;
        let extensions = match walk.optional(context(3))? {
            Some(value) if version == Some(2) => extensions(Value::only(value.contents, SEQUENCE, WHAT)?)?,
            Some(_) => {
                return Err(TokenError::Malformed("certificate with extensions that is not version 3"));
            }
            None => Vec::new(),
        };
        walk.end()?;
        Ok(Certificate {
            raw,
            signed: signed.raw,
            algorithm,
            signature,
            serial,
            issuer,
            subject,
            spki,
            not_before,
            not_after,
            extensions,
        })
    }

    /// Common name, else organisation, else nothing.
    pub(crate) fn name(&self) -> String {
        let find = |wanted| name_part(self.subject, wanted).ok().flatten();
        find(COMMON_NAME).or_else(|| find(ORGANISATION)).unwrap_or_default()
    }

    pub(crate) fn is_signed_by(&self, issuer: &Certificate<'_>) -> bool {
        verify_signed(self.signed, self.algorithm, self.signature, issuer)
    }

    /// The subject key identifier.
    pub(super) fn key_identifier(&self) -> Option<&'a [u8]> {
        let value = self.extension(SUBJECT_KEY_IDENTIFIER)?.value;
        Value::only(value, OCTET_STRING, WHAT).ok().map(|value| value.contents)
    }

    /// RFC 3161 section 2.3: an extended key usage that is critical and names time stamping alone. Where there is a key
    /// usage, it has to allow signatures.
    pub(super) fn check_time_stamping(&self) -> Result<(), TokenError> {
        let usage = self.extension(EXTENDED_KEY_USAGE);
        let usage = usage.ok_or(TokenError::Refused("its certificate has no extended key usage"))?;
        if !usage.critical {
            return Err(TokenError::Refused("the extended key usage of its certificate is not critical"));
        }
        if purposes(usage.value)? != [TIME_STAMPING] {
            return Err(TokenError::Refused("its certificate is not for time stamping alone"));
        }
        match self.key_usage()? {
            // digitalSignature and contentCommitment
            Some(bits) if bits & 0xc000 == 0 => Err(TokenError::Refused("its certificate may not sign")),
            _ => Ok(()),
        }
    }

    /// Whether this may issue certificates, with `below` authorities between it and the TSA.
    pub(super) fn check_authority(&self, below: usize) -> Result<(), TokenError> {
        self.check_issuer(below)?;
        if let Some(usage) = self.extension(EXTENDED_KEY_USAGE) {
            let purposes = purposes(usage.value)?;
            if !purposes.iter().any(|purpose| [TIME_STAMPING, ANY_EXTENDED_KEY_USAGE].contains(purpose)) {
                return Err(TokenError::Refused("it may not issue certificates for time stamping"));
            }
        }
        Ok(())
    }

    /// Whether this may issue certificates for anything, with `below` authorities under it.
    pub(crate) fn check_issuer(&self, below: usize) -> Result<(), TokenError> {
        let constraints = self.extension(BASIC_CONSTRAINTS);
        let constraints = constraints.ok_or(TokenError::Refused("it is no certificate authority"))?;
        let mut walk = Value::only(constraints.value, SEQUENCE, WHAT)?.inside(WHAT)?;
        let authority = walk.optional(BOOLEAN)?.is_some_and(|value| value.contents == [0xff]);
        let longest = walk.optional(INTEGER)?.map(|value| uint(value.contents));
        walk.end()?;
        if !authority {
            return Err(TokenError::Refused("it is no certificate authority"));
        }
        if let Some(longest) = longest
            && longest.is_none_or(|longest| (below as u64) > longest)
        {
            return Err(TokenError::Refused("the chain below it is longer than it allows"));
        }
        // keyCertSign
        if self.key_usage()?.is_some_and(|bits| bits & 0x0400 == 0) {
            return Err(TokenError::Refused("it may not sign certificates"));
        }
        Ok(())
    }

    /// Refuses what says that it must be understood and is not: name constraints, above all.
    pub(crate) fn check_critical(&self) -> Result<(), TokenError> {
        const KNOWN: [ObjectIdentifier; 5] =
            [KEY_USAGE, EXTENDED_KEY_USAGE, BASIC_CONSTRAINTS, CERTIFICATE_POLICIES, SUBJECT_ALT_NAME];
        match self.extensions.iter().any(|extension| extension.critical && !KNOWN.contains(&extension.oid)) {
            true => Err(TokenError::Refused("it has a critical extension that this program does not know")),
            false => Ok(()),
        }
    }

    /// The contents of an extension.
    pub(crate) fn extension_value(&self, oid: ObjectIdentifier) -> Option<&'a [u8]> {
        self.extension(oid).map(|extension| extension.value)
    }

    fn extension(&self, oid: ObjectIdentifier) -> Option<&Extension<'a>> {
        self.extensions.iter().find(|extension| extension.oid == oid)
    }

    /// The bits of the key usage, the first one highest.
    fn key_usage(&self) -> Result<Option<u16>, TokenError> {
        let Some(extension) = self.extension(KEY_USAGE) else { return Ok(None) };
        let contents = Value::only(extension.value, BIT_STRING, WHAT)?.contents;
        let byte = |at| contents.get(at).copied().unwrap_or_default();
        Ok(Some(u16::from_be_bytes([byte(1), byte(2)])))
    }
}

/// A revocation list taken apart.
pub(crate) struct Crl<'a> {
    signed: &'a [u8],
    algorithm: Value<'a>,
    signature: &'a [u8],
    issuer: &'a [u8],
    next_update: Option<u64>,
    revoked: Vec<Value<'a>>,
    /// It has an extension that says which part of the certificates it is about, or otherwise must be understood.
    partial: bool,
}

impl<'a> Crl<'a> {
    pub(crate) fn parse(raw: &'a [u8]) -> Result<Crl<'a>, TokenError> {
        const WHAT: &str = "CRL";
        let mut outer = Value::only(raw, SEQUENCE, WHAT)?.inside(WHAT)?;
        let (signed, algorithm, signature) = (outer.next(SEQUENCE)?, outer.next(SEQUENCE)?, outer.bits()?);
        outer.end()?;
        let mut walk = signed.inside(WHAT)?;
        let _version = walk.optional(INTEGER)?;
        if walk.next(SEQUENCE)?.raw != algorithm.raw {
            return Err(TokenError::Malformed("CRL with two signature algorithms"));
        }
        let issuer = walk.next(SEQUENCE)?.raw;
        let _this_update = time(walk.any()?)?;
        let next_update = match walk.optional(UTC_TIME)? {
            Some(value) => Some(time(value)?),
            None => walk.optional(GENERALIZED_TIME)?.map(time).transpose()?,
        };
        let revoked = match walk.optional(SEQUENCE)? {
            Some(list) => list.inside(WHAT)?.rest(MAX_REVOKED)?,
            None => Vec::new(),
        };
        let extensions = match walk.optional(context(0))? {
            Some(value) => extensions(Value::only(value.contents, SEQUENCE, WHAT)?)?,
            None => Vec::new(),
        };
        walk.end()?;
        let partial = extensions.iter().any(|extension| extension.critical);
        Ok(Crl { signed: signed.raw, algorithm, signature, issuer, next_update, revoked, partial })
    }

    /// Whether `issuer` made this list, about all of its certificates.
    pub(crate) fn is_by(&self, issuer: &Certificate<'_>) -> bool {
        // cRLSign
        let may = issuer.key_usage().is_ok_and(|bits| bits.is_none_or(|bits| bits & 0x0200 != 0));
        !self.partial
            && may
            && self.issuer == issuer.subject
            && verify_signed(self.signed, self.algorithm, self.signature, issuer)
    }

    /// Whether a revocation before `time` (µs) would stand in it: it was valid after that.
    pub(crate) fn covers(&self, time: u64) -> bool {
        self.next_update.is_some_and(|next| next >= time / 1_000_000)
    }

    /// Whether it revokes `certificate` for tokens of `time` (µs). RFC 3161 section 4: what was revoked because its key
    /// or its authority's was compromised, or without a reason, is revoked for all tokens; otherwise for later ones.
    pub(crate) fn revokes(
        &self,
        certificate: &Certificate<'_>,
        time_of_token: u64,
    ) -> Result<bool, TokenError> {
        for entry in &self.revoked {
            let mut walk = entry.inside("CRL entry")?;
            if walk.next(INTEGER)?.contents != certificate.serial {
                continue;
            }
            let since = time(walk.any()?)?;
            let extensions = match walk.optional(SEQUENCE)? {
                Some(list) => extensions(list)?,
                None => Vec::new(),
            };
            let reason = extensions.iter().find(|extension| extension.oid == REASON_CODE);
            // affiliationChanged, superseded, cessationOfOperation
            let harmless = reason.is_some_and(|reason| matches!(reason.value, [0x0a, 1, 3..=5]));
            return Ok(!harmless || since <= time_of_token / 1_000_000);
        }
        Ok(false)
    }
}

fn extensions(list: Value<'_>) -> Result<Vec<Extension<'_>>, TokenError> {
    const WHAT: &str = "extensions";
    let mut extensions: Vec<Extension<'_>> = Vec::new();
    for value in list.inside(WHAT)?.rest(MAX_EXTENSIONS)? {
        let mut walk = value.inside(WHAT)?;
        let oid = walk.oid()?;
        let critical = walk.optional(BOOLEAN)?.is_some_and(|value| value.contents != [0]);
        let value = walk.next(OCTET_STRING)?.contents;
        walk.end()?;
        if extensions.iter().any(|known| known.oid == oid) {
            return Err(TokenError::Malformed("an extension twice"));
        }
        extensions.push(Extension { oid, critical, value });
    }
    Ok(extensions)
}

fn purposes(value: &[u8]) -> Result<Vec<ObjectIdentifier>, TokenError> {
    const WHAT: &str = "extended key usage";
    let values = Value::only(value, SEQUENCE, WHAT)?.inside(WHAT)?.rest(MAX_EXTENSIONS)?;
    let oid = |value: &Value<'_>| ObjectIdentifier::from_der(value.raw);
    values.iter().map(oid).collect::<Result<_, _>>().map_err(|_| TokenError::Malformed(WHAT))
}

/// The last value of this kind in a name, where it is text.
fn name_part(name: &[u8], wanted: ObjectIdentifier) -> Result<Option<String>, TokenError> {
    const WHAT: &str = "name";
    let mut found = None;
    for set in Value::only(name, SEQUENCE, WHAT)?.inside(WHAT)?.rest(MAX_EXTENSIONS)? {
        if set.tag != SET {
            return Err(TokenError::Malformed(WHAT));
        }
        for part in set.inside(WHAT)?.rest(MAX_EXTENSIONS)? {
            let mut walk = part.inside(WHAT)?;
            if walk.oid()? == wanted {
                // Strings of two bytes a character are not worth a decoder for a name that is only shown.
                found = std::str::from_utf8(walk.any()?.contents).ok().map(str::to_owned);
            }
        }
    }
    Ok(found)
}

/// `Time` of RFC 5280 section 4.1.2.5, in seconds since the epoch.
fn time(value: Value<'_>) -> Result<u64, TokenError> {
    let parse = || {
        let text = std::str::from_utf8(value.contents).ok()?.strip_suffix('Z')?;
        let century = match value.tag {
            UTC_TIME if text.get(..1)? < "5" => "20",
            UTC_TIME => "19",
            GENERALIZED_TIME => "",
            _ => return None,
        };
        let text = format!("{century}{text}");
        if text.len() != 14 || !text.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let byte = |from: usize| text.get(from..from + 2)?.parse::<u8>().ok();
        let year = text.get(..4)?.parse().ok()?;
        let date = DateTime::new(year, byte(4)?, byte(6)?, byte(8)?, byte(10)?, byte(12)?).ok()?;
        Some(date.unix_duration().as_secs())
    };
    parse().ok_or(TokenError::Malformed("time in a certificate"))
}
