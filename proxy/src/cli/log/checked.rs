//! What `colophon log check` found, for people and for scripts.

use super::super::term;
use colophon_ledger::check::{Drawn, Report, ShardSummary};
use colophon_receipt::statement::{Bypass, Counters};
use colophon_verify::count::ByRule;

/// Shards told one by one; of more, only those that did not end cleanly.
const TOLD: usize = 20;

/// What the check has read, and what it would not have.
pub(super) struct Read {
    /// The batch files, and with them records, draws and the texts of policies.
    pub(super) batches: bool,
    pub(super) sequence: bool,
    /// What is not there and is not checked, but receipts are made of: `openings`, `index`.
    pub(super) missing: Vec<&'static str>,
}

impl Read {
    pub(super) fn json(&self) -> serde_json::Value {
        serde_json::json!({"batches": self.batches, "sequence": self.sequence, "missing": self.missing})
    }

    /// A line for each thing that receipts need and that is not there.
    fn warnings(&self) -> impl Iterator<Item = String> {
        self.missing.iter().map(|what| match *what {
            "index" => {
                "there is no index/ here: no receipt is found until `colophon log index` has made it again"
                    .into()
            }
            what => format!(
                "there are no {what} here (private/): without them no receipt is made (--private elsewhere?)"
            ),
        })
    }

    /// What a log without findings was found to be.
    fn sound(&self) -> &'static str {
        match (self.batches, self.sequence) {
            (true, _) => {
                "sound: log and batches agree with the signed checkpoint; openings and index are not read"
            }
            (false, true) => {
                "sound, as far as it was read: the log's entries, its sequence and signed counters"
            }
            (false, false) => "sound, as far as it was read: the log's entries and signed counters",
        }
    }
}

pub(super) fn print(report: &Report, trusted: bool, read: &Read) {
    if let Some(head) = &report.checkpoint {
        outln!("log         {}, {} leaves", term::safe_line(&head.origin), head.size);
    }
    if let Some(vkey) = &report.vkey {
        let by = if trusted {
            "your trust file"
        } else {
            "the log's own genesis: nothing outside this folder vouches for it"
        };
        outln!("key         {} (from {by})", term::safe_line(vkey));
    }
    outln!(
        "re-hashed   {} leaves, {} tiles, {} bundles, {} sequence entries",
        report.leaves,
        report.tiles,
        report.bundles,
        report.sequence_entries
    );
    outln!(
        "chained     {} shards, {} statements, {} closes",
        report.announcements,
        report.statements,
        report.closes
    );
    if read.batches {
        outln!("records     {} in {} batches", report.records, report.batches);
    } else {
        let sequence = if read.sequence { "" } else { ", nor the sequence" };
        outln!("records     not read: nor were batches, draws and the texts of policies{sequence}");
    }
    for warning in read.warnings() {
        outln!("{} {warning}", term::refused("warning    "));
    }
    if report.drawn.records > 0 {
        outln!("{}", drawn(&report.drawn));
    }
    if report.key_evidence > 0 {
        outln!("evidence    about shards' keys, {} times anew", report.key_evidence);
    }
    if report.erasures > 0 {
        outln!("erased      the openings of {} records, by {} erasures", report.erased, report.erasures);
    }
    if report.policies > 0 || report.policy_changes > 0 {
        outln!("policies    {} kept, {} changes", report.policies, report.policy_changes);
    }
    if report.revocations > 0 {
        outln!("revoked     {} keys", report.revocations);
    }
    if let Some(link) = &report.link {
        let by = match link.handed_over {
            true => "its key named this one as its successor",
            false => "its key did not say so: this generation was begun without it",
        };
        outln!("continues   {} at {} leaves; {by}", term::safe_line(&link.end.origin), link.end.size);
    }
    if report.timestamps > 0 || report.beacons > 0 {
        outln!("dated       {}", dated(report));
    }
    let sum = report.counters();
    outln!(
        "counters    {} received = {} recorded + {} passed + {} lost + {} open, over all shards",
        sum.received,
        sum.recorded,
        sum.passed,
        sum.lost,
        sum.open
    );
    outln!("            of the recorded: {} refused, {} degraded", sum.refused, sum.degraded);
    if let Some(count) = sum.bypass {
        outln!("            of the passed: {count} let through by a bypass");
    }
    for rule in by_rule(report) {
        outln!("            {rule}");
    }
    for bypass in &report.bypasses {
        outln!("{}", bypassed(bypass));
    }
    print_shards(&report.shards);
    for waiting in &report.not_logged {
        outln!(
            "            not logged yet: {} records of {} in {} batch files",
            waiting.records,
            term::safe_line(&waiting.shard),
            waiting.batches
        );
    }
    for finding in &report.findings {
        outln!("{} {}: {}", term::refused("✗"), finding.name(), term::safe_line(&finding.to_string()));
    }
    if report.omitted > 0 {
        outln!("  and {} more", report.omitted);
    }
    if report.is_sound() {
        outln!("{} {}", term::green("✓"), read.sound());
    } else {
        outln!("{} {} found", term::refused("✗"), report.findings.len() as u64 + report.omitted);
    }
}

