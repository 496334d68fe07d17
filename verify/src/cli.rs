//! The command line of `colophon verify` and `colophon-verify`: files in, text or JSON out, an exit code.
//!
//! Exit codes: 0 trusted, 1 bad, 2 wrong usage or a file that cannot be read, 3 consistent but not trusted.

use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::builder::NonEmptyStringValueParser;
use colophon_receipt::canonical;
use colophon_receipt::receipt::MAX_BYTES;
use colophon_signer::drand::{Chain, MAX_ROUND, Round};
use colophon_signer::model::certificate;

use self::model::ModelFolder;
use self::prover::ProverCommand;
use crate::text::{line, quoted};
use crate::{Bodies, Body, BodyReader, Report, Side, Trust, Verdict, checks, trust};

mod folder;
mod model;
mod other;
pub(crate) mod print;
mod prover;

/// A policy's canonical text is no longer than this.
const MAX_POLICY: usize = 8 << 20;

/// Wrong usage, or a file that cannot be read.
const USAGE: u8 = 2;

/// What to verify, and against what.
#[derive(clap::Args, Clone, Debug)]
pub struct VerifyArgs {
    /// The receipt's file; `-` is standard input. An export (a folder, or `.tar.zst`) is verified as a whole
    #[arg(value_name = "RECEIPT")]
    pub receipt: PathBuf,
    /// Trust file (log keys and what to require), from a source other than the receipt; without it the best result is
    /// "consistent, not trusted"
    #[arg(long, value_name = "FILE")]
    pub trust: Option<PathBuf>,
    /// Your copy of the request: its body, or a saved HTTP message
    #[arg(long, value_name = "FILE")]
    pub request: Option<PathBuf>,
    /// Your copy of the response: its body, or a saved HTTP message such as `curl -i` writes
    #[arg(long, value_name = "FILE")]
    pub response: Option<PathBuf>,
    /// The text of the policy that was in force, such as `policy/<digest>.json` of an export: shows the rule that decided
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// The request as an object of your client library, in JSON; its bytes need not be those that were sent
    #[arg(long, value_name = "FILE")]
    pub request_message: Option<PathBuf>,
    /// The answer likewise: what your client library gave, streamed or not
    #[arg(long, value_name = "FILE")]
    pub message: Option<PathBuf>,
    /// The model certificate that the record names, from its issuer or `/.well-known/colophon/models/<digest>`; the trust file
    /// says whose count
    #[arg(long, value_name = "FILE")]
    pub model_cert: Option<PathBuf>,
    /// The round of public randomness (drand) that draws the record, as a drand server answers …/CHAIN/public/ROUND; the
    /// check `draw` says which. A receipt fetched later has it
    #[arg(long, value_name = "FILE")]
    pub round: Option<PathBuf>,
    /// The drand chain whose rounds you believe, as a drand server describes it (…/CHAIN/info) [default: quicknet]
    #[arg(long, value_name = "FILE")]
    pub drand_chain: Option<PathBuf>,
    /// Your own program that looks at a proof in the receipt, by the prover protocol (docs/PROVERS.md), such as
    /// `python3 prover.py --circuits DIR`; split at spaces
    #[arg(long, value_name = "COMMAND")]
    pub prover_cmd: Option<String>,
    /// The model certificate that a proof in the receipt names, if it is another than the record's: the proof has to be under
    /// the circuit, the model and the SRS that it names
    #[arg(long, value_name = "FILE")]
    pub circuit_cert: Option<PathBuf>,
    /// The folder of the model that a proof is about, as it was certified: its tokenizer.json and chat template read the token
    /// ids of your --request and --response
    #[arg(long, value_name = "DIR")]
    pub model: Option<PathBuf>,
    /// Let proofs count whose parameters were made by who could forge them: for tests
    #[arg(long)]
    pub allow_local_setup: bool,
    /// The nonce that you sent as Colophon-Client-Nonce
    #[arg(long, value_name = "TEXT", value_parser = NonEmptyStringValueParser::new())]
    pub nonce: Option<String>,
    /// Your time: `now`, RFC 3339 or Unix seconds; refuse what claims to be later
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub at: Option<u64>,
    /// Look at simulated evidence too: for tests. It counts for `sign` at most
    #[arg(long)]
    pub allow_simulated: bool,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
}

/// Verifies and prints; the exit code says the result.
pub fn run(args: &VerifyArgs) -> ExitCode {
    let mut out = io::stdout();
    let colour = out.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    ExitCode::from(run_to(args, colour, &mut out, &mut io::stderr()))
}

