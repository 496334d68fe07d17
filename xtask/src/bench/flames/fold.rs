//! From what `perf script` prints to a tree of calls.

use std::collections::BTreeMap;

use super::groups::{Group, group};
use super::names;

/// The kernel's half of the addresses.
const KERNEL: u64 = 1 << 63;

/// Whose code a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Kernel,
    /// Colophon's.
    Own,
    Other,
}

/// One call.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Frame {
    pub(super) name: String,
    pub(super) kind: Kind,
}

/// How many samples passed through a call, and what it called meanwhile.
#[derive(Debug, Default)]
pub(super) struct Node {
    pub(super) samples: u64,
    pub(super) calls: BTreeMap<Frame, Node>,
}

impl Node {
    fn add(&mut self, stack: &[Frame]) {
        self.samples += 1;
        if let [frame, rest @ ..] = stack {
            self.calls.entry(frame.clone()).or_default().add(rest);
        }
    }
}

/// All samples of one contender.
pub(super) struct Profile {
    pub(super) name: &'static str,
    /// Of the whole process, batches included.
    pub(super) cpu_us: f64,
    pub(super) samples: u64,
    pub(super) root: Node,
    pub(super) groups: BTreeMap<Group, u64>,
}

/// Samples are parted by empty lines; a sample is a line with the thread's name, and then one for each call, `address symbol`,
/// the innermost first.
pub(super) fn fold(name: &'static str, cpu_us: f64, script: &str) -> Profile {
    let mut profile = Profile { name, cpu_us, samples: 0, root: Node::default(), groups: BTreeMap::new() };
    let mut symbols: Vec<(u64, &str)> = Vec::new();
    for line in script.lines().chain([""]) {
        if line.trim().is_empty() {
            if !symbols.is_empty() {
                profile.add(&symbols);
            }
            symbols.clear();
        } else if line.starts_with([' ', '\t'])
            && let Some((address, symbol)) = line.trim().split_once(' ')
            && let Ok(address) = u64::from_str_radix(address, 16)
        {
            symbols.push((address, symbol.trim()));
        }
    }
    profile
}

impl Profile {
    fn add(&mut self, symbols: &[(u64, &str)]) {
        let mut stack: Vec<Frame> = Vec::new();
        for (address, symbol) in symbols.iter().rev() {
            let Some(name) = names::shown(symbol) else { continue };
            let kind = match () {
                () if *address >= KERNEL => Kind::Kernel,
                () if name.starts_with("colophon") => Kind::Own,
                () => Kind::Other,
            };
            // Generic code that calls itself for another type, and closures, carry one name.
            if stack.last().is_none_or(|last| last.name != name) {
                stack.push(Frame { name, kind });
            }
        }
        self.samples += 1;
        *self.groups.entry(group(&stack)).or_default() += 1;
        self.root.add(&stack);
    }
}
