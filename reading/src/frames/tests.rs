use proptest::prelude::*;

use super::{Message, Splitter};
use crate::MAX_EVENT;

/// A frame: its first byte, its payload, and a mask if the client sends it.
fn frame(first: u8, payload: &[u8], mask: Option<[u8; 4]>) -> Vec<u8> {
    let masked = if mask.is_some() { 0x80 } else { 0 };
    let mut bytes = vec![first];
    match payload.len() {
        short @ 0..126 => bytes.push(short as u8 | masked),
        long @ 126..65_536 => {
            bytes.push(126 | masked);
            bytes.extend((long as u16).to_be_bytes());
        }
        longer => {
            bytes.push(127 | masked);
            bytes.extend((longer as u64).to_be_bytes());
        }
    }
    bytes.extend(mask.into_iter().flatten());
    let key = mask.unwrap_or_default();
    bytes.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
    bytes
}

/// Each message in a word, and whether one is open.
fn split<'p>(pieces: impl IntoIterator<Item = &'p [u8]>) -> (Vec<String>, bool) {
    let (mut splitter, mut messages) = (Splitter::default(), Vec::new());
    for piece in pieces {
        splitter.push(piece, |message| {
            messages.push(match message {
                Message::Text(text) => format!("text {}", String::from_utf8_lossy(text)),
                other => format!("{other:?}"),
            });
        });
    }
    (messages, splitter.is_open())
}

fn check(bytes: &[u8], expected: &[&str], open: bool) {
    let expected = (expected.iter().map(|word| (*word).to_owned()).collect(), open);
    assert_eq!(split([bytes]), expected);
    assert_eq!(split(bytes.chunks(1)), expected, "byte by byte");
}

const MASK: Option<[u8; 4]> = Some([0x37, 0xfa, 0x21, 0x3d]);

#[test]
fn messages_of_both_directions() {
    // The examples of RFC 6455, section 5.7.
    check(b"\x81\x05Hello", &["text Hello"], false);
    check(b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58", &["text Hello"], false);
    check(b"\x01\x03Hel\x80\x02lo", &["text Hello"], false);
    let long = "x".repeat(70_000);
    let all = [
        frame(0x81, b"", None),
        frame(0x82, &[0; 300], MASK),
        frame(0x81, &long.as_bytes()[..130], MASK),
        frame(0x81, long.as_bytes(), MASK),
    ];
    check(
        &all.concat(),
        &["text ", "Binary", &format!("text {}", &long[..130]), &format!("text {long}")],
        false,
    );
}

#[test]
fn control_frames_come_between_fragments() {
    let all = [
        frame(0x01, b"a", MASK),
        frame(0x89, b"ping", MASK),
        frame(0x00, b"b", MASK),
        frame(0x80, b"c", MASK),
    ];
    check(&all.concat(), &["text abc"], false);
    check(&all[..2].concat(), &[], true);
    check(&frame(0x88, &[3, 0xe8], None), &[], false);
    check(&all[0][..1], &[], true);
}

#[test]
fn what_an_extension_changed_is_not_read() {
    let all = [frame(0xc1, b"deflated", None), frame(0x81, b"plain", None)];
    check(&all.concat(), &["Extended", "text plain"], false);
    check(&[frame(0x41, b"de", None), frame(0x80, b"flated", None)].concat(), &["Extended"], false);
}

#[test]
fn what_breaks_the_protocol_ends_it() {
    for wrong in [
        frame(0x80, b"continues nothing", None),
        frame(0x83, b"unknown", None),
        frame(0x8b, b"unknown", None),
        frame(0x09, b"ping in pieces", None),
        frame(0x89, &[0; 126], None),
        [frame(0x01, b"a", None), frame(0x81, b"b", None)].concat(),
        b"\x81\x7f\x80\0\0\0\0\0\0\0".to_vec(),
        b"HTTP/1.1 200 OK\r\n".to_vec(),
    ] {
        let more = [wrong, frame(0x81, b"later", None)].concat();
        let (messages, _) = split([&more[..]]);
        assert_eq!(messages, ["Broken"], "{more:?}");
        assert_eq!(split(more.chunks(1)).0, messages);
    }
}

#[test]
fn a_large_message_is_skipped_and_costs_nothing() {
    let large = vec![b'x'; MAX_EVENT + 1];
    let fragment = vec![b'x'; MAX_EVENT];
    let all = [
        frame(0x81, &large, MASK),
        frame(0x01, &fragment, None),
        frame(0x80, b"y", None),
        frame(0x81, b"next", None),
    ];
    let (mut splitter, mut messages) = (Splitter::default(), 0);
    for piece in all.concat().chunks(1000) {
        splitter.push(piece, |message| {
            messages += 1;
            assert!(if messages < 3 {
                message == Message::TooLarge
            } else {
                message == Message::Text(b"next")
            });
        });
        assert!(splitter.capacity() <= 2 * MAX_EVENT);
    }
    assert_eq!(messages, 3);
    // A length that no memory has is only counted down.
    splitter.push(b"\x81\x7f\x7f\xff\xff\xff\xff\xff\xff\xff", |_| ());
    splitter.push(&large, |_| ());
    assert!(splitter.is_open() && splitter.capacity() < 1 << 20);
}

proptest! {
    #[test]
    fn pieces_do_not_matter(bytes in prop::collection::vec(any::<u8>(), 0..200), step in 1_usize..50) {
        let whole = split([&bytes[..]]);
        prop_assert_eq!(split(bytes.chunks(step)), whole);
    }
}
