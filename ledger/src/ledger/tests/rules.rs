//! What statements tell by rule.

use super::*;
use colophon_receipt::fields::{DECISION, DecisionField};
use colophon_receipt::record::{FieldSet, seal};
use colophon_receipt::statement::{OTHER, RuleCount, Rules};

/// The fields of an exchange that this rule decided.
fn decided(n: u64, rule: &str) -> FieldSet {
    let mut fields = request(n);
    let rule = Some(rule.as_bytes().into());
    DecisionField { rule, ..DecisionField::default() }.write(DECISION, &mut fields);
    fields
}

fn begin_by(ledger: &Ledger, rule: &str) -> Ticket {
    let received_at = ledger.now();
    let (id, name) = (ledger.new_id(received_at / 1000), Arc::from(rule));
    let fields = decided(1, rule);
    let open = Open { id, received_at, level: Level::Sign, fields: &fields, tenant: None, rule: Some(&name) };
    let mut ticket = ledger.begin(&open).unwrap();
    ledger.open_now(&mut ticket).unwrap();
    ticket
}

fn finish(ledger: &Ledger, mut ticket: Ticket, rule: &str, refused: bool) {
    let at = ledger.stamp(&mut ticket);
    let record = seal(*ticket.id(), at, Level::Sign, Outcome::Complete, [1; 32], decided(1, rule));
    ledger.finish(ticket, Done { refused, ..record.into() }).unwrap();
}

fn exchange_by(ledger: &Ledger, rule: &str) {
    finish(ledger, begin_by(ledger, rule), rule, false);
}

async fn last(ledger: &Ledger) -> Rules {
    audit(ledger).await.shards[&ledger.shard().name].last().unwrap().rules.clone()
}

/// Each rule as (recorded, passed, lost, refused, degraded).
fn told(rules: &Rules) -> Vec<(&str, [u64; 5])> {
    let parts = |c: &RuleCount| [c.recorded, c.passed, c.lost, c.refused, c.degraded];
    rules.iter().map(|(rule, count)| (str::from_utf8(rule).unwrap(), parts(count))).collect()
}

#[tokio::test]
async fn every_end_of_an_exchange_is_counted_for_its_rule() {
    let (dir, store) = (TempDir::new().unwrap(), memory());
    let (ledger, keeper) = open(config(dir.path()), store).await.unwrap();
    (0..3).for_each(|_| exchange_by(&ledger, "chat"));
    settle(&ledger).await;
    finish(&ledger, begin_by(&ledger, "chat"), "chat", true);
    drop(begin_by(&ledger, "mail"));
    ["health", "health", "metrics"].iter().for_each(|rule| ledger.passed(rule));
    let broken = begin_by(&ledger, "mail");
    ledger.begin_bypass("somebody", "a test", Duration::from_secs(60)).unwrap();
    let mut passed = begin_by(&ledger, "chat");
    assert!(passed.bypass());
    drop(passed);
    ledger.0.wal.fail_after(Some(0));
    let mut broken = broken;
    let at = ledger.stamp(&mut broken);
    let record = seal(*broken.id(), at, Level::Sign, Outcome::Complete, [1; 32], decided(1, "mail"));
    let unfinished = *ledger.finish(broken, record.into()).unwrap_err();
    ledger.finish_degraded(unfinished.ticket, unfinished.done).unwrap();
    ledger.0.wal.fail_after(None);
    // Without a rule's name.
    exchange(&ledger, 7);
    keeper.close().await.unwrap();
    let rules = last(&ledger).await;
    assert_eq!(
        told(&rules),
        [
            ("", [1, 0, 0, 0, 0]),
            ("chat", [4, 1, 0, 1, 0]),
            ("health", [0, 2, 0, 0, 0]),
            ("mail", [1, 0, 1, 0, 1]),
            ("metrics", [0, 1, 0, 0, 0]),
        ]
    );
    assert_eq!(rules.get(OTHER).recorded, 1);
}

/// A record made after a crash counts for the rule that its fields name.
#[tokio::test]
async fn what_a_crash_left_keeps_its_rule() {
    let (dir, store) = (TempDir::new().unwrap(), memory());
    let slow = Config { batch_every: Duration::from_secs(60), ..config(dir.path()) };
    let (ledger, keeper) = open(slow, store.clone()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    exchange_by(&ledger, "chat");
    let open_one = begin_by(&ledger, "mail");
    drop(keeper);
    std::mem::forget(open_one);
    let copy = dir.path().join("copy/data");
    copy_folder(&dir.path().join("data"), &copy);
    let (ledger, keeper) = reopen(Config { data: copy, ..config(dir.path()) }, &store).await;
    keeper.close().await.unwrap();
    assert_eq!(told(&last(&ledger).await), [("chat", [1, 0, 0, 0, 0]), ("mail", [1, 0, 0, 0, 0])]);
}

/// A shard begins at nothing, and what passed between two shards is told once.
#[tokio::test]
async fn a_shard_that_takes_over_counts_its_own() {
    let (dir, store) = (TempDir::new().unwrap(), memory());
    let config = Config { shard_key_life: Duration::from_millis(400), ..config(dir.path()) };
    let (ledger, keeper) = open(config, store).await.unwrap();
    let mut passed = 0;
    while audit(&ledger).await.announced.len() < 3 {
        ledger.passed("health");
        passed += 1;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    keeper.close().await.unwrap();
    let found = audit(&ledger).await;
    let told = found.shards.values().filter_map(|statements| statements.last());
    assert_eq!(told.map(|last| last.rules.get(b"health").passed).sum::<u64>(), passed);
}
