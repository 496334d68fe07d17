//! `cargo xtask bench proofs`: what proofs cost, and what a rule that asks for them adds to an answer.
//!
//! Classifier and tiny language model are trained, compiled and proven by the examples' own programs. For the latency, two
//! Colophons differ in their rule alone: `sign`, and `zk` with a prover, whose jobs nobody works on meanwhile.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use serde_json::Value;

use super::machine::Machine;
use super::rounds::{Spread, in_turns, write_request_of};
use super::servers::{Server, pinned_to};
use super::{Folder, RELEASE, build, http, load, program};
use crate::shell::{pause, root, run_quietly, target};

/// What can be told to the run.
#[derive(Args)]
pub(crate) struct ProofsArgs {
    /// Rounds: both rules are measured once in each
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u64).range(1..=100))]
    rounds: u64,
    /// Measures the release builds that are there
    #[arg(long)]
    no_build: bool,
    /// The latency alone
    #[arg(long)]
    only_latency: bool,
}

/// Measures and prints.
///
/// # Errors
/// When set-up has not been done, wrk cannot be had, a contender does not answer, or a proof does not come.
pub(super) fn run(args: &ProofsArgs) -> Result<()> {
    load::ensure_wrk()?;
    if !args.no_build {
        build(RELEASE)?;
    }
    let machine = Machine::look()?;
    let folder = Folder::new()?;
    println!("{}", machine.line());
    let classifier = circuit(&folder.0, "classifier", "classifier/train.py", "classifier.onnx")?;
    if !args.only_latency {
        println!(
            "| | prove, CPU-s | memory, MB | proof, bytes | in a receipt, bytes | verify, CPU-s (s) |\n|---|---:|---:|---:|---:|---:|"
        );
        figures("classifier, 640 weights", &classifier, &[])?;
        let language = circuit(&folder.0, "tiny-lm", "tiny-lm/train.py", "model.onnx")?;
        // `after monday`: `tuesday wednesday thursday`, and the end.
        let said = ["--prompt", "2,5,30,3", "--output", "31,32,33,4"];
        figures("tiny language model, 3,968 weights, 8 positions", &language, &said)?;
    }
    latency(args, &machine, &folder.0, &classifier)
}

fn python(arguments: &[&str]) -> Result<String> {
    let python = target().join("setup/python/bin/python");
    run_quietly(Command::new(python).args(arguments)).context("a program of examples/")
}

fn example(name: &str) -> String {
    root().join("examples").join(name).display().to_string()
}

/// Trains and compiles a model.
fn circuit(folder: &Path, name: &str, train: &str, model: &str) -> Result<PathBuf> {
    let trained = folder.join(name);
    let text = |path: &Path| path.display().to_string();
    python(&[&example(train), &text(&trained)])?;
    let directory = folder.join("circuits").join(name);
    fs::create_dir_all(folder.join("circuits"))?;
    let (model, features) = (text(&trained.join(model)), text(&trained.join("features.json")));
    let shown = match trained.join("features.json").exists() {
        true => ["--features", &features],
        false => ["--folder", &text(&trained)],
    };
    let compile = example("provers/ezkl/circuit.py");
    python(&[&compile, &model, &text(&directory), "--name", name, shown[0], shown[1]])?;
    Ok(directory)
}

fn figures(what: &str, circuit: &Path, more: &[&str]) -> Result<()> {
    let measure = example("provers/ezkl/measure.py");
    let directory = circuit.display().to_string();
    let said = python(&[&[&*measure, &*directory], more].concat())?;
    let figures: Value = serde_json::from_str(&said)?;
    let number = |part: &str, name: &str| figures[part][name].as_f64().unwrap_or(f64::NAN);
    println!(
        "| {what} | {:.1} | {:.0} | {} | {} | {:.2} ({:.2}) |",
        number("prove", "cpu"),
        number("prove", "memory") / 1e6,
        figures["proof"],
        figures["artefact"],
        number("verify", "cpu"),
        number("verify", "seconds"),
    );
    Ok(())
}

fn latency(args: &ProofsArgs, machine: &Machine, folder: &Path, circuit: &Path) -> Result<()> {
    let provers = folder.join("provers.yaml");
    // A prover that is never asked: what counts is what the rule does to the answer.
    let text = format!(
        "workers: 0\nprovers:\n- name: classifier\n  program: [/bin/false]\n  circuit: {}\n",
        circuit.display()
    );
    fs::write(&provers, text)?;
    let upstream = pinned_to(&machine.load_cores, &program("fixed-upstream"));
    let upstream = Server::announced("direct", upstream)?;
    let body = write_request_of(folder, &program("fixed-upstream"))?;
    let mut servers = Vec::new();
    for level in ["sign", "zk"] {
        let mut command = pinned_to(&[machine.proxy_core], &program("colophon"));
        command
            .args(["serve", "--upstream", &format!("http://{}", upstream.listen), "--provers"])
            .arg(&provers);
        let policy = format!(
            "apiVersion: colophon.dev/v1alpha1\nkind: ProvenancePolicy\nmetadata: {{name: bench}}\nspec:\n  \
             provers: [{{name: classifier, backend: exec}}]\n  rules:\n  \
             - {{name: all, level: {level}, {}failurePolicy: Fail}}\n",
            if level == "zk" { "prover: classifier, " } else { "" }
        );
        let server = Server::serving(command, level, &folder.join(level), &policy)?;
        let answer = http::post(server.listen, "/v1/chat/completions", &body)?;
        ensure!(answer.status == 200, "{level}: {} {}", answer.status, answer.body);
        let record = answer.header("colophon-record").context("no record")?;
        // Of `zk` the answer says what it has when it leaves.
        ensure!(record.contains("level=sign"), "{level} was granted: {record}");
        servers.push(server);
    }
    let p50 = in_turns(&servers, args.rounds, |_, server| {
        let alone = |seconds| load::wrk(folder, &machine.load_cores, server.listen, 1, seconds);
        alone(Duration::from_secs(1))?;
        let p50 = alone(Duration::from_secs(2))?.p50_us;
        pause(Duration::from_millis(200));
        Ok(p50)
    })?;
    let added: Vec<f64> = p50[0].iter().zip(&p50[1]).map(|(sign, zk)| zk - sign).collect();
    let cell = |values: &[f64]| {
        let Spread { median, least, most } = Spread::of(values.iter().copied());
        format!("{median:.1} ({least:.1}–{most:.1}) µs")
    };
    println!("\n| | `sign` | `zk` | added |\n|---|---:|---:|---:|");
    println!("| p50, one connection | {} | {} | {} |", cell(&p50[0]), cell(&p50[1]), cell(&added));
    Ok(())
}
