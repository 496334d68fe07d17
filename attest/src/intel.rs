//! Intel TDX and SGX quotes (DCAP), by `dcap-qvl`: signatures, PCK chain, revocation lists, QE identity and TCB.
//!
//! `dcap-qvl`'s plain `verify` returns Ok for outdated TCBs; only `verify_with_policy` with an explicit policy is used.

use crate::report::Root;
use crate::verify::Question;
use crate::{Collateral, Platform, Refusal, Report, roots};
use dcap_qvl::quote::Report as Body;
use dcap_qvl::verify::QuoteVerifier;
use dcap_qvl::{QuoteClaims, QuoteCollateralV3, QuotePolicy, TcbStatus};
use serde::Deserialize;
use std::time::Duration;

/// What a reader's policy says about Intel's TCB.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcbRules {
    /// Statuses that count.
    pub statuses: Vec<TcbStatus>,
    /// How long an out-of-date level still counts after its date, where `OutOfDate` is among the statuses.
    pub grace: Duration,
    /// Advisories that are never accepted.
    pub rejected_advisories: Vec<String>,
}

impl Default for TcbRules {
    /// `UpToDate` alone.
    fn default() -> TcbRules {
        TcbRules {
            statuses: vec![TcbStatus::UpToDate],
            grace: Duration::ZERO,
            rejected_advisories: Vec::new(),
        }
    }
}

impl TcbRules {
    fn policy(&self, at: u64) -> QuotePolicy {
        // Hyper-threading, platforms with several sockets and keys cached in the PCK service are what cloud machines
        // have; the report shows all three.
        let mut policy = QuotePolicy::strict(at)
            .allow_smt(true)
            .allow_dynamic_platform(true)
            .allow_cached_keys(true)
            .platform_grace_period(self.grace)
            .qe_grace_period(self.grace)
            .reject_advisories(&self.rejected_advisories);
        for status in &self.statuses {
            policy = policy.allow_status(*status);
        }
        policy
    }
}

/// What the quote's header says that it is of: its `TEE type`, 0 of SGX and 0x81 of TDX.
fn platform_of(quote: &[u8]) -> Platform {
    match quote.get(4..8) {
        Some([0x81, 0, 0, 0]) => Platform::Tdx,
        _ => Platform::Sgx,
    }
}

/// Verifies a quote, by Intel's root or, where the question allows it, a simulated one.
pub(crate) fn verify(
    quote: &[u8],
    collateral: &Collateral,
    question: &Question<'_>,
) -> Result<Report, Refusal> {
    let intel = collateral.intel.as_ref();
    let intel = intel
        .ok_or_else(|| Refusal::Collateral("Intel's TCB info, QE identity and revocation lists".into()))?;
    let rules = question.policy.map(|policy| policy.intel_tcb(platform_of(quote))).unwrap_or_default();
    let real = claims(quote, intel, roots::INTEL, question.at, &rules);
    match (real, question.simulated) {
        (Ok(claims), _) => Ok(report(&claims, intel, roots::INTEL, false, question.at)),
        (Err(refusal), Some(simulated)) => {
            match claims(quote, intel, &simulated.intel, question.at, &rules) {
                Ok(claims) => Ok(report(&claims, intel, &simulated.intel, true, question.at)),
                // What is wrong under the simulated root is the better answer where the evidence is simulated.
                Err(other) if is_simulated(intel) => Err(other),
                Err(_) => Err(refusal),
            }
        }
        (Err(_), None) if is_simulated(intel) => {
            Err(Refusal::Simulated("its certificates are of a simulation"))
        }
        (Err(refusal), None) => Err(refusal),
    }
}

fn is_simulated(collateral: &QuoteCollateralV3) -> bool {
    let chain = colophon_signer::x509::certificates(&collateral.tcb_info_issuer_chain).unwrap_or_default();
    let name =
        |der: &Vec<u8>| colophon_signer::x509::Certificate::parse(der).map(|certificate| certificate.name());
    chain.iter().filter_map(|der| name(der).ok()).any(|name| name.starts_with(roots::SIMULATED))
}

fn claims(
    quote: &[u8],
    collateral: &QuoteCollateralV3,
    root: &[u8],
    at: u64,
    rules: &TcbRules,
) -> Result<QuoteClaims, Refusal> {
    let verifier = QuoteVerifier::new(root.to_vec());
    verifier.verify_with_policy(quote, collateral, at, &rules.policy(at)).map_err(|error| refusal(&error))
}

