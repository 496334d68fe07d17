//! How a prover's program is held: no network, no other processes in sight, bounded, and gone when it is told to go.
//!
//! Two short stages of a program of our own come before it, because a process can only give things up for itself. The
//! first leaves the network, the processes and the IPC of the machine behind (namespaces of its own) and waits; the second
//! is process 1 of that namespace, sets limits, gives up gaining privileges, starts the prover and waits for it. When it ends or
//! the first stage is killed, the kernel ends every process that the prover has started, wherever they hid. The prover is not
//! process 1 itself: it could then undo what ties that to the first stage.
//!
//! It is not a jail against a hostile kernel user: the program can read what the worker's user can read.

use crate::job::Limits;
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;
use nix::unistd::{getgid, getuid, setsid};
use std::ffi::{OsStr, OsString};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use tokio::io::AsyncReadExt as _;

/// Open files of one process.
const MAX_FILES: u64 = 256;
/// What the first word of a stage's arguments is.
const INNER: &str = "--inner";
/// The shim's only argument where it is the program that is held, and nothing but a trial.
const TRIAL: &str = "--trial";
/// A trial is over in a moment, on a machine that is busy too.
const TRIAL_TIME: Duration = Duration::from_secs(60);
/// Bytes read of what a stage says went wrong.
const MAX_COMPLAINT: u64 = 4096;

/// How programs are held.
#[derive(Clone, Debug)]
pub struct Sandbox {
    /// The program that calls [`enter`], with the arguments that make it do so.
    pub shim: Vec<OsString>,
    /// Lets programs use the network, for those that call a prover elsewhere.
    pub network: bool,
}

/// Limits of one process that the kernel keeps by itself. What all of them use together, the worker watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// CPU seconds.
    pub cpu_seconds: u64,
    /// Bytes of private memory.
    pub memory: u64,
    /// Bytes of one file.
    pub file: u64,
}

impl Sandbox {
    /// The command that runs `program` in `folder`. Its environment has nothing of the worker's but `PATH`.
    pub fn command(&self, program: &[OsString], folder: &Path, held: Held) -> Command {
        let mut shim = self.shim.iter();
        let mut command = Command::new(shim.next().map_or(OsStr::new("colophon"), OsString::as_os_str));
        command.args(shim);
        command.arg(if self.network { "--network" } else { "--no-network" });
        for limit in [held.cpu_seconds, held.memory, held.file] {
            command.arg(limit.to_string());
        }
        command.args(program).current_dir(folder).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into()));
        command.env("HOME", folder).env("TMPDIR", folder).env("LANG", "C.UTF-8");
        command
    }

    /// Holds a program that does nothing, and so finds out whether any can be held here.
    ///
    /// # Errors
    /// [`SandboxError::Trial`]: none can, with what the stages say of it.
    pub async fn try_out(&self) -> Result<(), SandboxError> {
        let mut nothing = self.shim.clone();
        nothing.push(TRIAL.into());
        let limits = Limits::default();
        let held = Held { cpu_seconds: limits.cpu_seconds, memory: limits.memory, file: limits.disk };
        let mut command = tokio::process::Command::from(self.command(&nothing, Path::new("/"), held));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().map_err(|error| SandboxError::Trial(error.to_string()))?;
        let stderr = child.stderr.take();
        let ending = async move {
            let mut said = Vec::new();
            if let Some(stderr) = stderr {
                stderr.take(MAX_COMPLAINT).read_to_end(&mut said).await?;
            }
            Ok::<_, std::io::Error>((child.wait().await?, said))
        };
        match tokio::time::timeout(TRIAL_TIME, ending).await {
            Ok(Ok((status, _))) if status.success() => Ok(()),
            Ok(Ok((status, said))) => {
                let said = String::from_utf8_lossy(&said);
                Err(SandboxError::Trial(said.trim().lines().last().map_or(status.to_string(), str::to_owned)))
            }
            Ok(Err(error)) => Err(SandboxError::Trial(error.to_string())),
            Err(_) => Err(SandboxError::Trial(format!("it is not over after {} s", TRIAL_TIME.as_secs()))),
        }
    }
}

