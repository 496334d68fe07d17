//! `colophon attest`: evidence of trusted execution environments.

mod print;
mod show;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use colophon_attest::evidence::Bundle;
use colophon_attest::simulate::DEFAULT_SEED;
use colophon_attest::{Collateral, Policy, Question, Results, SimulatedRoots, verify_bundle};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Genuine, but nobody said that it is the right machine (as for receipts).
const CONSISTENT: u8 = 3;
/// Refused.
const BAD: u8 = 1;

#[derive(Debug, Subcommand)]
pub(super) enum AttestCommand {
    /// Verify evidence offline: a quote, report, document or token, or a bundle of them
    ///
    /// Exit codes: 0 genuine and as the policy says, 1 refused, 2 wrong usage or a file that cannot be read, 3 genuine, but
    /// no --policy said what it has to measure.
    Verify(VerifyArgs),
    /// Say what this machine can prove, and why not the rest
    ///
    /// With --output its evidence is generated and written as a bundle. Exit codes: 0 it can prove something, 1 nothing.
    Show(show::ShowArgs),
    /// Write a policy that accepts what known-good evidence says
    Pin(PinArgs),
}

#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    #[command(flatten)]
    evidence: EvidenceArgs,
    /// Attestation policy (YAML): reference values, TCB floors, ages
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct PinArgs {
    #[command(flatten)]
    evidence: EvidenceArgs,
    /// The policy's name
    #[arg(long, default_value = "pinned")]
    name: String,
    /// File to write [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct EvidenceArgs {
    /// The evidence: raw, hexadecimal, NVIDIA's JSON, a token, or a Colophon bundle; - for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// What its verification needs: Intel's collateral (JSON), certificates and revocation lists (PEM or DER), JWK set;
    /// more than once if need be
    #[arg(long, value_name = "FILE")]
    collateral: Vec<PathBuf>,
    /// The time it is judged at: `now`, RFC 3339, a date or Unix seconds
    #[arg(long, value_name = "TIME", default_value = "now", value_parser = colophon_verify::cli::parse_time)]
    at: u64,
    /// The nonce it has to answer, in hexadecimal
    #[arg(long, value_name = "HEX", value_parser = bytes)]
    nonce: Option<Bytes>,
    /// The report data (Nitro: user data, TPM: qualifying data) it has to hold, in hexadecimal
    #[arg(long, value_name = "HEX", value_parser = bytes)]
    report_data: Option<Bytes>,
    /// Accept simulated evidence and software TPMs, as `sign` at most: for tests
    #[arg(long)]
    allow_simulated: bool,
}

/// Bytes typed in hexadecimal.
#[derive(Clone, Debug)]
struct Bytes(Vec<u8>);

fn bytes(text: &str) -> Result<Bytes, String> {
    hex::decode(text).map(Bytes).map_err(|error| format!("not hexadecimal: {error}"))
}

pub(super) fn run(command: AttestCommand) -> anyhow::Result<ExitCode> {
    match command {
        AttestCommand::Verify(args) => {
            let policy = args.policy.as_deref().map(read_policy).transpose()?;
            let results = args.evidence.verify(policy.as_ref())?;
            Ok(print::results(&results, policy.as_ref(), args.json))
        }
        AttestCommand::Show(args) => show::run(&args),
        AttestCommand::Pin(args) => pin(&args),
    }
}

fn pin(args: &PinArgs) -> anyhow::Result<ExitCode> {
    let results = args.evidence.verify(None)?;
    let mut reports = Vec::new();
    for result in results.pieces {
        reports.push(result.map_err(|refusal| {
            anyhow::anyhow!("nothing is pinned from evidence that is refused: {refusal}")
        })?);
    }
    let policy = colophon_attest::policy::pin(&args.name, &reports);
    Policy::from_yaml(&policy).context("what was written is not a policy")?;
    match &args.output {
        Some(path) => {
            std::fs::write(path, policy).with_context(|| format!("cannot write {}", path.display()))?
        }
        None => out!("{policy}"),
    }
    Ok(ExitCode::SUCCESS)
}

impl EvidenceArgs {
    fn verify(&self, policy: Option<&Policy>) -> anyhow::Result<Results> {
        let bundle = Bundle::read(&read(&self.file, colophon_attest::evidence::MAX_BYTES)?)
            .with_context(|| format!("{}", self.file.display()))?;
        let mut collateral = Collateral::default();
        for path in &self.collateral {
            let bytes = read(path, colophon_attest::collateral::MAX_BYTES)?;
            collateral.extend(Collateral::read(&bytes).with_context(|| format!("{}", path.display()))?);
        }
        let simulated = self.allow_simulated.then(|| SimulatedRoots::of_seed(DEFAULT_SEED));
        let question = Question {
            at: self.at / 1_000_000,
            nonce: self.nonce.as_ref().map(|nonce| nonce.0.as_slice()),
            report_data: self.report_data.as_ref().map(|data| data.0.as_slice()),
            policy,
            simulated: simulated.as_ref(),
        };
        Ok(verify_bundle(&bundle, &collateral, &question))
    }
}

fn read_policy(path: &Path) -> anyhow::Result<Policy> {
    let text = String::from_utf8(read(path, colophon_attest::policy::MAX_BYTES)?)
        .with_context(|| format!("{} is not text", path.display()))?;
    Policy::from_yaml(&text).with_context(|| format!("{}", path.display()))
}

fn read(path: &Path, max: usize) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let failed = || format!("cannot read {}", path.display());
    if path.as_os_str() == "-" {
        std::io::stdin().take(max as u64 + 1).read_to_end(&mut bytes).with_context(failed)?;
    } else {
        std::fs::File::open(path)
            .and_then(|file| file.take(max as u64 + 1).read_to_end(&mut bytes))
            .with_context(failed)?;
    }
    Ok(bytes)
}
