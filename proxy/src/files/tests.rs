use super::*;

#[test]
fn nothing_is_read_past_its_bound_whatever_length_it_claims() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "12345").unwrap();
    assert_eq!(read(&file, 5).unwrap(), b"12345");
    assert_eq!(read_text(&file, 5).unwrap(), "12345");
    let said = |result: anyhow::Result<Vec<u8>>| format!("{:#}", result.unwrap_err());
    assert!(said(read(&file, 4)).contains("longer than 4 bytes"));
    assert!(said(read(Path::new("/dev/zero"), 1 << 20)).contains("longer than"));
    assert!(said(read(&folder.path().join("none"), 4)).contains("cannot read"));
    assert!(said(read(folder.path(), 4)).contains("cannot read"));
    std::fs::write(&file, [0xff]).unwrap();
    assert!(format!("{:#}", read_text(&file, 5).unwrap_err()).contains("not UTF-8"));
}

#[test]
fn pipes_devices_and_sockets_do_not_last() {
    let folder = tempfile::tempdir().unwrap();
    let (file, socket) = (folder.path().join("file"), folder.path().join("socket"));
    std::fs::write(&file, "").unwrap();
    let _listening = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    assert!(lasting(&file, false).is_ok() && lasting(folder.path(), true).is_ok());
    for (path, folder) in [(folder.path(), false), (&socket, true), (Path::new("/dev/null"), true)] {
        assert!(lasting(path, folder).is_err(), "{}", path.display());
    }
}
