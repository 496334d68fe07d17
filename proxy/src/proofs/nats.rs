//! Jobs for a fleet of workers, through JetStream of a NATS server: `serve` hands jobs out into one stream, workers take them from
//! there and say how they went in another.
//!
//! The queue of `serve` stays the one that decides: what it hands out it holds a lease of, and what is said of a job that it does not
//! lease any more counts for nothing. A worker that dies without a word loses its job to another when the server delivers it again.
//!
//! ```text
//! stream COLOPHON-JOBS, subjects colophon.jobs.<first 8 bytes of the backend's SHA-256>    {"owner", "job"}
//! stream COLOPHON-SAID, subjects colophon.said.<owner>                                     {"job", "tries", "word"}
//! ```

mod bridge;

use super::word::{Failed, Proven, Renew, Word};
use crate::files;
use anyhow::Context as _;
use async_nats::jetstream::consumer::{PullConsumer, pull};
use async_nats::jetstream::context::{ConsumerInfoErrorKind, PublishError, PublishErrorKind};
use async_nats::jetstream::stream::{self, DiscardPolicy, RawMessageErrorKind, RetentionPolicy, StorageType};
use async_nats::jetstream::{AckKind, Context, Message};
use async_nats::{Client, ConnectOptions};
use async_trait::async_trait;
use colophon_provers::worker::{Source, SourceError};
use colophon_provers::{Artefact, Failure, Job, JobId, Leased, Progress};
use colophon_receipt::merkle::sha256;
use colophon_receipt::receipt::Bytes as Base64;
use futures_util::StreamExt as _;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::{Mutex, OnceCell};

const JOBS: &str = "COLOPHON-JOBS";
const SAID: &str = "COLOPHON-SAID";
/// A job goes to another worker when nothing was heard of it for so long.
const ACK_WAIT: Duration = Duration::from_secs(60);
/// So often it is given to a worker before its owner has to hand it out again.
const DELIVERIES: i64 = 3;
/// Messages are kept no longer, nor are jobs.
const MAX_AGE: Duration = Duration::from_secs(7 * 86_400);
/// Messages of a stream, at most.
const MAX_MESSAGES: i64 = 100_000;
/// How long a worker waits for a job of one backend before it asks for the next one's.
const WAIT: Duration = Duration::from_millis(500);
/// A token's file is never longer.
const MAX_TOKEN: usize = 4096;

/// What the provers' file says.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct NatsPart {
    /// `nats://host:port` or `tls://host:port`.
    url: String,
    /// Of this `serve` among those that share the server.
    #[serde(default = "colophon")]
    name: String,
    token_file: Option<PathBuf>,
    ca: Option<PathBuf>,
}

fn colophon() -> String {
    "colophon".into()
}

/// A NATS server, not yet connected to.
#[derive(Clone)]
pub(super) struct Nats {
    url: String,
    /// Whose jobs are handed out there.
    name: String,
    token: Option<String>,
    tls: rustls::ClientConfig,
}

/// What is handed out.
#[derive(Serialize, Deserialize)]
struct Handed {
    owner: String,
    job: Job,
}

/// What a worker says of a job.
#[derive(Serialize, Deserialize)]
struct Said {
    job: JobId,
    /// Which of its tries is meant.
    tries: u32,
    word: Word,
}

impl NatsPart {
    /// Checks it. Files are from `folder`.
    pub(super) fn read(self, folder: &Path) -> anyhow::Result<Nats> {
        let letters = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        anyhow::ensure!(
            (1..=64).contains(&self.name.len()) && self.name.bytes().all(letters),
            "`name` has 1 to 64 letters, digits, - and _"
        );
        let schemes = ["nats://", "tls://"];
        anyhow::ensure!(
            schemes.iter().any(|scheme| self.url.starts_with(scheme)),
            "`{}`: nats://host:port or tls://host:port is needed",
            self.url
        );
        let token = |path: &PathBuf| files::read_text(&folder.join(path), MAX_TOKEN);
        let token = self.token_file.as_ref().map(token).transpose().context("`tokenFile`")?;
        let ca = self.ca.as_ref().map(|path| folder.join(path));
        Ok(Nats {
            url: self.url,
            name: self.name,
            token: token.map(|token| token.trim().to_owned()),
            tls: crate::tls::roots_config(ca.as_deref())?,
        })
    }
}

