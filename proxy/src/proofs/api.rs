//! `/v1/proofs` on the admin side: jobs asked for, looked at, withdrawn, and worked on from elsewhere. Needs the token of
//! `keys/admin`, as `/erase` does: statements say things of records.
//!
//! ```text
//! POST   /v1/proofs                 {"record", "backend"?, "deadline"?, "priority"?, "limits"?,
//!                                    "webhook"?, "request"?, "response"?}                        202, or 200 where it has ended
//! GET    /v1/proofs                 how many jobs are where
//! GET    /v1/proofs/ID              a job; ID may be a record's id: then of the prover of its rule, else the first about it
//! GET    /v1/proofs/ID/artefact     what was proven
//! DELETE /v1/proofs/ID              withdraws it; ID is the job's
//! POST   /v1/proofs/lease           {"worker", "backends"}                                        200, or 204 where there is none
//! POST   /v1/proofs/ID/renew        {"worker", "progress"}
//! POST   /v1/proofs/ID/proven       {"worker", "artefact", "bytes"}
//! POST   /v1/proofs/ID/failed       {"worker", "failure", "again", "cpu_seconds"}
//! ```

use super::kept::Said;
use super::word::{Word, WordError};
use super::{Proving, WORKER};
use crate::app::App;
use crate::erase::{authorized, json_response, refused};
use crate::facts::parse_id;
use bytes::Bytes;
use colophon_ledger::Lookup;
use colophon_provers::local::StoreError;
use colophon_provers::{Job, JobId, Limits, QueueError, Request as Wanted, State};
use colophon_receipt::Level;
use colophon_receipt::evidence::{asked_id, draw_id};
use colophon_receipt::merkle::leaf_hash;
use colophon_receipt::proof::MAX_ARTEFACT;
use colophon_receipt::receipt::{Bytes as Base64, Receipt};
use colophon_receipt::record::{RecordId, RecordLeaf, id_text};
use colophon_receipt::statement::Statement;
use colophon_signer::cose::Sign1;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::sync::Arc;

/// A body holds an artefact in base64, at most.
const MAX_BODY: usize = 2 * MAX_ARTEFACT;
/// Backends that a worker may have.
const MAX_BACKENDS: usize = 64;

/// What is asked for.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ask {
    /// A record's id, a UUID.
    pub record: String,
    /// Always `zk`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<String>,
    /// The prover; the rule's without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    /// µs since the epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<u64>,
    /// Higher goes first.
    #[serde(default)]
    pub priority: u8,
    /// What one try may use, at most what the prover's settings say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// Where its end is told; under a URL that the provers' file allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<String>,
    /// The recorded request's body: for a language model's proof, as the next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<Base64>,
    /// The recorded response's body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response: Option<Base64>,
}

/// A worker elsewhere asks for a job.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lease {
    /// Its name; no other worker's.
    pub worker: String,
    /// What it can do.
    pub backends: Vec<String>,
}

type Answer = Response<Full<Bytes>>;

/// Whether the path is of this part of the admin side.
pub fn is_ours(path: &str) -> bool {
    path == "/v1/proofs" || path.starts_with("/v1/proofs/")
}

/// Answers.
pub async fn answer(app: &App, token: &str, request: Request<Incoming>) -> Answer {
    if let Err(refusal) = authorized(&request, token) {
        return *refusal;
    }
    let Some(proofs) = &app.proving else {
        return refused(StatusCode::NOT_FOUND, "this process proves nothing: it has no --provers");
    };
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let rest = path.strip_prefix("/v1/proofs").unwrap_or_default().trim_matches('/').to_owned();
    let (id, what) = rest.split_once('/').unwrap_or((rest.as_str(), ""));
    let done = match (&method, id, what) {
        (&Method::POST, "", "") => proofs.ask(app, request).await,
        (&Method::GET, "", "") => proofs.told_counts().await,
        (&Method::POST, "lease", "") => proofs.lease_out(request).await,
        (&Method::GET, id, "") => proofs.show(app, id).await,
        (&Method::GET, id, "artefact") => proofs.artefact(app, id).await,
        (&Method::DELETE, id, "") => proofs.withdraw(app, id).await,
        (&Method::POST, id, "renew" | "proven" | "failed") => proofs.hear(id, what, request).await,
        _ => Err(refusal(StatusCode::METHOD_NOT_ALLOWED, "not served here; docs/PROVERS.md says what is")),
    };
    done.unwrap_or_else(|refusal| *refusal)
}

