//! The task that draws: off the request path, and behind nobody's back, since all that it decides anybody can re-compute.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use colophon_receipt::Hash;
use colophon_receipt::draw::{certain, drawn};
use colophon_receipt::evidence::draw_id;
use colophon_receipt::record::RecordId;
use colophon_signer::drand::{Chain, Round};
use futures_util::stream::{self, StreamExt as _};
use tokio::time::{Instant, sleep};

use super::due::{self, Due};
use super::{Drawing, DrawnRecord, Escalation, RoundSource, rounds};
use crate::batch::{self, Batch};
use crate::ledger::keeper::{Settled, batch_name};
use crate::ledger::{Inner, Ledger, LedgerError};

/// Evidence leaves that one statement describes, about: a batch more may come on top.
const AT_ONCE: usize = 4096;
/// Records that somebody is asked to take on at once: to make a job of a long text takes a while, and holds up no other meanwhile.
const SIDE_BY_SIDE: usize = 8;
/// A round that is not there before its time is asked for again after this.
const EARLY_PAUSE: Duration = Duration::from_secs(30);
/// Without a source, only another process can put a round into the store.
const NO_SOURCE: Duration = Duration::from_secs(3600);
/// A round that should be there is asked for again after at most this.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Draws until it is dropped.
pub(crate) async fn run(ledger: Weak<Inner>, drawing: Drawing) {
    let Drawing { source, every, escalation, .. } = drawing;
    let mut task = Task { source, every, escalation, asked: HashMap::new() };
    let mut begun = false;
    loop {
        let Some(inner) = ledger.upgrade() else { return };
        let ledger = Ledger(inner);
        if !begun {
            match begin(&ledger, task.source.is_some()).await {
                Ok(()) => begun = true,
                Err(error) => {
                    tracing::warn!(%error, "what is to be drawn could not be read; it is tried again")
                }
            }
        }
        if begun {
            task.round(&ledger).await;
        }
        drop(ledger);
        sleep(task.every).await;
    }
}

/// Reads the notes that earlier lives of this name have left.
async fn begin(ledger: &Ledger, draws: bool) -> Result<(), LedgerError> {
    let inner = &ledger.0;
    // A tool that opens the ledger for something else was not told of the chain.
    if draws {
        rounds::keep_chain(&inner.objects, &inner.draws.chain).await?;
    }
    for name in inner.objects.paths(&format!("{}/{}", due::FOLDER, inner.config.name)).await? {
        let Some(bytes) = inner.objects.get(&name, due::MAX_BYTES).await? else { continue };
        match Due::read(&name, &bytes) {
            Ok(due) => inner.draws.add(due),
            Err(error) => {
                tracing::error!(name, %error, "this note of a draw cannot be read: nothing is drawn for it")
            }
        }
    }
    Ok(())
}

struct Task {
    source: Option<Arc<dyn RoundSource>>,
    every: Duration,
    escalation: Option<Arc<dyn Escalation>>,
    /// Rounds that were not there, and when they are asked for again.
    asked: HashMap<u64, (Instant, Duration)>,
}

/// How far a statement is, once its evidence is logged.
enum Step {
    Done(Due),
    /// What is drawn for certain.
    Certain(Due),
    /// What is looked at again, since evidence is still to come.
    Later(Due),
}

/// How it stands with what is drawn and gets no leaf now.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rest {
    /// There is none.
    None,
    /// Somebody makes evidence for it.
    Taken,
    /// Nobody could be asked about some of it.
    Unasked,
}

impl Task {
    /// Draws all that can be drawn now.
    async fn round(&mut self, ledger: &Ledger) {
        let inner = &ledger.0;
        let (mut turns, mut asked) = (Vec::new(), 0);
        let mut known: HashMap<u64, Option<Hash>> = HashMap::new();
        for due in inner.draws.waiting() {
            if asked >= AT_ONCE {
                break;
            }
            if !due.is_due() {
                continue;
            }
            let number = inner.draws.chain.schedule.round(due.to);
            let randomness = match known.get(&number) {
                Some(known) => *known,
                None => {
                    let found = self.randomness(ledger, number).await;
                    known.insert(number, found);
                    found
                }
            };
            if randomness.is_none() && due.certain_done {
                continue;
            }
            match drawn_of(ledger, &due, randomness).await {
                Ok(Some((drawn, step))) => {
                    asked += drawn.len();
                    let (undone, rest) = self.left_over(drawn).await;
                    turns.push((due.fresh, undone, step.with(rest)));
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::error!(%error, name = due.name(), "nothing can be drawn; it is tried again")
                }
            }
        }
        let (leaves, steps) = still_undone(ledger, turns).await;
        if !leaves.is_empty() && !log(ledger, leaves, &steps).await {
            return;
        }
        for step in steps {
            if let Err(error) = step.take(ledger).await {
                tracing::warn!(%error, "a note of a draw stays; the next start looks at it again");
            }
        }
    }

