//! JSON Web Tokens by the keys of a JWKS file: no network, and no clock but the time given.

use crate::files;
use anyhow::Context as _;
use jsonwebtoken::jwk::{Jwk, JwkSet};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde::de::DeserializeOwned;
use std::path::Path;

/// A JWKS file is never longer.
const MAX_BYTES: usize = 1 << 20;
/// No token is longer.
pub(crate) const MAX_TOKEN: usize = 16 * 1024;
/// The clocks of issuer and reader may differ by this many seconds.
pub(crate) const LEEWAY: u64 = 60;
/// Signatures by public keys only: a shared secret in a JWKS file would be none.
const ALGORITHMS: [Algorithm; 6] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

/// The keys of one issuer.
#[derive(Debug)]
pub(crate) struct Jwks {
    keys: JwkSet,
    issuer: String,
    audience: String,
}

impl Jwks {
    /// Reads a file; `what` names it in errors.
    pub(crate) fn load(path: &Path, issuer: &str, audience: &str, what: &str) -> anyhow::Result<Jwks> {
        let context = || format!("{what} {}", path.display());
        let text = files::read_text(path, MAX_BYTES).with_context(context)?;
        Self::parse(&text, issuer, audience).with_context(context)
    }

    pub(crate) fn parse(text: &str, issuer: &str, audience: &str) -> anyhow::Result<Jwks> {
        let keys: JwkSet = serde_json::from_str(text).context("not a JSON Web Key Set")?;
        anyhow::ensure!(!keys.keys.is_empty(), "it holds no key");
        anyhow::ensure!(!issuer.is_empty() && !audience.is_empty(), "an issuer and an audience are needed");
        Ok(Jwks { keys, issuer: issuer.to_owned(), audience: audience.to_owned() })
    }

    /// What a token by one of the keys says, for this issuer and audience. Whether it counts now is for the caller to say.
    ///
    /// # Errors
    /// With the reason in words.
    pub(crate) fn claims<C: DeserializeOwned>(&self, token: &str) -> Result<C, String> {
        if token.len() > MAX_TOKEN {
            return Err("it is too long".into());
        }
        let header = decode_header(token).map_err(|e| e.to_string())?;
        if !ALGORITHMS.contains(&header.alg) {
            return Err("its algorithm is not one of a public key".into());
        }
        let key = self.key(header.kid.as_deref()).ok_or("no key of the JWKS file signed it")?;
        let key = DecodingKey::from_jwk(key).map_err(|e| e.to_string())?;
        let mut validation = Validation::new(header.alg);
        validation.set_issuer(&[&self.issuer]);
        validation.set_audience(&[&self.audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        // By the time given, elsewhere.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        decode(token, &key, &validation).map(|token| token.claims).map_err(|e| e.to_string())
    }

    /// The key of this id; without one, the only key there is.
    fn key(&self, kid: Option<&str>) -> Option<&Jwk> {
        match (kid, self.keys.keys.as_slice()) {
            (Some(kid), _) => self.keys.find(kid),
            (None, [only]) => Some(only),
            (None, _) => None,
        }
    }
}

/// Whether a token counts at `now`, s, from `nbf` until `exp`.
pub(crate) fn counts(exp: u64, nbf: u64, now: u64) -> bool {
    now < exp.saturating_add(LEEWAY) && now.saturating_add(LEEWAY) >= nbf
}

#[cfg(test)]
pub(crate) mod testing;