/// The same with the outputs given. A closed output does not change the verdict.
fn run_to(args: &VerifyArgs, colour: bool, out: &mut impl Write, err: &mut impl Write) -> u8 {
    if folder::is_export(&args.receipt) {
        return folder::run_to(args, colour, out, err);
    }
    match report(args) {
        Err(error) => {
            let _ = writeln!(err, "error: {error}");
            USAGE
        }
        Ok((report, hint)) => {
            let text = if args.json { json(&report) } else { print::human(&report, colour) };
            if !put(&text, out, err) {
                return USAGE;
            }
            for option in without_effect(args, &report) {
                let _ = writeln!(err, "note: {option}");
            }
            if report.result == Verdict::Bad {
                let names: Vec<&str> = report.failed().map(|check| check.name).collect();
                let _ = writeln!(err, "error: this receipt is bad: {} failed", names.join(", "));
                if let Some(hint) = hint.filter(|_| names.contains(&checks::RECEIPT_FORM)) {
                    let _ = writeln!(err, "hint: {hint}");
                }
            }
            report.result.exit_code()
        }
    }
}

/// Writes a report, and says whether it could be: one that is lost must not look like a good one. Who closes the output wants no
/// more of it, and gets the verdict as exit code.
fn put(text: &str, out: &mut impl Write, err: &mut impl Write) -> bool {
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            let _ = writeln!(err, "error: cannot write the report: {error}");
            false
        }
        _ => true,
    }
}

/// Options that asked for something that this receipt has not.
fn without_effect(args: &VerifyArgs, report: &Report) -> Vec<String> {
    let had = [
        ("--prover-cmd", args.prover_cmd.is_some(), report.proof.is_some(), "no proof"),
        ("--circuit-cert", args.circuit_cert.is_some(), report.proof.is_some(), "no proof"),
        ("--model", args.model.is_some(), report.proof.is_some(), "no proof"),
        ("--round", args.round.is_some(), report.draw.is_some(), "no draw"),
        ("--drand-chain", args.drand_chain.is_some(), report.draw.is_some(), "no draw"),
        (
            "--model-cert",
            args.model_cert.is_some(),
            report.proof.is_some()
                || report.upstream.is_some()
                || report.model.as_ref().is_some_and(|model| model.certificate.is_some()),
            "no model certificate",
        ),
    ];
    // Of a bad receipt nothing is told but what failed.
    let idle = had.iter().filter(|(_, given, is, _)| report.result != Verdict::Bad && *given && !is);
    idle.map(|(option, _, _, none)| format!("{option} had no effect: this receipt has {none}")).collect()
}

fn json(report: &Report) -> String {
    let text =
        serde_json::to_string_pretty(report).unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}"));
    text + "\n"
}

/// The report, and what to say if the file is no receipt.
fn report(args: &VerifyArgs) -> Result<(Report, Option<&'static str>), String> {
    let files = [
        Some(&args.receipt),
        args.trust.as_ref(),
        args.request.as_ref(),
        args.response.as_ref(),
        args.policy.as_ref(),
        args.model_cert.as_ref(),
        args.circuit_cert.as_ref(),
        args.request_message.as_ref(),
        args.message.as_ref(),
        args.round.as_ref(),
        args.drand_chain.as_ref(),
    ];
    if files.iter().flatten().filter(|path| path.as_os_str() == "-").count() > 1 {
        return Err("only one file can come from standard input (`-`)".into());
    }
    // One byte more than allowed, so that the verifier sees that it is too long.
    let receipt = read(&args.receipt, MAX_BYTES + 1, "the receipt")?;
    if other::is_trust_file(&receipt) {
        let path = shown(&args.receipt);
        return Err(format!(
            "{path} is a trust file; the receipt comes first, and the trust file after --trust"
        ));
    }
    let trust = read_trust(args)?;
    let body = |path: &Option<PathBuf>, side, what| {
        path.as_ref().map(|path| read_body(path, side, what)).transpose()
    };
    let object = |path: &Option<PathBuf>, what| {
        path.as_ref().map(|path| read(path, canonical::MAX_TEXT + 1, what)).transpose()
    };
    let bodies = Bodies {
        request: body(&args.request, Side::Request, "the request")?,
        response: body(&args.response, Side::Response, "the response")?,
        request_message: object(&args.request_message, "the request's object")?,
        message: object(&args.message, "the answer's object")?,
        nonce: args.nonce.clone().map(String::into_bytes),
        round: read_round(args)?,
        chain: read_chain(args)?,
        prover: match &args.prover_cmd {
            Some(command) => Some(Arc::new(ProverCommand::new(command)?)),
            None => None,
        },
        model: read_certificate(&args.model_cert, "the model certificate")?,
        circuit: read_certificate(&args.circuit_cert, "the circuit's certificate")?,
        tokens: match &args.model {
            Some(folder) => Some(Arc::new(ModelFolder::open(folder)?)),
            None => None,
        },
        policy: args.policy.as_deref().map(|path| read(path, MAX_POLICY, "the policy")).transpose()?,
    };
    Ok((crate::verify(&receipt, trust.as_ref(), &bodies, args.at), other::hint(&receipt)))
}

