//! Running other programs, and where things lie.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use anyhow::{Context, Result, bail};

/// The workspace's folder.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// Cargo's target folder: `CARGO_TARGET_DIR` where that is set.
pub(crate) fn target() -> PathBuf {
    match env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => root().join(dir),
        None => root().join("target"),
    }
}

/// The cargo that started us, so that a `+toolchain` carries over.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// Runs a command to its end, its output shown as it comes.
///
/// # Errors
/// When it cannot be started, or ends with anything but success.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let what = describe(command);
    let status = command.stdin(Stdio::null()).status().with_context(|| format!("cannot start: {what}"))?;
    if !status.success() {
        bail!("{what}: {status}");
    }
    Ok(())
}

/// Runs a command quietly; its output is shown only in the error.
///
/// # Errors
/// When it cannot be started, or ends with anything but success.
pub(crate) fn run_quietly(command: &mut Command) -> Result<String> {
    let what = describe(command);
    let out = command.stdin(Stdio::null()).output().with_context(|| format!("cannot start: {what}"))?;
    let stdout = String::from_utf8_lossy(&out.stdout).into_owned();
    if !out.status.success() {
        bail!("{what}: {}\n{stdout}{}", out.status, String::from_utf8_lossy(&out.stderr));
    }
    Ok(stdout)
}

/// Whether the program can be started at all, and answers its version flag.
pub(crate) fn answers(program: &str, version_flag: &str) -> bool {
    let mut command = Command::new(program);
    command.arg(version_flag).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Says on stderr what is about to take a while, does it, and says how long it took.
///
/// # Errors
/// Those of `work`, with the step's name.
pub(crate) fn step<T>(name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    eprintln!("setup: {name} …");
    let start = Instant::now();
    let done = work().with_context(|| format!("setup: {name}"))?;
    eprintln!("setup: {name}: done in {:.0} s", start.elapsed().as_secs_f64());
    Ok(done)
}

/// A folder that holds something built from `key`: rebuilt only when the key changes. The stamp is written last, so
/// an interrupted build is built again.
pub(crate) struct Stamped {
    /// Where the thing lies.
    pub(crate) dir: PathBuf,
    key: String,
}

impl Stamped {
    pub(crate) fn new(name: &str, key: String) -> Self {
        Self { dir: target().join("setup").join(name), key }
    }

    fn stamp(&self) -> PathBuf {
        self.dir.join(".stamp")
    }

    /// Builds the thing in a fresh folder, unless it is there already.
    ///
    /// # Errors
    /// Those of `build`, and those of the file system.
    pub(crate) fn ensure(&self, step_name: &str, build: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        if fs::read_to_string(self.stamp()).is_ok_and(|stamp| stamp == self.key) {
            return Ok(());
        }
        step(step_name, || {
            if self.dir.exists() {
                fs::remove_dir_all(&self.dir)?;
            }
            fs::create_dir_all(&self.dir)?;
            build(&self.dir)?;
            fs::write(self.stamp(), &self.key)?;
            Ok(())
        })
    }
}

/// A child ends within this time after SIGTERM, or is killed.
const END: Duration = Duration::from_secs(30);

/// Ends a child: asked first, so that it can end its own, and killed where it takes too long.
pub(crate) fn end(child: &mut Child) {
    let pid = child.id().to_string();
    let asked = Command::new("kill").args(["-TERM", &pid]).status().is_ok_and(|status| status.success());
    // One that was stopped hears nothing before that.
    let _ = Command::new("kill").args(["-CONT", &pid]).status();
    let begun = Instant::now();
    while asked && begun.elapsed() < END {
        match child.try_wait() {
            Ok(None) => pause(Duration::from_millis(20)),
            _ => return,
        }
    }
    // It is past asking, or gone already.
    let _ = child.kill();
    let _ = child.wait();
}

/// Waits.
#[allow(clippy::disallowed_methods)] // No runtime here: xtask is one thread.
pub(crate) fn pause(time: Duration) {
    thread::sleep(time);
}

fn describe(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|arg| arg.to_string_lossy().into_owned()));
    words.join(" ")
}
