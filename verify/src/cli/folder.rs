//! `colophon-verify` on an export: everything in it at once.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, IsTerminal, Read, Write};
use std::path::Path;

use indicatif::{ProgressBar, ProgressStyle};

use super::{USAGE, VerifyArgs, read_trust, shown};
use crate::folder::{self, FolderReport};
use crate::text::{edge, line, time};
use crate::{Trust, Verdict};

/// Whether this is an export and no receipt: a folder, or a Zstandard file.
pub(super) fn is_export(path: &Path) -> bool {
    let mut first = [0; 4];
    let mut read = || File::open(path).and_then(|mut file| file.read_exact(&mut first));
    // A pipe would lose what is read here.
    path.is_dir() || (path.is_file() && read().is_ok() && first == folder::ZSTD)
}

/// Verifies and prints; gives the exit code.
pub(super) fn run_to(args: &VerifyArgs, colour: bool, out: &mut impl Write, err: &mut impl Write) -> u8 {
    match report(args, err) {
        Err(error) => {
            let _ = writeln!(err, "error: {}", line(&error));
            USAGE
        }
        Ok(report) => {
            let text = match args.json {
                true => serde_json::to_string_pretty(&report).unwrap_or_default() + "\n",
                false => human(&report, colour),
            };
            match super::put(&text, out, err) {
                true => report.result.exit_code(),
                false => USAGE,
            }
        }
    }
}

fn report(args: &VerifyArgs, err: &mut impl Write) -> Result<FolderReport, String> {
    let copies =
        [&args.request, &args.response, &args.request_message, &args.message, &args.policy, &args.round];
    if copies.iter().any(|copy| copy.is_some()) || args.nonce.is_some() {
        return Err(
            "--request, --response, --message, --nonce, --policy and --round are for one receipt, not for an export"
                .into(),
        );
    }
    let (trust, chain) = (outside(args, err)?, super::read_chain(args)?);
    let bar = match io::stderr().is_terminal() {
        true => ProgressBar::new(0).with_style(
            ProgressStyle::with_template("verifying {wide_bar} {pos}/{len} receipts {eta}")
                .unwrap_or_else(|_| ProgressStyle::default_bar()),
        ),
        false => ProgressBar::hidden(),
    };
    let mut progress = |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    };
    let report = folder::check(&args.receipt, trust.as_ref(), args.at, chain.as_ref(), &mut progress);
    bar.finish_and_clear();
    report.map_err(|error| format!("the export {}: {error}", shown(&args.receipt)))
}

/// The trust file, if it did not come in the export.
fn outside(args: &VerifyArgs, err: &mut impl Write) -> Result<Option<Trust>, String> {
    let trust = read_trust(args)?;
    let inside = args.trust.as_deref().is_some_and(|trust| lies_in(trust, &args.receipt));
    if inside {
        let _ = writeln!(err, "note: the trust file lies in the export itself, so it vouches for nothing");
        return Ok(None);
    }
    Ok(trust)
}

fn lies_in(file: &Path, folder: &Path) -> bool {
    let real = fs::canonicalize(file).and_then(|file| Ok((file, fs::canonicalize(folder)?)));
    real.is_ok_and(|(file, folder)| file.starts_with(folder))
}

