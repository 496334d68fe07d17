use super::*;
use crate::keys::Ed25519Key;

/// RFC 9421 appendix B.1.4, `test-key-ed25519`.
const TEST_KEY: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIJ+DYvh6SEqVTm50DFtMDoQikTmiCqirVv9mWG9qfSnF
-----END PRIVATE KEY-----
";
const CONTENT_DIGEST: &str =
    "sha-512=:WZDPaVn/7XgHaAy8pmojAkGWoRx2UFChF41A2svX+TaPm+AbwAgBWnrIiYllu7BNNyealdVLvRwEmTHWXvJwew==:";

/// The request of RFC 9421 appendix B.2.
fn test_request(covered: &CoveredComponent) -> Option<&'static str> {
    request_value(&covered.name, covered.req)
}

fn request_value(name: &str, req: bool) -> Option<&'static str> {
    if req {
        return None;
    }
    Some(match name {
        "date" => "Tue, 20 Apr 2021 02:07:55 GMT",
        "@method" => "POST",
        "@path" => "/foo",
        "@query" => "?param=Value&Pet=dog",
        "@authority" => "example.com",
        "content-type" => "application/json",
        "content-digest" => CONTENT_DIGEST,
        "content-length" => "18",
        _ => return None,
    })
}

fn only(field: &str) -> SignatureInput {
    parse_signature_input(field).unwrap().remove(0)
}

#[test]
fn rfc9421_b_2_6_ed25519() {
    let field = "sig-b26=(\"date\" \"@method\" \"@path\" \"@authority\" \"content-type\" \"content-length\")\
                 ;created=1618884473;keyid=\"test-key-ed25519\"";
    let input = only(field);
    assert_eq!(input.label(), "sig-b26");
    assert_eq!((input.created(), input.keyid()), (Some(1_618_884_473), Some("test-key-ed25519")));
    assert_eq!((input.alg(), input.tag(), input.expires()), (None, None, None));
    assert!(input.covers("@path", false) && !input.covers("@path", true) && !input.covers("@query", false));
    let base = input.signature_base(test_request).unwrap();
    assert_eq!(
        base.as_str(),
        "\"date\": Tue, 20 Apr 2021 02:07:55 GMT\n\
         \"@method\": POST\n\
         \"@path\": /foo\n\
         \"@authority\": example.com\n\
         \"content-type\": application/json\n\
         \"content-length\": 18\n\
         \"@signature-params\": (\"date\" \"@method\" \"@path\" \"@authority\" \"content-type\" \"content-length\")\
         ;created=1618884473;keyid=\"test-key-ed25519\""
    );
    assert_eq!(base.signature_input("sig-b26"), field);

    let key = Ed25519Key::from_pkcs8_pem(TEST_KEY).unwrap();
    let signature = key.sign(base.as_bytes());
    let value =
        "sig-b26=:wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw==:";
    assert_eq!(signature_value("sig-b26", &signature), value);
    let signatures = parse_signature(value).unwrap();
    assert_eq!(signatures, [("sig-b26".to_owned(), signature.to_vec())]);
    assert_eq!(key.public_key().verify(base.as_bytes(), &signatures[0].1), Ok(()));
}

/// The bases of the other examples that need no component parameters.
#[test]
fn rfc9421_b_2_1_and_b_2_3_bases() {
    let minimal =
        only("sig-b21=();created=1618884473;keyid=\"test-key-rsa-pss\";nonce=\"b3k2pp5k7z-50gnwp.yemd\"");
    assert_eq!(
        minimal.signature_base(test_request).unwrap().as_str(),
        "\"@signature-params\": ();created=1618884473;keyid=\"test-key-rsa-pss\";nonce=\"b3k2pp5k7z-50gnwp.yemd\""
    );
    let full = only(
        "sig-b23=(\"date\" \"@method\" \"@path\" \"@query\" \"@authority\" \"content-type\" \"content-digest\" \
         \"content-length\");created=1618884473;keyid=\"test-key-rsa-pss\"",
    );
    assert_eq!(
        full.signature_base(test_request).unwrap().as_str(),
        format!(
            "\"date\": Tue, 20 Apr 2021 02:07:55 GMT\n\
             \"@method\": POST\n\
             \"@path\": /foo\n\
             \"@query\": ?param=Value&Pet=dog\n\
             \"@authority\": example.com\n\
             \"content-type\": application/json\n\
             \"content-digest\": {CONTENT_DIGEST}\n\
             \"content-length\": 18\n\
             \"@signature-params\": (\"date\" \"@method\" \"@path\" \"@query\" \"@authority\" \"content-type\" \
             \"content-digest\" \"content-length\");created=1618884473;keyid=\"test-key-rsa-pss\""
        )
    );
}

