use super::*;

#[test]
fn a_key_file_is_private_and_holds_a_key() {
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("kek");
    let source = KeySource::File(path.clone());
    assert!(matches!(Kek::load(&source), Err(KekError::Io { .. })));
    std::fs::write(&path, "0f".repeat(32)).unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        mode(0o640);
        assert!(matches!(Kek::load(&source), Err(KekError::Permissions { mode: 0o640, .. })));
        mode(0o600);
    }
    assert_eq!(Kek::load(&source).unwrap().id(), Kek::new(&[15; 32]).unwrap().id());
    std::fs::write(&path, "0f".repeat(31)).unwrap();
    let error = Kek::load(&source).unwrap_err();
    assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    assert!(matches!(Kek::load(&KeySource::Env("COLOPHON_NO_SUCH".into())), Err(KekError::Unset(_))));
}
