//! The `colophon` program: parse, build, run, drain.

use clap::Parser as _;
use colophon::cli::{Cli, run};
use std::process::ExitCode;

fn main() -> ExitCode {
    run(Cli::parse())
}
