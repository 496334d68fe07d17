//! `colophon model`: who says that these files are that model.

mod check;

use super::term;
use crate::files;
use crate::model::{read_authority, read_certificate, read_folder};
use crate::proofs;
use anyhow::Context as _;
use clap::{Args, Subcommand};
use colophon_attest::{Policy, Speaks, policy};
use colophon_receipt::revocation::Reason;
use colophon_signer::ec::EcKey;
use colophon_signer::model::manifest::{GIT, is_name};
use colophon_signer::model::{Authority, Circuit, Manifest, ModelCertificate, ModelRevocation, Terms};
use colophon_verify::cli::parse_time;
use colophon_verify::time;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;

/// µs of a day.
const DAY: u64 = 86_400_000_000;

#[derive(Debug, Subcommand)]
pub(super) enum ModelCommand {
    /// Certify that the files of a folder are a model: an OpenSSF Model Signing signature with issuer and validity
    #[command(disable_version_flag = true)]
    Certify(CertifyArgs),
    /// Check a folder against a certificate, and the certificate against an authority
    ///
    /// Exit codes: 0 certified, 1 not what was certified, or a certificate that does not count, 2 wrong usage or a file that
    /// cannot be read, 3 the files are those of the certificate, but no --authority said whom to believe.
    Check(check::CheckArgs),
    /// Begin an authority: its key, if there is none yet, and the file that readers pin
    Authority(AuthorityArgs),
    /// Take a certificate back: adds a revocation to the authority's file, to be published again
    Revoke(RevokeArgs),
}