fn refusal(status: StatusCode, why: &str) -> Box<Answer> {
    Box::new(refused(status, why))
}

fn internal(error: impl std::fmt::Display) -> Box<Answer> {
    refusal(StatusCode::SERVICE_UNAVAILABLE, &error.to_string())
}

fn not_found(what: &str) -> Box<Answer> {
    refusal(StatusCode::NOT_FOUND, what)
}

/// Whose fault it is.
fn queue_refusal(error: &QueueError) -> Box<Answer> {
    let status = match error {
        QueueError::Statement(_) | QueueError::TooLong(_) | QueueError::Late => StatusCode::BAD_REQUEST,
        QueueError::Full(_) | QueueError::Budget { .. } => StatusCode::TOO_MANY_REQUESTS,
        QueueError::Unknown(_) => StatusCode::NOT_FOUND,
        QueueError::NotLeased(_) => StatusCode::CONFLICT,
        QueueError::File { .. } | QueueError::Damaged(..) => StatusCode::SERVICE_UNAVAILABLE,
    };
    refusal(status, &error.to_string())
}

fn store_refusal(error: &StoreError) -> Box<Answer> {
    match error {
        StoreError::Queue(error) => queue_refusal(error),
        other => internal(other),
    }
}

async fn read<T: serde::de::DeserializeOwned>(request: Request<Incoming>) -> Result<T, Box<Answer>> {
    let body = Limited::new(request.into_body(), MAX_BODY).collect().await;
    let body = body.map_err(|error| refusal(StatusCode::BAD_REQUEST, &error.to_string()))?.to_bytes();
    serde_json::from_slice(&body)
        .map_err(|error| refusal(StatusCode::BAD_REQUEST, &format!("the body: {error}")))
}

fn shown(status: StatusCode, job: &Job) -> Result<Answer, Box<Answer>> {
    serde_json::to_value(job).map(|job| json_response(status, &job)).map_err(internal)
}

impl Proving {
    /// Does something with the store beside the runtime's workers.
    async fn with<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&colophon_provers::local::Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Box<Answer>> {
        self.store.beside(work).await.map_err(|error| store_refusal(&error))
    }

    async fn told_counts(self: &Arc<Self>) -> Result<Answer, Box<Answer>> {
        let counts = self.with(|store| Ok(store.queue.counts()?)).await?;
        let json = json!({
            "ready": counts.ready, "delayed": counts.delayed, "leased": counts.leased, "ended": counts.ended,
            "refusing": *self.failing(),
        });
        Ok(json_response(StatusCode::OK, &json))
    }