/// The library's errors are sentences; which kind they are is read from them, so that scripts have a word.
fn refusal(error: &impl ToString) -> Refusal {
    let text = error.to_string();
    let has = |parts: &[&str]| parts.iter().any(|part| text.contains(part));
    match () {
        () if has(&["Debug mode", "debug"]) => Refusal::Debug("debugging"),
        () if has(&["profiling"]) => Refusal::Debug("profiling"),
        () if has(&["migration is enabled"]) => Refusal::Migration,
        () if has(&["expired", "in the future", "Expired", "NotValidYet"]) => Refusal::Time(text),
        () if has(&["TCB", "Tcb", "Advisory"]) && !has(&["Signature"]) => Refusal::Tcb(text),
        () if has(&["UnknownIssuer", "certificate", "Certificate", "Revoked"]) => Refusal::Chain(text),
        () if has(&["ignature"]) => Refusal::Signature("the quote or its collateral"),
        () => Refusal::Malformed("quote or collateral", text),
    }
}

/// The older issue date of TCB info and QE identity, whose signatures were verified.
fn issued(collateral: &QuoteCollateralV3) -> Option<u64> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Dated {
        issue_date: String,
    }
    let issued = |json: &str| {
        let dated: Dated = serde_json::from_str(json).ok()?;
        dated.issue_date.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_second)
    };
    let (tcb, qe) = (issued(&collateral.tcb_info)?, issued(&collateral.qe_identity)?);
    u64::try_from(tcb.min(qe)).ok()
}

fn report(
    claims: &QuoteClaims,
    collateral: &QuoteCollateralV3,
    root: &[u8],
    simulated: bool,
    at: u64,
) -> Report {
    let platform = if claims.report.is_sgx() { Platform::Sgx } else { Platform::Tdx };
    let name = colophon_signer::x509::Certificate::parse(root).map(|root| root.name()).unwrap_or_default();
    let root = Root { name, sha256: colophon_receipt::merkle::sha256(root) };
    let mut report = Report::new(platform, root, simulated, at);
    report.about = format!("the CPU with PPID {}", hex::encode(&claims.platform.pck.ppid));
    report.age.collateral_from = issued(collateral);
    report.age.good_until = Some(claims.earliest_expiration_date);
    body(&claims.report, &mut report);
    let tcb = &claims.tcb;
    report.tcb.insert("evaluation_data_number".into(), u64::from(tcb.eval_data_number));
    report.tcb.insert("pce_svn".into(), u64::from(claims.platform.pck.pce_svn));
    report.tcb.insert("qe_isv_svn".into(), u64::from(claims.qe.report.isv_svn));
    report.claim("quote_version", claims.header.version);
    report.claim("tcb_status", tcb.status);
    report.claim("tcb_advisories", tcb.advisory_ids.join(" "));
    report.claim("tcb_date", &claims.platform.tcb_level.tcb_date);
    report.claim("fmspc", hex::encode(claims.platform.pck.fmspc));
    report.claim("cpu_svn", hex::encode(claims.platform.pck.cpu_svn));
    report.claim("smt", format!("{:?}", claims.platform.pck.smt_enabled).to_lowercase());
    report.claim("dynamic_platform", format!("{:?}", claims.platform.pck.dynamic_platform).to_lowercase());
    report.claim("cached_keys", format!("{:?}", claims.platform.pck.cached_keys).to_lowercase());
    report
}

fn body(body: &Body, report: &mut Report) {
    if let Body::SgxEnclave(enclave) = body {
        report.report_data = Some(enclave.report_data.to_vec());
        report.measure("mr_enclave", &enclave.mr_enclave);
        report.measure("mr_signer", &enclave.mr_signer);
        report.measurements.insert("isv_prod_id".into(), enclave.isv_prod_id.to_string());
        report.tcb.insert("isv_svn".into(), u64::from(enclave.isv_svn));
        report.measure("attributes", &enclave.attributes);
    }
    if let Some(td) = body.as_td10() {
        report.report_data = Some(td.report_data.to_vec());
        let digests: [(&str, &[u8]); 11] = [
            ("mr_td", &td.mr_td),
            ("rt_mr0", &td.rt_mr0),
            ("rt_mr1", &td.rt_mr1),
            ("rt_mr2", &td.rt_mr2),
            ("rt_mr3", &td.rt_mr3),
            ("mr_config_id", &td.mr_config_id),
            ("mr_owner", &td.mr_owner),
            ("mr_owner_config", &td.mr_owner_config),
            ("mr_seam", &td.mr_seam),
            ("td_attributes", &td.td_attributes),
            ("xfam", &td.xfam),
        ];
        digests.iter().for_each(|(name, digest)| report.measure(name, digest));
        report.claim("tee_tcb_svn", hex::encode(td.tee_tcb_svn));
    }
    if let Some(td) = body.as_td15_ex() {
        report.claim("td_id", hex::encode(td.td_id));
    }
}

#[cfg(test)]
mod tests;
