//! What a monitor remembers of a log: one JSON file, replaced and synced as a whole.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use colophon_receipt::Hash;
use colophon_receipt::merkle::sha256;
use colophon_signer::note::VerifierKey;
use serde::{Deserialize, Serialize};

use crate::check::statements::Statements;
use crate::check::statements::saved::Saved;
use crate::head::SignedHead;
use crate::leaf::Leaf;
use crate::state::replace;

const FORMAT: &str = "colophon-monitor-state-v1";
/// A state file is never longer: a shard takes about half a kilobyte.
const MAX_FILE: u64 = 1 << 30;
/// Findings remembered so that they count once; beyond, they count each time.
const MAX_KNOWN: usize = 10_000;

/// Why a monitor's state cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The file cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file is not one of ours.
    #[error(
        "{path} is damaged: {why}. It says what was seen last of the log; without it a rollback would not be noticed. Put \
         it back from a copy, or remove it to begin anew"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// In which way.
        why: String,
    },
}

/// The state of one log.
pub(super) struct State {
    path: PathBuf,
    file: Json,
    /// Leaves that were read; they are in the tree of the newest head that was seen.
    pub(super) read: u64,
    /// What stood at the last look, and what was found to stand at this one.
    stood: BTreeSet<String>,
    standing: BTreeSet<String>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Json {
    format: String,
    vkey: String,
    /// The newest checkpoint that was seen and held.
    note: String,
    size: u64,
    read: u64,
    statements: Saved,
    shards: BTreeMap<String, Shard>,
    /// The newest head that a quorum of its witnesses cosigned, with their lines.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    cosigned: String,
    /// The last beacon whose token was judged, in hexadecimal, and the time in it, µs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    token: Option<(String, u64)>,
    /// The newest beacon, in hexadecimal, and when it was first seen, µs.
    beacon: Option<(String, u64)>,
    counts: BTreeMap<String, u64>,
    known: BTreeSet<String>,
}

/// What a monitor adds to what the statements say of a shard.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Shard {
    /// The shard that it follows, until that is known to have ended well or not.
    after: Option<String>,
    /// When it was announced, µs, by the log's clock but not later than it was read.
    announced: u64,
    /// When its newest statement was read, µs.
    read_at: u64,
    closed: bool,
    /// It ended without a close, and that was told.
    over: bool,
}

impl State {
    pub(super) fn load(folder: &Path, key: &VerifierKey) -> Result<State, StateError> {
        let name = format!("{}.json", hex::encode(&sha256(key.to_string().as_bytes())[..16]));
        let path = folder.join(name);
        let io = |source| StateError::Io { path: path.clone(), source };
        std::fs::create_dir_all(folder).map_err(io)?;
        let mut bytes = Vec::new();
        let file = match File::open(&path) {
            Ok(file) => {
                file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(io)?;
                let damaged = |why: String| StateError::Damaged { path: path.clone(), why };
                let file: Json =
                    serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
                if file.format != FORMAT || file.vkey != key.to_string() {
                    return Err(damaged("of another format or log".into()));
                }
                let held = SignedHead::parse(&file.note, key).is_ok_and(|head| head.size() == file.size);
                if (!file.note.is_empty() && !held) || file.read > file.size {
                    return Err(damaged("its checkpoint is not one of the log".into()));
                }
                file
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                Json { format: FORMAT.into(), vkey: key.to_string(), ..Json::default() }
            }
            Err(e) => return Err(io(e)),
        };
        Ok(State { path, read: file.read, file, stood: BTreeSet::new(), standing: BTreeSet::new() })
    }

    pub(super) fn statements(&self) -> Result<Statements, StateError> {
        let restored = Statements::restore(self.file.statements.clone());
        restored.ok_or_else(|| StateError::Damaged { path: self.path.clone(), why: "a statement".into() })
    }

    /// Writes everything. What was found in the same round is counted in the same write.
    pub(super) fn save(&mut self, statements: &Statements) -> Result<(), StateError> {
        (self.file.statements, self.file.read) = (statements.save(), self.read);
        let io = |source| StateError::Io { path: self.path.clone(), source };
        let mut bytes = serde_json::to_vec(&self.file).map_err(|error| io(error.into()))?;
        bytes.push(b'\n');
        replace(&self.path, &bytes).map_err(io)
    }

    pub(super) fn size(&self) -> u64 {
        self.file.size
    }

    /// The newest head that was seen and held.
    pub(super) fn head(&self, key: &VerifierKey) -> Option<SignedHead> {
        SignedHead::parse(&self.file.note, key).ok()
    }

    /// The newest cosigned head that was seen and held.
    pub(super) fn cosigned(&self, key: &VerifierKey) -> Option<SignedHead> {
        SignedHead::parse(&self.file.cosigned, key).ok()
    }

