//! Webhooks: whoever wants to know is told of a job's end, by a POST that the shard's key signs (RFC 9421).
//!
//! Only URLs that the operator allows are ever asked, none that an answer leads to; what is answered is not read. Off every other
//! path: a receiver that hangs holds up nothing but itself.

use super::Proving;
use crate::app::App;
use crate::post::{KeptClient, kept_client};
use crate::stamp::{CONTENT_DIGEST, SIGNATURE, SIGNATURE_INPUT};
use anyhow::Context as _;
use colophon_provers::{Job, JobId, Mark, Waiting};
use colophon_receipt::merkle::sha256;
use colophon_signer::httpsig::{Component, HttpSigError, Params, Value, signature_base, signature_value};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use http::header::{CONTENT_TYPE, HOST};
use http::{Request, Uri};
use http_body_util::Full;
use serde::Deserialize;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The format of what is posted.
const FORMAT: &str = "colophon-webhook-v1";
/// What the signature is for.
const TAG: &str = "colophon-v1-webhook";
const JSON: &str = "application/json";
/// How often it is looked whom to tell.
const EVERY: Duration = Duration::from_secs(1);
/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest time until the head of the answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Jobs looked at together.
const AT_ONCE: usize = 1024;
/// Tries made at the same time, and those with one server.
const SIDE_BY_SIDE: usize = 8;
const TO_ONE: usize = 2;

/// What the provers' file says.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WebhookPart {
    /// Is told of the end of every job that names no other.
    url: Option<String>,
    /// What jobs may name: URLs that begin so.
    #[serde(default)]
    allow: Vec<String>,
    ca: Option<PathBuf>,
}

/// Who may be told.
#[derive(Clone)]
pub(super) struct Webhooks {
    client: KeptClient,
    /// Of jobs that name no other.
    pub(super) url: Option<String>,
    allow: Vec<Uri>,
}

impl WebhookPart {
    /// Checks it. The CAs' file is from `folder`.
    pub(super) fn read(self, folder: &Path) -> anyhow::Result<Webhooks> {
        let ca = self.ca.map(|path| folder.join(path));
        let client = kept_client(crate::tls::roots_config(ca.as_deref())?, CONNECT_TIMEOUT);
        let allow = self.allow.iter().chain(&self.url).map(|url| {
            let uri = plain(url).with_context(|| format!("`{url}` is no URL of a webhook"))?;
            anyhow::ensure!(
                self.url.as_ref() == Some(url) || uri.query().is_none(),
                "`{url}`: without a query"
            );
            Ok(uri)
        });
        Ok(Webhooks { client, allow: allow.collect::<anyhow::Result<_>>()?, url: self.url })
    }
}

/// A URL as it may be asked: with a host, without a user, and a path that means what it says.
fn plain(url: &str) -> Option<Uri> {
    let uri: Uri = url.parse().ok()?;
    let host = uri.authority().is_some_and(|authority| !authority.as_str().contains('@'));
    let path = uri.path();
    let plain = !path.contains(['%', '\\']) && !path.split('/').any(|part| part == "." || part == "..");
    (matches!(uri.scheme_str(), Some("http" | "https")) && host && plain).then_some(uri)
}

