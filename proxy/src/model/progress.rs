//! How far reading a model has come: a bar on a terminal, a log line now and then elsewhere.

use crate::cli::progress_bar;
use indicatif::ProgressBar;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Between two log lines.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// Of so many bytes.
pub struct Progress {
    bar: ProgressBar,
    total: u64,
    done: AtomicU64,
    told: Mutex<Instant>,
}

impl Progress {
    /// Nothing is done yet.
    pub fn new(total: u64) -> Progress {
        let bar = progress_bar("reading the model", "MiB");
        bar.set_length(total >> 20);
        Progress { bar, total, done: AtomicU64::new(0), told: Mutex::new(Instant::now()) }
    }

    /// So many bytes more are.
    pub fn add(&self, bytes: u64) {
        let done = self.done.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.bar.set_position(done >> 20);
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if self.bar.is_hidden() && told.elapsed() >= TELL_EVERY {
            *told = Instant::now();
            tracing::info!(done_mib = done >> 20, of_mib = self.total >> 20, "reading the model's files");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
