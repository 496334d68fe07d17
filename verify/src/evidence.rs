//! What came of evidence for the record: leaves of later batches, each proved to be in the log. Of its draw there is one, and one
//! more where somebody asked for it.

use colophon_receipt::evidence::{EvidenceLeaf, Verdict, asked_id, draw_id};
use colophon_receipt::merkle::leaf_hash;
use colophon_receipt::receipt::{EvidencePart, MAX_EVIDENCE, Receipt};
use colophon_receipt::statement::Statement;
use colophon_signer::cose::Sign1;

use crate::basis::Basis;
use crate::checks::{Checks, EVIDENCE};
use crate::log::{self, Announced, LogProof, LogSide, same_tree};
use crate::proof::{self, Reader, ZkSide};
use crate::record::Record;
use crate::report::Draw;
use crate::revoked;
use crate::text::time;
use crate::trust::Trust;

/// Evidence, and whether it was asked for.
type Leaves = Vec<(EvidenceLeaf, bool)>;

/// Makes the checks `evidence` and `proof`, where the receipt has some, and says in `draw` what came of it.
pub(crate) fn check(
    receipt: &Receipt,
    record: Option<&Record>,
    log: &mut LogSide,
    reader: &Reader<'_>,
    draw: &mut Option<Draw>,
    checks: &mut Checks,
) -> Option<ZkSide> {
    if receipt.evidence.is_empty() {
        return None;
    }
    let trust = reader.trust;
    let (Some(record), Some(statement)) = (record, &log.statement) else {
        checks.skip(EVIDENCE, "needs the record leaf and its statement");
        return None;
    };
    let all = all(receipt, record, statement, log, trust).map(|(leaves, bases)| {
        let uncounted = revoked::uncounted(trust, &bases, log, reader.stamps);
        (leaves, bases, uncounted)
    });
    let (leaves, bases) = match all {
        Ok((_, _, Some(why))) => {
            checks.skip(EVIDENCE, why);
            return None;
        }
        Ok((leaves, bases, None)) => (leaves, bases),
        Err(why) => {
            checks.add(EVIDENCE, Err(why));
            return None;
        }
    };
    let said = leaves.iter().zip(&receipt.evidence).map(|((leaf, asked), part)| {
        if !asked {
            let Some(draw) = draw.as_mut() else { return Err("its rule draws nothing".into()) };
            if draw.drawn == Some(false) {
                return Err(format!("the record was not drawn by round {}", draw.round));
            }
            draw.evidence = Some(leaf.verdict.as_str());
        }
        let said = match leaf.verdict {
            Verdict::NotDone => "drawn, but not done: nothing was made",
            Verdict::Holds if part.proof.is_some() => "made, and accepted by the operator's own verifier",
            Verdict::Holds => "made, and accepted by the operator's own verifier; it is not in this receipt",
            Verdict::Fails => "made, and refused by the operator's own verifier",
        };
        Ok(format!("logged {} for {}: {said}", time(leaf.at), leaf.kind))
    });
    let said = said.collect::<Result<Vec<String>, String>>().map(|said| said.join("; "));
    let good = match said {
        Ok(said) if trust.is_none() => {
            let what = format!("{said}; without a trust file the log's signature cannot be checked");
            checks.skip(EVIDENCE, what);
            true
        }
        said => checks.add(EVIDENCE, said),
    };
    if !good {
        return None;
    }
    log.bases.extend(bases);
    let proven = leaves.iter().zip(&receipt.evidence);
    let proven = proven.filter_map(|((leaf, _), part)| Some((part.proof.as_ref()?, leaf)));
    proof::check(proven, record, &receipt.record.fields, reader, checks)
}

fn all(
    receipt: &Receipt,
    record: &Record,
    statement: &Statement,
    log: &LogSide,
    trust: Option<&Trust>,
) -> Result<(Leaves, Vec<Basis>), String> {
    if receipt.evidence.len() > MAX_EVIDENCE {
        return Err(format!("more than {MAX_EVIDENCE} pieces"));
    }
    let mut leaves = Leaves::new();
    let mut bases = Vec::new();
    for part in &receipt.evidence {
        let leaf =
            EvidenceLeaf::decode(&part.leaf.0).map_err(|error| format!("no evidence leaf: {error}"))?;
        if leaf.subject != record.leaf_hash {
            return Err("it is about another record".into());
        }
        let (to, id, hash) = (statement.to, &record.leaf.id, &record.leaf_hash);
        let asked = leaf.id == asked_id(to, id, hash, leaf.kind);
        let drawn = record.leaf.draw.is_some_and(|(_, target)| target == leaf.kind)
            && leaf.id == draw_id(to, id, hash, leaf.kind);
        if !asked && !drawn {
            return Err("it is not of this record's draw, nor what was asked for".into());
        }
        if leaves.iter().any(|(known, _)| known.id == leaf.id) {
            return Err("more evidence than the record was drawn for".into());
        }
        let (proof, rests_on) = logged(part, &leaf, log, trust)?;
        if let Some(record) = &log.proof
            && proof.checkpoint.origin == record.checkpoint.origin
            && proof.index <= record.index
        {
            return Err("it comes before its record".into());
        }
        bases.extend(rests_on);
        leaves.push((leaf, asked));
    }
    Ok((leaves, bases))
}

/// The leaf is in a batch whose statement is in the log, by a key that the log announced. Gives the proof of that, and what it
/// rests on.
pub(crate) fn logged(
    part: &EvidencePart,
    leaf: &EvidenceLeaf,
    log: &LogSide,
    trust: Option<&Trust>,
) -> Result<(LogProof, Vec<Basis>), String> {
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
    let signed = trust.map(|trust| proof.check_signature(trust)).transpose()?;
    if let Some(record) = &log.proof {
        same_tree(&proof.checkpoint, &record.checkpoint)?;
    }
    let what = format!("the evidence for {}", leaf.kind);
    let basis = Basis::new(what, &proof, *cose.kid(), signed);
    let mut bases = vec![Basis { times: vec![leaf.at, statement.from], ..basis }];
    if let (Some(part), Some(own)) = (&part.announcement, &own) {
        bases.push(own.check(part, &proof, trust)?);
    }
    log::check_validity(announced, &proof, None, Some(&statement))?;
    Ok((proof, bases))
}
