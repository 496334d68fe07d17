//! A worker elsewhere: the queue of a `colophon serve` through its admin side, by [`super::api`].

use super::api::Lease;
use super::asker::Asker;
use super::word::{Failed, Proven, Renew};
use async_trait::async_trait;
use bytes::Bytes;
use colophon_provers::worker::{Source, SourceError};
use colophon_provers::{Artefact, Failure, Job, JobId, Leased, Progress, State};
use colophon_receipt::receipt::Bytes as Base64;
use http::{Method, StatusCode};
use serde::Serialize;
use std::path::Path;

/// A job is never longer, its statement included.
const MAX_ANSWER: usize = 4 << 20;

/// The queue of a process elsewhere.
pub struct Remote {
    server: Asker,
    worker: String,
}

impl Remote {
    /// The queue at `url` (`http://…` or `https://…`, the admin side) for the worker of this name.
    ///
    /// # Errors
    /// The URL or the CAs cannot be used.
    pub fn new(url: &str, token: &str, worker: String, ca: Option<&Path>) -> anyhow::Result<Remote> {
        Ok(Remote { server: Asker::new(url, Some(token), ca)?, worker })
    }

    async fn post(
        &self,
        path: &str,
        body: &(impl Serialize + Sync),
    ) -> Result<(StatusCode, Bytes), SourceError> {
        let away = |why: String| SourceError::Away(why);
        let body = serde_json::to_vec(body).map_err(|e| away(e.to_string()))?;
        let asked =
            self.server.ask(Method::POST, &format!("/v1/proofs/{path}"), Some(body), MAX_ANSWER).await;
        let (status, body) = asked.map_err(|error| away(error.to_string()))?;
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
