//! A ledger on a store in memory, exchanges for it, and an audit of all it logged.

use super::super::objects::Objects;
use super::super::*;
use crate::destination::LogAt;
use crate::draws::Drawing;
use crate::ledger::keeper::batch_name;
use crate::log::LogError;
use crate::wal::WalError;
use crate::{batch, index};
use colophon_receipt::checkpoint::TlogProof;
use colophon_receipt::erasure::{ERASURE_TYPE, Erasure};
use colophon_receipt::policy_change::{POLICY_CHANGE_TYPE, PolicyChange};
use colophon_receipt::receipt::{Field, Receipt};
use colophon_receipt::record::{FieldSet, field_hash, id_text, seal};
use colophon_receipt::record::{Record, RecordLeaf};
use colophon_receipt::statement::{
    ANNOUNCEMENT_TYPE, Announcement, CLOSE_TYPE, STATEMENT_TYPE, ShardClose, Statement, payload_hash,
};
use colophon_receipt::{Hash, Level, Outcome, fields, merkle};
use colophon_signer::cose::Sign1;
use colophon_signer::httpsig::{KeptSignature, Line, Value, Writer};
use colophon_signer::note::{Note, VerifierKey};
use colophon_signer::{Ed25519Key, PublicKey};
use object_store::ObjectStore;
use std::collections::BTreeMap;
use std::path::Path;

pub(crate) fn config(data: &Path) -> Config {
    Config {
        data: data.join("data"),
        stores: Stores::default(),
        state: Some(data.join("state")),
        name: "host".into(),
        origin: Some("log.example/test".into()),
        log: LogAt::Here(Arc::new(Ed25519Key::from_seed(&[7; 32]).unwrap())),
        batch_every: Duration::from_millis(2),
        heartbeat: Duration::from_secs(60),
        max_batch: 16,
        max_backlog: 1000,
        max_backlog_bytes: u64::MAX,
        max_backlog_age: Duration::from_secs(86400),
        durability: Durability::default(),
        adopt: false,
        private_key: None,
        policy: crate::PolicyText::new("{}"),
        shard_key_life: Duration::from_secs(86400),
        drawing: Drawing::default(),
        witnesses: None,
        timestamps: None,
        evidence: None,
    }
}

/// Opens a ledger whose folder holds only WAL and keys; log and openings are in `store`.
pub(crate) async fn open(
    config: Config,
    store: Arc<dyn ObjectStore>,
) -> Result<(Ledger, Keeper), LedgerError> {
    let folder = Folder::open(&config.data)?;
    Ledger::open_stores(config, folder, Objects(store.clone()), Objects(store)).await
}

