//! The task beside the keeper: every new checkpoint to every witness, none of them waited for by anybody else.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use colophon_signer::note::NoteSignature;
use colophon_signer::policy::TlogPolicy;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::client::{Client, Refusal};
use super::kept::is_met;
use super::{Kept, WitnessStatus, Witnessing};
use crate::head::SignedHead;
use crate::log::{Log, Publication, Veto};
use crate::prove::LogReader;
use crate::store::StoreError;

/// At the start, witnesses are asked before anything is signed; one that says nothing for so long is not waited for.
const FIRST_ROUND: Duration = Duration::from_secs(5);
/// Before a contradiction is believed, the witness is asked once more, after this.
const SECOND_LOOK: Duration = Duration::from_secs(2);
/// A witness that fails is asked again after `every`, twice that, and so on up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// A contradiction is told again this often.
const TELL_AGAIN: Duration = Duration::from_secs(60);

/// The witnesses of a log and what they have cosigned.
pub(crate) struct Witnesses {
    asked: Vec<Asked>,
    every: Duration,
    reader: LogReader,
    desk: Desk,
    /// The newest head that was submitted, with the cosignatures that came for it.
    current: Option<SignedHead>,
    told: Option<Instant>,
}

/// A witness and when it is asked again.
struct Asked {
    client: Client,
    place: usize,
    /// The size it has cosigned for us.
    done: u64,
    pause: Duration,
    not_before: Instant,
    /// Contradictions in a row.
    strikes: u32,
}

/// What becomes of answers.
struct Desk {
    policy: Arc<TlogPolicy>,
    publication: Publication,
    veto: Veto,
    kept: Kept,
    status: WitnessStatus,
}

impl Witnesses {
    /// The witnesses of `witnessing` for `log`, with what was kept of earlier lives.
    pub(crate) async fn new(witnessing: &Witnessing, log: &Log) -> Result<Witnesses, StoreError> {
        let policy = witnessing.policy.clone();
        let clients = policy.witnesses.iter().filter_map(|witness| {
            let url = witness.url.as_deref()?;
            Some(Client::new(witness.key.clone(), url, witnessing.post.clone()))
        });
        let not_before = Instant::now();
        let asked = |(place, client)| Asked {
            client,
            place,
            done: 0,
            pause: witnessing.every,
            not_before,
            strikes: 0,
        };
        let asked: Vec<Asked> = clients.enumerate().map(asked).collect();
        let status = WitnessStatus::new(asked.iter().map(|asked| asked.client.key.name().to_owned()));
        let (publication, kept) = (log.publication(), Kept::default());
        kept.load(&publication, &policy).await?;
        if let Some(newest) = kept.newest() {
            status.met(newest.size());
        }
        Ok(Witnesses {
            asked,
            every: witnessing.every,
            reader: log.reader(),
            desk: Desk { policy, publication, veto: log.veto(), kept, status },
            current: None,
            told: None,
        })
    }

    pub(crate) fn kept(&self) -> Kept {
        self.desk.kept.clone()
    }

    pub(crate) fn status(&self) -> WitnessStatus {
        self.desk.status.clone()
    }

    /// Asks every witness about the head that the log had when it was opened, before more is signed. A witness that has
    /// seen another history keeps the log from opening; one that cannot be reached does not.
    ///
    /// # Errors
    /// The contradiction, in a sentence.
    pub(crate) async fn first_round(&mut self, head: &SignedHead) -> Result<(), String> {
        if timeout(FIRST_ROUND, self.round(head)).await.is_err() {
            tracing::warn!(waited = ?FIRST_ROUND, "not every witness answered at the start; they are asked again");
        }
        if self.asked.iter().any(|asked| asked.strikes > 0) {
            sleep(SECOND_LOOK).await;
            // Only the one that objected is due again so soon.
            let _ = timeout(FIRST_ROUND, self.round(head)).await;
        }
        self.desk.veto.reason().map_or(Ok(()), |why| Err(why.to_owned()))
    }

    /// Submits heads as they come, until it is dropped.
    pub(crate) async fn run(mut self, mut heads: watch::Receiver<Arc<SignedHead>>) {
        loop {
            let head = heads.borrow_and_update().clone();
            self.round(&head).await;
            self.tell();
            sleep(self.every).await;
            // Where somebody has still to cosign this one, it is tried again, or a newer one.
            let waiting = self.asked.iter().any(|asked| asked.done < head.size());
            if !waiting && heads.changed().await.is_err() {
                return;
            }
        }
    }

