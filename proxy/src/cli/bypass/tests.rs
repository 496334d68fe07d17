use super::*;

#[test]
fn who_breaks_the_glass_is_known_without_an_environment() {
    let users = "root:x:0:0:root:/root:/bin/sh\n\nbroken\nana:x:1000:1000::/home/ana:/bin/sh\n";
    let status = "Name:\tcolophon\nUid:\t1000\t0\t0\t0\nGid:\t0\t0\t0\t0\n";
    assert_eq!(uid(status), Some("1000"));
    assert_eq!(name_of("1000", users), "ana");
    assert_eq!(name_of("0", users), "root");
    assert_eq!(name_of("65532", users), "uid 65532");
    assert_eq!(uid("Name:\tcolophon\n"), None);
}

#[test]
fn the_glass_is_broken_for_a_day_at_most() {
    assert_eq!(time("24h"), Ok(MAX_TIME));
    assert!(time("48h").unwrap_err().contains("24h is the most"));
}
