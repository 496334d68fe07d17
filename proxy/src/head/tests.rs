use super::*;

fn headers(lines: &[(&str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in lines {
        map.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
    }
    map
}

#[test]
fn hop_by_hop_headers_go_and_so_do_those_that_connection_names() {
    let mut map = headers(&[
        ("connection", "close, X-Mine"),
        ("x-mine", "1"),
        ("keep-alive", "timeout=5"),
        ("te", "trailers"),
        ("upgrade", "websocket"),
        ("transfer-encoding", "chunked"),
        ("proxy-authorization", "x"),
        ("trailer", "x-sum"),
        ("x-other", "2"),
    ]);
    strip_hop_by_hop(&mut map);
    let left: Vec<&str> = map.keys().map(HeaderName::as_str).collect();
    assert_eq!(left, ["trailer", "x-other"]);
}

#[test]
fn connection_cannot_remove_what_frames_a_message() {
    let mut map = headers(&[("connection", "content-length, host"), ("content-length", "3"), ("host", "a")]);
    strip_hop_by_hop(&mut map);
    assert_eq!(map.len(), 2);
}

#[test]
fn an_upstream_cannot_speak_in_our_name() {
    let mut map = headers(&[
        ("colophon-record", "\"forged\""),
        ("signature-input", "colophon=(\"@status\");tag=\"colophon-v1\", theirs=(\"a,b\" \"c\")"),
        ("signature", "theirs=:AAAA:, colophon-close=:BBBB:"),
        ("x-kept", "1"),
    ]);
    let removed = strip_claims(&mut map);
    assert_eq!(map["signature-input"], "theirs=(\"a,b\" \"c\")");
    assert_eq!(map["signature"], "theirs=:AAAA:");
    assert!(!map.contains_key("colophon-record"));
    let removed: Vec<String> = removed.into_iter().map(|name| String::from_utf8(name).unwrap()).collect();
    assert!(removed.contains(&"colophon-record".to_owned()));
    assert!(removed.contains(&"signature-input:colophon".to_owned()));
    assert!(removed.contains(&"signature:colophon-close".to_owned()));
}

#[test]
fn a_string_over_two_lines_hides_no_label() {
    let mut map =
        headers(&[("signature", "theirs=\"a"), ("signature", "b\", colophon=:BBBB:, other=:CCCC:")]);
    assert_eq!(strip_claims(&mut map), [b"signature:colophon"]);
    let left: Vec<&HeaderValue> = map.get_all("signature").iter().collect();
    assert_eq!(left, ["theirs=\"a, b\", other=:CCCC:"]);
}

#[test]
fn foreign_signatures_pass_untouched() {
    let mut map = headers(&[("signature-input", "sig1=(\"@status\")  "), ("signature", "sig1=:AAAA:")]);
    let before = map.clone();
    assert!(strip_claims(&mut map).is_empty());
    assert_eq!(map, before);
}

#[test]
fn upgrades_are_asked_for_properly_or_not_at_all() {
    assert!(
        upgrade_asked(&headers(&[("upgrade", "websocket"), ("connection", "keep-alive, Upgrade")])).is_some()
    );
    assert!(upgrade_asked(&headers(&[("upgrade", "websocket")])).is_none());
    assert!(
        upgrade_asked(&headers(&[("upgrade", "h2c"), ("connection", "upgrade, http2-settings")])).is_none()
    );
    // A tunnel of HTTP/2 would hide any number of exchanges in one.
    for hidden in ["H2C", "websocket, h2c", "websocket,\tH2c"] {
        assert!(
            upgrade_asked(&headers(&[("upgrade", hidden), ("connection", "upgrade")])).is_none(),
            "{hidden}"
        );
    }
    let lines = [("upgrade", "websocket"), ("upgrade", "h2c"), ("connection", "upgrade")];
    assert!(upgrade_asked(&headers(&lines)).is_none());
}

#[test]
fn the_digest_does_not_hang_on_the_order_of_names() {
    let one = headers(&[("b", "1"), ("a", "2"), ("b", "3")]);
    let other = headers(&[("a", "2"), ("b", "1"), ("b", "3")]);
    let swapped = headers(&[("a", "2"), ("b", "3"), ("b", "1")]);
    assert_eq!(digest(&one), digest(&other));
    assert_ne!(digest(&one), digest(&swapped));
    assert_eq!(digest(&one), colophon_receipt::merkle::sha256(b"a: 2\nb: 1\nb: 3\n"));
}

#[test]
fn only_transfer_codings_that_are_undone_are_known() {
    for known in [&[][..], &["chunked"], &["Chunked"], &["identity"], &["identity, chunked"]] {
        let lines: Vec<(&str, &str)> = known.iter().map(|value| ("transfer-encoding", *value)).collect();
        assert!(coding_known(&headers(&lines)), "{known:?}");
    }
    for other in [
        &["gzip, chunked"][..],
        &["gzip", "chunked"],
        &["chunked, gzip"],
        &["foo"],
        &["chunked", "chunked"],
        &["chunked,"],
    ] {
        let lines: Vec<(&str, &str)> = other.iter().map(|value| ("transfer-encoding", *value)).collect();
        assert!(!coding_known(&headers(&lines)), "{other:?}");
    }
}
