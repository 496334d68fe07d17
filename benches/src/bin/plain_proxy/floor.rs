//! What no implementation of these formats can leave out, done as plainly as can be: both bodies hashed, twelve fields
//! sealed, the record in a batch's tree, and its bytes in files.
//!
//! Left out: reading the bodies, headers of the answer, ids and links, encryption, look-up, an `OPEN` that is written
//! before the request goes on. What is written is shared between exchanges as Colophon's is when it is busy.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use anyhow::Result;
use bytes::Bytes;
use colophon_benches::exchange;
use colophon_receipt::merkle::{self, sha256};
use colophon_receipt::record::{FieldSet, seal};
use colophon_receipt::{Hash, Level, Outcome};
use colophon_signer::Ed25519Key;
use http_body::Frame;
use sha2::{Digest as _, Sha256};

/// Bytes that a record takes in the write-ahead log, `OPEN` and `DONE`: measured, chat completions of this run.
const LOGGED: usize = 890;
/// Bytes that it takes in batch, index and openings, measured likewise.
const STORED: usize = 757;
/// Bytes of a signature base in this run: the headers that DESIGN lists, as RFC 9421 writes them.
const BASE: usize = 1_150;
/// Bytes that a signature and what is kept of its base add to each of both.
const SIGNED: usize = 310;
/// Frames that share a write(2) while 32 connections are busy, measured with strace.
const SHARED: usize = 6;
/// Records to a batch.
const BATCH: usize = 4096;

/// Does it.
pub(crate) struct Floor {
    fields: FieldSet,
    key: Option<Ed25519Key>,
    kept: Mutex<Kept>,
}

struct Kept {
    file: File,
    log: Vec<u8>,
    frames: usize,
    store: Vec<u8>,
    leaves: Vec<Hash>,
}

impl Floor {
    /// Writes into `folder`.
    pub(crate) fn new(folder: &Path, sign: bool) -> Result<Floor> {
        std::fs::create_dir_all(folder)?;
        let kept = Kept {
            file: File::create(folder.join("floor"))?,
            log: Vec::new(),
            frames: 0,
            store: Vec::new(),
            leaves: Vec::with_capacity(BATCH),
        };
        Ok(Floor {
            fields: exchange::fields(1),
            key: sign.then(Ed25519Key::generate).transpose()?,
            kept: Mutex::new(kept),
        })
    }

    /// A request is there.
    pub(crate) fn open(&self, body: &[u8]) -> Result<Hash> {
        let digest = sha256(body);
        self.kept().frame(&[0; LOGGED / 3])?;
        Ok(digest)
    }

    /// Its answer is a stream: hashed event by event. What its end costs is nothing against that.
    pub(crate) fn stream(&self) -> impl FnMut(Frame<Bytes>) -> Frame<Bytes> + Send + use<> {
        let mut hasher = Sha256::new();
        move |frame| {
            frame.data_ref().into_iter().for_each(|bytes| hasher.update(bytes));
            frame
        }
    }

    /// Its answer is.
    pub(crate) fn close(&self, request: &Hash, body: &[u8]) -> Result<()> {
        let digest = sha256(body);
        let (mut id, mut seed) = ([0; 16], [0; 32]);
        id.copy_from_slice(&digest[..16]);
        seed.copy_from_slice(request);
        let record = seal(id, 1, Level::Commit, Outcome::Complete, seed, self.fields.clone());
        if let Some(key) = &self.key {
            let mut base = [b'.'; BASE];
            base[..32].copy_from_slice(&record.leaf_hash);
            std::hint::black_box(key.sign(&base));
        }
        let mut kept = self.kept();
        kept.frame(&[0; LOGGED - LOGGED / 3])?;
        if self.key.is_some() {
            kept.log.extend_from_slice(&[0; SIGNED]);
            kept.store.extend_from_slice(&[0; SIGNED]);
        }
        kept.leaves.push(record.leaf_hash);
        kept.store.extend_from_slice(&[0; STORED]);
        if kept.leaves.len() == BATCH {
            std::hint::black_box(merkle::root(&kept.leaves));
            kept.leaves.clear();
            let store = std::mem::take(&mut kept.store);
            kept.file.write_all(&store)?;
        }
        Ok(())
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn frame(&mut self, bytes: &[u8]) -> Result<()> {
        self.log.extend_from_slice(bytes);
        self.frames += 1;
        if self.frames == SHARED {
            self.file.write_all(&self.log)?;
            self.log.clear();
            self.frames = 0;
        }
        Ok(())
    }
}
