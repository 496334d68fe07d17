use super::*;
use colophon_receipt::merkle::empty_root;
use colophon_receipt::statement::{Counters, Predecessor, RuleCount, Rules, payload_hash};
use colophon_signer::Ed25519Key;
use colophon_signer::cose::sign_statement;
use colophon_signer::note::NoteAlgorithm;

pub(crate) const ORIGIN: &str = "log.example/1";
pub(crate) const SECOND: u64 = 1_000_000;

pub(crate) fn log_key() -> Ed25519Key {
    Ed25519Key::from_seed(&[1; 32]).unwrap()
}

/// A log being written, by good keys.
pub(crate) struct Scene {
    pub(crate) entries: Vec<Vec<u8>>,
}

/// A shard that writes into it.
#[derive(Clone)]
pub(crate) struct Life {
    name: String,
    key: u8,
    seq: u64,
    previous: Hash,
    to: u64,
    counters: Counters,
    /// All records by the rule `chat`, all passes by `health`.
    rules: Rules,
}

impl Life {
    fn key(&self) -> Ed25519Key {
        Ed25519Key::from_seed(&[self.key; 32]).unwrap()
    }

    fn predecessor(&self) -> Predecessor {
        Predecessor { shard: self.name.clone(), seq: self.seq - 1, payload_hash: self.previous }
    }
}

impl Scene {
    pub(crate) fn new() -> Scene {
        let genesis = Genesis { origin: ORIGIN.into(), vkeys: vec![], inception: 0, predecessor: None };
        Scene { entries: vec![genesis.encode()] }
    }

    pub(crate) fn announce(
        &mut self,
        name: &str,
        key: u8,
        at: u64,
        predecessor: Option<Predecessor>,
    ) -> Life {
        let (counters, rules) = Default::default();
        let mut life = Life { name: name.into(), key, seq: 0, previous: [0; 32], to: at, counters, rules };
        let mut announcement = Announcement {
            shard: name.into(),
            public_key: life.key().public_key().0,
            not_before: at,
            not_after: at + 100 * SECOND,
            origin: ORIGIN.into(),
            predecessor,
            proof: [0; 64],
            attestation: None,
        };
        announcement.proof = life.key().sign(&announcement.proof_message());
        let payload = announcement.encode();
        life.previous = payload_hash(&payload);
        self.entries.push(sign_statement(&payload, ANNOUNCEMENT_TYPE, ORIGIN, name, &log_key()).unwrap());
        life
    }

    /// A statement of one second with `records`, changed before it is signed.
    pub(crate) fn state(&mut self, life: &mut Life, records: u64, change: impl FnOnce(&mut Statement)) {
        life.counters.received += records + 1;
        life.counters.recorded += records;
        life.counters.passed += 1;
        life.rules.add(b"chat", &RuleCount { recorded: records, ..RuleCount::default() });
        life.rules.add(b"health", &RuleCount { passed: 1, ..RuleCount::default() });
        let mut statement = Statement {
            shard: life.name.clone(),
            seq: life.seq,
            count: records,
            root: if records == 0 { empty_root() } else { [7; 32] },
            previous: life.previous,
            from: life.to,
            to: life.to + SECOND,
            beacon: None,
            cumulative_exchanges: life.counters.recorded,
            cumulative_evidence: 0,
            bypasses: Vec::new(),
            policy: [0; 32],
            counters: life.counters,
            rules: life.rules.clone(),
        };
        change(&mut statement);
        let payload = statement.encode();
        (life.seq, life.to, life.previous) = (statement.seq + 1, statement.to, payload_hash(&payload));
        self.entries.push(sign_statement(&payload, STATEMENT_TYPE, ORIGIN, &life.name, &life.key()).unwrap());
    }

    pub(crate) fn close(&mut self, life: &Life) {
        let close = ShardClose {
            shard: life.name.clone(),
            seq: life.seq - 1,
            payload_hash: life.previous,
            at: life.to,
        };
        self.entries
            .push(sign_statement(&close.encode(), CLOSE_TYPE, ORIGIN, &life.name, &life.key()).unwrap());
    }

