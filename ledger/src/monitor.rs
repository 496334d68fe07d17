//! Following a log from outside: is each checkpoint consistent with the one before, do the statements go on without
//! gaps, and does everyone who should speak do so.
//!
//! What was seen last is kept in a folder, synced, so that a restart asks for consistency with it. Two things that the
//! log signed and that cannot both be true are kept as a proof file.

mod proofs;
mod state;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use colophon_receipt::Hash;
use colophon_receipt::merkle::sha256;
use colophon_signer::note::{Note, VerifierKey};
use colophon_signer::policy::TlogPolicy;
use colophon_signer::rfc3161::{MAX_RESPONSE, Roots, Token};
use object_store::ObjectStore;

use self::state::State;
pub use self::state::StateError;
use crate::anchor::beacon_name;
use crate::check::statements::Statements;
use crate::check::{Finding, Report};
use crate::head::{self, SignedHead};
use crate::leaf::Leaf;
use crate::log::{LogError, LogReader};
use crate::store::{Store, StoreError};
use crate::tiles::WIDTH;
use crate::witness::COSIGNED;

/// Entries read at once.
const STRIDE: u64 = WIDTH as u64;
/// Strides between two writes of the state.
const STRIDES: usize = 64;
/// A cosignature's time may be ahead of this machine's clock by so many seconds.
const CLOCK_TOLERANCE: u64 = 300;

/// What to expect of a log.
#[derive(Clone, Debug)]
pub struct MonitorConfig {
    /// Where to remember what was seen, and to keep proofs.
    pub folder: PathBuf,
    /// A shard that does not end has to sign a statement at least this often.
    pub silence: Duration,
    /// The newest cosignatures and beacons may be so old.
    pub stale: Duration,
    /// The witnesses whose quorum the log's checkpoints have to have; `quorum none` for no such demand.
    pub policy: Arc<TlogPolicy>,
    /// Roots of the TSAs whose timestamps the log's statements have to name; none for no such demand.
    pub tsa_roots: Roots,
}

/// Something that is wrong with a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its name, for scripts and metrics.
    pub kind: &'static str,
    /// What and where, in a sentence; may quote the log.
    pub what: String,
    /// Where the two things that contradict each other are kept.
    pub proof: Option<PathBuf>,
    /// Not found in an earlier round.
    pub new: bool,
}

/// What one look at a log gave.
#[derive(Clone, Debug, Default)]
pub struct Round {
    /// Leaves of the newest checkpoint that holds.
    pub size: u64,
    /// Leaves read this time.
    pub read: u64,
    /// What is wrong, found now or still standing.
    pub found: Vec<Found>,
    /// Shards that should speak and do not.
    pub silent: Vec<String>,
    /// The log could not be read, and why. That is no misbehaviour.
    pub unreachable: Option<String>,
}

/// Why a round ended early; what is wrong with the log is in the round.
enum Stop {
    Unreachable(String),
    Found,
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Stop {
        Stop::Unreachable(error.to_string())
    }
}

/// One log and what is known of it.
pub struct LogMonitor {
    key: VerifierKey,
    store: Store,
    reader: LogReader,
    config: MonitorConfig,
    state: State,
    statements: Statements,
}

impl std::fmt::Debug for LogMonitor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LogMonitor {{ key: {}, size: {} }}", self.key, self.state.size())
    }
}

impl LogMonitor {
    /// Follows the log of `key` in `store`, whose folder `prefix` holds `checkpoint` and `tile/`. Goes on from what an
    /// earlier life has seen. Does blocking file I/O.
    ///
    /// # Errors
    /// [`StateError`] when that cannot be read: without it, a log that was rolled back would not be noticed.
    pub fn open(
        key: VerifierKey,
        store: Arc<dyn ObjectStore>,
        prefix: &str,
        config: MonitorConfig,
    ) -> Result<LogMonitor, StateError> {
        let state = State::load(&config.folder, &key)?;
        let statements = state.statements()?;
        let store = Store::new(store, prefix.to_owned());
        Ok(LogMonitor { key, reader: LogReader::new(store.clone()), store, config, state, statements })
    }

    /// The log's origin.
    pub fn origin(&self) -> &str {
        self.key.name()
    }

    /// How often each kind of thing was found, since the state folder began.
    pub fn counts(&self) -> impl Iterator<Item = (&str, u64)> {
        self.state.counts()
    }

    /// Whether the log, as last seen, holds `entry` as leaf `index`.
    ///
    /// # Errors
    /// Why that cannot be said: the log cannot be read, or is shorter.
    pub async fn holds(&self, index: u64, entry: &[u8]) -> Result<bool, String> {
        let head = self.state.head(&self.key).ok_or("no checkpoint of it was seen yet")?;
        let found = self.reader.entry(index, &head.checkpoint).await.map_err(|error| error.to_string())?;
        Ok(found == entry)
    }

