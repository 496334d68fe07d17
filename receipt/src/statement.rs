//! The leaves of the log: genesis, key announcements, statements and shard closes (DESIGN section 3).
//!
//! All but the genesis travel as the payload of a COSE_Sign1; these are the payloads.

mod rules;

pub use rules::{MAX_RULE_NAME, MAX_RULES, OTHER, RuleCount, Rules};

use crate::cbor::{CborError, MapReader, Value};
use crate::merkle::{Hash, sha256};

/// COSE content type of a batch statement.
pub const STATEMENT_TYPE: &str = "application/colophon-statement+cbor";
/// COSE content type of a key announcement.
pub const ANNOUNCEMENT_TYPE: &str = "application/colophon-announcement+cbor";
/// COSE content type of a shard close.
pub const CLOSE_TYPE: &str = "application/colophon-close+cbor";

/// What a shard counted, cumulative over its incarnation: `received = recorded + passed + lost + open`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Exchanges accepted.
    pub received: u64,
    /// Exchanges with a record.
    pub recorded: u64,
    /// Exchanges whose rule said `pass`.
    pub passed: u64,
    /// Exchanges whose record could not be kept.
    pub lost: u64,
    /// Exchanges under way.
    pub open: u64,
    /// Of the recorded ones, those the proxy refused.
    pub refused: u64,
    /// Of the recorded ones, those let through while the ledger was in trouble.
    pub degraded: u64,
    /// Of the passed ones, those that a break-glass bypass let through though their rule wanted a record; absent before the
    /// first.
    pub bypass: Option<u64>,
}

impl Counters {
    fn to_value(self) -> Value {
        let mut entries: Vec<(u64, Value)> =
            [self.received, self.recorded, self.passed, self.lost, self.open, self.refused, self.degraded]
                .into_iter()
                .zip(1..)
                .map(|(count, key)| (key, Value::Uint(count)))
                .collect();
        entries.extend(self.bypass.map(|n| (8, Value::Uint(n))));
        Value::Map(entries)
    }

    fn from_value(value: Value) -> Result<Counters, CborError> {
        let mut map = MapReader::new(value)?;
        let mut next = |key| map.required(key)?.as_uint("counter");
        let mut counters = Counters {
            received: next(1)?,
            recorded: next(2)?,
            passed: next(3)?,
            lost: next(4)?,
            open: next(5)?,
            refused: next(6)?,
            degraded: next(7)?,
            bypass: None,
        };
        counters.bypass = map.optional(8).map(|n| n.as_uint("counter")).transpose()?;
        map.finish()?;
        Ok(counters)
    }

    /// Whether every exchange received is accounted for.
    pub fn balanced(&self) -> bool {
        [self.recorded, self.passed, self.lost, self.open]
            .into_iter()
            .try_fold(0u64, u64::checked_add)
            .is_some_and(|sum| sum == self.received)
            && self.refused <= self.recorded
            && self.degraded <= self.recorded
            && self.bypass.unwrap_or(0) <= self.passed
    }
}

/// The description of one batch (type 2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// `name/<incarnation>`.
    pub shard: String,
    /// Number within the shard, from 0.
    pub seq: u64,
    /// Leaves in the batch; 0 is a heartbeat.
    pub count: u64,
    /// RFC 6962 root over the leaves; the empty root for a heartbeat.
    pub root: Hash,
    /// Hash of the previous statement's payload, or of the shard's announcement payload for `seq` 0.
    pub previous: Hash,
    /// Start of the interval, µs; the `to` of the previous statement.
    pub from: u64,
    /// End of the interval, µs.
    pub to: u64,
    /// Hash of the newest verified timestamp token: the batch was closed after its genTime.
    pub beacon: Option<Hash>,
    /// Exchange records of this shard so far, this batch included.
    pub cumulative_exchanges: u64,
    /// Evidence records of this shard so far, this batch included.
    pub cumulative_evidence: u64,
    /// Digest of the policy in force.
    pub policy: Hash,
    /// What the shard counted.
    pub counters: Counters,
    /// Break-glass bypasses that were in force at some time since the statement before, or whose end no statement has told
    /// yet; at most [`MAX_BYPASSES`].
    pub bypasses: Vec<Bypass>,
    /// The counters but `received` and `open` once more, by rule.
    pub rules: Rules,
}