    async fn ask(self: &Arc<Self>, app: &App, request: Request<Incoming>) -> Result<Answer, Box<Answer>> {
        let ask: Ask = read(request).await?;
        if ask.level.as_deref().is_some_and(|level| level != "zk") {
            return Err(refusal(StatusCode::BAD_REQUEST, "only `zk` is proven"));
        }
        let said = match (ask.request, ask.response) {
            (Some(request), Some(response)) => {
                Some(Said { request: request.0.into(), response: response.0.into() })
            }
            (None, None) => None,
            _ => return Err(refusal(StatusCode::BAD_REQUEST, "request and response go together")),
        };
        let mut wanted = self.wanted(app, &ask.record, ask.backend.as_deref(), said).await?;
        // Who asks says until when; a rule's deadline may long have passed.
        wanted.deadline = ask.deadline;
        wanted.priority = ask.priority;
        let named = ask.webhook.is_some();
        if let Some(url) = ask.webhook {
            if !self.provers.webhooks.as_ref().is_some_and(|webhooks| webhooks.allows(&url)) {
                let why = "`webhook`: not under a URL that --provers allows (`webhook: {allow: […]}`)";
                return Err(refusal(StatusCode::BAD_REQUEST, why));
            }
            wanted.webhook = Some(url);
        }
        let webhook = named.then(|| wanted.webhook.clone()).flatten();
        if let Some(asked) = ask.limits {
            let most = wanted.limits;
            wanted.limits = Limits {
                cpu_seconds: asked.cpu_seconds.min(most.cpu_seconds),
                seconds: asked.seconds.min(most.seconds),
                memory: asked.memory.min(most.memory),
                disk: asked.disk.min(most.disk),
                artefact: asked.artefact.min(most.artefact),
            };
        }
        let id = parse_id(&wanted.record);
        let now = app.ledger.now();
        let submitted = self.with(move |store| Ok(store.queue.submit(wanted, now)?)).await?;
        // Its token ids may have taken a while, in which it was erased.
        if let Some(id) = id
            && self.was_erased(&app.ledger, &id, submitted.job.id).await.map_err(internal)?
        {
            return Err(refusal(StatusCode::GONE, "the record was erased"));
        }
        // Who names a webhook counts on being told there.
        if submitted.existed && named && submitted.job.request.webhook != webhook {
            let why = format!(
                "job {} is there already, and its end is told elsewhere or nowhere: ask without `webhook`",
                submitted.job.id
            );
            return Err(refusal(StatusCode::CONFLICT, &why));
        }
        self.work.notify_one();
        let ended = submitted.job.state.has_ended();
        shown(if ended { StatusCode::OK } else { StatusCode::ACCEPTED }, &submitted.job)
    }

    /// The job that a record and a prover make.
    async fn wanted(
        &self,
        app: &App,
        record: &str,
        backend: Option<&str>,
        said: Option<Said>,
    ) -> Result<Wanted, Box<Answer>> {
        let id =
            parse_id(record).ok_or_else(|| refusal(StatusCode::BAD_REQUEST, "a record's id is a UUID"))?;
        let receipt = match app.ledger.lookup(&id).await.map_err(internal)? {
            Lookup::Found(receipt) => receipt,
            Lookup::Pending => return Err(refusal(StatusCode::CONFLICT, "the record is not logged yet")),
            Lookup::Erased(_) => return Err(refusal(StatusCode::GONE, "the record was erased")),
            Lookup::Unknown => return Err(not_found("there is no such record")),
        };
        let evidence =
            evidence(&receipt, &id).ok_or_else(|| internal("the receipt of this record cannot be read"))?;
        let policy = app.policy.load_full();
        self.job(&policy.policy, &receipt, &id, evidence, backend, said)
            .await
            .map_err(|error| refusal(StatusCode::CONFLICT, &error.in_full()))
    }

    /// A job by its id, or by that of its record.
    async fn found(self: &Arc<Self>, app: &App, id: &str) -> Result<Job, Box<Answer>> {
        let id = match id.parse::<JobId>() {
            Ok(id) => id,
            Err(_) => {
                // What is about token ids cannot be told from the record alone.
                match self.wanted(app, id, None, None).await {
                    Ok(wanted) => JobId::for_request(&wanted).map_err(internal)?,
                    Err(refusal) => self.job_about(id).await?.ok_or(refusal)?,
                }
            }
        };
        let job = self.with(move |store| Ok(store.queue.get(id)?)).await?;
        job.ok_or_else(|| not_found("there is no such job"))
    }

    /// The first job that is about a record, of all that there are.
    async fn job_about(self: &Arc<Self>, record: &str) -> Result<Option<JobId>, Box<Answer>> {
        let Some(record) = parse_id(record).map(|id| id_text(&id)) else { return Ok(None) };
        let all = self.with(|store| Ok(store.queue.records()?)).await?;
        Ok(all.into_iter().find(|(_, about)| *about == record).map(|(id, _)| id))
    }

