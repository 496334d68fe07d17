//! The built `colophon serve` as a child process.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use colophon_receipt::level::Outcome;
use tempfile::TempDir;

use crate::process::Process;
use crate::{PATIENCE, paths, wait_for};

/// A policy that signs every answer, health checks included.
pub const SIGN_ALL: &str = "\
apiVersion: colophon.dev/v1alpha1
kind: ProvenancePolicy
metadata: {name: sign-all}
spec:
  defaults: {level: sign, failurePolicy: Ignore}
";

/// What a test may change before the start.
pub struct Options {
    /// More arguments.
    pub args: Vec<String>,
    /// The policy file's text; `None` for the built-in profile.
    pub policy: Option<String>,
    /// How often a batch is closed.
    pub batch_every: String,
    /// The data folder, where it is not to be one of the test's temporary folder.
    pub data: Option<PathBuf>,
    /// The state folder, likewise.
    pub state: Option<PathBuf>,
    /// Variables of its environment.
    pub env: Vec<(String, String)>,
    /// What it finds as `/etc/hosts`: [`can_have_hosts`] says whether that is possible here.
    pub hosts: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            args: Vec::new(),
            policy: None,
            batch_every: "200ms".to_owned(),
            data: None,
            state: None,
            env: Vec::new(),
            hosts: None,
        }
    }
}

impl Options {
    /// Adds arguments.
    pub fn arg(&mut self, args: &[&str]) -> &mut Self {
        self.args.extend(args.iter().map(|arg| (*arg).to_owned()));
        self
    }

    /// Signs every answer.
    pub fn sign_all(&mut self) -> &mut Self {
        self.policy = Some(SIGN_ALL.to_owned());
        self
    }
}

/// A running proxy with folders of its own. Dropping it kills it and removes them.
pub struct Colophon {
    process: Process,
    folder: TempDir,
    upstream: String,
    options: Options,
    listen: SocketAddr,
    admin: SocketAddr,
}

impl Colophon {
    /// Starts the proxy before `upstream` (a URL) with the built-in profile, a batch every 200 ms.
    pub fn before(upstream: &str) -> Self {
        Self::start(upstream, |_| ())
    }

    /// Starts it with a policy that signs every answer.
    pub fn signing(upstream: &str) -> Self {
        Self::start(upstream, |options| {
            options.sign_all();
        })
    }

    /// Starts it with options.
    pub fn start(upstream: &str, change: impl FnOnce(&mut Options)) -> Self {
        let mut options = Options::default();
        change(&mut options);
        let folder = tempfile::Builder::new().prefix("colophon-").tempdir().expect("a temporary folder");
        let process = spawn(folder.path(), upstream, &options);
        let (listen, admin) = (([127, 0, 0, 1], 0).into(), ([127, 0, 0, 1], 0).into());
        let mut colophon = Self { process, folder, upstream: upstream.to_owned(), options, listen, admin };
        colophon.until_ready();
        colophon
    }

    /// Starts it where it must refuse to start; returns how it ended and what it said.
    pub fn refused(upstream: &str, change: impl FnOnce(&mut Options)) -> (ExitStatus, String) {
        let mut options = Options::default();
        change(&mut options);
        let folder = tempfile::Builder::new().prefix("colophon-").tempdir().expect("a temporary folder");
        let mut process = spawn(folder.path(), upstream, &options);
        let status = process.wait(PATIENCE);
        (status, process.log())
    }

    /// Starts it on existing folders where it must refuse to start.
    pub fn refused_on(upstream: &str, data: &Path, state: &Path) -> (ExitStatus, String) {
        Self::refused(upstream, |options| {
            options.data = Some(data.to_owned());
            options.state = Some(state.to_owned());
        })
    }

    /// Where clients connect.
    pub fn listen(&self) -> SocketAddr {
        self.listen
    }

    /// Where operators connect.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// What it wrote into its ready file.
    pub fn ready(&self) -> serde_json::Value {
        let ready = fs::read(self.folder.path().join("ready")).expect("the ready file");
        serde_json::from_slice(&ready).expect("JSON")
    }

