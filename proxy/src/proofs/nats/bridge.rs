//! The side of `serve`: hands out the jobs of its queue, and takes in what workers say of them.

use super::super::word::{Failed, Word, WordError};
use super::super::{Proving, WORKER};
use super::{Handed, Nats, Said, Streams, jobs_of, said_to};
use async_nats::jetstream::context::PublishErrorKind;
use async_nats::jetstream::{AckKind, Message};
use colophon_provers::local::{StoreError, now};
use colophon_provers::{Failure, Job, JobId, Progress, QueueError};
use futures_util::StreamExt as _;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// Jobs of a backend handed out at the same time; the others wait here. Those that nobody takes hold up no other backend's.
const MOST: usize = 64;
/// How often it is looked for more.
const EVERY: Duration = Duration::from_secs(1);
/// How often the leases of what is handed out are renewed.
const RENEW: Duration = Duration::from_secs(10);
/// A job of which a worker once said something has failed its try after so long a silence: no worker has taken it over.
const SILENCE: Duration = Duration::from_secs(240);
/// How often it is looked whether what nobody has said anything of is still there to be taken.
const LOOK: Duration = Duration::from_secs(60);
/// A job that the server did not take is offered again after so long.
const AGAIN: Duration = Duration::from_secs(30);
/// How long it is waited before the server is asked again.
const PAUSE: Duration = Duration::from_secs(5);

/// A job that is handed out.
struct Out {
    job: Job,
    /// The number that it has in the stream, once it is there.
    published: Option<u64>,
    /// It is not published before then: the server did not take it.
    not_before: Option<Instant>,
    /// How often it was lost from there.
    lost: u32,
    /// When a worker last said something of it.
    heard: Option<Instant>,
    progress: Progress,
}

/// All of them, when their leases were renewed, and when they are next looked for in the stream.
struct Outside {
    jobs: BTreeMap<JobId, Out>,
    renewed: Instant,
    look: Instant,
}

impl Out {
    fn new(job: Job) -> Out {
        Out { job, published: None, not_before: None, lost: 0, heard: None, progress: Progress::default() }
    }

    /// What was silent until now counts as heard of, if it ever was: it begins anew to be silent.
    fn is_heard_from_now(&mut self) {
        self.heard = self.heard.map(|_| Instant::now());
    }
}