    /// How many leaves the log had when it was last seen.
    pub fn size(&self) -> u64 {
        self.state.size()
    }

    /// Remembers something that somebody else found about this log. Returns whether it is new.
    ///
    /// # Errors
    /// When the state cannot be written.
    pub fn note(&mut self, kind: &'static str, what: &str) -> Result<bool, StateError> {
        let new = self.state.count(kind, what);
        if new {
            self.state.save(&self.statements)?;
        }
        Ok(new)
    }

    /// Looks at the log once, at `now` (µs since the epoch).
    ///
    /// # Errors
    /// When the state or a proof cannot be written: a monitor that forgets is none.
    pub async fn round(&mut self, now: u64) -> Result<Round, StateError> {
        let mut round = Round::default();
        if let Err(Stop::Unreachable(why)) = self.follow(now, &mut round).await? {
            round.unreachable = Some(why);
        }
        if round.unreachable.is_none() {
            self.dated(now, &mut round).await;
        }
        self.standing(now, &mut round);
        self.state.looked(round.unreachable.is_none());
        round.size = self.state.size();
        self.state.save(&self.statements)?;
        Ok(round)
    }

    /// From the checkpoint down to the new entries.
    async fn follow(&mut self, now: u64, round: &mut Round) -> Result<Result<(), Stop>, StateError> {
        // Before `checkpoint`: the log writes that one first, so it is never the smaller one.
        let cosigned = match self.head(COSIGNED, round).await {
            Ok(cosigned) => cosigned,
            Err(stop) => return Ok(Err(stop)),
        };
        let head = match self.head(head::NAME, round).await {
            Ok(Some(head)) => head,
            Ok(None) => return Ok(Err(Stop::Unreachable("it has no checkpoint".into()))),
            Err(stop) => return Ok(Err(stop)),
        };
        // What witnesses cosigned before, beside it: one that cosigns two histories is found by its own two lines.
        if let Some((before, cosigned)) = self.state.cosigned(&self.key).zip(cosigned.as_ref())
            && before.size() == cosigned.size()
            && let Err(stop) = self.consistent(&before, cosigned, round).await?
        {
            return Ok(Err(stop));
        }
        if let Some(seen) = self.state.head(&self.key)
            && let Err(stop) = self.consistent(&seen, &head, round).await?
        {
            return Ok(Err(stop));
        }
        if let Some(cosigned) = &cosigned
            && let Err(stop) = self.consistent(cosigned, &head, round).await?
        {
            return Ok(Err(stop));
        }
        self.state.saw(&head, cosigned.as_ref());
        self.fresh(cosigned.as_ref().unwrap_or(&head), &head, now, round);
        self.entries(&head, now, round).await
    }

    /// A signed head of the log in a file; `None` where there is no file.
    async fn head(&mut self, name: &str, round: &mut Round) -> Result<Option<SignedHead>, Stop> {
        let why = match self.store.get(name, head::MAX_FILE).await {
            Ok(None) => return Ok(None),
            Ok(Some(bytes)) => match std::str::from_utf8(&bytes) {
                Ok(text) => match SignedHead::parse(text, &self.key) {
                    Ok(head) => return Ok(Some(head)),
                    Err(error) => error.to_string(),
                },
                Err(_) => "not UTF-8".to_owned(),
            },
            Err(error @ StoreError::TooLong { .. }) => error.to_string(),
            Err(error) => return Err(error.into()),
        };
        self.found("checkpoint", format!("{name} is no checkpoint of this log: {why}"), None, round);
        Err(Stop::Found)
    }

    /// Whether `new` continues `old`, both signed by the log. What does not is kept as proof.
    async fn consistent(
        &mut self,
        old: &SignedHead,
        new: &SignedHead,
        round: &mut Round,
    ) -> Result<Result<(), Stop>, StateError> {
        let (a, b) = (old.size(), new.size());
        let (kind, what) = match () {
            () if b < a => ("rollback", format!("it shows {b} leaves after it signed {a}")),
            () if b == a && old.checkpoint.root == new.checkpoint.root => return Ok(Ok(())),
            () if b == a => ("equivocation", format!("it signed two trees of {a} leaves")),
            () => match self.reader.consistency(&old.checkpoint, &new.checkpoint).await {
                Ok(_) => return Ok(Ok(())),
                Err(LogError::Contradiction(_)) => (
                    "equivocation",
                    format!("the tree of {b} leaves that it signed does not continue that of {a}"),
                ),
                Err(error) => return Ok(Err(self.unread(error, round))),
            },
        };
        let proof = proofs::heads(&self.config.folder, &self.key, kind, &what, old, new)?;
        self.found(kind, what, Some(proof.clone()), round);
        if kind == "equivocation" {
            for witness in self.cosigned_both(old, new) {
                let what = format!(
                    "the witness {witness} cosigned two trees of this log, of {a} and of {b} leaves, that cannot both be: \
                     its cosignatures show nothing"
                );
                self.found("witness-fork", what, Some(proof.clone()), round);
            }
        }
        Ok(Err(Stop::Found))
    }

