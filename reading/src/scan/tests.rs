use proptest::prelude::*;
use serde::de::IgnoredAny;
use serde_json::error::Category;

use super::testing::{is_doubtful, text};
use super::{Fault, Scanner};
use crate::document::Document;
use crate::loose::{List, parse};

fn skip(text: &str) -> Result<(), Fault> {
    let mut scan = Scanner::new(text.as_bytes());
    let _ = scan.skip();
    scan.end()
}

/// The fault that an error of `serde_json` amounts to. Of a number without its last digits it says now that it is cut
/// short, now that it is wrong, so the two are not told apart here.
fn fault(error: &serde_json::Error) -> Fault {
    match error.classify() {
        Category::Data => Fault::DuplicateKey,
        Category::Eof | Category::Syntax | Category::Io => Fault::Syntax,
    }
}

fn cut_is_wrong(fault: Fault) -> Fault {
    if fault == Fault::CutShort { Fault::Syntax } else { fault }
}

#[test]
fn each_kind_of_mistake_is_found() {
    for good in ["0", "-0.5e+10", "\"\\u00e9\"", "[]", "{}", " [ 1 , {\"a\" : [ ] } ] ", "1e999"] {
        assert_eq!(skip(good), Ok(()), "{good}");
    }
    for cut in
        ["", " ", "-", "1.", "1e", "1e-", "tru", "\"a", "\"\\", "\"\\u00", "[", "[1,", "{\"a\"", "{\"a\":"]
    {
        assert_eq!(skip(cut), Err(Fault::CutShort), "{cut}");
    }
    for bad in [
        "01",
        "+1",
        ".5",
        "1.e1",
        "1.x",
        "NaN",
        "Infinity",
        "-Infinity",
        "trux",
        "'a'",
        "\"\t\"",
        "\"\u{0}\"",
        "\"\\x\"",
        "\"\\u00g0\"",
        "[1,]",
        "[,1]",
        "[1 2]",
        "{\"a\":1,}",
        "{a:1}",
        "{\"a\" 1}",
        "{\"a\":1]",
        "[1}",
        "1 2",
        "{}}",
        "//",
    ] {
        assert_eq!(skip(bad), Err(Fault::Syntax), "{bad}");
    }
}

#[test]
fn a_special_byte_is_found_wherever_it_stands() {
    for length in 0..100 {
        let plain = "é".repeat(length / 2) + &"a".repeat(length % 2);
        for (after, found) in
            [("\"", Ok(())), ("\\n\"", Ok(())), ("\u{1f}\"", Err(Fault::Syntax)), ("", Err(Fault::CutShort))]
        {
            assert_eq!(skip(&format!("\"{plain}{after}")), found, "{length} {after:?}");
            let text = format!("\"{plain}{after}");
            let mut scan = Scanner::new(text.as_bytes());
            let said = scan.string();
            assert_eq!(scan.end(), found, "{length} {after:?}");
            assert_eq!(said.is_some(), found.is_ok(), "{length} {after:?}");
        }
    }
}

#[test]
fn containers_of_both_kinds_nest_over_word_borders() {
    for depth in [1, 63, 64, 65, 127, 128, 129, 300] {
        let opening: String = (0..depth).map(|n| if n % 3 == 0 { "{\"a\":" } else { "[" }).collect();
        let closing: String = (0..depth).rev().map(|n| if n % 3 == 0 { "}" } else { "]" }).collect();
        assert_eq!(skip(&format!("{opening}1{closing}")), Ok(()), "{depth}");
        assert_eq!(skip(&format!("{opening}1")), Err(Fault::CutShort), "{depth}");
        let wrong = if closing.ends_with('}') { ']' } else { '}' };
        let closing = format!("{}{wrong}", &closing[..closing.len() - 1]);
        assert_eq!(skip(&format!("{opening}1{closing}")), Err(Fault::Syntax), "{depth}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn serde_json_accepts_and_refuses_the_same(text in text()) {
        let expected = serde_json::from_str::<IgnoredAny>(&text).map(drop).map_err(|error| fault(&error));
        prop_assert_eq!(skip(&text).map_err(cut_is_wrong), expected);
    }

    #[test]
    fn serde_json_fills_the_same_document(text in text()) {
        prop_assume!(text.trim_ascii_start().starts_with('{'));
        prop_assume!(!is_doubtful(&text));
        let expected = serde_json::from_str::<Document<'_>>(&text).map_err(|error| fault(&error));
        let mut document = Document::default();
        let read = parse(text.as_bytes(), &mut document).map(|()| document).map_err(cut_is_wrong);
        if skip(&text).is_err() {
            // Which of several faults is met first does not matter.
            prop_assert!(read.is_err() && expected.is_err());
            return Ok(());
        }
        prop_assert_eq!(read, expected);
        let list = format!("[{text},{text}]");
        let expected = serde_json::from_str::<List<Document<'_>>>(&list).map_err(|error| fault(&error));
        let mut documents = List::default();
        let read = parse(list.as_bytes(), &mut documents).map(|()| documents).map_err(cut_is_wrong);
        prop_assert_eq!(read, expected);
    }

    #[test]
    fn any_text_is_skipped_or_refused(text in "[\\[\\]{},:\"\\\\0-9eE.+tfn u-]{0,24}") {
        let expected = serde_json::from_str::<IgnoredAny>(&text).map(drop).map_err(|error| fault(&error));
        prop_assert_eq!(skip(&text).map_err(cut_is_wrong), expected);
    }
}
