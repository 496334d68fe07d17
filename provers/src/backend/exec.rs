//! `exec`: a program that speaks JSON on standard input and output, in a sandbox.
//!
//! One call, one process. It gets one line, `{"protocol":"colophon-prover-v1","op":…,"statement":…,"limits":…}` with `op`
//! `capabilities`, `estimate`, `prove` or `verify`, and says lines: any number of
//! `{"progress":{"stage":…,"percent":…}}`, then one of `{"result":…}` and `{"error":{"refused":bool,"message":…}}`, and ends.
//! `prove` leaves its artefact in the file `artefact` of its folder, `verify` finds one there.

use super::usage::{self, Usage};
use super::{Backend, BackendError, Capabilities, Estimate, Poll, Running, Task, Verified};
use crate::job::{Limits, Progress};
use crate::sandbox::{Held, Sandbox};
use async_trait::async_trait;
use colophon_receipt::proof::Statement;
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdout, Command};

/// The protocol, in each call.
pub const PROTOCOL: &str = "colophon-prover-v1";
/// Where the artefact lies in the folder.
pub const ARTEFACT: &str = "artefact";
/// What it says on standard error goes there: it counts as its disk space, and never stops it.
const STDERR: &str = "stderr";
/// Longest line that a program may say, bytes.
const MAX_LINE: usize = 64 << 10;
/// Most bytes that a program may say in all.
const MAX_SAID: usize = 4 << 20;
/// Bytes read of that.
const MAX_STDERR: u64 = 4096;
/// Processes that a program may have at once.
const MAX_PROCESSES: usize = 64;
/// How often what it uses is looked at.
const WATCH: Duration = Duration::from_millis(250);
/// Seconds for the calls that only ask.
const ASK_SECONDS: u64 = 60;

/// A program that proves.
#[derive(Clone, Debug)]
pub struct Exec {
    /// The name that jobs ask for it by.
    pub name: String,
    /// The program and its arguments.
    pub program: Vec<OsString>,
    /// How it is held.
    pub sandbox: Sandbox,
}

#[derive(Serialize)]
struct Call<'a> {
    protocol: &'static str,
    op: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    statement: Option<&'a Statement>,
    limits: Limits,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Said {
    Progress(Progress),
    Result(serde_json::Value),
    Error {
        refused: bool,
        message: String,
        /// It cannot say, because it has not what it needs, such as the circuit. Matters to readers only.
        #[serde(default, rename = "unknown")]
        _unknown: bool,
    },
}

impl Exec {
    /// A call that is over soon: what it said in the end, and the CPU seconds that it used.
    async fn ask(
        &self,
        op: &str,
        statement: Option<&Statement>,
        limits: Limits,
        folder: &Path,
    ) -> Result<(serde_json::Value, f64), BackendError> {
        let limits = Limits { seconds: limits.seconds.min(ASK_SECONDS), ..limits };
        let mut process = Process::begin(self, op, statement, limits, folder)?;
        loop {
            if let Some(result) = process.step().await? {
                return Ok((result, process.used.cpu_seconds));
            }
        }
    }

    async fn ask_about(&self, op: &str, task: &Task) -> Result<(serde_json::Value, f64), BackendError> {
        self.ask(op, Some(&task.statement), task.limits, &task.folder).await
    }
}

#[async_trait]
impl Backend for Exec {
    fn name(&self) -> &str {
        &self.name
    }

    async fn capabilities(&self, folder: PathBuf) -> Result<Capabilities, BackendError> {
        let (result, _) = self.ask("capabilities", None, Limits::default(), &folder).await?;
        serde_json::from_value(result).map_err(|e| BackendError::Malformed(e.to_string()))
    }

    async fn estimate(&self, task: &Task) -> Result<Estimate, BackendError> {
        let (result, _) = self.ask_about("estimate", task).await?;
        serde_json::from_value(result).map_err(|e| BackendError::Malformed(e.to_string()))
    }

    async fn submit(&self, task: &Task) -> Result<Box<dyn Running>, BackendError> {
        Ok(Box::new(Process::begin(self, "prove", Some(&task.statement), task.limits, &task.folder)?))
    }

    async fn verify(&self, task: &Task, artefact: &[u8]) -> Result<Verified, BackendError> {
        let path = task.folder.join(ARTEFACT);
        tokio::fs::write(&path, artefact).await.map_err(|e| unusable(&path, &e))?;
        let (result, cpu_seconds) = self.ask_about("verify", task).await.map_err(|error| match error {
            BackendError::Refused(why) => BackendError::Lied(why),
            other => other,
        })?;
        match result.get("accepted") {
            Some(serde_json::Value::Bool(true)) => {
                let said = |name: &str| result.get(name)?.as_str().map(str::to_owned);
                Ok(Verified {
                    cpu_seconds,
                    setup: said("setup"),
                    circuit: said("circuit"),
                    settings: said("settings"),
                    srs: said("srs"),
                })
            }
            Some(serde_json::Value::Bool(false)) => Err(BackendError::Lied("not accepted".into())),
            _ => Err(BackendError::Malformed("`verify` ended without `accepted`".into())),
        }
    }
}