/// A statement tells of at most this many bypasses.
pub const MAX_BYPASSES: usize = 16;

/// A break-glass bypass: for a while, exchanges whose record could not be kept went on without one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bypass {
    /// 16 random bytes.
    pub id: [u8; 16],
    /// Who said that it was theirs: nothing proves it.
    pub who: Vec<u8>,
    /// The reason that was given.
    pub why: Vec<u8>,
    /// When it began, µs.
    pub from: u64,
    /// When it was to end by itself, µs.
    pub until: u64,
    /// Exchanges that it had let through when the statement was made, by all shards of the data folder.
    pub count: u64,
    /// When it ended, µs; absent while it is in force.
    pub ended: Option<u64>,
}

impl Bypass {
    fn to_value(&self) -> Value {
        let mut entries = vec![
            (1, Value::bytes(self.id)),
            (2, Value::bytes(&self.who)),
            (3, Value::bytes(&self.why)),
            (4, Value::Uint(self.from)),
            (5, Value::Uint(self.until)),
            (6, Value::Uint(self.count)),
        ];
        entries.extend(self.ended.map(|at| (7, Value::Uint(at))));
        Value::Map(entries)
    }

    fn from_value(value: Value) -> Result<Bypass, CborError> {
        let mut map = MapReader::new(value)?;
        let bypass = Bypass {
            id: map.required(1)?.as_array("bypass id")?,
            who: map.required(2)?.as_bytes("bypass")?.to_vec(),
            why: map.required(3)?.as_bytes("bypass")?.to_vec(),
            from: map.required(4)?.as_uint("bypass")?,
            until: map.required(5)?.as_uint("bypass")?,
            count: map.required(6)?.as_uint("bypass")?,
            ended: map.optional(7).map(|at| at.as_uint("bypass")).transpose()?,
        };
        map.finish()?;
        if bypass.until < bypass.from || bypass.ended.is_some_and(|at| at < bypass.from) {
            return Err(CborError::Value("bypass"));
        }
        Ok(bypass)
    }
}

/// `None` is no bypass; an empty array is no spelling of that.
fn bypasses(value: Option<Value>) -> Result<Vec<Bypass>, CborError> {
    let Some(value) = value else { return Ok(Vec::new()) };
    let items = value.as_items("bypasses")?;
    if items.is_empty() || items.len() > MAX_BYPASSES {
        return Err(CborError::Value("bypasses"));
    }
    items.iter().cloned().map(Bypass::from_value).collect()
}

impl Statement {
    const TYPE: u64 = 2;

    /// The deterministic encoding.
    pub fn encode(&self) -> Vec<u8> {
        let mut entries = vec![
            (1, Value::Uint(Self::TYPE)),
            (2, Value::text(&self.shard)),
            (3, Value::Uint(self.seq)),
            (4, Value::Uint(self.count)),
            (5, Value::bytes(self.root)),
            (6, Value::bytes(self.previous)),
            (7, Value::Uint(self.from)),
            (8, Value::Uint(self.to)),
        ];
        entries.extend(self.beacon.map(|beacon| (9, Value::bytes(beacon))));
        entries.extend([
            (10, Value::Uint(self.cumulative_exchanges)),
            (11, Value::Uint(self.cumulative_evidence)),
            (12, Value::bytes(self.policy)),
            (13, self.counters.to_value()),
        ]);
        if !self.bypasses.is_empty() {
            entries.push((14, Value::Array(self.bypasses.iter().map(Bypass::to_value).collect())));
        }
        if !self.rules.is_empty() {
            entries.push((15, self.rules.to_value()));
        }
        Value::Map(entries).encode()
    }

