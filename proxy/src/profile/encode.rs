//! Samples as `go tool pprof` reads them: gzipped protobuf by github.com/google/pprof's `profile.proto`.
//!
//! An address has its function's name where this program has a table of them. Released programs have none; then the
//! addresses are there with the files they lie in, and `go tool pprof PROGRAM PROFILE` finds the names in a program that was
//! built with them.

use super::mappings::{Mapping, own};
use flate2::Compression;
use flate2::write::GzEncoder;
use pprof::UnresolvedReport;
use prost::Message;
use std::collections::HashMap;
use std::ffi::c_void;
use std::io::Write as _;
use std::time::UNIX_EPOCH;

#[derive(Clone, PartialEq, Message)]
pub(super) struct Profile {
    #[prost(message, repeated, tag = "1")]
    pub(super) sample_type: Vec<ValueType>,
    #[prost(message, repeated, tag = "2")]
    pub(super) sample: Vec<Sample>,
    #[prost(message, repeated, tag = "3")]
    pub(super) mapping: Vec<Mapped>,
    #[prost(message, repeated, tag = "4")]
    pub(super) location: Vec<Location>,
    #[prost(message, repeated, tag = "5")]
    pub(super) function: Vec<Function>,
    #[prost(string, repeated, tag = "6")]
    pub(super) string_table: Vec<String>,
    #[prost(int64, tag = "9")]
    pub(super) time_nanos: i64,
    #[prost(int64, tag = "10")]
    pub(super) duration_nanos: i64,
    #[prost(message, optional, tag = "11")]
    pub(super) period_type: Option<ValueType>,
    #[prost(int64, tag = "12")]
    pub(super) period: i64,
}

