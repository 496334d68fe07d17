//! What the ledger's run measured, as Markdown between the markers of docs/PERFORMANCE.md and as JSON.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::Figures;
use crate::bench::aim::{Aim, number};
use crate::bench::machine::Machine;

/// All of a run.
pub(super) struct Report {
    pub(super) machine: Machine,
    pub(super) records: u64,
    pub(super) made: Figures,
    pub(super) sizes: Figures,
    pub(super) lookup: Figures,
    pub(super) check: Figures,
    /// By durability.
    pub(super) slow: Vec<(&'static str, Figures)>,
    /// Absent in a quick run.
    pub(super) verify_ns: Option<f64>,
}

impl Report {
    pub(super) fn table(&self) -> String {
        let machine = &self.machine;
        let mut text = format!(
            "Machine: {}{}.\n\
             {} million records of a usual chat (12 fields), 256 exchanges at once, one batch a second or 16,384 records.\n\n\
             | | measured | aim |\n|---|---:|---|\n",
            machine.line(),
            if machine.is_busy() { ": **noisy, take times as upper bounds**" } else { "" },
            self.records as f64 / 1e6,
        );
        for (what, value, unit, aim) in self.rows() {
            let value = value.map_or(("–".to_owned(), "–".to_owned()), |value| {
                (format!("{} {unit}", number(value)), aim.said(value))
            });
            let _ = writeln!(text, "| {what} | {} | {} |", value.0.trim_end(), value.1);
        }
        text.push_str("\n| stored | bytes a record | files |\n|---|---:|---:|\n");
        for (part, sizes) in &self.sizes {
            if let Some(bytes) = sizes["bytes"].as_f64() {
                let files = sizes["files"].as_f64().unwrap_or(0.0);
                let _ = writeln!(
                    text,
                    "| `{part}` | {} | {} |",
                    number(bytes / self.records as f64),
                    number(files)
                );
            }
        }
        text
    }

    fn rows(&self) -> Vec<(String, Option<f64>, &'static str, Aim)> {
        let of = |figures: &Figures, name: &str| figures.get(name).and_then(Value::as_f64);
        let time = |name: &str, part: &str| self.lookup.get(name).and_then(|times| times[part].as_f64());
        let mut rows = vec![(
            "records a second, sustained, `process`".to_owned(),
            of(&self.made, "records_per_second"),
            "",
            Aim::AtLeast(30_000.0),
        )];
        for (mode, made) in &self.slow {
            let aim = if *mode == "power" { Aim::AtLeast(15_000.0) } else { Aim::None };
            let what = format!("records a second, sustained, `{mode}`, 256 in flight");
            rows.push((what, of(made, "records_per_second"), "", aim));
        }
        let mut row = |what: &str, value, unit, aim| rows.push((what.to_owned(), value, unit, aim));
        row(
            "CPU of fields, record and WAL at `commit`",
            of(&self.made, "hot_path_cpu_us"),
            "µs",
            Aim::AtMost(6.0),
        );
        row("CPU of a record with batch, openings and log", of(&self.made, "all_cpu_us"), "µs", Aim::None);
        row("record sealed and handed over, median", of(&self.made, "hand_over_p50_us"), "µs", Aim::None);
        row("the same, 99th percentile", of(&self.made, "hand_over_p99_us"), "µs", Aim::None);
        row("receipt, cold, median", time("lookup_cold", "p50_ms"), "ms", Aim::None);
        row("receipt, cold, 99th percentile", time("lookup_cold", "p99_ms"), "ms", Aim::None);
        row("receipt, warm, median", time("lookup_warm", "p50_ms"), "ms", Aim::None);
        row("receipt, warm, 99th percentile", time("lookup_warm", "p99_ms"), "ms", Aim::None);
        row("size of a receipt", of(&self.lookup, "receipt_bytes"), "bytes", Aim::None);
        row(
            "verification, two timestamps and two witnesses",
            self.verify_ns.map(|ns| ns / 1e6),
            "ms",
            Aim::AtMost(2.0),
        );
        row(
            "`log check`, records a second",
            of(&self.check, "check_records_per_second"),
            "",
            Aim::AtLeast(200_000.0),
        );
        row("opening the ledger", of(&self.lookup, "open_seconds"), "s", Aim::None);
        for (what, figures) in [
            ("memory at most, making", &self.made),
            ("memory at most, looking up", &self.lookup),
            ("memory at most, `log check`", &self.check),
        ] {
            row(what, of(figures, "memory_most_mib"), "MiB", Aim::AtMost(200.0));
        }
        rows
    }

    pub(super) fn json(&self) -> Value {
        let slow: Figures =
            self.slow.iter().map(|(mode, made)| ((*mode).to_owned(), made.clone().into())).collect();
        json!({
            "records": self.records,
            "busy_before_percent": self.machine.busy_before,
            "process": self.made,
            "slow": slow,
            "sizes": self.sizes,
            "lookup": self.lookup,
            "check": self.check,
            "verify_ns": self.verify_ns,
        })
    }
}
