//! What the comparisons share: recorded evidence, and every way to change one bit of it.

use std::ops::Range;
use std::path::PathBuf;

/// A recorded file, of the folder beside the repository or of `COLOPHON_EVIDENCE`. Where it is missing the test says so, loudly,
/// and has nothing to do.
pub fn recorded(name: &str) -> Option<Vec<u8>> {
    let folder = std::env::var_os("COLOPHON_EVIDENCE").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/evidence")),
        PathBuf::from,
    );
    let path = folder.join(name);
    let bytes = std::fs::read(&path).ok();
    if bytes.is_none() {
        eprintln!("\n*** skipped: no recorded evidence at {} ***\n", path.display());
    }
    bytes
}

/// The same bytes, each time with one bit of a byte of `range` flipped: which byte, and the bytes. Which bit it is moves along.
pub fn flipped(bytes: &[u8], range: Range<usize>) -> impl Iterator<Item = (usize, Vec<u8>)> + '_ {
    range.map(|at| {
        let mut other = bytes.to_vec();
        other[at] ^= 1 << (at % 8);
        (at, other)
    })
}
