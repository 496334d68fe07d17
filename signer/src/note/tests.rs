use super::*;
use crate::keys::{Ed25519Key, PublicKey};

/// The example of golang.org/x/mod/sumdb/note, the reference implementation.
const VKEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
const SKEY: &str = "AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";
const TEXT: &str =
    "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n";
const LINE: &str = "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

fn peter() -> (Ed25519Key, VerifierKey) {
    let seed = STANDARD.decode(SKEY).unwrap();
    (Ed25519Key::from_seed(seed[1..].try_into().unwrap()).unwrap(), VKEY.parse().unwrap())
}

fn key(byte: u8, name: &str, algorithm: NoteAlgorithm) -> (Ed25519Key, VerifierKey) {
    let key = Ed25519Key::from_seed(&[byte; 32]).unwrap();
    let public = key.public_key();
    (key, VerifierKey::new(name, algorithm, public).unwrap())
}

#[test]
fn the_reference_note_is_made_and_verified() {
    let (signer, vkey) = peter();
    let note = sign_note(TEXT, "PeterNeumann", &signer).unwrap();
    assert_eq!(note, format!("{TEXT}\n{LINE}"));
    let parsed = Note::parse(&note).unwrap();
    assert_eq!(parsed.text(), TEXT);
    let keys = [vkey];
    let verified = parsed.verify(&keys).unwrap();
    assert_eq!(verified.signed, [VerifiedSignature { key: &keys[0], time: None }]);
    assert!(verified.signed_by(&keys[0]) && verified.unknown.is_empty());
}

#[test]
fn what_others_add_does_not_change_what_one_signed() {
    let (signer, _) = peter();
    let own = sign_note(TEXT, "PeterNeumann", &signer).unwrap();
    let (other, _) = key(2, "other", NoteAlgorithm::CosignatureV1);
    let line = cosignature_line(TEXT, "other", 5, &other).unwrap();
    for note in [own.clone(), format!("{own}{line}"), format!("{TEXT}\n{line}{LINE}")] {
        let note = Note::parse(&note).unwrap();
        assert_eq!(note.with_only("PeterNeumann").as_deref(), Some(own.as_str()));
        assert_eq!(note.with_only("nobody"), None);
    }
}

#[test]
fn verifier_keys_read_and_write() {
    let (signer, vkey) = peter();
    assert_eq!(vkey.to_string(), VKEY);
    assert_eq!((vkey.name(), vkey.id()), ("PeterNeumann", [0xc7, 0x4f, 0x20, 0xa3]));
    assert_eq!(vkey.public_key(), Some(&signer.public_key()));
    let (_, witness) = key(1, "witness.example/w1", NoteAlgorithm::CosignatureV1);
    assert_eq!(witness.to_string().parse::<VerifierKey>().unwrap(), witness);
}

#[test]
fn every_mangled_verifier_key_is_refused() {
    for from in 0..=VKEY.len() {
        for to in from..=VKEY.len() {
            assert!((from, to) == (0, VKEY.len()) || VKEY[from..to].parse::<VerifierKey>().is_err());
        }
    }
    for at in 0..VKEY.len() {
        let mut bytes = VKEY.as_bytes().to_vec();
        bytes[at] += 1;
        assert!(String::from_utf8(bytes).unwrap().parse::<VerifierKey>().is_err(), "byte {at}");
    }
    let upper = VKEY.replace("c74f20a3", "C74F20A3");
    // The last two carry the right id for a key of the wrong length, and for an unknown type.
    let bad = [
        upper.as_str(),
        "PeterNeumann+cc469956+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TWBADKEY==",
        "PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
    ];
    for vkey in bad {
        assert!(matches!(vkey.parse::<VerifierKey>(), Err(NoteError::VerifierKey(_))), "{vkey}");
    }
}

#[test]
fn names_hold_no_spaces_plus_or_control_characters() {
    let signer = Ed25519Key::from_seed(&[1; 32]).unwrap();
    for name in ["", "a b", "a+b", "a\u{2003}b", "a\nb", "a\u{7f}"] {
        assert_eq!(sign_note(TEXT, name, &signer), Err(NoteError::Name), "{name:?}");
    }
}

#[test]
fn malformed_notes_are_refused() {
    let note = format!("{TEXT}\n{LINE}");
    let bad = [
        String::new(),
        TEXT.to_owned(),
        format!("{TEXT}\n"),
        format!("\n{LINE}"),
        format!("{TEXT}{LINE}"),
        note.trim_end().to_owned(),
        format!("{note}\n"),
        format!("{note}trailing\n"),
        note.replace('—', "-"),
        note.replace("— ", "—"),
        note.replace("PeterNeumann ", "PeterNeumann"),
        note.replace("PeterNeumann ", "Peter Neumann "),
        note.replace("PeterNeumann ", "Peter+Neumann "),
        note.replace("nAM=", "nAM"),
        note.replace("nAM=", "nAN="),
        note.replace("nAM=", "nAM=\r"),
        note.replace("your", "yo\tur"),
        note.replace("your", "yo\0ur"),
        format!("{TEXT}\n— PeterNeumann x08gow==\n"),
        format!("{TEXT}\n— PeterNeumann \n"),
    ];
    for note in bad {
        assert!(matches!(Note::parse(&note), Err(NoteError::Malformed(_) | NoteError::Name)), "{note:?}");
    }
}

