//! A time stamping authority in a box, with the time, the certificates and the mistakes that a test asks for.
//!
//! It makes its DER by hand, so that it can make what no library would; OpenSSL's `ts` and others show in the tests that
//! what it makes without mistakes is right.
#![allow(clippy::expect_used)] // Only tests and benchmarks call this, and they should fail loudly.

use ::der::asn1::ObjectIdentifier;
use ::der::{DateTime, Encode};
use colophon_receipt::merkle::sha256;
use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::{Signature, SigningKey};
use std::time::Duration;

use super::Roots;

const ECDSA_SHA256: &str = "1.2.840.10045.4.3.2";
const TIME_STAMPING: &str = "1.3.6.1.5.5.7.3.8";

/// A certificate to be made.
#[derive(Clone, Debug)]
pub struct Template {
    /// Common name of the subject.
    pub name: String,
    /// Validity, in seconds since the epoch.
    pub valid: (u64, u64),
    /// Whether it may issue certificates.
    pub authority: bool,
    /// The purposes of its extended key usage, as dotted numbers, and whether that is critical; none: no such extension.
    pub purposes: Option<(Vec<String>, bool)>,
}

/// A key with a certificate.
#[derive(Clone)]
pub struct Identity {
    name: String,
    key: SigningKey,
    serial: u8,
    /// The certificate, DER.
    pub certificate: Vec<u8>,
}

/// Whose tokens are made, and how. Change what a test is about, and leave the rest.
#[derive(Clone)]
pub struct Tsa {
    /// Who signs.
    pub signers: Vec<Identity>,
    /// What stands in the token beside the signers' certificates.
    pub others: Vec<Vec<u8>>,
    /// Its root.
    pub root: Identity,
    /// Whether the signing-certificate attribute names the right certificate, by SHA-256 (`true`), or another one.
    pub names_itself: bool,
    /// Whether the message digest is right.
    pub digest: bool,
}

impl Template {
    /// A root or an authority below one.
    pub fn authority(name: &str, valid: (u64, u64)) -> Template {
        Template { name: name.into(), valid, authority: true, purposes: None }
    }

    /// A TSA's own certificate as RFC 3161 asks for it.
    pub fn tsa(name: &str, valid: (u64, u64)) -> Template {
        Template {
            authority: false,
            purposes: Some((vec![TIME_STAMPING.into()], true)),
            ..Template::authority(name, valid)
        }
    }
}

impl Identity {
    /// Makes it, with a key that follows from `seed`; without an issuer it is self-signed.
    pub fn new(seed: u8, template: &Template, issuer: Option<&Identity>) -> Identity {
        let key = SigningKey::from_slice(&sha256(&[seed])).expect("a hash is a key");
        let (issuer_name, issuer_key) = match issuer {
            Some(issuer) => (issuer.name.as_str(), &issuer.key),
            None => (template.name.as_str(), &key),
        };
        let spki = public_key(&key);
        let mut extensions = Vec::new();
        let mut extension = |oid: &str, critical: bool, value: Vec<u8>| {
            let mut parts = id(oid);
            if critical {
                parts.extend(tlv(0x01, &[0xff]));
            }
            parts.extend(tlv(0x04, &value));
            extensions.extend(tlv(0x30, &parts));
        };
        let constraints = if template.authority { tlv(0x01, &[0xff]) } else { Vec::new() };
        extension("2.5.29.19", true, tlv(0x30, &constraints));
        let usage: &[u8] = if template.authority { &[1, 0x06] } else { &[7, 0x80] };
        extension("2.5.29.15", true, tlv(0x03, usage));
        if let Some((purposes, critical)) = &template.purposes {
            let purposes: Vec<u8> = purposes.iter().flat_map(|purpose| id(purpose)).collect();
            extension("2.5.29.37", *critical, tlv(0x30, &purposes));
        }
        let signed = tlv(
            0x30,
            &[
                tlv(0xa0, &tlv(0x02, &[2])),
                tlv(0x02, &[seed]),
                algorithm(),
                name(issuer_name),
                tlv(0x30, &[time(template.valid.0), time(template.valid.1)].concat()),
                name(&template.name),
                spki,
                tlv(0xa3, &tlv(0x30, &extensions)),
            ]
            .concat(),
        );
        let certificate = sign(issuer_key, signed);
        Identity { name: issuer_name.to_owned(), key, serial: seed, certificate }.named(&template.name)
    }

