//! A proof in the receipt: that it is the one the log committed to, and is about this very record; then whether it holds, by the
//! reader's own prover program. Nothing that the proof's maker says of it counts.

use colophon_receipt::evidence::{EvidenceLeaf, Verdict};
use colophon_receipt::features;
use colophon_receipt::fields::{BodyDigest, REQUEST_FORWARDED};
use colophon_receipt::proof::{GREEDY, Proof, Statement};
use colophon_receipt::receipt::{Field, ProofPart};

use crate::Bodies;
use crate::anchors::TimeSide;
use crate::bodies::Body;
use crate::checks::{Checks, PROOF};
use crate::record::Record;
use crate::report;
use crate::text::{quoted, shown};
use crate::trust::Trust;

mod certificate;

/// Who looks at artefacts for the reader.
pub trait ProofVerifier: Send + Sync {
    /// Whether the artefact is a proof of exactly this statement.
    ///
    /// # Errors
    /// [`NotProven`] says whether the artefact was refused, or could not be looked at.
    fn verify(&self, statement: &Statement, artefact: &[u8]) -> Result<Accepted, NotProven>;
}

/// What the reader's verifier says of a proof that it accepts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Accepted {
    /// Where it says that the parameters of its circuit come from: `local` when whoever made them could forge proofs.
    pub setup: Option<String>,
    /// What the proof shows beside the statement, such as a score.
    pub claims: Option<serde_json::Value>,
    /// SHA-256 of the structured reference string that it looked with, lower-case hexadecimal.
    pub srs: Option<String>,
    /// SHA-256 of the circuit's settings that it looked with, likewise.
    pub settings: Option<String>,
}

/// Why an artefact is not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotProven {
    /// It is no proof of the statement.
    Refused(String),
    /// Nobody can say: the reader's program could not be run, or has not this circuit.
    Unknown(String),
}

/// What the reader has besides the receipt.
pub(crate) struct Reader<'a> {
    /// When the record was made, by others.
    pub(crate) stamps: &'a TimeSide,
    pub(crate) trust: Option<&'a Trust>,
    pub(crate) bodies: &'a Bodies,
}

/// Who says for the reader which token ids belong to a text: the tokenizer and the chat template of a model that the reader holds to be
/// the certified one.
pub trait TokenReader: Send + Sync {
    /// Whether the statement's tokenizer and template are these, its prompt is what they make of the request, and its output is the
    /// answer.
    ///
    /// # Errors
    /// [`NotProven`] says whether something else follows, or nobody can say.
    fn check(&self, statement: &Statement, request: &[u8], response: &[u8]) -> Result<(), NotProven>;
}

/// What came of it.
pub(crate) struct ZkSide {
    pub(crate) report: report::Proof,
    /// It holds, by the reader's own verifier, for a circuit that the trust file names.
    pub(crate) verified: bool,
}

