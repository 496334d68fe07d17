//! A loss of power: what a program has not synced is forgotten, by the strictest reading of POSIX. A file's bytes are those
//! of its last fsync(2) or fdatasync(2), and a name is there only if its folder was synced while it was.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, UNIX_EPOCH};

use tempfile::TempDir;

use crate::colophon::Options;
use crate::{PATIENCE, paths, process};

/// File type and permissions, as in `st_mode`.
const FOLDER: u32 = 0o040_000;
const TYPE: u32 = 0o170_000;
const PERMISSIONS: u32 = 0o777;

/// What is surely on the disk, kept by a library that is loaded into the proxy (`power/unsynced.c`).
pub struct Disk {
    folder: TempDir,
}

impl Disk {
    /// Builds the library; `None` where there is no C compiler.
    ///
    /// # Panics
    /// When there is one and it fails.
    pub fn new() -> Option<Self> {
        let folder = tempfile::Builder::new().prefix("power-").tempdir().expect("a temporary folder");
        Command::new("cc").arg("--version").output().ok()?;
        let mut compiler = Command::new("cc");
        compiler.args(["-O1", "-shared", "-fPIC", "-o"]).arg(folder.path().join("unsynced.so"));
        compiler.arg(paths::tests("power/unsynced.c")).args(["-ldl", "-lpthread"]);
        let output = process::run(&mut compiler, PATIENCE);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        fs::create_dir(folder.path().join("kept")).expect("a folder");
        Some(Self { folder })
    }

    /// Has a proxy's syncs noted.
    pub fn set(&self, options: &mut Options) {
        let path = |name: &str| self.folder.path().join(name).display().to_string();
        options.env.push(("LD_PRELOAD".to_owned(), path("unsynced.so")));
        options.env.push(("POWER_KEPT".to_owned(), path("kept")));
    }

    /// Has each of a proxy's syncs take so much longer. Nothing is noted.
    pub fn slow(&self, options: &mut Options, wait: Duration) {
        options
            .env
            .push(("LD_PRELOAD".to_owned(), self.folder.path().join("unsynced.so").display().to_string()));
        options.env.push(("POWER_WAIT_MS".to_owned(), wait.as_millis().to_string()));
    }

    /// Leaves of these folders what was synced. Nothing may be writing there.
    pub fn lose_power(&self, roots: &[PathBuf]) {
        let kept = self.folder.path().join("kept");
        for root in roots {
            let after = root.with_extension("after");
            self.restore(&key(root), &after);
            fs::remove_dir_all(root).unwrap_or_else(|error| panic!("{}: {error}", root.display()));
            fs::rename(&after, root).expect("a rename");
        }
        // All that is there now is on the disk.
        fs::remove_dir_all(&kept).and_then(|()| fs::create_dir(&kept)).expect("an empty folder");
        roots.iter().for_each(|root| self.keep(root));
    }

    /// What was kept under a key; nothing where it was never synced.
    fn kept(&self, key: &str) -> Vec<u8> {
        let path = self.folder.path().join("kept").join(key);
        if path.exists() { fs::read(path).expect("what was kept") } else { Vec::new() }
    }

    fn restore(&self, folder: &str, to: &Path) {
        fs::create_dir(to).expect("a folder");
        let names = String::from_utf8(self.kept(folder)).expect("names in UTF-8");
        for line in names.lines() {
            let [mode, key, name] =
                line.splitn(3, ' ').collect::<Vec<_>>().try_into().unwrap_or_else(|_| panic!("{line}"));
            let mode = u32::from_str_radix(mode, 8).expect("a mode");
            let path = to.join(name);
            match mode & TYPE {
                FOLDER => self.restore(key, &path),
                _ => fs::write(&path, self.kept(key)).expect("a file"),
            }
            fs::set_permissions(&path, fs::Permissions::from_mode(mode & PERMISSIONS)).expect("its mode");
        }
    }

    fn keep(&self, folder: &Path) {
        let mut names = String::new();
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("a name").path();
            let found = path.symlink_metadata().expect("its metadata");
            let name = path.file_name().expect("a name").to_string_lossy();
            names.push_str(&format!("{:o} {} {name}\n", found.mode(), key(&path)));
            if found.is_dir() {
                self.keep(&path);
            } else {
                fs::copy(&path, self.folder.path().join("kept").join(key(&path))).expect("a copy");
            }
        }
        fs::write(self.folder.path().join("kept").join(key(folder)), names).expect("its names");
    }
}

/// What a file or folder is, whatever its name: as `power/unsynced.c` has it.
fn key(path: &Path) -> String {
    let found = path.symlink_metadata().unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let birth = found.created().expect("a time of birth").duration_since(UNIX_EPOCH).expect("after 1970");
    format!("{}-{}", found.ino(), birth.as_nanos())
}
