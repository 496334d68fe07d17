//! A CPU profile on demand: `GET /debug/pprof/profile?seconds=N` on the admin side, as Go's servers have it.
//!
//! Crate `pprof` samples: a timer of the process's CPU time (`SIGPROF`), whose handler notes where the interrupted thread is.
//! Nothing of it is there before the first profile is asked for. Its tables (120 MB, and twice that while they are made anew when
//! a profile ends) stay until the process does.

use crate::admin::text;
use anyhow::Context as _;
use bytes::Bytes;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use pprof::{ProfilerGuard, ProfilerGuardBuilder};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;

mod encode;
mod mappings;

/// Where it is served.
pub(crate) const PATH: &str = "/debug/pprof/profile";
/// Seconds of a profile of which nothing else was said.
const USUAL: u64 = 30;
/// Seconds of the longest.
const MOST: u64 = 60;
/// Samples for each second of CPU time; no divisor of what runs every 10 ms.
const FREQUENCY: i32 = 99;

/// Takes profiles, one at a time.
pub(crate) struct Profiler {
    /// Where its temporary file is, which may find no other place in a container.
    folder: PathBuf,
    one: Arc<Semaphore>,
}

/// What is slow to drop, and who may begin only after that: a sampler, which fills its tables anew as it stops. Wherever this
/// is dropped, that happens where nothing else waits, never on a thread of the runtime, which has others to serve.
struct Aside<T: Send + 'static> {
    /// There until it is dropped.
    held: Option<(T, OwnedSemaphorePermit)>,
}

/// A profile that is being taken; dropping it ends it.
type Taking = Aside<ProfilerGuard<'static>>;

impl<T: Send> Drop for Aside<T> {
    fn drop(&mut self) {
        let Some((slow, one)) = self.held.take() else { return };
        let end = move || {
            drop(slow);
            drop(one);
        };
        match Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(end)),
            Err(_) => end(),
        }
    }
}

impl Profiler {
    /// With a folder of its own for what does not fit its tables.
    pub(crate) fn new(folder: PathBuf) -> Profiler {
        Profiler { folder, one: Arc::new(Semaphore::new(1)) }
    }

    /// The answer to a request that came from `from`. Dropping it ends the profile.
    pub(crate) async fn answer<B>(&self, from: IpAddr, request: &Request<B>) -> Response<Full<Bytes>> {
        if *request.method() != Method::GET {
            return text(StatusCode::METHOD_NOT_ALLOWED, "only GET is served here\n");
        }
        // The operator's side may be open to a cluster; what runs here is for whoever is on this machine.
        if !from.to_canonical().is_loopback() {
            return text(StatusCode::FORBIDDEN, "profiles are given over loopback only\n");
        }
        let Some(seconds) = seconds(request.uri().query()) else {
            return text(StatusCode::BAD_REQUEST, format!("?seconds=N: 1 to {MOST}\n"));
        };
        let Ok(one) = self.one.clone().try_acquire_owned() else {
            return text(StatusCode::CONFLICT, "another profile is being taken\n");
        };
        tracing::info!(seconds, "a CPU profile is taken");
        match self.take(one, Duration::from_secs(seconds)).await {
            Ok(profile) => {
                let mut response = Response::new(Full::new(profile.into()));
                let headers = response.headers_mut();
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
                headers.insert(
                    CONTENT_DISPOSITION,
                    HeaderValue::from_static("attachment; filename=\"colophon-profile.pb.gz\""),
                );
                response
            }
            Err(error) => {
                tracing::warn!(%error, "no CPU profile");
                text(StatusCode::INTERNAL_SERVER_ERROR, format!("no profile: {error}\n"))
            }
        }
    }

    async fn take(&self, one: OwnedSemaphorePermit, time: Duration) -> anyhow::Result<Vec<u8>> {
        let folder = self.folder.clone();
        let mut taking = spawn_blocking(move || start(folder, one)).await??;
        tokio::time::sleep(time).await;
        // Names are looked up in the program's own file.
        spawn_blocking(move || {
            // It stops here, before the answer: whoever has that may ask for the next.
            let held = taking.held.take().context("it has ended")?;
            encode::gzipped(&held.0.report().build_unresolved()?)
        })
        .await?
    }

    /// Removes the temporary file.
    pub(crate) fn clean(&self) {
        // There is none where no profile was taken.
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

fn start(folder: PathBuf, one: OwnedSemaphorePermit) -> anyhow::Result<Taking> {
    std::fs::create_dir_all(&folder)?;
    // The second time it is refused, and is the same.
    drop(tempfile::env::override_temp_dir(&folder));
    // The vDSO of some systems says wrongly how to get out of it.
    let sampler = ProfilerGuardBuilder::default().frequency(FREQUENCY).blocklist(&["vdso"]).build()?;
    Ok(Aside { held: Some((sampler, one)) })
}

/// `seconds=N`, and nothing else.
fn seconds(query: Option<&str>) -> Option<u64> {
    match query {
        None | Some("") => Some(USUAL),
        Some(query) => query.strip_prefix("seconds=")?.parse().ok().filter(|n| (1..=MOST).contains(n)),
    }
}

#[cfg(test)]
mod tests;
