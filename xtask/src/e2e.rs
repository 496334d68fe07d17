//! `cargo xtask e2e`: tests against servers too heavy for every run.

use std::fs;
use std::fs::File;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};

use crate::setup::vllm;
use crate::shell::{cargo, end, pause, run, target};

/// vLLM listens within this time even on two busy cores.
const START: Duration = Duration::from_secs(900);

/// What to test against.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Server {
    /// vLLM 0.32 on the CPU, with a tiny random model
    Vllm,
}

/// Installs and starts the server, and runs its tests.
///
/// # Errors
/// When it cannot be installed, does not start, or a test fails.
pub(crate) fn run_e2e(server: Server) -> Result<()> {
    match server {
        Server::Vllm => with_vllm(),
    }
}

fn with_vllm() -> Result<()> {
    let installed = vllm::ensure()?;
    eprintln!("build: colophon, colophon-verify and the tests");
    run(cargo().args(["build", "--package", "colophon", "--package", "colophon-verify", "--bins"]))?;
    run(cargo().args(["test", "--package", "colophon-tests", "--test", "vllm", "--no-run"]))?;
    let listen = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let folder = target().join("e2e");
    fs::create_dir_all(&folder)?;
    let log = folder.join("vllm.log");
    let server = Running(start(&installed, listen, &log)?);
    wait_until_ready(server, listen, &log).and_then(|_server| {
        let mut tests = cargo();
        tests.args([
            "test",
            "--package",
            "colophon-tests",
            "--test",
            "vllm",
            "--",
            "--nocapture",
            "--test-threads=1",
        ]);
        run(tests.env("COLOPHON_VLLM", listen.to_string()).env("COLOPHON_SETUP", target().join("setup")))
    })
}

fn start(installed: &Path, listen: SocketAddr, log: &Path) -> Result<Child> {
    let mut command = Command::new(installed.join("bin/vllm"));
    command.arg("serve").arg(installed.join("model"));
    command.args(["--served-model-name", "tiny-random", "--dtype", "float32", "--enforce-eager"]);
    command.args(["--max-num-seqs", "16", "--enable-auto-tool-choice", "--tool-call-parser", "hermes"]);
    command.args(["--host", "127.0.0.1", "--port", &listen.port().to_string()]);
    for (name, value) in [
        ("HF_HUB_OFFLINE", "1"),
        ("VLLM_NO_USAGE_STATS", "1"),
        ("DO_NOT_TRACK", "1"),
        ("VLLM_CPU_KVCACHE_SPACE", "1"),
        ("VLLM_CPU_OMP_THREADS_BIND", "nobind"),
        ("OMP_NUM_THREADS", "1"),
    ] {
        command.env(name, value);
    }
    let log = File::create(log).with_context(|| log.display().to_string())?;
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    command.spawn().context("cannot start vLLM")
}

fn wait_until_ready(mut server: Running, listen: SocketAddr, log: &Path) -> Result<Running> {
    let bar = ProgressBar::new(START.as_secs());
    bar.set_style(ProgressStyle::with_template("{spinner} vLLM is starting, {elapsed} (minutes, on a CPU)")?);
    let begun = Instant::now();
    while begun.elapsed() < START {
        if TcpStream::connect(listen).is_ok() {
            bar.finish_and_clear();
            eprintln!("e2e: vLLM listens after {:.0} s", begun.elapsed().as_secs_f64());
            return Ok(server);
        }
        if let Some(status) = server.0.try_wait()? {
            bail!("vLLM ended at its start ({status}): see {}", log.display());
        }
        bar.tick();
        pause(Duration::from_millis(250));
    }
    bail!("vLLM does not listen after {START:?}: see {}", log.display())
}

/// Ended with the run, first kindly: its engine is a process of its own that it has to end.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        end(&mut self.0);
    }
}
