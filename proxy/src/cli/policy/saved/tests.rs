use super::Request;

#[test]
fn saved_requests_are_read() {
    let text =
        "POST /v1/chat/completions?a=b HTTP/1.1\r\nHost: x\r\nX-A: 1\r\nX-A: 2\r\n\r\n{\"model\":\"m\"}";
    let request = Request::parse(text.as_bytes()).unwrap();
    assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/v1/chat/completions"));
    assert_eq!(request.query.as_deref(), Some("a=b"));
    assert_eq!(request.headers.get_all("x-a").iter().count(), 2);
    assert_eq!(request.body.as_deref(), Some(&b"{\"model\":\"m\"}"[..]));
    let chunked = "POST /g HTTP/1.1\nTransfer-Encoding: chunked\n\n3;x\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
    assert_eq!(Request::parse(chunked.as_bytes()).unwrap().body.as_deref(), Some(&b"abcde"[..]));
    let absolute = Request::new("GET", "http://host:80/a//b?x#f").unwrap();
    assert_eq!((absolute.path.as_str(), absolute.query.as_deref()), ("/a//b", Some("x")));
    assert_eq!(Request::new("GET", "http://host").unwrap().path, "/");
}

#[test]
fn what_is_no_request_says_so() {
    for (text, why) in [
        ("", "no empty line"),
        ("GET\r\n\r\n", "request line"),
        ("G(T / HTTP/1.1\r\n\r\n", "no HTTP method"),
        ("GET / HTTP/1.1\r\nnope\r\n\r\n", "is no header"),
        ("GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "no chunk's size"),
        ("GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n", "cut short"),
    ] {
        let error = format!("{:#}", Request::parse(text.as_bytes()).unwrap_err());
        assert!(error.contains(why), "{text:?}: {error}");
    }
}
