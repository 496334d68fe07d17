//! `cargo xtask`: set-up, tests and long runs. What a contributor types is a line here; what it does is a file.

mod bench;
mod deny;
mod differential;
mod e2e;
mod fuzz;
mod image;
mod model;
mod setup;
mod shell;
mod soak;
mod test;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Set-up, tests and long runs.
#[derive(Parser)]
#[command(bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Installs what the tests run (a Python environment, npm packages, h2spec) under `target/setup`
    Setup {
        /// Fail where something optional cannot be had, instead of skipping its tests
        #[arg(long)]
        full: bool,
    },
    /// Does all set-up, builds the programs and runs every test
    Test {
        /// Fail where something optional cannot be had, instead of skipping its tests
        #[arg(long)]
        full: bool,
        /// Run the crash, tamper and transparency suites only, against the release build as it is shipped
        #[arg(long)]
        release: bool,
        /// With --release: the release builds that are there
        #[arg(long, requires = "release")]
        no_build: bool,
        /// Passed to `cargo test` (a name to filter by, or `-- --nocapture`)
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Measures Colophon beside a plain proxy on this machine and writes docs/PERFORMANCE.md
    Bench(bench::BenchArgs),
    /// Kills a release build under load again and again: nothing is lost, one log, flat memory
    Soak(soak::SoakArgs),
    /// Runs the tests against a real server that takes minutes to install and start
    E2e {
        /// The server
        server: e2e::Server,
    },
    /// Runs the fuzz targets, each for some minutes (needs cargo-fuzz)
    Fuzz(fuzz::FuzzArgs),
    /// Makes an OCI image of the programs and an SBOM under `target/image`, without a daemon (umoci)
    Image(image::ImageArgs),
    /// Compares the verifiers of evidence with other people's, which nothing that is shipped depends on
    Differential,
    /// Model-checks the log's sequencer with spin, and that seeded mistakes are found
    Model,
    /// Checks the dependencies' bans, licences and sources with cargo-deny
    Deny,
    /// Checks the dependencies against the RustSec advisory database, where that can be reached
    Advisories,
}

fn main() -> Result<()> {
    match Cli::parse().command {
        Command::Setup { full } => setup::run(full).map(|_| ()),
        Command::Test { full, release: true, no_build, args } => test::run_release(full, no_build, &args),
        Command::Test { full, args, .. } => test::run_tests(full, &args),
        Command::Bench(args) => bench::bench(&args),
        Command::Soak(args) => soak::soak(&args),
        Command::E2e { server } => e2e::run_e2e(server),
        Command::Fuzz(args) => fuzz::fuzz(&args),
        Command::Image(args) => image::image(&args),
        Command::Differential => differential::compare(),
        Command::Model => model::check(),
        Command::Deny => deny::check(),
        Command::Advisories => deny::advisories(),
    }
}
