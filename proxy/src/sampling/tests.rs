use super::*;
use colophon_policies::{Actions, FailurePolicy, Refusal, Sample};
use std::sync::Arc;

fn decision(level: Level, sample: Option<Sample>) -> Decision {
    Decision {
        rule: "chat".into(),
        level,
        asked: level,
        due: level,
        failure_policy: FailurePolicy::Ignore,
        why_lowered: None,
        refusal: None,
        actions: Arc::new(Actions { sample, ..Actions::default() }),
    }
}

fn sample(threshold: u64, to: Level, draw: Draw) -> Option<Sample> {
    Some(Sample { threshold, to, draw })
}

/// Random bytes that begin with this number.
fn random(number: u64) -> Option<Seed> {
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&number.to_be_bytes());
    Some(seed)
}

#[test]
fn a_later_draw_leaves_threshold_and_target_and_decides_nothing() {
    let mut decided = decision(Level::Commit, sample(9, Level::Zk, Draw::PostCommit));
    let sampled = Sampled::of(&mut decided, || panic!("no randomness of its own"));
    assert_eq!(sampled, Sampled { leaf: Some((9, Level::Zk)), how: Some(Draw::PostCommit) });
    assert_eq!(decided.level, Level::Commit);
    assert_eq!(Sampled::of(&mut decision(Level::Sign, None), || None), Sampled::default());
}

#[test]
fn a_local_draw_decides_at_once() {
    for (number, drawn) in [(0, true), (8, true), (9, false), (u64::MAX, false)] {
        // What can be given is given; the rest is a promise of evidence.
        let mut decided = decision(Level::Commit, sample(9, Level::Sign, Draw::Local));
        let sampled = Sampled::of(&mut decided, || random(number));
        let level = if drawn { Level::Sign } else { Level::Commit };
        assert_eq!((decided.level, decided.asked, sampled.leaf), (level, level, None), "{number}");
        let mut decided = decision(Level::Sign, sample(9, Level::Tee, Draw::Local));
        let sampled = Sampled::of(&mut decided, || random(number));
        assert_eq!((decided.level, decided.asked), (Level::Sign, Level::Sign));
        assert_eq!(sampled.leaf, drawn.then_some((u64::MAX, Level::Tee)), "{number}");
        assert_eq!(sampled.how, Some(Draw::Local));
    }
    let all = sample(u64::MAX, Level::Zk, Draw::Local);
    assert!(Sampled::of(&mut decision(Level::Sign, all), || random(u64::MAX)).leaf.is_some());
    let none = sample(0, Level::Zk, Draw::Local);
    assert!(Sampled::of(&mut decision(Level::Sign, none), || random(0)).leaf.is_none());
    assert!(Sampled::of(&mut decision(Level::Sign, none), || None).leaf.is_some(), "the stricter branch");
}

#[test]
fn a_proof_to_come_takes_nothing_from_attested_servers() {
    for (attested, level) in [(false, Level::Sign), (true, Level::Tee)] {
        let mut decided = decision(Level::Zk, None);
        decided.actions = Arc::new(Actions { attested, ..Actions::default() });
        assert_eq!(Sampled::of(&mut decided, || None).leaf, Some((u64::MAX, Level::Zk)));
        assert_eq!((decided.level, decided.sends_to_attested()), (level, attested));
        assert!(decided.why_lowered.unwrap().contains("a proof follows"));
    }
}

#[test]
fn of_what_is_refused_nothing_is_drawn() {
    for draw in [Draw::Local, Draw::PostCommit] {
        let mut decided = decision(Level::Sign, sample(u64::MAX, Level::Zk, draw));
        decided.refusal = Some(Refusal::Unavailable(Level::Zk));
        assert_eq!(Sampled::of(&mut decided, || random(0)), Sampled::default());
    }
}

#[test]
fn about_as_many_are_drawn_as_the_rule_says() {
    let quarter = u64::MAX / 4;
    let drawn = (0..4000u64).filter(|n| {
        let seed = colophon_receipt::merkle::sha256(&n.to_be_bytes());
        let mut decided = decision(Level::Sign, sample(quarter, Level::Zk, Draw::Local));
        Sampled::of(&mut decided, || Some(seed)).leaf.is_some()
    });
    let drawn = drawn.count();
    assert!((900..1100).contains(&drawn), "{drawn}");
}
