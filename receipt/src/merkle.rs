//! RFC 6962 Merkle trees and the verification of RFC 9162 sections 2.1.3.2 and 2.1.4.2.
//!
//! The fields of a record, a batch and the log are all trees of this one kind.

use sha2::block_api::compress256;
use sha2::{Digest, Sha256};

/// A SHA-256 output.
pub type Hash = [u8; 32];

/// `SHA-256(bytes)`.
pub fn sha256(bytes: &[u8]) -> Hash {
    sha256_of([bytes])
}

/// `SHA-256(part ‖ part ‖ …)`.
///
/// What fits in two blocks is padded here and goes straight to the compression function: most of what is hashed for a
/// record is as short as that, and the buffer of a running hash would cost half as much again as the hash.
// Always inlined: nearly all parts have a length that the caller knows, so copying one is a move or two, and no call.
#[inline(always)]
pub fn sha256_of<const N: usize>(parts: [&[u8]; N]) -> Hash {
    let len = parts.iter().map(|part| part.len()).sum::<usize>();
    if len > SHORT {
        return parts.iter().fold(Sha256::new(), |hash, part| hash.chain_update(part)).finalize().into();
    }
    let mut blocks = [0; 2 * BLOCK];
    let mut at = 0;
    for part in parts {
        blocks[at..at + part.len()].copy_from_slice(part);
        at += part.len();
    }
    // FIPS 180-4 section 5.1.1: a one bit, zeros, the length in bits.
    blocks[at] = 0x80;
    let padded = if at + 1 + 8 <= BLOCK { BLOCK } else { 2 * BLOCK };
    blocks[padded - 8..padded].copy_from_slice(&(8 * len as u64).to_be_bytes());
    let mut state = SHA256_START;
    compress256(&mut state, blocks[..padded].as_chunks::<BLOCK>().0);
    let mut hash = Hash::default();
    for (out, word) in hash.as_chunks_mut::<4>().0.iter_mut().zip(state) {
        *out = word.to_be_bytes();
    }
    hash
}

/// The hash of one leaf, `H(0x00 ‖ leaf)`.
pub fn leaf_hash(leaf: &[u8]) -> Hash {
    sha256_of([&[0x00], leaf])
}

/// The hash of an inner node, `H(0x01 ‖ left ‖ right)`.
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    sha256_of([&[0x01], left, right])
}

/// Bytes of a block of SHA-256.
const BLOCK: usize = 64;
/// With a one bit and the length, so many bytes fill two.
const SHORT: usize = 2 * BLOCK - 9;

/// FIPS 180-4 section 5.3.3.
const SHA256_START: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

/// The hash of the empty tree, `H("")`.
pub fn empty_root() -> Hash {
    sha256(b"")
}

/// The root of the tree over `leaves`, which are leaf hashes.
pub fn root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => empty_root(),
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(split(leaves.len()));
            node_hash(&root(left), &root(right))
        }
    }
}

/// The inclusion proof of leaf `index`, sibling of the leaf first. `None` when there is no such leaf.
pub fn inclusion_proof(leaves: &[Hash], index: usize) -> Option<Vec<Hash>> {
    if index >= leaves.len() {
        return None;
    }
    let mut path = Vec::new();
    let mut rest = leaves;
    let mut index = index;
    while rest.len() > 1 {
        let (left, right) = rest.split_at(split(rest.len()));
        if index < left.len() {
            path.push(root(right));
            rest = left;
        } else {
            path.push(root(left));
            index -= left.len();
            rest = right;
        }
    }
    path.reverse();
    Some(path)
}

/// The consistency proof from the tree of the first `old` leaves to the tree of all (RFC 9162 section 2.1.4.1).
pub fn consistency_proof(leaves: &[Hash], old: usize) -> Option<Vec<Hash>> {
    if old == 0 || old > leaves.len() {
        return None;
    }
    let mut path = Vec::new();
    let (mut rest, mut m, mut whole) = (leaves, old, true);
    while m != rest.len() {
        let (left, right) = rest.split_at(split(rest.len()));
        if m <= left.len() {
            path.push(root(right));
            rest = left;
        } else {
            path.push(root(left));
            rest = right;
            m -= left.len();
            whole = false;
        }
    }
    if !whole {
        path.push(root(rest));
    }
    path.reverse();
    Some(path)
}

