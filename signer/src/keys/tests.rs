use proptest::prelude::*;

use super::*;

fn unhex<const N: usize>(text: &str) -> [u8; N] {
    hex::decode(text).unwrap().try_into().unwrap()
}

/// RFC 8032 section 7.1, tests 1 to 3: seed, public key, message, signature.
const RFC8032: [[&str; 4]; 3] = [
    [
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ],
    [
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ],
    [
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ],
];

type SpecCheck = (usize, &'static str, &'static str, &'static str, Result<(), SignatureError>);

/// "Taming the many EdDSAs" (ed25519-speccheck): message, public key, signature, and what a strict cofactorless reader
/// says. Case 7, S far above the order, is `scalars_at_or_above_the_order_are_refused`.
const SPECCHECK: [SpecCheck; 11] = [
    (
        0,
        "8c93255d71dcab10e8f379c26200f3c7bd5f09d9bc3068d3ef4edeb4853022b6",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a0000000000000000000000000000000000000000000000000000000000000000",
        Err(SignatureError::WeakPoint),
    ),
    (
        1,
        "9bd9f44f4dcc75bd531b56b2cd280b0bb38fc1cd6d1230e14861d861de092e79",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
        "f7badec5b8abeaf699583992219b7b223f1df3fbbea919844e3f7c554a43dd43a5bb704786be79fc476f91d3f3f89b03984d8068dcf1bb7dfc6637b45450ac04",
        Err(SignatureError::WeakPoint),
    ),
    (
        2,
        "aebf3f2601a0c8c5d39cc7d8911642f740b78168218da8471772b35f9d35b9ab",
        "f7badec5b8abeaf699583992219b7b223f1df3fbbea919844e3f7c554a43dd43",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa8c4bd45aecaca5b24fb97bc10ac27ac8751a7dfe1baff8b953ec9f5833ca260e",
        Err(SignatureError::WeakPoint),
    ),
    (
        3,
        "9bd9f44f4dcc75bd531b56b2cd280b0bb38fc1cd6d1230e14861d861de092e79",
        "cdb267ce40c5cd45306fa5d2f29731459387dbf9eb933b7bd5aed9a765b88d4d",
        "9046a64750444938de19f227bb80485e92b83fdb4b6506c160484c016cc1852f87909e14428a7a1d62e9f22f3d3ad7802db02eb2e688b6c52fcd6648a98bd009",
        Ok(()),
    ),
    (
        4,
        "e47d62c63f830dc7a6851a0b1f33ae4bb2f507fb6cffec4011eaccd55b53f56c",
        "cdb267ce40c5cd45306fa5d2f29731459387dbf9eb933b7bd5aed9a765b88d4d",
        "160a1cb0dc9c0258cd0a7d23e94d8fa878bcb1925f2c64246b2dee1796bed5125ec6bc982a269b723e0668e540911a9a6a58921d6925e434ab10aa7940551a09",
        Err(SignatureError::Mismatch),
    ),
    (
        5,
        "e47d62c63f830dc7a6851a0b1f33ae4bb2f507fb6cffec4011eaccd55b53f56c",
        "cdb267ce40c5cd45306fa5d2f29731459387dbf9eb933b7bd5aed9a765b88d4d",
        "21122a84e0b5fca4052f5b1235c80a537878b38f3142356b2c2384ebad4668b7e40bc836dac0f71076f9abe3a53f9c03c1ceeeddb658d0030494ace586687405",
        Err(SignatureError::Mismatch),
    ),
    (
        6,
        "85e241a07d148b41e47d62c63f830dc7a6851a0b1f33ae4bb2f507fb6cffec40",
        "442aad9f089ad9e14647b1ef9099a1ff4798d78589e66f28eca69c11f582a623",
        "e96f66be976d82e60150baecff9906684aebb1ef181f67a7189ac78ea23b6c0e547f7690a0e2ddcd04d87dbc3490dc19b3b3052f7ff0538cb68afb369ba3a514",
        Err(SignatureError::Mismatch),
    ),
    (
        8,
        "9bedc267423725d473888631ebf45988bad3db83851ee85c85e241a07d148b41",
        "f7badec5b8abeaf699583992219b7b223f1df3fbbea919844e3f7c554a43dd43",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff03be9678ac102edcd92b0210bb34d7428d12ffc5df5f37e359941266a4e35f0f",
        Err(SignatureError::WeakPoint),
    ),
    (
        9,
        "9bedc267423725d473888631ebf45988bad3db83851ee85c85e241a07d148b41",
        "f7badec5b8abeaf699583992219b7b223f1df3fbbea919844e3f7c554a43dd43",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffca8c5b64cd208982aa38d4936621a4775aa233aa0505711d8fdcfdaa943d4908",
        Err(SignatureError::WeakPoint),
    ),
    (
        10,
        "e96b7021eb39c1a163b6da4e3093dcd3f21387da4cc4572be588fafae23c155b",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "a9d55260f765261eb9b84e106f665e00b867287a761990d7135963ee0a7d59dca5bb704786be79fc476f91d3f3f89b03984d8068dcf1bb7dfc6637b45450ac04",
        Err(SignatureError::WeakPoint),
    ),
    (
        11,
        "39a591f5321bbe07fd5a23dc2f39d025d74526615746727ceefd6e82ae65c06f",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "a9d55260f765261eb9b84e106f665e00b867287a761990d7135963ee0a7d59dca5bb704786be79fc476f91d3f3f89b03984d8068dcf1bb7dfc6637b45450ac04",
        Err(SignatureError::WeakPoint),
    ),
];

#[test]
fn rfc8032_vectors() {
    for [seed, public, message, signature] in RFC8032 {
        let (seed, message) = (unhex(seed), hex::decode(message).unwrap());
        let key = Ed25519Key::from_seed(&seed).unwrap();
        assert_eq!(key.public_key(), PublicKey(unhex(public)));
        assert_eq!(key.sign(&message), unhex::<64>(signature));
        assert_eq!(portable::KeyPair::from_seed(&seed).unwrap().sign(&message), unhex::<64>(signature));
        assert_eq!(key.public_key().verify(&message, &unhex::<64>(signature)), Ok(()));
        assert_eq!(
            key.public_key().verify(b"another message", &unhex::<64>(signature)),
            Err(SignatureError::Mismatch)
        );
    }
}

#[test]
fn speccheck_vectors() {
    for (case, message, public, signature, expected) in SPECCHECK {
        let (message, signature) = (hex::decode(message).unwrap(), unhex::<64>(signature));
        let public = PublicKey(unhex(public));
        assert_eq!(public.verify(&message, &signature), expected, "case {case}");
        // The portable library says the same on its own. AWS-LC alone would accept cases 0 to 2.
        assert_eq!(portable::verify(&public.0, &message, &signature), expected.is_ok(), "case {case}");
    }
}

/// The group order, little-endian.
const ORDER: &str = "edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010";

#[test]
fn scalars_at_or_above_the_order_are_refused() {
    let key = Ed25519Key::from_seed(&[7; 32]).unwrap();
    let mut sig = key.sign(b"message");
    let order = unhex::<32>(ORDER);
    // S + kL verifies wherever S is not compared with L.
    for _ in 0..15 {
        let mut carry = 0;
        for (s, l) in sig[32..].iter_mut().zip(order) {
            let sum = u16::from(*s) + u16::from(l) + carry;
            *s = sum.to_le_bytes()[0];
            carry = sum >> 8;
        }
        assert_eq!(carry, 0);
        assert_eq!(key.public_key().verify(b"message", &sig), Err(SignatureError::Mismatch));
        assert!(!portable::verify(&key.public_key().0, b"message", &sig));
    }
    sig[32..].copy_from_slice(&order);
    assert_eq!(key.public_key().verify(b"message", &sig), Err(SignatureError::Mismatch));
}

#[test]
fn non_canonical_and_weak_points_are_refused() {
    let key = Ed25519Key::from_seed(&[7; 32]).unwrap();
    let sig = key.sign(b"message");
    // p to 2^255 - 1, with and without the sign bit; 0 and 1 and -1, likewise.
    let mut weak: Vec<[u8; 32]> = (0xed..=0xff).map(|low| with_ends(low, 0xff, 0x7f)).collect();
    weak.extend([with_ends(0, 0, 0), with_ends(1, 0, 0), with_ends(0xec, 0xff, 0x7f)]);
    for point in weak.clone() {
        weak.push(with_ends(point[0], point[1], point[31] | 0x80));
    }
    for point in weak {
        assert_eq!(PublicKey(point).verify(b"message", &sig), Err(SignatureError::WeakPoint));
        let mut bad = sig;
        bad[..32].copy_from_slice(&point);
        assert_eq!(key.public_key().verify(b"message", &bad), Err(SignatureError::WeakPoint));
    }
    // -2 is canonical, and no point: a mismatch, not a weak point.
    let neighbour = PublicKey(with_ends(0xeb, 0xff, 0x7f));
    assert_eq!(neighbour.verify(b"message", &sig), Err(SignatureError::Mismatch));
}

fn with_ends(first: u8, middle: u8, last: u8) -> [u8; 32] {
    let mut point = [middle; 32];
    (point[0], point[31]) = (first, last);
    point
}

#[test]
fn signatures_of_another_length_are_refused() {
    let key = Ed25519Key::from_seed(&[7; 32]).unwrap();
    let sig = key.sign(b"message");
    assert_eq!(key.public_key().verify(b"message", &sig[..63]), Err(SignatureError::Length(63)));
    let long = [&sig[..], &[0]].concat();
    assert_eq!(key.public_key().verify(b"message", &long), Err(SignatureError::Length(65)));
    assert_eq!(key.public_key().verify(b"message", &[]), Err(SignatureError::Length(0)));
}

#[test]
fn key_id_is_the_digest_of_the_raw_key() {
    let key = PublicKey(unhex(RFC8032[0][1]));
    assert_eq!(key.key_id_hex(), "21fe31dfa154a261626bf854046fd2271b7bed4b6abe45aa58877ef47f9721b9");
    assert_eq!(hex::encode(key.key_id()), key.key_id_hex());
    assert_eq!(PublicKey::try_from(&key.0[..]).unwrap(), key);
    assert!(PublicKey::try_from(&key.0[1..]).is_err());
}

proptest! {
    #[test]
    fn both_backends_agree(seed: [u8; 32], msg: Vec<u8>, at in 0usize..96, flip: u8) {
        let key = Ed25519Key::from_seed(&seed).unwrap();
        let other = portable::KeyPair::from_seed(&seed).unwrap();
        prop_assert_eq!(key.public_key().0, other.public_key());
        let mut sig = key.sign(&msg);
        prop_assert_eq!(sig, other.sign(&msg));
        let mut public = key.public_key();
        if at < 64 { sig[at] ^= flip } else { public.0[at - 64] ^= flip }
        let accepted = public.verify(&msg, &sig).is_ok();
        prop_assert_eq!(accepted, flip == 0);
        prop_assert_eq!(portable::verify(&public.0, &msg, &sig), accepted);
    }
}

/// RFC 8410 section 10.3: one key, without and with attributes and public key.
const RFC8410_V1: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC
-----END PRIVATE KEY-----
";
const RFC8410_V2: &str = "-----BEGIN PRIVATE KEY-----
MHICAQEwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC
oB8wHQYKKoZIhvcNAQkJFDEPDA1DdXJkbGUgQ2hhaXJzgSEAGb9ECWmEzf6FQbrB
Z9w7lshQhqowtrbLDFw4rXAxZuE=
-----END PRIVATE KEY-----
";

#[test]
fn pkcs8_version_1_and_2_are_read() {
    let v1 = Ed25519Key::from_pkcs8_pem(RFC8410_V1).unwrap();
    let public = unhex("19bf44096984cdfe8541bac167dc3b96c85086aa30b6b6cb0c5c38ad703166e1");
    assert_eq!(v1.public_key(), PublicKey(public));
    assert_eq!(v1.to_pkcs8_pem().unwrap().as_str(), RFC8410_V1);
    assert_eq!(Ed25519Key::from_pkcs8_pem(RFC8410_V2).unwrap().public_key(), v1.public_key());

    let seed = *v1.pair.seed().unwrap();
    let v2 = |public: [u8; 32]| {
        let public_key = Some(ed25519_dalek::pkcs8::PublicKeyBytes(public));
        KeypairBytes { secret_key: seed, public_key }.to_pkcs8_pem(LineEnding::LF).unwrap()
    };
    assert_eq!(Ed25519Key::from_pkcs8_pem(&v2(public)).unwrap().public_key(), v1.public_key());
    let other = Ed25519Key::from_pkcs8_pem(&v2([3; 32]));
    assert!(matches!(other, Err(KeyError::PublicKeyMismatch)));
}

#[test]
fn what_is_no_ed25519_key_is_refused() {
    let bad = [
        "",
        "no PEM at all",
        "-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n",
        // The algorithm is X25519 (1.3.101.110).
        "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VuBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----\n",
        // A public key.
        "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n",
    ];
    for pem in bad {
        assert!(matches!(Ed25519Key::from_pkcs8_pem(pem), Err(KeyError::Pkcs8(_))), "{pem}");
    }
}

#[test]
fn a_saved_key_is_private_and_loads_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log.pem");
    let key = Ed25519Key::generate().unwrap();
    // What an earlier try left that was cut off does not stand in the way.
    let half = path.with_file_name(format!(".{}.half", path.file_name().unwrap().to_str().unwrap()));
    std::fs::write(&half, "-----BEGIN").unwrap();
    key.save(&path).unwrap();
    assert!(!half.exists());
    assert_eq!(Ed25519Key::load(&path).unwrap().public_key(), key.public_key());
    assert!(matches!(key.save(&path), Err(KeyError::Io(e)) if e.kind() == std::io::ErrorKind::AlreadyExists));
    assert!(matches!(Ed25519Key::load(&dir.path().join("none")), Err(KeyError::Io(_))));

    let long = dir.path().join("long.pem");
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(&long).unwrap().write_all(&vec![b'\n'; MAX_KEY_FILE as usize + 1]).unwrap();
    assert!(matches!(Ed25519Key::load(&long), Err(KeyError::Pkcs8(_))));
}

