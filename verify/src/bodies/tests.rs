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

/// The trailers that are left out of the copy for it to be these bytes.
#[track_caller]
fn after(read: &Body, bytes: &[u8]) -> Trailers {
    let wanted = BodyDigest { digest: sha256(bytes), size: bytes.len() as u64 };
    read.readings.iter().find(|reading| reading.body == wanted).unwrap().trailers.clone()
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
    assert!(has(&read("3\r\nabc\r\n0A\r\n0123456789\r\n0\r\n\r\n"), b"abc0123456789"));
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
        "3;note=500mg\r\nabc\r\n0\r\n\r\n",
        "3\r\nabc\r\n0;note=500mg\r\n\r\n",
        "3\r\nabc\r\n0\r\nno field\r\n\r\n",
    ] {
        assert!(!has(&read(wrong), b"abc"), "{wrong:?}");
    }
    assert!(read("3;note=500mg\r\nabc\r\n0\r\n\r\n").odd.is_some());
    // Without its header nothing says that these are chunks.
    let plain = readings(Side::Response, b"HTTP/1.1 200 OK\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
    assert!(!has(&plain, b"abc"));
}

#[test]
fn large_copies_keep_little_and_lose_nothing() {
    let body: Vec<u8> = (0..900_000u32).map(|n| (n % 251) as u8).collect();
    assert!(has(&readings(Side::Response, &body), &body));
    let tailed = [&body[..], b"\n\n: colophon x\n\n"].concat();
    let read = readings(Side::Response, &tailed);
    assert!(has(&read, &tailed) && has(&read, &[&body[..], b"\n\n"].concat()));
    let mut message = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, Chunked\r\n\r\n".to_vec();
    for piece in body.chunks(50_000) {
        message.extend_from_slice(format!("{:X}\r\n", piece.len()).as_bytes());
        message.extend_from_slice(piece);
        message.extend_from_slice(b"\r\n");
    }
    message.extend_from_slice(b"0\r\nX-A: b\r\n\r\n");
    let read = readings(Side::Response, &message);
    assert!(has(&read, &body));
    assert_eq!(after(&read, &body).values("x-a").collect::<Vec<_>>(), ["b"]);
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
        let trailers = after(&read, body.as_bytes());
        assert_eq!(trailers.values("x-two").collect::<Vec<_>>(), ["2"]);
        // They are told, and stand for what a record commits to.
        assert_eq!(trailers.foreign(), ["x-sum", "x-two"]);
        assert!(trailers.are_committed(Some(sha256(b"x-sum: 1\nx-two: 2\n"))));
        assert!(!trailers.are_committed(None));
    }
    for end in ["X-Other: 1\r\n", "X-Sum: 1\r\nfree text\r\n", "X-Sum: 1\r\n\r\n\r\n", "X-Sum: 1\r\n \r\n"] {
        let copy = format!("{head}body{end}");
        assert!(!has(&readings(Side::Response, copy.as_bytes()), b"body"), "{end:?}");
    }
}

/// A closing of Colophon's own is none of others', but once each, and under its own label.
#[test]
fn what_stands_under_colophons_names_is_told_from_others() {
    let head = "HTTP/1.1 200 OK\r\nTrailer: Content-Digest, Signature\r\n\r\n";
    for (end, foreign) in [
        ("Content-Digest: a\r\nSignature: colophon-close=:AA==:\r\n", &[][..]),
        ("Content-Digest: a\r\nContent-Digest: b\r\n", &["content-digest"]),
        ("Signature: note=:AA==:\r\n", &["signature"]),
    ] {
        let read = readings(Side::Response, format!("{head}body{end}\r\n").as_bytes());
        assert_eq!(after(&read, b"body").foreign(), foreign, "{end}");
    }
}

/// A long list of announced names costs no more than a short one. (It took 100 s with the names below.)
#[test]
fn many_announced_trailers_cost_little() {
    let names: Vec<String> = (0..100_000).map(|n| format!("{n:x}")).collect();
    let head = format!("HTTP/1.1 200 OK\r\nTrailer: {}, Signature\r\n\r\n", names.join(","));
    assert!(head.len() < MAX_HEAD + 200_000);
    let copy = format!("{head}{}\n", "z".repeat(2 * TAIL - 10));
    let begun = std::time::Instant::now();
    Body::from_bytes(Side::Response, copy.as_bytes());
    assert!(begun.elapsed().as_secs() < 20, "{:?}", begun.elapsed());
}