#[derive(Debug, Args)]
pub(super) struct CertifyArgs {
    /// The model's folder
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// The model's name
    #[arg(long, value_name = "NAME")]
    name: String,
    /// Which of that name
    #[arg(long, value_name = "VERSION")]
    version: String,
    /// The authority's private key: ECDSA on P-256 in PKCS#8 PEM, mode 0600
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The authority's file: its name is the issuer, and the key has to be one of it
    #[arg(long, value_name = "FILE")]
    authority: Option<PathBuf>,
    /// The issuer's name, without --authority [default: the key's id]
    #[arg(long, value_name = "NAME", conflicts_with = "authority")]
    issuer: Option<String>,
    /// Valid from then on: `now`, RFC 3339, a date or Unix seconds
    #[arg(long, value_name = "TIME", default_value = "now", value_parser = parse_time)]
    from: u64,
    /// Valid for so many days
    #[arg(long, value_name = "DAYS", default_value = "365", value_parser = clap::value_parser!(u64).range(1..=36_500))]
    days: u64,
    /// What evidence of machines that run this model has to say, signed with the rest: an attestation policy, as
    /// `attest pin` writes it
    #[arg(long, value_name = "FILE")]
    reference_values: Option<PathBuf>,
    /// A file or folder within DIR that is no part of the model; more than once if need be. Git's own are left out always
    #[arg(long, value_name = "PATH")]
    ignore: Vec<String>,
    /// Follow links to files within DIR instead of refusing them
    #[arg(long)]
    allow_symlinks: bool,
    /// A circuit directory made of a file of the model: proofs about the model have to be under its verifying key and its
    /// structured reference string. More than once if need be
    #[arg(long, value_name = "DIR")]
    circuit: Vec<PathBuf>,
    /// File to write
    #[arg(short, long, value_name = "FILE", default_value = "model.cert.json")]
    output: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct AuthorityArgs {
    /// File to write
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The authority's name
    #[arg(long, value_name = "NAME")]
    name: String,
    /// Its private key; made (mode 0600) if it is not there
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Verifier key of the log in which it publishes
    #[arg(long, value_name = "VKEY")]
    log: Option<colophon_signer::note::VerifierKey>,
}

#[derive(Debug, Args)]
pub(super) struct RevokeArgs {
    /// The certificate
    #[arg(value_name = "CERT")]
    certificate: PathBuf,
    /// The authority's file, which is written again
    #[arg(long, value_name = "FILE")]
    authority: PathBuf,
    /// The authority's private key
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Why: key-compromise, superseded, cessation-of-operation or unspecified
    #[arg(long, value_name = "REASON")]
    reason: Reason,
    /// From when on it does not count, if that is before now
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    from: Option<u64>,
}

pub(super) fn run(command: ModelCommand) -> anyhow::Result<ExitCode> {
    match command {
        ModelCommand::Certify(args) => certify(&args),
        ModelCommand::Check(args) => check::run(&args),
        ModelCommand::Authority(args) => authority(&args),
        ModelCommand::Revoke(args) => revoke(&args),
    }
}

fn certify(args: &CertifyArgs) -> anyhow::Result<ExitCode> {
    let key = open_key(&args.key)?;
    let public = key.public_key()?;
    let issuer = match (&args.authority, &args.issuer) {
        (Some(path), _) => {
            let authority = read_authority(path, "")?;
            anyhow::ensure!(
                authority.keys().contains(&public),
                "{} is not a key of {:?}",
                args.key.display(),
                authority.name()
            );
            authority.name().to_owned()
        }
        (None, Some(issuer)) => issuer.clone(),
        (None, None) => hex::encode(public.id()),
    };
    let terms =
        Terms::new(&args.name, &args.version, &issuer, args.from, args.from.saturating_add(args.days * DAY))?
            .with_attestation(args.reference_values.as_deref().map(read_reference_values).transpose()?);
    let read =
        read_folder(&args.folder, &ignored(args)?, args.allow_symlinks, None, &AtomicBool::new(false))?;
    let terms = terms.with_circuits(circuits(args, &read.manifest)?)?;
    let file = ModelCertificate::issue(&read.manifest, terms, &key)?;
    // Nobody should find a certificate that this program would refuse.
    let certificate = ModelCertificate::parse(&file)?;
    write(&args.output, &file)?;
    if args.json {
        outln!(
            "{}",
            json!({"certificate": hex::encode(certificate.digest()), "files": read.manifest.files().len()})
        );
    } else {
        let files = read.manifest.files().len();
        outln!(
            "{} {} files of {}",
            term::green("certified"),
            files,
            term::safe_line(&args.folder.display().to_string())
        );
        outln!("certificate {}", hex::encode(certificate.digest()));
        outln!("file        {}", term::safe_line(&args.output.display().to_string()));
        outln!("issuer      {}", term::safe_line(&issuer));
        if let Some(terms) = &certificate.terms {
            outln!("valid       {} to {}", time(terms.not_before), time(terms.not_after));
            print_circuits(terms);
            if let Some(spec) = &terms.attestation {
                outln!("machines    {}", term::safe_line(&spec.to_string()));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What the certificate says of circuits: their files are those that their descriptions name, made of a file of the model.
fn circuits(args: &CertifyArgs, manifest: &Manifest) -> anyhow::Result<Vec<Circuit>> {
    let mut circuits = Vec::new();
    for directory in &args.circuit {
        let circuit = proofs::Circuit::read(directory).and_then(|circuit| circuit.described(directory));
        let circuit = circuit.with_context(|| format!("--circuit {}", directory.display()))?;
        anyhow::ensure!(
            manifest.files().iter().any(|(_, digest)| hex::encode(digest) == circuit.model),
            "--circuit {}: it was made of a model with the digest {}, and no file of {} is that",
            directory.display(),
            circuit.model,
            args.folder.display()
        );
        circuits.push(circuit);
    }
    Ok(circuits)
}

/// The circuits that terms name, for people.
fn print_circuits(terms: &Terms) {
    for circuit in &terms.circuits {
        let local = match circuit.setup.as_str() {
            "ceremony" => "",
            _ => ", forgeable by its maker",
        };
        let (name, setup) = (term::safe_line(&circuit.name), term::safe_line(&circuit.setup));
        outln!("circuit     {name}: vk {}, srs {}, setup {setup}{local}", circuit.circuit, circuit.srs);
    }
}

/// The `spec` of an attestation policy. How an upstream is asked is no business of a model's authority.
fn read_reference_values(path: &Path) -> anyhow::Result<serde_json::Value> {
    let shown = || format!("--reference-values {}", path.display());
    let text = files::read_text(path, policy::MAX_BYTES).with_context(shown)?;
    let values = Policy::from_yaml(&text).with_context(shown)?;
    anyhow::ensure!(values.speaks() == Speaks::default(), "{}: `speaks` does not belong there", shown());
    Policy::spec_of(&text).with_context(shown)
}

/// What is no part of the model: Git's files, what was named, and the certificate itself.
fn ignored(args: &CertifyArgs) -> anyhow::Result<Vec<String>> {
    let mut ignored: Vec<String> = GIT.map(str::to_owned).into();
    for path in &args.ignore {
        anyhow::ensure!(is_name(path), "--ignore {path}: give a path within the model's folder");
        ignored.push(path.trim_end_matches('/').to_owned());
    }
    let folder = args.folder.canonicalize().with_context(|| args.folder.display().to_string())?;
    let output = std::path::absolute(&args.output)?;
    // Its folder exists, or writing it fails.
    let (parent, name) = (output.parent().and_then(|parent| parent.canonicalize().ok()), output.file_name());
    if let (Some(parent), Some(name)) = (parent, name)
        && let Ok(within) = parent.join(name).strip_prefix(&folder)
    {
        ignored.push(within.to_str().context("--output: its name is not UTF-8 text")?.to_owned());
    }
    Ok(ignored)
}

fn authority(args: &AuthorityArgs) -> anyhow::Result<ExitCode> {
    anyhow::ensure!(!args.file.exists(), "{} is there already", args.file.display());
    let made = !args.key.exists();
    let key = if made { EcKey::generate()? } else { open_key(&args.key)? };
    let mut authority = Authority::new(&args.name, &key.public_key()?)?;
    if let Some(log) = &args.log {
        authority.set_log(&log.to_string());
    }
    if made {
        key.save(&args.key).with_context(|| args.key.display().to_string())?;
        outln!(
            "{} {}; keep a copy in a safe place",
            term::green("made"),
            term::safe_line(&args.key.display().to_string())
        );
    }
    write(&args.file, &authority.to_json()?)?;
    outln!("authority   {}", term::safe_line(&args.name));
    outln!("key id      {}", hex::encode(key.public_key()?.id()));
    outln!("file        {}: readers pin it", term::safe_line(&args.file.display().to_string()));
    Ok(ExitCode::SUCCESS)
}

fn revoke(args: &RevokeArgs) -> anyhow::Result<ExitCode> {
    let (_, certificate) = read_certificate(&args.certificate)?;
    let mut authority = read_authority(&args.authority, "")?;
    // Nothing else is this authority's to take back.
    authority.signed(&certificate)?;
    let at = parse_time("now").map_err(anyhow::Error::msg)?;
    let from = args.from.unwrap_or(at);
    anyhow::ensure!(from <= at, "a certificate is revoked from now on or from an earlier time");
    let revocation = ModelRevocation { certificate: certificate.digest(), reason: args.reason, at, from };
    authority.revoke(revocation, &open_key(&args.key)?)?;
    write(&args.authority, &authority.to_json()?)?;
    outln!("{} {} from {}", term::green("revoked"), hex::encode(certificate.digest()), time(from));
    outln!(
        "publish     {} again: who has the old one does not know",
        term::safe_line(&args.authority.display().to_string())
    );
    Ok(ExitCode::SUCCESS)
}

fn open_key(path: &Path) -> anyhow::Result<EcKey> {
    EcKey::load(path).with_context(|| format!("--key {}", path.display()))
}

/// Whole or not at all.
fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    std::fs::write(&part, bytes)
        .and_then(|()| std::fs::rename(&part, path))
        .with_context(|| format!("cannot write {}", path.display()))
}