    pub(super) fn saw(&mut self, head: &SignedHead, cosigned: Option<&SignedHead>) {
        (self.file.note, self.file.size) = (head.note.clone(), head.size());
        if let Some(cosigned) = cosigned {
            self.file.cosigned = cosigned.note.clone();
        }
    }

    /// The beacon that the newest statements name.
    pub(super) fn beacon(&self) -> Option<Hash> {
        let (beacon, _) = self.file.beacon.as_ref()?;
        hex::decode(beacon).ok()?.try_into().ok()
    }

    /// The time in the token that this beacon is the hash of, if that was judged.
    pub(super) fn token_time(&self, beacon: &Hash) -> Option<u64> {
        let (judged, time) = self.file.token.as_ref()?;
        (*judged == hex::encode(beacon)).then_some(*time)
    }

    pub(super) fn saw_token(&mut self, beacon: &Hash, time: u64) {
        self.file.token = Some((hex::encode(beacon), time));
    }

    /// Takes a leaf in at `now`. Returns the shard that turns out to have ended without a close.
    pub(super) fn leaf(&mut self, leaf: &Leaf, now: u64) -> Option<String> {
        match leaf {
            Leaf::Announcement(_, new) => {
                let after = new.predecessor.as_ref().map(|earlier| earlier.shard.clone());
                let announced = new.not_before.min(now);
                let shard = Shard { after, announced, read_at: now, ..Shard::default() };
                self.file.shards.entry(new.shard.clone()).or_insert(shard);
                None
            }
            Leaf::Statement(_, statement) => {
                if let Some(beacon) = statement.beacon.map(hex::encode)
                    && self.file.beacon.as_ref().is_none_or(|(known, _)| *known != beacon)
                {
                    self.file.beacon = Some((beacon, statement.to.min(now)));
                }
                let shard = self.file.shards.get_mut(&statement.shard)?;
                shard.read_at = now;
                // A shard is announced before its predecessor is closed, and speaks after.
                let before = shard.after.take()?;
                let before_shard = self.file.shards.get_mut(&before)?;
                let unclosed = !before_shard.closed && !std::mem::replace(&mut before_shard.over, true);
                unclosed.then_some(before)
            }
            Leaf::Close(_, close) => {
                if let Some(shard) = self.file.shards.get_mut(&close.shard) {
                    shard.closed = true;
                }
                None
            }
            _ => None,
        }
    }

    /// When a shard was last heard of: by its own word, but not later than that was read.
    pub(super) fn heard(&self, name: &str, to: Option<u64>) -> u64 {
        let shard = self.file.shards.get(name);
        let read_at = shard.map_or(0, |shard| shard.read_at);
        to.map_or(shard.map_or(0, |shard| shard.announced), |to| to.min(read_at))
    }

    pub(super) fn is_over(&self, name: &str) -> bool {
        self.file.shards.get(name).is_some_and(|shard| shard.over)
    }

    pub(super) fn over(&mut self, name: &str) {
        self.file.shards.entry(name.to_owned()).or_default().over = true;
    }

    /// When the newest beacon was first seen; `None` for a log that never had one.
    pub(super) fn beacon_at(&self) -> Option<u64> {
        self.file.beacon.as_ref().map(|(_, at)| *at)
    }

    pub(super) fn counts(&self) -> impl Iterator<Item = (&str, u64)> {
        self.file.counts.iter().map(|(kind, count)| (kind.as_str(), *count))
    }

    /// Counts a finding, unless this one was counted before. Returns whether it is new.
    pub(super) fn count(&mut self, kind: &str, what: &str) -> bool {
        let known = format!("{kind}: {what}");
        if self.file.known.contains(&known) {
            return false;
        }
        if self.file.known.len() < MAX_KNOWN {
            self.file.known.insert(known);
        }
        *self.file.counts.entry(kind.to_owned()).or_default() += 1;
        true
    }

    /// A look is over. What was not found any more has ended, if everything could be looked at.
    pub(super) fn looked(&mut self, everything: bool) {
        let now = std::mem::take(&mut self.standing);
        match everything {
            true => self.stood = now,
            false => self.stood.extend(now),
        }
    }

    /// Counts something that stands, once until it has ended.
    pub(super) fn began(&mut self, kind: &str, what: &str) -> bool {
        // The sentence up to its first number: how long it stands changes.
        let stem = what.split(|c: char| c.is_ascii_digit()).next().unwrap_or_default();
        let key = if kind == "silent" { format!("{kind}: {what}") } else { format!("{kind}: {stem}") };
        let new = !self.stood.contains(&key) && !self.standing.contains(&key);
        self.standing.insert(key);
        if new {
            *self.file.counts.entry(kind.to_owned()).or_default() += 1;
        }
        new
    }
}
