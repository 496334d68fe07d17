//! Who calls, and for which tenant: by an API key, a JWT or a client certificate, as `--callers FILE` says.
//!
//! What a client shows is never kept: of an API key there is a keyed hash, whose key is a file of the operator's; of a token
//! its claim; of a certificate its name. A caller is *authenticated* where this process checked it (a key that the file
//! lists, a good token, a certificate by the file's CA), and *claimed* otherwise: whether the key means anything is then
//! for the model server to say, and no rule of a policy sees it.

mod read;

use crate::jwks::{self, Jwks};
use anyhow::Context as _;
use arc_swap::ArcSwap;
use aws_lc_rs::hmac;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use serde::Deserialize;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// How often the files are read again.
const READ_EVERY: Duration = Duration::from_secs(10);
/// Headers that carry API keys besides `Authorization: Bearer`, as OpenAI's, Anthropic's and Azure's clients send them.
const KEY_HEADERS: [&str; 2] = ["x-api-key", "api-key"];
/// Good tokens remembered, so that each is verified once.
const TOKENS: usize = 4096;
/// A caller's or tenant's name that is longer is none: a record keeps 512 bytes.
const MAX_NAME: usize = 256;
/// The domain of the keyed hash.
const HASH_DOMAIN: &[u8] = b"colophon/caller/v1";

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The caller's name, or `key:` and the keyed hash of what it showed.
    pub name: Arc<str>,
    /// The tenant.
    pub tenant: Option<Arc<str>>,
    /// `api-key`, `jwt` or `mtls`.
    pub by: &'static str,
    /// Whether this process checked it.
    pub authenticated: bool,
}

/// The name in the certificate that a client showed on its connection, verified by the listener.
#[derive(Clone, Debug)]
pub struct Peer(pub Arc<str>);

/// What the file says now, replaced as a whole when it changes.
pub struct Callers {
    path: PathBuf,
    loaded: ArcSwap<Loaded>,
}

/// One reading of the file and of what it names.
pub(crate) struct Loaded {
    api_keys: Option<ApiKeys>,
    jwt: Option<Jwt>,
    mtls: Option<Mtls>,
    tokens: Mutex<HashMap<[u8; 32], (Caller, u64, u64)>>,
    /// Everything that was read, to see whether it changed.
    source: Vec<Vec<u8>>,
}

/// Callers and their tenants by the keyed hash of their API keys.
type Known = HashMap<[u8; 32], (Arc<str>, Option<Arc<str>>)>;

struct ApiKeys {
    key: hmac::Key,
    known: Known,
}

struct Jwt {
    keys: Jwks,
    caller: String,
    tenant: Option<String>,
}

/// The CA whose certificates clients may show, and the tenants of their names.
struct Mtls {
    ca: PathBuf,
    tenants: Vec<(String, Arc<str>)>,
}

#[derive(Deserialize)]
struct Claims {
    exp: u64,
    #[serde(default)]
    nbf: u64,
    #[serde(flatten)]
    rest: serde_json::Map<String, serde_json::Value>,
}

impl Callers {
    /// Reads the file and what it names.
    pub fn load(path: &Path) -> anyhow::Result<Callers> {
        let path = std::path::absolute(path).with_context(|| format!("--callers {}", path.display()))?;
        let loaded = Loaded::read(&path).with_context(|| format!("--callers {}", path.display()))?;
        Ok(Callers { path, loaded: ArcSwap::from_pointee(loaded) })
    }

    /// The CA whose certificates the listener takes, if clients may show one.
    pub fn client_ca(&self) -> Option<PathBuf> {
        self.loaded.load().mtls.as_ref().map(|mtls| mtls.ca.clone())
    }

    /// Who sent a request with these headers on the connection of `peer`: by certificate, else token, else API key.
    pub fn identify(&self, headers: &HeaderMap, peer: Option<&Peer>) -> Option<Caller> {
        let loaded = self.loaded.load();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        loaded.identify(headers, peer, now)
    }

    /// Reads the files again, now and then, and at once when `now` says so, until `stop`.
    pub async fn follow(self: Arc<Self>, now: Arc<Notify>, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(READ_EVERY) => {}
                () = now.notified() => {}
                () = stop.cancelled() => return,
            }
            let path = self.path.clone();
            let read = tokio::task::spawn_blocking(move || Loaded::read(&path)).await;
            match read.unwrap_or_else(|error| Err(error.into())) {
                Ok(loaded) if loaded.source == self.loaded.load().source => {}
                Ok(loaded) => {
                    self.loaded.store(Arc::new(loaded));
                    tracing::info!("the callers' file and keys were read again");
                }
                Err(error) => {
                    tracing::error!(error = format!("{error:#}"), "the callers known before stay in force");
                }
            }
        }
    }
}

