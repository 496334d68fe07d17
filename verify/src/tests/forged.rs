//! Receipts made wrong by someone who holds keys.

use super::*;
use crate::testing::Covered;

#[track_caller]
fn forged(plan: Plan, names: &[&str]) -> Report {
    let report = run(&plan.make());
    refused_by(&report, names);
    report
}

#[test]
fn another_logs_key_is_refused() {
    let ours = Plan::default().make();
    let theirs = Plan { log_key: 2, ..Plan::default() }.make();
    let report = verify(&theirs.file(), Some(&ours.trust()), &Bodies::default(), None);
    refused_by(&report, &[checks::CHECKPOINT, checks::ANNOUNCEMENT, checks::HTTP_SIGNATURE]);
}

#[test]
fn another_log_with_the_same_key_is_refused() {
    let ours = Plan::default().make();
    let theirs = Plan { origin: "log.example/2025".into(), ..Plan::default() }.make();
    let report = verify(&theirs.file(), Some(&ours.trust()), &Bodies::default(), None);
    refused_by(&report, &[checks::CHECKPOINT, checks::ANNOUNCEMENT, checks::HTTP_SIGNATURE]);
}

#[test]
fn an_announcement_cannot_be_moved() {
    // From another log of the same owner, key and shard names included.
    let mut made = Plan::default().make();
    let other = Plan { origin: "log.example/2025".into(), ..Plan::default() }.make();
    made.receipt.announcements = other.receipt.announcements;
    let report = run(&made);
    assert!(report.failed().any(|check| check.name == checks::ANNOUNCEMENT));
    forged(
        Plan { announcement: |a| a.origin = "elsewhere".into(), ..Plan::default() },
        &[checks::ANNOUNCEMENT],
    );
    let names = [checks::STATEMENT_SIGNATURE, checks::ANNOUNCEMENT, checks::HTTP_SIGNATURE];
    forged(Plan { announcement: |a| a.shard = "clinic/other".into(), ..Plan::default() }, &names);
}

#[test]
fn a_key_is_announced_only_with_its_holders_word() {
    forged(Plan { announced: |a| a.proof[3] ^= 1, ..Plan::default() }, &[checks::ANNOUNCEMENT]);
    forged(Plan { announced: |a| a.not_after += 1, ..Plan::default() }, &[checks::ANNOUNCEMENT]);
}

#[test]
fn a_key_counts_only_while_it_is_valid() {
    let names = [checks::ANNOUNCEMENT, checks::HTTP_SIGNATURE];
    forged(Plan { announcement: |a| a.not_after = NOW - 1, ..Plan::default() }, &names);
    forged(Plan { announcement: |a| a.not_before = NOW + 1_000_000_000, ..Plan::default() }, &names);
    forged(Plan { announcement: |a| a.not_after = NOW + 999, ..Plan::default() }, &[checks::ANNOUNCEMENT]);
    forged(Plan { announcement: |a| a.not_after = 0, ..Plan::default() }, &names);
}

#[test]
fn a_record_left_behind_may_be_older_than_the_key_that_logs_it() {
    let renewed = |a: &mut colophon_receipt::statement::Announcement| {
        if a.shard == "clinic/5d1f0c9a" {
            a.not_before = NOW + 500_000;
        }
    };
    let report = run(&Plan { earlier_key: true, announcement: renewed, ..Plan::default() }.make());
    assert_eq!((report.result, report.verified_level), (Verdict::Trusted, Some(Level::Sign)));
    assert!(report.proven.iter().any(|line| line.contains("which this log announced as well")));
    assert_ne!(report.keys.statement.as_ref(), report.keys.http.first());
}

#[test]
fn a_statement_agrees_with_its_record_and_itself() {
    let bend = |statement| Plan { statement, ..Plan::default() };
    forged(bend(|s| s.from = s.to), &[checks::STATEMENT]);
    forged(bend(|s| s.to = s.from), &[checks::STATEMENT]);
    forged(bend(|s| s.from = s.to + 1), &[checks::STATEMENT]);
    forged(bend(|s| s.counters.lost = 1), &[checks::STATEMENT]);
    forged(bend(|s| s.counters.recorded = u64::MAX), &[checks::STATEMENT]);
    forged(bend(|s| s.cumulative_exchanges = 2), &[checks::STATEMENT]);
    forged(bend(|s| s.previous = [0; 32]), &[checks::STATEMENT]);
    forged(bend(|s| s.shard = "clinic/other".into()), &[checks::STATEMENT]);
    forged(bend(|s| s.count = 4), &[checks::BATCH]);
    forged(bend(|s| s.count = 0), &[checks::BATCH]);
    forged(bend(|s| s.count = u64::MAX), &[checks::BATCH, checks::STATEMENT]);
    forged(bend(|s| s.root = [9; 32]), &[checks::BATCH]);
    let later = Plan { statement: |s| (s.seq, s.previous) = (7, [1; 32]), ..Plan::default() };
    assert_eq!(run(&later.make()).result, Verdict::Trusted);
}

#[test]
fn a_leaf_commits_to_its_fields() {
    let bend = |leaf| Plan { leaf, signing: Signing::Unsigned, ..Plan::default() };
    forged(bend(|leaf| leaf.present |= 1 << 63), &[checks::FIELDS]);
    forged(bend(|leaf| leaf.present &= !(1 << fields::MODEL)), &[checks::FIELDS]);
    forged(bend(|leaf| leaf.field_root[0] ^= 1), &[checks::FIELDS]);
    forged(bend(|leaf| leaf.id[6] = 0x40), &[checks::RECORD_ID]);
    forged(bend(|leaf| leaf.id[8] = 0x00), &[checks::RECORD_ID]);
    forged(bend(|leaf| leaf.completed_at = NOW - 1), &[checks::STATEMENT]);
    let level = Plan { leaf: |leaf| leaf.level = Level::Tee, withheld: vec![], ..bend(|_| {}) };
    forged(level, &[checks::LEVEL]);
    let other = Plan { leaf: |leaf| leaf.outcome = Outcome::ClientAborted, ..bend(|_| {}) };
    assert_eq!(run(&other.make()).outcome, Some("client-aborted"));
    let tee = Plan { level: Level::Tee, ..Plan::default() };
    assert_eq!(run(&tee.make()).verified_level, Some(Level::Sign));
}

