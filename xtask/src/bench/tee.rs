//! `cargo xtask bench tee`: what it costs to answer at `tee`, by a server that has proved itself, instead of at `sign`.
//!
//! Client → Colophon → TLS 1.3 → Colophon that attests itself (simulated evidence) → upstream. The two contenders differ in
//! the first Colophon's rule alone, so that the difference is asking for evidence, verifying it, and minding the lease.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::Args;

use super::machine::Machine;
use super::rounds::{Spread, in_turns, write_request_of};
use super::servers::{Server, certificate, pinned_to};
use super::{Folder, RELEASE, build, http, load, program};
use crate::shell::{pause, run_quietly};

/// What can be told to the run.
#[derive(Args)]
pub(crate) struct TeeArgs {
    /// Rounds: both are measured once in each, and start once
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u64).range(1..=100))]
    rounds: u64,
    /// Measures the release builds that are there
    #[arg(long)]
    no_build: bool,
}

/// Measures and prints.
///
/// # Errors
/// When openssl or wrk cannot be had, or a contender does not answer.
pub(super) fn run(args: &TeeArgs) -> Result<()> {
    load::ensure_wrk()?;
    if !args.no_build {
        build(RELEASE)?;
    }
    let machine = Machine::look()?;
    let folder = Folder::new()?;
    let scene = Scene::set(&folder.0, &machine)?;
    let body = write_request_of(&folder.0, &program("fixed-upstream"))?;
    let turns = in_turns(&["sign", "tee"], args.rounds, |round, level| {
        let server = scene.start(level, round)?;
        let begun = Instant::now();
        let answer = http::post(server.listen, "/v1/chat/completions", &body)?;
        let cold = begun.elapsed().as_secs_f64() * 1e3;
        ensure!(answer.status == 200, "{}: {} {}", server.name, answer.status, answer.body);
        let record = answer.header("colophon-record").context("no record")?;
        ensure!(record.contains(server.name), "{} was granted: {record}", server.name);
        let alone = |seconds| load::wrk(&folder.0, &machine.load_cores, server.listen, 1, seconds);
        alone(Duration::from_secs(1))?;
        let warm = alone(Duration::from_secs(2))?.p50_us;
        pause(Duration::from_millis(200));
        Ok((cold, warm))
    })?;
    let of = |value: fn(&(f64, f64)) -> f64| [0, 1].map(|at| turns[at].iter().map(value).collect());
    println!("{}", machine.line());
    println!("| | `sign` | `tee` | added |\n|---|---:|---:|---:|");
    row("p50, one connection, the lease warm", &of(|(_, warm)| *warm), "µs");
    row("the first request after a start", &of(|(cold, _)| *cold), "ms");
    Ok(())
}

fn row(what: &str, [sign, tee]: &[Vec<f64>; 2], unit: &str) {
    let added: Vec<f64> = sign.iter().zip(tee).map(|(sign, tee)| tee - sign).collect();
    let cell = |values: &[f64]| {
        let Spread { median, least, most } = Spread::of(values.iter().copied());
        format!("{median:.1} ({least:.1}–{most:.1}) {unit}")
    };
    println!("| {what} | {} | {} | {} |", cell(sign), cell(tee), cell(&added));
}

/// What both contenders forward to.
struct Scene {
    folder: PathBuf,
    core: usize,
    /// The attested server, and the upstream behind it.
    inner: Server,
    _upstream: Server,
    attestation: String,
}

impl Scene {
    fn set(folder: &Path, machine: &Machine) -> Result<Scene> {
        let file = |name: &str| folder.join(name).display().to_string();
        certificate(folder)?;
        let upstream = pinned_to(&machine.load_cores, &program("fixed-upstream"));
        let upstream = Server::announced("direct", upstream)?;
        let mut inner = pinned_to(&machine.load_cores, &program("colophon"));
        inner.args(["serve", "--upstream", &format!("http://{}", upstream.listen), "--attest", "simulated"]);
        inner.args(["--tls-cert", &file("cert.pem"), "--tls-key", &file("key.pem")]);
        let inner = Server::serving(inner, "inner", &folder.join("inner"), &policy("commit", ""))?;
        let attestation = pinned(folder, &inner)?;
        Ok(Scene {
            folder: folder.to_owned(),
            core: machine.proxy_core,
            inner,
            _upstream: upstream,
            attestation,
        })
    }

    /// A contender that nobody has asked anything.
    fn start(&self, level: &'static str, round: u64) -> Result<Server> {
        let url = format!("https://{}", self.inner.listen);
        let ca = self.folder.join("cert.pem").display().to_string();
        let mut command = pinned_to(&[self.core], &program("colophon"));
        command.args(["serve", "--upstream-ca", &ca, "--upstream"]);
        let policy = match level {
            "tee" => {
                // The usual upstream is nowhere.
                command.args(["http://127.0.0.1:9", "--allow-simulated"]);
                let upstreams = format!(
                    "  upstreams:\n  - name: enclave\n    url: \"{url}\"\n    attestation:\n{}",
                    self.attestation
                );
                policy("tee, upstream: enclave", &upstreams)
            }
            _ => {
                command.arg(&url);
                policy(level, "")
            }
        };
        Server::serving(command, level, &self.folder.join(format!("{level}{round}")), &policy)
    }
}

/// The reference values of the attested server, as `attest pin` finds them: the `spec` of a policy, in lines.
fn pinned(folder: &Path, server: &Server) -> Result<String> {
    let nonce = "5a".repeat(32);
    let url = format!("https://{}/.well-known/colophon/attestation?nonce={nonce}", server.listen);
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--fail", "--cacert"]).arg(folder.join("cert.pem")).arg(url);
    let document: serde_json::Value =
        serde_json::from_str(&run_quietly(&mut curl).context("curl is needed")?)?;
    let bundle = folder.join("bundle.json");
    fs::write(&bundle, document["bundle"].to_string())?;
    let mut pin = Command::new(program("colophon"));
    pin.args(["attest", "pin", "--allow-simulated"]).arg(&bundle);
    let policy = run_quietly(&mut pin)?;
    let (_, spec) = policy.split_once("\nspec:\n").context("attest pin wrote no spec")?;
    Ok(spec.lines().map(|line| format!("    {line}\n")).collect())
}

fn policy(level: &str, upstreams: &str) -> String {
    format!(
        "apiVersion: colophon.dev/v1alpha1\nkind: ProvenancePolicy\nmetadata: {{name: bench}}\nspec:\n{upstreams}  rules:\n  \
         - {{name: all, level: {level}, failurePolicy: Fail}}\n"
    )
}