/// Why a proof does not show what it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The index lies outside the tree.
    #[error("the leaf index lies outside the tree")]
    Index,
    /// Too many or too few hashes for this index and size.
    #[error("the proof has the wrong number of hashes for this index and tree size")]
    Length,
    /// The hashes lead to another root.
    #[error("the proof leads to another root")]
    Root,
}

/// Checks that `leaf` (a leaf hash) is number `index` of the tree of `size` leaves with `root` (RFC 9162 2.1.3.2).
pub fn verify_inclusion(
    leaf: &Hash,
    index: u64,
    size: u64,
    path: &[Hash],
    root: &Hash,
) -> Result<(), ProofError> {
    if root_from_inclusion(leaf, index, size, path)? == *root { Ok(()) } else { Err(ProofError::Root) }
}

/// The root that an inclusion proof leads to.
pub fn root_from_inclusion(leaf: &Hash, index: u64, size: u64, path: &[Hash]) -> Result<Hash, ProofError> {
    if index >= size {
        return Err(ProofError::Index);
    }
    let (mut fnode, mut snode) = (index, size - 1);
    let mut hash = *leaf;
    for sibling in path {
        if snode == 0 {
            return Err(ProofError::Length);
        }
        if fnode & 1 == 1 || fnode == snode {
            hash = node_hash(sibling, &hash);
            if fnode & 1 == 0 {
                while fnode & 1 == 0 && fnode != 0 {
                    fnode >>= 1;
                    snode >>= 1;
                }
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        fnode >>= 1;
        snode >>= 1;
    }
    if snode == 0 { Ok(hash) } else { Err(ProofError::Length) }
}

/// Checks that the tree `(old_size, old_root)` is a prefix of `(size, root)` (RFC 9162 2.1.4.2).
pub fn verify_consistency(
    old_size: u64,
    old_root: &Hash,
    size: u64,
    root: &Hash,
    path: &[Hash],
) -> Result<(), ProofError> {
    if old_size > size {
        return Err(ProofError::Index);
    }
    if old_size == size {
        if !path.is_empty() {
            return Err(ProofError::Length);
        }
        return if old_root == root { Ok(()) } else { Err(ProofError::Root) };
    }
    if old_size == 0 {
        return match path.is_empty() && *old_root == empty_root() {
            true => Ok(()),
            false => Err(ProofError::Root),
        };
    }
    let (mut fnode, mut snode) = (old_size - 1, size - 1);
    while fnode & 1 == 1 {
        fnode >>= 1;
        snode >>= 1;
    }
    let mut hashes = path.iter();
    // A complete old tree is its own first hash; otherwise the proof starts with it.
    let first =
        if old_size.is_power_of_two() { old_root } else { hashes.next().ok_or(ProofError::Length)? };
    let (mut old, mut new) = (*first, *first);
    for hash in hashes {
        if snode == 0 {
            return Err(ProofError::Length);
        }
        if fnode & 1 == 1 || fnode == snode {
            old = node_hash(hash, &old);
            new = node_hash(hash, &new);
            while fnode & 1 == 0 && fnode != 0 {
                fnode >>= 1;
                snode >>= 1;
            }
        } else {
            new = node_hash(&new, hash);
        }
        fnode >>= 1;
        snode >>= 1;
    }
    if snode != 0 {
        return Err(ProofError::Length);
    }
    if old == *old_root && new == *root { Ok(()) } else { Err(ProofError::Root) }
}

/// The largest power of two below `n`, for `n` of at least two.
fn split(n: usize) -> usize {
    n.next_power_of_two() / 2
}

#[cfg(test)]
mod tests;
