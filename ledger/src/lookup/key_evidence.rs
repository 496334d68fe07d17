//! Evidence about the key that signed a record's statement, made while the key was in use: the newest that was logged before the
//! record, since that is what was known of the machine then; where there is none yet, the first after it.

use super::evidence::part;
use super::{Parts, upstream};
use crate::attest::note::{self, Note};
use crate::head::SignedHead;
use crate::index::Target;
use crate::ledger::LedgerError;
use crate::ledger::keeper::{about_key_folder, about_key_name};
use crate::log::LogReader;
use colophon_receipt::evidence::EvidenceLeaf;
use colophon_receipt::receipt::{Bytes, KeyEvidencePart};

/// So many notes are looked at, at most: one that leads nowhere is of a statement that was never logged.
const LOOKS: usize = 4;

/// For the record whose statement is `own`, proved at `head` like the record itself if that is late enough, so that what
/// dates the one dates the other; else at a cosigned head, or the newest. What is damaged is told and passed over.
pub(super) async fn of(
    parts: &Parts<'_>,
    (reader, head): (&LogReader, &SignedHead),
    own: &Target,
) -> Result<Option<KeyEvidencePart>, LedgerError> {
    let names = parts.objects.list(&about_key_folder(&own.shard)).await?;
    let mut seqs: Vec<u64> = names.iter().filter_map(|name| name.parse().ok()).collect();
    seqs.sort_unstable();
    let (before, after) = seqs.split_at(seqs.partition_point(|seq| *seq <= own.seq));
    for seq in before.iter().rev().take(LOOKS).chain(after.iter().take(LOOKS)) {
        match found(parts, (reader, head), own, *seq).await {
            Ok(None) => {}
            Ok(found) => return Ok(found),
            Err(error) => {
                let name = about_key_name(&own.shard, *seq);
                tracing::error!(%error, name, "evidence about a key cannot be read; receipts go without it");
            }
        }
    }
    Ok(None)
}

async fn found(
    parts: &Parts<'_>,
    (reader, head): (&LogReader, &SignedHead),
    own: &Target,
    seq: u64,
) -> Result<Option<KeyEvidencePart>, LedgerError> {
    let name = about_key_name(&own.shard, seq);
    let Some(note) = parts.objects.get(&name, note::MAX_BYTES).await? else { return Ok(None) };
    let note = Note::read(&note).map_err(|error| super::damage(&name, error))?;
    let Some((place, slot)) = parts.places.find(parts.objects, &note.id).await? else { return Ok(None) };
    if (place.shard.as_str(), place.seq) != (own.shard.as_str(), seq) {
        return Ok(None);
    }
    let Some(document) = upstream::kept(parts.objects, &note.digest).await else { return Ok(None) };
    // Of an ended generation of the log, `head` is its last that the record needs.
    let cosigned = parts.kept.covering(place.log_index);
    let head = match place.log_index < head.size() {
        true => head,
        false => cosigned.as_deref().unwrap_or(parts.head),
    };
    if place.log_index >= head.size() {
        return Ok(None);
    }
    let signed = reader.entry(place.log_index, &head.checkpoint).await?;
    let logged = part(parts, &note.id, (&place, slot), own, &signed, (reader, head)).await?;
    let leaf = EvidenceLeaf::decode(&logged.leaf.0).map_err(|error| super::damage(&name, error))?;
    if leaf.commitment != note.commitment() {
        return Err(super::damage(&name, "it does not open the leaf that it names"));
    }
    Ok(Some(KeyEvidencePart { document: Bytes(document), salt: note.salt[..].into(), logged }))
}