    fn count(&self, from: u64, to: u64) -> Count {
        self.count_of(from, to, None)
    }

    fn count_of(&self, from: u64, to: u64, shard: Option<&str>) -> Count {
        let vkey = VerifierKey::new(ORIGIN, NoteAlgorithm::Ed25519, log_key().public_key()).unwrap();
        let window = Window { from, to, shard: shard.map(str::to_owned) };
        let mut counting = Counting::new(ORIGIN, &[vkey], window, 0);
        self.entries.iter().for_each(|entry| counting.entry(entry));
        counting.finish()
    }
}

fn whole(scene: &Scene) -> Count {
    scene.count(0, u64::MAX)
}

#[test]
fn two_lives_are_one_unbroken_account() {
    let mut scene = Scene::new();
    let mut first = scene.announce("clinic/aa", 2, 10 * SECOND, None);
    for records in [3, 0, 5] {
        scene.state(&mut first, records, |_| {});
    }
    let mut second = scene.announce("clinic/bb", 3, 14 * SECOND, Some(first.predecessor()));
    second.to = first.to;
    scene.close(&first);
    for records in [2, 4] {
        scene.state(&mut second, records, |_| {});
    }
    let count = whole(&scene);
    assert_eq!(count.standing(), Standing::Unbroken, "{count:?}");
    let totals = count.totals;
    assert_eq!((totals.recorded, totals.passed, totals.batches, totals.statements), (14, 5, 4, 5));
    let [sidecar] = &count.sidecars[..] else { panic!("{count:?}") };
    assert_eq!((sidecar.from, sidecar.to), (10 * SECOND, 15 * SECOND));
    assert_eq!(
        (sidecar.shards.len(), &sidecar.unclosed[..], sidecar.crashed.len()),
        (2, &["clinic/bb".to_owned()][..], 0)
    );
    assert_eq!(count.needed, Some((1, scene.entries.len() as u64)));

    // Only what touches the window: the third statement of the first life, and the first of the second.
    let part = scene.count(12 * SECOND + 1, 14 * SECOND - 1);
    assert_eq!(part.standing(), Standing::Unbroken, "{part:?}");
    assert_eq!((part.totals.recorded, part.totals.passed, part.counted.len()), (7, 2, 2));
    let by_rule: Vec<String> = part.by_rule.iter().map(ByRule::to_string).collect();
    assert_eq!(
        (by_rule, part.without_rule()),
        (vec!["chat: 7 recorded".into(), "health: 2 passed".into()], 0)
    );
    // Of one shard, of another name, of no time.
    assert_eq!(scene.count_of(0, u64::MAX, Some("clinic/bb")).totals.recorded, 6);
    assert_eq!(scene.count_of(0, u64::MAX, Some("clinic")).totals.recorded, 14);
    assert_eq!(scene.count_of(0, u64::MAX, Some("clin")).totals, Totals::default());
    assert_eq!(scene.count(0, SECOND).totals, Totals::default());
}

/// What a change of the second statement of three leads to: the faults.
fn bent(change: impl FnOnce(&mut Statement)) -> Vec<String> {
    let mut scene = Scene::new();
    let mut life = scene.announce("a/1", 2, SECOND, None);
    scene.state(&mut life, 1, |_| {});
    scene.state(&mut life, 2, change);
    whole(&scene).faults
}

