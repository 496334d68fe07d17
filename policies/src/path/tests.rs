use super::normalise;
use proptest::prelude::*;
use std::borrow::Cow;

#[test]
fn plain_paths_are_borrowed() {
    for path in
        ["/", "/health", "/v1/chat/completions", "/v1/responses/resp_1.2~x", "/a:b/c@d/e,f", "/...", "/.a"]
    {
        assert!(matches!(normalise(path), Cow::Borrowed(same) if same == path), "{path}");
    }
}

#[test]
fn odd_spellings_are_undone() {
    let cases = [
        ("/v1/%63hat/completions", "/v1/chat/completions"),
        ("/v1/%2563hat", "/v1/chat"),
        ("/v1%2Fchat", "/v1/chat"),
        ("//v1///chat", "/v1/chat"),
        ("/v1/chat/", "/v1/chat"),
        ("/./v1/./chat/.", "/v1/chat"),
        ("/x/../v1/chat", "/v1/chat"),
        ("/../../v1", "/v1"),
        ("/health/%2e%2e/v1", "/v1"),
        ("/health/..;x=1/v1", "/v1"),
        ("/v1;a=b/chat;c", "/v1/chat"),
        ("/v1\\chat", "/v1/chat"),
        ("/v1%5cchat", "/v1/chat"),
        ("/%", "/%"),
        ("/%zz", "/%zz"),
        ("/a%00b", "/a\0b"),
        ("/a%20", "/a "),
        ("", "/"),
        ("*", "/*"),
        ("v1/chat", "/v1/chat"),
        ("/..", "/"),
        ("/caf\u{e9}", "/caf\u{e9}"),
        ("/%c0%af", "/\u{fffd}\u{fffd}"),
    ];
    for (raw, expected) in cases {
        let normalised = normalise(raw);
        assert_eq!(normalised, expected, "{raw}");
        assert!(matches!(normalised, Cow::Owned(_)), "{raw} counts as plain");
    }
}

proptest! {
    #[test]
    fn normalising_ends_in_a_path_without_tricks(raw in "[/a.%;\\\\25eEfFcC?#~ \u{e9}]{0,40}") {
        let path = normalise(&raw).into_owned();
        prop_assert!(path.starts_with('/'));
        prop_assert!(!path.contains("//") && !path.contains(';') && !path.contains('\\'));
        prop_assert!(path.split('/').all(|s| s != "." && s != ".."));
        prop_assert!(path == "/" || !path.ends_with('/'));
    }

    #[test]
    fn plain_paths_stay(raw in "(/[a-z0-9_~:-]{1,8}){1,5}") {
        prop_assert!(matches!(normalise(&raw), Cow::Borrowed(_)));
    }
}