    /// What nobody makes evidence for, and how it stands with the others.
    async fn left_over(&self, drawn: Vec<(RecordId, Settled)>) -> (Vec<Settled>, Rest) {
        let (mut left, mut rest) = (Vec::new(), Rest::None);
        let mut asked = stream::iter(drawn)
            .map(|(record, drawn)| async move {
                let Settled { id: evidence, subject, kind, .. } = drawn;
                let taken = match &self.escalation {
                    Some(escalation) => {
                        escalation.take(DrawnRecord { record, subject, kind, evidence }).await
                    }
                    None => Ok(false),
                };
                (drawn, taken)
            })
            .buffered(SIDE_BY_SIDE);
        while let Some((drawn, taken)) = asked.next().await {
            match taken {
                Ok(false) => left.push(drawn),
                Ok(true) => rest = rest.max(Rest::Taken),
                // One that cannot be asked about holds up no other.
                Err(error) => {
                    rest = Rest::Unasked;
                    tracing::warn!(error, "nobody takes on what was drawn; it is tried again");
                }
            }
        }
        (left, rest)
    }

    /// A round's randomness, from the store or the source. Neither is asked for it at every turn.
    async fn randomness(&mut self, ledger: &Ledger, number: u64) -> Option<Hash> {
        if self.asked.get(&number).is_some_and(|(next, _)| Instant::now() < *next) {
            return None;
        }
        let late = ledger.now() >= ledger.0.draws.chain.schedule.time(number);
        // Before its time nobody has it, but for whoever fills a folder for a test.
        let found = match late {
            true => kept(ledger, number).await,
            false => None,
        };
        let found = match (found, self.source.clone()) {
            (None, Some(source)) => fetched(ledger, &*source, number, late).await,
            (found, _) => found,
        };
        if found.is_some() {
            self.asked.remove(&number);
            return found;
        }
        let pause = match (late, &self.source, self.asked.get(&number)) {
            (false, ..) => EARLY_PAUSE,
            (true, None, _) => NO_SOURCE,
            (true, Some(_), Some((_, pause))) => (*pause * 2).min(LONGEST_PAUSE),
            (true, Some(_), None) => self.every,
        };
        self.asked.insert(number, (Instant::now() + pause, pause));
        None
    }
}

/// A round that the store has.
async fn kept(ledger: &Ledger, number: u64) -> Option<Hash> {
    let (objects, chain) = (&ledger.0.objects, &ledger.0.draws.chain);
    match rounds::kept(objects, chain, number).await {
        Ok(Some(round)) => match verify(chain.clone(), round).await {
            Ok((_, randomness)) => return Some(randomness),
            Err(error) => {
                tracing::error!(number, error, "a round in the store is not good; it is fetched again")
            }
        },
        Ok(None) => {}
        Err(error) => tracing::error!(number, %error, "a round in the store cannot be read"),
    }
    None
}

/// A round that the source has, kept from now on: auditors need it.
async fn fetched(ledger: &Ledger, source: &dyn RoundSource, number: u64, late: bool) -> Option<Hash> {
    let (objects, chain, draws) = (&ledger.0.objects, &ledger.0.draws.chain, &ledger.0.draws);
    match fetch(source, chain.clone(), number).await {
        Ok(Some((round, randomness))) => match rounds::keep(objects, chain, &round).await {
            Ok(()) => return Some(randomness),
            Err(error) => tracing::warn!(number, %error, "a round cannot be kept; it is fetched again"),
        },
        Ok(None) if !late => {}
        Ok(None) => {
            draws.failed();
            tracing::debug!(number, "a round is due, and its source does not have it yet");
        }
        Err(error) => {
            draws.failed();
            tracing::warn!(number, error, "no round of public randomness: draws wait for it");
        }
    }
    None
}

impl Step {
    /// What follows once its evidence is logged.
    async fn take(self, ledger: &Ledger) -> Result<(), LedgerError> {
        let inner = &ledger.0;
        match self {
            Step::Certain(due) => inner.draws.set(Due { certain_done: true, ..due }),
            Step::Later(due) => inner.draws.set(due),
            Step::Done(due) => {
                inner.draws.remove(&due);
                inner.objects.delete_in_order(&[due.name()]).await?;
            }
        }
        Ok(())
    }

    /// The step, as evidence is still to come.
    fn with(self, rest: Rest) -> Step {
        match (self, rest) {
            (step, Rest::None) => step,
            // With its round all of it is looked at once more.
            (Step::Certain(due), Rest::Taken) => Step::Certain(Due { fresh: false, ..due }),
            (Step::Certain(due) | Step::Done(due) | Step::Later(due), _) => Step::Later(due.later()),
        }
    }

    fn due(&self) -> &Due {
        match self {
            Step::Certain(due) | Step::Done(due) | Step::Later(due) => due,
        }
    }
}

