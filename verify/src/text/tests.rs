use super::*;

#[test]
fn foreign_text_cannot_act() {
    assert_eq!(shown("plain text ~"), "plain text ~");
    assert_eq!(shown("\u{1b}[2J\r\n"), r"\u{1b}[2J\u{d}\u{a}");
    assert_eq!(shown("a\u{202e}b\u{200b}"), r"a\u{202e}b\u{200b}");
    assert_eq!(shown(b"\xff\xc3a"), r"\xff\xc3a");
    assert_eq!(quoted("say \"\\\""), r#""say \"\\\"""#);
    let long = shown(vec![b'x'; 5000]);
    assert!(long.starts_with("xxx") && long.ends_with("… (5000 bytes)") && long.len() < 200);
    // Cut inside a character: shown as the bytes that are left.
    assert!(shown("é".repeat(200)).is_ascii() || shown("é".repeat(200)).contains('…'));
}

#[test]
fn a_sentence_stays_one_line() {
    assert_eq!(line("1 µs, \"a\\b\" … `x`"), "1 µs, \"a\\b\" … `x`");
    assert_eq!(line("`\u{1b}[2J\n\u{9b}\u{202e}`"), r"`\u{1b}[2J\u{a}\u{9b}\u{202e}`");
    assert!(line(&"x".repeat(1 << 20)).len() < 1100);
}

#[test]
fn times_are_written_plainly() {
    assert_eq!(time(0), "1970-01-01T00:00:00.000Z");
    assert_eq!(time(1_794_652_800_123_456), "2026-11-14T10:40:00.123Z");
    assert_eq!(time(u64::MAX), "18446744073709551615 µs since 1970");
}

#[test]
fn open_edges_are_no_times() {
    assert_eq!((edge(0), edge(u64::MAX)), ("the beginning".into(), "the end".into()));
    assert_eq!(edge(1_794_652_800_000_000), "2026-11-14T10:40:00.000Z");
}