/// The subject of what is handed out for a backend: names may have any letters, subjects may not.
fn jobs_of(backend: &str) -> String {
    format!("colophon.jobs.{}", tag(backend))
}

/// The name of those who take a backend's jobs.
fn takers_of(backend: &str) -> String {
    format!("workers-{}", tag(backend))
}

fn tag(backend: &str) -> String {
    hex::encode(&sha256(backend.as_bytes())[..8])
}

fn said_to(owner: &str) -> String {
    format!("colophon.said.{owner}")
}

impl Nats {
    /// The name of the one who reads what is said to this `serve`.
    fn own(&self) -> String {
        format!("serve-{}", self.name)
    }

    /// Connects, and sees that both streams are there.
    async fn connect(&self) -> anyhow::Result<Streams> {
        let mut options = ConnectOptions::new().name("colophon").tls_client_config(self.tls.clone());
        if let Some(token) = &self.token {
            options = options.token(token.clone());
        }
        let client = options.connect(self.url.as_str()).await.with_context(|| self.url.clone())?;
        let context = async_nats::jetstream::new(client.clone());
        let config = |name: &str, subjects: &str| stream::Config {
            name: name.into(),
            subjects: vec![subjects.into()],
            retention: RetentionPolicy::WorkQueue,
            storage: StorageType::File,
            discard: DiscardPolicy::New,
            max_messages: MAX_MESSAGES,
            max_age: MAX_AGE,
            ..stream::Config::default()
        };
        let jobs = context.get_or_create_stream(config(JOBS, "colophon.jobs.*")).await.context(JOBS)?;
        let said = context.get_or_create_stream(config(SAID, "colophon.said.*")).await.context(SAID)?;
        Ok(Streams { client, context, jobs, said })
    }
}

/// A server that is connected to.
struct Streams {
    client: Client,
    context: Context,
    jobs: stream::Stream,
    said: stream::Stream,
}

impl Streams {
    /// Puts a message into a stream; it is there when this returns its number.
    async fn publish(
        &self,
        subject: String,
        id: &str,
        message: &impl Serialize,
    ) -> Result<u64, PublishError> {
        let message = serde_json::to_vec(message)
            .map_err(|error| PublishError::with_source(PublishErrorKind::Other, error))?;
        let published =
            async_nats::jetstream::message::PublishMessage::build().payload(message.into()).message_id(id);
        Ok(self.context.send_publish(subject, published).await?.await?.sequence)
    }

