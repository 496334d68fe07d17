//! The command line: what was typed, and who does it.

// First: its macros print, for all modules here.
#[macro_use]
mod term;

mod account;
mod attest;
mod bypass;
mod demo;
mod demo_server;
mod erase;
mod export;
mod get;
mod key;
mod log;
mod model;
mod monitor;
mod policy;
mod proof;
mod prover;
mod receipt;
mod serve;
mod settings;
mod witness;

use crate::proofs::SANDBOX;
use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use std::process::ExitCode;

pub(crate) use self::term::progress_bar;
pub(crate) use self::witness::read_policy;

/// A transparent reverse proxy that gives every answer of an LLM server a colophon: who made it, from what, when.
///
/// A receipt shows which key committed to an answer's bytes, and, with timestamps, between which times. It never shows that they are
/// true.
#[derive(Debug, Parser)]
#[command(name = "colophon", version, propagate_version = true, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// See it work: a small text server, the proxy, a receipt, its verification, and a forgery refused
    Demo(demo::DemoArgs),
    /// Run the proxy in front of a model server
    Serve(Box<serve::ServeArgs>),
    /// Verify a receipt offline
    Verify(colophon_verify::cli::VerifyArgs),
    /// Fetch receipts
    #[command(subcommand)]
    Receipt(receipt::ReceiptCommand),
    /// Check or show a log folder
    #[command(subcommand)]
    Log(log::LogCommand),
    /// Follow logs from outside: consistency, forks, gaps, silence, broken promises
    Monitor(monitor::MonitorArgs),
    /// Cosign the checkpoints of other logs, as a witness (c2sp.org/tlog-witness)
    Witness(witness::WitnessArgs),
    /// Delete what opens records, for good, and log that it was done
    ///
    /// Works on the data folder, or through the admin side of the process that runs on it. The log and all receipts
    /// handed out stay valid.
    Erase(Box<erase::EraseArgs>),
    /// Break glass: for a while, let go on unrecorded what cannot be recorded; with neither --for nor --end, say what is
    /// in force
    Bypass(bypass::BypassArgs),
    /// Look at policies
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
    /// Verify evidence of trusted execution environments, and pin what is known to be good
    #[command(subcommand)]
    Attest(Box<attest::AttestCommand>),
    /// Certify models, and check that files are those that were certified
    #[command(subcommand)]
    Model(Box<model::ModelCommand>),
    /// Ask for proofs about records, and look at their jobs
    #[command(subcommand)]
    Proof(proof::ProofCommand),
    /// Work on the proof jobs of a `colophon serve`, here or elsewhere
    Prover(Box<prover::ProverArgs>),
    /// Make and show keys
    #[command(subcommand)]
    Key(key::KeyCommand),
}

/// Exit code for anything that went wrong but bad receipts (1) and wrong usage (2).
const FAILED: u8 = 1;

/// Exit code of the sandbox where the prover's program was not run.
const NOT_RUN: u8 = 125;

/// Exit code for settings that cannot be used, as clap's for flags, and for files that cannot be read.
const USAGE: u8 = 2;

/// Parses the command line, with the settings of `--config` as defaults, and runs it.
pub fn main() -> ExitCode {
    let mut command = Cli::command();
    let args: Vec<std::ffi::OsString> = std::env::args_os().collect();
    // Not for people: a prover's program runs behind it, and none of its arguments are this program's.
    if let [_, word, rest @ ..] = args.as_slice()
        && word == SANDBOX
    {
        return sandbox(rest);
    }
    if let Some(path) = settings::file(&args) {
        command = match settings::apply(command, &path) {
            Ok(command) => command,
            Err(error) => {
                term::error(&error);
                return ExitCode::from(USAGE);
            }
        };
    }
    match Cli::from_arg_matches(&command.get_matches_from(args)) {
        Ok(cli) => run(cli),
        Err(error) => error.exit(),
    }
}

/// Runs what was typed.
fn run(cli: Cli) -> ExitCode {
    let (changes, judges) = (cli.command.changes(), cli.command.judges());
    let done = match cli.command {
        Command::Demo(args) => runtime(demo::run(args)),
        Command::Serve(args) => runtime(serve::run(*args)),
        Command::Verify(args) => return colophon_verify::cli::run(&args),
        Command::Receipt(command) => runtime(receipt::run(command)),
        Command::Log(command) => runtime(log::run(command)),
        Command::Monitor(args) => runtime(monitor::run(args)),
        Command::Witness(args) => runtime(witness::run(args)),
        Command::Erase(args) => runtime(erase::run(*args)),
        Command::Bypass(args) => runtime(bypass::run(args)),
        Command::Policy(command) => policy::run(command),
        Command::Attest(command) => attest::run(*command),
        Command::Model(command) => model::run(*command),
        Command::Proof(command) => runtime(proof::run(command)),
        Command::Prover(args) => runtime(prover::run(*args)),
        Command::Key(command) => key::run(command),
    };
    let (code, changed) = match done {
        Ok(code) => (code, changes),
        Err(error) => {
            term::error(&error);
            (ExitCode::from(if judges && is_unreadable(&error) { USAGE } else { FAILED }), false)
        }
    };
    match term::output::end() {
        Ok(()) => code,
        Err(error) => {
            let error = anyhow::Error::new(error).context("cannot write to standard output");
            let all_the_same =
                anyhow::anyhow!("{}; what was asked for was done all the same", term::causes(&error));
            term::error(if changed { &all_the_same } else { &error });
            ExitCode::from(FAILED)
        }
    }
}

/// Whether a file could not be read, rather than that what it says is no good.
fn is_unreadable(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| cause.is::<std::io::Error>())
}

impl Command {
    /// Whether its exit code 1 is a judgement on what it was given: what it could not read, it has not judged.
    fn judges(&self) -> bool {
        match self {
            Command::Attest(command) => matches!(**command, attest::AttestCommand::Verify(_)),
            Command::Model(command) => matches!(**command, model::ModelCommand::Check(_)),
            Command::Policy(_) => true,
            _ => false,
        }
    }

    /// Whether something may be changed once it has run: who cannot read what came of it should not ask for it again.
    fn changes(&self) -> bool {
        match self {
            Command::Erase(_) | Command::Bypass(_) => true,
            Command::Attest(command) => matches!(**command, attest::AttestCommand::Pin(_)),
            Command::Key(command) => {
                use key::KeyCommand::{Generate, Revoke, Rewrap, Rotate};
                matches!(command, Generate { .. } | Revoke(_) | Rewrap(_) | Rotate(_))
            }
            Command::Log(command) => matches!(command, log::LogCommand::Index(_)),
            Command::Model(command) => !matches!(**command, model::ModelCommand::Check(_)),
            Command::Proof(command) => !matches!(command, proof::ProofCommand::Show(_)),
            Command::Receipt(command) => matches!(command, receipt::ReceiptCommand::Export(_)),
            Command::Demo(_) | Command::Serve(_) | Command::Verify(_) | Command::Monitor(_) => false,
            Command::Witness(_) | Command::Policy(_) | Command::Prover(_) => false,
        }
    }
}

/// Becomes a prover's program, held.
fn sandbox(arguments: &[std::ffi::OsString]) -> ExitCode {
    match colophon_provers::sandbox::enter(arguments) {
        Ok(code) => code.into(),
        Err(error) => {
            term::error(&error.into());
            ExitCode::from(NOT_RUN)
        }
    }
}

fn runtime(work: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(work)
}

#[cfg(test)]
mod tests;
