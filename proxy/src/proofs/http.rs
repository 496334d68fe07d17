//! `http`: a prover elsewhere, which is asked for proofs over HTTP and whose word counts for nothing: what it sends is looked at by a
//! verifier here, a program of the `exec` protocol.
//!
//! ```text
//! POST   URL/v1/proofs              {"protocol", "statement", "limits"}    a job: {"id", "state", …}, as GET /v1/proofs/ID has it
//! GET    URL/v1/proofs/ID           the job
//! GET    URL/v1/proofs/ID/artefact  what was proven
//! DELETE URL/v1/proofs/ID           it is needed no more
//! ```

use super::asker::{AskError, Asker};
use async_trait::async_trait;
use colophon_provers::backend::exec::{Exec, PROTOCOL};
use colophon_provers::backend::{
    Backend, BackendError, Capabilities, Estimate, Poll, Running, Task, Verified,
};
use colophon_provers::{Artefact, Limits, Progress, State};
use colophon_receipt::merkle::sha256;
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::json;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio_util::task::TaskTracker;

/// A job is never longer.
const MAX_JOB: usize = 2 << 20;
/// How often it is asked how far the job is.
const EVERY: Duration = Duration::from_secs(1);
/// So many times in a row it may not answer, or only say that it is busy or broken, while a job runs.
const PATIENCE: u32 = 5;

/// A prover elsewhere.
pub(super) struct Http {
    /// Where it is.
    pub(super) server: Asker,
    /// Who looks at what it sends; its name is the prover's.
    pub(super) verifier: Exec,
    /// What is still to be told it of jobs that are needed no more.
    pub(super) farewells: TaskTracker,
}

/// What of its job matters.
#[derive(Deserialize)]
struct Remote {
    id: String,
    state: State,
}

impl Remote {
    /// What an answer says, if that is a job.
    fn read(status: StatusCode, body: &[u8]) -> Result<Remote, BackendError> {
        let said = || String::from_utf8_lossy(body.get(..200).unwrap_or(body)).trim().to_owned();
        match status {
            StatusCode::OK | StatusCode::CREATED | StatusCode::ACCEPTED => {}
            // It is the statement that it cannot take, and it would be the same again.
            StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY => {
                return Err(BackendError::Refused(said()));
            }
            other => return Err(BackendError::Failed(format!("it answers {other}: {}", said()))),
        }
        let job: Remote = serde_json::from_slice(body)
            .map_err(|error| BackendError::Malformed(format!("its job: {error}, in {:?}", said())))?;
        // It becomes a part of paths.
        let letters = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if job.id.is_empty() || job.id.len() > 128 || !job.id.bytes().all(letters) {
            return Err(BackendError::Malformed(
                "its job has no id of 1 to 128 letters, digits, - and _".into(),
            ));
        }
        Ok(job)
    }
}

/// Whether this says nothing of the job, but of how the server is just now.
fn is_passing(status: StatusCode) -> bool {
    status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS
}

/// What it means that it did not answer.
fn unheard(error: AskError) -> BackendError {
    match error {
        AskError::Away(why) => BackendError::Failed(why),
        long @ AskError::TooLong(_) => BackendError::Malformed(long.to_string()),
    }
}

#[async_trait]
impl Backend for Http {
    fn name(&self) -> &str {
        self.verifier.name()
    }

    async fn capabilities(&self, folder: PathBuf) -> Result<Capabilities, BackendError> {
        self.verifier.capabilities(folder).await
    }

    async fn estimate(&self, task: &Task) -> Result<Estimate, BackendError> {
        self.verifier.estimate(task).await
    }

    async fn submit(&self, task: &Task) -> Result<Box<dyn Running>, BackendError> {
        let call = json!({"protocol": PROTOCOL, "statement": task.statement, "limits": task.limits});
        let asked = self.server.ask(Method::POST, "/v1/proofs", Some(call.to_string().into()), MAX_JOB).await;
        let (status, body) = asked.map_err(unheard)?;
        let job = Remote::read(status, &body)?;
        Ok(Box::new(Elsewhere {
            server: self.server.clone(),
            farewells: self.farewells.clone(),
            path: format!("/v1/proofs/{}", job.id),
            id: job.id,
            limits: task.limits,
            begun: Instant::now(),
            silent: 0,
            proven: None,
            over: false,
        }))
    }

    async fn verify(&self, task: &Task, artefact: &[u8]) -> Result<Verified, BackendError> {
        self.verifier.verify(task, artefact).await
    }
}

