//! What is known of the model, and how: names by the operator's word, a certificate by an authority's.

use colophon_attest::{Policy, Refusal};
use colophon_receipt::Level;
use colophon_signer::model::{Authority, ModelCertificate, Standing};

use crate::Bodies;
use crate::anchors::TimeSide;
use crate::attestation::{TeeSide, UpstreamSide};
use crate::checks::{Checks, MODEL};
use crate::record::Record;
use crate::report::{Compared, Model};
use crate::text::{shown, time};
use crate::trust::Trust;

/// How a model is known, from the least.
const OBSERVED: &str = "observed";
const CONFIGURED: &str = "configured";
pub(crate) const ATTESTED: &str = "attested";
const NONE_NAMED: &str = "the record names no model certificate";

/// What came of it.
#[derive(Default)]
pub(crate) struct ModelSide {
    /// For the report; absent where the record says nothing of a model.
    pub(crate) report: Option<Model>,
    /// An authority of the trust file certified the model that the record names.
    pub(crate) certified: bool,
}

/// Makes the check `model`, where the record names a certificate or the reader has one.
///
/// Only a certificate of the reader's that is not the record's fails: one that does not count leaves the record what it is.
pub(crate) fn check(
    record: Option<&Record>,
    stamps: &TimeSide,
    (tee, upstream): (Option<&TeeSide>, Option<&UpstreamSide>),
    trust: Option<&Trust>,
    bodies: &Bodies,
    checks: &mut Checks,
) -> ModelSide {
    let Some(record) = record.filter(|record| record.fields_hold) else { return ModelSide::default() };
    let field = record.opened.model.as_ref();
    let mut report = field.map(|model| Model {
        requested: model.requested.as_deref().map(shown),
        reported: model.reported.as_deref().map(shown),
        known_by: model.known_by.as_deref().map(shown),
        // Until evidence shows more.
        shown_by: model.certificate.map(|_| CONFIGURED).or(model.known_by.as_ref().map(|_| OBSERVED)),
        source: model.source.as_deref().map(shown),
        certificate: model.certificate.map(hex::encode),
        ..Model::default()
    });
    let side = |report, certified| ModelSide { report, certified };
    let named = field.and_then(|model| model.certificate);
    let file = match (&bodies.model, named) {
        (None, None) => return side(report, false),
        (None, Some(_)) => {
            checks.skip(
                MODEL,
                "the record names a model certificate that you did not give (--model-cert FILE)",
            );
            return side(report, false);
        }
        // What answered may all the same be a machine that it speaks of.
        (Some(_), None) if upstream.is_none() => {
            checks.skip(MODEL, NONE_NAMED);
            return side(report, false);
        }
        (Some(file), _) => file,
    };
    let certificate = match ModelCertificate::parse(file) {
        Ok(certificate) if named.is_none_or(|named| certificate.digest() == named) => certificate,
        Ok(other) => {
            let (other, named) = (hex::encode(other.digest()), hex::encode(named.unwrap_or_default()));
            checks.add(MODEL, Err(format!("your certificate is {other}, the record names {named}")));
            return side(report, false);
        }
        Err(error) => {
            checks.add(MODEL, Err(format!("your certificate: {error}")));
            return side(report, false);
        }
    };
    let judged = judge(&certificate, record.leaf.completed_at, stamps, trust);
    let known = report.get_or_insert_default();
    known.name = Some(shown(certificate.name()));
    known.version = certificate.terms.as_ref().map(|terms| shown(&terms.version));
    let (issuer, standing) = match &judged {
        Ok((authority, _)) => (Some(authority.name()), "good"),
        Err((authority, _, standing)) => (authority.map(Authority::name), *standing),
    };
    known.issuer = issuer.map(shown);
    known.standing = Some(standing);
    known.detail = Some(shown(match &judged {
        Ok((_, detail)) | Err((_, detail, _)) => detail,
    }));
    let values = certificate.terms.as_ref().and_then(|terms| terms.attestation.as_ref());
    if let (Ok(_), Some(values)) = (&judged, values) {
        let policy = Policy::from_spec("model certificate", values)
            .map_err(|error| Refusal::Policy(format!("what the certificate says of machines: {error}")));
        known.evidence = tee.map(|tee| compared(policy.as_ref(), |policy| tee.by(policy, trust)));
        known.upstream_evidence =
            upstream.map(|upstream| compared(policy.as_ref(), |policy| upstream.by(policy, trust)));
    }
    if named.is_some()
        && is_attested(field.and_then(|model| model.known_by.as_deref()), known.evidence.as_ref())
    {
        known.shown_by = Some(ATTESTED);
    }
    match judged {
        Ok((_, detail)) if named.is_some() => {
            checks.add(MODEL, Ok(detail));
            side(report, true)
        }
        Ok((_, detail)) => {
            checks.skip(MODEL, format!("{NONE_NAMED}; of yours: {detail}"));
            side(report, false)
        }
        Err((_, detail, _)) => {
            checks.skip(MODEL, detail);
            side(report, false)
        }
    }
}

