//! `colophon witness` as a child process, and the files that name logs and witnesses.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::process::Process;
use crate::{PATIENCE, colophon, wait_for};

/// A running witness with a folder of its own inside a test's.
pub struct Witness {
    process: Process,
    folder: PathBuf,
    name: String,
    logs: Vec<String>,
    listen: SocketAddr,
    vkey: String,
}

impl Witness {
    /// Starts a witness of these logs, named `witness.example/NAME`, in `folder/NAME`.
    pub fn start(folder: &Path, name: &str, logs: &[&str]) -> Self {
        let folder = folder.join(name);
        fs::create_dir_all(&folder).expect("a folder");
        make_key(&folder.join("key.pem"));
        let logs: Vec<String> = logs.iter().map(|log| (*log).to_owned()).collect();
        let process = spawn(&folder, name, &logs, "127.0.0.1:0");
        let mut witness = Self {
            process,
            folder,
            name: name.to_owned(),
            logs,
            listen: ([127, 0, 0, 1], 0).into(),
            vkey: String::new(),
        };
        witness.until_ready();
        witness
    }

    /// Where it listens.
    pub fn listen(&self) -> SocketAddr {
        self.listen
    }

    /// Its verifier key.
    pub fn vkey(&self) -> &str {
        &self.vkey
    }

    /// Its process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Its state folder.
    pub fn state(&self) -> PathBuf {
        self.folder.join("state")
    }

    /// Its line in a policy file.
    pub fn line(&self) -> String {
        format!("witness {} {} http://{}\n", self.name, self.vkey, self.listen)
    }

    /// Starts it again on the same folder and address.
    pub fn restart(&mut self) {
        assert!(self.process.ended().is_some(), "it still runs");
        self.process = spawn(&self.folder, &self.name, &self.logs, &self.listen.to_string());
        self.until_ready();
    }

    /// Starts a second process on the same state: how it ended, and what it said.
    pub fn second(&self) -> (Option<i32>, String) {
        let log = self.folder.join("second.log");
        let mut command = command(&self.folder, &self.name, &self.logs, "127.0.0.1:0");
        let mut process = Process::start(&mut command, &log);
        let status = process.wait(PATIENCE);
        (status.code(), process.log())
    }

    fn until_ready(&mut self) {
        let file = self.folder.join("ready");
        let ready = wait_for(PATIENCE, || {
            if let Some(status) = self.process.ended() {
                panic!("the witness ended with {status}:\n{}", self.process.log());
            }
            fs::read(&file).ok()
        });
        let ready = ready.unwrap_or_else(|| panic!("the witness is not ready:\n{}", self.process.log()));
        let ready: serde_json::Value = serde_json::from_slice(&ready).expect("the ready file is JSON");
        assert_eq!(ready["pid"], self.process.pid(), "the ready file is of another process");
        self.listen = ready["listen"].as_str().and_then(|text| text.parse().ok()).expect("an address");
        self.vkey = ready["vkey"].as_str().expect("a key").to_owned();
    }
}

fn spawn(folder: &Path, name: &str, logs: &[String], listen: &str) -> Process {
    fs::remove_file(folder.join("ready")).ok();
    Process::start(&mut command(folder, name, logs, listen), &folder.join("log"))
}

fn command(folder: &Path, name: &str, logs: &[String], listen: &str) -> std::process::Command {
    let mut command = colophon::command(&["witness", "--listen", listen]);
    command.args(["--name", &format!("witness.example/{name}")]);
    command.arg("--key").arg(folder.join("key.pem")).arg("--state").arg(folder.join("state"));
    command.arg("--ready-file").arg(folder.join("ready"));
    for log in logs {
        command.args(["--log", log]);
    }
    command
}

/// Makes a private key file.
pub fn make_key(path: &Path) {
    let (code, said) = colophon::run(&["key", "generate", &path.display().to_string()]);
    assert_eq!(code, 0, "{said}");
}

/// The verifier key of a private key file: `--origin NAME` for a log's, `--witness NAME` for a witness's.
pub fn vkey(path: &Path, flag: &str, name: &str) -> String {
    let (code, said) = colophon::run(&["key", "show", &path.display().to_string(), flag, name, "--json"]);
    assert_eq!(code, 0, "{said}");
    let shown: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    shown["vkey"].as_str().expect("a verifier key").to_owned()
}