impl Webhooks {
    /// Whether a job may name this URL: it is under one that is allowed, whole parts of the path compared.
    pub(super) fn allows(&self, url: &str) -> bool {
        let Some(asked) = plain(url) else { return false };
        if self.url.as_deref() == Some(url) {
            return true;
        }
        self.allow.iter().any(|allowed| {
            let rest = asked.path().strip_prefix(allowed.path().trim_end_matches('/'));
            asked.scheme() == allowed.scheme()
                && asked.authority() == allowed.authority()
                && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    }

    /// Tells of a job's end; an error is why it was not heard.
    async fn tell(&self, app: &App, job: &Job, url: &str) -> Result<(), String> {
        if !self.allows(url) {
            return Err("its URL is not one that --provers allows".into());
        }
        let request = request(app, job, url)?;
        let answer = tokio::time::timeout(TIMEOUT, self.client.request(request)).await;
        let answer = answer.map_err(|_| format!("no answer within {} s", TIMEOUT.as_secs()))?;
        let status = answer.map_err(|error| crate::forward::chain(&error))?.status();
        // Wherever else it wants us to go: nobody allowed that.
        status.is_success().then_some(()).ok_or_else(|| format!("it answers {status}"))
    }
}

/// The signed request.
fn request(app: &App, job: &Job, url: &str) -> Result<Request<Full<bytes::Bytes>>, String> {
    let uri: Uri = url.parse().map_err(|error| format!("{error}"))?;
    let host = uri.authority().map(ToString::to_string).unwrap_or_default();
    let body = json!({
        "format": FORMAT,
        "job": job.id,
        "record": job.request.record,
        "backend": job.request.backend,
        "rule": job.request.rule,
        "evidence": job.request.evidence,
        "made_at": job.made_at,
        "ended_at": job.ended_at,
        "tries": job.tries,
        "came": job.state,
    });
    let body = body.to_string().into_bytes();
    let digest = Value::response_digest(&sha256(&body)).into_text();
    let (input, signature) =
        signed(app, &uri.to_string(), &digest).map_err(|error: HttpSigError| error.to_string())?;
    let request = Request::post(uri)
        .header(HOST, host)
        .header(CONTENT_TYPE, JSON)
        .header(CONTENT_DIGEST, digest)
        .header(SIGNATURE_INPUT, input)
        .header(SIGNATURE, signature);
    request.body(Full::from(body)).map_err(|error| error.to_string())
}

/// `Signature-Input` and `Signature`, by the key of the shard that is in use now.
fn signed(app: &App, url: &str, digest: &str) -> Result<(String, String), HttpSigError> {
    let component = |name, value| Component { name, req: false, tr: false, value };
    let components = [
        component("@method", "POST"),
        component("@target-uri", url),
        component("content-type", JSON),
        component("content-digest", digest),
    ];
    let shard = app.ledger.shard();
    let (created, keyid) = (app.ledger.now() / 1_000_000, hex::encode(shard.key_id));
    let base = signature_base(&components, &Params { created, keyid: &keyid, tag: TAG })?;
    let signature = shard.signer.sign(base.as_bytes());
    Ok((base.signature_input("colophon"), signature_value("colophon", &signature)))
}

impl Proving {
    /// Until `stop`: tells whoever wants to know of the ends of jobs. What is told when the process ends is told again.
    pub(super) async fn tell_webhooks(self: Arc<Self>, app: Weak<App>, stop: CancellationToken) {
        let mut telling = FuturesUnordered::new();
        let mut at: BTreeMap<JobId, String> = BTreeMap::new();
        let mut after = Mark::default();
        loop {
            while at.len() < SIDE_BY_SIDE {
                let now = colophon_provers::local::now();
                let due = self.store.beside(move |store| Ok(store.queue.untold(now, after, AT_ONCE)?)).await;
                let due = due.unwrap_or_else(|error| {
                    tracing::error!(%error, "the queue of proofs cannot be read");
                    Vec::new()
                });
                let (chosen, on) = choose(&due, &at, after);
                after = on;
                for (id, to) in chosen {
                    let Some(app) = app.upgrade() else { return };
                    at.insert(id, to);
                    telling.push(self.tell_of(app, id));
                }
                if after == Mark::default() {
                    break;
                }
            }
            tokio::select! {
                Some(told) = telling.next() => drop(at.remove(&told)),
                () = tokio::time::sleep(EVERY) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    async fn tell_of(&self, app: Arc<App>, id: JobId) -> JobId {
        let job = match self.store.beside(move |store| Ok(store.queue.get(id)?)).await {
            Ok(job) => job.filter(Job::is_untold),
            Err(error) => {
                tracing::error!(job = %id, %error, "a job of whose end a webhook is to be told cannot be read");
                None
            }
        };
        let Some((job, url)) = job.and_then(|job| job.request.webhook.clone().map(|url| (job, url))) else {
            return id;
        };
        let to = receiver(&url);
        let told = match &self.provers.webhooks {
            Some(webhooks) => webhooks.tell(&app, &job, &url).await,
            None => Err("--provers has no `webhook` now".into()),
        };
        if let Err(why) = &told {
            tracing::warn!(job = %id, to, why, "a webhook was not told of a job's end");
        }
        let (success, now) = (told.is_ok(), colophon_provers::local::now());
        match self.store.beside(move |store| Ok(store.queue.told(id, success, now)?)).await {
            Ok(None) => {}
            Ok(Some(job)) => {
                self.counted.untold.inc();
                tracing::error!(job = %job.id, to, "a webhook is told no more of this job's end");
            }
            Err(error) => tracing::error!(%error, "the queue of proofs cannot be written"),
        }
        id
    }
}

/// Whom to tell now, of what is due behind `after`, beside those who are being told; and the place behind which to look next, which
/// is the beginning where all was looked at. A receiver that has its share of the tries is passed over.
fn choose(due: &[Waiting], at: &BTreeMap<JobId, String>, after: Mark) -> (Vec<(JobId, String)>, Mark) {
    let (mut chosen, mut on): (Vec<(JobId, String)>, Mark) = (Vec::new(), after);
    for Waiting { mark, webhook } in due {
        if at.len() + chosen.len() >= SIDE_BY_SIDE {
            return (chosen, on);
        }
        on = *mark;
        let (id, to) = (mark.1, receiver(webhook));
        let same = at.values().chain(chosen.iter().map(|(_, to)| to)).filter(|other| **other == to).count();
        if same < TO_ONE && !at.contains_key(&id) {
            chosen.push((id, to));
        }
    }
    (chosen, if due.len() < AT_ONCE { Mark::default() } else { on })
}

/// Which server is told: one that hangs takes no more than its share of the tries that are made together. Without the path and the
/// query: they may hold a secret, and this goes into the log.
fn receiver(url: &str) -> String {
    let Ok(uri) = url.parse::<Uri>() else { return String::new() };
    let port = uri.port_u16().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{}{port}", uri.scheme_str().unwrap_or_default(), uri.host().unwrap_or_default())
}

#[cfg(test)]
mod tests;
