use super::*;

#[test]
fn the_token_is_new_each_time_and_for_its_owner_only() {
    let data = tempfile::TempDir::new().unwrap();
    std::fs::create_dir(data.path().join("keys")).unwrap();
    let first = Access::create(data.path(), ([0, 0, 0, 0], 4181).into()).unwrap();
    assert_eq!(first.address, ([127, 0, 0, 1], 4181).into());
    assert_eq!(first.token.len(), 64);
    let second = Access::create(data.path(), "[::]:7".parse().unwrap()).unwrap();
    assert_ne!(first.token, second.token);
    let read = Access::load(data.path()).unwrap();
    assert_eq!((read.address, read.token), ("[::1]:7".parse().unwrap(), second.token));
    let mode = std::fs::metadata(path(data.path())).unwrap().permissions();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777, 0o600);
    std::fs::write(path(data.path()), b"{").unwrap();
    assert!(Access::load(data.path()).unwrap_err().to_string().contains("keys/admin"));
}

#[test]
fn a_request_names_one_thing() {
    let read = |text: &str| serde_json::from_str::<What>(text).ok().and_then(|what| what.erase());
    let id = "01a20707-1db5-7000-8c5f-6c1b5cd28982";
    assert!(matches!(read(&format!(r#"{{"record": "{id}"}}"#)), Some(Erase::Record(id)) if id[0] == 1));
    assert_eq!(read(r#"{"tenant": "clinic"}"#), Some(Erase::Tenant(b"clinic".to_vec())));
    assert_eq!(read(r#"{"before": 7}"#), Some(Erase::Before(7)));
    for bad in [
        "",
        "{}",
        r#"{"record": "x"}"#,
        r#"{"before": -1}"#,
        r#"{"all": true}"#,
        r#"{"before": 7, "tenant": "a"}"#,
    ] {
        assert_eq!(read(bad), None, "{bad}");
    }
}
