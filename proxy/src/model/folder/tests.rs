use super::*;
use std::os::unix::fs::symlink;

fn names(found: &[Found]) -> Vec<&str> {
    let mut names: Vec<&str> = found.iter().map(|file| file.name.as_str()).collect();
    names.sort_unstable();
    names
}

fn refused(root: &Path, symlinks: bool) -> String {
    format!("{:#}", list(root, &[], symlinks).unwrap_err())
}

#[test]
fn files_of_all_folders_are_found_but_those_ignored() {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(root.path().join("a/b")).unwrap();
    std::fs::create_dir_all(root.path().join(".git/x")).unwrap();
    for name in ["w", "a/b/c", ".git/x/y", ".gitx", "a/empty"] {
        std::fs::write(root.path().join(name), if name == "a/empty" { "" } else { name }).unwrap();
    }
    let found = list(root.path(), &[".git".into()], false).unwrap();
    assert_eq!(names(&found), [".gitx", "a/b/c", "a/empty", "w"]);
}

#[test]
fn links_are_refused_or_followed_within_the_folder_only() {
    let root = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("w"), "w").unwrap();
    symlink("w", root.path().join("link")).unwrap();
    assert!(refused(root.path(), false).contains("symbolic link"));
    assert_eq!(names(&list(root.path(), &[], true).unwrap()), ["link", "w"]);
    std::fs::write(elsewhere.path().join("x"), "x").unwrap();
    symlink(elsewhere.path().join("x"), root.path().join("out")).unwrap();
    assert!(refused(root.path(), true).contains("out of the folder"));
    // Left out, it does not matter.
    list(root.path(), &["out".into()], true).unwrap();
    std::fs::remove_file(root.path().join("out")).unwrap();
    symlink("nowhere", root.path().join("broken")).unwrap();
    assert!(refused(root.path(), true).contains("cannot be found"));
    std::fs::remove_file(root.path().join("broken")).unwrap();
    symlink(".", root.path().join("round")).unwrap();
    assert!(refused(root.path(), true).contains("neither a file nor a folder"));
}

#[test]
fn what_is_no_model_is_refused() {
    let root = tempfile::tempdir().unwrap();
    assert!(refused(root.path(), false).contains("no file"));
    assert!(refused(&root.path().join("none"), false).contains("cannot read the model's folder"));
    let socket = root.path().join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    assert!(refused(root.path(), false).contains("neither a file nor a folder"));
    std::fs::remove_file(&socket).unwrap();
    std::fs::write(root.path().join("a\\b"), "x").unwrap();
    assert!(refused(root.path(), false).contains("backslash"));
    std::fs::remove_file(root.path().join("a\\b")).unwrap();
    let name = <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(b"\xff");
    std::fs::write(root.path().join(name), "x").unwrap();
    assert!(refused(root.path(), false).contains("not UTF-8"));
    std::fs::remove_file(root.path().join(name)).unwrap();
    let deep = root.path().join(vec!["d"; MAX_DEPTH + 1].join("/"));
    std::fs::create_dir_all(&deep).unwrap();
    assert!(refused(root.path(), false).contains("folders deep"));
}
