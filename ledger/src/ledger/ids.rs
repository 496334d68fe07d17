//! Ids, the shard's clock, and the tokens that permit reading a receipt.

use aws_lc_rs::{constant_time, hmac};
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use colophon_receipt::record::RecordId;
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

    pub(crate) fn now(&self) -> u64 {
        let system = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let system = u64::try_from(system.as_micros()).unwrap_or(u64::MAX);
        self.0.fetch_max(system, Ordering::AcqRel).max(system)
    }
}

/// Makes UUIDv7 ids: 48-bit ms, 12-bit counter within the ms, 16-bit shard tag, 46 random bits.
#[derive(Debug, Default)]
pub(crate) struct Ids {
    /// The newest `ms << 12 | counter`; a counter that overflows goes on in the next ms.
    last: AtomicU64,
    random: Mutex<Random>,
}

/// Randomness fetched in blocks: one system call for many ids.
#[derive(Debug)]
struct Random {
    bytes: [u8; 384],
    used: usize,
}

impl Default for Random {
    fn default() -> Random {
        Random { bytes: [0; 384], used: 384 }
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
        let random = self.random();
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

    fn random(&self) -> [u8; 6] {
        let mut pool = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        if pool.used + 6 > pool.bytes.len() {
            // Uniqueness rests on time, counter and tag; without randomness an id is only easier to guess, and no
            // secret: the token is.
            if let Err(error) = getrandom::fill(&mut pool.bytes) {
                tracing::error!(%error, "no randomness from the operating system for record ids");
            }
            pool.used = 0;
        }
        let at = pool.used;
        pool.used += 6;
        let mut random = [0; 6];
        random.copy_from_slice(&pool.bytes[at..at + 6]);
        random
    }
}

/// Makes and checks tokens: 128 bits of HMAC-SHA-256 over the id, base64url.
pub(crate) struct Tokens(hmac::Key);

impl Tokens {
    pub(crate) fn new(key: &[u8; 32]) -> Tokens {
        Tokens(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    pub(crate) fn token(&self, id: &RecordId) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(&hmac::sign(&self.0, id).as_ref()[..16])
    }

    pub(crate) fn ok(&self, id: &RecordId, token: &str) -> bool {
        constant_time::verify_slices_are_equal(self.token(id).as_bytes(), token.as_bytes()).is_ok()
    }
}
