//! What a symbol is called in a graph: without type parameters, closures and what compilers append.

/// Beginnings of functions that only pass a call on. Their own time counts as their callers'.
const PASSING: [&str; 16] = [
    "[unknown]",
    "core::pin::",
    "core::future::",
    "core::ops::function::",
    "core::panic::",
    "std::panic",
    "std::sys::",
    "std::thread::",
    "tokio::runtime::task::",
    "tokio::runtime::scheduler::",
    "tokio::runtime::context::",
    "tokio::runtime::blocking::",
    "tokio_util::task::task_tracker::",
    "__clone3",
    "do_syscall_64",
    "entry_SYSCALL_64",
];

/// The symbol's path without anything in angle brackets or braces; none for one that only passes a call on.
pub(super) fn shown(symbol: &str) -> Option<String> {
    let name = path(symbol);
    let passing = matches!(&*name, "" | "start_thread" | "clone3")
        || PASSING.iter().any(|begin| name.starts_with(begin));
    (!passing).then_some(name)
}

/// What fits into a box: the last two parts.
pub(super) fn label(name: &str) -> &str {
    let last = name.rfind("::").unwrap_or(0);
    let before = name.get(..last).and_then(|name| name.rfind("::"));
    before.and_then(|at| name.get(at + 2..)).unwrap_or(name)
}

fn path(symbol: &str) -> String {
    let symbol = without_hash(symbol);
    let whole = match symbol.strip_prefix('<').and_then(split_at_end) {
        // `<a::B as c::D>::e` is B's.
        Some((inside, rest)) => format!("{}::{}", path(before_as(inside)), plain(rest)),
        None => plain(symbol),
    };
    whole.trim_start_matches("::").trim_end_matches("::").to_owned()
}

/// Legacy names end in `::h` and 16 digits.
fn without_hash(symbol: &str) -> &str {
    match symbol.rsplit_once("::h") {
        Some((name, hash)) if hash.len() == 16 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()) => name,
        _ => symbol,
    }
}

/// What stands before the `>` that closes, and what after it.
fn split_at_end(text: &str) -> Option<(&str, &str)> {
    let mut depth = 1_usize;
    let mut before = ' ';
    for (at, letter) in text.char_indices() {
        match letter {
            '<' => depth += 1,
            // `->` closes nothing.
            '>' if before != '-' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some((text.get(..at)?, text.get(at + 1..)?));
        }
        before = letter;
    }
    None
}

fn before_as(inside: &str) -> &str {
    let mut depth = 0_usize;
    for (at, letter) in inside.char_indices() {
        match letter {
            '<' => depth += 1,
            '>' => depth = depth.saturating_sub(1),
            ' ' if depth == 0 && inside.get(at..).is_some_and(|rest| rest.starts_with(" as ")) => {
                return inside.get(..at).unwrap_or(inside);
            }
            _ => {}
        }
    }
    inside
}

/// Without `<…>`, `{…}`, and a crate's hash in `[…]`; parts that were nothing else go with them.
fn plain(text: &str) -> String {
    let mut out = String::new();
    let (mut depth, mut before) = (0_usize, ' ');
    for letter in text.chars() {
        match letter {
            '<' | '{' => depth += 1,
            '>' if before == '-' => {}
            '>' | '}' => depth = depth.saturating_sub(1),
            _ if depth == 0 => out.push(letter),
            _ => {}
        }
        before = letter;
    }
    without_crate_hashes(&out).split("::").filter(|part| !part.is_empty()).collect::<Vec<_>>().join("::")
}

fn without_crate_hashes(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('[') {
        out.push_str(before);
        match after.split_once(']') {
            Some((hash, behind)) if hash.len() >= 8 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
                rest = behind
            }
            _ => {
                out.push('[');
                rest = after;
            }
        }
    }
    out + rest
}
