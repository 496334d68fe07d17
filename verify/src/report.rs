//! What a verification says: a result, the checks behind it, and two lists in the program's own words.

use std::fmt;

use colophon_receipt::Level;
use serde::{Serialize, Serializer};

/// The result, and with it the exit code of the programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Every check that could be made passed, against a trust file from outside, with everything that it requires.
    Trusted,
    /// The receipt agrees with itself and with what was given, but something that trust needs is missing.
    ConsistentNotTrusted,
    /// At least one check failed.
    Bad,
}

impl Verdict {
    /// 0 trusted, 1 bad, 3 consistent but not trusted. (2 is for wrong usage.)
    pub fn exit_code(self) -> u8 {
        match self {
            Verdict::Trusted => 0,
            Verdict::Bad => 1,
            Verdict::ConsistentNotTrusted => 3,
        }
    }
}

/// How one check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// It holds.
    Passed,
    /// It does not hold: the receipt, or what was given with it, is bad.
    Failed,
    /// It could not be made; the detail says what is missing.
    NotChecked,
}

/// One check under its stable name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// One of the names in [`crate::checks`].
    pub name: &'static str,
    /// How it ended.
    pub status: Status,
    /// What was found, where, in one sentence.
    pub detail: String,
}

/// What ties the reader's own copy to the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Binding {
    /// Nothing: no copy was given, or it could not be compared.
    None,
    /// The same bytes; the same bytes may also have been sent to someone else.
    BytesOnly,
    /// The reader's copy carries the key's signature over this very record.
    Signature,
    /// The record holds a nonce that the reader chose.
    Nonce,
}

impl fmt::Display for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Binding::None => "none",
            Binding::BytesOnly => "bytes only",
            Binding::Signature => "signature",
            Binding::Nonce => "nonce",
        })
    }
}

/// Where the record's statement stands in the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LogPosition {
    /// The log's origin, escaped for display.
    pub origin: String,
    /// Index of the statement's entry.
    pub index: u64,
    /// Entries in the tree of the checkpoint.
    pub size: u64,
    /// The tree's root, in hexadecimal.
    pub root: String,
}

/// When, by whose clock. Bounds are µs since the epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Time {
    /// Not before, by an independent clock.
    pub lower: Option<u64>,
    /// Not after, by an independent clock.
    pub upper: Option<u64>,
    /// Whose clock the bounds are by, in a sentence.
    pub source: String,
    /// When the exchange was completed, by the operator's own clock.
    pub operator_completed: Option<u64>,
    /// The batch's interval, by the operator's own clock.
    pub operator_batch: Option<(u64, u64)>,
}

/// A witness that cosigned the tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cosignature {
    /// Its verifier key, from the trust file.
    pub vkey: String,
    /// When, by the witness's own clock, in µs since the epoch.
    pub at: u64,
}

/// The keys that were used. Key ids are the SHA-256 of the public key in hexadecimal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Keys {
    /// The log's key, as its verifier key in the trust file; absent without one.
    pub log: Option<String>,
    /// The key that signed the statement.
    pub statement: Option<String>,
    /// The keys that signed the answer on the wire.
    pub http: Vec<String>,
}

/// What the policy decided, as the record says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Decision {
    /// Digest of the policy in force, in hexadecimal.
    pub policy: String,
    /// The name of the rule that decided, escaped for display.
    pub rule: Option<String>,
    /// The same as it is, to look it up in the policy's text.
    #[serde(skip)]
    pub(crate) named: Option<String>,
    /// The level that was asked for.
    pub asked: Option<&'static str>,
    /// The level that was granted.
    pub granted: Option<&'static str>,
    /// Why that is not simply the level asked for, escaped for display.
    pub why_lowered: Option<String>,
    /// The rule itself, escaped for display, where the reader has the policy's text and it is the one in force.
    pub text: Option<String>,
}

/// A draw for a higher level, of a record whose rule samples.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Draw {
    /// The level that it may be drawn for.
    pub target: &'static str,
    /// The share that is drawn, in percent.
    pub percent: f64,
    /// The round of public randomness that decides.
    pub round: u64,
    /// When that is made, µs since the epoch.
    pub round_at: u64,
    /// Whether the record is drawn; absent where that cannot be said: without the round, or with a bad one.
    pub drawn: Option<bool>,
    /// Whether the operator may have steered it: it drew by its own randomness, or no timestamp shows that it committed
    /// before the round was made.
    pub operator_influenced: bool,
    /// What came of it, by a leaf of the log: `not-done`, `holds` or `fails`; absent where the receipt has no such leaf.
    pub evidence: Option<&'static str>,
}