    /// A list by this authority that revokes a serial number at a time (seconds), for a reason of RFC 5280.
    pub fn crl(&self, revoked: u8, at: u64, reason: Option<u8>, next_update: u64) -> Vec<u8> {
        let mut entry = [tlv(0x02, &[revoked]), time(at)].concat();
        if let Some(reason) = reason {
            let extension = [id("2.5.29.21"), tlv(0x04, &tlv(0x0a, &[reason]))].concat();
            entry.extend(tlv(0x30, &tlv(0x30, &extension)));
        }
        let signed = [
            tlv(0x02, &[1]),
            algorithm(),
            name(&self.name),
            time(at),
            time(next_update),
            tlv(0x30, &tlv(0x30, &entry)),
        ];
        sign(&self.key, tlv(0x30, &signed.concat()))
    }

    fn named(self, name: &str) -> Identity {
        Identity { name: name.to_owned(), ..self }
    }
}

impl Tsa {
    /// A TSA under a root of its own, both valid for ten years around `time` (µs). `seed` and the number after it choose
    /// the keys.
    pub fn new(seed: u8, time: u64) -> Tsa {
        let seconds = time / 1_000_000;
        let valid = (seconds.saturating_sub(157_680_000), seconds + 157_680_000);
        let root = Identity::new(seed, &Template::authority(&format!("Test root {seed}"), valid), None);
        Tsa::under(root, seed + 1, &Template::tsa(&format!("Test TSA {seed}"), valid))
    }

    /// A TSA with a certificate of this kind by `root`.
    pub fn under(root: Identity, seed: u8, template: &Template) -> Tsa {
        let signer = Identity::new(seed, template, Some(&root));
        Tsa { signers: vec![signer], others: Vec::new(), root, names_itself: true, digest: true }
    }

    /// Its root.
    pub fn roots(&self) -> Roots {
        let mut roots = Roots::default();
        roots.add_der(self.root.certificate.clone()).expect("a certificate");
        roots
    }

    /// The issuer's name and serial as SignerInfo has them.
    fn signer_id(&self, signer: &Identity) -> Vec<u8> {
        tlv(0x30, &[name(&self.root.name), tlv(0x02, &[signer.serial])].concat())
    }

    /// A token over `imprint` at `time` (µs), with a nonce as an INTEGER's contents.
    pub fn token(&self, imprint: &[u8; 32], time: u64, nonce: Option<&[u8]>) -> Vec<u8> {
        let seconds = date(time / 1_000_000);
        let fraction = format!("{:06}", time % 1_000_000);
        let fraction = match fraction.trim_end_matches('0') {
            "" => String::new(),
            digits => format!(".{digits}"),
        };
        let imprint = [sha256_id(), tlv(0x04, imprint)].concat();
        let mut info = [
            tlv(0x02, &[1]),
            id("1.3.6.1.4.1.99999.1"),
            tlv(0x30, &imprint),
            tlv(0x02, &[0x11, 0x22]),
            tlv(0x18, format!("{seconds}{fraction}Z").as_bytes()),
            tlv(0x30, &tlv(0x02, &[1])),
        ]
        .concat();
        if let Some(nonce) = nonce {
            info.extend(tlv(0x02, nonce));
        }
        self.signed_data(&tlv(0x30, &info))
    }

