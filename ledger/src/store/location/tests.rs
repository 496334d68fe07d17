use super::*;

fn parse(text: &str) -> Result<Location, String> {
    text.parse()
}

#[test]
fn places_are_read_and_shown() {
    for text in
        ["s3://bucket", "s3://bucket/a/b", "gs://bucket/a", "az://container/a", "file:///var/lib/colophon"]
    {
        let location = parse(text).unwrap();
        assert_eq!(location.to_string(), text);
        assert_eq!(location.folder().is_some(), text.starts_with("file"));
    }
}

#[test]
fn what_is_no_place_is_refused() {
    for text in [
        "",
        "bucket",
        "/var/lib/colophon",
        "s3:bucket",
        "s3://",
        "s3:///prefix",
        "s3://bucket/a?versionId=1",
        "s3://bucket/a#b",
        "s3://bucket:9000/a",
        "s3://bucket/a//b",
        "s3://bucket/../b%2F..",
        "http://127.0.0.1:9000/bucket",
        "memory:///",
        "file://host/folder",
    ] {
        let refused = parse(text);
        assert!(refused.is_err(), "{text} became {refused:?}");
    }
}

#[test]
fn credentials_in_a_url_are_refused_and_not_repeated() {
    for text in ["s3://key:secret@bucket/a", "s3://secret@bucket"] {
        let refused = parse(text).unwrap_err();
        assert!(!refused.contains("secret") && refused.contains("environment"), "{refused}");
    }
}

#[test]
fn a_file_of_cas_has_to_hold_some() {
    let folder = tempfile::tempdir().unwrap();
    let location = parse("s3://bucket/a").unwrap();
    let open = |ca: PathBuf| location.open(&Access { endpoint: None, ca: Some(ca) }).map(drop);
    let file = folder.path().join("ca.pem");
    let missing = open(file.clone()).unwrap_err().to_string();
    assert!(missing.contains("ca.pem") && missing.contains("s3://bucket/a"), "{missing}");
    std::fs::write(&file, "no certificate").unwrap();
    let empty = open(file).unwrap_err().to_string();
    assert!(empty.contains("it holds none"), "{empty}");
}

#[tokio::test]
async fn a_folder_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("file://{}/a/b", folder.path().display());
    parse(&url).unwrap().open(&Access::default()).unwrap();
    assert!(folder.path().join("a/b").is_dir());
}
