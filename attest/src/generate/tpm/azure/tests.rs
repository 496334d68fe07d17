use super::*;
use crate::generate::tpm::tests::SoftwareTpm;
use crate::generate::tpm::{ECC, NULL, SHA256};
use crate::simulate::{DEFAULT_SEED, Faults, Simulation};
use crate::{Collateral, Platform, Question, Report, verify};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use colophon_receipt::level::Level;
use colophon_receipt::merkle::sha256;
use std::os::unix::net::UnixStream;

const RSA: u16 = 0x0001;
const RSASSA: u16 = 0x0014;
const AT: u64 = 1_795_651_200;

/// The modulus of a restricted RSA key of the owner's, kept at Azure's handle.
fn provision_key(stream: &mut UnixStream) -> Vec<u8> {
    let mut public = Vec::new();
    for word in [RSA, SHA256] {
        public.extend(word.to_be_bytes());
    }
    public.extend(0x0005_0072u32.to_be_bytes());
    // No policy, no cipher, RSASSA with SHA-256, 2,048 bits; the usual exponent.
    for word in [0, NULL, RSASSA, SHA256, 2048, 0, 0, 0] {
        public.extend(word.to_be_bytes());
    }
    let mut parameters = OWNER.to_be_bytes().to_vec();
    parameters.extend(PASSWORD);
    parameters.extend([0, 4, 0, 0, 0, 0]);
    parameters.extend((public.len() as u16).to_be_bytes());
    parameters.extend(public);
    parameters.extend([0; 6]);
    let answer = Commands(stream).command(SESSIONS, 0x131, &parameters).unwrap();
    let mut bytes = Bytes::new(&answer, "key");
    let (handle, _) = (bytes.u32_be().unwrap(), bytes.u32_be().unwrap());
    let mut public = Bytes::new(bytes.sized_be().unwrap(), "key");
    assert_ne!(public.u16_be().unwrap(), ECC);
    let (_name, _attributes) = (public.u16_be().unwrap(), public.u32_be().unwrap());
    public.sized_be().unwrap();
    for _ in 0..4 {
        public.u16_be().unwrap();
    }
    let _exponent = public.u32_be().unwrap();
    let modulus = public.sized_be().unwrap().to_vec();
    let mut kept = OWNER.to_be_bytes().to_vec();
    kept.extend(handle.to_be_bytes());
    kept.extend(PASSWORD);
    kept.extend(KEY.to_be_bytes());
    Commands(stream).command(SESSIONS, 0x120, &kept).unwrap();
    modulus
}

/// Writes a report where Azure has it, as its firmware does.
fn provision_report(stream: &mut UnixStream, report: &[u8]) {
    let mut public = INDEX.to_be_bytes().to_vec();
    public.extend(SHA256.to_be_bytes());
    // The owner writes and reads.
    public.extend(0x0202_0002u32.to_be_bytes());
    public.extend([0, 0]);
    public.extend((report.len() as u16).to_be_bytes());
    let mut parameters = OWNER.to_be_bytes().to_vec();
    parameters.extend(PASSWORD);
    parameters.extend([0, 0]);
    parameters.extend((public.len() as u16).to_be_bytes());
    parameters.extend(public);
    Commands(stream).command(SESSIONS, 0x12a, &parameters).unwrap();
    for (number, part) in report.chunks(usize::from(CHUNK)).enumerate() {
        let mut parameters = OWNER.to_be_bytes().to_vec();
        parameters.extend(INDEX.to_be_bytes());
        parameters.extend(PASSWORD);
        parameters.extend((part.len() as u16).to_be_bytes());
        parameters.extend(part);
        parameters.extend((number as u16 * CHUNK).to_be_bytes());
        Commands(stream).command(SESSIONS, 0x137, &parameters).unwrap();
    }
}

/// An HCL report of a simulated SEV-SNP machine, or of this kind of hardware, about an RSA key.
fn hcl(modulus: &[u8], kind: u32) -> Vec<u8> {
    let runtime = serde_json::json!({"keys": [{
        "kid": "HCLAkPub", "kty": "RSA", "n": BASE64_URL_SAFE_NO_PAD.encode(modulus), "e": "AQAB",
    }]})
    .to_string();
    let mut data = [0; 64];
    data[..32].copy_from_slice(&sha256(runtime.as_bytes()));
    let Evidence::SnpReport { report, .. } = Simulation::new(DEFAULT_SEED).snp(data, Faults::default())
    else {
        panic!("no report")
    };
    let mut hcl = b"HCLA".to_vec();
    hcl.extend([0; 28]);
    hcl.extend(report);
    for word in [0, 1, kind, 1, runtime.len() as u32] {
        hcl.extend(word.to_le_bytes());
    }
    hcl.extend(runtime.as_bytes());
    // Azure's index, of 2,600 bytes, is longer than what is in it; swtpm has no room for more than this.
    hcl.resize(2048, 0);
    hcl
}

fn report(evidence: &Evidence, nonce: &[u8]) -> Result<Report, Refusal> {
    let simulation = Simulation::new(DEFAULT_SEED);
    let Evidence::SnpReport { certificates, .. } = simulation.snp([0; 64], Faults::default()) else {
        panic!("no report")
    };
    let roots = simulation.roots();
    let collateral = Collateral { certificates, ..Collateral::default() };
    let question = Question { at: AT, nonce: Some(nonce), simulated: Some(&roots), ..Question::default() };
    verify(evidence, &collateral, &question)
}

#[test]
fn a_vtpm_set_up_as_azure_does_gives_its_report_and_quotes_by_the_key_that_this_names() {
    let Some(tpm) = SoftwareTpm::start() else { return };
    let mut stream = tpm.connect();
    let error = quote(&mut stream, &[1; 32]).unwrap_err();
    assert!(matches!(&error, GenerateError::Unavailable(why) if why.contains("Azure")), "{error}");
    let modulus = provision_key(&mut stream);
    let written = hcl(&modulus, 2);
    provision_report(&mut stream, &written);
    for number in 0u8..3 {
        let nonce = [number; 64];
        let evidence = generate_by(&mut stream, &nonce).unwrap();
        assert!(matches!(&evidence, Evidence::AzureVtpm { hcl, .. } if *hcl == written));
        let said = report(&evidence, &nonce).unwrap();
        assert_eq!((said.platform, said.highest_level()), (Platform::AzureVtpm, Level::Sign));
        assert!(said.is_simulated() && said.measurements.contains_key("sev_snp_measurement"));
        assert_eq!(report(&evidence, &[9; 64]).unwrap_err().code(), "nonce");
    }
}

#[test]
fn a_report_of_another_key_or_of_a_tdx_machine_gives_no_evidence() {
    for (kind, of_another_key) in [(2, true), (TDX, false)] {
        let Some(tpm) = SoftwareTpm::start() else { return };
        let mut stream = tpm.connect();
        let mut modulus = provision_key(&mut stream);
        if of_another_key {
            modulus[7] ^= 1;
        }
        provision_report(&mut stream, &hcl(&modulus, kind));
        let error = quote(&mut stream, &[1; 64]).unwrap_err();
        match kind {
            TDX => assert!(matches!(error, GenerateError::Unavailable(_)), "{error}"),
            _ => assert!(error.to_string().contains("another key"), "{error}"),
        }
    }
}
