use super::*;

#[test]
fn a_policy_is_read_again_so_it_is_no_device() {
    let error = policy(Some(Path::new("/dev/zero"))).unwrap_err();
    assert!(format!("{error:#}").contains("neither a file nor a folder"), "{error:#}");
}