#[test]
fn limits_hold() {
    let (_, vkey) = peter();
    let hundred = format!("{TEXT}\n{}", LINE.repeat(MAX_SIGNATURES));
    let parsed = Note::parse(&hundred).unwrap();
    assert_eq!(parsed.verify(std::slice::from_ref(&vkey)).unwrap().signed.len(), 1);
    assert_eq!(Note::parse(&format!("{hundred}{LINE}")), Err(NoteError::TooLong));
    let long = format!("{}\n", "x".repeat(MAX_TEXT - 1));
    Note::parse(&format!("{long}\n{LINE}")).unwrap();
    assert_eq!(Note::parse(&format!("x{long}\n{LINE}")), Err(NoteError::TooLong));
    assert_eq!(Note::parse(&"x".repeat(MAX_NOTE + 1)), Err(NoteError::TooLong));
}

#[test]
fn the_text_may_hold_empty_lines() {
    let (signer, vkey) = peter();
    let text = "a\n\nb\n\n";
    let note = Note::parse(&sign_note(text, "PeterNeumann", &signer).unwrap()).unwrap();
    assert_eq!(note.text(), text);
    assert!(note.verify(&[vkey]).is_ok());
    assert!(matches!(sign_note("no newline", "PeterNeumann", &signer), Err(NoteError::Malformed(_))));
    assert!(matches!(sign_note("tab\t\n", "PeterNeumann", &signer), Err(NoteError::Malformed(_))));
}

#[test]
fn unknown_lines_say_nothing_and_bad_ones_refuse() {
    let (_, vkey) = peter();
    let (other, other_vkey) = key(2, "other.example", NoteAlgorithm::Ed25519);
    let theirs = signature_line(TEXT, "other.example", &other).unwrap();
    // The same name under another key is another key.
    let namesake = signature_line(TEXT, "PeterNeumann", &other).unwrap();
    let note = Note::parse(&format!("{TEXT}\n{theirs}{namesake}{LINE}")).unwrap();
    let keys = [vkey.clone()];
    let verified = note.verify(&keys).unwrap();
    assert_eq!((verified.signed.len(), verified.unknown.len()), (1, 2));
    assert_eq!(verified.unknown[0].name, "other.example");
    assert!(!verified.signed_by(&other_vkey));

    assert_eq!(note.verify(&[]), Err(NoteError::Unsigned));
    let (_, stranger) = key(3, "stranger.example", NoteAlgorithm::Ed25519);
    assert_eq!(note.verify(&[stranger]), Err(NoteError::Unsigned));

    let changed = Note::parse(&format!("{TEXT}More.\n\n{theirs}{LINE}")).unwrap();
    assert_eq!(changed.verify(&keys), Err(NoteError::BadSignature("PeterNeumann".into())));
    // One bad signature outweighs any number of good ones.
    let good = sign_note("text\n", "other.example", &other).unwrap();
    let mixed = Note::parse(&format!("{good}{LINE}")).unwrap();
    assert_eq!(mixed.verify(&[other_vkey, vkey]), Err(NoteError::BadSignature("PeterNeumann".into())));
}

#[test]
fn cosignatures_carry_a_time() {
    let (log, log_key) = key(1, "log.example", NoteAlgorithm::Ed25519);
    let (witness, witness_key) = key(2, "witness.example/w1", NoteAlgorithm::CosignatureV1);
    let text = "log.example\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";
    let early = cosignature_line(text, "witness.example/w1", 1_679_315_147, &witness).unwrap();
    let late = cosignature_line(text, "witness.example/w1", 1_679_315_148, &witness).unwrap();
    let signed = sign_note(text, "log.example", &log).unwrap();
    let note = Note::parse(&format!("{signed}{late}{early}")).unwrap();
    let keys = [witness_key, log_key];
    let verified = note.verify(&keys).unwrap();
    assert_eq!(
        verified.signed,
        [
            VerifiedSignature { key: &keys[1], time: None },
            VerifiedSignature { key: &keys[0], time: Some(1_679_315_148) },
        ]
    );

    // The bytes are those of the specification: a big-endian time, a signature over header, time line and text.
    let line = &note.signatures()[2];
    assert_eq!(line.signature[..8], 1_679_315_147u64.to_be_bytes());
    let message = format!("cosignature/v1\ntime 1679315147\n{text}");
    assert_eq!(witness.public_key().verify(message.as_bytes(), &line.signature[8..]), Ok(()));

    // Another time than the one signed, a plain signature under the witness's id, and a time beyond 2^63 are bad.
    let resigned = |signature: Vec<u8>| Note {
        text: text.to_owned(),
        signatures: vec![NoteSignature { signature, ..line.clone() }],
    };
    let mut moved = line.signature.clone();
    moved[7] += 1;
    let beyond = u64::MAX.to_be_bytes();
    let beyond = [&beyond[..], &witness.sign(&cosigned(text, u64::MAX))].concat();
    for signature in [moved, witness.sign(text.as_bytes()).to_vec(), beyond, vec![0; 7]] {
        let bad = NoteError::BadSignature("witness.example/w1".into());
        assert_eq!(resigned(signature).verify(&keys), Err(bad));
    }
    assert!(cosignature_line(text, "w", 1 << 63, &witness).is_err());
}

