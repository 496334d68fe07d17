//! The task that has evidence about the shard's key made anew, beside everything else: no exchange waits for it, and when it
//! fails, that is told and tried again.
//!
//! New evidence shows something new only with a newer timestamp token for its nonce. So it is made when there is one and
//! the last evidence is old enough; at once where that was of no token at all, or was too long to be announced with the key.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use colophon_receipt::evidence::Verdict;
use colophon_receipt::merkle::sha256;
use colophon_receipt::{Hash, Level};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

use super::note::Note;
use super::{Born, KeyAttesting, make, newest};
use crate::ledger::keeper::{AboutKey, Command, Evidence, Settled};
use crate::ledger::{Inner, Ledger};
use crate::lookup::upstream;
use crate::shard::{Shard, UNANNOUNCED};

/// How often it is looked whether there is something to do: that costs two reads of memory.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// Renews until it is dropped.
pub(crate) async fn run(ledger: Weak<Inner>, attesting: KeyAttesting) {
    let mut last = Last::default();
    let look = LOOK_EVERY.min(attesting.every.max(Duration::from_millis(1)));
    let (mut again, mut pause) = (Instant::now(), FIRST_PAUSE);
    loop {
        sleep(look).await;
        let Some(inner) = ledger.upgrade() else { return };
        let ledger = Ledger(inner);
        let shard = ledger.shard();
        last.follow(&shard);
        if shard.announced == UNANNOUNCED || Instant::now() < again {
            continue;
        }
        let newest = ledger.anchors().beacon();
        if !last.is_due(newest, ledger.now(), attesting.every) {
            continue;
        }
        match renew(&ledger, &shard, &attesting).await {
            Ok(born) => {
                ledger.0.attested.renewed.fetch_add(1, Ordering::Relaxed);
                ledger.0.attested.made(born.at);
                tracing::info!(shard = shard.name, "the evidence about the shard's key was renewed");
                (last.evidence, pause) = (Some(born), FIRST_PAUSE);
            }
            Err(error) => {
                ledger.0.attested.failed.fetch_add(1, Ordering::Relaxed);
                tracing::error!(
                    shard = shard.name,
                    error,
                    "NO NEW EVIDENCE about the shard's key: receipts carry the last, which grows old; it is tried again"
                );
                again = Instant::now() + pause.min(attesting.every.max(FIRST_PAUSE));
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

/// The last evidence about the key in use.
#[derive(Default)]
struct Last {
    shard: String,
    /// None that the log has.
    evidence: Option<Born>,
}

impl Last {
    /// Another key begins with what was announced with it.
    fn follow(&mut self, shard: &Shard) {
        if self.shard != shard.name {
            let announced = shard.attestation.as_ref().and(shard.born.clone());
            *self = Last { shard: shard.name.clone(), evidence: announced };
        }
    }

    fn is_due(&self, newest: Option<Hash>, now: u64, every: Duration) -> bool {
        let Some(last) = &self.evidence else { return true };
        let old = u128::from(now.saturating_sub(last.at)) >= every.as_micros();
        newest.is_some() && newest != last.epoch && (last.epoch.is_none() || old)
    }
}

/// Makes it, keeps it, and has it logged.
async fn renew(ledger: &Ledger, shard: &Arc<Shard>, attesting: &KeyAttesting) -> Result<Born, String> {
    let inner = &ledger.0;
    let (epoch, token) = newest(&inner.anchors).await;
    let at = ledger.now();
    let document = make(&attesting.by, shard.public_key.0, token, true).await?;
    let mut salt = [0; 16];
    getrandom::fill(&mut salt).map_err(|error| error.to_string())?;
    let note = Note { id: ledger.new_id(at / 1000), salt, digest: sha256(&document) };
    upstream::keep(&inner.objects, document.into()).await.map_err(|error| error.to_string())?;
    let leaf = Settled {
        id: note.id,
        subject: shard.announcement_hash,
        kind: Level::Tee,
        commitment: note.commitment(),
        verdict: Verdict::Holds,
    };
    let about = AboutKey { shard: shard.name.clone(), note: note.encode().into() };
    let (reply, logged) = oneshot::channel();
    let evidence = Evidence { leaves: vec![leaf], about_key: Some(about), logged: reply };
    let sent = inner.commands.send(Command::Evidence(evidence)).await;
    sent.map_err(|_| "the ledger is closed")?;
    logged.await.map_err(|_| "it was not logged: another key took over")?;
    Ok(Born { epoch, at })
}
