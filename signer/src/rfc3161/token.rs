//! `TimeStampToken` (RFC 3161 section 2.4.2): CMS SignedData (RFC 5652) with one signer.

use ::der::asn1::ObjectIdentifier;
use sha1::Sha1;
use sha2::Digest;

use super::algorithm::{Hash, Scheme};
use super::certificate::Certificate;
use super::chain::{Chain, ChainError, Roots};
use super::der::{INTEGER, OCTET_STRING, SEQUENCE, SET, Value, Walk, context, context_primitive};
use super::request::Request;
use super::tst::TstInfo;
use super::{MAX_RESPONSE, TokenError};

const SIGNED_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.2");
const TST_INFO: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.16.1.4");
const CONTENT_TYPE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.3");
const MESSAGE_DIGEST: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.4");
const SIGNING_CERTIFICATE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.16.2.12");
const SIGNING_CERTIFICATE_V2: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.16.2.47");

/// Certificates in a token: a chain, and the odd one that is of no use.
const MAX_CERTIFICATES: usize = 16;
/// CRLs in a token.
const MAX_CRLS: usize = 8;
/// Signed attributes; four to six are usual.
const MAX_ATTRIBUTES: usize = 32;

const CMS: &str = "CMS SignedData";

/// A token whose signature is good by the certificate that it carries. Whose certificate that is, [`Token::chain`] says.
#[derive(Clone, Debug)]
pub struct Token {
    info: TstInfo,
    signer: Vec<u8>,
    certificates: Vec<Vec<u8>>,
    crls: Vec<Vec<u8>>,
}

impl Token {
    /// Reads a token's DER and verifies it as far as it goes by itself: one signer, whose certificate is in it, is for
    /// time stamping alone (RFC 3161 section 2.3) and is named by the signed attributes; the digest of the content; the
    /// signature.
    ///
    /// # Errors
    /// [`TokenError`] says what is wrong.
    pub fn parse(token: &[u8]) -> Result<Token, TokenError> {
        if token.len() > MAX_RESPONSE {
            return Err(TokenError::TooLong);
        }
        let mut outer = Value::only(token, SEQUENCE, CMS)?.inside(CMS)?;
        if outer.oid()? != SIGNED_DATA {
            return Err(TokenError::Malformed(CMS));
        }
        let content = outer.next(context(0))?;
        outer.end()?;
        SignedData::parse(Value::only(content.contents, SEQUENCE, CMS)?)?.verify()
    }

    /// What the token says.
    pub fn info(&self) -> &TstInfo {
        &self.info
    }

    /// Refuses a token that is about something else than `imprint`.
    ///
    /// # Errors
    /// [`TokenError::Imprint`].
    pub fn check_imprint(&self, imprint: &[u8; 32]) -> Result<(), TokenError> {
        match self.info.imprint == *imprint {
            true => Ok(()),
            false => Err(TokenError::Imprint(hex::encode(self.info.imprint))),
        }
    }

    /// Refuses a token that does not answer `request`.
    ///
    /// # Errors
    /// [`TokenError::Imprint`] and [`TokenError::Nonce`].
    pub fn check_request(&self, request: &Request) -> Result<(), TokenError> {
        self.check_imprint(&request.imprint)?;
        match self.info.nonce.as_deref() == Some(&request.nonce_contents()) {
            true => Ok(()),
            false => Err(TokenError::Nonce),
        }
    }

    /// The path from the token's certificate to one of `roots`, all of it judged at the token's own time.
    ///
    /// # Errors
    /// [`ChainError::Unknown`] when no path leads to a root, [`ChainError::Bad`] when one does but may not.
    pub fn chain(&self, roots: &Roots) -> Result<Chain, ChainError> {
        roots.chain(&self.signer, &self.certificates, &self.crls, self.info.gen_time)
    }
}

/// The parts of a SignedData that matter.
struct SignedData<'a> {
    content: &'a [u8],
    certificates: Vec<&'a [u8]>,
    crls: Vec<&'a [u8]>,
    signer: SignerInfo<'a>,
}

struct SignerInfo<'a> {
    id: SignerId<'a>,
    digest: Hash,
    attributes: Value<'a>,
    scheme: Scheme,
    signature: &'a [u8],
}

enum SignerId<'a> {
    IssuerAndSerial { issuer: &'a [u8], serial: &'a [u8] },
    KeyIdentifier(&'a [u8]),
}

