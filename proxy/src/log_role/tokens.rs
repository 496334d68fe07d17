//! Bearer tokens of sidecars: one a line, `TOKEN` or `TOKEN NAME`. A named one speaks for shards of that name only.

use crate::files;
use anyhow::Context as _;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use colophon_receipt::merkle::sha256;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use std::path::Path;

/// A file of tokens is never longer.
const MAX_BYTES: usize = 1 << 20;
/// Shorter ones can be guessed.
const SHORTEST: usize = 16;

/// The tokens, as their hashes: a comparison tells nothing about them.
#[derive(Default)]
pub(super) struct Tokens(Vec<([u8; 32], Option<String>)>);

/// Whose token it is.
pub(super) struct Caller {
    /// The only name that its shards may have.
    pub(super) name: Option<String>,
}

impl Tokens {
    /// Reads a file; without one there are none.
    pub(super) fn load(path: Option<&Path>) -> anyhow::Result<Tokens> {
        let Some(path) = path else { return Ok(Tokens::default()) };
        let context = || format!("--log-token-file {}", path.display());
        Tokens::parse(&files::read_text(path, MAX_BYTES).with_context(context)?).with_context(context)
    }

    fn parse(text: &str) -> anyhow::Result<Tokens> {
        let mut tokens = Vec::new();
        for (line, number) in text.lines().map(str::trim).zip(1..) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let mut words = line.split_whitespace();
            let (token, name) = (words.next().unwrap_or_default(), words.next());
            anyhow::ensure!(words.next().is_none(), "line {number}: a token and at most a name are needed");
            anyhow::ensure!(
                token.len() >= SHORTEST && token.bytes().all(|b| b.is_ascii_graphic()),
                "line {number}: a token has at least {SHORTEST} visible ASCII characters"
            );
            tokens.push((sha256(token.as_bytes()), name.map(str::to_owned)));
        }
        anyhow::ensure!(!tokens.is_empty(), "it holds no token");
        Ok(Tokens(tokens))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whose token a request carries.
    pub(super) fn caller(&self, headers: &HeaderMap) -> Option<Caller> {
        let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
        let (scheme, token) = value.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let hash = sha256(token.trim().as_bytes());
        let found = self.0.iter().find(|(known, _)| verify_slices_are_equal(known, &hash).is_ok())?;
        Some(Caller { name: found.1.clone() })
    }
}

#[cfg(test)]
mod tests;
