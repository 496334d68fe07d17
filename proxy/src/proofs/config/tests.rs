use super::*;

#[test]
fn what_says_nothing_of_its_length_is_read_no_further_than_it_may_be_long() {
    // It says 0 and has no end.
    let why = format!("{:#}", Provers::load(Path::new("/dev/zero")).err().unwrap());
    assert!(why.contains("longer than 1048576 bytes"), "{why}");
}
