//! Kubernetes ServiceAccount tokens: who a Pod says it is, vouched for by its cluster.
//!
//! A projected token is a JWT that the cluster's issuer signed for one audience; its keys are in a JWKS file (from
//! `kubectl get --raw /openid/v1/jwks`). Judging one needs no network and no clock but the time given. An admitted Pod may
//! announce shards of its own name only, and none for longer than a day.

use crate::jwks::{self, Jwks};
use anyhow::Context as _;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use serde::Deserialize;
use std::path::Path;

/// Which ServiceAccounts may post, of one cluster.
#[derive(Debug)]
pub(super) struct ServiceAccounts {
    keys: Jwks,
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
        Self::new(Jwks::load(jwks, issuer, audience, "--log-jwks")?, allowed)
    }

    fn new(keys: Jwks, allowed: &[String]) -> anyhow::Result<Self> {
        anyhow::ensure!(!allowed.is_empty(), "no ServiceAccount is allowed: give namespace/name");
        let split = |entry: &String| {
            let (namespace, name) = entry.split_once('/').filter(|(n, a)| !n.is_empty() && !a.is_empty())?;
            (namespace != "*").then(|| (namespace.to_owned(), name.to_owned()))
        };
        let mut accounts = Vec::with_capacity(allowed.len());
        for entry in allowed {
            accounts.push(split(entry).with_context(|| format!("`{entry}` is not namespace/name"))?);
        }
        Ok(Self { keys, allowed: accounts })
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
        let claims: Claims = self.keys.claims(token).map_err(Denied::Token)?;
        if !jwks::counts(claims.exp, claims.nbf, now) {
            return Err(Denied::Time);
        }
        let Kubernetes { namespace, serviceaccount, pod } = claims.kubernetes;
        let account = serviceaccount.name;
        if claims.sub != format!("system:serviceaccount:{namespace}:{account}") {
            return Err(Denied::Token("its subject is another than its ServiceAccount".into()));
        }
        let may = |(n, a): &(String, String)| *n == namespace && (a == "*" || *a == account);
        if !self.allowed.iter().any(may) {
            return Err(Denied::Stranger(format!("{namespace}/{account}").escape_debug().to_string()));
        }
        Ok(Identity { namespace, account, pod: pod.map(|pod| pod.name) })
    }
}

#[cfg(test)]
mod tests;
