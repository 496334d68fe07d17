use super::*;

pub(super) fn statement() -> Statement {
    Statement {
        shard: "clinic/0011".into(),
        seq: 3,
        count: 2,
        root: [1; 32],
        previous: [2; 32],
        from: 10,
        to: 20,
        beacon: None,
        cumulative_exchanges: 9,
        cumulative_evidence: 0,
        bypasses: Vec::new(),
        rules: Rules::default(),
        policy: [3; 32],
        counters: Counters {
            received: 12,
            recorded: 9,
            passed: 2,
            lost: 0,
            open: 1,
            refused: 1,
            degraded: 0,
            bypass: None,
        },
    }
}

#[test]
fn payloads_come_back_exactly() {
    let with_options = Statement {
        beacon: Some([4; 32]),
        counters: Counters { bypass: Some(0), ..statement().counters },
        ..statement()
    };
    for statement in [statement(), with_options] {
        assert_eq!(Statement::decode(&statement.encode()).unwrap(), statement);
    }
    let genesis =
        Genesis { origin: "o/1".into(), vkeys: vec!["v".into()], inception: 1, predecessor: Some(vec![1]) };
    assert_eq!(Genesis::decode(&genesis.encode()).unwrap(), genesis);
    let announcement = Announcement {
        shard: "clinic/0011".into(),
        public_key: [5; 32],
        not_before: 1,
        not_after: 2,
        origin: "o/1".into(),
        predecessor: Some(Predecessor { shard: "clinic/0010".into(), seq: 1, payload_hash: [6; 32] }),
        proof: [7; 64],
        attestation: Some(vec![8]),
    };
    assert_eq!(Announcement::decode(&announcement.encode()).unwrap(), announcement);
    let close = ShardClose { shard: "clinic/0011".into(), seq: 3, payload_hash: [9; 32], at: 30 };
    assert_eq!(ShardClose::decode(&close.encode()).unwrap(), close);
}

#[test]
fn one_kind_of_leaf_is_never_read_as_another() {
    let close = ShardClose { shard: "s".into(), seq: 0, payload_hash: [0; 32], at: 0 }.encode();
    assert!(Statement::decode(&close).is_err());
    assert!(Genesis::decode(&statement().encode()).is_err());
    assert!(Announcement::decode(&statement().encode()).is_err());
}

#[test]
fn a_proof_of_possession_covers_everything_but_itself() {
    let announcement = |shard: &str, proof| Announcement {
        shard: shard.into(),
        public_key: [5; 32],
        not_before: 1,
        not_after: 2,
        origin: "o/1".into(),
        predecessor: None,
        proof,
        attestation: None,
    };
    assert_eq!(announcement("a", [0; 64]).proof_message(), announcement("a", [1; 64]).proof_message());
    assert_ne!(announcement("a", [0; 64]).proof_message(), announcement("b", [0; 64]).proof_message());
}

#[test]
fn counters_balance_or_do_not() {
    assert!(statement().counters.balanced());
    for broken in [
        Counters { received: 13, ..statement().counters },
        Counters { refused: 10, ..statement().counters },
        Counters { degraded: 10, ..statement().counters },
        Counters { open: u64::MAX, ..statement().counters },
    ] {
        assert!(!broken.balanced());
    }
}
