//! Callgrind's files, as far as adding up takes (valgrind manual, "Callgrind Format Specification").

use std::collections::HashSet;

use anyhow::{Context as _, Result, bail};

/// Instructions of all functions themselves, without those whose names contain a word of `left_out`.
///
/// # Errors
/// When the text has no names, as from a stripped program: nothing could be left out then.
pub(super) fn count(text: &str, left_out: &[&str]) -> Result<u64> {
    let mut skipped: HashSet<&str> = HashSet::new();
    let (mut sum, mut named, mut skipping, mut after_call) = (0_u64, false, false, false);
    for line in text.lines() {
        if let Some(function) = line.strip_prefix("fn=") {
            // `fn=(7) name` the first time, `fn=(7)` after that.
            let (id, name) = function.split_once(' ').unwrap_or((function, ""));
            if !name.is_empty() {
                named |= name.contains("::");
                if left_out.iter().any(|word| name.contains(word)) {
                    skipped.insert(id);
                }
            }
            skipping = skipped.contains(id);
        } else if let Some(called) = line.strip_prefix("cfn=") {
            // A called function may be named here for the first time.
            if let Some((id, name)) = called.split_once(' ')
                && left_out.iter().any(|word| name.contains(word))
            {
                skipped.insert(id);
            }
        } else if line.starts_with("calls=") {
            after_call = true;
        } else if line.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '*')) {
            // The line after `calls=` is what the called function cost, which is counted there.
            if !after_call && !skipping {
                let cost = line.split(' ').nth(1).unwrap_or("0");
                sum += cost.parse::<u64>().with_context(|| format!("no cost in {line:?}"))?;
            }
            after_call = false;
        }
    }
    if sum > 0 && !named {
        bail!("the program was stripped of its names");
    }
    Ok(sum)
}