/// One timestamp of a receipt, its signature verified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Timestamp {
    /// What it bounds: the record's log entry was there before an `anchor`, and made after a `beacon`.
    pub of: &'static str,
    /// Its time (genTime), µs since the epoch, by the TSA's clock.
    pub time: u64,
    /// How far the TSA says that may be off, µs.
    pub accuracy: Option<u64>,
    /// The TSA, as its certificate names it, escaped; only where it leads to a root of the trust file.
    pub tsa: Option<String>,
    /// SHA-256 of that root's certificate.
    pub root: Option<String>,
    /// The TSA's policy.
    pub policy: String,
    /// The token's serial number at its TSA, in hexadecimal.
    pub serial: String,
    /// Whether revocation lists at hand cover every certificate of the chain. Otherwise revocation was not checked.
    pub revocation_checked: bool,
}

/// Evidence of the environment that the statement's key lives in, verified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Evidence {
    /// How it is known: the weakest of its pieces.
    pub source: &'static str,
    /// Made by a simulation: for tests.
    pub simulated: bool,
    /// Made while the key was in use; else announced with it.
    pub renewed: bool,
    /// It was made after this, by an independent clock, µs since the epoch.
    pub after: Option<u64>,
    /// And before this.
    pub before: Option<u64>,
    /// Its pieces, as the vendors' names and numbers have it.
    pub pieces: Vec<colophon_attest::Report>,
}

impl Evidence {
    pub(crate) fn of(tee: &crate::attestation::TeeSide) -> Evidence {
        Evidence {
            source: tee.source.as_str(),
            simulated: tee.simulated(),
            renewed: tee.renewed,
            after: tee.after,
            before: tee.before,
            pieces: tee.reports.clone(),
        }
    }
}

/// Evidence of the server that answered, verified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Upstream {
    /// How it is known: the weakest of its pieces.
    pub source: &'static str,
    /// Made by a simulation: for tests.
    pub simulated: bool,
    /// A key that it names signed request and answer; otherwise that this server answered is the proxy's word.
    pub signed: bool,
    /// It was made before this, by an independent clock, µs since the epoch.
    pub before: Option<u64>,
    /// Its pieces, as the vendors' names and numbers have it.
    pub pieces: Vec<colophon_attest::Report>,
}

impl Upstream {
    pub(crate) fn of(upstream: &crate::attestation::UpstreamSide) -> Upstream {
        Upstream {
            source: upstream.source.as_str(),
            simulated: upstream.simulated(),
            signed: upstream.signed,
            before: upstream.before,
            pieces: upstream.reports.clone(),
        }
    }
}

/// A proof about the record. Texts are escaped for display.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Proof {
    /// SHA-256 of the verifying key: the commitment to the model, in hexadecimal.
    pub circuit: String,
    /// What the trust file calls it, else the model certificate.
    pub name: Option<String>,
    /// SHA-256 of the model certificate that the statement names, in hexadecimal.
    pub certificate: Option<String>,
    /// The authority of the trust file that certified the circuit, by the reader's copy of that certificate.
    pub certified_by: Option<String>,
    /// Name and version of the prover, by the operator's word.
    pub prover: String,
    /// Whether the proof hides its private inputs, by the operator's word. Otherwise it is succinct, and no zero-knowledge proof.
    pub hides: bool,
    /// Where the parameters come from: the reader's own prover program says it, else the operator. `local`: their maker can forge.
    pub setup: Option<String>,
    /// How the proven model differs from the one it was made of, by the operator's word.
    pub quantisation: String,
    /// Tokens of the answer that it is about; absent where it is about a classifier's decision.
    pub tokens: Option<usize>,
    /// Whether it holds, by the reader's own prover program, for a circuit of the trust file, or of a
    /// certificate by one of its authorities.
    pub verified: bool,
    /// What it shows beside its statement, such as a score, as the reader's own prover program reads it.
    pub claims: Option<serde_json::Value>,
}

