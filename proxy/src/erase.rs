//! `POST /erase` on the admin side: how `colophon erase` reaches the process that holds the data folder.
//!
//! Whoever may read `keys/admin` in the data folder may erase: the file names the address and a token, both new at each
//! start. The admin side itself is open to whoever can connect to it, so nothing else is permission.

use crate::files;
use anyhow::Context as _;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use bytes::Bytes;
use colophon_ledger::{Erase, EraseError, ErasureReport, Ledger};
use http::header::AUTHORIZATION;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

/// A request names one record, tenant or time.
const MAX_BODY: usize = 16 << 10;
/// The access file holds an address and a token.
const MAX_FILE: usize = 4096;

/// Where the admin side of a running process is, and what permits to erase there.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Access {
    /// Address to connect to.
    pub address: SocketAddr,
    /// Bearer token, 64 hexadecimal digits.
    pub token: String,
}

impl Access {
    /// Makes a token for the admin side at `admin` and writes it to the data folder, mode 0600.
    pub fn create(data: &Path, admin: SocketAddr) -> anyhow::Result<Access> {
        Access::create_at(&path(data), admin)
    }

    /// The same for a log role.
    pub fn create_for_log(data: &Path, admin: SocketAddr) -> anyhow::Result<Access> {
        let path = log_path(data);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        Access::create_at(&path, admin)
    }

    fn create_at(path: &Path, admin: SocketAddr) -> anyhow::Result<Access> {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).context("no randomness from the operating system")?;
        let access = Access { address: reachable(admin), token: hex::encode(secret) };
        let new = path.with_extension("new");
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create(true).truncate(true);
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let json = serde_json::to_vec(&access)?;
        options
            .open(&new)
            .and_then(|mut file| file.write_all(&json))
            .and_then(|()| std::fs::rename(&new, path))
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(access)
    }

    /// Reads what the process that uses the data folder has written there.
    pub fn load(data: &Path) -> anyhow::Result<Access> {
        Access::load_at(&path(data))
    }

    /// Reads what a log role that has this data folder has written there, if one ever had.
    pub fn load_for_log(data: &Path) -> anyhow::Result<Option<Access>> {
        let path = log_path(data);
        path.exists().then(|| Access::load_at(&path)).transpose()
    }

    /// Whether a request shows this token.
    pub fn permits(token: &str, headers: &http::HeaderMap) -> bool {
        let given = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let given = given.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
        verify_slices_are_equal(given.as_bytes(), token.as_bytes()).is_ok()
    }

    fn load_at(path: &Path) -> anyhow::Result<Access> {
        let json = files::read(path, MAX_FILE)?;
        serde_json::from_slice(&json).with_context(|| format!("{} is damaged", path.display()))
    }
}

fn path(data: &Path) -> PathBuf {
    data.join("keys").join("admin")
}

fn log_path(data: &Path) -> PathBuf {
    data.join("keys").join("log-admin")
}

/// An address that listens everywhere is reached on this machine.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        IpAddr::V4(_) | IpAddr::V6(_) => {}
    }
    address
}

/// What to erase, as the request's body says it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "lowercase")]
pub enum What {
    /// A record's id, a UUID.
    Record(String),
    /// A tenant's name.
    Tenant(String),
    /// µs since the epoch.
    Before(u64),
}

impl What {
    /// What the ledger is to erase.
    pub fn erase(&self) -> Option<Erase> {
        Some(match self {
            What::Record(id) => Erase::Record(crate::facts::parse_id(id)?),
            What::Tenant(name) => Erase::Tenant(name.clone().into_bytes()),
            What::Before(time) => Erase::Before(*time),
        })
    }
}

/// What came of an erasure, for programs.
pub fn report(report: &ErasureReport) -> serde_json::Value {
    let (at, log_index) = report.logged.unzip();
    json!({
        "erasure": report.id.map(hex::encode),
        "openings": report.openings,
        "at": at,
        "log_index": log_index,
        "salt": report.salt.filter(|_| report.id.is_some()).map(hex::encode),
        "earlier": report.earlier,
    })
}

/// Answers `POST /erase`.
pub async fn answer(ledger: &Ledger, token: &str, request: Request<Incoming>) -> Response<Full<Bytes>> {
    if let Err(refusal) = authorized(&request, token) {
        return *refusal;
    }
    let body = match read_body(request).await {
        Ok(body) => body,
        Err(refusal) => return *refusal,
    };
    let what = serde_json::from_slice::<What>(&body).ok().and_then(|what| what.erase());
    let Some(what) = what else {
        let form = r#"write {"record": "<uuid>"}, {"tenant": "<name>"} or {"before": <µs since 1970>}"#;
        return refused(StatusCode::BAD_REQUEST, form);
    };
    match ledger.erase(what).await {
        Ok(done) => json_response(StatusCode::OK, &report(&done)),
        Err(error) => {
            let status = match error {
                EraseError::Unknown => StatusCode::NOT_FOUND,
                EraseError::Future | EraseError::Tenant => StatusCode::BAD_REQUEST,
                EraseError::NotLogged | EraseError::DamagedWal(_) | EraseError::Generation => {
                    StatusCode::CONFLICT
                }
                EraseError::WalHeld(_) | EraseError::Closed | EraseError::Ledger(_) => {
                    StatusCode::SERVICE_UNAVAILABLE
                }
            };
            refused(status, &error.to_string())
        }
    }
}

/// Whether the request carries the token of `keys/admin`.
pub(crate) fn authorized(request: &Request<Incoming>, token: &str) -> Result<(), Box<Response<Full<Bytes>>>> {
    if !Access::permits(token, request.headers()) {
        let why = "the token in keys/admin of the data folder is needed";
        return Err(Box::new(refused(StatusCode::UNAUTHORIZED, why)));
    }
    Ok(())
}

/// A request's body, bounded.
pub(crate) async fn read_body(request: Request<Incoming>) -> Result<Bytes, Box<Response<Full<Bytes>>>> {
    match Limited::new(request.into_body(), MAX_BODY).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) => Err(Box::new(refused(StatusCode::BAD_REQUEST, &error.to_string()))),
    }
}

pub(crate) fn refused(status: StatusCode, why: &str) -> Response<Full<Bytes>> {
    json_response(status, &json!({"error": why}))
}

pub(crate) fn json_response(status: StatusCode, json: &serde_json::Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(format!("{json}\n"))));
    *response.status_mut() = status;
    let kind = http::HeaderValue::from_static("application/json");
    response.headers_mut().insert(http::header::CONTENT_TYPE, kind);
    response
}

#[cfg(test)]
mod tests;
