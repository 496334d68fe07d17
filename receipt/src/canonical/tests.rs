use super::left_out::{LeftOut, left_out};
use super::{MAX_TEXT, Uncanonical, canonical, digest, message_digest, parse};

fn form(text: &str) -> String {
    String::from_utf8(canonical(&parse(text.as_bytes()).unwrap()).unwrap()).unwrap()
}

/// RFC 8785 section 3.2.2 and 3.2.3.
#[test]
fn the_examples_of_rfc_8785() {
    let text = r#"{
        "numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
        "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
        "literals": [null, true, false]
    }"#;
    let expected = "{\"literals\":[null,true,false],\"numbers\":[333333333.3333333,1e+30,4.5,0.002,1e-27],\
        \"string\":\"€$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\"}";
    assert_eq!(form(text), expected);
    let text = r#"{
        "\u20ac": "Euro Sign", "\r": "Carriage Return", "\ufb33": "Hebrew Letter Dalet With Dagesh", "1": "One",
        "\ud83d\ude00": "Emoji: Grinning Face", "\u0080": "Control", "\u00f6": "Latin Small Letter O With Diaeresis"
    }"#;
    let order = form(text);
    let names = ["Carriage Return", "One", "Control", "Latin Small", "Euro Sign", "Emoji", "Hebrew"];
    let places: Vec<usize> = names.iter().map(|name| order.find(name).unwrap()).collect();
    assert!(places.is_sorted(), "{order}");
}

/// RFC 8785 appendix B: the double's bits, and how it is written.
#[test]
fn the_numbers_of_rfc_8785() {
    let vectors: [(u64, &str); 22] = [
        (0x0000000000000000, "0"),
        (0x8000000000000000, "0"),
        (0x0000000000000001, "5e-324"),
        (0x8000000000000001, "-5e-324"),
        (0x7fefffffffffffff, "1.7976931348623157e+308"),
        (0xffefffffffffffff, "-1.7976931348623157e+308"),
        (0x4340000000000000, "9007199254740992"),
        (0xc340000000000000, "-9007199254740992"),
        (0x4430000000000000, "295147905179352830000"),
        (0x44b52d02c7e14af5, "9.999999999999997e+22"),
        (0x44b52d02c7e14af6, "1e+23"),
        (0x44b52d02c7e14af7, "1.0000000000000001e+23"),
        (0x444b1ae4d6e2ef4e, "999999999999999700000"),
        (0x444b1ae4d6e2ef4f, "999999999999999900000"),
        (0x444b1ae4d6e2ef50, "1e+21"),
        (0x3eb0c6f7a0b5ed8c, "9.999999999999997e-7"),
        (0x3eb0c6f7a0b5ed8d, "0.000001"),
        (0x41b3de4355555553, "333333333.3333332"),
        (0x41b3de4355555554, "333333333.33333325"),
        (0x41b3de4355555555, "333333333.3333333"),
        (0x41b3de4355555556, "333333333.3333334"),
        (0xbecbf647612f3696, "-0.0000033333333333333333"),
    ];
    for (bits, expected) in vectors {
        // Through a text, as numbers come: exactly, to the last bit.
        assert_eq!(form(&format!("{:e}", f64::from_bits(bits))), expected, "{bits:x}");
    }
}

