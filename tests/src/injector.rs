//! The built `colophon-injector` as a webhook.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::certs::{Authority, Issued};
use crate::process::Process;
use crate::{PATIENCE, paths, wait_for};

/// A running webhook with a folder of its own. Dropping it kills it.
pub struct Injector {
    process: Process,
    folder: TempDir,
    listen: SocketAddr,
}

impl Injector {
    /// Serves with this certificate and these settings.
    ///
    /// # Panics
    /// When it does not listen in time.
    pub fn start(certificate: &Issued, settings: &str) -> Self {
        Self::start_with(|chain, key| certificate.write(chain, key), settings, None, &[])
    }

    /// Serves with what `write` puts into the files of chain and key, perhaps for `clients` alone, and
    /// with more arguments.
    ///
    /// # Panics
    /// When it does not listen in time.
    pub fn start_with(
        write: impl FnOnce(&Path, &Path),
        settings: &str,
        clients: Option<&Authority>,
        args: &[String],
    ) -> Self {
        let folder = tempfile::Builder::new().prefix("colophon-").tempdir().expect("a temporary folder");
        let file = |name: &str| folder.path().join(name);
        write(&file("tls.crt"), &file("tls.key"));
        fs::write(file("settings.yaml"), settings).expect("the settings");
        let mut command = command();
        command.args(["--listen", "127.0.0.1:0"]).args(args);
        for (flag, name) in [
            ("--settings", "settings.yaml"),
            ("--tls-cert", "tls.crt"),
            ("--tls-key", "tls.key"),
            ("--ready-file", "ready"),
        ] {
            command.arg(flag).arg(file(name));
        }
        if let Some(clients) = clients {
            command.arg("--client-ca").arg(clients.write(&file("clients.pem")));
        }
        let mut process = Process::start(&mut command, &file("log"));
        let ready = wait_for(PATIENCE, || match process.ended() {
            Some(status) => panic!("the injector ended with {status}:\n{}", process.log()),
            None => fs::read(file("ready")).ok(),
        });
        let ready = ready.unwrap_or_else(|| panic!("the injector is not ready:\n{}", process.log()));
        let ready: serde_json::Value = serde_json::from_slice(&ready).expect("the ready file is JSON");
        let listen = ready["listen"].as_str().and_then(|text| text.parse().ok()).expect("an address");
        Self { process, folder, listen }
    }

    /// Where it listens.
    pub fn listen(&self) -> SocketAddr {
        self.listen
    }

    /// Puts another certificate into its files.
    pub fn renew(&self, certificate: &Issued) {
        let file = |name: &str| -> PathBuf { self.folder.path().join(name) };
        certificate.write(&file("tls.crt"), &file("tls.key"));
    }

    /// The process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}

/// The program, without what the machine's owner has set.
pub fn command() -> Command {
    let mut command = Command::new(paths::program("colophon-injector"));
    command.env_remove("COLOPHON_INJECTOR_SETTINGS");
    command
}

/// Prints a manifest with Colophon in it: exit code, stdout, stderr.
pub fn filter(manifest: &Path, settings: &Path, format: &str) -> (Option<i32>, String, String) {
    let mut command = command();
    command.arg("--file").arg(manifest).arg("--settings").arg(settings).args(["--output", format]);
    let out = crate::process::run(&mut command, PATIENCE);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (out.status.code(), text(&out.stdout), text(&out.stderr))
}