    fn tell(&mut self) {
        let due = self.told.is_none_or(|told| told.elapsed() >= TELL_AGAIN);
        if let Some(why) = self.desk.veto.reason().filter(|_| due) {
            tracing::error!("CONTRADICTION, nothing more is signed: {why}");
            self.told = Some(Instant::now());
        }
    }

    /// Submits `head` to everyone who has not cosigned it and is not to be left alone for a while.
    async fn round(&mut self, head: &SignedHead) {
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let Witnesses { asked, every, reader, desk, current, .. } = self;
        let now = Instant::now();
        let mut answers: FuturesUnordered<_> = asked
            .iter_mut()
            .filter(|asked| asked.done < head.size() && asked.not_before <= now)
            .map(async |asked| {
                let answer = asked.client.submit(head, reader, time).await;
                (asked, answer)
            })
            .collect();
        let same = |current: &SignedHead| current.checkpoint == head.checkpoint;
        let mut cosigned = current.take().filter(same).unwrap_or_else(|| head.clone());
        let (mut changed, mut met) = (false, false);
        while let Some((asked, answer)) = answers.next().await {
            match answer {
                Ok(line) => {
                    asked.cosigned(head.size(), *every);
                    desk.status.update(asked.place, |counts| {
                        counts.cosigned += 1;
                        (counts.size, counts.at, counts.contradicts) = (head.size(), time, false);
                    });
                    cosigned = with(cosigned, line);
                    changed = true;
                    // Those who are slow do not keep the quorum waiting.
                    if !met && desk.is_enough(&cosigned) {
                        (met, changed) = (true, !desk.store(&cosigned).await);
                    }
                }
                Err(refusal) => {
                    asked.refused(*every);
                    desk.refused(asked, &refusal, head).await;
                }
            }
        }
        if changed {
            desk.store(&cosigned).await;
        }
        *current = Some(cosigned);
    }
}

impl Asked {
    fn cosigned(&mut self, size: u64, every: Duration) {
        (self.done, self.pause, self.strikes) = (size, every, 0);
    }

    fn refused(&mut self, every: Duration) {
        self.not_before = Instant::now() + self.pause;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE.max(every));
    }
}

impl Desk {
    fn is_enough(&self, head: &SignedHead) -> bool {
        self.policy.needs_witnesses() && is_met(&self.policy, head)
    }

    /// Keeps and publishes a cosigned head. What fails is made up for by the next head.
    async fn store(&self, cosigned: &SignedHead) -> bool {
        let kept = self.kept.keep(&self.publication, &self.policy, cosigned).await;
        let published = self.publication.cosign(cosigned).await;
        match kept.and_then(|met| published.map(|()| met)) {
            Ok(met) => {
                if met {
                    self.status.met(cosigned.size());
                }
                true
            }
            Err(error) => {
                tracing::warn!(%error, size = cosigned.size(), "cosignatures could not be stored");
                false
            }
        }
    }

    /// Takes a refusal in. What contradicts this log is believed the second time, and then stops all signing.
    async fn refused(&self, asked: &mut Asked, refusal: &Refusal, head: &SignedHead) {
        let name = asked.client.key.name().to_owned();
        self.status.update(asked.place, |counts| counts.failed += 1);
        let other_history = match refusal {
            Refusal::Fork(_) => true,
            // Another writer of the same store may be ahead of this one.
            Refusal::Larger(size) => {
                matches!(self.publication.published_size().await, Ok(published) if published < *size)
            }
            Refusal::Unknown(_) | Refusal::Failed(_) => {
                tracing::warn!(witness = name, size = head.size(), "no cosignature: {refusal}");
                return;
            }
        };
        if !other_history {
            asked.strikes = 0;
            return;
        }
        asked.strikes += 1;
        asked.not_before = Instant::now() + SECOND_LOOK;
        tracing::error!(witness = name, size = head.size(), "a witness contradicts this log: {refusal}");
        if asked.strikes > 1 {
            self.status.update(asked.place, |counts| counts.contradicts = true);
            self.veto.set(format!(
                "the witness {name} was asked about the checkpoint of {} leaves and says: {refusal}. So this log's key \
                 has signed another history: the data and state folders are older copies, or somebody else signs with \
                 the key. Put back the newest folders, or start a new log with a new key. If it is the witness that is \
                 wrong, take it out of --witness-policy",
                head.size()
            ));
        }
    }
}

/// The head with one more line; an older one of the same key goes.
fn with(head: SignedHead, line: NoteSignature) -> SignedHead {
    let mut lines = head.other_lines();
    lines.retain(|old| (&old.name, old.id) != (&line.name, line.id));
    lines.push(line);
    head.with_cosignatures(&lines).unwrap_or(head)
}
