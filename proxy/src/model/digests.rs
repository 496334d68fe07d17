//! SHA-256 of many files at once. A file that changes while it is read has no digest: what would be certified of it never
//! existed.

use crate::model::cache::Cache;
use crate::model::folder::{Found, Stamp};
use anyhow::Context as _;
use colophon_receipt::Hash;
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::Read as _;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Bytes read at once.
const BLOCK: usize = 1 << 20;
/// More threads than this only wait for the disk.
const MAX_THREADS: usize = 16;

/// How to read.
pub struct Digesting<'a> {
    /// What is known already.
    pub cache: Option<&'a Cache>,
    /// Told how many bytes more are done.
    pub progress: &'a (dyn Fn(u64) + Sync),
    /// Ends it, with an error.
    pub stop: &'a AtomicBool,
}

/// Name and digest of each file, in their order. Files are read side by side, one by one thread, the largest first.
///
/// # Errors
/// A file cannot be read, or is not the one that was listed, or not any more when it has been read.
pub fn digest(files: &[Found], how: &Digesting<'_>) -> anyhow::Result<Vec<(String, Hash)>> {
    let mut order: Vec<usize> = (0..files.len()).collect();
    order.sort_by_key(|at| std::cmp::Reverse(files[*at].stamp.size));
    let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let done: Mutex<Vec<(usize, anyhow::Result<Hash>)>> = Mutex::new(Vec::with_capacity(files.len()));
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..threads.min(MAX_THREADS).min(files.len()) {
            scope.spawn(|| {
                let mut block = vec![0; BLOCK];
                while !failed.load(Ordering::Relaxed) {
                    let Some(at) = order.get(next.fetch_add(1, Ordering::Relaxed)) else { return };
                    let digest = one(&files[*at], how, &mut block);
                    failed.fetch_or(digest.is_err(), Ordering::Relaxed);
                    done.lock().unwrap_or_else(PoisonError::into_inner).push((*at, digest));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(at, digest)| Ok((files[at].name.clone(), digest?))).collect()
}

fn one(found: &Found, how: &Digesting<'_>, block: &mut [u8]) -> anyhow::Result<Hash> {
    let cannot = || format!("cannot read {:?}", found.name);
    let changed = || format!("{:?} changed while it was read", found.name);
    if let Some(known) = how.cache.and_then(|cache| cache.get(&found.stamp)) {
        (how.progress)(found.stamp.size);
        return Ok(known);
    }
    let mut file = File::open(&found.path).with_context(cannot)?;
    let stamp = |file: &File| file.metadata().map(|meta| Stamp::of(&meta)).with_context(cannot);
    anyhow::ensure!(stamp(&file)? == found.stamp, changed());
    let mut hash = Sha256::new();
    loop {
        anyhow::ensure!(!how.stop.load(Ordering::Relaxed), "stopped");
        let n = match file.read(block) {
            Ok(0) => break,
            Ok(n) => n,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error).with_context(cannot),
        };
        hash.update(&block[..n]);
        (how.progress)(n as u64);
    }
    anyhow::ensure!(stamp(&file)? == found.stamp, changed());
    let digest = hash.finalize().into();
    if let Some(cache) = how.cache {
        cache.put(&found.stamp, &digest);
    }
    Ok(digest)
}

#[cfg(test)]
mod tests;
