use proptest::prelude::*;

use super::{Fault, Form, MAX_VALUE};

const TYPE: &str = "multipart/form-data; charset=utf-8; boundary=\"x-y\"";

fn part(head: &str, value: &str) -> String {
    format!("--x-y\r\nContent-Disposition: form-data; {head}\r\n\r\n{value}\r\n")
}

fn read(body: &[u8], piece: usize) -> (Vec<(String, String)>, Option<Fault>) {
    let mut form = Form::new(TYPE).unwrap();
    body.chunks(piece).for_each(|piece| form.push(piece));
    form.finish();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (form.fields.iter().map(|field| (text(&field.name), text(&field.value))).collect(), form.fault)
}

fn usual() -> String {
    part("name=\"model\"", "whisper")
        + &part("name=\"file\"; filename=\"a.wav\"", &"\r\n--x-\r\n--\r\n".repeat(5000))
        + &part("name=temperature", "0.5")
        + "--x-y--\r\n"
}

#[test]
fn fields_are_kept_and_files_passed_over() {
    let expected = [("model", "whisper"), ("temperature", "0.5")].map(|(a, b)| (a.to_owned(), b.to_owned()));
    for piece in [1, 2, 3, 7, 100, 1 << 20] {
        assert_eq!(read(usual().as_bytes(), piece), (expected.to_vec(), None), "{piece}");
    }
}

#[test]
fn what_is_wrong_is_said() {
    assert!(Form::new("multipart/form-data").is_none());
    assert!(Form::new(&format!("multipart/form-data; boundary={}", "a".repeat(71))).is_none());
    assert_eq!(read(part("name=a", "b").as_bytes(), 9), (vec![], Some(Fault::CutShort)).clone());
    assert_eq!(read(b"no form at all", 3).1, Some(Fault::CutShort));
    let long = part("name=a", &"b".repeat(MAX_VALUE + 1)) + &part("name=c", "d") + "--x-y--";
    for piece in [1, 5000, 1 << 20] {
        assert_eq!(
            read(long.as_bytes(), piece),
            (vec![("c".to_owned(), "d".to_owned())], Some(Fault::TooLarge)),
            "{piece}"
        );
    }
    let head = format!("--x-y\r\n{}", "a".repeat(9999));
    assert_eq!(read(head.as_bytes(), 100).1, Some(Fault::Malformed));
}

#[test]
fn memory_is_bounded() {
    let mut form = Form::new(TYPE).unwrap();
    form.push(part("name=file; filename=a", "").trim_end().as_bytes());
    form.push(b"\r\n\r\n");
    for _ in 0..100 {
        form.push(&vec![b'-'; 1 << 20]);
        assert!(
            form.carried.len() < 100 && form.carried.capacity() <= 16 << 10,
            "{}",
            form.carried.capacity()
        );
    }
}

proptest! {
    #[test]
    fn no_bytes_panic_and_no_cut_matters(
        words in prop::collection::vec(prop::sample::select(vec![
            "\r\n", "--", "x-y", "--x-y", "\r\n--x-y", "--x-y--", "Content-Disposition: form-data; name=a", ":", "a", "\r\n\r\n",
        ]), 0..30),
        piece in 1_usize..20,
    ) {
        let body = words.concat();
        prop_assert_eq!(read(body.as_bytes(), piece), read(body.as_bytes(), 1 << 20));
    }
}
