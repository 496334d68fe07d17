//! Kubernetes ServiceAccount tokens: who a Pod says it is, vouched for by its cluster.
//!
//! A projected token is a JWT that the cluster's issuer signed for one audience; its keys are in a JWKS file (from
//! `kubectl get --raw /openid/v1/jwks`). Judging one needs no network and no clock but the time given. An admitted Pod may
//! announce shards of its own name only, and none for longer than a day.

use anyhow::Context as _;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use jsonwebtoken::jwk::{Jwk, JwkSet};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde::Deserialize;
use std::path::Path;

/// A JWKS file is never longer.
const MAX_BYTES: u64 = 1 << 20;
/// No ServiceAccount token is longer.
const MAX_TOKEN: usize = 16 * 1024;
/// The clocks of cluster and log may differ by this many seconds.
const LEEWAY: u64 = 60;
/// Signatures by public keys only: a shared secret in a JWKS file would be none.
const ALGORITHMS: [Algorithm; 6] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

/// Which ServiceAccounts may post, of one cluster.
#[derive(Debug)]
pub(super) struct ServiceAccounts {
    keys: JwkSet,
    issuer: String,
    audience: String,
    /// `namespace/name`; `*` stands for every name of a namespace.
    allowed: Vec<(String, String)>,
}

/// A Pod that was admitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    /// Its namespace.
    pub(super) namespace: String,
    /// Its ServiceAccount.
    pub(super) account: String,
    /// Its name, which its shards have to have. Tokens that are not bound to a Pod have none.
    pub(super) pod: Option<String>,
}

/// Why a token is not good enough.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Denied {
    /// Not a JWT, by none of the keys, with a bad signature, or of another issuer or audience.
    #[error("the ServiceAccount token is not valid here: {0}")]
    Token(String),
    /// It has expired, or does not count yet.
    #[error("the ServiceAccount token is not valid at this time")]
    Time,
    /// Genuine, but nobody that may post.
    #[error("the ServiceAccount {0} may not post")]
    Stranger(String),
}

#[derive(Deserialize)]
struct Claims {
    exp: u64,
    #[serde(default)]
    nbf: u64,
    sub: String,
    #[serde(rename = "kubernetes.io")]
    kubernetes: Kubernetes,
}

#[derive(Deserialize)]
struct Kubernetes {
    namespace: String,
    serviceaccount: Named,
    #[serde(default)]
    pod: Option<Named>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

impl ServiceAccounts {
    /// Reads a JWKS file. `allowed` are `namespace/name`, or `namespace/*`.
    ///
    /// # Errors
    /// When the file is no JWKS with a public key in it, or an entry is of another form.
    pub(super) fn load(
        jwks: &Path,
        issuer: &str,
        audience: &str,
        allowed: &[String],
    ) -> anyhow::Result<Self> {
        let context = || format!("--log-jwks {}", jwks.display());
        let size = std::fs::metadata(jwks).with_context(context)?.len();
        anyhow::ensure!(size <= MAX_BYTES, "{}: longer than {MAX_BYTES} bytes", context());
        let text = std::fs::read_to_string(jwks).with_context(context)?;
        Self::parse(&text, issuer, audience, allowed).with_context(context)
    }

    fn parse(jwks: &str, issuer: &str, audience: &str, allowed: &[String]) -> anyhow::Result<Self> {
        let keys: JwkSet = serde_json::from_str(jwks).context("not a JSON Web Key Set")?;
        anyhow::ensure!(!keys.keys.is_empty(), "it holds no key");
        anyhow::ensure!(!issuer.is_empty() && !audience.is_empty(), "an issuer and an audience are needed");
        anyhow::ensure!(!allowed.is_empty(), "no ServiceAccount is allowed: give namespace/name");
        let split = |entry: &String| {
            let (namespace, name) = entry.split_once('/').filter(|(n, a)| !n.is_empty() && !a.is_empty())?;
            (namespace != "*").then(|| (namespace.to_owned(), name.to_owned()))
        };
        let mut accounts = Vec::with_capacity(allowed.len());
        for entry in allowed {
            accounts.push(split(entry).with_context(|| format!("`{entry}` is not namespace/name"))?);
        }
        Ok(Self { keys, issuer: issuer.to_owned(), audience: audience.to_owned(), allowed: accounts })
    }

    /// Judges the bearer token of a request, if there is one. `now` is in seconds since the epoch.
    ///
    /// # Errors
    /// [`Denied`].
    pub(super) fn caller(&self, headers: &HeaderMap, now: u64) -> Result<Option<Identity>, Denied> {
        let value = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = value.and_then(|value| value.split_once(' '));
        match token.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")) {
            Some((_, token)) => self.admit(token.trim(), now).map(Some),
            None => Ok(None),
        }
    }

    /// Judges a token.
    ///
    /// # Errors
    /// [`Denied`].
    pub(super) fn admit(&self, token: &str, now: u64) -> Result<Identity, Denied> {
        let invalid = |why: &dyn std::fmt::Display| Denied::Token(why.to_string());
        if token.len() > MAX_TOKEN {
            return Err(invalid(&"it is too long"));
        }
        let header = decode_header(token).map_err(|e| invalid(&e))?;
        if !ALGORITHMS.contains(&header.alg) {
            return Err(invalid(&"its algorithm is not one of a public key"));
        }
        let key =
            self.key(header.kid.as_deref()).ok_or_else(|| invalid(&"no key of the JWKS file signed it"))?;
        let key = DecodingKey::from_jwk(key).map_err(|e| invalid(&e))?;
        let mut validation = Validation::new(header.alg);
        validation.set_issuer(&[&self.issuer]);
        validation.set_audience(&[&self.audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        // By the time given, below.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        let claims: Claims = decode(token, &key, &validation).map_err(|e| invalid(&e))?.claims;
        if now >= claims.exp.saturating_add(LEEWAY) || now.saturating_add(LEEWAY) < claims.nbf {
            return Err(Denied::Time);
        }
        let Kubernetes { namespace, serviceaccount, pod } = claims.kubernetes;
        let account = serviceaccount.name;
        if claims.sub != format!("system:serviceaccount:{namespace}:{account}") {
            return Err(invalid(&"its subject is another than its ServiceAccount"));
        }
        let may = |(n, a): &(String, String)| *n == namespace && (a == "*" || *a == account);
        if !self.allowed.iter().any(may) {
            return Err(Denied::Stranger(format!("{namespace}/{account}").escape_debug().to_string()));
        }
        Ok(Identity { namespace, account, pod: pod.map(|pod| pod.name) })
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

#[cfg(test)]
mod tests;