#[test]
fn a_statement_that_does_not_follow_breaks_the_account() {
    assert_eq!(bent(|_| {}), Vec::<String>::new());
    type Change = fn(&mut Statement);
    let changes: [(Change, &str); 13] = [
        (|s| s.seq = 2, "comes without statement 1: 0 records"),
        (
            |s| (s.seq, s.cumulative_exchanges, s.counters.recorded) = (3, 9, 9),
            "without statements 1 to 2: 6 records",
        ),
        (|s| s.seq = 0, "comes after a later one"),
        (|s| s.previous[0] ^= 1, "another payload"),
        (|s| s.from -= 1, "does not begin where"),
        (|s| s.to = s.from - 1, "does not begin where"),
        (|s| s.to = 200 * SECOND, "after the end of its key"),
        (|s| s.count = 0, "but a root"),
        (|s| s.cumulative_exchanges += 1, "totals"),
        (|s| s.counters.lost += 1, "do not balance"),
        (|s| (s.counters.passed, s.counters.open, s.rules) = (0, 2, Rules::new()), "went backwards"),
        (
            |s| s.rules.add(b"chat", &RuleCount { lost: 1, ..RuleCount::default() }),
            "by rule that do not add up",
        ),
        (|s| s.rules = moved(&s.rules), "a counter by rule that went backwards"),
    ];
    for (change, says) in changes {
        let faults = bent(change);
        assert!(faults.len() == 1 && faults[0].contains(says), "{says}: {faults:?}");
    }
    let more = bent(|s| (s.counters.recorded, s.counters.received) = (4, 6));
    assert!(more[0].contains("other records than its batches"), "{more:?}");
}

/// The same counts, as if other rules had decided.
fn moved(rules: &Rules) -> Rules {
    let mut moved = Rules::new();
    rules.iter().for_each(|(rule, count)| moved.add(&[rule, b"2"].concat(), count));
    moved
}

/// What older builds signed, and what stands beyond the cap, is told as what it is.
#[test]
fn what_no_statement_tells_the_rule_of_is_counted_all_the_same() {
    let mut scene = Scene::new();
    let mut old = scene.announce("a/1", 2, SECOND, None);
    scene.state(&mut old, 3, |s| s.rules = Rules::new());
    let mut new = scene.announce("b/1", 3, SECOND, None);
    scene.state(&mut new, 2, |s| {
        (s.rules, s.counters.refused) = (Rules::new(), 1);
        let count = RuleCount { recorded: 2, refused: 1, passed: 1, ..RuleCount::default() };
        s.rules.add(colophon_receipt::statement::OTHER, &count);
    });
    let count = whole(&scene);
    assert_eq!(count.standing(), Standing::Unbroken, "{count:?}");
    let told: Vec<String> = count.by_rule.iter().map(ByRule::to_string).collect();
    assert_eq!(told, ["other rules: 2 recorded, 1 passed; of the recorded: 1 refused"]);
    assert_eq!((count.totals.recorded, count.without_rule()), (5, 4));
    // Two stretches of log together.
    let mut both = whole(&scene);
    both.join(2, count);
    assert_eq!((both.by_rule.len(), both.by_rule[0].recorded, both.without_rule()), (1, 4, 8));
}

#[test]
fn what_is_left_out_is_seen() {
    let mut scene = Scene::new();
    let mut first = scene.announce("a/1", 2, SECOND, None);
    for records in [1, 2, 3] {
        scene.state(&mut first, records, |_| {});
    }
    scene.close(&first);
    let sound = scene.entries.clone();
    for (left_out, says) in [(3, "without statement 1: 2 records"), (4, "does not name its last statement")] {
        scene.entries = sound.clone();
        scene.entries.remove(left_out);
        let count = whole(&scene);
        assert!(
            count.standing() == Standing::Broken && count.faults[0].contains(says),
            "{says}: {:?}",
            count.faults
        );
    }
    scene.entries = sound.clone();
    scene.entries.remove(1);
    let count = whole(&scene);
    assert!(count.faults[0].contains("not announced") && count.totals.recorded == 0, "{count:?}");
    // A repeated one is not counted twice.
    scene.entries = sound;
    scene.entries.insert(4, scene.entries[3].clone());
    let count = whole(&scene);
    assert!(count.faults[0].contains("twice"), "{:?}", count.faults);
    assert_eq!((count.totals.recorded, count.counted.len()), (6, 3));
}

