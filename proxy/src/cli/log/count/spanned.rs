//! What the statements of a log speak of: whose, and from when to when. Of the rest nothing is known, which is not the same
//! as nothing having happened.

use super::super::super::account::Log;
use super::super::super::term;
use colophon_ledger::generation;
use colophon_verify::count::{Count, Window};
use colophon_verify::time;
use object_store::ObjectStore;
use std::path::Path;
use std::sync::Arc;

/// Shards named where another was asked for.
const NAMED: usize = 20;

/// The time that the counted statements cover.
pub(super) fn covered(count: &Count) -> Option<(u64, u64)> {
    let from = count.sidecars.iter().map(|sidecar| sidecar.from).min();
    from.zip(count.sidecars.iter().map(|sidecar| sidecar.to).max())
}

/// What the statements do not say about the window: a sentence, or nothing. An edge that nobody named is the log's own.
pub(super) fn unknown(count: &Count, window: &Window) -> Option<String> {
    let Some((from, to)) = covered(count) else {
        return Some("no statement is about this interval: nothing is known of it".into());
    };
    let (before, after) = (window.from > 0 && window.from < from, window.to < u64::MAX && window.to > to);
    let edge = match (before, after) {
        (true, true) => "before and after it",
        (true, false) => "before it",
        (false, true) => "after it",
        (false, false) => return None,
    };
    Some(format!("statements cover {} to {}; {edge} nothing is known", time(from), time(to)))
}

/// Refuses a shard that no generation of the log has a statement of, and names those that there are.
pub(super) async fn known(
    store: &Arc<dyn ObjectStore>,
    generation: Option<u32>,
    trust: Option<&Path>,
    asked: &Window,
) -> anyhow::Result<()> {
    let all = 1..=generation::newest(store).await?;
    let mut shards = Vec::new();
    for generation in generation.map_or(all, |one| one..=one) {
        let log = Log::open_generation(store.clone(), generation, trust).await?;
        let count = log.count(Window { from: 0, to: u64::MAX, shard: None }).await?;
        shards.extend(count.sidecars.into_iter().flat_map(|sidecar| sidecar.shards));
    }
    refuse_unknown(&shards, asked)
}

fn refuse_unknown(shards: &[String], asked: &Window) -> anyhow::Result<()> {
    if shards.iter().any(|shard| asked.is_about(shard)) {
        return Ok(());
    }
    let named = shards.iter().take(NAMED).map(|shard| term::safe_line(shard)).collect::<Vec<_>>().join(", ");
    let more = if shards.len() > NAMED { ", …" } else { "" };
    let shard = term::safe_line(asked.shard.as_deref().unwrap_or_default());
    anyhow::bail!("the log has no statement of a shard {shard}: it has those of {named}{more}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use colophon_verify::count::Sidecar;

    fn window(from: u64, to: u64) -> Window {
        Window { from, to, shard: None }
    }

    #[test]
    fn what_no_statement_covers_is_unknown() {
        let sidecar = |from, to| Sidecar { from, to, ..Sidecar::default() };
        let count = Count { sidecars: vec![sidecar(20, 30), sidecar(10, 25)], ..Count::default() };
        for (from, to, edge) in [
            (0, u64::MAX, None),
            (10, 30, None),
            (12, 20, None),
            (9, 20, Some("; before it nothing is known")),
            (10, 31, Some("; after it nothing is known")),
            (1, 99, Some("; before and after it nothing is known")),
        ] {
            let unknown = unknown(&count, &window(from, to));
            assert_eq!(unknown.is_some(), edge.is_some(), "{from} {to}: {unknown:?}");
            assert!(edge.is_none_or(|edge| unknown.as_ref().unwrap().ends_with(edge)), "{unknown:?}");
        }
        let nothing = unknown(&Count::default(), &window(0, u64::MAX));
        assert!(nothing.unwrap().contains("nothing is known of it"));
    }

    #[test]
    fn a_shard_that_is_not_there_is_no_unbroken_account() {
        let shards = ["a/00".to_owned(), "b/01".to_owned()];
        let asked = |shard: &str| Window { shard: Some(shard.into()), ..window(0, u64::MAX) };
        assert!(
            refuse_unknown(&shards, &asked("a")).is_ok() && refuse_unknown(&shards, &asked("b/01")).is_ok()
        );
        let refused = refuse_unknown(&shards, &asked("b/02")).unwrap_err().to_string();
        assert!(refused.contains("b/02") && refused.contains("a/00, b/01"), "{refused}");
    }
}