impl Proving {
    /// Until `stop`: jobs for workers elsewhere go through the NATS server.
    pub(in super::super) async fn bridge(self: Arc<Self>, nats: Nats, stop: CancellationToken) {
        let now = Instant::now();
        let mut outside = Outside { jobs: BTreeMap::new(), renewed: now, look: now };
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
            // Nor is their silence theirs: nothing could be heard of them.
            outside.jobs.values_mut().for_each(Out::is_heard_from_now);
            if let Err(error) = self.renew_outside(&mut outside).await {
                tracing::error!(%error, "the queue of proofs cannot be written");
            }
        }
    }

    async fn bridged(&self, nats: &Nats, outside: &mut Outside) -> anyhow::Result<()> {
        let streams = nats.connect().await?;
        let own = nats.own();
        let consumer = Streams::consumer(&streams.said, &own, said_to(&nats.name), -1).await?;
        let mut words = consumer.messages().await?;
        tracing::info!(url = nats.url, "jobs are handed out through a NATS server");
        outside.jobs.values_mut().for_each(Out::is_heard_from_now);
        // It may be one that has lost what it had.
        outside.look = Instant::now();
        loop {
            if Instant::now() >= outside.look {
                self.look_after(nats, &streams, outside).await?;
            }
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
        for backend in self.provers.backends() {
            let of = |out: &&Out| out.job.request.backend == backend.name();
            let mut places = MOST.saturating_sub(outside.jobs.values().filter(of).count());
            while places > 0 {
                let name = backend.name().to_owned();
                let leased =
                    self.store.beside(move |store| Ok(store.queue.lease(&bridge(), &[&name], now())?));
                let Some(leased) = leased.await? else { break };
                let job = leased.job;
                let out = Out::new(job);
                outside.jobs.insert(out.job.id, out);
                places -= 1;
            }
        }
        let now = Instant::now();
        let mut too_long = Vec::new();
        for (id, out) in &mut outside.jobs {
            if out.published.is_some() || out.not_before.is_some_and(|time| now < time) {
                continue;
            }
            // The server knows a name that it had a moment ago, and takes it once.
            let name = format!("{}-{}-{}", out.job.id, out.job.tries, out.lost);
            let handed = Handed { owner: nats.name.clone(), job: out.job.clone().for_a_worker() };
            match streams.publish(jobs_of(&out.job.request.backend), &name, &handed).await {
                Ok(number) => out.published = Some(number),
                Err(error) => match error.kind() {
                    // It has nothing to do with this job.
                    PublishErrorKind::TimedOut | PublishErrorKind::BrokenPipe => return Err(error.into()),
                    PublishErrorKind::MaxPayloadExceeded => too_long.push((*id, error.to_string())),
                    _ => {
                        tracing::warn!(job = %id, %error, "the NATS server does not take a job; it is offered again");
                        out.not_before = Some(now + AGAIN);
                    }
                },
            }
        }
        for (id, why) in too_long {
            outside.jobs.remove(&id);
            self.cannot_be_handed_out(id, why).await?;
        }
        Ok(())
    }

    /// Ends a job that no message of the server's has room for.
    async fn cannot_be_handed_out(&self, id: JobId, why: String) -> Result<(), StoreError> {
        let message = format!("it does not fit a message of the NATS server: {why}");
        let failure = Failure { code: "limit".into(), message };
        let failed = Failed { worker: bridge(), failure, again: false, cpu_seconds: 0.0 };
        match self.take_word(id, bridge(), Word::Failed(failed)).await {
            Err(WordError::Store(error)) if !is_over(&error) => Err(error),
            // Withdrawn or past its deadline meanwhile; of bytes nothing was said.
            _ => Ok(()),
        }
    }

    /// Looks for what nobody has said anything of: what is lost is handed out again, and what somebody took without a word has its
    /// time from now on.
    async fn look_after(&self, nats: &Nats, streams: &Streams, outside: &mut Outside) -> anyhow::Result<()> {
        outside.look = Instant::now() + LOOK;
        let mut lost = Vec::new();
        for (id, out) in outside.jobs.iter_mut().filter(|(_, out)| out.heard.is_none()) {
            let Some(number) = out.published else { continue };
            if !streams.has(number, out.job.id).await? {
                lost.push(*id);
            } else if streams.taken(&out.job.request.backend).await? >= number {
                out.heard = Some(Instant::now());
            }
        }
        // A worker says how a job went before it lets go of it: what is said has to be read before the job counts as lost.
        if !lost.is_empty() && !streams.all_heard(&nats.own()).await? {
            outside.look = Instant::now() + PAUSE;
            return Ok(());
        }
        for id in lost {
            tracing::warn!(job = %id, "a job was lost from the NATS server; it is handed out again");
            if let Some(out) = outside.jobs.get_mut(&id) {
                (out.published, out.lost) = (None, out.lost + 1);
            }
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
                Ok(()) => over.push(id),
                Err(error) if is_over(&error) => over.push(id),
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
        match said.word {
            Word::Renew(renew) => {
                if current {
                    (out.heard, out.progress) = (Some(Instant::now()), renew.progress);
                }
                return Ok(());
            }
            Word::Failed(_) if !current => return Ok(()),
            // A proof is one, whichever try made it.
            word => match self.take_word(id, bridge(), word).await {
                Ok(()) => {}
                Err(WordError::Store(error)) if is_over(&error) => {}
                Err(WordError::OtherBytes) => {
                    tracing::warn!(job = %id, "a worker hands in bytes that are not the artefact that it names");
                    return Ok(());
                }
                Err(WordError::Store(error)) => return Err(error),
            },
        }
        outside.jobs.remove(&id);
        Ok(())
    }
}

/// Whether the queue says that the job is not handed out any more: it was withdrawn, say.
fn is_over(error: &StoreError) -> bool {
    matches!(error, StoreError::Queue(QueueError::NotLeased(_) | QueueError::Unknown(_)))
}

/// The name under which what is handed out is leased.
fn bridge() -> String {
    format!("{WORKER}nats")
}
