//! The image: what is said of it beside it, by other people's readers, and what is in it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use colophon_tests::{PATIENCE, image, paths, process};
use serde_json::json;

#[test]
fn others_read_its_provenance_and_its_list_of_components() {
    let Some(folder) = image::installed("the image's provenance and SBOM") else { return };
    let mut command = Command::new(paths::python());
    command.arg(paths::tests("checkers/image.py")).arg(folder);
    let out = process::run(&mut command, PATIENCE * 2);
    let said = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success() && said.contains("ok - the SBOM fits"), "{said}");
}

#[test]
fn it_starts_as_nobody_from_nothing_but_what_it_needs() {
    let Some(folder) = image::installed("what is in the image") else { return };
    let (manifest, configuration) = image::read(&folder.join("oci"));
    assert_eq!(configuration["config"]["User"], "65532:65532");
    assert_eq!(configuration["config"]["Entrypoint"], json!(["/usr/local/bin/colophon"]));
    let machine = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    assert_eq!((&configuration["architecture"], &configuration["os"]), (&json!(machine), &json!("linux")));
    assert_eq!(manifest["layers"].as_array().map(Vec::len), Some(1), "{manifest}");

    let bundle = tempfile::tempdir().expect("a temporary folder");
    let root = image::unpack(&folder, &bundle.path().join("image"));
    let mut files = Vec::new();
    below(&root, &mut files);
    for file in &files {
        let path = file.strip_prefix(&root).expect("below the root").display().to_string();
        let is_library = path.starts_with("lib") && path.contains(".so");
        let is_ours = path.starts_with("usr/local/bin/colophon");
        assert!(is_library || is_ours || path == "etc/ssl/certs/ca-certificates.crt", "/{path}: what for?");
        let mode = fs::metadata(file).expect("its mode").permissions().mode();
        assert_eq!(mode & 0o7022, 0, "/{path}: {mode:o}");
        assert!(mode & 0o004 != 0, "/{path} is not for everybody");
    }
    assert!(files.iter().any(|file| file.ends_with("ca-certificates.crt")), "{files:?}");
    assert!(files.len() > 5, "{files:?}");
}

fn below(folder: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        match entry.file_type().expect("its type").is_dir() {
            true => below(&entry.path(), found),
            false => found.push(entry.path()),
        }
    }
}
