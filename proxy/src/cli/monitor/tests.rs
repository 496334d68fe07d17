use super::key_and_place;

#[test]
fn a_log_is_a_key_and_a_place() {
    // 33 bytes, as an Ed25519 key has, and 34 and 35 with what fills up base64.
    for base64 in ["AQ+/".repeat(11), "AQ+/".repeat(11) + "AQ==", "AQ+/".repeat(11) + "AQE="] {
        let key = format!("logs.example/a/1+0011aabb+{base64}");
        for place in ["https://h/log?a=b", "A/log/1", "./A", "/srv/a=b+c", "file:///srv/a", "=odd"] {
            assert_eq!(key_and_place(&format!("{key}={place}")), Some((key.as_str(), place)));
        }
        assert_eq!(key_and_place(&key), None);
        assert_eq!(key_and_place(&format!("{key}=")), None);
        assert_eq!(key_and_place(&format!("{key} https://h")), None);
    }
    assert_eq!(key_and_place("https://h=x"), None);
}