    /// Where probes and scrapers connect, if it was told `--health`.
    pub fn health(&self) -> SocketAddr {
        let ready = self.ready();
        ready["health"]
            .as_str()
            .and_then(|text| text.parse().ok())
            .unwrap_or_else(|| panic!("health in {ready}"))
    }

    /// Its process's number.
    pub fn process_id(&self) -> u32 {
        self.process.pid()
    }

    /// Its process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// What it has written so far.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Its data folder.
    pub fn data(&self) -> PathBuf {
        self.options.data.clone().unwrap_or_else(|| self.folder.path().join("data"))
    }

    /// Its state folder.
    pub fn state(&self) -> PathBuf {
        self.options.state.clone().unwrap_or_else(|| self.folder.path().join("state"))
    }

    /// The folder that holds all of them, for a test's own files.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What the next start is told.
    pub fn options(&mut self) -> &mut Options {
        &mut self.options
    }

    /// SIGTERM, and the drain: how it ended.
    pub fn stop(&mut self) -> ExitStatus {
        self.process.terminate();
        self.process.wait(PATIENCE)
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Sends it a signal while others use it.
    pub fn signal(&self, name: &str) {
        self.process.signal(name);
    }

    /// Starts it again on the same folders and kills it after `life`, ready or not.
    pub fn start_and_kill(&mut self, life: Duration) {
        assert!(self.process.ended().is_some(), "it still runs");
        self.process = spawn(self.folder.path(), &self.upstream, &self.options);
        crate::pause(life);
        self.process.kill();
    }

    /// Starts it again on the same folders where it may refuse to: how it ended if it did, and what it said this time.
    pub fn try_start(&mut self) -> (Option<ExitStatus>, String) {
        assert!(self.process.ended().is_some(), "it still runs");
        let before = self.process.log().len();
        self.process = spawn(self.folder.path(), &self.upstream, &self.options);
        let file = self.folder.path().join("ready");
        let ended = wait_for(PATIENCE, || match self.process.ended() {
            Some(status) => Some(Some(status)),
            None => file.exists().then_some(None),
        });
        let ended = ended.expect("it neither serves nor refuses to");
        if ended.is_none() {
            self.until_ready();
        }
        (ended, self.process.log()[before..].to_owned())
    }

    /// Starts it again on the same folders; its ports are new.
    pub fn restart(&mut self) {
        assert!(self.process.ended().is_some(), "it still runs");
        self.process = spawn(self.folder.path(), &self.upstream, &self.options);
        self.until_ready();
    }

    /// A counter or gauge from the admin side's `/metrics`; the labels are part of the name.
    pub fn metric(&self, name: &str) -> Option<f64> {
        let text = crate::client::get(self.admin, "/metrics").text();
        let line =
            text.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')));
        line.and_then(|line| line.rsplit(' ').next()).and_then(|value| value.parse().ok())
    }

    /// Waits until no client is connected.
    ///
    /// # Panics
    /// When that does not happen.
    pub fn until_left(&self) {
        let left = wait_for(PATIENCE, || (self.metric("colophon_connections") == Some(0.0)).then_some(()));
        assert!(left.is_some(), "a connection is still open");
    }

    /// How many exchanges have ended this way.
    pub fn ended_as(&self, outcome: Outcome) -> u64 {
        let text = crate::client::get(self.admin, "/metrics").text();
        let label = format!("outcome=\"{}\"", outcome.as_str());
        let lines =
            text.lines().filter(|line| line.starts_with("colophon_exchanges") && line.contains(&label));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
    }

    /// Waits until `count` exchanges have ended this way.
    ///
    /// # Panics
    /// When that does not happen.
    pub fn until_ended_as(&self, outcome: Outcome, count: u64) {
        let seen = wait_for(PATIENCE, || (self.ended_as(outcome) >= count).then_some(()));
        if seen.is_none() {
            let text = crate::client::get(self.admin, "/metrics").text();
            panic!("not {count} exchanges are {outcome:?}:\n{text}");
        }
        assert_eq!(self.ended_as(outcome), count, "{outcome:?}");
    }

    fn until_ready(&mut self) {
        let file = self.folder.path().join("ready");
        let ready = wait_for(PATIENCE, || {
            if let Some(status) = self.process.ended() {
                panic!("colophon ended with {status} before it was ready:\n{}", self.process.log());
            }
            fs::read(&file).ok()
        });
        let Some(ready) = ready else { panic!("colophon is not ready:\n{}", self.process.log()) };
        let ready: serde_json::Value =
            serde_json::from_slice(&ready).expect("the ready file is JSON, and whole");
        let address = |name: &str| -> SocketAddr {
            ready[name]
                .as_str()
                .and_then(|text| text.parse().ok())
                .unwrap_or_else(|| panic!("{name} in {ready}"))
        };
        assert_eq!(ready["pid"], self.process.pid(), "the ready file is of another process");
        (self.listen, self.admin) = (address("listen"), address("admin"));
    }
}

fn spawn(folder: &Path, upstream: &str, options: &Options) -> Process {
    let ready = folder.join("ready");
    fs::remove_file(&ready).ok();
    let mut command = command(&["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
    command.args(["--upstream", upstream]);
    command.args(["--batch-every", &options.batch_every]);
    command.arg("--data").arg(options.data.clone().unwrap_or_else(|| folder.join("data")));
    command.arg("--state").arg(options.state.clone().unwrap_or_else(|| folder.join("state")));
    command.arg("--ready-file").arg(&ready);
    if let Some(policy) = &options.policy {
        let file = folder.join("policy.yaml");
        fs::write(&file, policy).expect("the policy file");
        command.arg("--policy").arg(file);
    }
    command.args(&options.args);
    if let Some(hosts) = &options.hosts {
        command = with_hosts(&command, hosts);
    }
    command.current_dir(folder).env("RUST_BACKTRACE", "1");
    command.envs(options.env.iter().map(|(name, value)| (name, value)));
    Process::start(&mut command, &folder.join("log"))
}

/// The same in a mount namespace of its own, with this file as `/etc/hosts`. The process stays the one that is started.
fn with_hosts(command: &Command, hosts: &Path) -> Command {
    let mut within = Command::new("unshare");
    within.args(["--mount", "sh", "-c", "mount --bind \"$0\" /etc/hosts && exec \"$@\""]);
    within.arg(hosts).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => within.env(name, value),
            None => within.env_remove(name),
        };
    }
    within
}

/// Whether a process can be given an `/etc/hosts` of its own: by Linux, to root. Where not, it says so, loudly.
pub fn can_have_hosts() -> bool {
    let able = Command::new("unshare").args(["--mount", "true"]).stderr(Stdio::null()).status();
    let able = able.is_ok_and(|status| status.success());
    if !able {
        eprintln!("\n*** skipped: no mount namespace of its own (unshare --mount; it takes root) ***\n");
    }
    able
}

/// `colophon` with arguments, and without what the machine's owner has set for a proxy of their own.
pub fn command(args: &[&str]) -> Command {
    let mut command = Command::new(paths::program("colophon"));
    let owners = ["COLOPHON_", "AWS_", "GOOGLE_", "AZURE_"];
    for (name, _) in std::env::vars().filter(|(name, _)| owners.iter().any(|own| name.starts_with(own))) {
        command.env_remove(name);
    }
    command.args(args);
    command
}

/// Runs `colophon` with other arguments: its exit code, and what it said.
pub fn run(args: &[&str]) -> (i32, String) {
    run_with(args, &[])
}

/// The same, with environment variables.
pub fn run_with(args: &[&str], env: &[(String, String)]) -> (i32, String) {
    run_within(PATIENCE, args, env)
}

/// The same, where it may take longer than what should happen at once.
pub fn run_within(limit: Duration, args: &[&str], env: &[(String, String)]) -> (i32, String) {
    let mut command = command(args);
    command.envs(env.iter().map(|(name, value)| (name, value)));
    let output = crate::process::run(&mut command, limit);
    let said = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&said).into_owned())
}

/// Long enough for a batch to close and be logged on a busy machine.
pub const LOGGED_WITHIN: Duration = PATIENCE;