#[test]
fn what_has_no_canonical_form_says_why() {
    let deep = "[".repeat(200) + &"]".repeat(200);
    let long = format!("\"{}\"", "a".repeat(MAX_TEXT));
    let cases = [
        ("{\"a\":1,\"b\":2,\"a\":1}", Uncanonical::DuplicateKey),
        ("{\"a\":1,\"\\u0061\":1}", Uncanonical::DuplicateKey),
        ("[9007199254740992]", Uncanonical::BigInteger),
        ("-123456789012345678901234567890", Uncanonical::BigInteger),
        ("\"\\ud800\"", Uncanonical::LoneSurrogate),
        ("\"\\udc00\"", Uncanonical::LoneSurrogate),
        ("\"\\ud800a\"", Uncanonical::LoneSurrogate),
        ("NaN", Uncanonical::NotJson),
        ("1 2", Uncanonical::NotJson),
        ("1e999", Uncanonical::NotJson),
        ("", Uncanonical::NotJson),
        (deep.as_str(), Uncanonical::TooDeep),
        (long.as_str(), Uncanonical::TooLong),
    ];
    for (text, why) in cases {
        assert_eq!(digest(text.as_bytes()), Err(why), "{}", &text[..text.len().min(40)]);
    }
    assert_eq!(digest(b"\"\xff\""), Err(Uncanonical::NotJson));
    for good in
        ["9007199254740991", "-9007199254740991", "9007199254740992.0", "1e30", "\"123456789012345678901\""]
    {
        assert!(digest(good.as_bytes()).is_ok(), "{good}");
    }
}

#[test]
fn a_message_is_the_same_however_a_library_holds_it() {
    let wire = r#"{"choices":[{"message":{"content":"a","tool_calls":[{"id":"x","function":{"name":"f"}}],"refusal":null}}],"n":1}"#;
    let object = r#"{"n":1.0,"usage":null,"choices":[{"message":{"tool_calls":[{"index":0,"id":"x","function":{"name":"f",
        "parsed_arguments":{"a":1}}}],"content":"a","parsed":null}}]}"#;
    assert_eq!(message_digest(wire.as_bytes()), message_digest(object.as_bytes()));
    for other in
        [wire.replace("\"a\"", "\"b\""), wire.replace("\"f\"", "\"g\""), wire.replace("\"n\":1", "\"n\":2")]
    {
        assert_ne!(message_digest(wire.as_bytes()), message_digest(other.as_bytes()), "{other}");
    }
    // A request's digest is of all that it says.
    assert_ne!(digest(b"{\"a\":null}"), digest(b"{}"));
}

#[test]
fn what_a_message_form_leaves_out_is_named() {
    let look = |text: &str| left_out(&parse(text.as_bytes()).unwrap());
    let object = r#"{"choices":[{"message":{"content":"{\"dose\": 5.0}","parsed":PARSED,"refusal":null,
        "tool_calls":[{"index":INDEX,"function":{"arguments":"{}","parsed_arguments":ARGUMENTS}}]}}],"obfuscation":OB}"#;
    let with = |parsed: &str, index: &str, arguments: &str, obfuscation: &str| {
        let text = object.replace("PARSED", parsed).replace("INDEX", index);
        look(&text.replace("ARGUMENTS", arguments).replace("OB", obfuscation))
    };
    // What follows from the rest, and nothing else.
    assert_eq!(with(r#"{"dose":5,"unit":null}"#, "0", "{}", "null"), LeftOut::default());
    let message = "choices[0].message";
    for (found, path, differs) in [
        (with(r#"{"dose":500}"#, "0", "{}", "null"), "parsed", true),
        (with("null", "0", r#"{"dose":500}"#, "null"), "tool_calls[0].function.parsed_arguments", true),
        (with("null", "500", "{}", "null"), "tool_calls[0].index", false),
    ] {
        let path = format!("{message}.{path}");
        assert_eq!((&found.paths, found.differs), (&vec![path.clone()], differs.then_some(path)));
    }
    assert_eq!(with("null", "0", "null", r#""dose 500""#).paths, ["obfuscation"]);
    // Text that is no JSON says nothing of it.
    let free = look(r#"{"content":"5 mg","parsed":{"dose":500}}"#);
    assert_eq!((&free.paths[..], free.differs), (&["parsed".to_owned()][..], None));
    let many = look(&format!("[{}]", vec![r#"{"obfuscation":"x"}"#; 30].join(",")));
    assert_eq!((many.paths.len(), many.more), (10, 20));
}
