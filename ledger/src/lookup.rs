//! From an id to a receipt: the index says which batch, then one read each of batch, openings and log.
//!
//! What is read back is checked against what was signed before it is handed out: a damaged store gives an error that
//! names the object, never a record, path or proof that does not verify. Signatures that left with the answer are not
//! under the record's leaf: they are handed out as they were kept, and judged by whoever verifies the receipt.

use crate::anchor::Anchors;
use crate::generation::{Older, is_statement};
use crate::head::{self, SignedHead, Stored};
use crate::index::Target;
use crate::ledger::LedgerError;
use crate::ledger::keeper::{batch_name, private_name};
use crate::ledger::objects::Objects;
use crate::log::{LogError, LogReader};
use crate::private::{Found, Opening, Vault};
use crate::witness::Kept;
use colophon_receipt::Level;
use colophon_receipt::erasure::ErasureId;
use colophon_receipt::evidence::{BatchLeaf, is_evidence};
use colophon_receipt::fields::{BodyDigest, REQUEST_BODY, RESPONSE_BODY};
use colophon_receipt::merkle::{self, Hash};
use colophon_receipt::receipt::{
    Anchor, AnnouncementPart, BatchPart, Bytes, FORMAT, Field, HttpSignature, NOTICE, OpenedField, Receipt,
    RecordPart,
};
use colophon_receipt::record::{FieldSet, RecordId, RecordLeaf, decode_field, id_text, salt};
use colophon_receipt::statement::{ANNOUNCEMENT_TYPE, Announcement, Statement};
use colophon_signer::cose::Sign1;
use colophon_signer::drand::Chain;
use colophon_signer::httpsig::{KeptSignature, Known, expand};

pub mod archive;
mod batches;
mod evidence;
mod hours;
mod key_evidence;
mod places;
pub(crate) mod upstream;

pub(crate) use batches::Batches;
pub(crate) use places::Places;

/// What is known of an id.
#[derive(Clone, Debug)]
pub enum Lookup {
    /// Accepted; not logged yet.
    Pending,
    /// Logged.
    Found(Box<Receipt>),
    /// Logged, and what opens it was deleted on purpose.
    Erased(ErasedRecord),
    /// Not in this ledger, or not yet written by another process that shares its store.
    Unknown,
}

/// What is known of a record whose opening was deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErasedRecord {
    /// The erasure's id, as in its log entry.
    pub erasure: ErasureId,
    /// When it was done (µs), and the index of its log entry; absent while it is under way.
    pub logged: Option<(u64, u64)>,
}

/// The parts of a ledger that a look-up reads.
pub(crate) struct Parts<'a> {
    pub(crate) reader: &'a LogReader,
    /// The newest.
    pub(crate) head: &'a SignedHead,
    pub(crate) kept: &'a Kept,
    pub(crate) anchors: &'a Anchors,
    /// Generations before this one.
    pub(crate) older: &'a [Older],
    pub(crate) objects: &'a Objects,
    pub(crate) places: &'a Places,
    pub(crate) vault: &'a Vault,
    pub(crate) batches: &'a Batches,
    /// Draws records.
    pub(crate) chain: &'a Chain,
}