/// A job that it has.
struct Elsewhere {
    server: Asker,
    farewells: TaskTracker,
    id: String,
    path: String,
    limits: Limits,
    begun: Instant,
    /// So many times it did not answer.
    silent: u32,
    /// What it says that it proved.
    proven: Option<Artefact>,
    /// Whether it has ended there.
    over: bool,
}

impl Elsewhere {
    /// Tells it that the job is needed no more.
    async fn withdraw(server: Asker, path: String) {
        if let Err(error) = server.ask(Method::DELETE, &path, None, MAX_JOB).await {
            tracing::debug!(%error, "a job at a prover elsewhere could not be withdrawn");
        }
    }

    /// What its answer means.
    fn answered(&mut self, (status, body): (StatusCode, bytes::Bytes)) -> Result<Poll, BackendError> {
        self.silent = 0;
        let job = Remote::read(status, &body)?;
        if job.id != self.id {
            return Err(BackendError::Malformed("it answers with another job".into()));
        }
        self.heard(job.state)
    }

    /// What its state means here.
    fn heard(&mut self, state: State) -> Result<Poll, BackendError> {
        self.over = state.has_ended();
        match state {
            State::Queued { .. } => {
                Ok(Poll::Running(Progress { stage: "queued elsewhere".into(), ..Progress::default() }))
            }
            State::Leased { mut progress, .. } => {
                progress.stage.truncate(progress.stage.floor_char_boundary(64));
                Ok(Poll::Running(progress))
            }
            State::Proven(artefact) => {
                self.proven = Some(artefact);
                Ok(Poll::Done)
            }
            State::Failed(failure) if failure.code == "refused" => {
                Err(BackendError::Refused(failure.message))
            }
            State::Failed(failure) => Err(BackendError::Failed(failure.message)),
            State::Missed => Err(BackendError::Failed("its deadline passed there".into())),
            State::Cancelled => Err(BackendError::Failed("it was withdrawn there".into())),
        }
    }
}

#[async_trait]
impl Running for Elsewhere {
    async fn poll(&mut self) -> Result<Poll, BackendError> {
        let seconds = self.limits.seconds;
        if self.begun.elapsed() > Duration::from_secs(seconds) {
            return Err(BackendError::Limit(format!("{seconds} seconds")));
        }
        // The longer it is silent, the seldomer it is asked.
        tokio::time::sleep(EVERY * (1 + self.silent)).await;
        let why = match self.server.ask(Method::GET, &self.path, None, MAX_JOB).await {
            Ok((status, _)) if is_passing(status) => format!("it answers {status}"),
            Ok(answer) => return self.answered(answer),
            Err(error @ AskError::TooLong(_)) => return Err(unheard(error)),
            Err(AskError::Away(why)) => why,
        };
        self.silent += 1;
        if self.silent >= PATIENCE {
            return Err(BackendError::Failed(format!("it answers no more: {why}")));
        }
        Ok(Poll::Running(Progress { stage: "no answer".into(), ..Progress::default() }))
    }

    async fn fetch(&mut self) -> Result<Vec<u8>, BackendError> {
        let most = usize::try_from(self.limits.artefact).unwrap_or(usize::MAX);
        let path = format!("{}/artefact", self.path);
        let fetched = self.server.ask(Method::GET, &path, None, most).await;
        let (status, bytes) = fetched.map_err(|error| match error {
            AskError::TooLong(most) => BackendError::Limit(format!("{most} bytes of artefact")),
            away => unheard(away),
        })?;
        if is_passing(status) {
            return Err(BackendError::Failed(format!("it answers {status} for its artefact")));
        }
        if status != StatusCode::OK || bytes.is_empty() {
            return Err(BackendError::Malformed(format!("it has no artefact of what it proved: {status}")));
        }
        let said = self.proven.as_ref().map(|proven| proven.digest.as_str());
        if said != Some(hex::encode(sha256(&bytes)).as_str()) {
            return Err(BackendError::Malformed("its artefact is not the one that its job names".into()));
        }
        Ok(bytes.into())
    }

    async fn cancel(&mut self) {
        self.over = true;
        Elsewhere::withdraw(self.server.clone(), self.path.clone()).await;
    }

    fn cpu_seconds(&self) -> f64 {
        // By its word: it pays with its own.
        self.proven.as_ref().map_or(0.0, |proven| proven.cpu_seconds.max(0.0))
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        let (server, path) = (self.server.clone(), self.path.clone());
        self.farewells.spawn(Elsewhere::withdraw(server, path));
    }
}