fn by_rule(report: &Report) -> Vec<ByRule> {
    report.by_rule().iter().map(|(rule, count)| ByRule::new(rule, count)).collect()
}

/// What came of draws, in a line.
fn drawn(drawn: &Drawn) -> String {
    let Drawn { records, drawn, unknown, with_evidence, waiting, not_done, asked } = drawn;
    let mut line = format!(
        "drawn       {drawn} of {records} records that may be; {with_evidence} have evidence leaves, {not_done} of them \
         \"not done\""
    );
    if *waiting > 0 {
        line.push_str(&format!(", {waiting} wait for theirs"));
    }
    if *unknown > 0 {
        line.push_str(&format!(
            "; of {unknown} it cannot be said: the store has no round for them (operator-influenced until it has)"
        ));
    }
    if *asked > 0 {
        line.push_str(&format!("; {asked} more pieces of evidence were asked for"));
    }
    line
}

/// What the timestamps show, in a line.
fn dated(report: &Report) -> String {
    let Report { timestamps, dated_checkpoints, trusted_timestamps, beacons, .. } = report;
    let newest = report.newest_timestamp.as_ref().map_or(String::new(), |newest| {
        let time =
            i64::try_from(newest.time).ok().and_then(|time| jiff::Timestamp::from_microsecond(time).ok());
        let time = time.map_or(String::new(), |time| format!("{time:.3}"));
        let (size, tsa) = (newest.size, term::safe_line(&newest.tsa));
        format!("; the first {size} leaves before {time} (\"{tsa}\")")
    });
    format!(
        "{timestamps} timestamps of {dated_checkpoints} checkpoints, {trusted_timestamps} by TSAs of your trust file; \
         {beacons} statements name one{newest}"
    )
}

fn print_shards(shards: &[ShardSummary]) {
    let told = |shard: &&ShardSummary| shards.len() <= TOLD || !shard.closed;
    for shard in shards.iter().filter(told).take(TOLD) {
        let end = match (shard.closed, shard.succeeded) {
            (true, _) => "closed",
            (false, true) => "no close, another took over",
            (false, false) => "no close: running, or dead with what it had not logged",
        };
        let name = term::safe_line(&shard.shard);
        outln!("shard       {name}: {} records in {} statements; {end}", shard.records, shard.statements);
    }
}

