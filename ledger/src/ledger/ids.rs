//! Ids, the shard's clock, and the tokens that permit reading a receipt.

use aws_lc_rs::constant_time;
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use colophon_receipt::record::RecordId;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// The system clock in µs since the epoch, never going back.
#[derive(Debug)]
pub(crate) struct Clock(AtomicU64);

impl Clock {
    /// A clock that shows no time before `floor`.
    pub(crate) fn new(floor: u64) -> Clock {
        Clock(AtomicU64::new(floor))
    }

    /// Shows no time before `floor` from now on.
    pub(crate) fn raise(&self, floor: u64) {
        self.0.fetch_max(floor, Ordering::AcqRel);
    }

    pub(crate) fn now(&self) -> u64 {
        let system = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let system = u64::try_from(system.as_micros()).unwrap_or(u64::MAX);
        self.0.fetch_max(system, Ordering::AcqRel).max(system)
    }

    /// The system's clock jumps ahead by so many µs; where it jumps back again, this one stands.
    #[cfg(test)]
    pub(crate) fn jump(&self, ahead: u64) {
        self.0.fetch_add(ahead, Ordering::AcqRel);
    }
}

/// Makes UUIDv7 ids: 48-bit ms, 12-bit counter within the ms, 16-bit shard tag, 46 random bits.
#[derive(Debug, Default)]
pub(crate) struct Ids {
    /// The newest `ms << 12 | counter`; a counter that overflows goes on in the next ms.
    last: AtomicU64,
    pub(crate) random: Random,
}

/// Randomness of the operating system, fetched in blocks: one system call for many ids and seeds.
#[derive(Debug)]
pub(crate) struct Random(Mutex<Block>);

struct Block {
    bytes: [u8; RANDOM_BLOCK],
    used: usize,
}

/// Bytes that one system call fetches.
const RANDOM_BLOCK: usize = 4096;

impl Random {
    /// `N` bytes that nobody else gets.
    pub(crate) fn take<const N: usize>(&self) -> Result<[u8; N], getrandom::Error> {
        let mut block = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Block { bytes, used } = &mut *block;
        if *used + N > bytes.len() {
            // Also after a failure nothing is handed out twice.
            *used = bytes.len();
            getrandom::fill(bytes)?;
            *used = 0;
        }
        let mut taken = [0; N];
        let (_, rest) = bytes.split_at_mut(*used);
        if let Some(next) = rest.first_chunk_mut::<N>() {
            // A seed opens a record: it does not stay behind here.
            std::mem::swap(&mut taken, next);
        }
        *used += N;
        Ok(taken)
    }
}

impl Default for Random {
    fn default() -> Random {
        Random(Mutex::new(Block { bytes: [0; RANDOM_BLOCK], used: RANDOM_BLOCK }))
    }
}

impl std::fmt::Debug for Block {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Block").field("used", &self.used).finish_non_exhaustive()
    }
}

impl Ids {
    pub(crate) fn next(&self, now_ms: u64, tag: [u8; 2]) -> RecordId {
        let floor = now_ms << 12;
        let step = |last: u64| floor.max(last.saturating_add(1));
        let mut last = self.last.load(Ordering::Relaxed);
        let stamp = loop {
            match self.last.compare_exchange_weak(last, step(last), Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => break step(last),
                Err(seen) => last = seen,
            }
        };
        // Uniqueness rests on time, counter and tag; without randomness an id is only easier to guess, and no secret:
        // the token is.
        let random: [u8; 6] = self.random.take().unwrap_or_else(|error| {
            tracing::error!(%error, "no randomness from the operating system for record ids");
            [0; 6]
        });
        let mut id = [0; 16];
        id[..6].copy_from_slice(&(stamp >> 12).to_be_bytes()[2..]);
        let counter = (stamp & 0xfff).to_be_bytes();
        id[6] = 0x70 | counter[6];
        id[7] = counter[7];
        id[8] = 0x80 | tag[0] >> 2;
        id[9] = tag[0] << 6 | tag[1] >> 2;
        id[10] = tag[1] << 6 | random[0] >> 2;
        id[11..].copy_from_slice(&random[1..]);
        id
    }
}

/// Makes and checks tokens: 128 bits of HMAC-SHA-256 over the id, base64url.
pub(crate) struct Tokens(
    /// With the key taken in: a token costs two blocks of SHA-256.
    Hmac<Sha256>,
);

impl Tokens {
    pub(crate) fn new(key: &[u8; 32]) -> Tokens {
        let mut padded = [0; 64];
        padded[..32].copy_from_slice(key);
        Tokens(Hmac::new(&padded.into()))
    }

    pub(crate) fn token(&self, id: &RecordId) -> String {
        let tag = self.0.clone().chain_update(id).finalize().into_bytes();
        BASE64_URL_SAFE_NO_PAD.encode(&tag[..16])
    }

    pub(crate) fn ok(&self, id: &RecordId, token: &str) -> bool {
        constant_time::verify_slices_are_equal(self.token(id).as_bytes(), token.as_bytes()).is_ok()
    }
}
