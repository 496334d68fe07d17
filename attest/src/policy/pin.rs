//! A policy from evidence that is known to be good.

use super::{API_VERSION, KIND};
use crate::{Platform, Report};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// Writes a policy that accepts what these verified reports say, and nothing older.
///
/// Of values that change without a change of the workload (an enclave's run-time registers, the CPU's module) it pins what
/// a reader usually wants and leaves the rest as comments, to be taken in by hand.
pub fn pin(name: &str, reports: &[Report]) -> String {
    let mut by_platform: BTreeMap<Platform, Vec<&Report>> = BTreeMap::new();
    for report in reports {
        by_platform.entry(report.platform).or_default().push(report);
    }
    let gpu = if by_platform.contains_key(&Platform::NvidiaGpu) { "require" } else { "off" };
    let mut out = format!(
        "apiVersion: {API_VERSION}\nkind: {KIND}\nmetadata: {{name: {name:?}}}\nspec:\n  gpu: {gpu}\n  platforms:\n"
    );
    for (platform, reports) in by_platform {
        let _ = writeln!(out, "    {platform}:");
        if platform == Platform::Token {
            let issuers: BTreeSet<&String> =
                reports.iter().filter_map(|report| report.claims.get("iss")).collect();
            let issuers: Vec<&String> = issuers.into_iter().collect();
            let _ = writeln!(out, "      issuers: {issuers:?}");
        }
        let _ = writeln!(out, "      referenceValues:");
        for (name, values) in values(&reports) {
            let comment = if is_pinned(platform, name) { "" } else { "# " };
            let values: Vec<&String> = values.into_iter().collect();
            let _ = writeln!(out, "        {comment}{name}: {values:?}");
        }
        if matches!(platform, Platform::Tdx | Platform::Sgx) {
            let statuses: BTreeSet<&String> =
                reports.iter().filter_map(|report| report.claims.get("tcb_status")).collect();
            let statuses: Vec<&str> = statuses.iter().map(|status| status.as_str()).collect();
            let _ = writeln!(out, "      tcb:\n        statuses: [{}]", statuses.join(", "));
        } else if reports.iter().any(|report| !report.tcb.is_empty()) {
            let _ = writeln!(out, "      tcb:");
        }
        let floors = floors(&reports);
        if !floors.is_empty() {
            let list: Vec<String> = floors.iter().map(|(name, floor)| format!("{name}: {floor}")).collect();
            let _ = writeln!(out, "        minimum: {{{}}}", list.join(", "));
        }
    }
    out
}

/// For each measurement that all reports have: its values.
fn values<'a>(reports: &[&'a Report]) -> BTreeMap<&'a String, BTreeSet<&'a String>> {
    let mut values: BTreeMap<&String, BTreeSet<&String>> = BTreeMap::new();
    for report in reports {
        for (name, value) in &report.measurements {
            if reports.iter().all(|other| other.measurements.contains_key(name)) {
                values.entry(name).or_default().insert(value);
            }
        }
    }
    values
}

/// The lowest of each TCB number.
fn floors<'a>(reports: &[&'a Report]) -> BTreeMap<&'a String, u64> {
    let mut floors: BTreeMap<&String, u64> = BTreeMap::new();
    for (name, value) in reports.iter().flat_map(|report| &report.tcb) {
        floors.entry(name).and_modify(|floor| *floor = (*floor).min(*value)).or_insert(*value);
    }
    floors
}

/// Whether a measurement says which workload it is, rather than on what it runs today.
fn is_pinned(platform: Platform, name: &str) -> bool {
    match platform {
        Platform::Tdx => name == "mr_td" || name == "td_attributes" || name.starts_with("rt_mr"),
        Platform::Sgx => name != "attributes",
        _ => true,
    }
}
