//! A tree that grows, kept as the roots of its complete subtrees: enough for its root after every leaf.
//!
//! Whole subtrees can be pushed by their root, so that a stretch of leaves can be shown to lie in a signed tree with a
//! few hashes for what is before and after it.

use crate::merkle::{Hash, empty_root, node_hash};

/// The complete subtrees of a tree, the largest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subtrees {
    size: u64,
    stack: Vec<Hash>,
}

impl Subtrees {
    /// Leaves in the tree.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Adds one leaf by its hash.
    pub fn push(&mut self, leaf: Hash) {
        // A single leaf fits everywhere.
        let _ = self.push_subtree(0, leaf);
    }

    /// Adds the `2^height` leaves whose tree has this root. `None`, and nothing is added, where such a subtree cannot
    /// begin: the size is no multiple of `2^height`, or the tree would outgrow 2^64 leaves.
    pub fn push_subtree(&mut self, height: u32, root: Hash) -> Option<()> {
        let width = 1u64.checked_shl(height)?;
        let size = self.size.checked_add(width).filter(|_| self.size.is_multiple_of(width))?;
        let mut hash = root;
        for _ in 0..(self.size >> height).trailing_ones() {
            hash = node_hash(&self.stack.pop()?, &hash);
        }
        self.stack.push(hash);
        self.size = size;
        Some(())
    }

    /// The root of the tree so far.
    pub fn root(&self) -> Hash {
        let folded = self.stack.iter().rev().copied().reduce(|right, left| node_hash(&left, &right));
        folded.unwrap_or_else(empty_root)
    }
}

/// The complete subtrees that make up leaves `low..high` of a tree, left to right: (first leaf, height) each.
pub fn cover(low: u64, high: u64) -> Vec<(u64, u32)> {
    let mut subtrees = Vec::new();
    let mut position = low;
    while position < high {
        let aligned = if position == 0 { u64::BITS - 1 } else { position.trailing_zeros() };
        let height = aligned.min((high - position).ilog2());
        subtrees.push((position, height));
        position += 1 << height;
    }
    subtrees
}

#[cfg(test)]
mod tests;