    async fn show(self: &Arc<Self>, app: &App, id: &str) -> Result<Answer, Box<Answer>> {
        shown(StatusCode::OK, &self.found(app, id).await?)
    }

    async fn withdraw(self: &Arc<Self>, app: &App, id: &str) -> Result<Answer, Box<Answer>> {
        // There may be several about a record: which of them is meant cannot be told from its id.
        let id: JobId = id.parse().map_err(|_| {
            refusal(
                StatusCode::BAD_REQUEST,
                "a job is withdrawn by its own id, which GET says, not by its record's",
            )
        })?;
        let now = app.ledger.now();
        let job = self.with(move |store| Ok(store.queue.cancel(id, now)?)).await?;
        self.ended.notify_one();
        shown(StatusCode::OK, &job)
    }

    async fn artefact(self: &Arc<Self>, app: &App, id: &str) -> Result<Answer, Box<Answer>> {
        let job = self.found(app, id).await?;
        let State::Proven(proven) = job.state else {
            return Err(refusal(StatusCode::CONFLICT, "nothing is proven yet"));
        };
        let bytes = self.with(move |store| store.artefact(job.id, &proven)).await?;
        let mut response = Response::new(Full::new(bytes.into()));
        let kind = HeaderValue::from_static("application/octet-stream");
        response.headers_mut().insert(CONTENT_TYPE, kind);
        Ok(response)
    }

    async fn lease_out(self: &Arc<Self>, request: Request<Incoming>) -> Result<Answer, Box<Answer>> {
        let lease: Lease = read(request).await?;
        if lease.backends.len() > MAX_BACKENDS || !is_elsewhere(&lease.worker) {
            return Err(refusal(
                StatusCode::BAD_REQUEST,
                "a worker's name has 1 to 128 bytes, and is not this process's",
            ));
        }
        let leased = self
            .with(move |store| {
                let backends: Vec<&str> = lease.backends.iter().map(String::as_str).collect();
                Ok(store.queue.lease(&lease.worker, &backends, colophon_provers::local::now())?)
            })
            .await?;
        match leased {
            Some(leased) => shown(StatusCode::OK, &leased.job.for_a_worker()),
            None => Ok(json_response(StatusCode::NO_CONTENT, &json!(null))),
        }
    }

    /// What a worker elsewhere says of its job.
    async fn hear(
        self: &Arc<Self>,
        id: &str,
        what: &str,
        request: Request<Incoming>,
    ) -> Result<Answer, Box<Answer>> {
        let id: JobId = id.parse().map_err(|_| not_found("there is no such job"))?;
        let word = match what {
            "renew" => Word::Renew(read(request).await?),
            "failed" => Word::Failed(read(request).await?),
            _ => Word::Proven(read(request).await?),
        };
        let worker = word.worker().to_owned();
        self.take_word(id, worker, word).await.map_err(|error| match error {
            WordError::OtherBytes => refusal(StatusCode::BAD_REQUEST, &error.to_string()),
            WordError::Store(error) => store_refusal(&error),
        })?;
        Ok(json_response(StatusCode::OK, &json!({})))
    }
}

fn is_elsewhere(worker: &str) -> bool {
    (1..=128).contains(&worker.len()) && !worker.starts_with(WORKER)
}

/// The id that evidence for a record has: that of its draw, if a proof follows for certain and none is logged; else that of what is
/// asked for.
fn evidence(receipt: &Receipt, id: &RecordId) -> Option<RecordId> {
    let leaf = RecordLeaf::decode(&receipt.record.leaf.0).ok()?;
    let signed = Sign1::parse(&receipt.statement.0).ok()?;
    let to = Statement::decode(signed.payload()).ok()?.to;
    let hash = leaf_hash(&receipt.record.leaf.0);
    let follows = leaf.draw == Some((u64::MAX, Level::Zk)) && receipt.evidence.is_empty();
    Some(match follows {
        true => draw_id(to, id, &hash, Level::Zk),
        false => asked_id(to, id, &hash, Level::Zk),
    })
}
