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
    let choice = globs(&["{a,b*}", "v[1-3]", "plain", "m?d"]);
    assert!(["a", "bx", "v2", "plain", "mid"].iter().all(|name| choice.fit(name)));
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
