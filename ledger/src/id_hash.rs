//! Hashing of record ids in memory: they are ours, with 46 random bits at their end, so that nobody can choose them and
//! SipHash would only cost.

use std::hash::{BuildHasherDefault, Hasher};

/// For maps and sets whose keys are record ids.
pub(crate) type ByRecordId = BuildHasherDefault<IdHasher>;

/// Takes the last eight bytes of an id.
#[derive(Default)]
pub(crate) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(last) = bytes.last_chunk::<8>() {
            self.0 = u64::from_be_bytes(*last);
        }
    }

    /// The length, which is always the same.
    fn write_usize(&mut self, _: usize) {}

    fn finish(&self) -> u64 {
        // The table looks at the upper bits too, and those are the shard's tag.
        self.0.wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}
