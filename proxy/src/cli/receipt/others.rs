//! One receipt in the forms of others' tools: an RFC 9943 Transparent Statement with an RFC 9942 COSE Receipt, or an
//! in-toto Statement in a DSSE envelope. Both are new signatures by whoever runs this, over what the receipt was verified
//! to show: nothing is signed that does not verify against a trust file.

use super::super::term;
use crate::files;
use anyhow::Context as _;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use clap::ValueEnum;
use colophon_receipt::checkpoint::{Checkpoint, TlogProof};
use colophon_receipt::fields::{self, BodyDigest};
use colophon_receipt::merkle::{leaf_hash, sha256};
use colophon_receipt::receipt::{Field, MAX_BYTES, Receipt};
use colophon_receipt::record::{RecordLeaf, decode_field};
use colophon_signer::cose::receipt::transparent;
use colophon_signer::dsse::{IN_TOTO, pae};
use colophon_signer::note::Note;
use colophon_signer::{KeySource, Signer};
use colophon_verify::{Bodies, Report, Trust, Verdict};
use serde_json::{Value, json};
use std::path::Path;
use std::process::ExitCode;

/// What an export is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// A folder or archive with the receipts of an interval
    Folder,
    /// One receipt's statement with a COSE Receipt (RFC 9942, 9943)
    Cose,
    /// One receipt as an in-toto Statement in a DSSE envelope
    Dsse,
}

/// The in-toto Statement's own type, and that of our predicate.
const STATEMENT: &str = "https://in-toto.io/Statement/v1";
const PREDICATE: &str = "https://colophon.dev/receipt/v1";

/// Writes one receipt in another form.
pub(super) fn write(
    receipt: &Path,
    format: Format,
    trust: Option<&Path>,
    key: Option<&KeySource>,
    output: &Path,
) -> anyhow::Result<ExitCode> {
    let key = key.context("this form is a new signature: say with which key (--key)")?;
    let trust = trust.context("only what verifies is signed: say against which trust file (--trust)")?;
    let file = files::read(receipt, MAX_BYTES)?;
    let trust = Trust::from_json(&files::read(trust, colophon_verify::trust::MAX_BYTES)?)
        .context("the trust file")?;
    let report = colophon_verify::verify(&file, Some(&trust), &Bodies::default(), None);
    if report.result != Verdict::Trusted {
        let failed: Vec<&str> = report.failed().map(|check| check.name).collect();
        anyhow::bail!(
            "{} is not trusted, so nothing is signed: {}",
            receipt.display(),
            if failed.is_empty() {
                "what the trust file requires is missing".into()
            } else {
                failed.join(", ")
            }
        );
    }
    let signer = key.open()?;
    let read = Receipt::from_json(&file)?;
    let bytes = match format {
        Format::Cose => cose(&read, &report, &*signer)?,
        Format::Dsse | Format::Folder => dsse(&file, &read, &report, &*signer)?,
    };
    std::fs::write(output, bytes).with_context(|| format!("cannot write {}", output.display()))?;
    outln!("{}: {}", term::bold(&output.display().to_string()), whose(&report, &*signer));
    Ok(ExitCode::SUCCESS)
}

/// Who says what: the log itself only where the log's own key signed.
fn whose(report: &Report, signer: &dyn Signer) -> String {
    let kid = signer.public_key().key_id_hex();
    match is_log(report, signer) {
        true => format!("signed by the log's own key {kid}"),
        false => {
            format!("signed by {kid}, which is not the log's key: its holder says that the receipt verified")
        }
    }
}

fn is_log(report: &Report, signer: &dyn Signer) -> bool {
    let log =
        report.keys.log.as_ref().and_then(|vkey| vkey.parse::<colophon_signer::note::VerifierKey>().ok());
    log.is_some_and(|vkey| vkey.public_key() == Some(&signer.public_key()))
}

fn cose(receipt: &Receipt, report: &Report, signer: &dyn Signer) -> anyhow::Result<Vec<u8>> {
    let proof = TlogProof::parse(&receipt.log_proof)?;
    let head = Checkpoint::parse(Note::parse(&proof.checkpoint)?.text())?;
    let issuer = match is_log(report, signer) {
        true => head.origin.clone(),
        false => format!("colophon-export/{}", signer.public_key().key_id_hex()),
    };
    Ok(transparent(&receipt.statement.0, &proof, head.size, &head.root, &issuer, signer)?)
}

/// DSSE (github.com/secure-systems-lab/dsse, version 1.0.2): the signature is over `PAE(type, payload)`.
fn dsse(file: &[u8], receipt: &Receipt, report: &Report, signer: &dyn Signer) -> anyhow::Result<Vec<u8>> {
    let payload = serde_json::to_vec(&in_toto(file, receipt, report)?)?;
    let signature = signer.sign(&pae(IN_TOTO, &payload))?;
    let envelope = json!({
        "payloadType": IN_TOTO,
        "payload": BASE64_STANDARD.encode(&payload),
        "signatures": [
            {"keyid": signer.public_key().key_id_hex(), "sig": BASE64_STANDARD.encode(signature)},
        ],
    });
    Ok(format!("{envelope:#}\n").into_bytes())
}

/// The record and, where the receipt opens their digests, the bodies are the subjects.
fn in_toto(file: &[u8], receipt: &Receipt, report: &Report) -> anyhow::Result<Value> {
    let leaf = RecordLeaf::decode(&receipt.record.leaf.0)?;
    let id = report.record.clone().unwrap_or_default();
    let subject = |name: &str, digest: &[u8]| json!({"name": format!("{id}/{name}"), "digest": {"sha256": hex::encode(digest)}});
    let mut subjects = vec![subject("record-leaf", &leaf_hash(&receipt.record.leaf.0))];
    for (number, name) in [(fields::REQUEST_BODY, "request-body"), (fields::RESPONSE_BODY, "response-body")] {
        if let Some(body) = body(receipt, number) {
            subjects.push(subject(name, &body.digest));
        }
    }
    Ok(json!({
        "_type": STATEMENT,
        "subject": subjects,
        "predicateType": PREDICATE,
        "predicate": {
            "record": id,
            "receipt": {"sha256": hex::encode(sha256(file))},
            "log": report.log,
            "logKey": report.keys.log,
            "shard": report.shard,
            "outcome": leaf.outcome.as_str(),
            "claimedLevel": leaf.level.as_str(),
            "verifiedLevel": report.verified_level.map(|level| level.as_str()),
            "time": report.time,
            "uniqueness": report.uniqueness,
            "proven": report.proven,
            "notProven": report.not_proven,
        },
    }))
}

fn body(receipt: &Receipt, wanted: u8) -> Option<BodyDigest> {
    receipt.record.fields.iter().find_map(|field| match field {
        Field::Opened(opened) if opened.number == wanted => {
            let (_, value) = decode_field(&opened.value.0).ok()?;
            BodyDigest::read(&value).ok()
        }
        _ => None,
    })
}
