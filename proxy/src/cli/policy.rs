//! `colophon policy`.

use super::term;
use clap::Subcommand;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, Subcommand)]
pub(super) enum PolicyCommand {
    /// Say whether a policy file is right; with no file, show the built-in one's digest
    Check {
        /// The policy (YAML)
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print the policy in the canonical form that its digest is over
    Show {
        /// The policy (YAML) [default: the built-in one]
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
    },
}

pub(super) fn run(command: PolicyCommand) -> anyhow::Result<ExitCode> {
    match command {
        PolicyCommand::Check { file, json } => {
            let policy = crate::serve::policy(file.as_deref())?;
            let digest = hex::encode(policy.digest());
            let warnings: Vec<String> = policy.warnings().iter().map(ToString::to_string).collect();
            if json {
                let said = serde_json::json!({"name": policy.name(), "digest": digest, "warnings": warnings});
                println!("{said}");
            } else {
                for warning in &warnings {
                    eprintln!("warning: {}", term::safe(warning));
                }
                println!(
                    "{} policy {} is right; its digest is {digest}",
                    term::green("✓"),
                    term::safe(policy.name())
                );
            }
        }
        PolicyCommand::Show { file } => println!("{}", crate::serve::policy(file.as_deref())?.canonical()),
    }
    Ok(ExitCode::SUCCESS)
}
