use super::*;

#[test]
fn times_have_units() {
    assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
    assert_eq!(duration("10m"), Ok(Duration::from_secs(600)));
    assert_eq!(duration("1d"), Ok(Duration::from_secs(86_400)));
    for wrong in ["", "10", "s", "-1s", "1.5s", "0s", "99999999999999999999s", "9999999999999d", "5 s"] {
        assert!(duration(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn an_origin_can_stand_in_a_header() {
    assert!(origin("logs.example.com/clinic").is_ok());
    for wrong in ["", "a b", "a\"b", "a\\b", "a+b", "é", "a\u{1b}b", &"x".repeat(201)] {
        assert!(origin(wrong).is_err(), "{wrong}");
    }
}
