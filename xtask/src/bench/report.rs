//! What was measured, as Markdown between the markers of docs/PERFORMANCE.md and as JSON.

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context as _, Result};
use serde_json::json;

use super::machine::Machine;
use super::micro::Micros;
use super::receipts::Receipts;
use super::rounds::{CONNECTIONS, Spread, Turn, Turns};
use crate::shell::root;

/// Above this share of the proxies' core taken by others, the run calls itself noisy. Percent.
pub(super) const NOISE: f64 = 5.0;

/// All of a run.
pub(super) struct Report {
    pub(super) machine: Machine,
    pub(super) seconds: u64,
    pub(super) rounds: Vec<Turns>,
    pub(super) receipts: Receipts,
    pub(super) at_rest: Vec<(&'static str, u64)>,
    pub(super) after: Vec<(&'static str, u64)>,
    pub(super) micro: Option<Micros>,
}

impl Report {
    /// The tables, as they go into the document.
    pub(super) fn tables(&self) -> String {
        let mut text = self.side_by_side();
        if let Some(micro) = &self.micro {
            text.push('\n');
            text.push_str(&micro.table());
        }
        text
    }

    /// Puts the tables between their markers.
    pub(super) fn write(&self) -> Result<()> {
        let side_by_side = self.side_by_side();
        let micro = self.micro.as_ref().map(Micros::table);
        let mut tables = vec![("side-by-side", side_by_side.as_str())];
        tables.extend(micro.as_deref().map(|table| ("micro", table)));
        insert(&tables)
    }

    fn side_by_side(&self) -> String {
        let machine = &self.machine;
        let rounds = self.rounds.first().map_or(0, |turns| turns.turns.len());
        let mut text = format!(
            "Machine: {}.\n{} rounds of {} s each, {CONNECTIONS} connections, 1.5 KB up and 1.5 KB down. Medians, \
             with the least and the most of the rounds.\n\n",
            machine.line(),
            rounds,
            self.seconds,
        );
        text.push_str(
            "| | requests/s | of plain | CPU µs/request | of plain | added p50, one connection | p99 under load | \
             stream events/s | of plain | CPU µs/stream event | more than plain | between events, p99 | of plain | memory at rest | \
             after |\n|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|\n",
        );
        for turns in &self.rounds {
            self.row(turns, &mut text);
        }
        let all = || self.proxies().flat_map(|turns| &turns.turns);
        let noise = Spread::of(all().map(|turn| turn.loaded.core_others));
        let beside_streams = Spread::of(all().map(|turn| turn.streamed.core_others));
        let used = Spread::of(all().map(|turn| turn.loaded.core_used));
        let noisy = noise.median.max(beside_streams.median) > NOISE;
        let verdict = if noisy { "**noisy: do not rely on these figures**" } else { "quiet" };
        let _ = write!(
            text,
            "\nThe proxies used {:.0} % ({:.0} to {:.0}) of their core under load; everything else on that core took \
             {:.1} % ({:.1} to {:.1}), and beside the streams {:.1} % ({:.1} to {:.1}): {verdict}.\n",
            used.median,
            used.least,
            used.most,
            noise.median,
            noise.least,
            noise.most,
            beside_streams.median,
            beside_streams.least,
            beside_streams.most
        );
        let receipts = &self.receipts;
        let _ = write!(
            text,
            "\n| receipts | median | least | most |\n|---|---|---|---|\n{}{}{}",
            line("answer's end → receipt with its proof, quiet, s", receipts.quiet, 2),
            line("the same under full load, s", receipts.busy, 2),
            line("`colophon-verify`, the whole process, ms", receipts.verify_ms, 2),
        );
        let _ = writeln!(text, "\nA receipt of this run has {} bytes.", receipts.bytes);
        text
    }

    fn proxies(&self) -> impl Iterator<Item = &Turns> {
        self.rounds.iter().filter(|turns| turns.name != "direct")
    }

    fn row(&self, turns: &Turns, text: &mut String) {
        let of = |value: fn(&Turn) -> f64| Spread::of(turns.turns.iter().map(value));
        let memory = |list: &[(&str, u64)]| {
            list.iter().find(|(name, _)| *name == turns.name).map_or(0.0, |(_, kb)| *kb as f64 / 1024.0)
        };
        let direct = turns.name == "direct";
        let ratio = |value: fn(&Turn) -> f64| match direct {
            true => "–".to_owned(),
            false => spread(self.ratio(turns, "plain", |own, plain| value(own) / value(plain)), 2),
        };
        let added = match direct {
            true => format!("({:.0} µs in all)", of(|turn| turn.loaded.p50_alone_us).median),
            false => {
                let added = self.ratio(turns, "direct", |own, direct| {
                    own.loaded.p50_alone_us - direct.loaded.p50_alone_us
                });
                format!("{} µs", spread(added, 0))
            }
        };
        let more_cpu = match direct {
            true => "–".to_owned(),
            false => spread(
                self.ratio(turns, "plain", |own, plain| own.streamed.cpu_us - plain.streamed.cpu_us),
                1,
            ),
        };
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {:.1} ms | {} | {} | {} | {} | {:.2} ms | {} | {:.0} MB | {:.0} MB |",
            title(turns.name),
            spread(of(|turn| turn.loaded.requests_per_second), 0),
            ratio(|turn| turn.loaded.requests_per_second),
            spread(of(|turn| turn.loaded.cpu_us), 1),
            ratio(|turn| turn.loaded.cpu_us),
            added,
            of(|turn| turn.loaded.p99_us).median / 1000.0,
            spread(of(|turn| turn.streamed.per_second), 0),
            ratio(|turn| turn.streamed.per_second),
            spread(of(|turn| turn.streamed.cpu_us), 1),
            more_cpu,
            of(|turn| turn.streamed.gap_p99_us).median / 1000.0,
            ratio(|turn| turn.streamed.gap_p99_us),
            memory(&self.at_rest),
            memory(&self.after),
        );
    }

    /// A contender against another one of the same round.
    fn ratio(&self, turns: &Turns, other: &str, compare: impl Fn(&Turn, &Turn) -> f64) -> Spread {
        let other = self.rounds.iter().find(|turns| turns.name == other);
        let others = other.map_or(&[][..], |other| &other.turns);
        Spread::of(turns.turns.iter().zip(others).map(|(own, other)| compare(own, other)))
    }

    /// Everything, for a program.
    pub(super) fn json(&self) -> serde_json::Value {
        let contenders = self.rounds.iter().map(|turns| {
            let rounds: Vec<_> = turns
                .turns
                .iter()
                .map(|turn| {
                    json!({
                        "requests_per_second": turn.loaded.requests_per_second,
                        "p50_us": turn.loaded.p50_us,
                        "p99_us": turn.loaded.p99_us,
                        "cpu_us_per_request": turn.loaded.cpu_us,
                        "core_used_percent": turn.loaded.core_used,
                        "core_others_percent": turn.loaded.core_others,
                        "p50_one_connection_us": turn.loaded.p50_alone_us,
                        "stream_events_per_second": turn.streamed.per_second,
                        "cpu_us_per_stream_event": turn.streamed.cpu_us,
                        "stream_gap_p99_us": turn.streamed.gap_p99_us,
                    })
                })
                .collect();
            json!({"name": turns.name, "rounds": rounds})
        });
        let spread =
            |spread: Spread| json!({"median": spread.median, "least": spread.least, "most": spread.most});
        let memory = |list: &[(&str, u64)]| -> serde_json::Map<String, serde_json::Value> {
            list.iter().map(|(name, kb)| ((*name).to_owned(), json!(kb))).collect()
        };
        let micro = self.micro.iter().flat_map(|micros| &micros.all).map(|micro| {
            let (low, high) = micro.interval_ns;
            json!({"name": micro.name, "median_ns": micro.median_ns, "low_ns": low, "high_ns": high})
        });
        json!({
            "machine": {
                "cpu": self.machine.cpu,
                "cores": self.machine.cores,
                "memory_gb": self.machine.memory_gb,
                "kernel": self.machine.kernel,
                "rustc": self.machine.rustc,
                "busy_before_percent": self.machine.busy_before,
            },
            "seconds": self.seconds,
            "connections": CONNECTIONS,
            "contenders": contenders.collect::<Vec<_>>(),
            "resident_kb_at_rest": memory(&self.at_rest),
            "resident_kb_after": memory(&self.after),
            "receipt_seconds_quiet": spread(self.receipts.quiet),
            "receipt_seconds_busy": spread(self.receipts.busy),
            "verify_process_ms": spread(self.receipts.verify_ms),
            "receipt_bytes": self.receipts.bytes,
            "micro": micro.collect::<Vec<_>>(),
        })
    }
}

pub(super) fn title(name: &str) -> &str {
    match name {
        "direct" => "direct (no proxy)",
        "plain" => "plain hyper proxy",
        "floor" => "the same, with what `commit` cannot leave out",
        "floor sign" => "the same, with what `sign` cannot leave out",
        "pass" => "Colophon, `pass`",
        "commit" => "Colophon, `commit`",
        "sign" => "Colophon, `sign`",
        other => other,
    }
}

pub(super) fn spread(spread: Spread, digits: usize) -> String {
    format!("{:.digits$} ({:.digits$}–{:.digits$})", spread.median, spread.least, spread.most)
}

fn line(what: &str, spread: Spread, digits: usize) -> String {
    format!(
        "| {what} | {:.digits$} | {:.digits$} | {:.digits$} |\n",
        spread.median, spread.least, spread.most
    )
}

/// Puts each text between the markers of its name in docs/PERFORMANCE.md.
pub(super) fn insert(texts: &[(&str, &str)]) -> Result<()> {
    let path = root().join("docs/PERFORMANCE.md");
    let mut document = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    for (name, text) in texts {
        document = between(&document, name, text)?;
    }
    fs::write(&path, document).with_context(|| path.display().to_string())
}

/// Replaces what stands between `<!-- name:begin … -->` and `<!-- name:end -->`.
fn between(document: &str, name: &str, text: &str) -> Result<String> {
    let missing = || format!("no markers for {name} in the document");
    let begin = document.find(&format!("<!-- {name}:begin")).with_context(missing)?;
    let begin = begin + document[begin..].find("-->").with_context(missing)? + 3;
    let end = begin + document[begin..].find(&format!("<!-- {name}:end")).with_context(missing)?;
    Ok(format!("{}\n{}\n{}", &document[..begin], text.trim_end(), &document[end..]))
}

#[cfg(test)]
mod tests;
