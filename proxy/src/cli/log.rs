//! `colophon log`.

use clap::Subcommand;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, Subcommand)]
pub(super) enum LogCommand {
    /// Re-hash a whole log folder and check every statement's place in its chain
    Check {
        /// The data folder
        #[arg(value_name = "DIR", default_value = "./colophon-data")]
        data: PathBuf,
    },
}

pub(super) async fn run(command: LogCommand) -> anyhow::Result<ExitCode> {
    let LogCommand::Check { data } = command;
    anyhow::bail!("{}", data.display())
}