impl<'a> SignedData<'a> {
    fn parse(value: Value<'a>) -> Result<SignedData<'a>, TokenError> {
        let mut walk = value.inside(CMS)?;
        // 3 for this content (RFC 5652 section 5.1), 4 and 5 with other kinds of certificates and revocation data.
        if !(3..=5).contains(&walk.uint()?) {
            return Err(TokenError::Malformed(CMS));
        }
        let digests = walk.next(SET)?.inside(CMS)?.rest(MAX_CRLS)?;
        let mut content = walk.next(SEQUENCE)?.inside(CMS)?;
        if content.oid()? != TST_INFO {
            return Err(TokenError::Refused("it signs something else than a TSTInfo"));
        }
        let encapsulated = content.next(context(0))?;
        content.end()?;
        let content = Value::only(encapsulated.contents, OCTET_STRING, CMS)?.contents;
        let list = |set: Option<Value<'a>>, max| -> Result<Vec<&'a [u8]>, TokenError> {
            let Some(set) = set else { return Ok(Vec::new()) };
            let values = set.inside(CMS)?.rest(max)?;
            // Other kinds of certificates and revocation data have other tags; they are of no use here.
            Ok(values.iter().filter(|value| value.tag == SEQUENCE).map(|value| value.raw).collect())
        };
        let certificates = list(walk.optional(context(0))?, MAX_CERTIFICATES)?;
        let crls = list(walk.optional(context(1))?, MAX_CRLS)?;
        let signers = walk.next(SET)?.inside(CMS)?.rest(2)?;
        walk.end()?;
        let [signer] = signers.as_slice() else {
            return Err(TokenError::Refused("it has not exactly one signer"));
        };
        let signer = SignerInfo::parse(*signer)?;
        let mut named = false;
        for digest in digests {
            named |= Hash::of_algorithm(digest) == Ok(signer.digest);
        }
        if !named {
            return Err(TokenError::Malformed("digest algorithms do not name the signer's"));
        }
        Ok(SignedData { content, certificates, crls, signer })
    }

    fn verify(self) -> Result<Token, TokenError> {
        let certificate = self.signer_certificate()?;
        certificate.check_time_stamping()?;
        let attributes = Attributes::read(self.signer.attributes)?;
        if attributes.one(CONTENT_TYPE)?.map(|value| value.raw) != Some(&TST_INFO_DER[..]) {
            return Err(TokenError::Refused("its signed content type is not TSTInfo"));
        }
        let digest = attributes.one(MESSAGE_DIGEST)?.filter(|value| value.tag == OCTET_STRING);
        if digest.map(|value| value.contents) != Some(&self.signer.digest.digest(self.content)[..]) {
            return Err(TokenError::Refused("its signed digest is not that of its content"));
        }
        attributes.check_signing_certificate(&certificate)?;
        // RFC 5652 section 5.4: signed with the tag of a SET, not the [0] that stands here.
        let mut signed = self.signer.attributes.raw.to_vec();
        signed[0] = SET;
        self.signer.scheme.verify(certificate.spki, &signed, self.signer.signature)?;
        Ok(Token {
            info: TstInfo::parse(self.content)?,
            signer: certificate.raw.to_vec(),
            certificates: self.certificates.iter().map(|raw| raw.to_vec()).collect(),
            crls: self.crls.iter().map(|raw| raw.to_vec()).collect(),
        })
    }

    fn signer_certificate(&self) -> Result<Certificate<'a>, TokenError> {
        let parsed = self.certificates.iter().filter_map(|raw| Certificate::parse(raw).ok());
        let mut named = parsed.filter(|certificate| match &self.signer.id {
            SignerId::IssuerAndSerial { issuer, serial } => {
                certificate.issuer == *issuer && certificate.serial == *serial
            }
            SignerId::KeyIdentifier(id) => certificate.key_identifier() == Some(id),
        });
        named.next().ok_or(TokenError::Refused("the signer's certificate is not in it"))
    }
}

/// `OBJECT IDENTIFIER id-ct-TSTInfo` as it stands in the content-type attribute.
const TST_INFO_DER: [u8; 13] = [0x06, 0x0b, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x10, 0x01, 0x04];

