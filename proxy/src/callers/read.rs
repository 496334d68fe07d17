//! The file of `--callers`.

use super::{ApiKeys, Jwt, Known, Loaded, MAX_NAME, Mtls};
use crate::files;
use crate::jwks::Jwks;
use anyhow::Context as _;
use aws_lc_rs::hmac;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// A file is never longer.
const MAX_BYTES: usize = 16 << 20;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct File {
    api_keys: Option<ApiKeysPart>,
    jwt: Option<JwtPart>,
    mtls: Option<MtlsPart>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct ApiKeysPart {
    hash_key_file: PathBuf,
    #[serde(default)]
    known: Vec<KnownPart>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KnownPart {
    hash: String,
    caller: String,
    tenant: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct JwtPart {
    jwks_file: PathBuf,
    issuer: String,
    audience: String,
    #[serde(default = "subject")]
    caller_claim: String,
    tenant_claim: Option<String>,
}

fn subject() -> String {
    "sub".into()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct MtlsPart {
    client_ca_file: PathBuf,
    #[serde(default)]
    tenants: Vec<TenantPart>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TenantPart {
    prefix: String,
    tenant: String,
}

impl Loaded {
    /// Reads the file and what it names; relative paths in it are from its folder.
    pub(super) fn read(path: &Path) -> anyhow::Result<Loaded> {
        let text = bounded(path)?;
        let file: File = serde_saphyr::from_str(std::str::from_utf8(&text).context("it is not UTF-8")?)?;
        let folder = path.parent().unwrap_or(Path::new("."));
        let mut source = vec![text];
        let api_keys = match file.api_keys {
            None => None,
            Some(part) => {
                let (key, bytes) = hash_key(&folder.join(&part.hash_key_file))?;
                source.push(bytes);
                Some(ApiKeys { key, known: known(part.known)? })
            }
        };
        let jwt = match file.jwt {
            None => None,
            Some(part) => {
                let jwks = folder.join(&part.jwks_file);
                source.push(bounded(&jwks)?);
                let keys = Jwks::load(&jwks, &part.issuer, &part.audience, "jwksFile")?;
                Some(Jwt { keys, caller: part.caller_claim, tenant: part.tenant_claim })
            }
        };
        let mtls = file.mtls.map(|part| Mtls {
            ca: folder.join(part.client_ca_file),
            tenants: part.tenants.into_iter().map(|part| (part.prefix, part.tenant.into())).collect(),
        });
        anyhow::ensure!(
            api_keys.is_some() || jwt.is_some() || mtls.is_some(),
            "it names none of apiKeys, jwt and mtls"
        );
        Ok(Loaded { api_keys, jwt, mtls, tokens: Mutex::default(), source })
    }
}

fn known(parts: Vec<KnownPart>) -> anyhow::Result<Known> {
    let mut known = Known::with_capacity(parts.len());
    for part in parts {
        let hash: Option<[u8; 32]> = hex::decode(&part.hash).ok().and_then(|bytes| bytes.try_into().ok());
        let hash = hash.with_context(|| {
            format!(
                "the hash of `{}` is not 64 hexadecimal digits: `colophon key hash` makes it",
                part.caller
            )
        })?;
        let named = |name: &str| !name.is_empty() && name.len() <= MAX_NAME;
        anyhow::ensure!(
            named(&part.caller) && part.tenant.as_deref().is_none_or(named),
            "a caller and a tenant have names of 1 to {MAX_NAME} bytes"
        );
        anyhow::ensure!(
            known.insert(hash, (part.caller.as_str().into(), part.tenant.map(Into::into))).is_none(),
            "the key of `{}` is there twice",
            part.caller
        );
    }
    Ok(known)
}

/// The key of the keyed hash: 64 hexadecimal digits in a file.
pub(super) fn hash_key(path: &Path) -> anyhow::Result<(hmac::Key, Vec<u8>)> {
    let bytes = bounded(path)?;
    let text = std::str::from_utf8(&bytes).unwrap_or_default().trim();
    let key: Option<[u8; 32]> = hex::decode(text).ok().and_then(|key| key.try_into().ok());
    let key = key.with_context(|| format!("{}: 64 hexadecimal digits are needed", path.display()))?;
    Ok((hmac::Key::new(hmac::HMAC_SHA256, &key), bytes))
}

fn bounded(path: &Path) -> anyhow::Result<Vec<u8>> {
    files::lasting(path, false)?;
    files::read(path, MAX_BYTES)
}