#[test]
fn a_life_that_does_not_join_is_a_break() {
    for (gap, second, predecessor) in [(SECOND, "a/2", true), (0, "a/2", true), (SECOND, "a/2", false)] {
        let mut scene = Scene::new();
        let mut first = scene.announce("a/1", 2, SECOND, None);
        scene.state(&mut first, 1, |_| {});
        let mut life = scene.announce(second, 3, SECOND, predecessor.then(|| first.predecessor()));
        life.to = first.to + gap;
        scene.state(&mut life, 1, |_| {});
        let count = whole(&scene);
        // Without a predecessor, it is another sidecar of the name.
        assert_eq!(count.sidecars.len(), if predecessor { 1 } else { 2 });
        let whole = gap == 0 || !predecessor;
        assert_eq!(count.standing() == Standing::Unbroken, whole, "{count:?}");
        assert_eq!(count.sidecars[0].crashed.len(), usize::from(predecessor));
        // Outside the window it does not matter.
        assert_ne!(scene.count(first.to + gap + 1, u64::MAX).standing(), Standing::Broken);
    }
    // Two lives at once: a copy of the sidecar went on.
    let mut scene = Scene::new();
    let mut first = scene.announce("a/1", 2, SECOND, None);
    scene.state(&mut first, 1, |_| {});
    scene.announce("a/2", 3, SECOND, Some(first.predecessor()));
    scene.state(&mut first, 1, |_| {});
    assert!(whole(&scene).faults[0].contains("another took over"));
}

#[test]
fn keys_of_others_do_not_count() {
    let mut scene = Scene::new();
    let mut life = scene.announce("a/1", 2, SECOND, None);
    scene.state(&mut life, 1, |_| {});
    life.key = 9;
    scene.state(&mut life, 5, |_| {});
    let count = whole(&scene);
    assert_eq!((count.totals.recorded, count.faults.len()), (1, 1), "{:?}", count.faults);

    let mut scene = Scene::new();
    scene.announce("a/1", 2, SECOND, None);
    let vkey = VerifierKey::new(ORIGIN, NoteAlgorithm::Ed25519, life.key().public_key()).unwrap();
    let window = Window { from: 0, to: u64::MAX, shard: None };
    let mut counting = Counting::new(ORIGIN, &[vkey], window, 0);
    scene.entries.iter().for_each(|entry| counting.entry(entry));
    counting.entry(b"garbage");
    let faults = counting.finish().faults;
    assert!(faults[0].contains("no key of the log signed") && faults[1].contains("entry 2"), "{faults:?}");
}

/// No statement, no account: an interval that nothing is about is not called whole.
#[test]
fn an_interval_is_covered_by_statements_or_not_at_all() {
    let mut scene = Scene::new();
    let mut life = scene.announce("a/1", 2, 10 * SECOND, None);
    scene.state(&mut life, 1, |_| {});
    scene.state(&mut life, 1, |_| {});
    let mut later = scene.announce("b/1", 3, 20 * SECOND, None);
    scene.state(&mut later, 1, |_| {});
    let s = |n: u64| n * SECOND;
    let open = u64::MAX;
    for (from, to, parts) in [
        (0, open, &[][..]),
        (s(10), s(12), &[]),
        (s(11), s(11) + 5, &[]),
        (0, s(12), &[]),
        (s(20), open, &[]),
        (s(10), s(21), &[(s(12), s(20))]),
        (s(5), s(11), &[(s(5), s(10))]),
        (s(11), open, &[(s(12), s(20))]),
        (s(5), s(30), &[(s(5), s(10)), (s(12), s(20)), (s(21), s(30))]),
        (s(12) + 1, s(20) - 1, &[(s(12) + 1, s(20) - 1)]),
        (s(30), open, &[(s(30), open)]),
    ] {
        let standing = scene.count(from, to).standing();
        match parts.is_empty() {
            true => assert_eq!(standing, Standing::Unbroken, "{from} to {to}"),
            false => assert_eq!(standing, Standing::NotCovered(parts.to_vec()), "{from} to {to}"),
        }
    }
    let nobody = scene.count_of(0, open, Some("nosuch"));
    assert_eq!(nobody.standing(), Standing::NotCovered(vec![(0, open)]));
    assert_eq!(Count::default().standing(), Standing::NotCovered(vec![(0, 0)]));
}