fn set(covered: &mut Covered, name: &str, change: impl Fn(&str) -> String) {
    let value = covered.iter_mut().find(|(n, ..)| n == name).expect("it is covered");
    value.3 = change(&value.3);
}

#[test]
fn what_a_signature_covers_is_what_the_record_says() {
    let bends: [fn(&mut Covered); 21] = [
        |c| set(c, "@status", |_| "201".into()),
        |c| set(c, "@status", |_| "0200".into()),
        |c| set(c, "content-type", |_| "text/plain".into()),
        |c| set(c, "content-digest", |v| v.replacen("sha-256", "sha-512", 1)),
        |c| set(c, "content-digest", |_| "sha-256=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:".into()),
        |c| set(c, "content-digest", |v| format!("{v}, sha-512=:AAAA:")),
        |c| set(c, "colophon-request-digest", |_| "sha-256=:AAAA:".into()),
        |c| set(c, "@method", |_| "GET".into()),
        |c| set(c, "@path", |_| "/v1/completions".into()),
        |c| set(c, "@query", |_| "?".into()),
        |c| set(c, "@query", |_| "beta=true".into()),
        |c| set(c, "colophon-record", |v| v.replacen('0', "1", 1)),
        |c| set(c, "colophon-record", |v| v.replace("level=sign", "level=commit")),
        |c| set(c, "colophon-record", |v| v.replace("shard=\"clinic", "shard=\"bank")),
        |c| set(c, "colophon-record", |v| v.replace("leaf=:", "leaf=:AA")),
        |c| set(c, "colophon-record", |v| format!("{v};extra=1")),
        |c| set(c, "colophon-log", |v| v.replace("size=1", "size=2")),
        |c| set(c, "colophon-log", |v| v.replace("log.example/2026", "log.example/2025")),
        |c| c.push(("server-timing".into(), false, false, "x".into())),
        |c| c.push(("colophon-client-nonce".into(), true, false, "x".into())),
        |c| c.push(("content-encoding".into(), false, false, "gzip".into())),
    ];
    for (at, covered) in bends.into_iter().enumerate() {
        let report = run(&Plan { covered, ..Plan::default() }.make());
        assert!(report.failed().any(|check| check.name == checks::HTTP_SIGNATURE), "bend {at}");
        assert_eq!((report.result, report.failed().count()), (Verdict::Bad, 1), "bend {at}");
    }
}

#[test]
fn a_signature_covers_the_minimum_of_its_tag() {
    let drops: [fn(&mut Covered); 9] = [
        |c| c.retain(|(name, ..)| name != "@status"),
        |c| c.retain(|(name, ..)| name != "content-type"),
        |c| c.retain(|(name, ..)| name != "content-digest"),
        |c| c.retain(|(name, ..)| name != "colophon-request-digest"),
        |c| c.retain(|(name, ..)| name != "colophon-record"),
        |c| c.retain(|(name, ..)| name != "colophon-log"),
        |c| c.retain(|(name, ..)| name != "@method"),
        |c| c.retain(|(name, ..)| name != "@path"),
        |c| c.retain(|(name, ..)| name != "@query"),
    ];
    for covered in drops {
        forged(Plan { covered, ..Plan::default() }, &[checks::HTTP_SIGNATURE]);
    }
    let nonce = Plan {
        nonce: Some("n".into()),
        covered: |c| c.retain(|(name, ..)| name != "colophon-client-nonce"),
        ..Plan::default()
    };
    forged(nonce, &[checks::HTTP_SIGNATURE]);
    // The end of a stream has to name the leaf.
    let close = Plan {
        signing: Signing::Stream,
        covered: |c| {
            set(c, "colophon-record", |v| v.split(";leaf").next().map(str::to_owned).expect("a promise"))
        },
        ..Plan::default()
    };
    forged(close, &[checks::HTTP_SIGNATURE]);
}

#[test]
fn two_trees_of_one_size_are_caught() {
    // The answer carried a tree head of the size of the receipt's, with another root.
    let mut made = Plan { later_entries: 0, ..Plan::default() }.make();
    let fork = colophon_receipt::checkpoint::Checkpoint {
        origin: "log.example/2026".into(),
        size: 4,
        root: [3; 32],
    };
    let note = colophon_signer::note::sign_note(&fork.to_text(), &fork.origin, &key(1)).unwrap();
    let announcement = &mut made.receipt.announcements[0];
    let (before, _) = announcement.log_proof.split_once("\n\n").unwrap();
    announcement.log_proof = format!("{before}\n\n{note}");
    let report = run(&made);
    refused_by(&report, &[checks::ANNOUNCEMENT]);
}

#[test]
fn a_statement_by_a_key_that_was_never_announced_is_refused() {
    let mut made = Plan { earlier_key: true, ..Plan::default() }.make();
    // The log holds both announcements, but the statement is not by the one that is shown.
    made.receipt.announcements.remove(0);
    let report = run(&made);
    let failed: Vec<&str> = report.failed().map(|check| check.name).collect();
    assert!(failed.contains(&checks::STATEMENT_SIGNATURE), "{failed:?}");
}
