use super::*;

#[test]
fn only_full_tests_may_not_skip() {
    for full in [false, true] {
        let tests = cargo_test(full);
        let told: Vec<_> = tests.get_envs().filter_map(|(name, value)| name.to_str().zip(value)).collect();
        assert!(told.iter().any(|(name, _)| *name == "COLOPHON_SETUP"), "{told:?}");
        assert_eq!(told.iter().any(|(name, _)| *name == "COLOPHON_TEST_FULL"), full, "{told:?}");
    }
}
