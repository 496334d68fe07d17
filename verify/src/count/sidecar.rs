//! Shards put in line: the lives of one data folder, each naming the one before it.

use std::collections::BTreeMap;

use serde::Serialize;

use super::chain::Shard;
use super::{Totals, Window};
use crate::text::{shown, time};

/// The lives of one sidecar within the window.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Sidecar {
    /// The name before the slash, escaped for display.
    pub name: String,
    /// Start of its first counted interval, µs, by the operator's clock.
    pub from: u64,
    /// End of its last counted interval, µs.
    pub to: u64,
    /// Its shards that made statements in the window, oldest first, escaped for display.
    pub shards: Vec<String>,
    /// Its sums.
    pub totals: Totals,
    /// Exchanges that were under way at the end.
    pub open: u64,
    /// Where its intervals do not join.
    pub breaks: Vec<String>,
    /// Shards that neither closed nor were followed by another: running still, or dead, with what they had not logged.
    pub unclosed: Vec<String>,
    /// Shards that were followed by another without a close: ended by a crash, whose records the next one took over.
    pub crashed: Vec<String>,
}

/// The sidecars of `window`, by name and age.
pub(super) fn of(shards: &BTreeMap<String, Shard>, window: &Window) -> Vec<Sidecar> {
    let mut order: Vec<(&String, &Shard)> = shards.iter().collect();
    order.sort_by_key(|(_, shard)| shard.announced);
    // Which sidecar each shard so far belongs to.
    let mut belongs: BTreeMap<&str, usize> = BTreeMap::new();
    let mut sidecars: Vec<Sidecar> = Vec::new();
    for (name, shard) in order {
        let earlier = shard.announcement.predecessor.as_ref().map(|earlier| earlier.shard.as_str());
        let at = match earlier.and_then(|earlier| belongs.get(earlier)) {
            Some(at) => *at,
            None => {
                let name = name.rsplit_once('/').map_or(name.as_str(), |(name, _)| name);
                sidecars.push(Sidecar { name: shown(name), ..Sidecar::default() });
                sidecars.len() - 1
            }
        };
        belongs.insert(name, at);
        if let Some(sidecar) = sidecars.get_mut(at) {
            sidecar.live(name, shard, earlier.map(|earlier| shards.get(earlier)), window);
        }
    }
    sidecars.retain(|sidecar| !sidecar.shards.is_empty());
    sidecars.sort_by(|a, b| (&a.name, a.from).cmp(&(&b.name, b.from)));
    sidecars
}

impl Sidecar {
    /// Takes its next life in. `earlier` is the one before: none at all, or one that the entries do not show.
    fn live(&mut self, name: &str, shard: &Shard, earlier: Option<Option<&Shard>>, window: &Window) {
        if let Some((from, earlier)) = shard.from.zip(earlier) {
            let ended = earlier.and_then(|earlier| Some(earlier.last.as_ref()?.to));
            let outside = |ended: u64| from.max(ended) < window.from || from.min(ended) > window.to;
            if ended.map_or(from > window.from, |ended| ended != from && !outside(ended)) {
                let (ended, from) = (ended.map_or_else(|| "an unknown time".into(), time), time(from));
                let name = shown(name);
                self.breaks.push(format!("its account ends at {ended} and goes on at {from}, with {name}"));
            }
        }
        // A shard whose statements all lie outside says nothing about the window.
        let Some((first, last)) = &shard.inside else { return };
        if self.shards.is_empty() {
            self.from = first.from;
        }
        self.to = last.to;
        self.shards.push(shown(name));
        self.totals.add(&shard.totals());
        self.open = last.counters.open;
        if shard.closed.is_none() {
            let list = if shard.succeeded { &mut self.crashed } else { &mut self.unclosed };
            list.push(shown(name));
        }
    }
}
