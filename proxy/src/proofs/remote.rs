//! A worker elsewhere: the queue of a `colophon serve` through its admin side, by [`super::api`].

use super::api::{Failed, Lease, Proven, Renew};
use crate::post::{KeptClient, kept_client};
use anyhow::Context as _;
use async_trait::async_trait;
use bytes::Bytes;
use colophon_provers::worker::{Source, SourceError};
use colophon_provers::{Artefact, Failure, Job, JobId, Leased, Progress, State};
use colophon_receipt::receipt::Bytes as Base64;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use serde::Serialize;
use std::path::Path;
use std::time::Duration;

/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest time from request to the answer's last byte.
const TIMEOUT: Duration = Duration::from_secs(30);
/// A job is never longer, its statement included.
const MAX_ANSWER: usize = 4 << 20;

/// The queue of a process elsewhere.
pub struct Remote {
    client: KeptClient,
    url: String,
    token: HeaderValue,
    worker: String,
}

impl Remote {
    /// The queue at `url` (`http://…` or `https://…`, the admin side) for the worker of this name.
    ///
    /// # Errors
    /// The URL or the CAs cannot be used.
    pub fn new(url: &str, token: &str, worker: String, ca: Option<&Path>) -> anyhow::Result<Remote> {
        let uri: Uri = url.parse().with_context(|| format!("`{url}` is not a URL"))?;
        anyhow::ensure!(
            matches!(uri.scheme_str(), Some("http" | "https"))
                && uri.authority().is_some()
                && uri.query().is_none(),
            "`{url}`: http://host:port or https://host:port is needed"
        );
        let mut token =
            HeaderValue::try_from(format!("Bearer {token}")).context("the token is no text of a header")?;
        token.set_sensitive(true);
        let client = kept_client(crate::tls::roots_config(ca)?, CONNECT_TIMEOUT);
        Ok(Remote { client, url: url.trim_end_matches('/').to_owned(), token, worker })
    }

    async fn post(
        &self,
        path: &str,
        body: &(impl Serialize + Sync),
    ) -> Result<(StatusCode, Bytes), SourceError> {
        let away = |why: String| SourceError::Away(why);
        let uri: Uri = format!("{}/v1/proofs/{path}", self.url).parse().map_err(|e| away(format!("{e}")))?;
        let host = uri.authority().map(ToString::to_string).unwrap_or_default();
        let body = serde_json::to_vec(body).map_err(|e| away(e.to_string()))?;
        let request = Request::post(uri)
            .header(HOST, host)
            .header(AUTHORIZATION, self.token.clone())
            .header(CONTENT_TYPE, "application/json")
            .body(Full::from(body))
            .map_err(|e| away(e.to_string()))?;
        let exchange = async {
            let (parts, body) =
                self.client.request(request).await.map_err(|e| away(crate::forward::chain(&e)))?.into_parts();
            let body = Limited::new(body, MAX_ANSWER).collect().await.map_err(|e| away(e.to_string()))?;
            Ok((parts.status, body.to_bytes()))
        };
        let (status, body) =
            tokio::time::timeout(TIMEOUT, exchange).await.map_err(|_| away("no answer in time".into()))??;
        match status {
            StatusCode::OK | StatusCode::NO_CONTENT => Ok((status, body)),
            StatusCode::CONFLICT | StatusCode::NOT_FOUND if path != "lease" => Err(SourceError::Gone),
            other => Err(away(format!("{other}: {}", String::from_utf8_lossy(&body).trim()))),
        }
    }
}

#[async_trait]
impl Source for Remote {
    async fn lease(&self, backends: &[&str]) -> Result<Option<Leased>, SourceError> {
        let backends = backends.iter().map(|name| (*name).to_owned()).collect();
        let (status, body) = self.post("lease", &Lease { worker: self.worker.clone(), backends }).await?;
        if status == StatusCode::NO_CONTENT {
            return Ok(None);
        }
        let job: Job = serde_json::from_slice(&body).map_err(|error| SourceError::Away(error.to_string()))?;
        let State::Leased { until, .. } = job.state else {
            return Err(SourceError::Away("it gave a job that is not leased".into()));
        };
        Ok(Some(Leased { job, until }))
    }

    async fn renew(&self, id: JobId, progress: Progress) -> Result<(), SourceError> {
        self.post(&format!("{id}/renew"), &Renew { worker: self.worker.clone(), progress }).await.map(drop)
    }

    async fn proven(&self, id: JobId, artefact: &Artefact, bytes: Vec<u8>) -> Result<(), SourceError> {
        let body = Proven { worker: self.worker.clone(), artefact: artefact.clone(), bytes: Base64(bytes) };
        self.post(&format!("{id}/proven"), &body).await.map(drop)
    }

    async fn failed(
        &self,
        id: JobId,
        failure: Failure,
        again: bool,
        cpu_seconds: f64,
    ) -> Result<(), SourceError> {
        let body = Failed { worker: self.worker.clone(), failure, again, cpu_seconds };
        self.post(&format!("{id}/failed"), &body).await.map(drop)
    }
}
