//! From a record to a job: what is to be proven follows from the record and the circuit, and from nothing else.

use super::{DEADLINE, Proving};
use colophon_policies::Policy;
use colophon_provers::{Request, Statement};
use colophon_receipt::cbor::CborError;
use colophon_receipt::features::{self, FeatureError};
use colophon_receipt::fields::{DECISION, DecisionField};
use colophon_receipt::merkle::leaf_hash;
use colophon_receipt::receipt::{Field, Receipt};
use colophon_receipt::record::{RecordId, RecordLeaf, decode_field, id_text};

/// Why nothing can be proven of a record.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoJob {
    #[error("the record does not say which rule decided")]
    NoRule,
    #[error("--provers defines no prover of that name, or none for the rule `{0}`")]
    NoProver(String),
    #[error(transparent)]
    Features(#[from] FeatureError),
    #[error("the record cannot be read: {0}")]
    Record(#[from] CborError),
}

impl Proving {
    /// The job that proves the circuit's decision about a record: by `backend`, or the prover of the record's rule.
    pub(super) fn job(
        &self,
        policy: &Policy,
        receipt: &Receipt,
        record: &RecordId,
        evidence: RecordId,
        backend: Option<&str>,
    ) -> Result<Request, NoJob> {
        let leaf = RecordLeaf::decode(&receipt.record.leaf.0)?;
        let rule = rule(receipt)?.ok_or(NoJob::NoRule)?;
        let actions = policy.actions(&rule).cloned().unwrap_or_default();
        let prover = match backend {
            Some(name) => self.provers.named(Some(name)),
            None => self.prover(&actions),
        };
        let prover = prover.ok_or_else(|| NoJob::NoProver(rule.clone()))?;
        let circuit = &prover.circuit;
        let names = circuit.features.iter().map(String::as_str);
        let deadline = u64::try_from(actions.deadline.unwrap_or(DEADLINE).as_micros()).unwrap_or(u64::MAX);
        Ok(Request {
            record: id_text(record),
            statement: Statement {
                model_certificate: circuit.certificate.clone(),
                weights: circuit.model.clone(),
                features: Some(features::of(names, &receipt.record.fields)?),
                ..Statement::about(
                    &leaf_hash(&receipt.record.leaf.0),
                    &circuit.circuit,
                    &circuit.quantisation,
                )
            },
            backend: prover.backend.name().to_owned(),
            rule: Some(rule),
            deadline: Some(leaf.completed_at.saturating_add(deadline)),
            priority: 0,
            limits: prover.limits,
            webhook: self.provers.webhooks.as_ref().and_then(|webhooks| webhooks.url.clone()),
            evidence: Some(hex::encode(evidence)),
        })
    }
}

/// The rule that decided about a record.
fn rule(receipt: &Receipt) -> Result<Option<String>, CborError> {
    for field in &receipt.record.fields {
        if let Field::Opened(opened) = field
            && opened.number == DECISION
        {
            let (_, value) = decode_field(&opened.value.0)?;
            let rule = DecisionField::read(value)?.rule;
            return Ok(rule.map(|rule| String::from_utf8_lossy(&rule).into_owned()));
        }
    }
    Ok(None)
}
