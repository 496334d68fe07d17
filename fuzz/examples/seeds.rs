//! Writes seeds that are made, not recorded: evidence of the simulation, receipts, and files of the ledger.
//! `cargo run --manifest-path fuzz/Cargo.toml --example seeds`
use std::path::Path;

use colophon_attest::aci::Statement;
use colophon_attest::evidence::Bundle;
use colophon_attest::simulate::{DEFAULT_SEED, Faults, Simulation};
use colophon_attest::{Collateral, Document, Evidence, Keyset};
use colophon_ledger::batch;
use colophon_receipt::canonical::canonical;
use colophon_receipt::cbor::Value;
use colophon_receipt::merkle::sha256;
use colophon_receipt::record::{FieldSet, Record, RecordId, seal};
use colophon_receipt::{Level, Outcome};
use colophon_verify::testing::{Plan, Signing};

/// 2026-11-26.
const AT: u64 = 1_795_651_200;

fn main() -> std::io::Result<()> {
    evidence()?;
    evidence_files()?;
    told()?;
    tpm()?;
    receipts()?;
    ledger()
}

fn write(target: &str, name: &str, bytes: &[u8]) -> std::io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target);
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join(name), bytes)
}

/// The kind first, as the target reads it.
fn evidence() -> std::io::Result<()> {
    let simulation = Simulation::new(DEFAULT_SEED);
    let write = |name: &str, kind: u8, bytes: &[u8]| write("evidence", name, &[&[kind], bytes].concat());
    if let (Evidence::IntelQuote { quote }, _) = simulation.tdx([1; 64], AT, Faults::default()) {
        write("tdx", 0, &quote)?;
    }
    if let Evidence::SnpReport { report, certificates } = simulation.snp([1; 64], Faults::default()) {
        write("snp", 1, &report)?;
        if let Some(certificate) = certificates.first() {
            write("certificate", 7, certificate)?;
        }
    }
    for (name, evidence) in [
        ("hopper", simulation.hopper([1; 32], Faults::default())),
        ("nvswitch", simulation.nvswitch([1; 32], Faults::default())),
    ] {
        let Evidence::Nvidia { report, certificates } = evidence else { continue };
        write(name, 2, &report)?;
        let leaf = certificates.first().map_or(&[][..], Vec::as_slice);
        let parts = [&(report.len() as u16).to_le_bytes()[..], &report, leaf].concat();
        write(&format!("{name}-chain"), 11, &parts)?;
    }
    if let Evidence::Nitro { document } = simulation.nitro(&[1], &[2], AT, Faults::default()) {
        write("nitro", 3, &document)?;
    }
    // TPMS_ATTEST of a quote: magic, type, signer, extra data, clock, firmware, one bank of SHA-256, digest.
    let mut message = b"\xffTCG\x80\x18\x00\x02\x00\x0b\x00\x04\x01\x02\x03\x04".to_vec();
    message.extend([0; 25]);
    message.extend(b"\x00\x00\x00\x01\x00\x0b\x03\xff\xff\xff\x00\x20");
    message.extend([7; 32]);
    let mut signature = b"\x00\x18\x00\x0b\x00\x20".to_vec();
    signature.extend([1; 32]);
    signature.extend(b"\x00\x20");
    signature.extend([1; 32]);
    let mut log = vec![0; 8];
    log.extend(b"\x03\x00\x00\x00");
    log.extend([0; 20]);
    log.extend(b"\x25\x00\x00\x00Spec ID Event03\0\0\0\0\0\0\x02\0\x02\x01\0\0\0\x0b\0\x20\0\0");
    let part = |bytes: &[u8]| [&(bytes.len() as u16).to_le_bytes(), bytes].concat();
    let quote = [part(&message), part(&signature), part(&[0x30; 91]), part(&log)].concat();
    write("tpm", 4, &quote)?;
    let mut hcl = b"HCLA\x02\0\0\0".to_vec();
    hcl.resize(32 + 1184, 0);
    hcl.extend([0; 20]);
    hcl.extend(br#"{"keys":[{"kid":"HCLAkPub","kty":"RSA","e":"AQAB","n":"AQAB"}]}"#);
    write("azure", 5, &[part(&hcl), part(&[]), quote].concat())?;
    let gce = Bundle::read(include_bytes!("../../attest/recorded/tpm/gce.json")).map_err(std::io::Error::other)?;
    for evidence in gce.evidence {
        let Evidence::Tpm(quote) = evidence else { continue };
        write("event-log", 9, &quote.event_log.unwrap_or_default())?;
    }
    write("jwks", 10, include_bytes!("../../attest/recorded/token/maa_certs.json"))?;
    write("maa", 6, include_bytes!("../../attest/recorded/token/maa_sgx.jwt").trim_ascii())?;
    write("token", 6, b"eyJhbGciOiJSUzI1NiIsImtpZCI6ImEifQ.eyJpc3MiOiJhIiwiZXhwIjoxfQ.AAAA")
}

/// Answers in other forms, each with a quote that is about it.
fn told() -> std::io::Result<()> {
    const NONCE: [u8; 32] = [0x5a; 32];
    let simulation = Simulation::new(DEFAULT_SEED);
    let quote = |report_data: [u8; 64]| match simulation.tdx(report_data, AT, Faults::default()).0 {
        Evidence::IntelQuote { quote } => hex::encode(quote),
        _ => String::new(),
    };
    let keyset = serde_json::json!({
        "subject": null, "not_after": AT + 1, "receipt_signing_keys": [],
        "tls_public_keys": [{"spki_sha256": "07".repeat(32), "domain": "a.example"}],
    });
    let digest = sha256(&canonical(&keyset).map_err(std::io::Error::other)?);
    let statement = Statement { keyset_digest: digest, nonce: Some(hex::encode(NONCE)) };
    let aci = serde_json::json!({
        "api_version": "aci/1",
        "workload_keyset_digest": format!("sha256:{}", hex::encode(digest)),
        "attestation": {"tee_type": "tdx", "workload_keyset": keyset, "report_data": "",
                        "evidence": {"quote": quote(statement.report_data().map_err(std::io::Error::other)?)}},
    });
    write("told", "aci", &[&[0], aci.to_string().as_bytes()].concat())?;
    let mut data = [0; 64];
    data[..32].copy_from_slice(&sha256(&[[3; 32], [7; 32]].concat()));
    data[32..].copy_from_slice(&NONCE);
    let dstack = serde_json::json!({
        "signing_address": "03".repeat(32), "tls_cert_fingerprint": "07".repeat(32), "intel_quote": quote(data),
    });
    write("told", "dstack", &[&[1], dstack.to_string().as_bytes()].concat())?;
    let mut data = [0; 64];
    data[..32].copy_from_slice(&sha256(&simulation.ra_tls_key()));
    let about_its_key = hex::decode(quote(data)).unwrap_or_default();
    let certificate = simulation.ra_tls("1.2.840.113741.1337.6", about_its_key);
    write("told", "ra-tls", &[&[2], certificate.as_slice()].concat())?;
    write(
        "told",
        "kept",
        b"\x03{\"format\":\"colophon-told-v1\",\"speaks\":\"aci\",\"nonce\":\"00\",\"answer\":\"\"}",
    )
}

/// Answers of a TPM in the order of the questions, without their headers.
fn tpm() -> std::io::Result<()> {
    let answers = |kind: u8, answers: &[Vec<u8>]| {
        let with_length = |answer: &Vec<u8>| [&(answer.len() as u16).to_le_bytes()[..], answer].concat();
        std::iter::once(vec![kind]).chain(answers.iter().map(with_length)).collect::<Vec<_>>().concat()
    };
    let sized = |bytes: &[u8]| [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat();
    // Handle, length, public area of a P-256 key.
    let public = [
        &b"\x00\x23\x00\x0b\x00\x05\x00\x72\x00\x00\x00\x10\x00\x18\x00\x0b\x00\x03\x00\x10"[..],
        &sized(&[4; 32]),
        &sized(&[5; 32]),
    ];
    let key = [&b"\x80\0\0\0\0\0\0\0"[..], &sized(&public.concat())].concat();
    let mut message = b"\xffTCG\x80\x18\x00\x02\x00\x0b\x00\x04\x01\x02\x03\x04".to_vec();
    message.extend([0; 25]);
    message.extend(b"\x00\x00\x00\x01\x00\x0b\x03\xff\x03\x00\x00\x20");
    message.extend([7; 32]);
    let signature = [&b"\x00\x18\x00\x0b"[..], &sized(&[6; 32]), &sized(&[8; 32])].concat();
    let quoted = [sized(&message), signature].concat();
    let quoted = [&(quoted.len() as u32).to_be_bytes()[..], &quoted].concat();
    let pcrs = |bits: [u8; 3], count: u32| {
        let digests = sized(&[9; 32]).repeat(count as usize);
        [&b"\0\0\0\x01\0\0\0\x01\0\x0b\x03"[..], &bits, &count.to_be_bytes(), &digests].concat()
    };
    let all = [key, quoted, pcrs([0xff, 0, 0], 8), pcrs([0, 3, 0], 2), vec![]];
    write("tpm", "quote", &answers(0, &all))?;
    // Of an index with 80 bytes: its public area, and what is in it.
    let public = b"\x01\x40\0\x01\0\x0b\x02\x02\0\x02\0\0\0\x50";
    let public = [sized(public), sized(&[0; 34])].concat();
    let part = sized(&[b"HCLA".as_slice(), &[0; 76]].concat());
    let read = [&(part.len() as u32).to_be_bytes()[..], &part].concat();
    write("tpm", "azure", &answers(1, &[public, read]))
}

fn evidence_files() -> std::io::Result<()> {
    let simulation = Simulation::new(DEFAULT_SEED);
    let (tdx, collateral) = simulation.tdx([1; 64], AT, Faults::default());
    let json = |value: &dyn Fn() -> serde_json::Result<Vec<u8>>| value().map_err(std::io::Error::other);
    write("evidence_file", "collateral", &json(&|| serde_json::to_vec(&collateral))?)?;
    let keyset = Keyset::new(vec![[1; 32]], vec![[2; 32]], Some([3; 32]));
    write("evidence_file", "keyset", keyset.to_json().as_bytes())?;
    let statement =
        colophon_attest::aci::Statement { keyset_digest: keyset.digest(), nonce: Some("abc".into()) };
    let statement = statement.to_json().unwrap_or_default();
    write("evidence_file", "statement", statement.as_bytes())?;
    let pieces =
        vec![simulation.snp([1; 64], Faults::default()), simulation.hopper([1; 32], Faults::default())];
    let mut bundle = Bundle::new(pieces, Collateral::default());
    bundle.statement = Some(statement);
    write("evidence_file", "bundle", &json(&|| serde_json::to_vec(&bundle))?)?;
    write("evidence_file", "document", &Document::new(&keyset, bundle, Some(vec![1])).to_json())?;
    if let Evidence::IntelQuote { quote } = &tdx {
        write("evidence_file", "quote", quote)?;
    }
    let policy = "apiVersion: colophon.dev/v1alpha1\nkind: AttestationPolicy\nmetadata: {name: a}\nspec:\n  gpu: require\n  platforms:\n    tdx: {referenceValues: {mr_td: [\"91\"]}}\n    nvidia-gpu: {referenceValues: {driver: [\"550.90.07\"]}}\n";
    write("evidence_file", "policy", policy.as_bytes())
}

fn receipts() -> std::io::Result<()> {
    let stream = Plan { signing: Signing::Stream, earlier_key: true, ..Plan::default() }.make();
    write("verify", "stream", &stream.file())?;
    let whole = Plan { signing: Signing::Whole, draw: Some((1 << 62, Level::Zk)), ..Plan::default() }.make();
    write("verify", "sampled", &whole.file())?;
    let plain = Plan { signing: Signing::Unsigned, index: 1, ..Plan::default() }.make();
    write("verify", "unsigned", &plain.file())?;
    write("verify", "trust", plain.trust_file("{}").as_bytes())
}

fn record(n: u8) -> Record {
    let mut fields = FieldSet::new();
    // Writing into a Vec cannot fail.
    fields.add(0, |e| drop(e.bytes(&[n; 32])));
    fields.add(10, |e| drop(e.u64(n.into())));
    seal([n; 16], 1_795_651_200_000_000 + u64::from(n), Level::Sign, Outcome::Complete, [n; 32], fields)
}

fn ledger() -> std::io::Result<()> {
    let records: Vec<Record> = (1..4).map(record).collect();
    let hashes: Vec<_> = records.iter().map(|record| record.leaf_hash).collect();
    let ids: Vec<RecordId> = (1..4).map(|n| [n; 16]).collect();
    let leaves: Vec<_> = ids.iter().zip(records.iter().map(|record| record.leaf.as_slice())).collect();
    let file = batch::write(leaves.into_iter(), &hashes);
    write("ledger", "batch", &[&[2], file.as_slice()].concat())?;
    let mut segment = Vec::new();
    let mut frame = |kind: u8, payload: Value| {
        let payload = payload.encode();
        segment.extend((payload.len() as u32 + 1).to_le_bytes());
        segment.extend([0; 4]);
        segment.push(kind);
        segment.extend(payload);
    };
    let place = [Value::Uint(1), Value::bytes([5; 16])];
    frame(
        0,
        Value::Array(
            [Value::Uint(2), Value::text("shard/1"), Value::Uint(1)].into_iter().chain(place).collect(),
        ),
    );
    for (n, record) in records.iter().enumerate() {
        let (id, fields) = (Value::bytes([n as u8 + 1; 16]), Value::bytes(record.fields.as_bytes()));
        frame(1, Value::Array(vec![id, Value::Uint(1), Value::Uint(2), fields.clone()]));
        if n > 0 {
            let signature = Value::Array(vec![Value::bytes(b"base"), Value::bytes([1; 64])]);
            let (leaf, seed) = (Value::bytes(&record.leaf), Value::bytes(record.seed));
            let signatures = Value::Array(vec![signature]);
            frame(2, Value::Array(vec![leaf, seed, fields, signatures, Value::Uint(1), Value::Bool(false)]));
        }
    }
    // The target puts the checksums in.
    write("ledger", "segment", &[&[1], segment.as_slice()].concat())?;
    let mut index = b"\x03colophon index 2\x01\0".to_vec();
    index.extend(9_u64.to_le_bytes());
    index.extend(b"\x07\0shard/1\x01\0\0\0\0\0");
    index.extend(3_u64.to_le_bytes());
    index.extend([0; 4]);
    index.extend([[1; 16].as_slice(), &[0; 8]].concat());
    write("ledger", "index", &index)?;
    let opening = Value::Array(vec![
        Value::bytes([9; 32]),
        Value::bytes(records[0].fields.as_bytes()),
        Value::Array(vec![]),
        Value::Uint(1),
    ]);
    let opening = opening.encode();
    let mut openings = b"\x04colophon open  1\x01\0\0\0".to_vec();
    openings.extend(36_u64.to_le_bytes());
    openings.extend((36 + opening.len() as u64).to_le_bytes());
    openings.extend(opening);
    write("ledger", "openings", &openings)?;
    let note =
        Value::Array(vec![Value::bytes([1; 16]), Value::bytes([2; 16]), Value::bytes([3; 32])]).encode();
    write("ledger", "note", &[&[5], note.as_slice()].concat())?;
    write("ledger", "tile", &[&[4], [7_u8; 64].as_slice()].concat())
}