/// Makes the check `proof`, where leaves of the receipt have some: none may be bad. Of what is good the first tells that counts,
/// else the first.
pub(crate) fn check<'a>(
    proven: impl Iterator<Item = (&'a ProofPart, &'a EvidenceLeaf)>,
    record: &Record,
    fields: &[Field],
    reader: &Reader<'_>,
    checks: &mut Checks,
) -> Option<ZkSide> {
    let proven: Vec<_> = proven.collect();
    let named = |(part, _): &(&'a ProofPart, _)| part.proof.statement.model_certificate.as_deref();
    let named: Vec<&str> = proven.iter().filter_map(named).collect();
    let judged = proven.iter().map(|(part, leaf)| judge(part, leaf, record, fields, reader, &named));
    let mut judged = match judged.collect::<Result<Vec<_>, String>>() {
        Ok(judged) => judged,
        Err(why) => {
            checks.add(PROOF, Err(why));
            return None;
        }
    };
    // Stable: of equals the first stays first.
    judged.sort_by_key(|(_, side)| !side.verified);
    let (what, side) = judged.into_iter().next()?;
    match side.verified {
        true => drop(checks.add(PROOF, Ok(what))),
        false => checks.skip(PROOF, what),
    }
    Some(side)
}

/// What is to be said of a proof that is not bad. `named`: the certificates that the receipt's proofs name.
fn judge(
    part: &ProofPart,
    leaf: &EvidenceLeaf,
    record: &Record,
    fields: &[Field],
    reader: &Reader<'_>,
    named: &[&str],
) -> Result<(String, ZkSide), String> {
    let Reader { trust, bodies, .. } = *reader;
    is_of(part, leaf, record, fields)?;
    let certified = certificate::of(&part.proof.statement, record.leaf.completed_at, reader, named)?;
    let proof = &part.proof;
    let unread = match tokens(&proof.statement, record, bodies) {
        Ok(()) => None,
        Err(NotProven::Refused(why)) => return Err(why),
        Err(NotProven::Unknown(why)) => Some(why),
    };
    let circuit = &proof.statement.circuit;
    let known = trust.and_then(|trust| trust.circuits.iter().find(|known| known.circuit == *circuit));
    let mut side = ZkSide {
        report: report::Proof {
            circuit: shown(circuit),
            name: known
                .map(|known| shown(&known.name))
                .or_else(|| certified.named.as_ref().map(|named| shown(&named.name))),
            certificate: proof.statement.model_certificate.as_deref().map(shown),
            certified_by: certified.by.clone(),
            prover: shown(&proof.prover),
            hides: proof.hides,
            setup: proof.setup.as_deref().map(shown),
            quantisation: shown(&proof.statement.quantisation),
            tokens: proof.statement.output.as_ref().map(Vec::len),
            verified: false,
            claims: None,
        },
        verified: false,
    };
    let (kind, prover) = (kind(proof), quoted(proof.prover.as_bytes()));
    let Some(verifier) = &bodies.prover else {
        let what = format!(
            "a {kind} proof by {prover}, about this record; accepted by the operator's own verifier, which is its word. To check it give \
             --prover-cmd COMMAND: a program of the prover protocol with the circuit whose verifying key has the digest {circuit}"
        );
        return Ok((what, side));
    };
    match verifier.verify(&proof.statement, &proof.artefact.0) {
        Err(NotProven::Refused(why)) => Err(format!("your prover program refuses it: {why}")),
        Err(NotProven::Unknown(why)) => Ok((format!("your prover program cannot say: {why}"), side)),
        Ok(accepted) => {
            let has_srs = certified.has_srs(accepted.srs.as_deref())?;
            certified.has_settings(accepted.settings.as_deref())?;
            // Only the reader's own word makes the parameters a ceremony's; the operator's is shown.
            let ceremony = accepted.setup.as_deref() == Some("ceremony") && certified.allows_ceremony();
            let setup = match certified.allows_ceremony() {
                true => accepted.setup.or_else(|| proof.setup.clone()),
                false => certified.named.as_ref().map(|named| named.setup.clone()),
            };
            let local = setup.as_deref() == Some("local");
            side.report.setup = setup.as_deref().map(shown);
            side.report.claims = accepted.claims;
            let holds = format!("the {kind} proof by {prover} holds for the circuit {circuit}");
            let what = if !has_srs {
                format!(
                    "{holds}, but your prover program does not say with which SRS it looked, and the model certificate names one"
                )
            } else if !ceremony && !trust.is_some_and(|trust| trust.allow_local_setup) {
                let whose = match local {
                    true => "its parameters are local",
                    false => "your prover program does not say that its parameters are a ceremony's",
                };
                format!(
                    "{holds}, but {whose}: whoever made them can forge proofs; refused without --allow-local-setup"
                )
            } else if let Some(why) = unread {
                format!("{holds}, but whether it is about this answer nobody can say: {why}")
            } else if let Some(known) = known {
                side.verified = true;
                format!("{holds}, which your trust file names {}", quoted(known.name.as_bytes()))
            } else if let (Some(by), Some(named)) = (&certified.by, &certified.named) {
                side.verified = true;
                let name = quoted(named.name.as_bytes());
                format!("{holds}, which is {name} of the model that \"{by}\" certified")
            } else {
                let why = certified.why.map(|why| format!("; {why}")).unwrap_or_default();
                format!(
                    "{holds}, but your trust file does not name it (circuits): anybody can make a circuit that says anything{why}"
                )
            };
            side.report.verified = side.verified;
            Ok((what, side))
        }
    }
}

/// How a proof is labelled.
fn kind(proof: &Proof) -> &'static str {
    if proof.hides { "zk" } else { "succinct" }
}

