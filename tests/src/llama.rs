//! llama.cpp's own server with a seeded random model, one for each test program.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::process::{self, Process};
use crate::{PATIENCE, paths, wait_for};

/// The model's name.
pub const MODEL: &str = "tiny-random";

/// Writes the model: random weights from a seed, half a megabyte.
///
/// # Panics
/// When Python's gguf cannot.
pub fn write_model(to: &Path) {
    let mut command = Command::new(paths::python());
    command.arg(paths::tests("llama/mkgguf_random.py")).arg(to);
    let output = process::run(&mut command, PATIENCE * 2);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A running llama.cpp.
pub struct Llama {
    address: SocketAddr,
    _process: Process,
    _folder: TempDir,
}

impl Llama {
    /// Starts it: generation and embeddings from the same model.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let model = folder.path().join("model.gguf");
        write_model(&model);
        let log = folder.path().join("log");
        let mut command = Command::new(paths::python());
        command.arg(paths::tests("llama/serve.py")).arg(&model).arg("embeddings");
        let mut process = Process::start(&mut command, &log);
        let address = wait_for(PATIENCE, || {
            assert!(process.ended().is_none(), "llama.cpp has ended:\n{}", process.log());
            let log = process.log();
            let url = log.lines().find_map(|line| line.strip_prefix("listening http://"))?;
            url.trim().parse().ok()
        });
        let Some(address) = address else { panic!("llama.cpp is not ready:\n{}", process.log()) };
        Self { address, _process: process, _folder: folder }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}
