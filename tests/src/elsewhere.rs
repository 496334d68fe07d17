//! All that a new machine needs for `--durability node`, in a folder that survives the machine.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::colophon::{self, Colophon, Options};

/// Stores and keys outside of any data folder.
pub struct Elsewhere(TempDir);

impl Elsewhere {
    /// Makes keys.
    pub fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("elsewhere-").tempdir().expect("a temporary folder");
        let made = Self(folder);
        let (code, said) = colophon::run(&["key", "generate", &made.file("log.pem")]);
        assert_eq!(code, 0, "{said}");
        write_private(&made.0.path().join("private.key"), "1f".repeat(32).as_bytes());
        write_private(&made.0.path().join("token.key"), &[7; 32]);
        made
    }

    fn file(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    /// The folder of log, batches and index.
    pub fn store(&self) -> PathBuf {
        self.0.path().join("store")
    }

    /// The folder of openings and copies of the write-ahead log.
    pub fn private(&self) -> PathBuf {
        self.0.path().join("private")
    }

    /// Keys and name, for stores that the test names itself.
    pub fn keys(&self, options: &mut Options) {
        options.arg(&["--durability", "node", "--name", "n", "--adopt"]);
        options.arg(&["--log-key", &self.file("log.pem"), "--token-key", &self.file("token.key")]);
        options.arg(&["--private-key", &format!("file:{}", self.file("private.key"))]);
    }

    /// The same, with both stores as folders.
    pub fn set(&self, options: &mut Options) {
        self.keys(options);
        options.arg(&["--store", &format!("file://{}", self.file("store"))]);
        options.arg(&["--private", &format!("file://{}", self.file("private"))]);
    }
}

impl Default for Elsewhere {
    fn default() -> Self {
        Self::new()
    }
}

/// The machine of a proxy that was killed is gone, with all that was on it.
pub fn lose_the_machine(colophon: &Colophon) {
    for folder in [colophon.data(), colophon.state()] {
        std::fs::remove_dir_all(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    }
}

fn write_private(path: &Path, bytes: &[u8]) {
    std::fs::write(path, bytes).expect("a file");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(path, mode).expect("its mode");
}
