//! `colophon-verify`: the offline verifier as a small program of its own, in portable Rust.

use std::process::ExitCode;

use clap::Parser;
use colophon_verify::cli::{VerifyArgs, run};

/// Verify a Colophon receipt offline: what it proves, what it does not, by which key.
///
/// Exit codes: 0 trusted, 1 bad, 2 wrong usage or unreadable file, 3 consistent but not trusted.
#[derive(Parser)]
#[command(name = "colophon-verify", version, verbatim_doc_comment)]
struct Cli {
    #[command(flatten)]
    verify: VerifyArgs,
}

fn main() -> ExitCode {
    run(&Cli::parse().verify)
}
