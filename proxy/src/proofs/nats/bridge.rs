//! The side of `serve`: hands out the jobs of its queue, and takes in what workers say of them.

use super::super::{Proving, WORKER};
use super::{Handed, Nats, Said, Streams, Word, jobs_of, said_to};
use async_nats::jetstream::{AckKind, Message};
use colophon_provers::local::{StoreError, now};
use colophon_provers::{Failure, Job, JobId, Progress, QueueError};
use futures_util::StreamExt as _;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// Jobs handed out at the same time; the others wait here.
const MOST: usize = 64;
/// How often it is looked for more.
const EVERY: Duration = Duration::from_secs(1);
/// How often the leases of what is handed out are renewed.
const RENEW: Duration = Duration::from_secs(10);
/// A job of which a worker once said something has failed its try after so long a silence: no worker has taken it over.
const SILENCE: Duration = Duration::from_secs(240);
/// How long it is waited before the server is asked again.
const PAUSE: Duration = Duration::from_secs(5);

/// A job that is handed out.
struct Out {
    job: Job,
    published: bool,
    /// When a worker last said something of it.
    heard: Option<Instant>,
    progress: Progress,
}

/// All of them, and when their leases were renewed.
struct Outside {
    jobs: BTreeMap<JobId, Out>,
    renewed: Instant,
}

impl Proving {
    /// Until `stop`: jobs for workers elsewhere go through the NATS server.
    pub(in super::super) async fn bridge(self: Arc<Self>, nats: Nats, stop: CancellationToken) {
        let mut outside = Outside { jobs: BTreeMap::new(), renewed: Instant::now() };
        loop {
            let ended = tokio::select! {
                ended = self.bridged(&nats, &mut outside) => ended,
                () = stop.cancelled() => return,
            };
            if let Err(error) = ended {
                tracing::warn!(
                    error = format!("{error:#}"),
                    "the NATS server of the proofs is away; it is asked again"
                );
            }
            // What is handed out stays so: its leases go on.
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => {}
                () = stop.cancelled() => return,
            }
            if let Err(error) = self.renew_outside(&mut outside).await {
                tracing::error!(%error, "the queue of proofs cannot be written");
            }
        }
    }

    async fn bridged(&self, nats: &Nats, outside: &mut Outside) -> anyhow::Result<()> {
        let streams = nats.connect().await?;
        let own = format!("serve-{}", nats.name);
        let consumer = Streams::consumer(&streams.said, &own, said_to(&nats.name), -1).await?;
        let mut words = consumer.messages().await?;
        tracing::info!(url = nats.url, "jobs are handed out through a NATS server");
        loop {
            self.hand_out(nats, &streams, outside).await?;
            if outside.renewed.elapsed() >= RENEW {
                self.renew_outside(outside).await?;
            }
            tokio::select! {
                word = words.next() => match word {
                    Some(Ok(message)) => self.heard(message, outside).await?,
                    Some(Err(error)) => anyhow::bail!("{error}"),
                    None => anyhow::bail!("it says nothing more"),
                },
                () = tokio::time::sleep(EVERY) => {}
            }
        }
    }

    async fn hand_out(&self, nats: &Nats, streams: &Streams, outside: &mut Outside) -> anyhow::Result<()> {
        let names: Vec<String> = self.provers.backends().map(|backend| backend.name().to_owned()).collect();
        while outside.jobs.len() < MOST {
            let names = names.clone();
            let leased = self.store.beside(move |store| {
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                Ok(store.queue.lease(&bridge(), &names, now())?)
            });
            let Some(leased) = leased.await? else { break };
            let job = leased.job;
            let out = Out { job, published: false, heard: None, progress: Progress::default() };
            outside.jobs.insert(out.job.id, out);
        }
        for out in outside.jobs.values_mut().filter(|out| !out.published) {
            // The server knows a number that it had a moment ago, and takes it once.
            let number = format!("{}-{}", out.job.id, out.job.tries);
            let handed = Handed { owner: nats.name.clone(), job: out.job.clone().for_a_worker() };
            streams.publish(jobs_of(&out.job.request.backend), &number, &handed).await?;
            out.published = true;
        }
        Ok(())
    }

    /// Renews the leases of what is handed out, and gives up on what nobody says anything of any more.
    async fn renew_outside(&self, outside: &mut Outside) -> Result<(), StoreError> {
        outside.renewed = Instant::now();
        let mut over = Vec::new();
        for (id, out) in &outside.jobs {
            let (id, progress) = (*id, out.progress.clone());
            let silent = out.heard.is_some_and(|heard| heard.elapsed() > SILENCE);
            let done = self.store.beside(move |store| {
                if silent {
                    let message = "nothing was heard of its workers any more".to_owned();
                    let failure = Failure { code: "lease".into(), message };
                    return Ok(store.queue.failed(id, &bridge(), failure, true, 0.0, now()).map(drop)?);
                }
                Ok(store.queue.renew(id, &bridge(), progress, now()).map(drop)?)
            });
            match done.await {
                Ok(()) if !silent => {}
                Ok(()) | Err(StoreError::Queue(QueueError::NotLeased(_) | QueueError::Unknown(_))) => {
                    over.push(id)
                }
                Err(error) => return Err(error),
            }
        }
        over.iter().for_each(|id| drop(outside.jobs.remove(id)));
        Ok(())
    }

    /// Takes in what a worker says.
    async fn heard(&self, message: Message, outside: &mut Outside) -> anyhow::Result<()> {
        match serde_json::from_slice::<Said>(&message.payload) {
            Ok(said) => self.take_in(said, outside).await?,
            Err(error) => {
                tracing::warn!(%error, "what somebody says in the NATS server is no word of a worker")
            }
        }
        // Said once, however it was taken.
        message.ack_with(AckKind::Ack).await.map_err(|error| anyhow::anyhow!("{error}"))
    }

    async fn take_in(&self, said: Said, outside: &mut Outside) -> Result<(), StoreError> {
        let id = said.job;
        let Some(out) = outside.jobs.get_mut(&id) else { return Ok(()) };
        let current = out.job.tries == said.tries;
        let done = match said.word {
            Word::Renew(renew) => {
                if current {
                    (out.heard, out.progress) = (Some(Instant::now()), renew.progress);
                }
                return Ok(());
            }
            Word::Failed(_) if !current => return Ok(()),
            Word::Failed(failed) => {
                let (failure, again, cpu) = (failed.failure, failed.again, failed.cpu_seconds);
                let work = self.store.beside(move |store| {
                    Ok(store.queue.failed(id, &bridge(), failure, again, cpu, now()).map(drop)?)
                });
                work.await
            }
            // A proof is one, whichever try made it.
            Word::Proven(proven) if proven.is_what_it_names() => {
                let (artefact, bytes) = (proven.artefact, proven.bytes.0);
                let taken =
                    self.store.beside(move |store| store.proven(id, &bridge(), artefact, &bytes, now()));
                taken.await.map(|cpu_seconds| {
                    self.counted.cpu_seconds.inc_by(cpu_seconds);
                })
            }
            Word::Proven(_) => {
                tracing::warn!(job = %id, "a worker hands in bytes that are not the artefact that it names");
                return Ok(());
            }
        };
        match done {
            Ok(()) | Err(StoreError::Queue(QueueError::NotLeased(_) | QueueError::Unknown(_))) => {}
            Err(error) => return Err(error),
        }
        outside.jobs.remove(&id);
        self.ended.notify_one();
        Ok(())
    }
}

/// The name under which what is handed out is leased.
fn bridge() -> String {
    format!("{WORKER}nats")
}
