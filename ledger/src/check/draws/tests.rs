use super::*;
use crate::batch;
use crate::log::tests::support::memory;
use colophon_receipt::Outcome;
use colophon_receipt::evidence::{EvidenceLeaf, no_evidence};
use colophon_receipt::merkle::leaf_hash;
use colophon_receipt::record::{FieldSet, seal_sampled};
use colophon_receipt::statement::Counters;

const TO: u64 = 1_794_652_800_000_000;
const HOUR: u64 = 3_600_000_000;

fn statement(seq: u64, to: u64) -> Statement {
    Statement {
        shard: "host/1".into(),
        seq,
        count: 1,
        root: [0; 32],
        previous: [0; 32],
        from: to - 1_000_000,
        to,
        beacon: None,
        cumulative_exchanges: 1,
        cumulative_evidence: 0,
        policy: [0; 32],
        counters: Counters::default(),
        bypasses: Vec::new(),
        rules: Default::default(),
    }
}

fn batch_of(id: RecordId, leaf: &[u8]) -> Batch {
    let hashes = [leaf_hash(leaf)];
    batch::read(&batch::write([(&id, leaf)].into_iter(), &hashes)).unwrap()
}

/// A record that is drawn or not whatever the round is, and its leaf's hash.
fn record(threshold: u64) -> (Batch, RecordId, Hash) {
    let id = [0x77; 16];
    let draw = Some((threshold, Level::Zk));
    let made = seal_sampled(id, TO - 5, Level::Sign, Outcome::Complete, [1; 32], FieldSet::new(), draw);
    (batch_of(id, &made.leaf), id, made.leaf_hash)
}

fn evidence(id: &RecordId, subject: Hash, bend: fn(&mut EvidenceLeaf)) -> Batch {
    let mut leaf = EvidenceLeaf {
        id: draw_id(TO, id, &subject, Level::Zk),
        at: TO + HOUR / 2,
        subject,
        kind: Level::Zk,
        commitment: no_evidence(),
        verdict: Verdict::NotDone,
    };
    bend(&mut leaf);
    batch_of(leaf.id, &leaf.encode())
}

/// Checks a log of these batches, the record's at entry 5.
async fn checked(threshold: u64, evidence: Option<(u64, Batch)>, newest: u64) -> Report {
    let mut draws = Draws::new(Store::new(memory(), String::new()), Chain::quicknet());
    let mut report = Report::default();
    let own = statement(0, TO);
    draws.seen(&own);
    draws.batch(5, &own, &record(threshold).0, &mut report).await;
    if let Some((index, batch)) = evidence {
        draws.batch(index, &statement(1, TO + HOUR / 2), &batch, &mut report).await;
    }
    draws.seen(&statement(9, newest));
    draws.finish(&Statements::default(), &mut report);
    report
}

#[tokio::test]
async fn evidence_that_is_there_is_counted() {
    let (_, id, subject) = record(u64::MAX);
    let report = checked(u64::MAX, Some((8, evidence(&id, subject, |_| {}))), TO + 2 * HOUR).await;
    assert!(report.is_sound(), "{:?}", report.findings);
    let expected = Drawn { records: 1, drawn: 1, with_evidence: 1, not_done: 1, ..Drawn::default() };
    assert_eq!(report.drawn, expected);
}

#[tokio::test]
async fn a_record_that_was_drawn_for_a_proof_has_evidence_within_a_week_and_an_hour() {
    let waiting = checked(u64::MAX, None, TO + PROOF_GRACE - 1).await;
    assert!(waiting.is_sound() && waiting.drawn.waiting == 1);
    let overdue = checked(u64::MAX, None, TO + PROOF_GRACE).await;
    let [finding @ Finding::Draw { .. }] = overdue.findings.as_slice() else {
        panic!("{:?}", overdue.findings)
    };
    assert!(finding.to_string().contains("has no evidence leaf"), "{finding}");
}

#[tokio::test]
async fn evidence_is_for_what_was_drawn_and_after_it() {
    let none = |threshold, index, bend: fn(&mut EvidenceLeaf)| async move {
        let (_, id, subject) = record(threshold);
        let leaf = evidence(&id, subject, bend);
        let report = checked(threshold, Some((index, leaf)), TO + PROOF_GRACE + HOUR).await;
        report.findings.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let wrong = "of another record or level, or comes before it";
    for bend in [(|leaf| leaf.subject = [9; 32]) as fn(&mut EvidenceLeaf), |leaf| leaf.kind = Level::Tee] {
        let found = none(u64::MAX, 8, bend).await;
        assert!(matches!(found.as_slice(), [one] if one.contains(wrong)), "{found:?}");
    }
    let found = none(u64::MAX, 4, |_| {}).await;
    assert!(matches!(found.as_slice(), [one] if one.contains(wrong)), "{found:?}");
    // Of nothing that was drawn.
    let found = none(u64::MAX, 8, |leaf| leaf.id[15] ^= 1).await;
    assert!(found.len() == 2 && found.iter().any(|one| one.contains("was not drawn")), "{found:?}");
    // Whether it was cannot be said without the round; that is told, and no finding.
    assert!(none(5, 8, |_| {}).await.is_empty());
    // Before this generation of the log began, an earlier one tells.
    let earlier =
        |leaf: &mut EvidenceLeaf| leaf.id[..6].copy_from_slice(&(TO / 1000 - 5000).to_be_bytes()[2..]);
    let found = none(u64::MAX, 8, earlier).await;
    assert!(matches!(found.as_slice(), [one] if one.contains("has no evidence leaf")), "{found:?}");
}
