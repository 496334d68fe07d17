//! The task beside the keeper: the newest checkpoint to every TSA, none of them waited for by anybody else.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use colophon_signer::rfc3161::Roots;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};

use super::client::{Client, Verified};
use super::kept::imprint;
use super::{AnchorStatus, Anchors, DatedNow, Timestamping};
use crate::head::SignedHead;
use crate::store::StoreError;
use crate::witness::Kept;

/// After a start the first checkpoint is dated this soon: so that its shard is in it.
const FIRST: Duration = Duration::from_secs(2);
/// A TSA that fails is asked again after this, twice that, and so on up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(2);
/// See [`FIRST_PAUSE`].
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// A token's time may differ by so many µs from this machine's clock; one that is further off is no beacon.
const CLOCK_TOLERANCE: u64 = 300_000_000;
/// Demands that may wait.
const DEMANDS: usize = 16;

/// Somebody wants the newest checkpoint dated now.
pub(crate) type Demand = oneshot::Sender<DatedNow>;

/// The TSAs of a log.
pub(crate) struct Anchoring {
    asked: Vec<Asked>,
    roots: Roots,
    every: Duration,
    anchors: Anchors,
    status: AnchorStatus,
    cosigned: Kept,
    demands: mpsc::Receiver<Demand>,
}

/// A TSA and when it is asked again.
struct Asked {
    client: Client,
    place: usize,
    /// The size that it has dated.
    done: u64,
    pause: Duration,
    not_before: Instant,
    /// What went wrong last.
    error: String,
}

impl Anchoring {
    /// The TSAs of `timestamping`, and how to demand something of them. The newest token that an earlier life stored is
    /// the beacon again.
    pub(crate) async fn new(
        timestamping: &Timestamping,
        anchors: Anchors,
        cosigned: Kept,
    ) -> Result<(Anchoring, mpsc::Sender<Demand>), StoreError> {
        let mut asked: Vec<Asked> = Vec::new();
        for url in &timestamping.urls {
            let client = Client::new(url, timestamping.post.clone());
            if asked.iter().all(|known| known.client.name != client.name) {
                let (place, not_before) = (asked.len(), Instant::now());
                asked.push(Asked {
                    client,
                    place,
                    done: 0,
                    pause: FIRST_PAUSE,
                    not_before,
                    error: String::new(),
                });
            }
        }
        anchors.find_beacon(&timestamping.roots, now().saturating_add(CLOCK_TOLERANCE)).await?;
        let status = AnchorStatus::new(asked.iter().map(|asked| asked.client.name.clone()));
        let (sender, demands) = mpsc::channel(DEMANDS);
        let (roots, every) = (timestamping.roots.clone(), timestamping.every);
        Ok((Anchoring { asked, roots, every, anchors, status, cosigned, demands }, sender))
    }

    pub(crate) fn status(&self) -> AnchorStatus {
        self.status.clone()
    }

    /// Has heads dated until it is dropped; first the ends of generations that ended before anybody dated them, since
    /// nothing later in this log would.
    pub(crate) async fn run(
        mut self,
        heads: watch::Receiver<Arc<SignedHead>>,
        mut ended: Vec<(SignedHead, Anchors)>,
    ) {
        let mut due = Instant::now() + FIRST;
        let mut target: Option<Arc<SignedHead>> = None;
        loop {
            let again = target.as_ref().and_then(|target| self.again(target.size()));
            let demand = tokio::select! {
                () = sleep_until(again.map_or(due, |again| again.min(due))) => None,
                Some(demand) = self.demands.recv() => Some(demand),
            };
            if demand.is_some() || Instant::now() >= due {
                target = Some(self.choose(&heads.borrow(), target.as_deref()));
                due = Instant::now() + self.every;
                let mut left = Vec::new();
                for (end, anchors) in ended {
                    if !self.date_end(&end, &anchors).await {
                        left.push((end, anchors));
                    }
                }
                ended = left;
            }
            let Some(head) = &target else { continue };
            self.round(head, demand.is_some()).await;
            if let Some(demand) = demand {
                let _ = demand.send(self.dated(head.size()));
            }
        }
    }