impl Loaded {
    fn identify(&self, headers: &HeaderMap, peer: Option<&Peer>, now: u64) -> Option<Caller> {
        if let (Some(mtls), Some(Peer(name))) = (&self.mtls, peer) {
            let tenant = mtls.tenants.iter().find(|(prefix, _)| name.starts_with(prefix.as_str()));
            let tenant = tenant.map(|(_, tenant)| tenant.clone());
            return Some(Caller { name: name.clone(), tenant, by: "mtls", authenticated: true });
        }
        let shown = shown(headers)?;
        self.by_token(shown, now).or_else(|| self.by_key(shown))
    }

    fn by_token(&self, token: &str, now: u64) -> Option<Caller> {
        let jwt = self.jwt.as_ref()?;
        // What is no token at all is not worth a try.
        if token.len() > jwks::MAX_TOKEN || token.bytes().filter(|byte| *byte == b'.').count() != 2 {
            return None;
        }
        let digest = colophon_receipt::merkle::sha256(token.as_bytes());
        let known = self.tokens().get(&digest).cloned();
        let (caller, exp, nbf) = match known {
            Some(known) => known,
            None => {
                // Without the lock: whoever shows wrong signatures costs the others no time.
                let claims: Claims = jwt.keys.claims(token).ok()?;
                let text = |name: &str| {
                    let text = claims.rest.get(name).and_then(serde_json::Value::as_str);
                    text.filter(|text| !text.is_empty() && text.len() <= MAX_NAME).map(Arc::from)
                };
                let tenant = jwt.tenant.as_deref().and_then(text);
                let caller = Caller { name: text(&jwt.caller)?, tenant, by: "jwt", authenticated: true };
                let known = (caller, claims.exp, claims.nbf);
                let mut tokens = self.tokens();
                if tokens.len() >= TOKENS {
                    tokens.clear();
                }
                tokens.insert(digest, known.clone());
                known
            }
        };
        jwks::counts(exp, nbf, now).then_some(caller)
    }

    fn tokens(&self) -> MutexGuard<'_, HashMap<[u8; 32], (Caller, u64, u64)>> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn by_key(&self, shown: &str) -> Option<Caller> {
        let keys = self.api_keys.as_ref()?;
        let hash = hash(&keys.key, shown);
        Some(match keys.known.get(&hash) {
            Some((name, tenant)) => {
                Caller { name: name.clone(), tenant: tenant.clone(), by: "api-key", authenticated: true }
            }
            None => {
                let name = Arc::from(format!("key:{}", hex::encode(hash)));
                Caller { name, tenant: None, by: "api-key", authenticated: false }
            }
        })
    }
}

/// What a client shows: a bearer token, or an API key in a header of its own.
fn shown(headers: &HeaderMap) -> Option<&str> {
    let bearer = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let bearer = bearer.and_then(|value| value.split_once(' '));
    let bearer = bearer.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, token)| token);
    let named = || KEY_HEADERS.iter().find_map(|name| headers.get(*name)?.to_str().ok());
    bearer.or_else(named).map(str::trim).filter(|shown| !shown.is_empty())
}

fn hash(key: &hmac::Key, shown: &str) -> [u8; 32] {
    let mut context = hmac::Context::with_key(key);
    context.update(HASH_DOMAIN);
    context.update(shown.as_bytes());
    let mut hash = [0; 32];
    hash.copy_from_slice(context.sign().as_ref());
    hash
}

/// The hash by which the callers' file knows an API key, by the key of the hash in a file.
pub fn key_hash(key_file: &Path, api_key: &str) -> anyhow::Result<String> {
    let (key, _) = read::hash_key(key_file)?;
    Ok(hex::encode(hash(&key, api_key.trim())))
}

/// The name in a client's certificate: its SPIFFE id, else another URI, else the subject's common name.
pub(crate) fn certificate_name(der: &[u8]) -> Option<Peer> {
    let certificate = rustls_pki_types::CertificateDer::from(der);
    let certificate = webpki::EndEntityCert::try_from(&certificate).ok()?;
    let uris: Vec<&str> = certificate.valid_uri_names().collect();
    let spiffe = uris.iter().find(|uri| uri.starts_with("spiffe://")).or(uris.first());
    let subject = || colophon_signer::rfc3161::subject_name(der).filter(|name| !name.is_empty());
    let name = spiffe.map(|uri| (*uri).to_owned()).or_else(subject)?;
    (name.len() <= MAX_NAME).then(|| Peer(name.into()))
}

#[cfg(test)]
mod tests;
