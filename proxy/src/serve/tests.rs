use super::*;

#[test]
fn a_policy_without_end_is_not_read_to_its_end() {
    let error = policy(Some(Path::new("/dev/zero"))).unwrap_err();
    assert!(format!("{error:#}").contains("larger than"), "{error:#}");
}
