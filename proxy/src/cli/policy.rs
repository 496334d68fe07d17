//! `colophon policy`.

mod coverage;
mod explain;
mod saved;
mod test;

use super::term;
use crate::policy_files::PolicyFiles;
use clap::Subcommand;
use colophon_policies::{Policy, PolicyError, SCHEMA};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Debug, Subcommand)]
pub(super) enum PolicyCommand {
    /// Say whether a policy is right; with no file, show the built-in one's digest
    ///
    /// Exit codes: 0 right, 1 wrong (with --strict also: warnings), 2 wrong usage or a file that cannot be read.
    Check {
        /// The policy: a YAML file, or a folder of them
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
        /// Count warnings as errors
        #[arg(long)]
        strict: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print the policy in the canonical form that its digest is over
    Show {
        /// The policy: a YAML file, or a folder of them [default: the built-in one]
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Say, rule by rule, what a policy decides about a request, and why
    Explain(explain::ExplainOptions),
    /// Try a policy on the cases of a YAML file; exit code 1 if one of them goes another way
    Test(test::TestOptions),
    /// Say which routes of a server fall to which rule
    Coverage(coverage::CoverageOptions),
    /// Print the JSON Schema of policy files, for editors
    Schema,
}

pub(super) fn run(command: PolicyCommand) -> anyhow::Result<ExitCode> {
    match command {
        PolicyCommand::Check { file, strict, json } => check(file.as_deref(), strict, json),
        PolicyCommand::Show { file } => {
            outln!("{}", load(file.as_deref())?.canonical());
            Ok(ExitCode::SUCCESS)
        }
        PolicyCommand::Explain(options) => explain::run(&options),
        PolicyCommand::Test(options) => test::run(&options),
        PolicyCommand::Coverage(options) => coverage::run(&options),
        PolicyCommand::Schema => {
            out!("{SCHEMA}");
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// The policy of a file or a folder, or the built-in one. An error shows the line it is about.
fn load(path: Option<&Path>) -> anyhow::Result<Policy> {
    let Some(path) = path else { return Ok(Policy::builtin()) };
    let files = PolicyFiles::read(path)?;
    files.parse().map_err(|error| anyhow::anyhow!("{}", pointed_at(&error, &files)))
}

/// An error with the line it is about, and a caret under the place.
fn pointed_at(error: &PolicyError, files: &PolicyFiles) -> String {
    let line = files.text(error.source_name()).and_then(|text| error.snippet(text));
    match line {
        Some(snippet) => format!("{}\n{}", term::safe(&error.to_string()), term::safe(&snippet)),
        None => term::safe(&error.to_string()),
    }
}

fn check(path: Option<&Path>, strict: bool, json: bool) -> anyhow::Result<ExitCode> {
    let parsed = match path {
        None => Ok(Policy::builtin()),
        Some(path) => {
            let files = PolicyFiles::read(path)?;
            files.parse().map_err(|error| (pointed_at(&error, &files), error))
        }
    };
    let policy = match parsed {
        Ok(policy) => policy,
        Err((_, error)) if json => {
            let place = json!({"file": error.source_name(), "line": error.line(), "column": error.column()});
            outln!(
                "{}",
                json!({"valid": false, "strict": strict, "passed": false, "error": error.message(), "place": place})
            );
            return Ok(ExitCode::FAILURE);
        }
        Err((shown, _)) => anyhow::bail!("{shown}"),
    };
    let digest = hex::encode(policy.digest());
    let warnings = policy.warnings();
    let passed = !strict || warnings.is_empty();
    if json {
        let warnings: Vec<_> =
            warnings.iter().map(|w| json!({"place": w.place, "warning": w.message})).collect();
        outln!(
            "{}",
            json!({
                "valid": true,
                "strict": strict,
                "passed": passed,
                "name": policy.name(),
                "digest": digest,
                "warnings": warnings,
            })
        );
    } else {
        let kind = if strict { "error" } else { "warning" };
        for warning in &warnings {
            errln!("{kind}: {}", term::safe(&warning.to_string()));
        }
        let name = term::safe(policy.name());
        match warnings.len() {
            _ if passed => outln!("{} policy {name} is right; its digest is {digest}", term::green("✓")),
            1 => outln!("{} policy {name} has 1 warning (--strict)", term::refused("✗")),
            count => outln!("{} policy {name} has {count} warnings (--strict)", term::refused("✗")),
        }
    }
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
