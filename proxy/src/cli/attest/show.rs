//! `colophon attest show`.

use super::super::term;
use super::{BAD, Bytes, bytes};
use anyhow::Context as _;
use clap::Args;
use colophon_attest::evidence::Bundle;
use colophon_attest::generate::{Ability, GenerateError, abilities, configfs, nsm, nvml, tpm};
use colophon_attest::{Collateral, Evidence, Question, verify};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, Args)]
pub(in crate::cli) struct ShowArgs {
    /// Nonce that the evidence has to answer: 32 bytes in hexadecimal [default: a random one]
    #[arg(long, value_name = "HEX", value_parser = bytes)]
    nonce: Option<Bytes>,
    /// Write the generated evidence as a bundle
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What came of one attempt.
struct Attempt {
    what: String,
    evidence: Result<Evidence, GenerateError>,
    /// What verifying it said, at this moment and without collateral from elsewhere.
    verified: Option<String>,
}

pub(super) fn run(args: &ShowArgs) -> anyhow::Result<ExitCode> {
    let nonce: [u8; 32] = match &args.nonce {
        Some(nonce) => {
            nonce.0.as_slice().try_into().map_err(|_| anyhow::anyhow!("--nonce: give 32 bytes, 64 digits"))?
        }
        None => {
            let mut nonce = [0; 32];
            getrandom::fill(&mut nonce).context("no random numbers")?;
            nonce
        }
    };
    let abilities = abilities();
    let attempts = attempts(nonce);
    if let Some(path) = &args.output {
        let evidence: Vec<_> =
            attempts.iter().filter_map(|attempt| attempt.evidence.as_ref().ok()).cloned().collect();
        // An empty bundle would look like evidence of something.
        if evidence.is_empty() {
            errln!("not written: {}: nothing here gave evidence", path.display());
        } else {
            let bundle = serde_json::to_vec_pretty(&Bundle::new(evidence, Collateral::default()))?;
            std::fs::write(path, bundle).with_context(|| format!("cannot write {}", path.display()))?;
        }
    }
    if args.json {
        print_json(&nonce, &abilities, &attempts);
    } else {
        print(&nonce, &abilities, &attempts);
    }
    let able = attempts.iter().any(|attempt| attempt.evidence.is_ok());
    Ok(if able { ExitCode::SUCCESS } else { ExitCode::from(BAD) })
}

/// Asks the confidential VM's kernel, every GPU, the enclave's module, and the TPM.
fn attempts(nonce: [u8; 32]) -> Vec<Attempt> {
    let mut report_data = [0; 64];
    report_data[..32].copy_from_slice(&nonce);
    let mut attempts =
        vec![Attempt::of("this machine (configfs-tsm)".into(), configfs::generate(&report_data), nonce)];
    match nvml::generate(nonce) {
        Ok(asked) => attempts.extend(
            asked
                .into_iter()
                .map(|gpu| Attempt::of(format!("GPU {} ({})", gpu.index, gpu.name), gpu.evidence, nonce)),
        ),
        Err(error) => attempts.push(Attempt::of("GPUs (NVML)".into(), Err(error), nonce)),
    }
    attempts.push(Attempt::of("Nitro enclave (NSM)".into(), nsm::generate(&report_data, &nonce), nonce));
    attempts.push(Attempt::of("Azure vTPM".into(), tpm::azure::generate(&nonce), nonce));
    // Of qualifying data not every TPM takes more than a digest.
    attempts.push(Attempt::of("TPM 2.0".into(), tpm::generate(&nonce), nonce));
    attempts
}

impl Attempt {
    fn of(what: String, evidence: Result<Evidence, GenerateError>, nonce: [u8; 32]) -> Attempt {
        let at = jiff::Timestamp::now().as_second();
        let question =
            Question { at: u64::try_from(at).unwrap_or(0), nonce: Some(&nonce), ..Question::default() };
        let verified = evidence.as_ref().ok().map(|evidence| {
            match verify(evidence, &Collateral::default(), &question) {
                Ok(report) => format!("verified: {}", report.about),
                Err(refusal) => format!("not verified: {refusal}"),
            }
        });
        Attempt { what, evidence, verified }
    }

    fn outcome(&self) -> String {
        match (&self.evidence, &self.verified) {
            (Err(error), _) => error.to_string(),
            (Ok(_), verified) => verified.clone().unwrap_or_default(),
        }
    }
}

fn print(nonce: &[u8; 32], abilities: &[Ability], attempts: &[Attempt]) {
    for ability in abilities {
        let mark = if ability.able { term::green("✓") } else { term::dim("-") };
        outln!("{mark} {:<14} {}", ability.platform.as_str(), term::safe_line(&ability.why));
    }
    outln!("Asked with the nonce {}:", hex::encode(nonce));
    for attempt in attempts {
        let mark = if attempt.evidence.is_ok() { term::green("✓") } else { term::dim("-") };
        outln!("{mark} {}: {}", term::safe_line(&attempt.what), term::safe_line(&attempt.outcome()));
    }
}

fn print_json(nonce: &[u8; 32], abilities: &[Ability], attempts: &[Attempt]) {
    let attempt = |attempt: &Attempt| {
        json!({
            "what": attempt.what,
            "generated": attempt.evidence.is_ok(),
            "outcome": attempt.outcome(),
            "evidence": attempt.evidence.as_ref().ok(),
        })
    };
    let attempts: Vec<Value> = attempts.iter().map(attempt).collect();
    outln!("{:#}", json!({"nonce": hex::encode(nonce), "can_prove": abilities, "attempts": attempts}));
}
