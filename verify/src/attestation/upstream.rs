//! Evidence of the server that answered, and what it signed of the exchange by a key that its evidence names.
//!
//! That the answer came over the connection on which the evidence was given is the word of this proxy. The signature is not: with it
//! the record counts as `tee` where the evidence does, whatever this proxy is (DESIGN section 8).

use colophon_attest::told::{Known, verify_kept};
use colophon_attest::{Collateral, Policy, Question, Refusal, Report, Source};
use colophon_receipt::Level;
use colophon_receipt::fields::{Upstream, UpstreamSigned};
use colophon_receipt::merkle::sha256;
use colophon_receipt::receipt::Receipt;
use colophon_receipt::record::id_text;
use colophon_signer::PublicKey;
use colophon_signer::httpsig::{self, ALG, expand};

use super::{asked_by, level, named_pieces, simulated_roots};
use crate::CLOCK_TOLERANCE;
use crate::anchors::TimeSide;
use crate::checks::{Checks, UPSTREAM_EVIDENCE, UPSTREAM_SIGNATURE};
use crate::http::{Base, digest};
use crate::record::Record;
use crate::trust::Trust;

/// Evidence of the server that answered, verified.
pub(crate) struct UpstreamSide {
    pub(crate) reports: Vec<Report>,
    /// The weakest source among its pieces.
    pub(crate) source: Source,
    /// It was made before this, µs, by a TSA of the trust file.
    pub(crate) before: Option<u64>,
    /// A key that it names signed both digests.
    pub(crate) signed: bool,
    /// Which.
    pub(crate) signer: Option<PublicKey>,
    /// The highest level that it can show, without this proxy's word.
    pub(crate) level: Level,
    document: Vec<u8>,
    /// The time that it was judged at, s.
    at: u64,
}

impl UpstreamSide {
    /// What it counts for by other reference values than the trust file's, its signature aside.
    pub(crate) fn by(&self, policy: &Policy, trust: Option<&Trust>) -> Result<Level, Refusal> {
        let known = asked_by(self.at, policy, trust, |question| {
            verify_kept(&self.document, &Collateral::default(), question)
        })?;
        Ok(level(&known.reports, self.before.is_some()))
    }

    /// Whether any piece is simulated.
    pub(crate) fn simulated(&self) -> bool {
        self.reports.iter().any(Report::is_simulated)
    }
}

/// Makes the checks `upstream-evidence` and `upstream-signature`.
pub(crate) fn check(
    receipt: &Receipt,
    record: Option<&Record>,
    stamps: &TimeSide,
    trust: Option<&Trust>,
    at: Option<u64>,
    checks: &mut Checks,
) -> Option<UpstreamSide> {
    let named = record.and_then(|record| record.opened.upstream.as_ref());
    let attested = evidence(receipt, named, stamps, trust, at, checks);
    let signature = record.and_then(|record| Some((record, record.opened.upstream_signed.as_ref()?)));
    let mut signer = None;
    let signed = match (signature, &attested) {
        (Some((record, signature)), Some(attested)) => match record.withheld_body() {
            Some(what) => {
                checks.skip(
                    UPSTREAM_SIGNATURE,
                    format!("it covers the digest of the {what}, which is withheld"),
                );
                false
            }
            None => {
                let found = signed(signature, record, attested).map(|(key, what)| {
                    signer = Some(key);
                    what
                });
                checks.add(UPSTREAM_SIGNATURE, found)
            }
        },
        (Some(_), None) => {
            checks.skip(UPSTREAM_SIGNATURE, "needs the evidence that names its key");
            false
        }
        (None, _) => false,
    };
    let attested = attested?;
    let before = stamps.upper().map(|stamp| stamp.time);
    let document = receipt.upstream_evidence.as_ref()?.0.clone();
    Some(UpstreamSide {
        level: shown(level(&attested.reports, before.is_some()), signed),
        source: attested.reports.iter().map(|report| report.source).min().unwrap_or(Source::OperatorAsserted),
        reports: attested.reports,
        at: before.or(at)? / 1_000_000,
        before,
        signed,
        signer,
        document,
    })
}

/// What counts of an upstream's evidence, without the word of the proxy before it: nothing but by its signature over both digests.
pub(super) fn shown(evidence: Level, signed: bool) -> Level {
    if signed { evidence } else { Level::Sign }
}