    /// Reads a canonical statement payload.
    pub fn decode(bytes: &[u8]) -> Result<Statement, CborError> {
        let mut map = MapReader::decode(bytes)?;
        map.expect_type(Self::TYPE, "statement type")?;
        let statement = Statement {
            shard: map.required(2)?.as_text("shard")?.to_owned(),
            seq: map.required(3)?.as_uint("seq")?,
            count: map.required(4)?.as_uint("count")?,
            root: map.required(5)?.as_array("batch root")?,
            previous: map.required(6)?.as_array("previous")?,
            from: map.required(7)?.as_uint("from")?,
            to: map.required(8)?.as_uint("to")?,
            beacon: map.optional(9).map(|beacon| beacon.as_array("beacon")).transpose()?,
            cumulative_exchanges: map.required(10)?.as_uint("cumulative exchanges")?,
            cumulative_evidence: map.required(11)?.as_uint("cumulative evidence")?,
            policy: map.required(12)?.as_array("policy digest")?,
            counters: Counters::from_value(map.required(13)?)?,
            bypasses: bypasses(map.optional(14))?,
            rules: Rules::from_value(map.optional(15))?,
        };
        map.finish()?;
        Ok(statement)
    }
}

/// The first leaf of every log generation (type 0). Its signature is the checkpoint's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Genesis {
    /// The log's origin line, generation included.
    pub origin: String,
    /// The log's signed-note verifier keys.
    pub vkeys: Vec<String>,
    /// When the log began, µs.
    pub inception: u64,
    /// Last checkpoint (signed note) of the generation before.
    pub predecessor: Option<Vec<u8>>,
}

impl Genesis {
    const TYPE: u64 = 0;

    /// The deterministic encoding.
    pub fn encode(&self) -> Vec<u8> {
        let mut entries = vec![
            (1, Value::Uint(Self::TYPE)),
            (2, Value::text(&self.origin)),
            (3, Value::Array(self.vkeys.iter().map(Value::text).collect())),
            (4, Value::Uint(self.inception)),
        ];
        entries.extend(self.predecessor.as_ref().map(|note| (5, Value::bytes(note))));
        Value::Map(entries).encode()
    }

    /// Reads a canonical genesis leaf.
    pub fn decode(bytes: &[u8]) -> Result<Genesis, CborError> {
        let mut map = MapReader::decode(bytes)?;
        map.expect_type(Self::TYPE, "genesis type")?;
        let genesis = Genesis {
            origin: map.required(2)?.as_text("origin")?.to_owned(),
            vkeys: map
                .required(3)?
                .as_items("vkeys")?
                .iter()
                .map(|key| key.as_text("vkey").map(str::to_owned))
                .collect::<Result<_, _>>()?,
            inception: map.required(4)?.as_uint("inception")?,
            predecessor: map
                .optional(5)
                .map(|note| note.as_bytes("predecessor").map(<[u8]>::to_vec))
                .transpose()?,
        };
        map.finish()?;
        Ok(genesis)
    }
}

/// Where the life of a sidecar before this one ended: (shard, seq, hash of that statement's payload).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Predecessor {
    /// The earlier shard of the same data folder.
    pub shard: String,
    /// Its last logged statement.
    pub seq: u64,
    /// `H` of that statement's payload.
    pub payload_hash: Hash,
}

/// The log's word that a key speaks for a shard (type 3), signed by the log key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// The shard the key speaks for.
    pub shard: String,
    /// Its Ed25519 public key.
    pub public_key: [u8; 32],
    /// µs.
    pub not_before: u64,
    /// µs; a record counts only if its checkpoint is dated before.
    pub not_after: u64,
    /// The log's origin, so that an announcement cannot be moved to another log.
    pub origin: String,
    /// The life before this one, if any.
    pub predecessor: Option<Predecessor>,
    /// The announced key's signature over `proof_message`.
    pub proof: [u8; 64],
    /// Evidence that the key was born in a TEE.
    pub attestation: Option<Vec<u8>>,
}

impl Announcement {
    const TYPE: u64 = 3;

