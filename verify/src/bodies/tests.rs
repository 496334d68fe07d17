use colophon_receipt::merkle::sha256;

use super::*;

/// All ways to read `copy`, given in pieces of several sizes, which must not matter.
#[track_caller]
fn readings(side: Side, copy: &[u8]) -> Body {
    let whole = Body::from_bytes(side, copy);
    for size in [1, 2, 3, 7, 4096, 100_000] {
        let mut reader = BodyReader::new(side);
        copy.chunks(size).for_each(|piece| reader.update(piece));
        let pieces = reader.finish();
        assert_eq!(pieces.readings, whole.readings, "in pieces of {size}");
        assert_eq!(pieces.head.is_some(), whole.head.is_some());
    }
    whole
}

fn has(body: &Body, bytes: &[u8]) -> bool {
    let wanted = BodyDigest { digest: sha256(bytes), size: bytes.len() as u64 };
    body.readings.iter().any(|reading| reading.body == wanted)
}

#[test]
fn a_raw_file_is_one_body() {
    for body in
        [&b""[..], b"{}", b"HTT", b"HTTP/nonsense", b"HTTP/1.1 200 OK\r\nno end", b"\xff\0", b"GET / HTTP"]
    {
        for side in [Side::Request, Side::Response] {
            let read = readings(side, body);
            assert!(has(&read, body) && read.head.is_none(), "{body:?}");
            assert_eq!(read.readings.len(), 1);
        }
    }
}

#[test]
fn saved_messages_are_recognised() {
    for head in [
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n",
        "HTTP/2 200 \r\ncontent-type: text/plain\r\n\r\n",
        "HTTP/1.1 200 OK\nContent-Type: text/plain\n\n",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n",
    ] {
        let read = readings(Side::Response, [head, "body"].concat().as_bytes());
        assert!(has(&read, b"body"), "{head:?}");
        let head = read.head.unwrap();
        assert_eq!(head.status.as_deref(), Some("200"));
        assert_eq!(head.header("content-type").collect::<Vec<_>>(), ["text/plain"]);
    }
    let request = b"POST /v1/chat HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}";
    assert!(has(&readings(Side::Request, request), b"{}"));
    assert!(!has(&readings(Side::Response, request), b"{}"));
}

#[test]
fn chunks_are_undone() {
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let read = |body: &str| readings(Side::Response, [head, body].concat().as_bytes());
    assert!(has(&read("3\r\nabc\r\n0A;x=\"y\"\r\n0123456789\r\n0\r\n\r\n"), b"abc0123456789"));
    assert!(has(&read("0\r\n\r\n"), b""));
    // Already de-chunked, as curl writes it.
    assert!(has(&read("abc"), b"abc"));
    for wrong in [
        "3\r\nabc\r\n",
        "3\r\nabc\r\n0\r\n",
        "3\r\nabcX\r\n0\r\n\r\n",
        "3\r\nabc\r\n0\r\n\r\nmore",
        "-3\r\nabc\r\n0\r\n\r\n",
        "3 3\r\nabc\r\n0\r\n\r\n",
        "\r\n3\r\nabc\r\n0\r\n\r\n",
        "ffffffffffffffffff\r\nabc\r\n0\r\n\r\n",
    ] {
        assert!(!has(&read(wrong), b"abc"), "{wrong:?}");
    }
}

#[test]
fn large_copies_keep_little_and_lose_nothing() {
    let body: Vec<u8> = (0..900_000u32).map(|n| (n % 251) as u8).collect();
    assert!(has(&readings(Side::Response, &body), &body));
    let tailed = [&body[..], b"\n\n: colophon x\n\n"].concat();
    let read = readings(Side::Response, &tailed);
    assert!(has(&read, &tailed) && has(&read, &[&body[..], b"\n\n"].concat()));
    let mut message = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
    for piece in body.chunks(50_000) {
        message.extend_from_slice(format!("{:X}\r\n", piece.len()).as_bytes());
        message.extend_from_slice(piece);
        message.extend_from_slice(b"\r\n");
    }
    message.extend_from_slice(b"0\r\nX-A: b\r\n\r\n");
    let read = readings(Side::Response, &message);
    assert!(has(&read, &body));
    assert_eq!(read.head.unwrap().trailer("x-a").collect::<Vec<_>>(), ["b"]);
}

#[test]
fn only_a_comment_at_the_very_end_is_left_out() {
    let read = |body: &str| readings(Side::Response, body.as_bytes());
    assert!(has(&read("data: 1\n\n: colophon a\n: colophon b\n\n"), b"data: 1\n\n"));
    assert!(has(&read("data: 1\n\n: colophon a\r\n\r\n"), b"data: 1\n\n"));
    assert_eq!(readings(Side::Request, b"{}\n: colophon a\n").readings.len(), 1);
    for body in ["data: 1\n\n: colophon a\ndata: 2\n", "data: 1\n\n: keep-alive\n\n", "data: : colophon a\n"]
    {
        assert_eq!(read(body).readings.len(), 1, "{body:?}");
    }
}

#[test]
fn trailers_written_after_the_body_are_left_out() {
    let head = "HTTP/1.1 200 OK\r\nTrailer: X-Sum, x-two\r\n\r\n";
    for body in ["{\"a\":1}", "data: 1\n\n", ""] {
        let copy = format!("{head}{body}X-Sum: 1\r\nX-Two: 2\r\n\r\n");
        let read = readings(Side::Response, copy.as_bytes());
        assert!(has(&read, body.as_bytes()), "{body:?}");
        assert_eq!(read.head.unwrap().trailer("x-two").collect::<Vec<_>>(), ["2"]);
    }
    let copy = format!("{head}bodyX-Other: 1\r\n");
    assert!(!has(&readings(Side::Response, copy.as_bytes()), b"body"));
}
