//! Certificates and revocation lists, written.

use colophon_receipt::merkle::sha256;
use p256::ecdsa::signature::Signer as _;

/// 2020-01-01 and 2049-12-31, as UTCTime.
const VALID: (&[u8], &[u8]) = (b"200101000000Z", b"491231235959Z");

/// What is signed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Curve {
    P256,
    P384,
}

/// A private key.
#[derive(Clone)]
enum Key {
    P256(p256::ecdsa::SigningKey),
    P384(p384::ecdsa::SigningKey),
}

/// A certificate to be made.
#[derive(Clone, Copy, Default)]
pub(super) struct Certificate<'a> {
    authority: bool,
    /// Whether the extensions are ones that a reader has to understand.
    critical: bool,
    extensions: &'a [(&'a str, Vec<u8>)],
}

impl<'a> Certificate<'a> {
    pub(super) fn authority() -> Certificate<'a> {
        Certificate { authority: true, ..Certificate::default() }
    }

    pub(super) fn leaf(extensions: &'a [(&'a str, Vec<u8>)]) -> Certificate<'a> {
        Certificate { extensions, ..Certificate::default() }
    }

    /// The same with extensions that a reader has to understand.
    #[cfg(test)]
    pub(super) fn critical(self) -> Certificate<'a> {
        Certificate { critical: true, ..self }
    }
}

/// A key with a certificate.
#[derive(Clone)]
pub(super) struct Identity {
    key: Key,
    name: Vec<u8>,
    serial: Vec<u8>,
    pub(super) certificate: Vec<u8>,
}

impl Key {
    /// From a seed. A hash is a key but for one in 2^32 (P-256) or fewer; then the next one is taken.
    fn new(seed: &str, name: &str, curve: Curve) -> Key {
        let mut tries = 0u64;
        loop {
            let mut bytes = sha256(format!("{seed}/{name}/{tries}").as_bytes()).to_vec();
            bytes.extend(sha256(&bytes));
            let key = match curve {
                Curve::P256 => p256::ecdsa::SigningKey::from_slice(&bytes[..32]).ok().map(Key::P256),
                Curve::P384 => p384::ecdsa::SigningKey::from_slice(&bytes[..48]).ok().map(Key::P384),
            };
            match key {
                Some(key) => return key,
                None => tries += 1,
            }
        }
    }

    /// Uncompressed point.
    fn point(&self) -> Vec<u8> {
        match self {
            Key::P256(key) => key.verifying_key().to_sec1_point(false).as_bytes().to_vec(),
            Key::P384(key) => key.verifying_key().to_sec1_point(false).as_bytes().to_vec(),
        }
    }

    fn spki(&self) -> Vec<u8> {
        let curve = match self {
            Key::P256(_) => "1.2.840.10045.3.1.7",
            Key::P384(_) => "1.3.132.0.34",
        };
        let algorithm = tlv(0x30, &[oid("1.2.840.10045.2.1"), oid(curve)].concat());
        tlv(0x30, &[algorithm, bits(&self.point())].concat())
    }

    fn algorithm(&self) -> Vec<u8> {
        tlv(
            0x30,
            &oid(match self {
                Key::P256(_) => "1.2.840.10045.4.3.2",
                Key::P384(_) => "1.2.840.10045.4.3.3",
            }),
        )
    }

    fn sign_der(&self, message: &[u8]) -> Vec<u8> {
        match self {
            Key::P256(key) => {
                let signature: p256::ecdsa::Signature = key.sign(message);
                signature.to_der().as_bytes().to_vec()
            }
            Key::P384(key) => {
                let signature: p384::ecdsa::Signature = key.sign(message);
                signature.to_der().as_bytes().to_vec()
            }
        }
    }

    /// `SEQUENCE { signed, algorithm, BIT STRING }`.
    fn signed(&self, what: Vec<u8>) -> Vec<u8> {
        let signature = bits(&self.sign_der(&what));
        tlv(0x30, &[what, self.algorithm(), signature].concat())
    }
}