    fn entries(&self) -> Vec<(u64, Value)> {
        let mut entries = vec![
            (1, Value::Uint(Self::TYPE)),
            (2, Value::text(&self.shard)),
            (3, Value::bytes(self.public_key)),
            (4, Value::Uint(self.not_before)),
            (5, Value::Uint(self.not_after)),
            (6, Value::text(&self.origin)),
        ];
        entries.extend(self.predecessor.as_ref().map(|p| {
            (7, Value::Array(vec![Value::text(&p.shard), Value::Uint(p.seq), Value::bytes(p.payload_hash)]))
        }));
        entries
    }

    /// What the announced key signs to prove that its holder asked: a domain line and the entries before key 8.
    pub fn proof_message(&self) -> Vec<u8> {
        let mut message = b"colophon/announce/v1\n".to_vec();
        Value::Map(self.entries()).encode_into(&mut message);
        message
    }

    /// The deterministic encoding.
    pub fn encode(&self) -> Vec<u8> {
        let mut entries = self.entries();
        entries.push((8, Value::bytes(self.proof)));
        entries.extend(self.attestation.as_ref().map(|a| (9, Value::bytes(a))));
        Value::Map(entries).encode()
    }

    /// Reads a canonical announcement payload. The proof of possession is for the caller to check.
    pub fn decode(bytes: &[u8]) -> Result<Announcement, CborError> {
        let mut map = MapReader::decode(bytes)?;
        map.expect_type(Self::TYPE, "announcement type")?;
        let announcement = Announcement {
            shard: map.required(2)?.as_text("shard")?.to_owned(),
            public_key: map.required(3)?.as_array("public key")?,
            not_before: map.required(4)?.as_uint("not before")?,
            not_after: map.required(5)?.as_uint("not after")?,
            origin: map.required(6)?.as_text("origin")?.to_owned(),
            predecessor: map.optional(7).map(|value| predecessor(&value)).transpose()?,
            proof: map.required(8)?.as_array("proof of possession")?,
            attestation: map
                .optional(9)
                .map(|a| a.as_bytes("attestation").map(<[u8]>::to_vec))
                .transpose()?,
        };
        map.finish()?;
        Ok(announcement)
    }
}

fn predecessor(value: &Value) -> Result<Predecessor, CborError> {
    match value.as_items("predecessor")? {
        [shard, seq, hash] => Ok(Predecessor {
            shard: shard.as_text("predecessor")?.to_owned(),
            seq: seq.as_uint("predecessor")?,
            payload_hash: hash.as_array("predecessor")?,
        }),
        _ => Err(CborError::Value("predecessor")),
    }
}

/// The clean end of a shard (type 5), signed by the shard's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardClose {
    /// The shard that ends.
    pub shard: String,
    /// Its last statement.
    pub seq: u64,
    /// `H` of that statement's payload.
    pub payload_hash: Hash,
    /// µs.
    pub at: u64,
}

impl ShardClose {
    const TYPE: u64 = 5;

    /// The deterministic encoding.
    pub fn encode(&self) -> Vec<u8> {
        Value::Map(vec![
            (1, Value::Uint(Self::TYPE)),
            (2, Value::text(&self.shard)),
            (3, Value::Uint(self.seq)),
            (4, Value::bytes(self.payload_hash)),
            (5, Value::Uint(self.at)),
        ])
        .encode()
    }

    /// Reads a canonical shard-close payload.
    pub fn decode(bytes: &[u8]) -> Result<ShardClose, CborError> {
        let mut map = MapReader::decode(bytes)?;
        map.expect_type(Self::TYPE, "shard close type")?;
        let close = ShardClose {
            shard: map.required(2)?.as_text("shard")?.to_owned(),
            seq: map.required(3)?.as_uint("seq")?,
            payload_hash: map.required(4)?.as_array("payload hash")?,
            at: map.required(5)?.as_uint("at")?,
        };
        map.finish()?;
        Ok(close)
    }
}

/// `H(payload)`, by which a statement names the one before it.
pub fn payload_hash(payload: &[u8]) -> Hash {
    sha256(payload)
}

#[cfg(test)]
mod tests;
