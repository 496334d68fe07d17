//! A running vLLM, which `cargo xtask e2e vllm` starts: it takes minutes, so no test starts one itself.

use std::env;
use std::net::SocketAddr;

use crate::client;

/// The model's name, as `cargo xtask e2e vllm` tells the server.
pub const MODEL: &str = "tiny-random";

/// A running vLLM.
pub struct Vllm {
    address: SocketAddr,
}

impl Vllm {
    /// The one that was started for this run; where none was, says so and returns none.
    ///
    /// # Panics
    /// When `COLOPHON_VLLM` is no address.
    pub fn running() -> Option<Self> {
        let Ok(address) = env::var("COLOPHON_VLLM") else {
            eprintln!("skipped: no vLLM is running (cargo xtask e2e vllm starts one)");
            return None;
        };
        Some(Self { address: address.parse().expect("COLOPHON_VLLM: host:port") })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A counter of its own metrics, all label sets together.
    ///
    /// # Panics
    /// When there is none of that name.
    pub fn counter(&self, name: &str) -> f64 {
        let text = client::get(self.address, "/metrics").text();
        let values: Vec<f64> = text
            .lines()
            .filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])))
            .filter_map(|line| line.rsplit_once(' ')?.1.parse().ok())
            .collect();
        assert!(!values.is_empty(), "vLLM has no metric {name}");
        values.iter().sum()
    }
}