pub(super) fn json(report: &Report) -> serde_json::Value {
    let findings: Vec<_> = report
        .findings
        .iter()
        .map(|finding| serde_json::json!({"name": finding.name(), "detail": finding.to_string()}))
        .collect();
    let shards: Vec<_> = report
        .shards
        .iter()
        .map(|shard| {
            serde_json::json!({
                "shard": shard.shard,
                "statements": shard.statements,
                "records": shard.records,
                "counters": counters(&shard.counters),
                "closed": shard.closed,
                "succeeded": shard.succeeded,
            })
        })
        .collect();
    let not_logged: Vec<_> = report
        .not_logged
        .iter()
        .map(|one| serde_json::json!({"shard": one.shard, "records": one.records, "batches": one.batches}))
        .collect();
    serde_json::json!({
        "sound": report.is_sound(),
        "origin": report.checkpoint.as_ref().map(|head| &head.origin),
        "size": report.checkpoint.as_ref().map(|head| head.size),
        "root": report.checkpoint.as_ref().map(|head| hex::encode(head.root)),
        "vkey": report.vkey,
        "leaves": report.leaves,
        "tiles": report.tiles,
        "bundles": report.bundles,
        "sequence_entries": report.sequence_entries,
        "announcements": report.announcements,
        "statements": report.statements,
        "closes": report.closes,
        "erasures": report.erasures,
        "erased": report.erased,
        "policies": report.policies,
        "bypasses": report.bypasses.iter().map(bypass_json).collect::<Vec<_>>(),
        "policy_changes": report.policy_changes,
        "revocations": report.revocations,
        "continues": report.link.as_ref().map(|link| {
            serde_json::json!({
                "origin": link.end.origin,
                "size": link.end.size,
                "root": hex::encode(link.end.root),
                "handed_over": link.handed_over,
            })
        }),
        "batches": report.batches,
        "records": report.records,
        "drawn": {
            "records": report.drawn.records,
            "drawn": report.drawn.drawn,
            "unknown": report.drawn.unknown,
            "with_evidence": report.drawn.with_evidence,
            "waiting": report.drawn.waiting,
            "not_done": report.drawn.not_done,
            "asked": report.drawn.asked,
        },
        "key_evidence": report.key_evidence,
        "counters": counters(&report.counters()),
        "by_rule": by_rule(report),
        "shards": shards,
        "not_logged": not_logged,
        "dated_checkpoints": report.dated_checkpoints,
        "timestamps": report.timestamps,
        "trusted_timestamps": report.trusted_timestamps,
        "newest_timestamp": report.newest_timestamp.as_ref().map(|newest| {
            serde_json::json!({"size": newest.size, "time": newest.time, "tsa": newest.tsa})
        }),
        "beacons": report.beacons,
        "findings": findings,
        "omitted": report.omitted,
    })
}

fn counters(counters: &Counters) -> serde_json::Value {
    serde_json::json!({
        "received": counters.received,
        "recorded": counters.recorded,
        "passed": counters.passed,
        "lost": counters.lost,
        "open": counters.open,
        "refused": counters.refused,
        "degraded": counters.degraded,
        "bypass": counters.bypass,
    })
}

/// One line on a bypass, in the operator's words.
fn bypassed(bypass: &Bypass) -> String {
    let text = |bytes: &[u8]| term::safe_line(&String::from_utf8_lossy(bytes));
    let time = colophon_verify::time;
    let end = match bypass.ended {
        Some(at) => format!("to {}", time(at)),
        None => format!("in force, until {} at most", time(bypass.until)),
    };
    let (who, why, from) = (text(&bypass.who), text(&bypass.why), time(bypass.from));
    format!("bypass      {} exchanges unrecorded from {from} {end}; by {who}: {why}", bypass.count)
}

fn bypass_json(bypass: &Bypass) -> serde_json::Value {
    serde_json::json!({
        "id": hex::encode(bypass.id),
        "who": String::from_utf8_lossy(&bypass.who),
        "why": String::from_utf8_lossy(&bypass.why),
        "from": bypass.from,
        "until": bypass.until,
        "ended": bypass.ended,
        "exchanges": bypass.count,
    })
}