/// The next life, once the task of the one before has let go of the folder.
pub(crate) async fn reopen(config: Config, store: &Arc<dyn ObjectStore>) -> (Ledger, Keeper) {
    for _ in 0..5000 {
        match open(config.clone(), store.clone()).await {
            Err(LedgerError::Locked(_) | LedgerError::Log(LogError::State(_))) => {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            opened => return opened.unwrap(),
        }
    }
    panic!("the folder stays locked");
}

pub(crate) fn request(n: u64) -> FieldSet {
    let mut set = FieldSet::new();
    let line =
        fields::RequestLine { path: Some(format!("/v1/{n}").into_bytes().into()), ..Default::default() };
    line.write(fields::REQUEST_LINE, &mut set);
    set
}

/// Accepts an exchange, OPEN written.
pub(crate) fn accept(ledger: &Ledger, n: u64) -> Result<Ticket, WalError> {
    let mut ticket = begin(ledger, n)?;
    ledger.open_now(&mut ticket)?;
    Ok(ticket)
}

/// Accepts an exchange, OPEN queued.
pub(crate) fn begin(ledger: &Ledger, n: u64) -> Result<Ticket, WalError> {
    let received_at = ledger.now();
    let id = ledger.new_id(received_at / 1000);
    ledger.begin(&Open { id, received_at, level: Level::Sign, fields: &request(n), tenant: None, rule: None })
}

pub(crate) fn seal_for(ledger: &Ledger, ticket: &mut Ticket, n: u64) -> Record {
    seal_at(ledger, ticket, n, Level::Sign)
}

fn seal_at(ledger: &Ledger, ticket: &mut Ticket, n: u64, level: Level) -> Record {
    let mut fields = request(n);
    fields::write_list(fields::STRIPPED, &[n.to_be_bytes().to_vec()], &mut fields);
    let at = ledger.stamp(ticket);
    seal(*ticket.id(), at, level, Outcome::Complete, [n as u8; 32], fields)
}

/// Every other one as earlier builds kept them: as text.
pub(crate) fn sign(ticket: &Ticket, record: &Record, n: u64) -> Vec<KeptSignature> {
    let shard = ticket.shard();
    let mut value = Value::default();
    value.push_id(&id_text(ticket.id()));
    value.push_leaf(&record.leaf_hash);
    let mut base = Writer::default();
    base.value(Line::Record, &value).unwrap();
    let (base, kept) = base.finish(n, &shard.key_id, "colophon-v1");
    let kept = if n.is_multiple_of(2) { base.as_bytes().to_vec() } else { kept };
    vec![KeptSignature { base: kept, signature: shard.signer.sign(base.as_bytes()) }]
}

pub(crate) fn complete(ledger: &Ledger, mut ticket: Ticket, n: u64) -> Result<RecordId, Box<Unfinished>> {
    let id = *ticket.id();
    let record = seal_for(ledger, &mut ticket, n);
    let signatures = sign(&ticket, &record, n);
    ledger.finish(ticket, Done { record, signatures, refused: false }).map(|()| id)
}

/// One whole exchange.
pub(crate) fn exchange(ledger: &Ledger, n: u64) -> RecordId {
    complete(ledger, accept(ledger, n).unwrap(), n).unwrap()
}

/// One whole exchange whose record claims `level`.
pub(crate) fn exchange_at(ledger: &Ledger, n: u64, level: Level) -> RecordId {
    let mut ticket = accept(ledger, n).unwrap();
    let id = *ticket.id();
    let record = seal_at(ledger, &mut ticket, n, level);
    ledger.finish(ticket, Done { record, signatures: Vec::new(), refused: false }).unwrap();
    id
}

/// Waits, at most ten seconds, until nothing waits for the log.
pub(crate) async fn settle(ledger: &Ledger) {
    for _ in 0..5000 {
        if ledger.counters().backlog == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    panic!("records still wait: {:?}", ledger.counters());
}

pub(crate) async fn receipt(ledger: &Ledger, id: &RecordId) -> Receipt {
    match ledger.lookup(id).await.unwrap() {
        Lookup::Found(receipt) => *receipt,
        other => panic!("{}: {other:?}", hex::encode(id)),
    }
}

fn proven(entry: &[u8], proof: &str, vkey: &VerifierKey) {
    let proof = TlogProof::parse(proof).unwrap();
    let note = Note::parse(&proof.checkpoint).unwrap();
    assert!(note.verify(std::slice::from_ref(vkey)).is_ok());
    let head = colophon_receipt::checkpoint::Checkpoint::parse(note.text()).unwrap();
    merkle::verify_inclusion(&merkle::leaf_hash(entry), proof.index, head.size, &proof.path, &head.root)
        .unwrap();
}

/// Recomputes a receipt from its fields to the log's key; gives its leaf.
pub(crate) fn verify(ledger: &Ledger, receipt: &Receipt) -> RecordLeaf {
    let json = receipt.to_json().unwrap();
    assert_eq!(Receipt::from_json(&json).unwrap(), *receipt);
    let trust: serde_json::Value = serde_json::from_str(&ledger.trust_json()).unwrap();
    let vkey = trust["logs"][0]["vkey"].as_str().unwrap().parse::<VerifierKey>().unwrap();
    let log_key = Ed25519Key::from_seed(&[7; 32]).unwrap().public_key();
    let mut keys = Vec::new();
    for part in &receipt.announcements {
        proven(&part.statement.0, &part.log_proof, &vkey);
        let cose = Sign1::parse(&part.statement.0).unwrap();
        cose.verify(&log_key).unwrap();
        let announcement = Announcement::decode(cose.payload()).unwrap();
        let key = PublicKey(announcement.public_key);
        key.verify(&announcement.proof_message(), &announcement.proof).unwrap();
        keys.push((announcement.shard, key));
    }
    proven(&receipt.statement.0, &receipt.log_proof, &vkey);
    let cose = Sign1::parse(&receipt.statement.0).unwrap();
    cose.verify(&keys[0].1).unwrap();
    let statement = Statement::decode(cose.payload()).unwrap();
    assert_eq!(statement.shard, keys[0].0);
    let path: Vec<Hash> = receipt.batch.path.iter().map(|hash| hash.hash().unwrap()).collect();
    let hash = merkle::leaf_hash(&receipt.record.leaf.0);
    merkle::verify_inclusion(&hash, receipt.batch.index, statement.count, &path, &statement.root).unwrap();
    let leaf = RecordLeaf::decode(&receipt.record.leaf.0).unwrap();
    assert!((statement.from..=statement.to).contains(&leaf.completed_at));
    let hashes: Vec<Hash> = receipt
        .record
        .fields
        .iter()
        .map(|field| match field {
            Field::Opened(field) => field_hash(&field.salt.salt().unwrap(), &field.value.0),
            Field::Withheld(_) => panic!("withheld"),
        })
        .collect();
    assert_eq!(merkle::root(&hashes), leaf.field_root);
    for signature in &receipt.http_signatures {
        let signed =
            |(_, key): &(String, PublicKey)| key.verify(signature.base.as_bytes(), &signature.signature.0);
        assert!(keys.iter().any(|key| signed(key).is_ok()), "no announced key signed");
    }
    leaf
}

/// Everything that was logged.
#[derive(Debug, Default)]
pub(crate) struct Audit {
    /// How often each record is logged.
    pub(crate) records: BTreeMap<RecordId, RecordLeaf>,
    /// Each shard's statements, in order.
    pub(crate) shards: BTreeMap<String, Vec<Statement>>,
    /// Shards in the order they were announced.
    pub(crate) announced: Vec<Announcement>,
    pub(crate) closed: Vec<String>,
    /// With their log index.
    pub(crate) erasures: Vec<(u64, Erasure)>,
    pub(crate) changes: Vec<PolicyChange>,
}

/// Reads the whole log and all batches: chains, intervals, counters and roots agree, no record is there twice, and
/// every record is in the index.
pub(crate) async fn audit(ledger: &Ledger) -> Audit {
    let (mut audit, head, objects) = (Audit::default(), ledger.head(), &ledger.0.objects);
    let places = Places::default();
    let entries = ledger.reader().entries(1..head.size(), &head.checkpoint).await.unwrap();
    let mut ends: BTreeMap<String, (Hash, u64)> = BTreeMap::new();
    for (entry, log_index) in entries.iter().zip(1..) {
        let cose = Sign1::parse(entry).unwrap();
        let shard = cose.sub().to_owned();
        match cose.content_type() {
            ANNOUNCEMENT_TYPE => {
                let announcement = Announcement::decode(cose.payload()).unwrap();
                let earlier = announcement.predecessor.as_ref().map(|earlier| {
                    let (hash, to) = ends[&earlier.shard];
                    assert_eq!(hash, earlier.payload_hash, "the predecessor's last statement");
                    to
                });
                ends.insert(shard.clone(), (payload_hash(cose.payload()), earlier.unwrap_or(0)));
                audit.shards.insert(shard, Vec::new());
                audit.announced.push(announcement);
            }
            STATEMENT_TYPE => {
                let key = audit.announced.iter().find(|known| known.shard == shard).unwrap().public_key;
                cose.verify(&PublicKey(key)).unwrap();
                let statement = Statement::decode(cose.payload()).unwrap();
                let earlier = audit.shards.get_mut(&shard).unwrap();
                let (previous, from) = ends[&shard];
                assert_eq!((statement.seq, statement.previous), (earlier.len() as u64, previous));
                assert!(statement.from == from || from == 0, "contiguous");
                assert!(statement.from <= statement.to);
                let before = earlier.last().map_or(0, |earlier| earlier.cumulative_exchanges);
                assert_eq!(statement.cumulative_exchanges, before + statement.count);
                assert_eq!(statement.counters.recorded, statement.cumulative_exchanges);
                assert!(statement.counters.balanced(), "{:?}", statement.counters);
                assert!(statement.rules.add_up_to(&statement.counters), "{statement:?}");
                if let Some(earlier) = earlier.last() {
                    assert!(!statement.rules.decreased_since(&earlier.rules), "{statement:?}");
                }
                ends.insert(shard, (payload_hash(cose.payload()), statement.to));
                if statement.count > 0 {
                    let name = batch_name(&statement.shard, statement.seq);
                    let file = objects.get(&name, batch::MAX_BYTES).await.unwrap().unwrap();
                    let batch = batch::read(&file).unwrap();
                    assert_eq!(merkle::root(batch.hashes()), statement.root);
                    for (leaf, slot) in batch.leaves.iter().zip(0..) {
                        let leaf = RecordLeaf::decode(leaf).unwrap();
                        assert!(
                            (statement.from..=statement.to).contains(&leaf.completed_at),
                            "in the interval"
                        );
                        let id = leaf.id;
                        let found = places.find(objects, &id).await.unwrap().unwrap();
                        assert_eq!((found.0.log_index, found.1), (log_index, slot));
                        assert!(
                            audit.records.insert(id, leaf).is_none(),
                            "{} is logged twice",
                            hex::encode(id)
                        );
                    }
                    assert_eq!(batch.leaves.len() as u64, statement.count);
                }
                earlier.push(statement);
            }
            CLOSE_TYPE => {
                let close = ShardClose::decode(cose.payload()).unwrap();
                assert_eq!(close.payload_hash, ends[&shard].0);
                audit.closed.push(shard);
            }
            ERASURE_TYPE => {
                let key = audit.announced.iter().find(|known| known.shard == shard).unwrap().public_key;
                cose.verify(&PublicKey(key)).unwrap();
                let erasure = Erasure::decode(cose.payload()).unwrap();
                assert!(!audit.closed.contains(&shard));
                audit.erasures.push((log_index, erasure));
            }
            POLICY_CHANGE_TYPE => {
                let key = audit.announced.iter().find(|known| known.shard == shard).unwrap().public_key;
                cose.verify(&PublicKey(key)).unwrap();
                audit.changes.push(PolicyChange::decode(cose.payload()).unwrap());
            }
            other => panic!("{other}"),
        }
    }
    audit
}

/// The tags and hours of ids are those of the index.
pub(crate) fn id_parts(id: &RecordId) -> (u64, [u8; 2]) {
    (index::id_ms(id), index::id_tag(id))
}
