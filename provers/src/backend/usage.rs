//! What a program and all that it started use, from /proc. A process that ended meanwhile counts no more, except for the
//! CPU time that its parent has waited for.

use std::fs;
use std::path::Path;

/// /proc counts in hundredths of a second.
const TICKS: f64 = 100.0;
/// Linux's pages here.
const PAGE: u64 = 4096;

/// Together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Usage {
    pub(super) cpu_seconds: f64,
    /// Resident bytes.
    pub(super) memory: u64,
    pub(super) processes: usize,
}

/// Of `pid` and its descendants.
pub(super) fn of(pid: u32) -> Usage {
    let mut known: Vec<(u32, u32, f64, u64)> = Vec::new();
    let Ok(entries) = fs::read_dir("/proc") else { return Usage::default() };
    for entry in entries.flatten() {
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
        known.extend(parse(id, &stat));
    }
    let mut family = vec![pid];
    let mut next = 0;
    while let Some(parent) = family.get(next).copied() {
        family.extend(known.iter().filter(|(id, of, ..)| *of == parent && *id != pid).map(|(id, ..)| *id));
        next += 1;
    }
    let mut usage = Usage::default();
    for (_, _, cpu, memory) in known.iter().filter(|(id, ..)| family.contains(id)) {
        usage.cpu_seconds += cpu;
        usage.memory += memory;
        usage.processes += 1;
    }
    usage
}

/// (pid, parent, CPU seconds with those of children that ended, resident bytes)
fn parse(pid: u32, stat: &str) -> Option<(u32, u32, f64, u64)> {
    // The name, in parentheses, may hold spaces and parentheses.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    // Places of proc_pid_stat(5), less the two before the name's end and counting from 0.
    let ticks = number(11)? + number(12)? + number(13)? + number(14)?;
    Some((pid, u32::try_from(number(1)?).ok()?, ticks as f64 / TICKS, number(21)? * PAGE))
}

/// Bytes of the files in a folder; links are not followed.
pub(super) fn folder(path: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(path) else { return 0 };
    let mut bytes = 0;
    for entry in entries.flatten() {
        let Ok(kind) = entry.metadata() else { continue };
        bytes += if kind.is_dir() { folder(&entry.path()) } else { kind.len() };
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_found_with_its_memory() {
        let usage = of(std::process::id());
        assert!(usage.processes >= 1 && usage.memory > 100_000, "{usage:?}");
    }

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let stat = "7 (a) b)) S 3 0 0 0 0 0 0 0 0 0 100 50 25 25 20 0 1 0 5 1000000 10 0";
        assert_eq!(parse(7, stat), Some((7, 3, 2.0, 10 * PAGE)));
    }
}
