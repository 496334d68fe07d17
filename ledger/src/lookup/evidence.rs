//! What a receipt says of its record's draw: the round, and what came of evidence.

use super::{Parts, announcement, batch_part, damage, statement};
use crate::draws::rounds;
use crate::head::SignedHead;
use crate::index::Target;
use crate::ledger::LedgerError;
use crate::log::LogReader;
use colophon_receipt::draw;
use colophon_receipt::evidence::{asked_id, draw_id};
use colophon_receipt::merkle::{leaf_hash, sha256};
use colophon_receipt::receipt::{Bytes, EvidencePart, RoundPart};
use colophon_receipt::record::{RecordId, RecordLeaf};
use colophon_receipt::{Hash, Level};
use std::time::Instant;

/// The parts of a receipt that come later.
#[derive(Default)]
pub(super) struct Later {
    pub(super) round: Option<RoundPart>,
    pub(super) evidence: Vec<EvidencePart>,
}

/// What is known by now of the draw of a record, whose statement is `own` and ends at `to`.
pub(super) async fn of(parts: &Parts<'_>, leaf: &[u8], to: u64, own: &Target) -> Result<Later, LedgerError> {
    let record = RecordLeaf::decode(leaf).map_err(|e| damage("a record's leaf", e))?;
    let hash = leaf_hash(leaf);
    let mut later = drawn(parts, &record, &hash, to, own).await?;
    for id in parts.vault.proofs_of(&record.id).await? {
        if id == asked_id(to, &record.id, &hash, Level::Zk)
            && let Some((place, slot)) = parts.places.find(parts.objects, &id).await?
        {
            later.evidence.extend(of_record(parts, &record.id, &id, (&place, slot), own).await?);
        }
    }
    Ok(later)
}

/// What is known of its draw.
async fn drawn(
    parts: &Parts<'_>,
    record: &RecordLeaf,
    hash: &Hash,
    to: u64,
    own: &Target,
) -> Result<Later, LedgerError> {
    let Some((threshold, target)) = record.draw else { return Ok(Later::default()) };
    let number = parts.chain.schedule.round(to);
    let round = rounds::kept(parts.objects, parts.chain, number).await?;
    let drawn = match &round {
        _ if draw::certain(threshold) => true,
        Some(round) => draw::drawn(&sha256(&round.signature), hash, threshold),
        None => false,
    };
    let round = round.map(|round| RoundPart {
        chain: hex::encode(parts.chain.hash()),
        number,
        signature: Bytes(round.signature),
    });
    let mut later = Later { round, evidence: Vec::new() };
    let id = draw_id(to, &record.id, hash, target);
    if drawn
        // Until somebody has made it, it is not there.
        && let Some((place, slot)) = parts.places.find_since(parts.objects, &id, Instant::now()).await?
    {
        later.evidence.extend(of_record(parts, &record.id, &id, (&place, slot), own).await?);
    }
    Ok(later)
}

/// A leaf about a record, with the proof that it commits to, where one is kept. `None` where it was logged while this look-up was
/// under way: the head at hand does not cover it.
async fn of_record(
    parts: &Parts<'_>,
    record: &RecordId,
    id: &RecordId,
    (place, slot): (&Target, u32),
    own: &Target,
) -> Result<Option<EvidencePart>, LedgerError> {
    let index = place.log_index;
    let covered =
        index < parts.head.size() || parts.older.iter().any(|older| index < older.head_for(index).size());
    if !covered {
        return Ok(None);
    }
    // A newer head than the record's: evidence comes long after what dates that. One with witnesses where there is one, since
    // readers who ask for them ask here too.
    let cosigned = parts.kept.covering(index);
    let (older, signed) = statement(parts.reader, parts.head, parts.older, place).await?;
    let (reader, head) = match older {
        Some(older) => (&older.reader, older.head_for(place.log_index)),
        None => (parts.reader, cosigned.as_deref().unwrap_or(parts.head)),
    };
    let part = part(parts, id, (place, slot), own, &signed, (reader, head)).await?;
    // A receipt without a proof that cannot be read is better than none.
    let proof = parts.vault.proof(record, id).await.unwrap_or_else(|error| {
        tracing::error!(%error, "a proof cannot be read; receipts go without it");
        None
    });
    Ok(Some(EvidencePart { proof, ..part }))
}

/// The leaf `id`, with its proof in the log as `reader` reads it at `head`, where its statement is `signed`.
pub(super) async fn part(
    parts: &Parts<'_>,
    id: &RecordId,
    (place, slot): (&Target, u32),
    own: &Target,
    signed: &[u8],
    (reader, head): (&LogReader, &SignedHead),
) -> Result<EvidencePart, LedgerError> {
    let (leaf, batch, _) = batch_part(parts.objects, parts.batches, place, slot, signed, id).await?;
    let announcement = match place.shard == own.shard {
        true => None,
        false => Some(announcement(reader, place.announced, head, "the index").await?),
    };
    Ok(EvidencePart {
        proof: None,
        leaf: Bytes(leaf),
        batch,
        statement: signed.into(),
        log_proof: reader.tlog_proof(place.log_index, head).await?,
        announcement,
    })
}
