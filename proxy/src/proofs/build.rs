//! From a record to a job: what is to be proven follows from the record and the circuit, and from nothing else.

use super::kept::Said;
use super::{DEADLINE, Proving};
use colophon_chat::{ChatError, Ids, Model};
use colophon_policies::Policy;
use colophon_provers::{Request, Statement};
use colophon_receipt::cbor::{CborError, Value};
use colophon_receipt::features::{self, FeatureError};
use colophon_receipt::fields::{
    BodyDigest, DECISION, DecisionField, REQUEST_BODY, REQUEST_DECODED, REQUEST_FORWARDED, RESPONSE_BODY,
    RESPONSE_DECODED,
};
use colophon_receipt::merkle::{leaf_hash, sha256};
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
    #[error(
        "a language model's proof is about the bodies, which are not here (any more): they have to be given (`request`, `response`)"
    )]
    NoBodies,
    #[error("its token ids could not be looked for: {0}")]
    CutShort(#[from] tokio::task::JoinError),
    #[error("the {0} is not the recorded one")]
    OtherBody(&'static str),
    #[error("the request was not forwarded as it was received")]
    Forwarded,
    #[error("prompt and answer are longer than the circuit's context of {0} tokens")]
    TooLong(usize),
    #[error(transparent)]
    Chat(#[from] ChatError),
}

impl NoJob {
    /// All that is known, for whoever has the bodies and for no log: it may quote them.
    pub(super) fn in_full(&self) -> String {
        match self {
            NoJob::Chat(error) => error.in_full(),
            other => other.to_string(),
        }
    }
}

impl Proving {
    /// The job that proves the circuit's decision about a record, or its answer: by `backend`, or the prover of the record's rule.
    pub(super) async fn job(
        &self,
        policy: &Policy,
        receipt: &Receipt,
        record: &RecordId,
        evidence: RecordId,
        backend: Option<&str>,
        said: Option<Said>,
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
        let mut statement = Statement {
            model_certificate: circuit.certificate.clone(),
            weights: circuit.model.clone(),
            ..Statement::about(&leaf_hash(&receipt.record.leaf.0), &circuit.circuit, &circuit.quantisation)
        };
        match &prover.model {
            Some(model) => {
                let (model, receipt) = (model.clone(), receipt.clone());
                let said = said.ok_or(NoJob::NoBodies)?;
                statement.tokenizer = Some(model.tokenizer_digest.clone());
                statement.template = Some(model.template_digest.clone());
                statement.decode = circuit.decode.clone();
                // Of long texts it takes a while, which no exchange is to wait for.
                let ids = tokio::task::spawn_blocking(move || tokens(&model, &receipt, &said)).await??;
                // The last token is shown to nobody.
                if let Some(most) = circuit.context
                    && ids.prompt.len() + ids.output.len() > most.saturating_add(1)
                {
                    return Err(NoJob::TooLong(most));
                }
                (statement.prompt, statement.output) = (Some(ids.prompt), Some(ids.output));
            }
            None => {
                let names = circuit.features.iter().map(String::as_str);
                statement.features = Some(features::of(names, &receipt.record.fields)?);
            }
        }
        let deadline = u64::try_from(actions.deadline.unwrap_or(DEADLINE).as_micros()).unwrap_or(u64::MAX);
        Ok(Request {
            record: id_text(record),
            statement,
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

/// The token ids of the recorded bodies.
fn tokens(model: &Model, receipt: &Receipt, said: &Said) -> Result<Ids, NoJob> {
    if opened(receipt, REQUEST_FORWARDED)?.is_some() {
        return Err(NoJob::Forwarded);
    }
    is_recorded(receipt, [REQUEST_BODY, REQUEST_DECODED], &said.request, "request")?;
    is_recorded(receipt, [RESPONSE_BODY, RESPONSE_DECODED], &said.response, "response")?;
    Ok(model.ids(&said.request, &said.response)?)
}

/// That one of these fields has the body's digest.
fn is_recorded(receipt: &Receipt, fields: [u8; 2], body: &[u8], what: &'static str) -> Result<(), NoJob> {
    let own = BodyDigest { digest: sha256(body), size: body.len() as u64 };
    for number in fields {
        if let Some(value) = opened(receipt, number)?
            && BodyDigest::read(&value)? == own
        {
            return Ok(());
        }
    }
    Err(NoJob::OtherBody(what))
}

/// The rule that decided about a record.
fn rule(receipt: &Receipt) -> Result<Option<String>, CborError> {
    let Some(value) = opened(receipt, DECISION)? else { return Ok(None) };
    let rule = DecisionField::read(value)?.rule;
    Ok(rule.map(|rule| String::from_utf8_lossy(&rule).into_owned()))
}

/// The value of a field that the receipt opens.
fn opened(receipt: &Receipt, number: u8) -> Result<Option<Value>, CborError> {
    for field in &receipt.record.fields {
        if let Field::Opened(opened) = field
            && opened.number == number
        {
            let (_, value) = decode_field(&opened.value.0)?;
            return Ok(Some(value));
        }
    }
    Ok(None)
}