    fn signed_data(&self, content: &[u8]) -> Vec<u8> {
        let tst_info = id("1.2.840.113549.1.9.16.1.4");
        let mut certificates: Vec<u8> =
            self.signers.iter().flat_map(|signer| signer.certificate.clone()).collect();
        certificates.extend(self.others.concat());
        let mut digest = sha256(content);
        digest[0] ^= u8::from(!self.digest);
        let signers = self.signers.iter().flat_map(|signer| {
            let mut certificate = sha256(&signer.certificate);
            certificate[0] ^= u8::from(!self.names_itself);
            let certificate = tlv(0x30, &tlv(0x30, &tlv(0x30, &tlv(0x04, &certificate))));
            let attributes = [
                attribute("1.2.840.113549.1.9.3", &tst_info),
                attribute("1.2.840.113549.1.9.4", &tlv(0x04, &digest)),
                attribute("1.2.840.113549.1.9.16.2.47", &certificate),
            ]
            .concat();
            let signature: Signature = signer.key.sign(&tlv(0x31, &attributes));
            tlv(
                0x30,
                &[
                    tlv(0x02, &[1]),
                    self.signer_id(signer),
                    sha256_id(),
                    tlv(0xa0, &attributes),
                    algorithm(),
                    tlv(0x04, signature.to_der().as_bytes()),
                ]
                .concat(),
            )
        });
        let signers: Vec<u8> = signers.collect();
        let data = [
            tlv(0x02, &[3]),
            tlv(0x31, &sha256_id()),
            tlv(0x30, &[tst_info.clone(), tlv(0xa0, &tlv(0x04, content))].concat()),
            tlv(0xa0, &certificates),
            tlv(0x31, &signers),
        ];
        let data = tlv(0xa0, &tlv(0x30, &data.concat()));
        tlv(0x30, &[id("1.2.840.113549.1.7.2"), data].concat())
    }

    /// The whole answer to a request (RFC 3161 section 2.4.2) at `time` (µs).
    pub fn answer(&self, request: &super::Request, time: u64) -> Vec<u8> {
        response(&self.token(&request.imprint, time, Some(&request.nonce_contents())))
    }
}

/// A granted answer with this token.
pub fn response(token: &[u8]) -> Vec<u8> {
    tlv(0x30, &[tlv(0x30, &tlv(0x02, &[0])), token.to_vec()].concat())
}

fn sign(key: &SigningKey, signed: Vec<u8>) -> Vec<u8> {
    let signature: Signature = key.sign(&signed);
    let mut bits = vec![0];
    bits.extend_from_slice(signature.to_der().as_bytes());
    tlv(0x30, &[signed, algorithm(), tlv(0x03, &bits)].concat())
}

fn public_key(key: &SigningKey) -> Vec<u8> {
    let mut bits = vec![0];
    bits.extend_from_slice(&key.verifying_key().to_sec1_bytes());
    let algorithm = tlv(0x30, &[id("1.2.840.10045.2.1"), id("1.2.840.10045.3.1.7")].concat());
    tlv(0x30, &[algorithm, tlv(0x03, &bits)].concat())
}

fn algorithm() -> Vec<u8> {
    tlv(0x30, &id(ECDSA_SHA256))
}

fn sha256_id() -> Vec<u8> {
    tlv(0x30, &id("2.16.840.1.101.3.4.2.1"))
}

fn attribute(oid: &str, value: &[u8]) -> Vec<u8> {
    tlv(0x30, &[id(oid), tlv(0x31, value)].concat())
}

fn name(common_name: &str) -> Vec<u8> {
    tlv(0x30, &tlv(0x31, &tlv(0x30, &[id("2.5.4.3"), tlv(0x0c, common_name.as_bytes())].concat())))
}

fn time(seconds: u64) -> Vec<u8> {
    tlv(0x18, format!("{}Z", date(seconds)).as_bytes())
}

fn date(seconds: u64) -> String {
    let date = DateTime::from_unix_duration(Duration::from_secs(seconds)).expect("a date");
    let (year, month, day) = (date.year(), date.month(), date.day());
    format!("{year:04}{month:02}{day:02}{:02}{:02}{:02}", date.hour(), date.minutes(), date.seconds())
}

fn id(oid: &str) -> Vec<u8> {
    ObjectIdentifier::new(oid)
        .and_then(|oid| oid.to_der().map_err(|_| ::der::oid::Error::ArcInvalid { arc: 0 }))
        .expect("an OID")
}

/// A value with its tag and length.
pub fn tlv(tag: u8, contents: &[u8]) -> Vec<u8> {
    let len = contents.len();
    let mut out = vec![tag];
    match len {
        0..0x80 => out.push(len as u8),
        0x80..0x100 => out.extend([0x81, len as u8]),
        _ => out.extend([0x82, (len >> 8) as u8, len as u8]),
    }
    out.extend_from_slice(contents);
    out
}
