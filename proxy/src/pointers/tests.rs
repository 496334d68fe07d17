use super::values;
use colophon_policies::{Pointer, Value};

fn at(body: &str, pointer: &str) -> Value<'static> {
    values(body.as_bytes(), &[Pointer::new(pointer).unwrap()]).swap_remove(0)
}

fn text(text: &'static str) -> Value<'static> {
    Value::Text(text.into())
}

#[test]
fn values_are_found_by_their_pointers() {
    let body = r#" {"a":{"b":[10,{"c":"\u0074riage"}],"n":null,"":1},"a/b":true,"m~n":false,"e":1e3} "#;
    assert_eq!(at(body, "/a/b/1/c"), text("triage"));
    assert_eq!(at(body, "/a/b/0"), Value::Number("10".into()));
    assert_eq!(at(body, "/a/n"), Value::Null);
    assert_eq!(at(body, "/a/"), Value::Number("1".into()));
    assert_eq!(at(body, "/a~1b"), Value::Bool(true));
    assert_eq!(at(body, "/m~0n"), Value::Bool(false));
    assert_eq!(at(body, "/e"), Value::Number("1e3".into()));
    assert_eq!(at(body, "/a"), Value::Container);
    for absent in ["/x", "/a/b/2", "/a/b/00", "/a/b/-", "/e/x", "/a/n/x"] {
        assert_eq!(at(body, absent), Value::Absent, "{absent}");
    }
    let pointers = ["/a", "/a/b", "/a/b/1/c", "/x"].map(|text| Pointer::new(text).unwrap());
    let all = values(body.as_bytes(), &pointers);
    assert_eq!(all, [Value::Container, Value::Container, text("triage"), Value::Absent]);
}

#[test]
fn what_servers_may_read_differently_is_in_doubt() {
    for body in [
        r#"{"m":1,"m":2}"#,
        r#"{"m":1,"\u006d":2}"#,
        r#"{"m":1"#,
        r#"{"m":1} {"m":2}"#,
        r#"{"m":1,}"#,
        r#"{"m":NaN}"#,
        "m=1",
        "\u{feff}{\"m\":1}",
        r#"{"m":"\ud800"}"#,
    ] {
        assert_eq!(at(body, "/m"), Value::Unknown, "{body}");
    }
    assert_eq!(values(b"{\"m\":\"\xff\"}", &[Pointer::new("/m").unwrap()]), [Value::Unknown]);
    let nested = r#"{"a":{"m":1,"m":2},"b":3}"#;
    assert_eq!((at(nested, "/a/m"), at(nested, "/b")), (Value::Unknown, Value::Number("3".into())));
    let doubled = r#"{"a":{"m":1},"a":{}}"#;
    assert_eq!((at(doubled, "/a/m"), at(doubled, "/a")), (Value::Unknown, Value::Unknown));
    assert_eq!(at("", "/m"), Value::Absent);
    assert_eq!(at("[1,2]", "/m"), Value::Absent);
    let deep = format!("{{\"x\":{}{},\"m\":1}}", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(at(&deep, "/m"), Value::Number("1".into()), "depth beside the way does not matter");
}