/// Both are places in the table of strings, as all texts are.
#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct ValueType {
    #[prost(int64, tag = "1")]
    kind: i64,
    #[prost(int64, tag = "2")]
    unit: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Sample {
    /// The innermost first.
    #[prost(uint64, repeated, tag = "1")]
    pub(super) location_id: Vec<u64>,
    #[prost(int64, repeated, tag = "2")]
    pub(super) value: Vec<i64>,
    #[prost(message, repeated, tag = "3")]
    label: Vec<Label>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Label {
    #[prost(int64, tag = "1")]
    key: i64,
    #[prost(int64, tag = "2")]
    text: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Mapped {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(uint64, tag = "2")]
    memory_start: u64,
    #[prost(uint64, tag = "3")]
    memory_limit: u64,
    #[prost(uint64, tag = "4")]
    file_offset: u64,
    #[prost(int64, tag = "5")]
    filename: i64,
    #[prost(bool, tag = "7")]
    has_functions: bool,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Location {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(uint64, tag = "2")]
    mapping_id: u64,
    #[prost(uint64, tag = "3")]
    pub(super) address: u64,
    /// Where functions were inlined, the innermost first.
    #[prost(message, repeated, tag = "4")]
    line: Vec<Line>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Line {
    #[prost(uint64, tag = "1")]
    function_id: u64,
    #[prost(int64, tag = "2")]
    line: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Function {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(int64, tag = "2")]
    name: i64,
    #[prost(int64, tag = "3")]
    system_name: i64,
    #[prost(int64, tag = "4")]
    filename: i64,
}

/// A profile in the making.
struct Making {
    profile: Profile,
    mappings: Vec<Mapping>,
    strings: HashMap<String, i64>,
    /// By address.
    locations: HashMap<u64, u64>,
    /// By name and file.
    functions: HashMap<(i64, i64), u64>,
}

/// What was sampled, as a file.
///
/// # Errors
/// The process's memory map cannot be read.
pub(super) fn gzipped(report: &UnresolvedReport) -> anyhow::Result<Vec<u8>> {
    let mut making = Making::new(own()?);
    let samples = making.text("samples");
    let (count, cpu, nanoseconds) = (making.text("count"), making.text("cpu"), making.text("nanoseconds"));
    let cpu = ValueType { kind: cpu, unit: nanoseconds };
    let period = 1_000_000_000 / i64::from(report.timing.frequency.max(1));
    for (stack, count) in &report.data {
        let addresses: Vec<u64> = stack.frames.iter().map(|frame| frame.ip() as u64).collect();
        let name = stack.thread_name.get(..stack.thread_name_length).unwrap_or_default();
        making.sample(&addresses, i64::try_from(*count)?, period, &String::from_utf8_lossy(name));
    }
    let since = report.timing.start_time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let profile = Profile {
        sample_type: vec![ValueType { kind: samples, unit: count }, cpu],
        period_type: Some(cpu),
        period,
        time_nanos: i64::try_from(since.as_nanos())?,
        duration_nanos: i64::try_from(report.timing.duration.as_nanos())?,
        ..making.profile
    };
    let mut file = GzEncoder::new(Vec::new(), Compression::default());
    file.write_all(&profile.encode_to_vec())?;
    Ok(file.finish()?)
}

impl Making {
    fn new(mappings: Vec<Mapping>) -> Making {
        let mut making = Making {
            profile: Profile::default(),
            mappings: Vec::new(),
            strings: HashMap::new(),
            locations: HashMap::new(),
            functions: HashMap::new(),
        };
        // The table's first string is empty.
        making.text("");
        for (mapping, id) in mappings.iter().zip(1..) {
            let filename = making.text(&mapping.file);
            making.profile.mapping.push(Mapped {
                id,
                memory_start: mapping.start,
                memory_limit: mapping.end,
                file_offset: mapping.offset,
                filename,
                has_functions: false,
            });
        }
        making.mappings = mappings;
        making
    }

    /// The place of a string in the table.
    fn text(&mut self, text: &str) -> i64 {
        if let Some(at) = self.strings.get(text) {
            return *at;
        }
        let at = self.strings.len() as i64;
        self.profile.string_table.push(text.to_owned());
        self.strings.insert(text.to_owned(), at);
        at
    }

    /// `stack` as the signal's handler saw it.
    fn sample(&mut self, stack: &[u64], count: i64, period: i64, thread: &str) {
        let stack = interrupted(&self.mappings, stack);
        let location_id = stack
            .iter()
            .enumerate()
            // Beyond the first they are where a call returns to, which may be another line or function.
            .map(|(depth, address)| {
                self.location(if depth == 0 { *address } else { address.saturating_sub(1) })
            })
            .collect();
        let label = Label { key: self.text("thread"), text: self.text(thread) };
        self.profile.sample.push(Sample {
            location_id,
            value: vec![count, count.saturating_mul(period)],
            label: vec![label],
        });
    }

    fn location(&mut self, address: u64) -> u64 {
        if let Some(known) = self.locations.get(&address) {
            return *known;
        }
        let id = self.locations.len() as u64 + 1;
        self.locations.insert(address, id);
        let line = self.lines(address);
        let mapping = mapping(&self.mappings, address);
        if let Some(mapped) = mapping.and_then(|at| self.profile.mapping.get_mut(at)) {
            mapped.has_functions |= !line.is_empty();
        }
        let mapping_id = mapping.map_or(0, |at| at as u64 + 1);
        self.profile.location.push(Location { id, mapping_id, address, line });
        id
    }

    /// The functions at an address, as far as this program knows names.
    fn lines(&mut self, address: u64) -> Vec<Line> {
        let mut found = Vec::new();
        backtrace::resolve(address as usize as *mut c_void, |symbol| {
            if let Some(name) = symbol.name() {
                // `{:#}` leaves the hash at the end out.
                let names = (format!("{name:#}"), String::from_utf8_lossy(name.as_bytes()).into_owned());
                let file = symbol.filename().map(|file| file.display().to_string());
                found.push((names, file.unwrap_or_default(), symbol.lineno().unwrap_or_default()));
            }
        });
        let line = |((name, system_name), file, line): ((String, String), String, u32)| {
            let (name, system_name) = (self.text(&name), self.text(&system_name));
            let filename = self.text(&file);
            let next = self.functions.len() as u64 + 1;
            let function_id = *self.functions.entry((system_name, filename)).or_insert(next);
            if function_id == next {
                self.profile.function.push(Function { id: next, name, system_name, filename });
            }
            Line { function_id, line: line.into() }
        };
        found.into_iter().map(line).collect()
    }
}

/// Without the handler's own frames: those of this program before the C library's that calls handlers, and that one.
fn interrupted<'a>(mappings: &[Mapping], stack: &'a [u64]) -> &'a [u64] {
    let Some(own) = stack.first().map(|first| mapping(mappings, *first)) else { return stack };
    let handlers = stack.iter().position(|address| mapping(mappings, *address) != own);
    handlers.and_then(|handlers| stack.get(handlers + 1..)).unwrap_or(stack)
}

fn mapping(mappings: &[Mapping], address: u64) -> Option<usize> {
    mappings.iter().position(|one| (one.start..one.end).contains(&address))
}

#[cfg(test)]
mod tests;
