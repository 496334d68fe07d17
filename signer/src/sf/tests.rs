use proptest::prelude::*;

use super::*;

fn text(item: &Item) -> String {
    let mut out = String::new();
    item.write(&mut out).unwrap();
    out
}

/// What the proxy sends: a string with parameters of every type.
#[test]
fn the_record_header() {
    let field = r#""0198c0de-1";level=sign;shard="a/b";leaf=:AQID:;durability=process;mmd=86400;final"#;
    let item = parse_item(field).unwrap();
    assert_eq!(item.value.as_string(), Some("0198c0de-1"));
    assert_eq!(item.params.get("level").unwrap().as_token(), Some("sign"));
    assert_eq!(item.params.get("shard").unwrap().as_string(), Some("a/b"));
    assert_eq!(item.params.get("leaf").unwrap().as_bytes(), Some(&[1u8, 2, 3][..]));
    assert_eq!(item.params.get("mmd").unwrap().as_integer(), Some(86400));
    assert_eq!(item.params.get("final"), Some(&BareItem::Boolean(true)));
    assert_eq!(item.params.get("none"), None);
    assert_eq!(text(&item), field);
}

#[test]
fn items_are_canonicalised() {
    let cases = [
        ("  1  ", "1"),
        ("-0", "0"),
        ("007", "7"),
        ("-999999999999999", "-999999999999999"),
        (r#""a\"b\\c""#, r#""a\"b\\c""#),
        (r#""""#, r#""""#),
        ("::", "::"),
        ("a;  b;  c=?0;d=?1", "a;b;c=?0;d"),
        ("*a/b:c", "*a/b:c"),
        ("?1", "?1"),
    ];
    for (field, canonical) in cases {
        assert_eq!(text(&parse_item(field).unwrap()), canonical);
    }
}

#[test]
fn malformed_items_are_refused() {
    let bad = [
        "",
        " ",
        "\t1",
        "1\t",
        "-",
        "1.5",
        "1000000000000000",
        "0000000000000001",
        "\"a",
        "\"a\\",
        "\"a\\n\"",
        "\"é\"",
        "\"a\tb\"",
        "é",
        "a é",
        ":AQID",
        ":AQI:",
        ":AQJ=:",
        ":AQ ID:",
        "?2",
        "?",
        "a;",
        "a;B=1",
        "a;b=",
        "a;b=1;b=2",
        "a ;b",
        "1 2",
        "1,2",
        "@1659578233",
        "%\"a\"",
        "(a b)",
    ];
    for field in bad {
        assert!(matches!(parse_item(field), Err(SfError::Syntax { .. })), "{field:?}");
    }
}

#[test]
fn dictionaries() {
    let members = parse_dictionary("a=1,b ,\t c;x=2 , d=(\"p\";q  :AQ==: );r").unwrap();
    let keys: Vec<_> = members.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(keys, ["a", "b", "c", "d"]);
    assert_eq!(members[0].1, Member::Item(parse_item("1").unwrap()));
    assert_eq!(members[1].1, Member::Item(parse_item("?1").unwrap()));
    assert_eq!(members[2].1, Member::Item(parse_item("?1;x=2").unwrap()));
    let Member::List(list) = &members[3].1 else { panic!("not a list") };
    let mut out = String::new();
    list.write(&mut out).unwrap();
    assert_eq!(out, "(\"p\";q :AQ==:);r");
    assert_eq!(parse_dictionary(""), Ok(vec![]));

    for field in [
        "a=1,",
        "a=1,,b=2",
        ",a",
        "a=1 b=2",
        "A=1",
        "a==1",
        "a=(1",
        "a=(1\"b\")",
        "a=(1,2)",
        "a=1,a=2",
        "é=1",
    ] {
        assert!(matches!(parse_dictionary(field), Err(SfError::Syntax { .. })), "{field:?}");
    }
}

#[test]
fn limits_hold() {
    assert_eq!(parse_item(&"a".repeat(MAX_FIELD + 1)), Err(SfError::TooLong));
    let many = |n: usize| (0..n).map(|i| format!("k{i}")).collect::<Vec<_>>();
    assert_eq!(parse_dictionary(&many(MAX_MEMBERS).join(",")).unwrap().len(), MAX_MEMBERS);
    assert_eq!(parse_dictionary(&many(MAX_MEMBERS + 1).join(",")), Err(SfError::TooLong));
    assert_eq!(parse_item(&format!("a;{}", many(MAX_MEMBERS + 1).join(";"))), Err(SfError::TooLong));
    let list = format!("a=({})", many(MAX_MEMBERS + 1).join(" "));
    assert_eq!(parse_dictionary(&list), Err(SfError::TooLong));
}

#[test]
fn what_has_no_serialisation_is_refused() {
    let mut out = String::new();
    assert!(push_string(&mut out, "line\nbreak").is_err());
    assert!(push_string(&mut out, "é").is_err());
    assert!(push_token(&mut out, "").is_err());
    assert!(push_token(&mut out, "1a").is_err());
    assert!(push_token(&mut out, "a b").is_err());
    assert!(push_integer(&mut out, MAX_INTEGER + 1).is_err());
    assert!(push_integer(&mut out, i64::MIN).is_err());
    assert_eq!(out, "");
}

proptest! {
    #[test]
    fn strings_and_bytes_round_trip(s in "[ -~]{0,40}", bytes: Vec<u8>, n in -MAX_INTEGER..=MAX_INTEGER) {
        for value in [BareItem::String(s.clone()), BareItem::Bytes(bytes.clone()), BareItem::Integer(n)] {
            let mut out = String::new();
            value.write(&mut out).unwrap();
            prop_assert_eq!(parse_item(&out).unwrap().value, value);
        }
    }

    #[test]
    fn noise_never_panics_and_what_parses_is_stable(field in "[ -~\t]{0,60}|\\PC{0,30}") {
        if let Ok(item) = parse_item(&field) {
            prop_assert_eq!(parse_item(&text(&item)).unwrap(), item);
        }
        let _ = parse_dictionary(&field);
    }
}
