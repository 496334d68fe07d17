use super::PathMatch;
use super::pattern::{Globs, Pattern};
use proptest::prelude::*;

/// A glob by definition: try every length for `*`.
fn naive(glob: &[char], text: &[char]) -> bool {
    match glob.split_first() {
        None => text.is_empty(),
        Some(('*', rest)) => (0..=text.len()).any(|n| naive(rest, &text[n..])),
        Some(('?', rest)) => !text.is_empty() && naive(rest, &text[1..]),
        Some((c, rest)) => text.first() == Some(c) && naive(rest, &text[1..]),
    }
}

fn globs(texts: &[&str]) -> Globs {
    Globs::new(texts.iter().copied()).unwrap()
}

proptest! {
    #[test]
    fn globs_agree_with_their_definition(glob in "[ab.*?/\n+(]{0,6}", text in "[ab.c/\n+(]{0,8}") {
        let expected = naive(&glob.chars().collect::<Vec<_>>(), &text.chars().collect::<Vec<_>>());
        prop_assert_eq!(globs(&[&glob]).fit(&text), expected);
    }
}

#[test]
fn globs_match_whole_names() {
    let glob = globs(&["med-*"]);
    assert!(glob.fit("med-7b") && glob.fit("med-") && glob.fit("med-org/7b"));
    assert!(!glob.fit("xmed-7b") && !glob.fit("med") && !glob.fit("MED-7b"));
    let choice = globs(&["{a,b*}", "v[1-3]", "plain", "m?d", "second"]);
    assert!(["a", "bx", "v2", "plain", "mid", "second"].iter().all(|name| choice.fit(name)));
    assert!(["ab", "v4", "v12", "xplain", "md", ""].iter().all(|name| !choice.fit(name)));
    assert!(globs(&[r"a\*"]).fit(r"a\b"), "a backslash is itself");
    for wrong in ["a[bc", "{a,b", "a}", "[z-a]"] {
        let (index, reason) = Globs::new(["x", wrong]).unwrap_err();
        assert!(index == 1 && reason.starts_with("not a glob: "), "{wrong}: {reason}");
    }
}

#[test]
fn expressions_match_whole_strings() {
    let fits = |pattern: &str, text: &str| Pattern::new(pattern).unwrap().fits(text.as_bytes());
    assert!(fits("a|ab", "ab"), "not only the first alternative");
    assert!(!fits("a|b", "ab") && !fits("/health", "/health/x") && !fits("/health", "x/health"));
    assert!(fits("(?i)/HEALTH", "/health"));
    assert!(fits("/a.*", "/a\nb"), "a line end hides nothing");
    assert!(!fits("^/a$", "/a\n") && !fits("(?m)^/a$", "/a\n/b"));
}

/// Every expression against every text, with and without the look at how it begins.
#[test]
fn how_a_text_begins_never_changes_what_fits() {
    let expressions = [
        "/v1/(chat|text)/.*",
        "/v1/(chat|text)",
        "a|b|",
        "a*b",
        "(a|b)*c",
        "(?i)abc",
        "(?i)straße",
        "^a|b$",
        r"\ba.*",
        r"\Ba",
        "[a-c]x",
        "[a-z]x",
        "(?-u:\\xff)a",
        "(?-s:.)a",
        "(?m)^a$",
        "a{2,3}b?",
        "()",
        "",
        "x?abc",
        "(?:|a)b",
        "ab|abc|abcd",
        "ab.{0,3}",
        "[^a]b",
        "(?x) a b",
        "(a|bc|def|g|h|i|j|k|l)z",
        "(?U)a+b",
        r"\x61b",
        r"\pLb",
        "éa|êb",
    ];
    let pieces = [
        "",
        "a",
        "b",
        "ab",
        "abc",
        "ABC",
        "/v1/chat",
        "/v1/chat/x",
        "/v1/text",
        "x",
        "c",
        "é",
        "ê",
        "ſ",
        "STRASSE",
        "straße",
        "\n",
        "z",
    ];
    let mut fitting = 0;
    for expression in expressions {
        let pattern = Pattern::new(expression).unwrap();
        let plain = regex::bytes::RegexBuilder::new(&format!(r"\A(?:{expression})\z"))
            .dot_matches_new_line(true)
            .build()
            .unwrap();
        for (first, second) in
            pieces.iter().flat_map(|first| pieces.iter().map(move |second| (first, second)))
        {
            let mut text = format!("{first}{second}").into_bytes();
            for _ in 0..2 {
                assert_eq!(pattern.fits(&text), plain.is_match(&text), "{expression:?} on {text:?}");
                fitting += usize::from(plain.is_match(&text));
                text.insert(0, 0xff);
            }
        }
    }
    assert!(fitting > 200, "{fitting} of them fit");
}

#[test]
fn expressions_cannot_leave_their_anchors() {
    for pattern in ["a)|(b", "(", "[", "a{2,1}", r"\y", "(?=a)", "(?x)a # comment"] {
        let error = Pattern::new(pattern).unwrap_err();
        assert!(
            error.starts_with("not a regular expression: ") && !error.contains('\n'),
            "{pattern}: {error}"
        );
    }
    assert!(Pattern::new(r"(\w{1,1000}){1,1000}").unwrap_err().contains("KiB"));
}

#[test]
fn prefixes_cover_whole_segments() {
    let v1 = PathMatch::Prefix("/v1".into());
    assert!(v1.fits("/v1") && v1.fits("/v1/models"));
    assert!(!v1.fits("/v1beta") && !v1.fits("/x/v1"));
    assert!(PathMatch::Prefix(String::new()).fits("/") && PathMatch::Prefix(String::new()).fits("/x"));
}