/// The proof is the one that the leaf commits to, and its statement follows from the record.
fn is_of(part: &ProofPart, leaf: &EvidenceLeaf, record: &Record, fields: &[Field]) -> Result<(), String> {
    let proof = &part.proof;
    if leaf.verdict != Verdict::Holds {
        return Err(format!("the receipt has a proof, and the log says {}", leaf.verdict.as_str()));
    }
    proof.check().map_err(|error| error.to_string())?;
    let salt = part.salt.salt().ok_or("the salt of its commitment is not 16 bytes")?;
    if proof.commitment(&salt).map_err(|error| error.to_string())? != leaf.commitment {
        return Err("it is not the proof that the evidence leaf commits to".into());
    }
    let statement = &proof.statement;
    if statement.record().map_err(|error| error.to_string())? != record.leaf_hash {
        return Err("its statement is about another record".into());
    }
    if !record.fields_hold {
        return Err("its statement follows from fields that do not hold".into());
    }
    let about_tokens = [statement.prompt.is_some(), statement.output.is_some(), statement.decode.is_some()];
    let by = [statement.tokenizer.is_some(), statement.template.is_some()];
    if about_tokens.contains(&true) && (about_tokens.contains(&false) || by.contains(&false)) {
        return Err("its statement has token ids, but not all that says what they are".into());
    }
    if statement.decode.as_ref().is_some_and(|rule| rule != GREEDY) {
        return Err("its statement has a decode rule that this version does not know".into());
    }
    let Some(said) = &statement.features else {
        return match statement.prompt {
            Some(_) => Ok(()),
            None => Err("its statement says nothing of the record but its hash".into()),
        };
    };
    if said.is_empty() {
        return Err("its statement has features, and none among them: it says nothing of the record".into());
    }
    let own = features::of(said.keys().map(String::as_str), fields).map_err(|error| error.to_string())?;
    for (name, value) in said {
        let own = own.get(name).copied().unwrap_or_default();
        if own != *value {
            let name = quoted(name.as_bytes());
            return Err(format!(
                "its statement says {name} = {value}, from the record's fields follows {own}"
            ));
        }
    }
    Ok(())
}

/// That the statement's token ids, if it has some, are those of the recorded request and answer, which only the reader's copies
/// have.
fn tokens(statement: &Statement, record: &Record, bodies: &Bodies) -> Result<(), NotProven> {
    if statement.prompt.is_none() {
        return Ok(());
    }
    let unknown = |why: &str| Err(NotProven::Unknown(why.to_owned()));
    let Some(reader) = &bodies.tokens else {
        return unknown("to read its token ids give --model DIR: the certified model's folder");
    };
    if record.leaf.present >> REQUEST_FORWARDED & 1 == 1 {
        return unknown("the request was not forwarded as it was received");
    }
    let opened = &record.opened;
    // What was said is in the body as decoded, where it was encoded.
    let request = recorded(&bodies.request, [opened.request_decoded, opened.request_body]);
    let response = recorded(&bodies.response, [opened.response_decoded, opened.response_body]);
    let (Some(request), Some(response)) = (request, response) else {
        return unknown(
            "it is about token ids: give --request FILE and --response FILE, the recorded bodies",
        );
    };
    reader.check(statement, request, response)
}

/// The first of these bodies that the reader's copy has.
fn recorded(copy: &Option<Body>, digests: [Option<BodyDigest>; 2]) -> Option<&[u8]> {
    let copy = copy.as_ref()?;
    digests.iter().flatten().find_map(|digest| copy.recorded(digest))
}