    /// Whether this job is still under the number that it was published under.
    async fn has(&self, number: u64, id: JobId) -> anyhow::Result<bool> {
        match self.jobs.get_raw_message(number).await {
            // The stream may be another one, with other jobs under the same numbers.
            Ok(message) => {
                let handed = serde_json::from_slice::<Handed>(&message.payload);
                Ok(handed.is_ok_and(|handed| handed.job.id == id))
            }
            Err(error) if matches!(error.kind(), RawMessageErrorKind::NoMessageFound) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// The number up to which jobs of a backend were given to workers; 0 where there were none yet.
    async fn taken(&self, backend: &str) -> anyhow::Result<u64> {
        match self.jobs.consumer_info(takers_of(backend)).await {
            Ok(info) => Ok(info.delivered.stream_sequence),
            Err(error) if matches!(error.kind(), ConsumerInfoErrorKind::NotFound) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether this reader of what is said has taken in all that is there, what it was given and did not acknowledge included.
    async fn all_heard(&self, reader: &str) -> anyhow::Result<bool> {
        let info = self.said.consumer_info(reader).await?;
        Ok(info.num_pending == 0 && info.num_ack_pending == 0)
    }

    /// Those who read a subject of a stream, each message once.
    async fn consumer(
        stream: &stream::Stream,
        name: &str,
        subject: String,
        deliveries: i64,
    ) -> anyhow::Result<PullConsumer> {
        let config = pull::Config {
            durable_name: Some(name.to_owned()),
            filter_subject: subject,
            ack_wait: ACK_WAIT,
            max_deliver: deliveries,
            ..pull::Config::default()
        };
        Ok(stream.get_or_create_consumer(name, config).await?)
    }
}

/// Where a worker takes its jobs from.
pub struct FromNats {
    nats: Nats,
    worker: String,
    streams: OnceCell<Streams>,
    held: Mutex<BTreeMap<JobId, Held>>,
}

/// A job that it has.
struct Held {
    message: Message,
    owner: String,
    tries: u32,
}

impl FromNats {
    /// For the worker of this name.
    pub(super) fn new(nats: Nats, worker: String) -> FromNats {
        FromNats { nats, worker, streams: OnceCell::new(), held: Mutex::default() }
    }

    async fn streams(&self) -> Result<&Streams, SourceError> {
        self.streams.get_or_try_init(|| self.nats.connect()).await.map_err(away)
    }

    /// The next message of a backend, if there is one within a moment.
    async fn next(&self, backend: &str) -> anyhow::Result<Option<Message>> {
        let streams = self.streams().await?;
        let name = takers_of(backend);
        let consumer = Streams::consumer(&streams.jobs, &name, jobs_of(backend), DELIVERIES).await?;
        let mut messages = consumer.batch().max_messages(1).expires(WAIT).messages().await?;
        messages.next().await.transpose().map_err(|error| anyhow::anyhow!("{error}"))
    }

    /// Says a word of a job; `last`: it is let go with it.
    async fn say(&self, id: JobId, word: Word, last: bool) -> Result<(), SourceError> {
        let mut all = self.held.lock().await;
        let held = all.get(&id).ok_or(SourceError::Gone)?;
        let streams = self.streams().await?;
        // A word that was said already is not said twice where the answer was lost.
        let number = match &word {
            Word::Renew(_) => format!("{id}-{}-{}", held.tries, colophon_provers::local::now()),
            Word::Proven(_) | Word::Failed(_) => format!("{id}-{}-end", held.tries),
        };
        let said = Said { job: id, tries: held.tries, word };
        streams.publish(said_to(&held.owner), &number, &said).await.map_err(away)?;
        let kind = if last { AckKind::Ack } else { AckKind::Progress };
        held.message.ack_with(kind).await.map_err(|error| SourceError::Away(error.to_string()))?;
        if last {
            all.remove(&id);
        }
        Ok(())
    }
}

fn away(error: impl Into<anyhow::Error>) -> SourceError {
    SourceError::Away(format!("{:#}", error.into()))
}

#[async_trait]
impl Source for FromNats {
    async fn lease(&self, backends: &[&str]) -> Result<Option<Leased>, SourceError> {
        for backend in backends {
            let Some(message) = self.next(backend).await.map_err(away)? else { continue };
            let Ok(Handed { owner, job }) = serde_json::from_slice::<Handed>(&message.payload) else {
                // Nobody could take it, however often it comes.
                message
                    .ack_with(AckKind::Term)
                    .await
                    .map_err(|error| SourceError::Away(error.to_string()))?;
                continue;
            };
            let until =
                colophon_provers::local::now() + u64::try_from(ACK_WAIT.as_micros()).unwrap_or(u64::MAX);
            self.held.lock().await.insert(job.id, Held { message, owner, tries: job.tries });
            let (id, progress) = (job.id, Progress { stage: "begun".into(), ..Progress::default() });
            self.renew(id, progress).await?;
            return Ok(Some(Leased { job, until }));
        }
        Ok(None)
    }

    async fn renew(&self, id: JobId, progress: Progress) -> Result<(), SourceError> {
        let word = Word::Renew(Renew { worker: self.worker.clone(), progress });
        self.say(id, word, false).await
    }

    async fn proven(&self, id: JobId, artefact: &Artefact, bytes: Vec<u8>) -> Result<(), SourceError> {
        let most = self.streams().await?.client.server_info().max_payload;
        // In base64, with what is around it.
        if bytes.len() / 3 * 4 + 4096 > most {
            let message =
                format!("an artefact of {} bytes; the NATS server takes messages of {most}", bytes.len());
            let failure = Failure { code: "limit".into(), message };
            return self.failed(id, failure, false, artefact.cpu_seconds).await;
        }
        let (worker, artefact) = (self.worker.clone(), artefact.clone());
        self.say(id, Word::Proven(Proven { worker, artefact, bytes: Base64(bytes) }), true).await
    }

    async fn failed(
        &self,
        id: JobId,
        failure: Failure,
        again: bool,
        cpu_seconds: f64,
    ) -> Result<(), SourceError> {
        let worker = self.worker.clone();
        self.say(id, Word::Failed(Failed { worker, failure, again, cpu_seconds }), true).await
    }
}