impl<'a> SignerInfo<'a> {
    fn parse(value: Value<'a>) -> Result<SignerInfo<'a>, TokenError> {
        const WHAT: &str = "SignerInfo";
        if value.tag != SEQUENCE {
            return Err(TokenError::Malformed(WHAT));
        }
        let mut walk = value.inside(WHAT)?;
        let version = walk.uint()?;
        let id = match walk.optional(context_primitive(0))? {
            Some(id) => SignerId::KeyIdentifier(id.contents),
            None => {
                let mut id = walk.next(SEQUENCE)?.inside(WHAT)?;
                let (issuer, serial) = (id.next(SEQUENCE)?.raw, id.next(INTEGER)?.contents);
                id.end()?;
                SignerId::IssuerAndSerial { issuer, serial }
            }
        };
        let expected = if matches!(id, SignerId::KeyIdentifier(_)) { 3 } else { 1 };
        if version != expected {
            return Err(TokenError::Malformed(WHAT));
        }
        let digest = Hash::of_algorithm(walk.next(SEQUENCE)?)?;
        let attributes = walk.next(context(0))?;
        let scheme = Scheme::parse(walk.next(SEQUENCE)?, Some(digest))?;
        if scheme.hash() != digest {
            return Err(TokenError::Refused("its two hashes differ"));
        }
        let signature = walk.next(OCTET_STRING)?.contents;
        if !walk.is_at_end() {
            return Err(TokenError::Refused("it has unsigned attributes, which nothing vouches for"));
        }
        Ok(SignerInfo { id, digest, attributes, scheme, signature })
    }
}

/// The signed attributes, each with its one value.
struct Attributes<'a>(Vec<(ObjectIdentifier, Vec<Value<'a>>)>);

impl<'a> Attributes<'a> {
    fn read(set: Value<'a>) -> Result<Attributes<'a>, TokenError> {
        const WHAT: &str = "signed attributes";
        let mut list = Vec::new();
        for attribute in set.inside(WHAT)?.rest(MAX_ATTRIBUTES)? {
            let mut walk = attribute.inside(WHAT)?;
            let oid = walk.oid()?;
            let values = walk.next(SET)?.inside(WHAT)?.rest(MAX_ATTRIBUTES)?;
            walk.end()?;
            if attribute.tag != SEQUENCE || list.iter().any(|(known, _)| *known == oid) {
                return Err(TokenError::Malformed(WHAT));
            }
            list.push((oid, values));
        }
        Ok(Attributes(list))
    }

    /// The only value of an attribute.
    fn one(&self, oid: ObjectIdentifier) -> Result<Option<Value<'a>>, TokenError> {
        match self.0.iter().find(|(known, _)| *known == oid).map(|(_, values)| values.as_slice()) {
            None => Ok(None),
            Some([value]) => Ok(Some(*value)),
            Some(_) => Err(TokenError::Malformed("a signed attribute with several values")),
        }
    }

    /// The signed attributes have to name the certificate, so that no other one of the same key can take its place
    /// (RFC 2634 section 5.4, with SHA-1; RFC 5035, with a hash of choice). Where both stand, both have to.
    fn check_signing_certificate(&self, certificate: &Certificate<'_>) -> Result<(), TokenError> {
        const WHAT: &str = "signing-certificate attribute";
        let first = |value: Value<'a>| -> Result<Walk<'a>, TokenError> {
            let ids = Value::only(value.raw, SEQUENCE, WHAT)?.inside(WHAT)?.next(SEQUENCE)?;
            // The first one is the signer's.
            ids.inside(WHAT)?.next(SEQUENCE)?.inside(WHAT)
        };
        let mut named = false;
        if let Some(value) = self.one(SIGNING_CERTIFICATE)? {
            named = true;
            let hash = first(value)?.next(OCTET_STRING)?.contents;
            if hash != &Sha1::digest(certificate.raw)[..] {
                return Err(TokenError::Refused(
                    "its signing-certificate attribute names another certificate",
                ));
            }
        }
        if let Some(value) = self.one(SIGNING_CERTIFICATE_V2)? {
            named = true;
            let mut id = first(value)?;
            let algorithm = id.optional(SEQUENCE)?.map(Hash::of_algorithm).transpose()?;
            let hash = id.next(OCTET_STRING)?.contents;
            if hash != algorithm.unwrap_or(Hash::Sha256).digest(certificate.raw) {
                return Err(TokenError::Refused(
                    "its signing-certificate attribute names another certificate",
                ));
            }
        }
        if named { Ok(()) } else { Err(TokenError::Refused("it has no signing-certificate attribute")) }
    }
}
