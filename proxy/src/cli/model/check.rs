//! `colophon model check`.

use super::print_circuits;
use crate::cli::term;
use crate::model::{compare, read_authority, read_certificate, refusal};
use clap::Args;
use colophon_signer::model::{Difference, ModelCertificate};
use colophon_verify::cli::parse_time;
use colophon_verify::time;
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;

/// As for receipts.
const BAD: u8 = 1;
const CONSISTENT: u8 = 3;

#[derive(Debug, Args)]
pub(in crate::cli) struct CheckArgs {
    /// The model's folder
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// The certificate: Colophon's, or a signature that `model_signing sign key` made
    #[arg(long, value_name = "FILE")]
    cert: PathBuf,
    /// Whom to believe: an authority's file, or the PEM of a public key; from a source other than the certificate
    #[arg(long, value_name = "FILE")]
    authority: Option<PathBuf>,
    /// The time it is judged at
    #[arg(long, value_name = "TIME", default_value = "now", value_parser = parse_time)]
    at: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let (_, certificate) = read_certificate(&args.cert)?;
    let issuer = certificate.terms.as_ref().map_or("the key given", |terms| &terms.issuer);
    let authority = args.authority.as_deref().map(|path| read_authority(path, issuer)).transpose()?;
    // Before the files are read, which may take long.
    let refused = authority.as_ref().and_then(|authority| match authority.signed(&certificate) {
        Err(error) => Some(error.to_string()),
        Ok(()) => refusal(&authority.standing(&certificate, args.at)),
    });
    let differences = match &refused {
        Some(_) => Vec::new(),
        None => compare(&certificate, &args.folder, None, &AtomicBool::new(false))?.1,
    };
    let (verdict, code) = match () {
        () if refused.is_some() || !differences.is_empty() => ("bad", BAD),
        () if authority.is_none() => ("consistent-not-trusted", CONSISTENT),
        () => ("certified", 0),
    };
    if args.json {
        print_json(&certificate, verdict, refused.as_deref(), &differences);
    } else {
        print(&certificate, verdict, refused.as_deref(), &differences);
    }
    Ok(ExitCode::from(code))
}

fn print(certificate: &ModelCertificate, verdict: &str, refused: Option<&str>, differences: &[Difference]) {
    let shown = |text: &str| term::safe_line(text);
    outln!("model       {}", shown(certificate.name()));
    match &certificate.terms {
        Some(terms) => {
            outln!("version     {}", shown(&terms.version));
            outln!("issuer      {}", shown(&terms.issuer));
            outln!("valid       {} to {}", time(terms.not_before), time(terms.not_after));
            print_circuits(terms);
            if let Some(spec) = &terms.attestation {
                outln!("machines    {}", shown(&spec.to_string()));
            }
        }
        None => outln!(
            "issuer      not said: a plain Model Signing signature, which has no version and never expires"
        ),
    }
    outln!("certificate {}", hex::encode(certificate.digest()));
    outln!("files       {}", certificate.manifest.files().len());
    if !certificate.manifest.ignored.is_empty() {
        outln!("left out    {}", shown(&certificate.manifest.ignored.join(", ")));
    }
    if let Some(why) = refused {
        outln!("{} {}; its files were not read", term::refused("BAD:"), shown(why));
    }
    for difference in differences {
        outln!("{} {}", term::refused("BAD:"), shown(&difference.to_string()));
    }
    match verdict {
        "certified" => {
            outln!("{}: the files are those that this authority certified", term::green("CERTIFIED"))
        }
        "bad" => {}
        _ => outln!(
            "CONSISTENT, NOT TRUSTED: the files are those of the certificate; whose it is, nobody said (--authority)"
        ),
    }
}

fn print_json(
    certificate: &ModelCertificate,
    verdict: &str,
    refused: Option<&str>,
    differences: &[Difference],
) {
    let terms = certificate.terms.as_ref().map(|terms| {
        json!({"version": terms.version, "issuer": terms.issuer, "not_before": terms.not_before,
               "not_after": terms.not_after, "circuits": terms.circuits,
               "attestation": terms.attestation})
    });
    let report = json!({
        "verdict": verdict,
        "certificate": hex::encode(certificate.digest()),
        "name": certificate.name(),
        "terms": terms,
        "files": certificate.manifest.files().len(),
        "ignored": certificate.manifest.ignored,
        "refused": refused,
        "differences": differences.iter().map(ToString::to_string).collect::<Vec<_>>(),
    });
    outln!("{report}");
}
