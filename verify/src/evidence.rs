//! What came of evidence for the record: leaves of later batches, each proved to be in the log.

use colophon_receipt::evidence::{EvidenceLeaf, draw_id};
use colophon_receipt::merkle::leaf_hash;
use colophon_receipt::receipt::{EvidencePart, MAX_EVIDENCE, Receipt};
use colophon_receipt::statement::Statement;
use colophon_signer::cose::Sign1;

use crate::checks::{Checks, EVIDENCE};
use crate::log::{self, Announced, LogProof, LogSide, same_tree};
use crate::record::Record;
use crate::report::Draw;
use crate::text::time;
use crate::trust::Trust;

/// Makes the check `evidence`, where the receipt has some, and says in `draw` what came of it.
pub(crate) fn check(
    receipt: &Receipt,
    record: Option<&Record>,
    log: &LogSide,
    trust: Option<&Trust>,
    draw: &mut Option<Draw>,
    checks: &mut Checks,
) {
    if receipt.evidence.is_empty() {
        return;
    }
    let (Some(record), Some(statement)) = (record, &log.statement) else {
        return checks.skip(EVIDENCE, "needs the record leaf and its statement");
    };
    let found = all(receipt, record, statement, log, trust).and_then(|leaves| {
        let [leaf] = leaves.as_slice() else {
            return Err("more evidence than the record was drawn for".into());
        };
        let Some(draw) = draw.as_mut() else { return Err("its rule draws nothing".into()) };
        if draw.drawn == Some(false) {
            return Err(format!("the record was not drawn by round {}", draw.round));
        }
        draw.evidence = Some(leaf.verdict.as_str());
        let said = match leaf.verdict.as_str() {
            "not-done" => "drawn, but not done: nothing was made",
            "holds" => "made, and accepted by the operator's own verifier; it is not in this receipt",
            _ => "made, and refused by the operator's own verifier",
        };
        Ok(format!("logged {} for {}: {said}", time(leaf.at), leaf.kind))
    });
    match found {
        Ok(said) if trust.is_none() => checks
            .skip(EVIDENCE, format!("{said}; without a trust file the log's signature cannot be checked")),
        found => drop(checks.add(EVIDENCE, found)),
    }
}

fn all(
    receipt: &Receipt,
    record: &Record,
    statement: &Statement,
    log: &LogSide,
    trust: Option<&Trust>,
) -> Result<Vec<EvidenceLeaf>, String> {
    if receipt.evidence.len() > MAX_EVIDENCE {
        return Err(format!("more than {MAX_EVIDENCE} pieces"));
    }
    let mut leaves = Vec::new();
    for part in &receipt.evidence {
        let leaf =
            EvidenceLeaf::decode(&part.leaf.0).map_err(|error| format!("no evidence leaf: {error}"))?;
        if leaf.subject != record.leaf_hash {
            return Err("it is about another record".into());
        }
        if leaf.id != draw_id(statement.to, &record.leaf.id, &record.leaf_hash, leaf.kind)
            || record.leaf.draw.is_none_or(|(_, target)| target != leaf.kind)
        {
            return Err("it is not of this record's draw".into());
        }
        let proof = logged(part, &leaf, log, trust)?;
        if let Some(record) = &log.proof
            && proof.checkpoint.origin == record.checkpoint.origin
            && proof.index <= record.index
        {
            return Err("it comes before its record".into());
        }
        leaves.push(leaf);
    }
    Ok(leaves)
}

/// The leaf is in a batch whose statement is in the log, by a key that the log announced. Gives the proof of that.
pub(crate) fn logged(
    part: &EvidencePart,
    leaf: &EvidenceLeaf,
    log: &LogSide,
    trust: Option<&Trust>,
) -> Result<LogProof, String> {
    let cose = Sign1::parse(&part.statement.0).map_err(|error| error.to_string())?;
    let statement = Statement::decode(cose.payload()).map_err(|error| error.to_string())?;
    let proof = LogProof::parse(&part.log_proof)?;
    let own = part.announcement.as_ref().map(Announced::parse).transpose()?;
    let announced = own.as_ref().or(log.announced.first()).ok_or("no announcement of its key")?;
    log::in_batch(&part.batch, &leaf_hash(&part.leaf.0), &statement)?;
    log::check_statement(&cose, &statement, None, Some(&proof), Some(announced))?;
    if leaf.at < statement.from || leaf.at > statement.to {
        return Err("its time is outside its batch's interval".into());
    }
    log::check_key(&cose, announced)?;
    proof.check_inclusion(&part.statement.0)?;
    if let Some(trust) = trust {
        proof.check_signature(trust)?;
    }
    if let Some(record) = &log.proof {
        same_tree(&proof.checkpoint, &record.checkpoint)?;
    }
    if let (Some(part), Some(own)) = (&part.announcement, &own) {
        own.check(part, &proof, trust)?;
    }
    log::check_validity(announced, &proof, None, Some(&statement))?;
    Ok(proof)
}
