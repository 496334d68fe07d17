use super::*;
use crate::statement::Statement;
use crate::statement::tests::statement;

fn count(recorded: u64, passed: u64) -> RuleCount {
    RuleCount { recorded, passed, ..RuleCount::default() }
}

fn rules(counts: &[(&str, RuleCount)]) -> Rules {
    let mut rules = Rules::default();
    counts.iter().for_each(|(rule, count)| rules.add(rule.as_bytes(), count));
    rules
}

/// A statement whose key 15 is this value.
fn with(value: Value) -> Result<Statement, CborError> {
    let Value::Map(mut entries) = Value::decode(&statement().encode()).unwrap() else { panic!() };
    entries.push((15, value));
    Statement::decode(&Value::Map(entries).encode())
}

fn entry(name: &[u8], counts: &[u64]) -> Value {
    let counts = counts.iter().copied().map(Value::Uint);
    Value::Array(std::iter::once(Value::bytes(name)).chain(counts).collect())
}

#[test]
fn they_come_back_and_their_absence_changes_no_byte() {
    let told = Statement { rules: rules(&[("chat", count(8, 0)), ("health", count(0, 2))]), ..statement() };
    assert_eq!(Statement::decode(&told.encode()).unwrap(), told);
    assert!(told.encode().len() > statement().encode().len());
    // What nothing was counted for has no place.
    let nothing = Statement { rules: rules(&[("chat", count(0, 0))]), ..statement() };
    assert_eq!(nothing.encode(), statement().encode());
}

#[test]
fn there_is_one_spelling() {
    assert!(with(Value::Array(vec![entry(b"", &[1, 0, 0, 0, 0]), entry(b"a", &[1, 0, 0, 0, 0])])).is_ok());
    let wrong = [
        vec![],
        vec![entry(b"a", &[0, 0, 0, 0, 0])],
        vec![entry(b"a", &[1, 0, 0, 0])],
        vec![entry(b"a", &[1, 0, 0, 0, 0, 0])],
        vec![entry(b"b", &[1, 0, 0, 0, 0]), entry(b"a", &[1, 0, 0, 0, 0])],
        vec![entry(b"a", &[1, 0, 0, 0, 0]), entry(b"a", &[1, 0, 0, 0, 0])],
        vec![entry(&[b'a'; MAX_RULE_NAME + 1], &[1, 0, 0, 0, 0])],
        vec![Value::Uint(1)],
    ];
    for items in wrong {
        assert!(with(Value::Array(items.clone())).is_err(), "{items:?}");
    }
    let many = |n: u8| (0..n).map(|n| entry(&[b'r', n], &[1, 0, 0, 0, 0])).collect();
    assert!(with(Value::Array(many(64))).is_ok());
    assert!(with(Value::Array(many(65))).is_err());
}

#[test]
fn rules_beyond_the_cap_are_counted_together_and_none_loses_its_place() {
    let mut rules = Rules::default();
    for n in 0..100 {
        rules.add(format!("rule {n}").as_bytes(), &count(1, 0));
    }
    rules.add(&[b'x'; MAX_RULE_NAME + 1], &count(1, 0));
    rules.add(b"rule 0", &count(1, 0));
    assert_eq!((rules.iter().count(), rules.get(OTHER).recorded), (MAX_RULES + 1, 37));
    assert_eq!((rules.get(b"rule 0").recorded, rules.get(b"rule 70").recorded), (2, 0));
    assert!(rules.add_up_to(&Counters { recorded: 102, ..Counters::default() }));
}

#[test]
fn sums_and_growth_are_checked() {
    let counters = Counters { recorded: 9, passed: 2, refused: 1, ..Counters::default() };
    let refused = RuleCount { refused: 1, ..count(1, 0) };
    let good = rules(&[("chat", count(8, 1)), ("health", count(0, 1)), ("mail", refused)]);
    assert!(good.add_up_to(&counters) && Rules::default().add_up_to(&counters));
    for wrong in [
        Counters { recorded: 8, ..counters },
        Counters { passed: 3, ..counters },
        Counters { lost: 1, ..counters },
        Counters { refused: 0, ..counters },
        Counters { degraded: 1, ..counters },
    ] {
        assert!(!good.add_up_to(&wrong), "{wrong:?}");
    }
    assert!(!rules(&[("a", count(u64::MAX, 0)), ("b", count(10, 0))]).add_up_to(&counters));

    let mut later = good.clone();
    later.add(b"chat", &count(1, 0));
    assert!(!later.decreased_since(&good) && good.decreased_since(&later));
    // Moved from one rule to another, the sums stay.
    assert!(rules(&[("chat", count(7, 0)), ("new", count(1, 0))]).decreased_since(&good));
    assert!(Rules::default().decreased_since(&good));
}
