//! The log's part of an export: from the signed checkpoint to the statements that are counted.

use std::collections::{BTreeMap, HashMap};

use colophon_receipt::Hash;
use colophon_receipt::checkpoint::Checkpoint;
use colophon_receipt::merkle::{self, leaf_hash};
use colophon_receipt::subtrees::{Subtrees, cover};
use colophon_receipt::tiles::{self, TileId, WIDTH, parse_bundle, parse_tile};
use colophon_signer::note::{Note, VerifierKey};

use super::{FolderReport, Manifest};
use crate::Trust;
use crate::count::{Count, Counting};
use crate::text::{line, quoted};

/// What the statements account for.
#[derive(Default)]
pub(super) struct Account {
    pub(super) count: Count,
    /// The places of the counted statements in `count`, by the hash of their log entry.
    pub(super) places: HashMap<Hash, usize>,
    /// Records that they count.
    pub(super) records: u64,
    /// The tree that everything leads to.
    pub(super) checkpoint: Option<Checkpoint>,
    /// The key that signed it, where a trust file says that it may.
    pub(super) log_key: Option<VerifierKey>,
}

impl Account {
    /// Derives it from the files of the log; what is wrong goes into the report.
    pub(super) fn derive(
        manifest: &Manifest,
        files: &BTreeMap<String, Vec<u8>>,
        trust: Option<&Trust>,
        report: &mut FolderReport,
    ) -> Account {
        let mut account = Account::default();
        if let Err(what) = account.read(manifest, files, trust) {
            report.fault(&what);
        }
        account.records = account.count.counted.iter().map(|counted| counted.records).sum();
        let places = account.count.counted.iter().enumerate();
        account.places = places.map(|(at, counted)| (counted.leaf, at)).collect();
        account
    }

    fn read(
        &mut self,
        manifest: &Manifest,
        files: &BTreeMap<String, Vec<u8>>,
        trust: Option<&Trust>,
    ) -> Result<(), String> {
        let folder = format!("log/{}/", manifest.generation);
        let note = files.get(&format!("{folder}checkpoint")).ok_or("the checkpoint is missing")?;
        let note = std::str::from_utf8(note).map_err(|_| "the checkpoint is not UTF-8")?;
        let note = Note::parse(note).map_err(|error| format!("checkpoint: {error}"))?;
        let head = Checkpoint::parse(note.text()).map_err(|error| format!("checkpoint: {error}"))?;
        if head.origin != manifest.origin {
            let (is, says) = (quoted(&head.origin), quoted(&manifest.origin));
            return Err(format!("the checkpoint is of the log {is}, the manifest says {says}"));
        }
        let width = WIDTH as u64;
        let (first, end) = (manifest.first, manifest.end);
        let borders = first.is_multiple_of(width) && (end.is_multiple_of(width) || end == head.size);
        if !borders || first > end || end > head.size {
            return Err(format!("entries {first} to {end} are no part of a log of {} entries", head.size));
        }
        let part = Part { files, folder: &folder, size: head.size };
        let keys = match trust {
            Some(trust) => {
                let keys = trust.keys_of(&head.origin);
                if keys.is_empty() {
                    return Err(format!("the trust file names no log {}", quoted(&head.origin)));
                }
                let verified = note.verify(&keys).map_err(|error| format!("checkpoint: {error}"))?;
                self.log_key = verified.signed.first().map(|signed| signed.key.clone());
                keys
            }
            // The log's own word, to be able to look at all.
            None => genesis_keys(&part, first)?,
        };
        let mut tree = Subtrees::default();
        for (position, height) in cover(0, first) {
            tree.push_subtree(height, part.subtree(position, height)?).ok_or("the tiles do not fit")?;
        }
        let mut counting = Counting::new(&head.origin, &keys, manifest.window(), first);
        for index in first / width..end.div_ceil(width) {
            for entry in part.bundle(index)? {
                tree.push(leaf_hash(&entry));
                counting.entry(&entry);
            }
        }
        for (position, height) in cover(end, head.size) {
            tree.push_subtree(height, part.subtree(position, height)?).ok_or("the tiles do not fit")?;
        }
        if tree.root() != head.root {
            return Err("the entries and tiles lead to another root than the checkpoint's".into());
        }
        self.count = counting.finish();
        self.checkpoint = Some(head);
        Ok(())
    }
}

/// Without a trust file and without the log's beginning, no announcement can be checked.
fn genesis_keys(part: &Part<'_>, first: u64) -> Result<Vec<VerifierKey>, String> {
    if first > 0 {
        return Ok(Vec::new());
    }
    let entries = part.bundle(0)?;
    let genesis = entries.first().and_then(|entry| colophon_receipt::statement::Genesis::decode(entry).ok());
    let vkeys = genesis.ok_or("entry 0 is no genesis")?.vkeys;
    Ok(vkeys.iter().filter_map(|vkey| vkey.parse().ok()).collect())
}

/// The files of a part of a log.
struct Part<'a> {
    files: &'a BTreeMap<String, Vec<u8>>,
    folder: &'a str,
    size: u64,
}

impl Part<'_> {
    fn get(&self, tile: TileId) -> Result<(&[u8], usize), String> {
        let width = tile.width(self.size);
        let names = [tile.name_at(width), tile.name()];
        let found = names.iter().find_map(|name| self.files.get(&format!("{}{name}", self.folder)));
        let bytes = found.ok_or_else(|| format!("{}{} is missing", self.folder, tile.name_at(width)))?;
        Ok((bytes, width))
    }

    fn bundle(&self, index: u64) -> Result<Vec<Vec<u8>>, String> {
        let bundle = TileId { level: None, index };
        let (bytes, width) = self.get(bundle)?;
        parse_bundle(bytes, width).ok_or_else(|| line(&format!("{} holds no {width} entries", bundle.name())))
    }

    fn subtree(&self, position: u64, height: u32) -> Result<Hash, String> {
        let (tile, slots) = tiles::subtree(position, height);
        let (bytes, width) = self.get(tile)?;
        let hashes = parse_tile(bytes, width);
        let hashes = hashes.as_ref().and_then(|hashes| hashes.get(slots));
        hashes.map(merkle::root).ok_or_else(|| format!("{} holds no {width} hashes", tile.name()))
    }
}