/// The leaves that are to be logged, and how far their statements are then. Whoever made evidence may have had it logged since it
/// was looked for, and then has no job any more and takes nothing on: what was not fresh is looked for once more, after the answer.
/// So nobody's job is left that could still log what is not found now.
async fn still_undone(ledger: &Ledger, turns: Vec<(bool, Vec<Settled>, Step)>) -> (Vec<Settled>, Vec<Step>) {
    let Inner { places, objects, .. } = &*ledger.0;
    let now = std::time::Instant::now();
    let (mut leaves, mut steps) = (Vec::new(), Vec::new());
    'turns: for (fresh, undone, step) in turns {
        let mut left = Vec::new();
        for leaf in undone {
            match fresh {
                true => left.push(leaf),
                false => match places.find_since(objects, &leaf.id, now).await {
                    Ok(Some(_)) => {}
                    Ok(None) => left.push(leaf),
                    Err(error) => {
                        let name = step.due().name();
                        tracing::error!(%error, name, "it is not known what is logged; it is tried again");
                        continue 'turns;
                    }
                },
            }
        }
        leaves.extend(left);
        steps.push(step);
    }
    (leaves, steps)
}

/// Has the keeper log evidence leaves. False where it is not known whether it did.
async fn log(ledger: &Ledger, leaves: Vec<Settled>, steps: &[Step]) -> bool {
    if ledger.log_evidence(leaves).await {
        return true;
    }
    for step in steps {
        ledger.0.draws.set(Due { fresh: false, ..step.due().clone() });
    }
    false
}

/// The records of a statement that are drawn and have no evidence yet. `None` where it is not logged (yet).
async fn drawn_of(
    ledger: &Ledger,
    due: &Due,
    randomness: Option<Hash>,
) -> Result<Option<(Vec<(RecordId, Settled)>, Step)>, LedgerError> {
    let Some(batch) = read(ledger, due).await? else { return Ok(None) };
    if !due.fresh && !is_logged(ledger, due, &batch).await? {
        return Ok(None);
    }
    let Inner { places, objects, .. } = &*ledger.0;
    let mut found = Vec::new();
    let mut open = false;
    // What is logged after this is found by the look before logging.
    let now = std::time::Instant::now();
    for record in &batch.draws {
        let Some(hash) = batch.hashes().get(record.slot as usize) else { continue };
        let is = match randomness {
            // With the round, once more: the note goes then.
            _ if certain(record.threshold) => !due.certain_done || randomness.is_some(),
            Some(randomness) => drawn(&randomness, hash, record.threshold),
            None => {
                open = true;
                false
            }
        };
        let id = draw_id(due.to, &record.id, hash, record.target);
        if is && (due.fresh || places.find_since(objects, &id, now).await?.is_none()) {
            found.push((record.id, Settled::not_done(id, *hash, record.target)));
        }
    }
    let fresh = due.fresh && found.is_empty();
    let due = Due { fresh, ..due.clone() };
    Ok(Some((found, if open { Step::Certain(due) } else { Step::Done(due) })))
}

/// The batch of a note.
async fn read(ledger: &Ledger, due: &Due) -> Result<Option<Batch>, LedgerError> {
    let name = batch_name(&due.shard, due.seq);
    let damaged = |why: String| LedgerError::Damaged { what: name.clone(), why };
    let Some(bytes) = ledger.0.objects.get(&name, batch::MAX_BYTES).await? else { return Ok(None) };
    let read = tokio::task::spawn_blocking(move || batch::read(&bytes)).await;
    let batch = read.map_err(|e| damaged(e.to_string()))?.map_err(|e| damaged(e.to_string()))?;
    if batch.root() != due.root {
        return Err(damaged("it has another root than the note of its draw".into()));
    }
    Ok(Some(batch))
}

/// Whether a batch that an earlier life has written is logged: its records may have become another's. Then its note goes.
async fn is_logged(ledger: &Ledger, due: &Due, batch: &Batch) -> Result<bool, LedgerError> {
    let Some((first, _)) = batch.ids.first() else { return Ok(false) };
    let Some((target, _)) = ledger.place(first).await? else { return Ok(false) };
    let logged = (target.shard.as_str(), target.seq) == (due.shard.as_str(), due.seq);
    if !logged {
        Step::Done(due.clone()).take(ledger).await?;
    }
    Ok(logged)
}

/// Asks for a round, and believes it only if it is the one, and the chain's.
async fn fetch(source: &dyn RoundSource, chain: Chain, number: u64) -> Result<Option<(Round, Hash)>, String> {
    let Some(bytes) = source.fetch(number).await? else { return Ok(None) };
    let round = Round::parse(&bytes).map_err(|error| error.to_string())?;
    if round.round != number {
        return Err(format!("round {} came instead", round.round));
    }
    verify(chain, round).await.map(Some)
}

/// Takes milliseconds, so beside the runtime's workers.
async fn verify(chain: Chain, round: Round) -> Result<(Round, Hash), String> {
    let verified =
        tokio::task::spawn_blocking(move || chain.randomness(&round).map(|random| (round, random)));
    verified.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
}