fn unusable(path: &Path, error: &std::io::Error) -> BackendError {
    BackendError::Unusable(format!("{}: {error}", path.display()))
}

/// A call under way.
struct Process {
    child: Child,
    stdout: BufReader<ChildStdout>,
    /// Bytes of a line whose end has not come.
    line: Vec<u8>,
    said: usize,
    limits: Limits,
    folder: PathBuf,
    /// Its standard error. Not opened again by its name, which the program may have given to something else.
    complaints: File,
    begun: Instant,
    watched: Instant,
    used: Usage,
    progress: Progress,
    result: Option<serde_json::Value>,
}

impl Process {
    fn begin(
        exec: &Exec,
        op: &str,
        statement: Option<&Statement>,
        limits: Limits,
        folder: &Path,
    ) -> Result<Process, BackendError> {
        let held = Held { cpu_seconds: limits.cpu_seconds, memory: limits.memory, file: limits.disk };
        let mut command = Command::from(exec.sandbox.command(&exec.program, folder, held));
        let path = folder.join(STDERR);
        let opened = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path);
        let opened = opened.and_then(|file| Ok((file.try_clone()?, file)));
        let (stderr, complaints) = opened.map_err(|e| unusable(&path, &e))?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(stderr).kill_on_drop(true);
        let mut child = command.spawn().map_err(|e| BackendError::Unusable(e.to_string()))?;
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(BackendError::Unusable("no pipes".into()));
        };
        let call = Call { protocol: PROTOCOL, op, statement, limits };
        let mut call = serde_json::to_vec(&call).map_err(|e| BackendError::Unusable(e.to_string()))?;
        call.push(b'\n');
        let now = Instant::now();
        let process = Process {
            child,
            stdout: BufReader::new(stdout),
            line: Vec::new(),
            said: 0,
            limits,
            folder: folder.to_owned(),
            complaints,
            begun: now,
            watched: now,
            used: Usage::default(),
            progress: Progress { stage: "started".into(), ..Progress::default() },
            result: None,
        };
        process.tell(stdin, call);
        Ok(process)
    }

    /// Writes the call. It fits a pipe only most often, and a program that does not read must not hold us up.
    fn tell(&self, mut stdin: tokio::process::ChildStdin, call: Vec<u8>) {
        let within = Duration::from_secs(self.limits.seconds);
        #[expect(
            clippy::disallowed_methods,
            reason = "ends with the program or its time, whichever is first"
        )]
        tokio::spawn(async move {
            // A program that closes its input will say what it thinks of it.
            drop(tokio::time::timeout(within, stdin.write_all(&call)).await);
        });
    }

    /// Waits for the next thing that happens; with the result once it is there and the program has ended.
    async fn step(&mut self) -> Result<Option<serde_json::Value>, BackendError> {
        let stepped = self.next().await;
        if stepped.is_err() {
            self.end().await;
        }
        stepped
    }

    async fn next(&mut self) -> Result<Option<serde_json::Value>, BackendError> {
        let look = WATCH.saturating_sub(self.watched.elapsed());
        match tokio::time::timeout(look, self.read_line()).await {
            Err(_) => {
                self.watch()?;
                Ok(None)
            }
            Ok(Some(line)) => self.heard(&line?),
            Ok(None) => self.ended().await.map(Some),
        }
    }

    /// The next line, without its end; `None` at the end. What was read is kept where this is given up on.
    async fn read_line(&mut self) -> Option<Result<Vec<u8>, BackendError>> {
        loop {
            let chunk = match self.stdout.fill_buf().await {
                Ok(chunk) => chunk,
                Err(error) => return Some(Err(BackendError::Failed(error.to_string()))),
            };
            let (taken, whole) = match chunk.iter().position(|byte| *byte == b'\n') {
                Some(end) => (end + 1, true),
                None => (chunk.len(), false),
            };
            self.line.extend_from_slice(&chunk[..taken]);
            self.stdout.consume(taken);
            self.said += taken;
            if self.line.len() > MAX_LINE || self.said > MAX_SAID {
                return Some(Err(BackendError::Malformed(format!(
                    "it says more than {MAX_SAID} bytes, or a line of more than {MAX_LINE}"
                ))));
            }
            if whole || (taken == 0 && !self.line.is_empty()) {
                return Some(Ok(std::mem::take(&mut self.line)));
            }
            if taken == 0 {
                return None;
            }
        }
    }

    fn heard(&mut self, line: &[u8]) -> Result<Option<serde_json::Value>, BackendError> {
        if self.result.is_some() {
            return Err(BackendError::Malformed("it goes on after its result".into()));
        }
        match serde_json::from_slice(line) {
            Ok(Said::Progress(mut progress)) => {
                progress.percent = progress.percent.min(100);
                self.progress = progress;
            }
            Ok(Said::Result(result)) => self.result = Some(result),
            Ok(Said::Error { refused: true, message, .. }) => return Err(BackendError::Refused(message)),
            Ok(Said::Error { refused: false, message, .. }) => return Err(BackendError::Failed(message)),
            Err(error) => {
                let line = String::from_utf8_lossy(line.get(..80).unwrap_or(line)).into_owned();
                return Err(BackendError::Malformed(format!("{error}, in {line:?}")));
            }
        }
        Ok(None)
    }

    /// Its output has ended; a program that stays is ended.
    async fn ended(&mut self) -> Result<serde_json::Value, BackendError> {
        self.watch()?;
        let Ok(status) = tokio::time::timeout(Duration::from_secs(5), self.child.wait()).await else {
            return Err(BackendError::Malformed("it closed its output and goes on running".into()));
        };
        let status = status.map_err(|e| BackendError::Failed(e.to_string()))?;
        match self.result.take() {
            Some(result) if status.success() => Ok(result),
            Some(_) => Err(BackendError::Failed(format!("it ended with {status} after its result"))),
            None => {
                let said = self.complaint();
                let why = format!("it ended with {status} and without a result{said}");
                // 125 is the sandbox's own: the program was not run.
                Err(if status.code() == Some(125) {
                    BackendError::Unusable(why)
                } else {
                    BackendError::Failed(why)
                })
            }
        }
    }

    /// The last line that it said on standard error.
    fn complaint(&self) -> String {
        let start = self.complaints.metadata().map_or(0, |data| data.len()).saturating_sub(MAX_STDERR);
        let mut bytes = vec![0; MAX_STDERR as usize];
        let read = self.complaints.read_at(&mut bytes, start);
        bytes.truncate(*read.as_ref().unwrap_or(&0));
        let text = String::from_utf8_lossy(&bytes);
        match text.lines().last() {
            Some(line) if read.is_ok() => format!(": {}", line.trim()),
            _ => String::new(),
        }
    }

    /// Looks at what it uses.
    fn watch(&mut self) -> Result<(), BackendError> {
        self.watched = Instant::now();
        if let Some(pid) = self.child.id() {
            let used = usage::of(pid);
            self.used = Usage { cpu_seconds: used.cpu_seconds.max(self.used.cpu_seconds), ..used };
        }
        let Limits { cpu_seconds, seconds, memory, disk, .. } = self.limits;
        let over = |what: String| Err(BackendError::Limit(what));
        if self.begun.elapsed() > Duration::from_secs(seconds) {
            return over(format!("{seconds} seconds"));
        }
        if self.used.cpu_seconds > cpu_seconds as f64 {
            return over(format!("{cpu_seconds} CPU seconds"));
        }
        if self.used.memory > memory {
            return over(format!("{memory} bytes of memory"));
        }
        if self.used.processes > MAX_PROCESSES {
            return over(format!("{MAX_PROCESSES} processes"));
        }
        if usage::folder(&self.folder) > disk {
            return over(format!("{disk} bytes of disk"));
        }
        Ok(())
    }

    /// Ends it. The first stage dies of this, and with it everything in its namespace.
    async fn end(&mut self) {
        drop(self.child.kill().await);
    }
}

