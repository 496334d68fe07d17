//! Where things are: the workspace, the built programs, what `cargo xtask setup` installed.

use std::env;
use std::path::{Path, PathBuf};

/// The workspace's folder.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ has a parent").to_owned()
}

/// A file below `tests/`.
pub fn tests(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// A built program, beside what runs: `target/<profile>/deps/test-…` or `target/<profile>/program` →
/// `target/<profile>/name`. `COLOPHON_PROGRAMS` names another folder.
///
/// # Panics
/// When it has not been built.
pub fn program(name: &str) -> PathBuf {
    if let Some(folder) = env::var_os("COLOPHON_PROGRAMS") {
        let path = PathBuf::from(folder).join(name);
        assert!(path.exists(), "COLOPHON_PROGRAMS: there is no {}", path.display());
        return path;
    }
    let here = env::current_exe().expect("a test has a path");
    let folder = here.parent().expect("a program is in a folder");
    let profile = if folder.ends_with("deps") { folder.parent().expect("deps is in one") } else { folder };
    let path = profile.join(name);
    assert!(path.exists(), "{} is not built: run `cargo xtask test`", path.display());
    path
}

/// Something that `cargo xtask setup` installs, if it is there.
pub fn installed(name: &str) -> Option<PathBuf> {
    let setup = match env::var_os("COLOPHON_SETUP") {
        Some(dir) => PathBuf::from(dir),
        None => root().join("target/setup"),
    };
    Some(setup.join(name)).filter(|path| path.exists())
}

/// The Python of the tests' virtual environment.
///
/// # Panics
/// When set-up has not been done.
pub fn python() -> PathBuf {
    installed("python/bin/python").expect("no Python environment: run `cargo xtask setup`")
}