pub(super) fn human(report: &FolderReport, colour: bool) -> String {
    let styled = |style: &str, text: &str| match colour {
        true => format!("\x1b[{style}m{text}\x1b[0m"),
        false => text.to_owned(),
    };
    let (style, word, why) = match report.result {
        Verdict::Trusted if report.receipts.verified == 0 => (
            "32;1",
            "TRUSTED",
            "the account in this export holds against your trust file; no receipt is in it",
        ),
        Verdict::Trusted => ("32;1", "TRUSTED", "everything in this export holds against your trust file"),
        Verdict::ConsistentNotTrusted => {
            ("33;1", "CONSISTENT, NOT TRUSTED", "nothing is wrong, but what trust needs is missing")
        }
        Verdict::Bad => ("31;1", "BAD", "do not rely on anything that this export says"),
    };
    let mut text = format!("{}: {why}\n\n", styled(style, word));
    let mut fact = |name: &str, value: String| {
        let _ = writeln!(text, "  {name:<11}{value}");
    };
    let FolderReport { count, receipts, .. } = report;
    let entries = format!("entries {} to {} of {}", count.first, count.end, report.size);
    fact("log", format!("\"{}\", {entries}", report.origin));
    fact("log key", report.log_key.clone().unwrap_or_else(|| "not verified".into()));
    let whose = report.shard.as_ref().map_or_else(String::new, |shard| format!(", only \"{shard}\""));
    fact("interval", format!("{} to {}{whose}, by the operator's clock", edge(report.from), edge(report.to)));
    let totals = &count.totals;
    fact("recorded", format!("{} in {} batches", totals.recorded, totals.batches));
    fact("besides", format!("{} passed unrecorded by rule, {} lost", totals.passed, totals.lost));
    fact("of these", format!("{} degraded, {} refused", totals.degraded, totals.refused));
    for (place, rule) in count.by_rule.iter().enumerate() {
        fact(if place == 0 { "by rule" } else { "" }, rule.to_string());
    }
    for sidecar in &count.sidecars {
        let (from, to) = (time(sidecar.from), time(sidecar.to));
        fact(
            "unbroken",
            format!("{} from {from} to {to}, {} recorded", sidecar.name, sidecar.totals.recorded),
        );
        for shard in sidecar.unclosed.iter().chain(&sidecar.crashed) {
            fact("", format!("without a close: {shard}"));
        }
    }
    fact(
        "receipts",
        match receipts.expected {
            true => format!(
                "{} verified, {} trusted, {} with an independent time, {} bad, {} missing",
                receipts.verified, receipts.trusted, receipts.dated, receipts.bad, receipts.missing
            ),
            false => "none in this export: only the count was checked".into(),
        },
    );
    let mut list = |title: &str, items: &mut dyn Iterator<Item = &String>| {
        let mut items = items.peekable();
        if items.peek().is_some() {
            let _ = writeln!(text, "\n{}", styled("1", title));
        }
        for item in items {
            let _ = writeln!(text, "  - {item}");
        }
    };
    let breaks = count.sidecars.iter().flat_map(|sidecar| &sidecar.breaks);
    list("What is wrong", &mut report.faults.iter().chain(&count.faults).chain(breaks));
    list("Records without a receipt", &mut report.missing.iter());
    list("What is missing for trust", &mut report.lacking.iter());
    list("Files that no export has, not looked at", &mut report.unread.iter());
    if report.result != Verdict::Bad {
        list("What is not proven", &mut not_proven(report).iter());
    }
    text
}

/// In the program's own words.
fn not_proven(report: &FolderReport) -> Vec<String> {
    let mut list = vec![
        "that no inference bypassed the sidecars: what no sidecar saw is in no count".to_owned(),
        "when the exchanges were: the interval is by the operator's clock".to_owned(),
        "that any answer is true, safe or unbiased".to_owned(),
        "that the operator shows everybody this one log, where no witness signed its checkpoint".to_owned(),
    ];
    let FolderReport { count, size, receipts, .. } = report;
    if receipts.verified == 0 {
        list.insert(0, "anything about a single record: no receipt is in this export".to_owned());
    }
    if receipts.without_policy > 0 {
        let n = receipts.without_policy;
        list.push(format!(
            "what the rules said that decided about {n} of the records: their policies' texts are not here"
        ));
    }
    for (from, to) in &report.not_covered {
        let (from, to) = (edge(*from), edge(*to));
        list.push(format!("anything about {from} to {to}: no statement here is about it"));
    }
    if count.first > 0 {
        list.push(format!(
            "that the entries before {} announce no further shard whose key lives into the interval",
            count.first
        ));
    }
    if count.end < *size {
        list.push(format!(
            "that the entries from {} on hold no late statement about the interval",
            count.end
        ));
    }
    list
}
