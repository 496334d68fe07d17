//! A child process that never outlives its test, and whose output is kept for the failure message.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use crate::wait_for;

/// A running child. Dropping it kills it.
pub struct Process {
    child: Child,
    log: PathBuf,
    name: String,
}

impl Process {
    /// Starts `command` with stdout and stderr going to the file `log`.
    pub fn start(command: &mut Command, log: &Path) -> Self {
        let name = command.get_program().to_string_lossy().into_owned();
        let out = File::options().create(true).append(true).open(log).expect("the log file");
        let err = out.try_clone().expect("a second handle on the log");
        // Ctrl-C is for whoever runs the tests, who then ends this one.
        let child = command.stdin(Stdio::null()).stdout(out).stderr(err).process_group(0).spawn();
        Self { child: child.unwrap_or_else(|error| panic!("{name}: {error}")), log: log.to_owned(), name }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has written so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Its exit status, if it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be waited for")
    }

    /// Asks it to stop (SIGTERM), without waiting.
    pub fn terminate(&self) {
        self.signal("TERM");
    }

    /// Sends it a signal, by the name that kill(1) knows.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").arg(format!("-{name}")).arg(self.pid().to_string()).status();
        assert!(status.is_ok_and(|status| status.success()), "kill -{name} {}", self.pid());
    }

    /// Kills it where it stands (SIGKILL).
    pub fn kill(&mut self) {
        self.child.kill().expect("kill");
        self.child.wait().expect("wait");
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it has not ended within `limit`.
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        match wait_for(limit, || self.ended()) {
            Some(status) => status,
            None => panic!("{} has not ended after {limit:?}:\n{}", self.name, self.log()),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended long ago; then both do nothing.
        self.child.kill().ok();
        self.child.wait().ok();
        if std::thread::panicking() {
            eprintln!("---- log of {} (pid {}):\n{}----", self.name, self.pid(), tail(&self.log(), 8000));
        }
    }
}

/// A free address on loopback, for a program that cannot say which it took. Somebody else could take it meanwhile; then
/// the start fails loudly.
pub fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port")
}

/// Runs a command to its end.
///
/// # Panics
/// When it cannot be started, or has not ended within `limit` (it is killed then).
pub fn run(command: &mut Command, limit: Duration) -> Output {
    let name = command.get_program().to_string_lossy().into_owned();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (out, err) = (folder.path().join("out"), folder.path().join("err"));
    let create = |path: &Path| File::create(path).expect("a file in the temporary folder");
    let child = command.stdin(Stdio::null()).stdout(create(&out)).stderr(create(&err)).spawn();
    let mut child = child.unwrap_or_else(|error| panic!("{name}: {error}"));
    let start = Instant::now();
    let status = wait_for(limit, || child.try_wait().expect("a child can be waited for"));
    let read = |path: &Path| fs::read(path).unwrap_or_default();
    let Some(status) = status else {
        child.kill().ok();
        child.wait().ok();
        let (out, err) = (read(&out), read(&err));
        let shown = format!("{}{}", String::from_utf8_lossy(&out), String::from_utf8_lossy(&err));
        panic!("{name} has not ended after {:?}:\n{shown}", start.elapsed());
    };
    Output { status, stdout: read(&out), stderr: read(&err) }
}

fn tail(text: &str, bytes: usize) -> &str {
    let mut from = text.len().saturating_sub(bytes);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    &text[from..]
}

/// Resident memory of a process, KiB.
pub fn resident(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}