/// What is known of the model, and how. Names are escaped for display.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Model {
    /// As the request named it, by the record.
    pub requested: Option<String>,
    /// As the response named it, by the record.
    pub reported: Option<String>,
    /// `configured`, `observed` or `attested`, by the record.
    pub known_by: Option<String>,
    /// The same, as far as the receipt shows it: only this counts. `attested` only where dated evidence of hardware about the
    /// key of the record's statement is as the certificate says, which an authority of the trust file issued.
    pub shown_by: Option<&'static str>,
    /// Whose word that is, by the record.
    pub source: Option<String>,
    /// Digest of the certificate that the record names, in hexadecimal.
    pub certificate: Option<String>,
    /// The model's name, as the reader's certificate has it.
    pub name: Option<String>,
    /// Its version, likewise.
    pub version: Option<String>,
    /// The authority of the trust file that signed it.
    pub issuer: Option<String>,
    /// `good`, `expired`, `not-yet-valid`, `revoked` or `unknown-authority`; absent where the reader gave no certificate.
    pub standing: Option<&'static str>,
    /// The same in a sentence.
    pub detail: Option<String>,
    /// How the evidence about the statement's key compares with what the certificate says of machines; absent where one of
    /// them is, or the certificate does not count.
    pub evidence: Option<Compared>,
    /// Likewise the evidence of the server that answered.
    pub upstream_evidence: Option<Compared>,
}

/// Evidence beside the reference values of a model certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Compared {
    /// It is as the certificate says.
    pub matches: bool,
    /// Whether it is dated evidence of hardware, beyond matching: simulated evidence is not, nor is any without a time.
    pub counts: bool,
    /// Why it does not match.
    pub detail: Option<String>,
}

/// What `verify` found. Of a bad receipt, everything but the result and the checks is only what it says of itself.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The result.
    pub result: Verdict,
    /// The record's id as a UUID.
    pub record: Option<String>,
    /// The level that the record claims.
    #[serde(serialize_with = "level")]
    pub claimed_level: Option<Level>,
    /// The level that was verified: only this one counts. Absent while nothing is trusted.
    #[serde(serialize_with = "level")]
    pub verified_level: Option<Level>,
    /// What the policy decided; the rule's text is shown only where it was checked.
    pub decision: Option<Decision>,
    /// The draw that the record is in, if its rule samples.
    pub draw: Option<Draw>,
    /// What is known of the model.
    pub model: Option<Model>,
    /// How the exchange ended, by the record.
    pub outcome: Option<&'static str>,
    /// The shard, escaped for display.
    pub shard: Option<String>,
    /// The keys used.
    pub keys: Keys,
    /// The place in the log.
    pub log: Option<LogPosition>,
    /// When.
    pub time: Time,
    /// The timestamps in the receipt, anchors first.
    pub timestamps: Vec<Timestamp>,
    /// Under whose eyes the log is the only one.
    pub uniqueness: String,
    /// The witnesses of the trust file that cosigned the tree.
    pub witnesses: Vec<Cosignature>,
    /// The names on cosignature lines of others, escaped: nothing about them was checked.
    pub witnesses_not_checked: Vec<String>,
    /// Evidence of the environment that the statement's key was born in.
    pub evidence: Option<Evidence>,
    /// Evidence of the server that answered.
    pub upstream: Option<Upstream>,
    /// A proof about the record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proof: Option<Proof>,
    /// What ties the reader's copy to the record.
    pub binding: Binding,
    /// What follows from the checks, in the standard wording.
    pub proven: Vec<String>,
    /// What does not.
    pub not_proven: Vec<String>,
    /// What the operator's record says, escaped; nothing here is verified as a fact.
    pub record_says: Vec<String>,
    /// Every check, in a fixed order.
    pub checks: Vec<Check>,
}

impl Report {
    /// The checks that failed.
    pub fn failed(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(|check| check.status == Status::Failed)
    }

    /// The check of this name.
    pub fn check(&self, name: &str) -> Option<&Check> {
        self.checks.iter().find(|check| check.name == name)
    }
}

fn level<S: Serializer>(level: &Option<Level>, serializer: S) -> Result<S::Ok, S::Error> {
    match level {
        Some(level) => serializer.serialize_str(level.as_str()),
        None => serializer.serialize_none(),
    }
}
