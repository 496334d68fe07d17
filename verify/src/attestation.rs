//! Evidence that the statement's key lives in a trusted environment, as the log announced it with the key, or as it was made
//! and logged later.
//!
//! What counts for `tee` is decided here and nowhere else: evidence with a chain to a vendor's root, about this very key,
//! compared with reference values of the trust file, and judged at a time that others vouch for.

use colophon_attest::{Collateral, Document, Policy, Question, Refusal, Report, SimulatedRoots, Source, aci};
use colophon_receipt::Level;
use colophon_receipt::evidence::{EvidenceLeaf, Verdict, commitment};
use colophon_receipt::merkle::sha256;
use colophon_receipt::receipt::{KeyEvidencePart, Receipt};
use colophon_signer::rfc3161::Token;

use crate::anchors::TimeSide;
use crate::basis::Basis;
use crate::checks::{ATTESTATION, Checks};
use crate::evidence;
use crate::log::{Announced, LogSide};
use crate::revoked;
use crate::text::{quoted, time};
use crate::trust::Trust;

/// Evidence that was verified.
pub(crate) struct TeeSide {
    pub(crate) reports: Vec<Report>,
    /// The weakest source among its pieces.
    pub(crate) source: Source,
    /// It was made after this, µs, by a TSA of the trust file.
    pub(crate) after: Option<u64>,
    /// And before this.
    pub(crate) before: Option<u64>,
    /// The time of the token that it answers, µs, whoever made that.
    pub(crate) token_at: Option<u64>,
    /// Made while the key was in use, and logged as evidence; else announced with the key.
    pub(crate) renewed: bool,
    /// When it was no longer good although the record may have been made then, µs, and why not: it shows no more than `sign`.
    pub(crate) aged: Option<(u64, String)>,
    /// The highest level that it can show.
    pub(crate) level: Level,
    document: Document,
    /// The time that it was judged at, s.
    at: u64,
    /// The time of the record, if that is later: it was judged at this too, s.
    until: Option<u64>,
}

impl TeeSide {
    /// Whether any piece is simulated.
    pub(crate) fn simulated(&self) -> bool {
        self.reports.iter().any(Report::is_simulated)
    }

    /// What it counts for by other reference values than the trust file's, such as those that a model certificate carries.
    pub(crate) fn by(&self, policy: &Policy, trust: Option<&Trust>) -> Result<Level, Refusal> {
        let at = |at| {
            asked_by(at, policy, trust, |question| self.document.verify(&Collateral::default(), question))
        };
        let level = level(&at(self.at)?.reports, self.after.or(self.before).is_some());
        Ok(if self.until.is_some_and(|until| at(until).is_err()) { level.min(Level::Sign) } else { level })
    }

    /// When it was made, in a sentence.
    pub(crate) fn interval(&self) -> String {
        match (self.after, self.before) {
            (Some(after), Some(before)) => format!("made after {} and before {}", time(after), time(before)),
            (Some(after), None) => format!("made after {}, and nobody says before when", time(after)),
            (None, Some(before)) => format!("made before {}, and nobody says after when", time(before)),
            (None, None) => "and nobody says when it was made".into(),
        }
    }

    /// That it was not good any more, in a clause.
    pub(crate) fn aged(&self) -> Option<String> {
        let (at, why) = self.aged.as_ref()?;
        Some(format!("at {}, when the record may have been made, it was not good any more: {why}", time(*at)))
    }

    /// Which, and when it was made, for people.
    fn said(&self) -> String {
        let which = if self.renewed { "renewed" } else { "announced with the key" };
        let shows = if self.level >= Level::Tee { "" } else { "; it counts for no more than sign" };
        let aged = self.aged().map(|aged| format!("; {aged}")).unwrap_or_default();
        format!("{which}: {}, {}{aged}{shows}", names(self), self.interval())
    }
}

