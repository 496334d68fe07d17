//! Verification of one piece of evidence, of whatever platform.

use crate::aci::Statement;
use crate::evidence::Bundle;
use crate::{Collateral, Evidence, Platform, Policy, Refusal, Report, SimulatedRoots};
use crate::{intel, nitro, nvidia, snp, tpm};

/// What a reader asks of evidence.
#[derive(Clone, Copy, Default)]
pub struct Question<'a> {
    /// When, in seconds since the epoch. Chains, collateral and ages are judged at this time.
    pub at: u64,
    /// The nonce it has to answer. Where a platform keeps no nonce apart from the report data (TDX, SGX, SEV-SNP), the
    /// report data has to begin with it and hold zeros after it, unless report data is asked for too.
    pub nonce: Option<&'a [u8]>,
    /// The report data (Nitro: user data, TPM: qualifying data) it has to hold; shorter ones are filled up with zeros.
    pub report_data: Option<&'a [u8]>,
    /// Reference values; without them genuine evidence is *consistent*, and nobody has said that it is the right machine.
    pub policy: Option<&'a Policy>,
    /// Roots of simulations that count, as `sign` at most. Also lets TPM quotes pass whose key nothing leads from to
    /// hardware.
    pub simulated: Option<&'a SimulatedRoots>,
}

/// Verifies one piece of evidence.
///
/// # Errors
/// The first [`Refusal`]: form, signature, chain, dates, debugging, TCB, then nonce and report data, then the policy.
pub fn verify(
    evidence: &Evidence,
    collateral: &Collateral,
    question: &Question<'_>,
) -> Result<Report, Refusal> {
    let mut report = match evidence {
        Evidence::IntelQuote { quote } => intel::verify(quote, collateral, question)?,
        Evidence::SnpReport { report, certificates } => {
            snp::verify(report, certificates, collateral, question)?
        }
        Evidence::Nvidia { report, certificates } => {
            nvidia::verify(report, certificates, collateral, question)?
        }
        Evidence::Nitro { document } => nitro::verify(document, collateral, question)?,
        Evidence::Tpm(quote) => tpm::verify(quote, question)?,
        Evidence::AzureVtpm { hcl, td_quote, tpm } => {
            tpm::azure::verify(hcl, td_quote.as_deref(), tpm, collateral, question)?
        }
        #[cfg(feature = "tokens")]
        Evidence::Token { token } => crate::token::verify(token, collateral, question)?,
        #[cfg(not(feature = "tokens"))]
        Evidence::Token { .. } => {
            return Err(Refusal::Policy("this program was built without tokens".into()));
        }
    };
    check_freshness(&report, question)?;
    if let Some(policy) = question.policy {
        policy.judge(&mut report)?;
    }
    Ok(report)
}

/// What was found in a bundle.
#[derive(Clone, Debug)]
pub struct Results {
    /// For each piece, in its order. Pieces that the policy passes over are missing.
    pub pieces: Vec<Result<Report, Refusal>>,
    /// What is asked of all pieces together.
    pub together: Result<(), Refusal>,
}

/// Verifies all pieces of a bundle. Where it comes with a statement, report data has to be that statement's digest, and
/// GPUs have to answer the statement's nonce; the question's nonce then has to be the one in the statement (in hexadecimal).
pub fn verify_bundle(bundle: &Bundle, more: &Collateral, question: &Question<'_>) -> Results {
    let failed = |refusal: Refusal| Results { pieces: Vec::new(), together: Err(refusal) };
    let mut collateral = bundle.collateral.clone();
    // Keys of other verifiers are the reader's choice, never the bundle's.
    collateral.jwks = None;
    collateral.extend(more.clone());
    let asked = match Asked::of(bundle, question) {
        Ok(asked) => asked,
        Err(refusal) => return failed(refusal),
    };
    let wanted = |piece: &&Evidence| question.policy.is_none_or(|policy| policy.looks_at(piece.platform()));
    let pieces: Vec<_> = bundle
        .evidence
        .iter()
        .filter(wanted)
        .map(|piece| verify(piece, &collateral, &asked.of_piece(piece, question)))
        .collect();
    let reports: Vec<&Report> = pieces.iter().flatten().collect();
    let together = match question.policy {
        _ if pieces.is_empty() => Err(Refusal::Policy("it passes over all of the evidence".into())),
        Some(policy) => policy.judge_together(&reports),
        None => Ok(()),
    };
    Results { pieces, together }
}

/// What a statement asks for.
#[derive(Default)]
struct Asked {
    report_data: Option<[u8; 64]>,
    nonce: Option<Vec<u8>>,
}

impl Asked {
    fn of(bundle: &Bundle, question: &Question<'_>) -> Result<Asked, Refusal> {
        let Some(text) = &bundle.statement else { return Ok(Asked::default()) };
        let wrong = |error: crate::aci::StatementError| Refusal::malformed("statement", error.to_string());
        let statement = Statement::from_json(text).map_err(wrong)?;
        if let Some(wanted) = question.nonce
            && statement.nonce.as_deref() != Some(&hex::encode(wanted))
        {
            return Err(Refusal::Nonce(statement.nonce.unwrap_or_else(|| "it holds none".into())));
        }
        let report_data = statement.report_data().map_err(wrong)?;
        // A nonce that is no hexadecimal cannot be a GPU's.
        let nonce = statement.nonce.map(|nonce| hex::decode(&nonce).unwrap_or_else(|_| nonce.into_bytes()));
        Ok(Asked { report_data: Some(report_data), nonce })
    }

    fn of_piece<'a>(&'a self, piece: &Evidence, question: &Question<'a>) -> Question<'a> {
        let Some(report_data) = &self.report_data else { return *question };
        match piece.platform() {
            Platform::NvidiaGpu | Platform::NvidiaSwitch => Question {
                nonce: Some(self.nonce.as_deref().unwrap_or_default()),
                report_data: None,
                ..*question
            },
            _ => {
                Question { nonce: None, report_data: question.report_data.or(Some(report_data)), ..*question }
            }
        }
    }
}

/// Nonce and report data.
fn check_freshness(report: &Report, question: &Question<'_>) -> Result<(), Refusal> {
    if let Some(wanted) = question.nonce {
        match (&report.nonce, &report.report_data) {
            (Some(nonce), _) if nonce == wanted => {}
            // Report data that is asked for says more: it is a digest over the nonce too.
            (None, Some(_)) if question.report_data.is_some() => {}
            (None, Some(data)) if !wanted.is_empty() && is_filled_up(data, wanted) => {}
            (Some(other), _) | (None, Some(other)) => return Err(Refusal::Nonce(hex::encode(other))),
            (None, None) => return Err(Refusal::Nonce("it holds none".into())),
        }
    }
    match (question.report_data, &report.report_data) {
        (Some(wanted), Some(data)) if !is_filled_up(data, wanted) => {
            Err(Refusal::ReportData(hex::encode(data)))
        }
        (Some(_), None) => Err(Refusal::ReportData("it holds none".into())),
        _ => Ok(()),
    }
}

/// `data` is `wanted` and zeros behind it.
fn is_filled_up(data: &[u8], wanted: &[u8]) -> bool {
    data.strip_prefix(wanted).is_some_and(|rest| rest.iter().all(|byte| *byte == 0))
}