/// The receipt of `id`, whose place is `known` or looked for. Its proofs lead to a dated checkpoint where there is one that
/// covers it, otherwise to a cosigned one, otherwise to the newest.
pub(crate) async fn find(
    parts: &Parts<'_>,
    id: &RecordId,
    known: Option<(Target, u32)>,
) -> Result<Lookup, LedgerError> {
    let Parts { reader, head, kept, anchors, older, objects, places, vault, batches, .. } = *parts;
    let place = match known {
        Some(place) => Some(place),
        None => places.find(objects, id).await?,
    };
    let Some((target, slot)) = place else { return Ok(Lookup::Unknown) };
    // Announcements stand before what they are for.
    let dated = anchors.covering(target.log_index).await;
    let cosigned = kept.covering(target.log_index);
    let newest = dated.as_ref().map(|dated| &dated.head).or(cosigned.as_deref()).unwrap_or(head);
    // What the newest known head does not cover an older generation may have, which can be told without asking the log.
    let covered = target.log_index < newest.size();
    let old = match covered {
        true => None,
        false => of_older(older, &target).await?,
    };
    let served = match covered || old.is_some() {
        true => None,
        false => newer(reader, head, target.log_index).await?,
    };
    let newest = served.as_ref().unwrap_or(newest);
    let (in_older, statement) = match old {
        Some((older, entry)) => (Some(older), entry),
        None => statement(reader, newest, older, &target).await?,
    };
    // Of an older generation the timestamps are with it.
    let (reader, anchors) = in_older.map_or((reader, anchors), |older| (&older.reader, &older.anchors));
    let dated = match in_older {
        Some(_) => anchors.covering(target.log_index).await,
        None => dated.clone(),
    };
    let head = in_older.map_or(newest, |older| older.head_for(target.log_index));
    let head = dated.as_ref().map_or(head, |dated| &dated.head);
    let (leaf, batch, to) = batch_part(objects, batches, &target, slot, &statement, id).await?;
    if is_evidence(&leaf) {
        // It stands in its record's receipt.
        return Ok(Lookup::Unknown);
    }
    let opening = match vault.opening(&target.shard, target.seq, slot, id).await? {
        Found::Opening(opening) => checked(opening, &target, &leaf)?,
        Found::Erased(erasure) => return Ok(Lookup::Erased(vault.erased(&erasure).await?)),
    };
    let mut announcements = vec![announcement(reader, target.announced, head, "the index").await?];
    if opening.announced != target.announced && !opening.signatures.is_empty() {
        let named_by = private_name(&target.shard, target.seq);
        announcements.push(announcement(reader, opening.announced, head, &named_by).await?);
    }
    let http_signatures = written_out(&opening, id, &leaf, &target)?;
    let drawn = evidence::of(parts, &leaf, to, &target).await?;
    let key_evidence = match is_attested(&leaf, &announcements) {
        true => key_evidence::of(parts, (reader, head), &target).await?,
        false => None,
    };
    let field = |(number, encoded): (u8, &[u8])| {
        let salt = Bytes(salt(&opening.seed, number).to_vec());
        Field::Opened(OpenedField { number, salt, value: encoded.into() })
    };
    Ok(Lookup::Found(Box::new(Receipt {
        format: FORMAT.to_owned(),
        notice: NOTICE.to_owned(),
        record: RecordPart { leaf: Bytes(leaf), fields: opening.fields.iter().map(field).collect() },
        batch,
        statement: statement[..].into(),
        log_proof: reader.tlog_proof(target.log_index, head).await?,
        announcements,
        http_signatures,
        anchors: dated
            .iter()
            .flat_map(|dated| &dated.tokens)
            .map(|token| Anchor::Rfc3161(token[..].into()))
            .collect(),
        beacon: beacon(anchors, &statement).await,
        upstream_evidence: upstream::of(objects, opening.fields.iter()).await.map(Bytes),
        key_evidence,
        round: drawn.round,
        evidence: drawn.evidence,
    })))
}

/// The head that the log serves by now, if it covers the entry at `index`, which another replica had logged: `known` is the newest
/// that this one has heard of, and that one has to continue it.
async fn newer(
    reader: &LogReader,
    known: &SignedHead,
    index: u64,
) -> Result<Option<SignedHead>, LedgerError> {
    if !known.is_known() {
        return Ok(None);
    }
    let mut garbled = None;
    for key in reader.genesis_keys(&known.checkpoint).await? {
        match head::read(reader.store(), &key).await.map_err(LogError::from)? {
            Stored::Head(served) if served.size() > index => {
                reader.consistency(&known.checkpoint, &served.checkpoint).await?;
                return Ok(Some(served));
            }
            Stored::Garbled(why) => garbled = Some(why),
            Stored::Head(_) => return Ok(None),
            Stored::Missing => {}
        }
    }
    if let Some(why) = garbled {
        tracing::warn!(why, "the log's checkpoint cannot be read: what is newer is not found");
    }
    Ok(None)
}

/// Whether there may be evidence about the key: the record claims `tee`, or the key was announced with some. Others' receipts
/// are spared the look.
fn is_attested(leaf: &[u8], announcements: &[AnnouncementPart]) -> bool {
    let announced = || {
        let signed = Sign1::parse(&announcements.first()?.statement.0).ok()?;
        Announcement::decode(signed.payload()).ok()?.attestation
    };
    RecordLeaf::decode(leaf).is_ok_and(|leaf| leaf.level >= Level::Tee) || announced().is_some()
}

/// The log entry that an index row names, and the generation that it is in: the newest, unless an older one has it.
async fn statement<'a>(
    reader: &LogReader,
    head: &SignedHead,
    older: &'a [Older],
    target: &Target,
) -> Result<(Option<&'a Older>, Vec<u8>), LedgerError> {
    let newest = reader.entry(target.log_index, &head.checkpoint).await;
    if newest.as_ref().is_ok_and(|entry| is_statement(entry, target)) || older.is_empty() {
        return Ok((None, newest?));
    }
    match of_older(older, target).await? {
        Some((older, entry)) => Ok((Some(older), entry)),
        None => Ok((None, newest?)),
    }
}

