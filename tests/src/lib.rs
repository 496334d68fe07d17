//! What the whole-process tests share: the built program as a child process, upstreams and clients that speak raw
//! bytes over sockets, recorded traffic, llama.cpp, and receipts.
//!
//! Everything listens on loopback at a port of its own, lives in a temporary folder, is killed by its pid, and waits
//! for nothing longer than [`PATIENCE`].

pub mod captures;
pub mod certs;
pub mod client;
pub mod clouds;
pub mod colophon;
pub mod elsewhere;
pub mod faults;
pub mod fleet;
pub mod frames;
pub mod image;
pub mod injector;
pub mod kubernetes;
pub mod llama;
pub mod log;
pub mod models;
pub mod openmetrics;
pub mod otel;
pub mod paths;
pub mod pod;
pub mod power;
pub mod process;
pub mod provers;
pub mod proving;
pub mod receipts;
pub mod s3;
pub mod same;
pub mod scene;
pub mod server;
pub mod session;
pub mod soak;
pub mod softhsm;
pub mod text;
pub mod tsa;
pub mod upstream;
pub mod vllm;
pub mod websocket;
pub mod wire;
pub mod witness;

use std::time::{Duration, Instant};

/// How long a test waits for anything that should happen at once, on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Sleeps. The tests are threads, not tasks of a runtime.
#[allow(clippy::disallowed_methods, reason = "no runtime here whose thread could be blocked")]
pub fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// Asks `probe` every 20 ms until it answers something; `None` after `limit`.
pub fn wait_for<T>(limit: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(answer) = probe() {
            return Some(answer);
        }
        if Instant::now() >= deadline {
            return None;
        }
        pause(Duration::from_millis(20));
    }
}
