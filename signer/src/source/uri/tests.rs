use super::*;

const WHOLE: &str = "token=The%20token;manufacturer=Acme;model=M;serial=00%2F1;slot-id=17;object=log%3bkey;\
    id=%01%Ff;type=private?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=file:/etc/colophon/pin";

#[test]
fn every_attribute_is_read() {
    let uri = TokenUri::parse(WHOLE).unwrap();
    assert_eq!(uri.token.as_deref(), Some("The token"));
    assert_eq!(uri.manufacturer.as_deref(), Some("Acme"));
    assert_eq!(uri.model.as_deref(), Some("M"));
    assert_eq!(uri.serial.as_deref(), Some("00/1"));
    assert_eq!(uri.slot_id, Some(17));
    assert_eq!(uri.object.as_deref(), Some("log;key"));
    assert_eq!(uri.id.as_deref(), Some(&[1, 255][..]));
    assert_eq!(uri.module_path, PathBuf::from("/usr/lib/softhsm/libsofthsm2.so"));
    assert_eq!(uri.pin, Some(PinSource::File("/etc/colophon/pin".into())));
    assert_eq!(uri.to_string(), format!("pkcs11:{WHOLE}"));
    for (text, pin) in [
        ("env:PIN", PinSource::Env("PIN".into())),
        ("/run/pin", PinSource::File("/run/pin".into())),
        ("file:///run/pin", PinSource::File("/run/pin".into())),
    ] {
        let uri = TokenUri::parse(&format!("object=a?module-path=/m&pin-source={text}")).unwrap();
        assert_eq!(uri.pin, Some(pin));
    }
}

#[test]
fn what_does_not_name_one_key_safely_is_refused() {
    for (text, why) in [
        ("", "names no key"),
        ("token=a?module-path=/m", "names no key"),
        ("object=a", "no PKCS#11 library"),
        ("object=a;object=b?module-path=/m", "twice"),
        ("object?module-path=/m", "no value"),
        ("object=a;type=public?module-path=/m", "`type`"),
        ("object=a;slot-id=x?module-path=/m", "not a number"),
        ("object=a;x-vendor=1?module-path=/m", "`x-vendor` is not an attribute"),
        ("object=a?module-path=/m&module-name=m", "module-name"),
        ("object=a?module-path=/m&pin-value=1234", "pin-source"),
        ("object=a?module-path=/m&pin-source=|cat", "`pin-source` is"),
        ("object=a?module-path=/m&pin-source=", "`pin-source` is"),
        ("object=a?module-path=/m&pin-source=env:A-B", "`pin-source` is"),
        ("object=%zz?module-path=/m", "percent-encoded"),
        ("object=%4?module-path=/m", "percent-encoded"),
        ("object=%ff?module-path=/m", "not UTF-8"),
        ("module-path=/m;object=a", "`module-path` is not"),
        ("object=a?module-path=/m&token=t", "`token` is not"),
        (&"a".repeat(MAX_URI + 1), "at most"),
    ] {
        let error = TokenUri::parse(text).unwrap_err();
        assert!(error.contains(why), "{text}: {error}");
    }
}

#[test]
fn a_pin_is_read_from_a_private_file_only() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pin");
    let source = PinSource::File(path.clone());
    assert!(source.read().unwrap_err().contains("cannot be read"));
    for (content, read) in
        [("1234", Ok("1234")), ("12 34\r\n", Ok("12 34")), ("", Err("empty")), ("\n", Err("empty"))]
    {
        std::fs::write(&path, content).unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        }
        match (source.read(), read) {
            (Ok(pin), Ok(expected)) => assert_eq!(pin.as_str(), expected),
            (Err(error), Err(why)) => assert!(error.contains(why), "{error}"),
            (got, _) => panic!("{content:?}: {got:?}"),
        }
    }
    std::fs::write(&path, "1".repeat(MAX_PIN + 1)).unwrap();
    assert!(source.read().unwrap_err().contains("longer"));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(source.read().unwrap_err().contains("chmod 600"));
    }
    assert!(PinSource::Env("COLOPHON_NO_SUCH_PIN".into()).read().unwrap_err().contains("no variable"));
}