fn evidence(
    receipt: &Receipt,
    named: Option<&Upstream<'_>>,
    stamps: &TimeSide,
    trust: Option<&Trust>,
    at: Option<u64>,
    checks: &mut Checks,
) -> Option<Known> {
    let document = receipt.upstream_evidence.as_ref()?;
    if named.and_then(|upstream| upstream.evidence) != Some(sha256(&document.0)) {
        let why = "the receipt has evidence of an upstream that its record does not name";
        checks.add(UPSTREAM_EVIDENCE, Err(why.into()));
        return None;
    }
    let Some(at) = stamps.upper().map(|stamp| stamp.time).or(at) else {
        let why =
            "it can be judged at no time: there is no timestamp by a TSA of the trust file, and no --at";
        checks.skip(UPSTREAM_EVIDENCE, why);
        return None;
    };
    let policy = trust.and_then(|trust| trust.upstream_attestation.as_ref());
    let simulated = simulated_roots(trust);
    let question =
        Question { at: at / 1_000_000, policy, simulated: simulated.as_ref(), ..Question::default() };
    let judged = verify_kept(&document.0, &Collateral::default(), &question);
    match &judged {
        Err(refusal) => drop(checks.add(UPSTREAM_EVIDENCE, Err(refusal.to_string()))),
        Ok(attested) if policy.is_some() => {
            let what = format!("{}: as the trust file says", named_pieces(&attested.reports));
            checks.add(UPSTREAM_EVIDENCE, Ok(what));
        }
        Ok(attested) => checks.skip(
            UPSTREAM_EVIDENCE,
            format!(
                "{}. The trust file has no reference values for it (upstream_attestation)",
                named_pieces(&attested.reports)
            ),
        ),
    }
    judged.ok()
}

/// That a key of the evidence signed the bodies that the record has, about when the record says.
fn signed(
    signed: &UpstreamSigned<'_>,
    record: &Record,
    attested: &Known,
) -> Result<(PublicKey, String), String> {
    let (Some(kept), Some(signature)) = (&signed.base, &signed.signature) else {
        return Err("it has no base, or no signature".into());
    };
    let (request, response) = (record.opened.request_body, record.opened.response_body);
    let known = httpsig::Known {
        request: request.as_ref().map(|body| &body.digest),
        response: response.as_ref().map(|body| &body.digest),
        id: &id_text(&record.leaf.id),
        leaf: &record.leaf_hash,
    };
    let base = expand(kept, &known).map_err(|error| error.to_string())?;
    let base = Base::parse(&base)?;
    if base.input.alg() != Some(ALG) {
        return Err("its algorithm is not ed25519".into());
    }
    if !matches!(base.input.tag(), Some("colophon-v1" | "colophon-v1-close")) {
        return Err("its tag is neither colophon-v1 nor colophon-v1-close".into());
    }
    let keys = attested.keyset.shard_keys.iter().map(|key| PublicKey(*key));
    let key = { keys }.find(|key| base.input.keyid() == Some(key.key_id_hex().as_str()));
    let key = key.ok_or("it is by a key that the evidence does not name")?;
    key.verify(base.text()?.as_bytes(), signature).map_err(|error| error.to_string())?;
    for (name, recorded) in [("colophon-request-digest", request), ("content-digest", response)] {
        let value = base.value(name, false).ok_or_else(|| format!("it does not cover {name}"))?;
        digest(value, recorded.map(|body| body.digest)).map_err(|what| format!("{name}: {what}"))?;
    }
    // The same bodies may have been signed before: that would be another exchange.
    let created = base.input.created().ok_or("it does not say when it was made")?.saturating_mul(1_000_000);
    let received = record.opened.times.as_ref().and_then(|times| times.received);
    let from = received.unwrap_or(record.leaf.completed_at).saturating_sub(CLOCK_TOLERANCE);
    if created < from || created > record.leaf.completed_at.saturating_add(CLOCK_TOLERANCE) {
        return Err("it was made at another time than the record's exchange".into());
    }
    let what = format!("the key {}, which the evidence names, signed request and answer", key.key_id_hex());
    Ok((key, what))
}

#[cfg(test)]
mod tests;
