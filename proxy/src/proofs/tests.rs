use super::*;
use colophon_policies::FailurePolicy;

fn decision(rule: &str, on_miss: OnMiss) -> Decision {
    Decision {
        rule: rule.into(),
        level: Level::Zk,
        asked: Level::Zk,
        due: Level::Zk,
        failure_policy: FailurePolicy::Ignore,
        why_lowered: None,
        refusal: None,
        actions: Arc::new(Actions { on_miss, ..Actions::default() }),
    }
}

#[test]
fn after_a_miss_a_rule_is_held_as_long_as_the_policy_in_force_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let proving = Proving::open(Provers::none(), folder.path()).unwrap();
    let refused = |rule, on_miss| {
        let mut decision = decision(rule, on_miss);
        proving.hold(&mut decision);
        decision.refusal == Some(Refusal::Unavailable(Level::Zk))
    };
    assert!(!refused("chat", OnMiss::Fail));
    proving.set_failing("chat", true);
    assert!(refused("chat", OnMiss::Fail) && !refused("other", OnMiss::Fail));
    // Another policy came into force.
    assert!(!refused("chat", OnMiss::Alert) && !refused("chat", OnMiss::Downgrade));
    proving.set_failing("chat", false);
    assert!(!refused("chat", OnMiss::Fail));
}
