use super::*;

fn kek(n: u8) -> Kek {
    Kek::new(&[n; 32]).unwrap()
}

#[test]
fn a_key_is_unwrapped_by_its_own_kek_under_its_own_name_only() {
    let key = DataKey::generate(Tenant::new(b"-"), 202611).unwrap();
    let file = kek(1).wrap(&key).unwrap();
    assert_eq!(file.len(), KEY_FILE);
    assert_eq!(kek(1).unwrap(&key.name, &file).unwrap().secret, key.secret);
    let error = kek(2).unwrap(&key.name, &file).unwrap_err();
    assert_eq!(error, CryptError::OtherKek { wrapped: kek(1).id(), given: kek(2).id() });
    assert!(error.to_string().contains("--private-key"), "{error}");
    for name in [
        KeyName { tenant: Tenant::new(b"other"), ..key.name },
        KeyName { month: 202612, ..key.name },
        KeyName { id: [0; 8], ..key.name },
    ] {
        assert_eq!(kek(1).unwrap(&name, &file).unwrap_err(), CryptError::Seal);
    }
    for at in 0..file.len() {
        let mut bad = file.clone();
        bad[at] ^= 1;
        assert!(kek(1).unwrap(&key.name, &bad).is_err(), "byte {at}");
    }
    for length in 0..file.len() {
        assert!(kek(1).unwrap(&key.name, &file[..length]).is_err(), "{length} bytes");
    }
    assert!(kek(1).unwrap(&key.name, &[file.as_slice(), &[0]].concat()).is_err());
}

#[test]
fn a_page_opens_in_its_own_place_only() {
    let key = DataKey::generate(Tenant::new(b"-"), 202611).unwrap();
    let page_key = key.of_file(&[1; 16]).unwrap();
    let place = Place { shard: "a/0011", seq: 3, slot: 4, id: &[5; 16] };
    let mut sealed = Vec::new();
    page_key.seal(place, b"the seed", &mut sealed).unwrap();
    assert_eq!(sealed.len(), 8 + TAG);
    assert!(!sealed.windows(8).any(|part| part == b"the seed"));
    assert_eq!(page_key.open(place, &sealed).unwrap(), b"the seed");
    for other in [
        Place { shard: "a/0012", ..place },
        Place { seq: 4, ..place },
        Place { slot: 5, ..place },
        Place { id: &[6; 16], ..place },
    ] {
        assert_eq!(page_key.open(other, &sealed), Err(CryptError::Seal), "{other:?}");
    }
    assert_eq!(key.of_file(&[2; 16]).unwrap().open(place, &sealed), Err(CryptError::Seal));
    let stranger = DataKey::generate(Tenant::new(b"-"), 202611).unwrap();
    assert_eq!(stranger.of_file(&[1; 16]).unwrap().open(place, &sealed), Err(CryptError::Seal));
}

#[test]
fn names_have_one_spelling() {
    let tenant = Tenant::new(b"clinic");
    let name = KeyName { tenant, month: 202611, id: [0xab; 8] };
    let path = name.path();
    let file = path.rsplit('/').next().unwrap();
    assert_eq!(KeyName::parse(tenant, file), Some(name));
    assert_eq!(KeyName::from_bytes(&name.to_bytes()), name);
    for bad in ["", "kek", "202611", "202611-", "202611-ABABABABABABABAB", "+02611-abababababababab", &path] {
        assert_eq!(KeyName::parse(tenant, bad), None, "{bad}");
    }
}

#[test]
fn a_kek_is_64_hexadecimal_digits() {
    let text = "0f".repeat(32);
    assert_eq!(Kek::parse(&format!(" {text}\n")).unwrap().id(), Kek::new(&[15; 32]).unwrap().id());
    for bad in ["", &text[1..], &format!("{text}0"), &text.replace('f', "g"), "short"] {
        assert_eq!(Kek::parse(bad).unwrap_err(), CryptError::KekText, "{bad}");
    }
    assert!(!format!("{:?}", Kek::parse(&text).unwrap()).contains("0f0f0f"));
}