impl Identity {
    pub(super) fn new(
        seed: &str,
        name: &str,
        curve: Curve,
        template: Certificate<'_>,
        issuer: Option<&Identity>,
    ) -> Identity {
        let key = Key::new(seed, name, curve);
        let subject = common_name(name);
        let (issuer_key, issuer_name) = issuer.map_or((&key, &subject), |issuer| (&issuer.key, &issuer.name));
        let mut serial = sha256(name.as_bytes())[..8].to_vec();
        serial[0] = serial[0] & 0x3f | 0x40;
        let constraints = if template.authority { tlv(0x01, &[0xff]) } else { Vec::new() };
        let usage: &[u8] = if template.authority { &[1, 0x06] } else { &[7, 0x80] };
        let mut extensions = extension("2.5.29.19", true, &tlv(0x30, &constraints));
        extensions.extend(extension("2.5.29.15", true, &tlv(0x03, usage)));
        for (number, value) in template.extensions {
            extensions.extend(extension(number, template.critical, value));
        }
        let signed = tlv(
            0x30,
            &[
                tlv(0xa0, &tlv(0x02, &[2])),
                tlv(0x02, &serial),
                issuer_key.algorithm(),
                issuer_name.clone(),
                tlv(0x30, &[tlv(0x17, VALID.0), tlv(0x17, VALID.1)].concat()),
                subject.clone(),
                key.spki(),
                tlv(0xa3, &tlv(0x30, &extensions)),
            ]
            .concat(),
        );
        let certificate = issuer_key.signed(signed);
        Identity { key, name: subject, serial, certificate }
    }

    /// A revocation list with these certificates, good for the whole validity.
    pub(super) fn crl(&self, revoked: &[&Identity]) -> Vec<u8> {
        let entry = |of: &&Identity| tlv(0x30, &[tlv(0x02, &of.serial), tlv(0x17, VALID.0)].concat());
        let entries = revoked.iter().map(entry).collect::<Vec<_>>().concat();
        let signed = [
            tlv(0x02, &[1]),
            self.key.algorithm(),
            self.name.clone(),
            tlv(0x17, VALID.0),
            tlv(0x17, VALID.1),
            if entries.is_empty() { entries } else { tlv(0x30, &entries) },
            tlv(0xa0, &tlv(0x30, &extension("2.5.29.20", false, &tlv(0x02, &[1])))),
        ];
        self.key.signed(tlv(0x30, &signed.concat()))
    }

    /// `r ‖ s`, big-endian.
    pub(super) fn sign(&self, message: &[u8]) -> Vec<u8> {
        match &self.key {
            Key::P256(key) => {
                let signature: p256::ecdsa::Signature = key.sign(message);
                signature.to_bytes().to_vec()
            }
            Key::P384(key) => {
                let signature: p384::ecdsa::Signature = key.sign(message);
                signature.to_bytes().to_vec()
            }
        }
    }

    /// The public key's point, without the byte that says that it is uncompressed.
    pub(super) fn coordinates(&self) -> Vec<u8> {
        self.key.point()[1..].to_vec()
    }

    pub(super) fn pem(&self) -> String {
        use base64::Engine as _;
        let body = base64::prelude::BASE64_STANDARD.encode(&self.certificate);
        let lines: Vec<&str> =
            body.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
        format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
    }
}

fn extension(number: &str, critical: bool, value: &[u8]) -> Vec<u8> {
    let mut parts = oid(number);
    if critical {
        parts.extend(tlv(0x01, &[0xff]));
    }
    parts.extend(tlv(0x04, value));
    tlv(0x30, &parts)
}

fn common_name(name: &str) -> Vec<u8> {
    tlv(0x30, &tlv(0x31, &tlv(0x30, &[oid("2.5.4.3"), tlv(0x0c, name.as_bytes())].concat())))
}

fn bits(bytes: &[u8]) -> Vec<u8> {
    tlv(0x03, &[&[0], bytes].concat())
}

/// A dotted number, DER.
pub(super) fn oid(dotted: &str) -> Vec<u8> {
    let arcs: Vec<u64> = dotted.split('.').filter_map(|arc| arc.parse().ok()).collect();
    let mut contents = Vec::new();
    let first = arcs.iter().take(2).fold(0, |value, arc| value * 40 + arc);
    for arc in std::iter::once(first).chain(arcs.iter().skip(2).copied()) {
        let groups =
            (0..10).rev().map(|group| (arc >> (7 * group)) as u8 & 0x7f).skip_while(|group| *group == 0);
        let mut groups: Vec<u8> = groups.map(|group| group | 0x80).collect();
        match groups.last_mut() {
            Some(last) => *last &= 0x7f,
            None => groups.push(0),
        }
        contents.extend(groups);
    }
    tlv(0x06, &contents)
}

/// A value with its tag and length.
pub(super) fn tlv(tag: u8, contents: &[u8]) -> Vec<u8> {
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