/// Makes the check `attestation`, where the key was announced with evidence, or the receipt has some that was made later. `claimed` is
/// the record's level: evidence that is refused makes a receipt bad that claims `tee` by it. Of what is good, the one counts that
/// shows more; of equals the later.
pub(crate) fn check(
    receipt: &Receipt,
    claimed: Option<Level>,
    log: &mut LogSide,
    stamps: &TimeSide,
    trust: Option<&Trust>,
    at: Option<u64>,
    checks: &mut Checks,
) -> Option<TeeSide> {
    let announced = log.announced.first()?;
    let (mut bases, mut uncounted) = (Vec::new(), None);
    let key = &announced.payload.public_key;
    let until = until(announced, log, stamps);
    let mut judged = Vec::new();
    if let Some(document) = announced.payload.attestation.as_deref() {
        let before = stamps.upper().map(|stamp| stamp.time);
        judged.push(judge(document, key, (before, until), false, trust, at));
    }
    if let Some(part) = &receipt.key_evidence {
        match logged(part, announced, log, stamps, trust) {
            Ok((before, rests_on)) => match revoked::uncounted(trust, &rests_on, log, stamps) {
                Some(why) => uncounted = Some(why),
                None => {
                    bases = rests_on;
                    judged.push(judge(&part.document.0, key, (before, until), true, trust, at));
                }
            },
            Err(why) => {
                // Whatever the record claims: this is no evidence of the log's.
                checks.add(ATTESTATION, Err(format!("the receipt's later evidence about the key: {why}")));
                return None;
            }
        }
    }
    if let (Some(why), true) = (&uncounted, judged.is_empty()) {
        checks.skip(ATTESTATION, why);
        return None;
    }
    let (mut good, mut undated) = (Vec::new(), judged.is_empty());
    if undated {
        return None;
    }
    for judged in judged {
        match judged {
            Ok(Judged::Good(tee)) => good.push(*tee),
            Ok(Judged::Undated) => undated = true,
            Err(why) if claimed >= Some(Level::Tee) => {
                checks.add(ATTESTATION, Err(why));
                return None;
            }
            Err(why) => {
                checks.skip(
                    ATTESTATION,
                    format!("the evidence is refused, and the record claims no tee: {why}"),
                );
                return None;
            }
        }
    }
    if good.is_empty() && undated {
        checks.skip(ATTESTATION, "its collateral can be judged at no time: there is no timestamp by a TSA of the trust file, and no --at");
        return None;
    }
    let what = good.iter().map(TeeSide::said).chain(uncounted).collect::<Vec<_>>().join(". ");
    match trust.is_some_and(|trust| trust.attestation.is_some()) {
        true => drop(checks.add(ATTESTATION, Ok(what))),
        false => checks.skip(
            ATTESTATION,
            format!("{what}. The trust file has no reference values (attestation): anybody can rent such a machine"),
        ),
    }
    let best = good.into_iter().max_by_key(|tee| (tee.level, tee.renewed));
    // What was announced with the key rests on the announcement alone.
    log.bases.extend(bases.into_iter().filter(|_| best.as_ref().is_some_and(|tee| tee.renewed)));
    best
}

/// That the log holds later evidence about the key, made and logged by the key itself. Gives the time before which that was.
fn logged(
    part: &KeyEvidencePart,
    announced: &Announced,
    log: &LogSide,
    stamps: &TimeSide,
    trust: Option<&Trust>,
) -> Result<(Option<u64>, Vec<Basis>), String> {
    let leaf =
        EvidenceLeaf::decode(&part.logged.leaf.0).map_err(|error| format!("no evidence leaf: {error}"))?;
    if leaf.subject != announced.payload_hash() {
        return Err("it is about another key".into());
    }
    if (leaf.kind, leaf.verdict) != (Level::Tee, Verdict::Holds) {
        return Err(format!("its leaf says {} for {}", leaf.verdict.as_str(), leaf.kind));
    }
    let salt = part.salt.salt().ok_or("its salt is not 16 bytes")?;
    if leaf.commitment != commitment(&salt, &sha256(&part.document.0)) {
        return Err("its leaf commits to another document".into());
    }
    if part.logged.announcement.is_some() {
        return Err("it names another announcement than the key's".into());
    }
    if part.logged.proof.is_some() {
        return Err("a proof comes with it, which its leaf says nothing of".into());
    }
    let (proof, bases) = evidence::logged(&part.logged, &leaf, log, trust)?;
    // What dates the record's checkpoint dates this as well, where it is in that very tree.
    let same = log.is_own(&proof.checkpoint);
    Ok((stamps.upper().filter(|_| same).map(|stamp| stamp.time), bases))
}

/// The latest time that the record may have been made, µs: by others' clocks; where they do not say, the latest that is known of
/// its statement. The reader's own time is of no account: what was good stays good.
fn until(announced: &Announced, log: &LogSide, stamps: &TimeSide) -> u64 {
    if let Some(upper) = stamps.upper() {
        return upper.time;
    }
    let after = stamps.lower().map(|beacon| beacon.time);
    let closed = log.statement.as_ref().map(|statement| statement.to);
    after.into_iter().chain(closed).fold(announced.payload.not_before, u64::max)
}