fn read_certificate(path: &Option<PathBuf>, what: &str) -> Result<Option<Vec<u8>>, String> {
    path.as_deref().map(|path| read(path, certificate::MAX_BYTES + 1, what)).transpose()
}

/// The round of randomness, if one was named.
fn read_round(args: &VerifyArgs) -> Result<Option<Round>, String> {
    let Some(path) = &args.round else { return Ok(None) };
    let file = read(path, MAX_ROUND + 1, "the round")?;
    Round::parse(&file).map(Some).map_err(|error| format!("{}: {}", shown(path), line(&error.to_string())))
}

/// Its chain, if one was named.
fn read_chain(args: &VerifyArgs) -> Result<Option<Chain>, String> {
    let Some(path) = &args.drand_chain else { return Ok(None) };
    let file = read(path, MAX_ROUND + 1, "the drand chain")?;
    Chain::from_info(&file)
        .map(Some)
        .map_err(|error| format!("{}: {}", shown(path), line(&error.to_string())))
}

/// The trust file, if one was named.
fn read_trust(args: &VerifyArgs) -> Result<Option<Trust>, String> {
    let Some(path) = &args.trust else { return Ok(None) };
    let file = read(path, trust::MAX_BYTES + 1, "the trust file")?;
    let hint = "it should be the JSON that the log's owner publishes, such as /.well-known/colophon/keys";
    let mut trust = Trust::from_json(&file)
        .map_err(|error| format!("the trust file {}: {}; {hint}", shown(path), line(&error.to_string())))?;
    trust.allow_simulated = args.allow_simulated;
    trust.allow_local_setup = args.allow_local_setup;
    Ok(Some(trust))
}

fn read(path: &Path, max: usize, what: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    open(path)
        .and_then(|file| file.take(max as u64).read_to_end(&mut bytes))
        .map_err(|error| cannot_read(path, what, &error))?;
    Ok(bytes)
}

fn read_body(path: &Path, side: Side, what: &str) -> Result<Body, String> {
    let failed = |error: io::Error| cannot_read(path, what, &error);
    let mut file = open(path).map_err(failed)?;
    let mut reader = BodyReader::new(side);
    let mut buffer = vec![0; 64 << 10];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(reader.finish()),
            Ok(n) => reader.update(&buffer[..n]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(failed(error)),
        }
    }
}

fn open(path: &Path) -> io::Result<Box<dyn Read>> {
    Ok(if path.as_os_str() == "-" { Box::new(io::stdin()) } else { Box::new(File::open(path)?) })
}

fn cannot_read(path: &Path, what: &str, error: &io::Error) -> String {
    let hint = match error.kind() {
        io::ErrorKind::NotFound => "; check the path",
        io::ErrorKind::IsADirectory => "; give a file in it",
        io::ErrorKind::PermissionDenied => "; check who may read it",
        _ => "",
    };
    format!("cannot read {what} {}: {error}{hint}", shown(path))
}

fn shown(path: &Path) -> String {
    quoted(path.to_string_lossy().as_bytes())
}

/// A time as people type it (`now`, RFC 3339, a date, Unix seconds), in µs since the epoch.
///
/// # Errors
/// With a sentence for the user, when it is none of these.
pub fn parse_time(text: &str) -> Result<u64, String> {
    let midnight = |date: jiff::civil::Date| date.to_zoned(jiff::tz::TimeZone::UTC).ok();
    let micros = match text.parse::<u64>() {
        _ if text == "now" => Some(jiff::Timestamp::now().as_microsecond()),
        Ok(seconds) => seconds.checked_mul(1_000_000).and_then(|micros| i64::try_from(micros).ok()),
        Err(_) => match text.parse::<jiff::Timestamp>() {
            Ok(time) => Some(time.as_microsecond()),
            Err(_) if text.len() > DATE => None,
            Err(_) => text.parse().ok().and_then(midnight).map(|time| time.timestamp().as_microsecond()),
        },
    };
    micros.and_then(|micros| u64::try_from(micros).ok()).ok_or_else(|| {
        "not a time: give `now`, RFC 3339 (2026-11-23T05:00:00Z), a date (UTC) or Unix seconds".into()
    })
}

/// `2026-11-23` has this many characters; a longer text with a date in it says more than that.
const DATE: usize = 10;

#[cfg(test)]
mod tests;
