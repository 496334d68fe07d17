use super::*;

#[test]
fn a_share_is_told_in_percent() {
    assert_eq!(percent(0), 0.0);
    assert_eq!(percent(u64::MAX), 100.0);
    assert_eq!(percent(u64::MAX / 100), 1.0);
}
