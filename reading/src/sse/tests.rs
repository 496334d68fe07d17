use proptest::prelude::*;

use super::{Event, Splitter};
use crate::MAX_EVENT;

/// Name and data of each event; `None` for one that is too large.
fn split<'p>(pieces: impl IntoIterator<Item = &'p [u8]>) -> (Vec<Option<(String, String)>>, bool) {
    let mut splitter = Splitter::default();
    let mut events = Vec::new();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    for piece in pieces {
        splitter.push(piece, |event| {
            events.push(match event {
                Event::Data { name, data } => Some((text(name), text(data))),
                Event::TooLarge => None,
            });
        });
    }
    (events, splitter.is_open())
}

fn named(name: &str, data: &str) -> Option<(String, String)> {
    Some((name.to_owned(), data.to_owned()))
}

/// Whole, byte by byte, and in all two pieces.
fn check(stream: &str, expected: &[Option<(String, String)>]) {
    let bytes = stream.as_bytes();
    assert_eq!(split([bytes]).0, expected, "{stream:?}");
    assert_eq!(split(bytes.chunks(1)).0, expected, "{stream:?} byte by byte");
    for at in 0..bytes.len() {
        let (a, b) = bytes.split_at(at);
        assert_eq!(split([a, b]).0, expected, "{stream:?} cut at {at}");
    }
}

#[test]
fn every_line_end_ends_a_line() {
    let expected = [named("", "a"), named("", "b")];
    for end in ["\n", "\r", "\r\n"] {
        check(&format!("data: a{end}{end}data:b{end}{end}"), &expected);
    }
    check("data: a\r\n\ndata:b\n\r\n", &expected);
    check("data: a\n\rdata:b\r\r", &expected);
}

#[test]
fn a_lone_return_ends_the_event_at_once() {
    let mut splitter = Splitter::default();
    let mut seen = 0;
    splitter.push(b"data: a\r\n\r", |_| seen += 1);
    splitter.push(b"\n", |_| seen += 1);
    assert_eq!(seen, 1);
}

#[test]
fn the_examples_of_the_specification() {
    check("data: YHOO\ndata: +2\ndata: 10\n\n", &[named("", "YHOO\n+2\n10")]);
    check(
        ": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n",
        &[named("", "first event"), named("", "second event")],
    );
    check("data\n\ndata\ndata\n\ndata:", &[named("", ""), named("", "\n")]);
    check("data:test\n\ndata: test\n\n", &[named("", "test"), named("", "test")]);
    check(
        "event: add\ndata: 73857293\n\nevent: remove\ndata: 2153\n\n",
        &[named("add", "73857293"), named("remove", "2153")],
    );
}

#[test]
fn comments_names_and_unknown_fields_are_no_data() {
    check(": keep-alive\n\n:\n\ndata: a\n: b\ndatax: c\n data: d\n\n", &[named("", "a")]);
    check("event: a\n\ndata: b\n\n", &[named("", "b")]);
    check("data: a\nevent: x\nevent: y\ndata: b\n\n", &[named("y", "a\nb")]);
}

#[test]
fn one_byte_order_mark_is_left_out() {
    check("\u{feff}data: a\n\n", &[named("", "a")]);
    check("\u{feff}\u{feff}data: a\n\n", &[]);
    check("\u{feff}\n\u{feff}data: a\n\n", &[]);
    let half = b"\xef\xbbdata: a\n\ndata: b\n\n";
    assert_eq!(split([&half[..]]).0, [named("", "b")]);
    assert_eq!(split(half.chunks(1)).0, [named("", "b")]);
}

#[test]
fn an_event_left_open_is_noticed() {
    assert!(!split([&b"data: a\n\n: comment"[..]]).1);
    assert!(split([&b"data: a\n"[..]]).1);
    assert!(split([&b"data: a\n\nda"[..]]).1);
}

#[test]
fn a_large_event_is_skipped_however_it_is_cut() {
    let fits = "x".repeat(MAX_EVENT - 6);
    let stream = format!("data: {fits}\n\ndata: {fits}y\n\ndata: b\n\n");
    let lines = format!("{}\ndata: c\n\n", "data: 0123456789\n".repeat(MAX_EVENT / 16 + 1));
    for piece in [1, 7, 4096, usize::MAX] {
        let (events, _) = split(stream.as_bytes().chunks(piece));
        assert_eq!(events.len(), 3);
        assert_eq!(events[0].as_ref().map(|(_, data)| data.len()), Some(fits.len()));
        assert_eq!(events[1..], [None, named("", "b")]);
        assert_eq!(split(lines.as_bytes().chunks(piece)).0, [None, named("", "c")]);
    }
    // Comments never add up: a stream may be kept alive for hours.
    let comments = ": keep-alive\n".repeat(MAX_EVENT / 8);
    assert_eq!(split([comments.as_bytes(), b"data: a\n\n"]).0, [named("", "a")]);
}

#[test]
fn nothing_is_kept_of_a_large_event() {
    let mut splitter = Splitter::default();
    for _ in 0..64 {
        splitter.push(&[b'x'; 65536], |_| {});
        splitter.push(b"\n", |_| {});
        splitter.push(b"data: y", |_| {});
        assert!(splitter.line.capacity() + splitter.event.data.capacity() <= 4 * MAX_EVENT);
    }
    splitter.push(b"\n\n", |_| {});
    assert!(splitter.line.capacity() + splitter.event.data.capacity() <= 2 * super::KEEP);
}

proptest! {
    #[test]
    fn the_cuts_do_not_matter(
        parts in prop::collection::vec(
            prop_oneof![
                Just("data: "), Just("data"), Just("event:e"), Just(":"), Just("\n"), Just("\r"), Just("\r\n"),
                Just("\n\n"), Just("\u{feff}"), Just("x"), Just(" "), Just("id: 1\n"),
            ],
            0..40,
        ),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let stream = parts.concat();
        let bytes = stream.as_bytes();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.sort_unstable();
        let mut pieces = Vec::new();
        let mut from = 0;
        for cut in cuts {
            pieces.push(&bytes[from..cut]);
            from = cut;
        }
        pieces.push(&bytes[from..]);
        let whole = split([bytes]);
        prop_assert_eq!(&split(pieces), &whole);
        prop_assert_eq!(&split(bytes.chunks(1)), &whole);
    }
}
