//! `colophon policy test`.

use super::explain::decision_json;
use super::load;
use crate::cli::term;
use anyhow::Context as _;
use clap::Args;
use colophon_policies::{Cases, MAX_POLICY_BYTES};
use serde_json::json;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Debug, Args)]
pub(in crate::cli) struct TestOptions {
    /// The policy: a YAML file, or a folder of them
    #[arg(value_name = "FILE")]
    policy: PathBuf,
    /// The cases [default: beside the policy, `NAME.test.yaml`; of a folder, all of those in it]
    #[arg(long, value_name = "FILE")]
    cases: Vec<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(options: &TestOptions) -> anyhow::Result<ExitCode> {
    let policy = load(Some(&options.policy))?;
    let files = if options.cases.is_empty() { beside(&options.policy)? } else { options.cases.clone() };
    let (mut passed, mut failed, mut said) = (0_usize, 0_usize, Vec::new());
    for file in &files {
        let cases = Cases::parse(&read(file)?, &file.display().to_string())?;
        for result in policy.test(&cases) {
            if result.wrong.is_empty() {
                passed += 1;
            } else {
                failed += 1;
            }
            if options.json {
                said.push(json!({
                    "name": result.name,
                    "place": result.place,
                    "passed": result.wrong.is_empty(),
                    "wrong": result.wrong,
                    "decision": decision_json(&result.explanation.decision),
                }));
            } else if result.wrong.is_empty() {
                outln!("{} {}", term::green("✓"), term::safe_line(&result.name));
            } else {
                let place = term::safe_line(&result.place.to_string());
                outln!("{} {}  {}", term::refused("✗"), term::safe_line(&result.name), term::dim(&place));
                for wrong in &result.wrong {
                    outln!("    {}", term::safe_line(wrong));
                }
            }
        }
    }
    if options.json {
        outln!("{}", json!({"passed": passed, "failed": failed, "cases": said}));
    } else {
        outln!("{passed} passed, {failed} failed");
    }
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The files of cases that belong to a policy.
fn beside(policy: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    if policy.is_dir() {
        for entry in std::fs::read_dir(policy).with_context(|| format!("cannot list {}", policy.display()))? {
            let path = entry.with_context(|| format!("cannot list {}", policy.display()))?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if name.ends_with(".test.yaml") || name.ends_with(".test.yml") {
                found.push(path);
            }
        }
        found.sort();
    } else {
        found.extend(
            ["test.yaml", "test.yml"]
                .map(|end| policy.with_extension(end))
                .into_iter()
                .filter(|p| p.exists()),
        );
    }
    anyhow::ensure!(
        !found.is_empty(),
        "no cases beside {}: name them with --cases, or write {}",
        policy.display(),
        policy.with_extension("test.yaml").display()
    );
    Ok(found)
}

fn read(path: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    std::fs::File::open(path)
        // One byte more than allowed, so that the parser sees that it is too long.
        .and_then(|file| file.take(MAX_POLICY_BYTES as u64 + 1).read_to_string(&mut text))
        .with_context(|| format!("cannot read the cases {}", path.display()))?;
    Ok(text)
}
