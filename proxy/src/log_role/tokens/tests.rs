use super::*;
use http::HeaderValue;

fn headers(value: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
    headers
}

#[test]
fn tokens_are_found_with_their_names() {
    let tokens = Tokens::parse("# fleet\n0123456789abcdef\n\nfedcba9876543210 gpu-1\n").unwrap();
    assert!(tokens.caller(&headers("Bearer 0123456789abcdef")).unwrap().name.is_none());
    let named = tokens.caller(&headers("bearer fedcba9876543210")).unwrap();
    assert_eq!(named.name.as_deref(), Some("gpu-1"));
    for wrong in
        ["Bearer 0123456789abcdeF", "Bearer ", "Basic 0123456789abcdef", "0123456789abcdef", "Bearer #"]
    {
        assert!(tokens.caller(&headers(wrong)).is_none(), "{wrong}");
    }
    assert!(tokens.caller(&HeaderMap::new()).is_none());
}

#[test]
fn files_without_usable_tokens_are_refused() {
    for text in ["", "# none\n", "short\n", "0123456789abcdef a b\n", "0123456789abcdeé\n"] {
        assert!(Tokens::parse(text).is_err(), "{text:?}");
    }
}
