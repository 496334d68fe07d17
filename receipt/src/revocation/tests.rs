use super::*;

fn whole() -> Revocation {
    Revocation {
        key_id: [7; 32],
        reason: Reason::KeyCompromise,
        at: 2_000,
        shard: Some("a/0123456789abcdef".into()),
        invalid_from: Some(1_500),
        successor: None,
    }
}

#[test]
fn it_reads_what_it_writes() {
    let handed_over = Revocation {
        reason: Reason::Superseded,
        shard: None,
        invalid_from: None,
        successor: Some("log.example/2+01020304+AQ".into()),
        ..whole()
    };
    let bare = Revocation { shard: None, invalid_from: None, ..whole() };
    for revocation in [whole(), handed_over, bare.clone()] {
        assert_eq!(Revocation::decode(&revocation.encode()), Ok(revocation));
    }
    assert_eq!(whole().from(), 1_500);
    assert_eq!(bare.from(), 2_000);
    assert_eq!(
        hex_of(&bare.encode()),
        format!("a4010402{}{}030104{}", "5820", "07".repeat(32), "1907d0"),
        "the form that docs/FORMATS.md fixes"
    );
}

fn hex_of(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn what_makes_no_sense_is_refused() {
    for bad in [
        Revocation { invalid_from: Some(2_001), ..whole() },
        Revocation { successor: Some("log.example/2+01020304+AQ".into()), ..whole() },
    ] {
        assert!(Revocation::decode(&bad.encode()).is_err(), "{bad:?}");
    }
    // Another type, an unknown reason, an unknown key, a cut, a tail.
    let good = whole().encode();
    let mut type_5 = good.clone();
    type_5[2] = 5;
    assert!(Revocation::decode(&type_5).is_err());
    let reason = |code: u64| {
        let entries = vec![
            (1, Value::Uint(4)),
            (2, Value::bytes([7; 32])),
            (3, Value::Uint(code)),
            (4, Value::Uint(1)),
        ];
        Revocation::decode(&Value::Map(entries).encode())
    };
    assert!(reason(5).is_ok());
    for unknown in [2, 3, 6, 10, u64::MAX] {
        assert!(reason(unknown).is_err(), "{unknown}");
    }
    let mut more =
        vec![(1, Value::Uint(4)), (2, Value::bytes([7; 32])), (3, Value::Uint(1)), (4, Value::Uint(1))];
    more.push((8, Value::Uint(0)));
    assert!(Revocation::decode(&Value::Map(more).encode()).is_err());
    for end in 0..good.len() {
        assert!(Revocation::decode(&good[..end]).is_err(), "{end}");
    }
    assert!(Revocation::decode(&[&good[..], &[0]].concat()).is_err());
}

#[test]
fn reasons_are_typed_by_name() {
    for (reason, _, name) in REASONS {
        assert_eq!(name.parse(), Ok(reason));
        assert_eq!(reason.to_string(), name);
    }
    assert!("stolen".parse::<Reason>().unwrap_err().contains("key-compromise"));
}