    /// The witnesses of the policy whose good lines are on both.
    fn cosigned_both(&self, a: &SignedHead, b: &SignedHead) -> Vec<String> {
        let on = |head: &SignedHead, key: &VerifierKey| {
            let note = Note::parse(&head.note);
            note.is_ok_and(|note| {
                note.verify(std::slice::from_ref(key)).is_ok_and(|lines| lines.signed_by(key))
            })
        };
        let witnesses = self.config.policy.witnesses.iter().map(|witness| &witness.key);
        witnesses.filter(|key| on(a, key) && on(b, key)).map(|key| key.name().to_owned()).collect()
    }

    /// Whether the timestamp that the statements name is there, good, and new enough by its own time.
    async fn dated(&mut self, now: u64, round: &mut Round) {
        if self.config.tsa_roots.certificates().is_empty() {
            return;
        }
        let Some(beacon) = self.state.beacon() else {
            let what = "none of its statements names a timestamp".into();
            return self.found_standing("stale-timestamp", what, round);
        };
        let time = match self.state.token_time(&beacon) {
            Some(time) => time,
            None => match self.token(&beacon).await {
                Ok(Ok(time)) => {
                    self.state.saw_token(&beacon, time);
                    time
                }
                Ok(Err(why)) => {
                    let what = format!("its statements name a timestamp that does not count: {why}");
                    return self.found_standing("timestamp", what, round);
                }
                Err(error) => {
                    round.unreachable = Some(error.to_string());
                    return;
                }
            },
        };
        if now > time.saturating_add(self.config.stale.as_micros() as u64) {
            let age = (now - time) / 1_000_000;
            let what = format!("the newest timestamp that its statements name is {age} s old");
            self.found_standing("stale-timestamp", what, round);
        }
    }

    /// The time in the token that statements name so, or what is wrong with it.
    async fn token(&self, beacon: &Hash) -> Result<Result<u64, String>, StoreError> {
        let name = beacon_name(beacon);
        let der = match self.store.get(&name, MAX_RESPONSE as u64).await {
            Ok(Some(der)) => der,
            Ok(None) => return Ok(Err(format!("{name} is missing"))),
            Err(error @ StoreError::TooLong { .. }) => return Ok(Err(error.to_string())),
            Err(error) => return Err(error),
        };
        if sha256(&der) != *beacon {
            return Ok(Err(format!("{name} is another file than its name says")));
        }
        let token = Token::parse(&der).map_err(|error| error.to_string());
        let judged = token.and_then(|token| match token.chain(&self.config.tsa_roots) {
            Ok(_) => Ok(token.info().gen_time),
            Err(error) => Err(error.to_string()),
        });
        Ok(judged)
    }

    /// A file that is not what the tree says is the log's fault; one that cannot be read may be nobody's.
    fn unread(&mut self, error: LogError, round: &mut Round) -> Stop {
        match error {
            LogError::Corrupt { .. }
            | LogError::Contradiction(_)
            | LogError::Store(StoreError::TooLong { .. }) => {
                self.found("corrupt", error.to_string(), None, round);
                Stop::Found
            }
            error => Stop::Unreachable(error.to_string()),
        }
    }

    /// Reads the entries that are new, and asks of each whether it follows.
    async fn entries(
        &mut self,
        head: &SignedHead,
        now: u64,
        round: &mut Round,
    ) -> Result<Result<(), Stop>, StateError> {
        let mut strides = 0;
        while self.state.read < head.size() {
            let start = self.state.read;
            let end = ((start / STRIDE + 1) * STRIDE).min(head.size());
            let entries = match self.reader.entries(start..end, &head.checkpoint).await {
                Ok(entries) => entries,
                Err(error) => return Ok(Err(self.unread(error, round))),
            };
            for (index, entry) in (start..).zip(&entries) {
                self.entry(index, entry, head, now, round).await?;
            }
            self.state.read = end;
            round.read += end - start;
            self.statements.forget_old();
            strides += 1;
            if strides % STRIDES == 0 {
                self.state.save(&self.statements)?;
            }
        }
        Ok(Ok(()))
    }

