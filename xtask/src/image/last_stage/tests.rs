use std::fs;

use super::*;
use crate::shell::root;

#[test]
fn the_containerfile_starts_colophon_as_nobody() {
    let text = fs::read_to_string(root().join("Containerfile")).unwrap();
    let stage = read(&text).unwrap();
    assert_eq!(stage.entrypoint, ["/usr/local/bin/colophon"]);
    assert_eq!(stage.user, "65532:65532");
    assert!(stage.labels.contains(&"org.opencontainers.image.licenses=Apache-2.0".to_owned()), "{stage:?}");
}

#[test]
fn only_a_last_stage_from_nothing_counts() {
    let stage = "FROM scratch\nUSER 1:1\nENTRYPOINT [\"/a\", \"b\"]\n";
    assert_eq!(read(stage).unwrap().entrypoint, ["/a", "b"]);
    for (text, why) in [
        (format!("{stage}FROM debian\nUSER 2:2\n"), "not FROM scratch"),
        ("FROM scratch\nENTRYPOINT [\"/a\"]\n".into(), "lacks USER"),
        ("FROM scratch\nUSER 1:1\n".into(), "ENTRYPOINT"),
        ("FROM scratch\nENTRYPOINT /a\n".into(), "no JSON list"),
        (format!("{stage}VOLUME /data\n"), "VOLUME"),
    ] {
        let error = format!("{:#}", read(&text).unwrap_err());
        assert!(error.contains(why), "{text}: {error}");
    }
}
