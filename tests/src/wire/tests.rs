use super::*;

fn response(bytes: &[u8]) -> Message {
    Wire::new(bytes).response("GET")
}

#[test]
fn reads_each_framing() {
    let length = response(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcd");
    assert_eq!(
        (length.framing, length.body.as_slice(), length.end),
        (Framing::Length(3), &b"abc"[..], End::Complete)
    );

    let chunked = response(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA;x=1\r\n0123456789\r\n0\r\nX-T: 1\r\n\r\n",
    );
    assert_eq!((chunked.body.as_slice(), &chunked.end), (&b"abc0123456789"[..], &End::Complete));
    assert_eq!(chunked.trailers, [("X-T".to_owned(), "1".to_owned())]);

    let close = response(b"HTTP/1.0 200 OK\r\n\r\nuntil the end");
    assert_eq!(
        (close.framing, close.body.as_slice(), close.end),
        (Framing::Close, &b"until the end"[..], End::Complete)
    );

    let mut wire = Wire::new(&b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nHTTP/1.1 204 No\r\n\r\n"[..]);
    assert_eq!(wire.response("HEAD").framing, Framing::None);
    assert_eq!(wire.response("GET").status(), 204);
}

#[test]
fn reads_interim_responses_on_the_way() {
    let response =
        response(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 E\r\nLink: x\r\n\r\nHTTP/1.1 204 No\r\n\r\n");
    assert_eq!(response.interim, ["HTTP/1.1 100 Continue", "HTTP/1.1 103 E"]);
    assert_eq!(response.status(), 204);
}

#[test]
fn reports_what_is_broken() {
    let cut = response(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc");
    assert_eq!((cut.body.as_slice(), cut.end), (&b"abc"[..], End::Truncated));
    let cut = response(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc");
    assert_eq!((cut.body.as_slice(), cut.end), (&b"abc"[..], End::Truncated));
    for bad in [
        &b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"[..],
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
        b"HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA b: 0\r\n\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n",
    ] {
        let message = response(bad);
        assert!(matches!(message.end, End::Bad(_)), "{:?}: {:?}", String::from_utf8_lossy(bad), message.end);
    }
}
