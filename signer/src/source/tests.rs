use super::*;

/// RFC 8410 section 10.3.
const PEM: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC
-----END PRIVATE KEY-----
";
const DER_BASE64: &str = "MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC";

fn source(text: &str) -> KeySource {
    text.parse().unwrap()
}

fn refused(text: &str) -> String {
    text.parse::<KeySource>().unwrap_err().to_string()
}

#[test]
fn the_forms_are_told_apart() {
    for (text, path) in [
        ("/etc/colophon/log.pem", "/etc/colophon/log.pem"),
        ("log.pem", "log.pem"),
        ("./a:b", "./a:b"),
        ("file:log.pem", "log.pem"),
        ("file:/etc/log.pem", "/etc/log.pem"),
        ("file:///etc/log.pem", "/etc/log.pem"),
        ("file:a:b", "a:b"),
    ] {
        assert_eq!(source(text), KeySource::File(PathBuf::from(path)), "{text}");
    }
    assert_eq!(source("env:LOG_KEY"), KeySource::Env("LOG_KEY".into()));
    assert!(refused("").contains("no key was named"));
    assert!(refused("file:").contains("followed by a path"));
    for bad in ["env:", "env:A B", "env:A=B", "env:A\0"] {
        assert!(refused(bad).contains("name of a variable"), "{bad}");
    }
    assert!(refused("aws-kms:alias/x").contains("`aws-kms:` is no key source"));
    assert!(refused("https://example.com/key").contains("`https:` is no key source"));
}

#[test]
fn a_variable_may_hold_pem_or_base64_of_pem_or_der() {
    let key = Ed25519Key::from_pkcs8_pem(PEM).unwrap().public_key();
    let packed = STANDARD.encode(PEM);
    let wrapped = format!("  {}\n{}\n", &packed[..40], &packed[40..]);
    for text in [PEM, &format!("\n\n{PEM}"), DER_BASE64, &format!("{DER_BASE64}\n"), &packed, &wrapped] {
        assert_eq!(from_text(text).unwrap().public_key(), key, "{text}");
    }
    for (bad, why) in [
        ("", "empty"),
        (" \n", "empty"),
        ("not base64!", "neither PEM nor base64"),
        ("AAAA", "PKCS#8"),
        (&DER_BASE64[..40], "PKCS#8"),
        (&"A".repeat(MAX_VARIABLE + 1), "too long"),
    ] {
        assert!(from_text(bad).unwrap_err().to_string().contains(why), "{bad}: {:?}", from_text(bad).err());
    }
}

#[test]
fn an_environment_without_the_key_is_an_error_that_names_the_variable() {
    let error = source("env:COLOPHON_NO_SUCH_VARIABLE").open().err().unwrap().to_string();
    assert_eq!(error, "env:COLOPHON_NO_SUCH_VARIABLE: there is no such environment variable");
    // A variable that is there, and no key.
    let error = source("env:PATH").open().err().unwrap().to_string();
    assert!(error.starts_with("env:PATH: "), "{error}");
    assert!(!error.contains("/usr"), "{error}");
    assert!(source("env:NEW").generate().err().unwrap().to_string().contains("own environment"));
}

#[test]
fn a_file_is_made_once_and_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log.pem");
    let file = KeySource::File(path.clone());
    let missing = file.open().err().unwrap().to_string();
    assert!(missing.contains("log.pem") && missing.contains("No such file"), "{missing}");
    let made = file.generate().unwrap();
    assert!(!made.waits());
    assert_eq!(file.open().unwrap().public_key(), made.public_key());
    let signature = file.open().unwrap().sign(b"message").unwrap();
    assert!(made.public_key().verify(b"message", &signature).is_ok());
    let again = file.generate().err().unwrap().to_string();
    assert!(again.contains("File exists"), "{again}");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let open = file.open().err().unwrap().to_string();
        assert!(open.contains("644") && open.contains("chmod 600"), "{open}");
        let folder = KeySource::File(dir.path().to_owned()).open().err().unwrap().to_string();
        assert!(folder.contains("directory") && !folder.contains("chmod"), "{folder}");
    }
}

/// What people have instead of an Ed25519 key in PKCS#8, made by OpenSSL, and what they are told.
#[test]
fn other_keys_are_named_for_what_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let openssl = |args: &str| {
        let args = args.split(' ');
        let made = std::process::Command::new("openssl").args(args).current_dir(&dir).output();
        made.ok().filter(|made| made.status.success()).map(|made| String::from_utf8(made.stdout).unwrap())
    };
    let Some(good) = openssl("genpkey -algorithm ed25519") else {
        return println!("skipped: no openssl that makes Ed25519 keys");
    };
    let encrypted =
        openssl("genpkey -algorithm ed25519 -aes-256-cbc -pass pass:word").expect("an encrypted key");
    let rsa = openssl("genpkey -algorithm rsa -pkeyopt rsa_keygen_bits:2048").expect("an RSA key");
    let rsa1 = openssl("genrsa -traditional 2048").expect("an RSA key in PKCS#1");
    let ec = openssl("genpkey -algorithm ec -pkeyopt ec_paramgen_curve:P-256").expect("an ECDSA key");
    let x25519 = openssl("genpkey -algorithm x25519").expect("an X25519 key");
    std::fs::write(dir.path().join("good.pem"), &good).unwrap();
    let public = openssl("pkey -in good.pem -pubout").expect("a public key");
    for (pem, why) in [
        (encrypted.as_str(), "encrypted with a passphrase"),
        (rsa.as_str(), "it is an RSA key"),
        (rsa1.as_str(), "it is an RSA key"),
        (ec.as_str(), "it is an ECDSA"),
        (x25519.as_str(), "it is an X25519 key"),
        (public.as_str(), "it is a public key"),
        (&good[..good.len() / 2], "cut off"),
        (&good.replace("-----END", "-----ENP"), "cut off"),
    ] {
        let error = Ed25519Key::from_pkcs8_pem(pem).unwrap_err().to_string();
        assert!(error.contains(why), "{why}: {error}");
        let packed = from_text(&STANDARD.encode(pem)).unwrap_err().to_string();
        assert_eq!(packed, error);
    }
    // One line of two gone, with the end in its place.
    let short = good.replace(good.lines().nth(1).unwrap(), "MC4CAQAwBQYDK2VwBCIEINTu");
    assert!(matches!(Ed25519Key::from_pkcs8_pem(&short), Err(KeyError::Pkcs8(_))));
}