    async fn entry(
        &mut self,
        index: u64,
        entry: &[u8],
        head: &SignedHead,
        now: u64,
        round: &mut Round,
    ) -> Result<(), StateError> {
        let mut report = Report::default();
        if index == 0 {
            let keys = self.statements.genesis(entry, &mut report);
            if !keys.contains(&self.key) {
                let what = format!("leaf 0 does not name the key {}", self.key);
                self.found("genesis", what, None, round);
            }
        } else {
            self.statements.leaf(index, entry, &mut report);
        }
        let unclosed = Leaf::parse(entry).ok().and_then(|leaf| self.state.leaf(&leaf, now));
        if let Some(unclosed) = unclosed {
            let what = format!("the shard {unclosed} ended without a close: its process died");
            self.found("unclosed", what, None, round);
        }
        for finding in report.findings {
            let earlier = match &finding {
                Finding::Equivocation { shard, seq, .. } | Finding::Repeated { shard, seq, .. } => {
                    proofs::earlier(&self.reader, head, shard, *seq, index).await
                }
                // A number that was there before, so long ago that its hash is not remembered.
                Finding::Gap { shard, expected, found, .. } if found < expected => {
                    proofs::earlier(&self.reader, head, shard, *found, index).await
                }
                _ => None,
            };
            let (kind, what) = match &earlier {
                Some((first, leaf)) if leaf != entry => {
                    ("two-statements", format!("{finding}: leaves {first} and {index}"))
                }
                _ => (finding.name(), finding.to_string()),
            };
            let proof = match earlier.filter(|(_, leaf)| leaf != entry) {
                Some((first, leaf)) => {
                    let pair = [(first, leaf.as_slice()), (index, entry)];
                    proofs::statements(&self.config.folder, &self.key, &what, &self.reader, head, pair)
                        .await?
                }
                None => None,
            };
            self.found(kind, what, proof, round);
        }
        Ok(())
    }

    /// Whether enough witnesses have cosigned lately.
    fn fresh(&mut self, cosigned: &SignedHead, head: &SignedHead, now: u64, round: &mut Round) {
        if !self.config.policy.needs_witnesses() {
            return;
        }
        let keys: Vec<VerifierKey> =
            self.config.policy.witnesses.iter().map(|witness| witness.key.clone()).collect();
        let (now, stale) = (now / 1_000_000, self.config.stale.as_secs());
        let recent = |head: &SignedHead| {
            let Ok(note) = Note::parse(&head.note) else { return false };
            let Ok(verified) = note.verify(&keys) else { return false };
            let lately = |key: &VerifierKey| {
                let line = verified.signed.iter().find(|line| line.key == key);
                line.and_then(|line| line.time)
                    .is_some_and(|at| at + stale >= now && at <= now.saturating_add(CLOCK_TOLERANCE))
            };
            self.config.policy.is_met(lately)
        };
        if !recent(cosigned) && !recent(head) {
            let what = format!("its witnesses' quorum has cosigned nothing in the last {stale} s");
            self.found_standing("stale-cosignatures", what, round);
        }
    }

    /// What is wrong by nothing happening.
    fn standing(&mut self, now: u64, round: &mut Round) {
        let silence = self.config.silence.as_micros() as u64;
        let mut ended = Vec::new();
        for shard in self.statements.standing() {
            if shard.closed || self.state.is_over(shard.name) {
                continue;
            }
            if now > shard.not_after.saturating_add(silence) {
                ended.push(shard.name.to_owned());
            } else if now > self.state.heard(shard.name, shard.to).saturating_add(silence) {
                round.silent.push(shard.name.to_owned());
            }
        }
        for name in ended {
            self.state.over(&name);
            let what = format!("the shard {name} ended without a close, and its key's time is over");
            self.found("unclosed", what, None, round);
        }
        round.silent.sort();
        for name in round.silent.clone() {
            let what = format!(
                "the shard {name} has not signed a statement for more than {} s",
                silence / 1_000_000
            );
            self.found_standing("silent", what, round);
        }
        if let Some(at) =
            self.state.beacon_at().filter(|at| now > at.saturating_add(self.config.stale.as_micros() as u64))
        {
            let age = (now - at) / 1_000_000;
            self.found_standing(
                "stale-beacon",
                format!("its statements name the same timestamp for {age} s"),
                round,
            );
        }
    }

    fn found(&mut self, kind: &'static str, what: String, proof: Option<PathBuf>, round: &mut Round) {
        let new = self.state.count(kind, &what);
        round.found.push(Found { kind, what, proof, new });
    }

    /// What stands until it ends is counted once, though the sentence changes.
    fn found_standing(&mut self, kind: &'static str, what: String, round: &mut Round) {
        let new = self.state.began(kind, &what);
        round.found.push(Found { kind, what, proof: None, new });
    }
}

#[cfg(test)]
mod tests;
