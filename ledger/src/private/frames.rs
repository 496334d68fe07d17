//! Frames of the write-ahead log on their way through the private store (durability `node`), sealed like openings, with
//! keys of their own.
//!
//! ```text
//! wal/<sidecar>/<life, 16 hex digits>/<number, 12 digits>:
//! "colophon frame 1" | key's name (28) | salt (16) | AES-256-GCM of the frames
//! "colophon fence 1" | life that took over, a space, µs since the epoch
//! ```

use super::crypt::{KEY_NAME, KeyName, Place, Tenant};
use super::vault::{Vault, damage, private_key};
use crate::index::civil_month;
use crate::ledger::LedgerError;
use bytes::Bytes;

const FRAMES: &[u8; 16] = b"colophon frame 1";
const FENCE: &[u8; 16] = b"colophon fence 1";
/// No tenant has an empty name, so no erasure of one destroys these keys.
const OWNER: &[u8] = b"";
/// Bytes before the sealed frames.
const HEAD: usize = 16 + KEY_NAME + 16;
/// An object of a life is never longer: what gathers while one is written.
pub(crate) const MAX_COPY: u64 = 256 << 20;

/// An object of a life.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Shelved {
    Frames(Vec<u8>),
    /// Another life goes on with what is before it.
    Fence {
        by: String,
        at: u64,
    },
}

/// The object that keeps a life from writing more.
pub(crate) fn fence(by: &str, at: u64) -> Bytes {
    [FENCE.as_slice(), format!("{by} {at}").as_bytes()].concat().into()
}

impl Vault {
    /// Seals frames for the object `number` of `life` (`<sidecar>/<life>`) at `now`, µs.
    pub(crate) async fn seal_frames(
        &self,
        life: &str,
        number: u64,
        frames: &[u8],
        now: u64,
    ) -> Result<Bytes, LedgerError> {
        let key = self.writing_key((Tenant::new(OWNER), civil_month(now / 1000))).await?;
        let mut salt = [0; 16];
        getrandom::fill(&mut salt)?;
        let mut out = [FRAMES.as_slice(), &key.name.to_bytes(), &salt].concat();
        let place = Place { shard: life, seq: number, slot: 0, id: &[0; 16] };
        let sealed = key.of_file(&salt).and_then(|page| page.seal(place, frames, &mut out));
        sealed.map_err(|e| private_key(&key.name, e))?;
        Ok(out.into())
    }

    /// Reads the object `number` of `life`, whose bytes are these.
    pub(crate) async fn shelved(
        &self,
        life: &str,
        number: u64,
        bytes: &[u8],
    ) -> Result<Shelved, LedgerError> {
        let name = || format!("wal/{life}/{number:012}");
        if let Some(text) = bytes.strip_prefix(FENCE) {
            let text = std::str::from_utf8(text).ok().and_then(|text| text.split_once(' '));
            let fence = text.and_then(|(by, at)| Some((by.to_owned(), at.parse().ok()?)));
            let (by, at) = fence.ok_or_else(|| damage(&name(), "it is no fence"))?;
            return Ok(Shelved::Fence { by, at });
        }
        let head = bytes.strip_prefix(FRAMES).and_then(|rest| rest.split_first_chunk::<KEY_NAME>());
        let head = head.and_then(|(key, rest)| Some((key, rest.split_first_chunk::<16>()?.0)));
        let (key, salt) = head.ok_or_else(|| damage(&name(), "it is no version 1 copy of frames"))?;
        let key = self.reading_key(&KeyName::from_bytes(key), &name()).await?;
        let key = key.map_err(|_| damage(&name(), "an erasure has destroyed its key"))?;
        let place = Place { shard: life, seq: number, slot: 0, id: &[0; 16] };
        let sealed = bytes.get(HEAD..).unwrap_or_default();
        let opened = key.of_file(salt).and_then(|page| page.open(place, sealed));
        opened.map(Shelved::Frames).map_err(|e| damage(&name(), e))
    }
}
