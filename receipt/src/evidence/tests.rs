use super::*;
use crate::level::Outcome;

fn leaf() -> EvidenceLeaf {
    EvidenceLeaf {
        id: draw_id(1_794_652_800_000_000, &[0xff; 16], &[2; 32], Level::Zk),
        at: 1_794_652_800_000_000,
        subject: [2; 32],
        kind: Level::Zk,
        commitment: no_evidence(),
        verdict: Verdict::NotDone,
    }
}

/// Frozen: outside verifiers read these bytes.
#[test]
fn the_encoding_is_the_documented_one() {
    assert_eq!(
        hex::encode(leaf().encode()),
        "a70106025001a1d9a4840070ecbfffdc2af4b3b9ee031b0006603a2aa3a00004582002020202020202020202020202020202\
         020202020202020202020202020202020504065820489f32501d6f991339f6927146be57f9faa4f187abdfd34f5c0a638f7a\
         a30e510700"
    );
}

#[test]
fn either_leaf_of_a_batch_is_read_and_nothing_else() {
    let evidence = leaf();
    assert_eq!(BatchLeaf::decode(&evidence.encode()).unwrap(), BatchLeaf::Evidence(evidence.clone()));
    let record = RecordLeaf {
        id: [1; 16],
        completed_at: 7,
        field_root: [3; 32],
        present: 1,
        level: Level::Commit,
        outcome: Outcome::Complete,
        draw: Some((5, Level::Tee)),
    };
    let read = BatchLeaf::decode(&record.encode()).unwrap();
    assert_eq!((read.id(), read.at()), (record.id, 7));
    assert_eq!(read, BatchLeaf::Record(record));
    let made = EvidenceLeaf { verdict: Verdict::Holds, commitment: [9; 32], ..evidence.clone() };
    assert_eq!(EvidenceLeaf::decode(&made.encode()).unwrap(), made);
    for bad in [
        EvidenceLeaf { kind: Level::Commit, ..evidence.clone() },
        EvidenceLeaf { commitment: [9; 32], ..evidence.clone() },
        EvidenceLeaf { verdict: Verdict::Holds, ..evidence.clone() },
    ] {
        assert!(BatchLeaf::decode(&bad.encode()).is_err(), "{bad:?}");
    }
    let bytes = evidence.encode();
    assert!(BatchLeaf::decode(&bytes[..bytes.len() - 1]).is_err());
    assert!(BatchLeaf::decode(&[bytes.as_slice(), &[0]].concat()).is_err());
    assert!(BatchLeaf::decode(&[]).is_err());
}

#[test]
fn an_id_follows_from_record_statement_and_target() {
    let (to, record, leaf) = (1_794_652_800_123_456, [0xa5; 16], [2; 32]);
    let id = draw_id(to, &record, &leaf, Level::Zk);
    assert_eq!(id[..6], 1_794_652_800_123u64.to_be_bytes()[2..]);
    assert_eq!((id[6] >> 4, id[8] >> 6), (7, 0b10));
    assert_eq!((id[8] & 0x3f, id[9], id[10] & 0xc0), (record[8] & 0x3f, record[9], record[10] & 0xc0));
    assert_eq!(id, draw_id(to, &record, &leaf, Level::Zk));
    for other in [
        draw_id(to + 1000, &record, &leaf, Level::Zk),
        draw_id(to, &record, &[3; 32], Level::Zk),
        draw_id(to, &record, &leaf, Level::Tee),
    ] {
        assert_ne!(id, other);
    }
}

#[test]
fn what_was_asked_for_is_told_from_its_leaf_alone() {
    let (to, record) = (1_794_652_800_123_456, [0xa5; 16]);
    let asked = EvidenceLeaf {
        id: asked_id(to, &record, &[2; 32], Level::Zk),
        commitment: [9; 32],
        verdict: Verdict::Holds,
        ..leaf()
    };
    let is_asked = |leaf: &EvidenceLeaf| is_asked(&leaf.id, &leaf.subject, leaf.kind);
    assert!(is_asked(&asked) && !is_asked(&leaf()));
    assert_ne!(asked.id, draw_id(to, &record, &[2; 32], Level::Zk));
    assert!(!is_asked(&EvidenceLeaf { subject: [3; 32], ..asked.clone() }), "about another record");
    assert!(!is_asked(&EvidenceLeaf { kind: Level::Tee, ..asked }), "of another kind");
}