/// The one place that says when a model is known as `attested`: the record claims it, and dated evidence of hardware about the
/// key of its statement is as the certificate that it names says of machines. So what found the certified files there is
/// software that the certificate's issuer knows.
fn is_attested(claimed: Option<&str>, evidence: Option<&Compared>) -> bool {
    claimed == Some(ATTESTED) && evidence.is_some_and(|evidence| evidence.matches && evidence.counts)
}

/// What evidence is beside reference values.
fn compared(
    policy: Result<&Policy, &Refusal>,
    by: impl FnOnce(&Policy) -> Result<Level, Refusal>,
) -> Compared {
    match policy.map_err(Refusal::clone).and_then(by) {
        Ok(level) => Compared { matches: true, counts: level >= Level::Tee, detail: None },
        Err(refusal) => Compared { matches: false, counts: false, detail: Some(shown(refusal.to_string())) },
    }
}

/// The authority that vouches for a certificate, and how; else why none does, and the standing in a word.
pub(crate) type Judged<'a> = Result<(&'a Authority, String), (Option<&'a Authority>, String, &'static str)>;

/// Whether the certificate counted when the record was made.
pub(crate) fn judge<'a>(
    certificate: &ModelCertificate,
    at: u64,
    stamps: &TimeSide,
    trust: Option<&'a Trust>,
) -> Judged<'a> {
    let authorities = trust.map(Trust::model_authorities).unwrap_or_default();
    let Some(authority) = authorities.iter().find(|authority| authority.signed(certificate).is_ok()) else {
        let why = match authorities.is_empty() {
            true => "your trust file names no model authority, so nobody says whose certificate this is",
            false => "no model authority of your trust file issued and signed this certificate",
        };
        return Err((None, why.into(), "unknown-authority"));
    };
    let refuse = |why: String, standing| Err((Some(authority), why, standing));
    let name = authority.name();
    // As with revoked keys: the operator's own clock does not show that something was before.
    if let Some(revoked) = authority.revocation(&certificate.digest()) {
        let (from, reason) = (time(revoked.from), revoked.reason);
        match stamps.upper() {
            Some(stamp) if stamp.time < revoked.from => {}
            _ => {
                return refuse(
                    format!(
                        "{name:?} revoked this certificate ({reason}) from {from} on, and no timestamp that your trust \
                         file knows shows that the record was made before"
                    ),
                    "revoked",
                );
            }
        }
    }
    match authority.standing(certificate, at) {
        Standing::Good | Standing::Timeless => Ok((
            authority,
            format!(
                "{name:?} issued it, and it counted at {}, when the record was made by the operator's clock",
                time(at)
            ),
        )),
        Standing::NotYet(from) => refuse(
            format!("{name:?} issued it as valid only from {} on, after this record", time(from)),
            "not-yet-valid",
        ),
        Standing::Expired(until) => refuse(
            format!("{name:?} issued it; it expired at {}, before this record", time(until)),
            "expired",
        ),
        Standing::Revoked(revoked) => refuse(
            format!(
                "{name:?} revoked it ({}) from {} on, before this record",
                revoked.reason,
                time(revoked.from)
            ),
            "revoked",
        ),
    }
}

#[cfg(test)]
mod tests;