/// RFC 9421 section 2.4: a response that covers components of its request.
#[test]
fn rfc9421_2_4_request_components() {
    let digest =
        "sha-512=:0Y6iCBzGg5rZtoXS95Ijz03mslf6KAMCloESHObfwnHJDbkkWWQz6PhhU9kxsTbARtY2PTBOzq24uJFpHsMuAg==:";
    let input = only(
        "reqres=(\"@status\" \"content-digest\" \"content-type\" \"@authority\";req \"@method\";req \"@path\";req \
         \"content-digest\";req);created=1618884479;keyid=\"test-key-ecc-p256\"",
    );
    let base = input
        .signature_base(|c| match (c.name.as_str(), c.req) {
            (name, true) => request_value(name, false),
            ("@status", false) => Some("503"),
            ("content-digest", false) => Some(digest),
            ("content-type", false) => Some("application/json"),
            _ => None,
        })
        .unwrap();
    assert_eq!(
        base.as_str(),
        format!(
            "\"@status\": 503\n\
             \"content-digest\": {digest}\n\
             \"content-type\": application/json\n\
             \"@authority\";req: example.com\n\
             \"@method\";req: POST\n\
             \"@path\";req: /foo\n\
             \"content-digest\";req: {CONTENT_DIGEST}\n\
             \"@signature-params\": (\"@status\" \"content-digest\" \"content-type\" \"@authority\";req \
             \"@method\";req \"@path\";req \"content-digest\";req);created=1618884479;keyid=\"test-key-ecc-p256\""
        )
    );
}

fn components() -> [Component<'static>; 4] {
    [
        Component { name: "@status", req: false, tr: false, value: "200" },
        Component { name: "content-type", req: false, tr: false, value: "text/event-stream" },
        Component { name: "@method", req: true, tr: false, value: "POST" },
        Component { name: "@query", req: true, tr: false, value: "?" },
    ]
}

const PARAMS: Params<'_> = Params { created: 1_700_000_000, keyid: "k\"1", tag: "colophon-v1" };

#[test]
fn what_is_written_is_rebuilt_by_the_reader() {
    let base = signature_base(&components(), &PARAMS).unwrap();
    assert_eq!(
        base.as_str(),
        "\"@status\": 200\n\"content-type\": text/event-stream\n\"@method\";req: POST\n\"@query\";req: ?\n\
         \"@signature-params\": (\"@status\" \"content-type\" \"@method\";req \"@query\";req)\
         ;created=1700000000;keyid=\"k\\\"1\";alg=\"ed25519\";tag=\"colophon-v1\""
    );
    // In a field with a stranger's signature beside it.
    let field = format!("theirs=(\"date\";bs);expires=1;x=1.tok, {}", base.signature_input("colophon"));
    assert!(parse_signature_input(&field).is_err(), "a decimal is refused");
    let field = format!("theirs=(\"date\";bs);expires=1;x=tok, {}", base.signature_input("colophon"));
    let inputs = parse_signature_input(&field).unwrap();
    assert_eq!(inputs[0].expires(), Some(1));
    assert!(!inputs[0].covers("date", false));
    assert_eq!(inputs[0].signature_base(test_request), Err(HttpSigError::Parameters("date".into())));
    let ours = &inputs[1];
    assert_eq!((ours.keyid(), ours.alg(), ours.tag()), (Some("k\"1"), Some(ALG), Some("colophon-v1")));
    assert!(ours.covers("@method", true));
    let value = |name: &str, req| {
        let all = components();
        all.iter().find(|c| c.name == name && c.req == req).map(|c| c.value)
    };
    assert_eq!(ours.signature_base(|c| value(&c.name, c.req)).unwrap(), base);
    assert_eq!(
        ours.signature_base(|c| if c.req { None } else { value(&c.name, c.req) }),
        Err(HttpSigError::Absent("@method".into()))
    );
}

