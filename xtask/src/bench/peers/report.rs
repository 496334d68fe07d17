//! The table of docs/PERFORMANCE.md, its chart, and the same for a program.

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context as _, Result};
use serde_json::json;

use super::super::machine::Machine;
use super::super::report::{insert, spread, title};
use super::super::rounds::{CONNECTIONS, Spread};
use super::chart;
use super::configs::Peer;
use super::rounds::{Measured, Turn};
use crate::shell::root;

/// All of a run.
pub(super) struct Report {
    pub(super) machine: Machine,
    pub(super) seconds: u64,
    /// With their versions.
    pub(super) peers: Vec<(Peer, String)>,
    /// Those that could not be had.
    pub(super) missing: Vec<&'static str>,
    pub(super) measured: Vec<Measured>,
}

impl Report {
    /// The fastest first.
    pub(super) fn table(&self) -> String {
        let machine = &self.machine;
        let rounds = self.measured.first().map_or(0, |measured| measured.turns.len());
        let mut text = format!(
            "Machine: {}. {rounds} rounds of {} s each, {CONNECTIONS} connections, 1.5 KB up and 1.5 KB down, each proxy alone \
             on one core. Medians, with the least and the most of the rounds.\n\n\
             | | requests/s | of plain hyper | of nginx | CPU µs/request | added p50, one connection | p99 under load | memory |\n\
             |---|---|---|---|---|---|---|---|\n",
            machine.line(),
            self.seconds,
        );
        for measured in self.sorted() {
            let of = |value: fn(&Turn) -> f64| Spread::of(measured.turns.iter().map(value));
            let ratio = |name| match self
                .ratio(measured, name, |own, other| own.requests_per_second / other.requests_per_second)
            {
                Some(ratio) if measured.name != "direct" => spread(ratio, 2),
                _ => "–".to_owned(),
            };
            let added = self
                .ratio(measured, "direct", |own, direct| own.p50_alone_us - direct.p50_alone_us)
                .filter(|_| measured.name != "direct");
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} | {} | {} | {:.1} ms | {} MB |",
                self.title(measured.name),
                spread(of(|turn| turn.requests_per_second), 0),
                ratio("plain"),
                ratio("nginx"),
                spread(of(|turn| turn.cpu_us), 1),
                added.map_or_else(|| "–".to_owned(), |added| format!("{} µs", spread(added, 0))),
                of(|turn| turn.p99_us).median / 1000.0,
                measured.memory_kb / 1024,
            );
        }
        let used = Spread::of(
            self.measured
                .iter()
                .filter(|one| one.name != "direct")
                .flat_map(|one| one.turns.iter().map(|turn| turn.core_used)),
        );
        let _ = writeln!(text, "\nThe proxies used {} % of their core under load.", spread(used, 0));
        if !self.missing.is_empty() {
            let _ = writeln!(text, "Not measured, since they could not be had: {}.", self.missing.join(", "));
        }
        text
    }

    /// Table and chart into the documents.
    pub(super) fn write(&self) -> Result<()> {
        insert(&[("peers", &self.table())])?;
        let bars: Vec<chart::Bar> = self
            .sorted()
            .into_iter()
            .filter(|measured| measured.name != "direct")
            .map(|measured| chart::Bar {
                name: self.title(measured.name).replace('`', ""),
                value: Spread::of(measured.turns.iter().map(|turn| turn.requests_per_second)).median,
                own: ["pass", "commit", "sign"].contains(&measured.name),
            })
            .collect();
        let chart = root().join("docs/peers.svg");
        fs::write(&chart, chart::svg("requests a second on one core", &bars))
            .with_context(|| chart.display().to_string())
    }

    pub(super) fn json(&self) -> serde_json::Value {
        let contenders = self.measured.iter().map(|measured| {
            let turns = measured.turns.iter().map(|turn| {
                json!({
                    "requests_per_second": turn.requests_per_second,
                    "cpu_us_per_request": turn.cpu_us,
                    "p50_one_connection_us": turn.p50_alone_us,
                    "p99_us": turn.p99_us,
                    "core_used_percent": turn.core_used,
                })
            });
            json!({
                "name": measured.name,
                "version": self.version(measured.name),
                "resident_kb": measured.memory_kb,
                "rounds": turns.collect::<Vec<_>>(),
            })
        });
        json!({
            "machine": self.machine.line(),
            "seconds": self.seconds,
            "connections": CONNECTIONS,
            "contenders": contenders.collect::<Vec<_>>(),
            "missing": self.missing,
        })
    }

    fn sorted(&self) -> Vec<&Measured> {
        let speed = |one: &Measured| Spread::of(one.turns.iter().map(|turn| turn.requests_per_second)).median;
        let mut all: Vec<&Measured> = self.measured.iter().collect();
        all.sort_by(|one, other| speed(other).total_cmp(&speed(one)));
        all
    }

    fn title(&self, name: &str) -> String {
        match self.peers.iter().find(|(peer, _)| peer.name() == name) {
            Some((peer, version)) => format!("{} {version}", peer.title()),
            None if ["pass", "commit", "sign"].contains(&name) => format!("**{}**", title(name)),
            None => title(name).to_owned(),
        }
    }

    fn version(&self, name: &str) -> Option<&str> {
        self.peers.iter().find(|(peer, _)| peer.name() == name).map(|(_, version)| version.as_str())
    }

    /// Against another one of the same round; none where that one was not measured.
    fn ratio(&self, own: &Measured, other: &str, compare: fn(&Turn, &Turn) -> f64) -> Option<Spread> {
        let other = self.measured.iter().find(|one| one.name == other)?;
        Some(Spread::of(own.turns.iter().zip(&other.turns).map(|(own, other)| compare(own, other))))
    }
}