#[cfg(unix)]
#[test]
fn a_key_that_others_may_touch_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log.pem");
    Ed25519Key::generate().unwrap().save(&path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    for mode in [0o640, 0o604, 0o620, 0o602, 0o610, 0o644] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        assert!(matches!(Ed25519Key::load(&path), Err(KeyError::Permissions { mode: m }) if m == mode));
    }
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o400)).unwrap();
    Ed25519Key::load(&path).unwrap();
}

#[test]
fn openssl_and_we_read_each_others_keys() {
    let dir = tempfile::tempdir().unwrap();
    let openssl = |args: &[&str]| std::process::Command::new("openssl").args(args).current_dir(&dir).output();
    match openssl(&["genpkey", "-algorithm", "ed25519"]) {
        Ok(made) if made.status.success() => {
            let pem = String::from_utf8(made.stdout).unwrap();
            let key = Ed25519Key::from_pkcs8_pem(&pem).unwrap();
            assert_eq!(key.to_pkcs8_pem().unwrap().as_str(), pem);
            key.save(&dir.path().join("ours.pem")).unwrap();
            let shown = openssl(&["pkey", "-in", "ours.pem", "-pubout", "-outform", "DER"]).unwrap();
            assert_eq!(shown.stdout[12..], key.public_key().0);
        }
        _ => println!("skipped: no openssl that makes Ed25519 keys"),
    }
}

#[test]
fn debug_shows_no_secret() {
    let key = Ed25519Key::from_seed(&unhex(RFC8032[0][0])).unwrap();
    assert_eq!(format!("{key:?}"), format!("Ed25519Key(PublicKey({}))", RFC8032[0][1]));
}