/// The parameters are rebuilt in the order they came in, whatever it was.
#[test]
fn the_order_of_parameters_is_kept() {
    let input = only("a=(\"@path\");tag=\"t\";alg=\"ed25519\";created=1;keyid=\"k\"");
    let base = input.signature_base(test_request).unwrap();
    assert_eq!(base.signature_params(), "(\"@path\");tag=\"t\";alg=\"ed25519\";created=1;keyid=\"k\"");
}

#[test]
fn values_cannot_pose_as_other_components() {
    for value in ["a\n\"@method\": GET", "a\rb", "a\0", "é", "\u{7f}"] {
        let components = [Component { name: "x-a", req: false, tr: false, value }];
        assert_eq!(signature_base(&components, &PARAMS), Err(HttpSigError::Value("x-a".into())));
    }
    for name in ["", "@", "X-A", "x a", "x\"a", "é", "@signature-params", "a@b"] {
        let components = [Component { name, req: false, tr: false, value: "v" }];
        assert_eq!(signature_base(&components, &PARAMS), Err(HttpSigError::Name), "{name:?}");
    }
    let twice = [components()[0], components()[0]];
    assert_eq!(signature_base(&twice, &PARAMS), Err(HttpSigError::Repeated("@status".into())));
    let both = [Component { req: true, ..components()[1] }, components()[1]];
    assert!(signature_base(&both, &PARAMS).is_ok());
    let params = Params { tag: "a\nb", ..PARAMS };
    assert!(matches!(signature_base(&components(), &params), Err(HttpSigError::Field(_))));
}

#[test]
fn malformed_fields_are_refused() {
    let bad = [
        "a",
        "a=1",
        "a=\"x\"",
        "a=(x)",
        "a=(\"X\")",
        "a=(\"@signature-params\")",
        "a=(\"x\" \"x\")",
        "a=(\"x\";req \"x\";req)",
        "a=(\"x\";req=?0)",
        "a=(\"x\";req=1)",
        "a=(\"x\");created=\"1\"",
        "a=(\"x\");created=1;created=2",
        "a=(\"x\");keyid=tok",
        "a=(\"x\");tag=1",
        "a=(\"x\"), a=(\"y\")",
        "a=(\"x\"",
    ];
    for field in bad {
        assert!(parse_signature_input(field).is_err(), "{field}");
    }
    for field in ["a", "a=1", "a=(:AQ==:)", "a=:AQ==:;p", "a=:AQ==", "a=:AQ==:, a=:AQ==:"] {
        assert!(parse_signature(field).is_err(), "{field}");
    }
    assert_eq!(parse_signature_input("a=(\"x\");created=-1").unwrap()[0].created(), None);
    assert_eq!(parse_signature("").unwrap(), []);
}

/// RFC 9421 section 2.1, with its examples of padded, empty, repeated and folded fields.
#[test]
fn field_values_are_canonical() {
    assert_eq!(field_value([]), None);
    assert_eq!(field_value([""]).unwrap(), "");
    assert_eq!(field_value(["  \t padded \t"]).unwrap(), "padded");
    assert_eq!(field_value(["max-age=60", "   must-revalidate"]).unwrap(), "max-age=60, must-revalidate");
    assert_eq!(field_value(["a", "", "b"]).unwrap(), "a, , b");
    assert_eq!(field_value(["Obsolete\r\n    line folding."]).unwrap(), "Obsolete line folding.");
    assert_eq!(field_value(["a \t\r\n\t b\n c"]).unwrap(), "a b c");
    assert_eq!(field_value(["inner  spaces  stay"]).unwrap(), "inner  spaces  stay");
}

/// A stream's closing signature: two components from the trailer section beside one of the same name in the head.
#[test]
fn trailers_are_told_from_headers() {
    let components = [
        Component { name: "colophon-record", req: false, tr: false, value: "head" },
        Component { name: "colophon-record", req: false, tr: true, value: "trailer" },
    ];
    let base = signature_base(&components, &PARAMS).unwrap();
    assert!(base.as_str().starts_with("\"colophon-record\": head\n\"colophon-record\";tr: trailer\n"));
    let input = &parse_signature_input(&base.signature_input("c")).unwrap()[0];
    assert!(input.covers_trailer("colophon-record") && input.covers("colophon-record", false));
    let again = input.signature_base(|c| Some(if c.tr { "trailer" } else { "head" })).unwrap();
    assert_eq!(again, base);
}