#[test]
fn a_weak_key_signs_nothing() {
    let weak = VerifierKey::new("weak.example", NoteAlgorithm::Ed25519, PublicKey([0; 32])).unwrap();
    let note = Note {
        text: TEXT.to_owned(),
        signatures: vec![NoteSignature {
            name: "weak.example".into(),
            id: weak.id(),
            signature: vec![0; 64],
        }],
    };
    assert_eq!(note.verify(&[weak]), Err(NoteError::BadSignature("weak.example".into())));
}

/// A log's vkey (first line) and note by filippo.io/torchwood, whose ML-DSA-44 is Go's own: from the tests of its litewitness.
const TORCHWOOD: &str = include_str!("mldsa.txt");

#[test]
fn ml_dsa_cosignatures_of_others_are_verified() {
    let (vkey, note) = TORCHWOOD.split_once('\n').unwrap();
    let key: VerifierKey = vkey.parse().unwrap();
    assert_eq!((key.to_string(), key.algorithm()), (vkey.to_owned(), NoteAlgorithm::SubtreeV1));
    assert!(key.is_cosigner() && key.public_key().is_none());
    let keys = [key];
    let parsed = Note::parse(note).unwrap();
    assert_eq!(parsed.verify(&keys).unwrap().signed, [VerifiedSignature { key: &keys[0], time: None }]);
    // Another size, another root, another name of the same key.
    let other = Note { text: parsed.text().replace("\n1\n", "\n2\n"), ..parsed.clone() };
    assert!(matches!(other.verify(&keys), Err(NoteError::BadSignature(_))));
    let other = Note { text: parsed.text().replace("+zoE", "+zoF"), ..parsed.clone() };
    assert!(matches!(other.verify(&keys), Err(NoteError::BadSignature(_))));
    let (name, rest) = vkey.split_once('+').unwrap();
    let (_, material) = rest.split_once('+').unwrap();
    let renamed = |name: &str| {
        let id = key_id(name, NoteAlgorithm::SubtreeV1, &STANDARD.decode(material).unwrap()[1..]);
        let key: VerifierKey = format!("{name}+{}+{material}", hex::encode(id)).parse().unwrap();
        let line = NoteSignature { name: name.to_owned(), id, ..parsed.signatures()[0].clone() };
        Note { signatures: vec![line], ..parsed.clone() }.verify(&[key]).map(|_| ())
    };
    assert_eq!(renamed(name), Ok(()));
    assert!(matches!(renamed("example.com/other"), Err(NoteError::BadSignature(_))));
}

#[test]
fn ml_dsa_cosignatures_carry_a_time_and_cover_no_extension_lines() {
    let text = "log.example\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";
    let (vkey, line) = testing::subtree_cosignature(3, "witness.example/pq", 1_679_315_147, text);
    let keys = [vkey];
    let note = Note::parse(&format!("{text}\n{line}")).unwrap();
    let good = VerifiedSignature { key: &keys[0], time: Some(1_679_315_147) };
    assert_eq!(note.verify(&keys).unwrap().signed, [good]);
    let with = |text: &str, signature: Vec<u8>| {
        let signatures = vec![NoteSignature { signature, ..note.signatures()[0].clone() }];
        Note { text: text.to_owned(), signatures }.verify(&keys).map(|_| ())
    };
    let signed = note.signatures()[0].signature.clone();
    assert_eq!((signed.len(), with(text, signed.clone())), (2428, Ok(())));
    let bad = Err(NoteError::BadSignature("witness.example/pq".into()));
    assert_eq!(with(&format!("{text}extension\n"), signed.clone()), bad);
    for at in [0, 7, 8, 1000, 2427] {
        let mut flipped = signed.clone();
        flipped[at] ^= 1;
        assert_eq!(with(text, flipped), bad, "byte {at}");
    }
    assert_eq!(with(text, signed[..2427].to_vec()), bad);
    assert_eq!(with(text, [signed, vec![0]].concat()), bad);
    assert!(VerifierKey::new("w", NoteAlgorithm::SubtreeV1, peter().0.public_key()).is_err());
}
