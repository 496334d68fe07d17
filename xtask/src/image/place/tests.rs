use super::*;

fn index(tag: &str) -> String {
    format!("{{\"manifests\": [{{\"annotations\": {{\"org.opencontainers.image.ref.name\": \"{tag}\"}}}}]}}")
}

fn write(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

#[test]
fn a_folder_with_anything_else_in_it_is_refused_and_stays_as_it_is() {
    for (name, text) in [("precious", ""), ("oci/notes", ""), ("oci/index.json", &*index("somebodys"))] {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), name, text);
        write(folder.path(), "oci/oci-layout", "{}");
        write(folder.path(), "root/precious", "");
        let refused = clear(folder.path()).unwrap_err().to_string();
        assert!(refused.contains("nothing is deleted"), "{name}: {refused}");
        for left in [name, "oci/oci-layout", "root/precious"] {
            assert!(folder.path().join(left).exists(), "{name}: {left} is gone");
        }
    }
}

#[test]
fn of_an_earlier_image_only_its_own_files_go() {
    for earlier in [index(TAG), "{\"manifests\": []}".to_owned()] {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "oci/index.json", &earlier);
        for name in ["oci/oci-layout", "sbom.cdx.json", "root/etc/x", "provenance.json.sig"] {
            write(folder.path(), name, "{}");
        }
        clear(folder.path()).unwrap();
        let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|one| one.unwrap().file_name()).collect();
        assert_eq!(left, ["provenance.json.sig"]);
    }
}

#[test]
fn a_new_and_an_empty_folder_are_taken() {
    let folder = tempfile::tempdir().unwrap();
    clear(&folder.path().join("a/b")).unwrap();
    clear(&folder.path().join("a/b")).unwrap();
}