#[async_trait]
impl Running for Process {
    async fn poll(&mut self) -> Result<Poll, BackendError> {
        Ok(match self.step().await? {
            Some(_) => Poll::Done,
            None => Poll::Running(self.progress.clone()),
        })
    }

    async fn fetch(&mut self) -> Result<Vec<u8>, BackendError> {
        let path = self.folder.join(ARTEFACT);
        // Not through a link: the program could make us read another file.
        let kind = tokio::fs::symlink_metadata(&path).await;
        if !kind.as_ref().is_ok_and(std::fs::Metadata::is_file) {
            return Err(BackendError::Malformed("it left no file `artefact` in its folder".into()));
        }
        let file = tokio::fs::File::open(&path).await.map_err(|e| unusable(&path, &e))?;
        let mut bytes = Vec::new();
        let most = self.limits.artefact;
        file.take(most + 1).read_to_end(&mut bytes).await.map_err(|e| unusable(&path, &e))?;
        if bytes.len() as u64 > most {
            return Err(BackendError::Limit(format!("{most} bytes of artefact")));
        }
        if bytes.is_empty() {
            return Err(BackendError::Malformed("its artefact is empty".into()));
        }
        Ok(bytes)
    }

    async fn cancel(&mut self) {
        self.end().await;
    }

    fn cpu_seconds(&self) -> f64 {
        self.used.cpu_seconds
    }
}