/// The same, if an older generation has it.
async fn of_older<'a>(
    older: &'a [Older],
    target: &Target,
) -> Result<Option<(&'a Older, Vec<u8>)>, LedgerError> {
    for older in older {
        let head = older.head_for(target.log_index);
        if target.log_index >= head.size() {
            continue;
        }
        let entry = older.reader.entry(target.log_index, &head.checkpoint).await?;
        if is_statement(&entry, target) {
            return Ok(Some((older, entry)));
        }
    }
    Ok(None)
}

/// The token that the statement names, if it names one and it is at hand.
async fn beacon(anchors: &Anchors, statement: &[u8]) -> Option<Bytes> {
    let signed = Sign1::parse(statement).ok()?;
    let hash = Statement::decode(signed.payload()).ok()?.beacon?;
    anchors.named(&hash).await.map(Bytes)
}

/// The leaf of `id`, its path to the root that the statement signs, and the end of the statement's interval, µs.
async fn batch_part(
    objects: &Objects,
    batches: &Batches,
    target: &Target,
    slot: u32,
    statement: &[u8],
    id: &RecordId,
) -> Result<(Vec<u8>, BatchPart, u64), LedgerError> {
    let name = batch_name(&target.shard, target.seq);
    let entry = format!("log entry {}", target.log_index);
    let signed = Sign1::parse(statement).map_err(|e| damage(&entry, e))?;
    let signed = Statement::decode(signed.payload()).map_err(|e| damage(&entry, e))?;
    let place = batches.leaf(objects, &name, slot, signed.count, &signed.root).await?;
    let (leaf, path) = place.ok_or_else(|| damage(&name, "it has no such slot"))?;
    if BatchLeaf::decode(&leaf).map_err(|e| damage(&name, e))?.id() != *id {
        return Err(damage(&name, "another record is in the slot that the index names"));
    }
    let index = u64::from(slot);
    let path = path.iter().map(|hash| hash[..].into()).collect();
    Ok((leaf, BatchPart { index, path }, signed.to))
}

/// What opens the record, if it does.
fn checked(opening: Opening, target: &Target, leaf: &[u8]) -> Result<Opening, LedgerError> {
    let name = private_name(&target.shard, target.seq);
    let leaf = RecordLeaf::decode(leaf).map_err(|e| damage(&name, e))?;
    let root = merkle::root(&opening.fields.hashes(&opening.seed));
    if root != leaf.field_root || opening.fields.present() != leaf.present {
        return Err(damage(&name, "it does not open the record"));
    }
    Ok(opening)
}

/// Signatures as they stand in receipts: with their bases as they were signed.
fn written_out(
    opening: &Opening,
    id: &RecordId,
    leaf: &[u8],
    target: &Target,
) -> Result<Vec<HttpSignature>, LedgerError> {
    if opening.signatures.is_empty() {
        return Ok(Vec::new());
    }
    let (request, response) = (digest(&opening.fields, REQUEST_BODY), digest(&opening.fields, RESPONSE_BODY));
    let known = Known {
        request: request.as_ref(),
        response: response.as_ref(),
        id: &id_text(id),
        leaf: &merkle::leaf_hash(leaf),
    };
    let one = |kept: &KeptSignature| {
        let base =
            expand(&kept.base, &known).map_err(|e| damage(&private_name(&target.shard, target.seq), e))?;
        Ok(HttpSignature { base, signature: Bytes(kept.signature.to_vec()) })
    };
    opening.signatures.iter().map(one).collect()
}

/// A body's digest, where the record has one.
fn digest(fields: &FieldSet, number: u8) -> Option<Hash> {
    let (_, value) = decode_field(fields.get(number)?).ok()?;
    BodyDigest::read(&value).ok().map(|body| body.digest)
}

/// The announcement at `index`, which no proof vouches for but the object `named_by`.
async fn announcement(
    reader: &LogReader,
    index: u64,
    head: &SignedHead,
    named_by: &str,
) -> Result<AnnouncementPart, LedgerError> {
    if index >= head.size() {
        return Err(damage(named_by, "it names an announcement that is not in the log"));
    }
    let statement = reader.entry(index, &head.checkpoint).await?;
    if !Sign1::parse(&statement).is_ok_and(|signed| signed.content_type() == ANNOUNCEMENT_TYPE) {
        return Err(damage(named_by, format!("log entry {index}, which it names, is no announcement")));
    }
    let log_proof = reader.tlog_proof(index, head).await?;
    Ok(AnnouncementPart { statement: statement[..].into(), log_proof })
}

fn damage(what: &str, why: impl std::fmt::Display) -> LedgerError {
    LedgerError::Damaged { what: what.to_owned(), why: why.to_string() }
}

fn missing(what: &str) -> LedgerError {
    damage(what, "it is missing")
}
