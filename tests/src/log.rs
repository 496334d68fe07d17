//! The files of a data folder, read by code of the tests' own: the public log (C2SP tlog-tiles), and the ids of what
//! the batches hold.

use std::fs;
use std::path::{Path, PathBuf};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use colophon_receipt::merkle::{self, Hash};

use crate::wire::Message;

/// A tree head: how many leaves, which root.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Head {
    /// Leaves.
    pub size: u64,
    /// RFC 6962 root over them.
    pub root: Hash,
    /// The log's origin.
    pub origin: String,
}

impl Head {
    /// The checkpoint of the first generation.
    pub fn of_folder(data: &Path) -> Self {
        let text = fs::read_to_string(data.join("log/1/checkpoint")).expect("a checkpoint");
        let mut lines = text.lines();
        let mut next = || lines.next().expect("three lines").to_owned();
        let (origin, size, root) = (next(), next(), next());
        Self { origin, size: size.parse().expect("a size"), root: hash(&root) }
    }

    /// What `Colophon-Log` says: `"<origin>";size=…;root=:…:;sig=:…:`.
    pub fn of_response(response: &Message) -> Self {
        let header = response.header("colophon-log").expect("a Colophon-Log header");
        let parameter = |name: &str| {
            let found = header.split(';').find_map(|part| part.strip_prefix(name));
            found.unwrap_or_else(|| panic!("no {name} in {header}")).trim_matches(':').to_owned()
        };
        let origin = header.split('"').nth(1).expect("an origin").to_owned();
        Self { origin, size: parameter("size=").parse().expect("a size"), root: hash(&parameter("root=:")) }
    }
}

fn hash(text: &str) -> Hash {
    BASE64_STANDARD.decode(text).expect("base64").try_into().expect("32 bytes")
}

/// The leaf hashes of the log, from its entry bundles.
pub fn leaf_hashes(data: &Path) -> Vec<Hash> {
    entries(data).iter().map(|entry| merkle::leaf_hash(entry)).collect()
}

/// The leaves of the log as they are in its entry bundles.
pub fn entries(data: &Path) -> Vec<Vec<u8>> {
    let size = Head::of_folder(data).size;
    let folder = data.join("log/1/tile/entries");
    let mut entries = Vec::new();
    for bundle in 0..size.div_ceil(256) {
        assert!(bundle < 1000, "the test's log is too large for this reader");
        let width = (size - bundle * 256).min(256);
        let name = format!("{bundle:03}");
        let path = if width == 256 { folder.join(name) } else { folder.join(format!("{name}.p/{width}")) };
        let bytes = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut rest = bytes.as_slice();
        while let Some((length, tail)) = rest.split_first_chunk::<2>() {
            let (entry, tail) = tail.split_at(u16::from_be_bytes(*length).into());
            entries.push(entry.to_vec());
            rest = tail;
        }
    }
    assert_eq!(entries.len() as u64, size);
    entries
}

/// Every head is that of a prefix of the log, so they are all heads of one log, which only grew.
///
/// # Panics
/// When one is not.
pub fn assert_one_log(data: &Path, heads: &[Head]) {
    let hashes = leaf_hashes(data);
    let last = Head::of_folder(data);
    assert_eq!(merkle::root(&hashes), last.root, "the checkpoint is not that of the entries");
    let mut heads = heads.to_vec();
    heads.push(last);
    heads.sort();
    heads.dedup();
    for pair in heads.windows(2) {
        let (old, new) = (&pair[0], &pair[1]);
        assert_eq!(old.origin, new.origin);
        let proof = merkle::consistency_proof(&hashes[..new.size as usize], old.size as usize);
        let proof = proof.unwrap_or_else(|| panic!("no way from {} to {}", old.size, new.size));
        let verified = merkle::verify_consistency(old.size, &old.root, new.size, &new.root, &proof);
        assert!(verified.is_ok(), "{old:?} and {new:?} are not of one log: {verified:?}");
    }
}

/// The record ids of all batches that the log has a statement of, by `colophon log show`. A batch file without one was
/// about to be logged when the process ended; its records are in a later batch.
pub fn recorded_ids(data: &Path) -> Vec<[u8; 16]> {
    let (code, shown) = crate::colophon::run(&["log", "show", &data.display().to_string()]);
    assert_eq!(code, 0, "{shown}");
    let mut ids = Vec::new();
    // `   2  statement  name/incarnation#seq count=…`
    for line in shown.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, "statement", name, count, ..] = words.as_slice() else { continue };
        let (shard, seq) = name.rsplit_once('#').expect("shard#seq");
        let count: usize = count.strip_prefix("count=").and_then(|n| n.parse().ok()).expect("a count");
        if count > 0 {
            ids.extend(batch_ids(&data.join("shard").join(shard).join("batch").join(seq), count));
        }
    }
    ids
}

fn batch_ids(file: &Path, count: usize) -> Vec<[u8; 16]> {
    let bytes = fs::read(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let rest = bytes.strip_prefix(b"colophon batch 2").expect("a batch file of version 2");
    let (stored, _) = rest.split_first_chunk().expect("a count");
    assert_eq!(u32::from_le_bytes(*stored) as usize, count, "{}", file.display());
    // The footer: sorted (id, slot).
    let footer = &bytes[bytes.len() - count * 20..];
    footer.chunks(20).map(|row| <[u8; 16]>::try_from(&row[..16]).expect("an id")).collect()
}

/// Every file below a folder, in order.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut found = Vec::new();
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}
