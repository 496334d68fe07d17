use super::{first_names, of_members, values};
use colophon_policies::{Api, Pointer, Value};
use colophon_reading::read_request_watching;

fn at(body: &str, pointer: &str) -> Value<'static> {
    let pointers = [Pointer::new(pointer).unwrap()];
    let value = values(body.as_bytes(), &pointers).swap_remove(0);
    assert_eq!(in_one_pass(body.as_bytes(), &pointers), std::slice::from_ref(&value), "{body}");
    value
}

/// The same by the pass that reads the request's meaning, as `observe` does.
fn in_one_pass(body: &[u8], pointers: &[Pointer]) -> Vec<Value<'static>> {
    let names = first_names(pointers);
    match read_request_watching(Api::Chat, Some("application/json"), body, &names).1 {
        Some(members) => of_members(&members, &names, pointers),
        None => values(body, pointers),
    }
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
    assert_eq!(in_one_pass(body.as_bytes(), &pointers), all);
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

#[test]
fn one_pass_finds_what_two_do_also_in_members_that_have_a_meaning() {
    let body = br#"{"model":"m" , "stream" : true,"messages":[{"role":"user","content":"hi"}],
        "temperature":0.5,"metadata":{"decision":"triage","list":[1,[2,3]]},"stop":["a","b"] }"#;
    let pointers = [
        "/model",
        "/stream",
        "/messages/0/content",
        "/messages/1",
        "/temperature",
        "/metadata/decision",
        "/metadata/list/1/0",
        "/stop/1",
        "/stop",
        "/nothing/here",
    ];
    let pointers = pointers.map(|pointer| Pointer::new(pointer).unwrap());
    let names = first_names(&pointers);
    let (meaning, members) = read_request_watching(Api::Chat, None, body, &names);
    let members = members.expect("it is an object");
    assert_eq!(of_members(&members, &names, &pointers), values(body, &pointers));
    assert_eq!(meaning, colophon_reading::read_request(Api::Chat, None, body));
    assert_eq!(values(body, &pointers)[5], text("triage"));
}