    /// The newest head; before that the newest cosigned one, so that time and uniqueness meet in one checkpoint, unless
    /// the witnesses have stopped.
    fn choose(&self, newest: &Arc<SignedHead>, last: Option<&SignedHead>) -> Arc<SignedHead> {
        let last = last.map_or(0, SignedHead::size);
        self.cosigned.newest().filter(|head| head.size() > last).unwrap_or_else(|| newest.clone())
    }

    /// When the next TSA that has not dated this size is to be asked again.
    fn again(&self, size: u64) -> Option<Instant> {
        self.asked.iter().filter(|asked| asked.done != size).map(|asked| asked.not_before).min()
    }

    /// Asks every TSA that has not dated `head` and is not to be left alone for a while.
    async fn round(&mut self, head: &SignedHead, demanded: bool) {
        let Some(imprint) = imprint(head) else { return };
        let Anchoring { asked, roots, anchors, status, .. } = self;
        let now = Instant::now();
        let mut answers: FuturesUnordered<_> = asked
            .iter_mut()
            .filter(|asked| asked.done != head.size() && (demanded || asked.not_before <= now))
            .map(async |asked| {
                let answer = match anchors.has(head.size(), &asked.client.name).await {
                    Ok(true) => Ok(None),
                    Ok(false) => asked.client.ask(imprint, roots).await.map(Some),
                    Err(error) => Err(error.to_string()),
                };
                (asked, answer)
            })
            .collect();
        while let Some((asked, answer)) = answers.next().await {
            let kept = match answer {
                Ok(Some(token)) => keep(anchors, status, head, asked, &token).await,
                // An earlier life, or another process, has it already.
                Ok(None) => Ok(()),
                Err(why) => Err(why),
            };
            match kept {
                Ok(()) => (asked.done, asked.pause, asked.error) = (head.size(), FIRST_PAUSE, String::new()),
                Err(why) => {
                    status.update(asked.place, |counts| counts.failed += 1);
                    tracing::warn!(tsa = asked.client.name, size = head.size(), again_in = ?asked.pause, "no timestamp: {why}");
                    asked.not_before = Instant::now() + asked.pause;
                    asked.pause = (asked.pause * 2).min(LONGEST_PAUSE);
                    asked.error = why;
                }
            }
        }
    }

    /// Has the last checkpoint of an earlier generation dated by those TSAs that have not. True if all have.
    async fn date_end(&self, end: &SignedHead, anchors: &Anchors) -> bool {
        let Some(imprint) = imprint(end) else { return true };
        let date = async |name: &str, client: &Client| -> Result<(), String> {
            if anchors.has(end.size(), name).await.map_err(|error| error.to_string())? {
                return Ok(());
            }
            let token = client.ask(imprint, &self.roots).await?;
            anchors.keep(end, name, &token).await.map_err(|error| error.to_string())
        };
        let mut all = true;
        for Asked { client, .. } in &self.asked {
            if let Err(why) = date(&client.name, client).await {
                let log = &end.checkpoint.origin;
                tracing::warn!(
                    tsa = client.name,
                    log,
                    "no timestamp for the end of an earlier generation: {why}"
                );
                all = false;
            }
        }
        all
    }

    fn dated(&self, size: u64) -> DatedNow {
        let (done, failed): (Vec<&Asked>, Vec<&Asked>) =
            self.asked.iter().partition(|asked| asked.done == size);
        DatedNow {
            size,
            dated: done.iter().map(|asked| asked.client.name.clone()).collect(),
            failed: failed.iter().map(|asked| (asked.client.name.clone(), asked.error.clone())).collect(),
        }
    }
}

/// Stores a token and, if its time is believable, makes it the beacon.
async fn keep(
    anchors: &Anchors,
    status: &AnchorStatus,
    head: &SignedHead,
    asked: &Asked,
    token: &Verified,
) -> Result<(), String> {
    anchors.keep(head, &asked.client.name, token).await.map_err(|error| error.to_string())?;
    let off = token.time.abs_diff(now());
    let far_off = off > CLOCK_TOLERANCE;
    status.update(asked.place, |counts| {
        counts.tokens += 1;
        (counts.size, counts.time, counts.far_off) = (head.size(), token.time, far_off);
    });
    if far_off {
        tracing::warn!(
            tsa = asked.client.name,
            seconds = off / 1_000_000,
            "the timestamp's time is far from this machine's clock: one of the two is wrong, and no statement names it"
        );
        return Ok(());
    }
    anchors.light(token).await.map_err(|error| error.to_string())
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