/// Asks evidence that was judged before once more, by other reference values.
fn asked_by<T>(
    at: u64,
    policy: &Policy,
    trust: Option<&Trust>,
    ask: impl FnOnce(&Question<'_>) -> Result<T, Refusal>,
) -> Result<T, Refusal> {
    let simulated = simulated_roots(trust);
    ask(&Question { at, policy: Some(policy), simulated: simulated.as_ref(), ..Question::default() })
}

fn simulated_roots(trust: Option<&Trust>) -> Option<SimulatedRoots> {
    let allowed = trust.is_some_and(|trust| trust.allow_simulated);
    allowed.then(|| SimulatedRoots::of_seed(colophon_attest::simulate::DEFAULT_SEED))
}

enum Judged {
    Good(Box<TeeSide>),
    Undated,
}

fn judge(
    document: &[u8],
    key: &[u8; 32],
    (before, until): (Option<u64>, u64),
    renewed: bool,
    trust: Option<&Trust>,
    at: Option<u64>,
) -> Result<Judged, String> {
    let document = Document::read(document).map_err(|refusal| refusal.to_string())?;
    let nonce = document.statement().map_err(|refusal| refusal.to_string())?.nonce;
    let (token_at, after) = match (&document.token, nonce) {
        (Some(token), Some(nonce)) => epoch(token, &nonce, trust).map(|(at, after)| (Some(at), after))?,
        (None, None) => (None, None),
        (Some(_), None) => return Err("it carries a timestamp token, and its nonce is of none".into()),
        (None, Some(_)) => return Err("its nonce is of a timestamp token that it does not carry".into()),
    };
    if after.zip(before).is_some_and(|(after, before)| after > before) {
        return Err("its token is later than the timestamp before which it was logged".into());
    }
    let Some(judged_at) = after.or(before).or(at) else { return Ok(Judged::Undated) };
    let policy = trust.and_then(|trust| trust.attestation.as_ref());
    let simulated = simulated_roots(trust);
    let question = Question {
        at: judged_at / 1_000_000,
        // The statement's nonce is the token's, as was just seen.
        nonce: None,
        report_data: None,
        policy,
        simulated: simulated.as_ref(),
    };
    let attested =
        document.verify(&Collateral::default(), &question).map_err(|refusal| refusal.to_string())?;
    if !attested.keyset.shard_keys.contains(key) {
        return Err("the evidence is about other keys than the one announced".into());
    }
    // The operator chooses which token it answers: how old the evidence was when the record was made is not for him to say.
    let until = after.or(before).filter(|judged| until > *judged).map(|_| until);
    let aged = until.and_then(|until| {
        let question = Question { at: until / 1_000_000, ..question };
        let refusal = document.verify(&Collateral::default(), &question).err()?;
        Some((until, refusal.to_string()))
    });
    let shows = level(&attested.reports, after.or(before).is_some());
    Ok(Judged::Good(Box::new(TeeSide {
        source: attested.reports.iter().map(|report| report.source).min().unwrap_or(Source::OperatorAsserted),
        level: if aged.is_some() { shows.min(Level::Sign) } else { shows },
        aged,
        until: until.map(|until| until / 1_000_000),
        reports: attested.reports,
        after,
        before,
        token_at,
        renewed,
        document,
        at: question.at,
    })))
}

/// The time of the token that the nonce is of; and once more, if it is by a TSA of the trust file.
fn epoch(token: &[u8], nonce: &str, trust: Option<&Trust>) -> Result<(u64, Option<u64>), String> {
    if hex::encode(aci::epoch_nonce(token)) != nonce {
        return Err("its nonce is of another timestamp token than the one it carries".into());
    }
    let token = Token::parse(token).map_err(|error| format!("its timestamp token: {error}"))?;
    let trusted = trust.is_some_and(|trust| token.chain(&trust.tsa_roots).is_ok());
    let at = token.info().gen_time;
    Ok((at, trusted.then_some(at)))
}

/// The one place that says what counts for `tee` (DESIGN section 8).
fn level(reports: &[Report], dated: bool) -> Level {
    let counts = |report: &Report| {
        report.compared
            && !report.is_simulated()
            && report.source == Source::HardwareProven
            && report.highest_level() >= Level::Tee
    };
    if dated && !reports.is_empty() && reports.iter().all(counts) { Level::Tee } else { Level::Sign }
}

/// Its pieces, as the report names them.
pub(crate) fn names(tee: &TeeSide) -> String {
    named_pieces(&tee.reports)
}

pub(crate) fn named_pieces(reports: &[Report]) -> String {
    let name = |report: &Report| {
        let simulated = if report.is_simulated() { "SIMULATED " } else { "" };
        format!("{simulated}{} ({}, {})", report.platform, quoted(&report.about), report.source.as_str())
    };
    reports.iter().map(name).collect::<Vec<_>>().join(", ")
}

mod upstream;

pub(crate) use upstream::{UpstreamSide, check as check_upstream};

#[cfg(test)]
mod tests;
