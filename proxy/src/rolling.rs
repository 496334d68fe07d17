//! The digest of bytes that pass: one hash and one count, for bodies, decoded bodies and tunnels alike.

use colophon_receipt::fields::BodyDigest;
use sha2::{Digest, Sha256};

/// What has passed so far.
#[derive(Default)]
pub struct Rolling {
    hasher: Sha256,
    size: u64,
}

impl Rolling {
    /// Bytes that pass.
    pub fn push(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
    }

    /// How many bytes have passed.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Digest and size of what has passed.
    pub fn digest(&self) -> BodyDigest {
        BodyDigest { digest: self.hasher.clone().finalize().into(), size: self.size }
    }
}