/// Why a program could not be held, and so was not run.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// Arguments that [`Sandbox::command`] does not make.
    #[error("the sandbox is started by the worker, not by hand")]
    Usage,
    /// The kernel or the container's rules allow no namespaces.
    #[error(
        "no namespaces of its own for the prover ({0}): in a container allow unshare(2), or run the worker as a user who \
         may; to run provers with the network and without limits on their processes is not offered"
    )]
    Namespaces(nix::Error),
    /// A limit or another step that the kernel refused.
    #[error("{0}: {1}")]
    Step(&'static str, nix::Error),
    /// The program cannot be started.
    #[error("{0} cannot be started: {1}")]
    Program(PathBuf, std::io::Error),
    /// What a trial came to.
    #[error("no prover can be run here: {0}")]
    Trial(String),
    /// Its maps of users cannot be written.
    #[error("the users of the namespace: {0}")]
    Users(std::io::Error),
}

/// The stages. Called by the shim with its arguments; where it returns without an error, the value is the exit code.
///
/// # Errors
/// The program was not run.
pub fn enter(arguments: &[OsString]) -> Result<u8, SandboxError> {
    match arguments.split_first() {
        Some((only, [])) if only == TRIAL => Ok(0),
        Some((first, rest)) if first == INNER => inner(rest),
        _ => outer(arguments),
    }
}

fn outer(arguments: &[OsString]) -> Result<u8, SandboxError> {
    let [network, rest @ ..] = arguments else { return Err(SandboxError::Usage) };
    let mut flags = CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWIPC;
    match network.to_str() {
        Some("--no-network") => flags |= CloneFlags::CLONE_NEWNET,
        Some("--network") => {}
        _ => return Err(SandboxError::Usage),
    }
    // With its worker it goes too, and everything in it.
    prctl::set_pdeathsig(Signal::SIGKILL).map_err(|e| SandboxError::Step("parent-death signal", e))?;
    setsid().map_err(|e| SandboxError::Step("a session of its own", e))?;
    let (user, group) = (getuid(), getgid());
    if user.is_root() {
        unshare(flags).map_err(SandboxError::Namespaces)?;
    } else {
        unshare(flags | CloneFlags::CLONE_NEWUSER).map_err(SandboxError::Namespaces)?;
        let write = |file: &str, text: String| std::fs::write(file, text).map_err(SandboxError::Users);
        write("/proc/self/setgroups", "deny".into())?;
        write("/proc/self/uid_map", format!("{user} {user} 1"))?;
        write("/proc/self/gid_map", format!("{group} {group} 1"))?;
    }
    let this = std::env::current_exe().map_err(|e| SandboxError::Program("/proc/self/exe".into(), e))?;
    // Whatever came before our own arguments makes the shim call `enter`.
    let before = std::env::args_os().skip(1).take_while(|argument| argument != network);
    let mut command = Command::new(&this);
    command.args(before).arg(INNER).args(rest);
    waited(command, &this)
}

/// Runs it; its exit code, as shells say it.
fn waited(mut command: Command, program: &Path) -> Result<u8, SandboxError> {
    let status = command.status().map_err(|e| SandboxError::Program(program.to_owned(), e))?;
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    Ok(u8::try_from(code).unwrap_or(1))
}

fn inner(arguments: &[OsString]) -> Result<u8, SandboxError> {
    let [cpu, memory, file, program, rest @ ..] = arguments else { return Err(SandboxError::Usage) };
    let number =
        |text: &OsString| text.to_str().and_then(|text| text.parse::<u64>().ok()).ok_or(SandboxError::Usage);
    prctl::set_pdeathsig(Signal::SIGKILL).map_err(|e| SandboxError::Step("parent-death signal", e))?;
    for (name, resource, most) in [
        ("limit of CPU time", Resource::RLIMIT_CPU, number(cpu)?),
        ("limit of memory", Resource::RLIMIT_DATA, number(memory)?),
        ("limit of a file", Resource::RLIMIT_FSIZE, number(file)?),
        ("limit of open files", Resource::RLIMIT_NOFILE, MAX_FILES),
        ("limit of core dumps", Resource::RLIMIT_CORE, 0),
    ] {
        setrlimit(resource, most, most).map_err(|e| SandboxError::Step(name, e))?;
    }
    prctl::set_no_new_privs().map_err(|e| SandboxError::Step("no new privileges", e))?;
    // Nor may the prover trace this process, which is of the same user.
    prctl::set_dumpable(false).map_err(|e| SandboxError::Step("no tracing", e))?;
    let mut command = Command::new(program);
    command.args(rest);
    waited(command, Path::new(program))
}
