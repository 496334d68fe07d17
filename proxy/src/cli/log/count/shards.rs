//! Whose statements a log has. Of another shard nothing is known, which is not the same as nothing having happened.

use super::super::super::account::Log;
use super::super::super::term;
use colophon_ledger::generation;
use colophon_verify::count::Window;
use object_store::ObjectStore;
use std::path::Path;
use std::sync::Arc;

/// Shards named where another was asked for.
const NAMED: usize = 20;

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

    #[test]
    fn a_shard_that_is_not_there_is_no_unbroken_account() {
        let shards = ["a/00".to_owned(), "b/01".to_owned()];
        let asked = |shard: &str| Window { from: 0, to: u64::MAX, shard: Some(shard.into()) };
        assert!(
            refuse_unknown(&shards, &asked("a")).is_ok() && refuse_unknown(&shards, &asked("b/01")).is_ok()
        );
        let refused = refuse_unknown(&shards, &asked("b/02")).unwrap_err().to_string();
        assert!(refused.contains("b/02") && refused.contains("a/00, b/01"), "{refused}");
    }
}
