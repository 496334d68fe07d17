//! The offline verifier: a receipt, a trust file and the reader's copies in, a report out.
//!
//! [`verify`] is pure computation: no network, no file, no clock but the `at` it is given. Every byte of a receipt is
//! either checked or refused. [`cli`] puts a command line around it.

mod anchors;
mod attestation;
mod basis;
pub mod bodies;
pub mod checks;
pub mod cli;
mod copies;
pub mod count;
mod draw;
mod evidence;
pub mod folder;
mod http;
mod log;
mod model;
mod policy;
pub mod proof;
mod record;
pub mod report;
mod revoked;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod text;
pub mod trust;
mod wording;

use colophon_receipt::receipt::Receipt;
use colophon_receipt::{Level, fields};

pub use bodies::{Bodies, Body, BodyReader, Side};
pub use report::{Binding, Check, Report, Status, Verdict};
pub use text::{edge, time};
pub use trust::Trust;

use anchors::TimeSide;
use attestation::{TeeSide, UpstreamSide};
use checks::{Checks, LEVEL, RECEIPT_FORM, REQUIREMENTS, TIME};
use copies::CopySide;
use http::HttpSide;
use log::LogSide;
use model::ModelSide;
use proof::{Reader, ZkSide};
use record::Record;
use report::{Keys, LogPosition};

/// Two clocks may differ by this many µs: the reader's from the operator's, the upstream's from the proxy's.
pub const CLOCK_TOLERANCE: u64 = 300_000_000;

/// Verifies a receipt, given as the bytes of its file.
///
/// `trust` has to come from elsewhere than the receipt; without it the best result is "consistent, not trusted". `at` is
/// the reader's time in µs since the epoch: what a receipt says to have happened later is refused.
pub fn verify(receipt: &[u8], trust: Option<&Trust>, bodies: &Bodies, at: Option<u64>) -> Report {
    let mut checks = Checks::default();
    let receipt = match Receipt::from_json(receipt) {
        Ok(receipt) => receipt,
        Err(_) if receipt.is_empty() => return refused(checks, "the file is empty".into()),
        Err(error) => return refused(checks, error.to_string()),
    };
    checks.add(RECEIPT_FORM, Ok("the known format in its only spelling".into()));
    let record = record::check(&receipt.record, &mut checks);
    let mut log = log::check(&receipt, record.as_ref(), trust, &mut checks);
    let stamps = anchors::check(&receipt, record.as_ref(), &log, trust, &mut checks);
    let http = http::check(&receipt, record.as_ref(), &mut log, trust, &mut checks);
    let claimed = record.as_ref().map(|record| record.leaf.level);
    let tee = attestation::check(&receipt, claimed, &mut log, &stamps, trust, at, &mut checks);
    let upstream = attestation::check_upstream(&receipt, record.as_ref(), &stamps, trust, at, &mut checks);
    let mut late = Checks::default();
    let mut draw = draw::check(&receipt, record.as_ref(), &log, &stamps, bodies, &mut late);
    let reader = Reader { stamps: &stamps, trust, bodies };
    let zk = evidence::check(&receipt, record.as_ref(), &mut log, &reader, &mut draw, &mut late);
    check_level(record.as_ref(), &http, tee.as_ref(), upstream.as_ref(), zk.as_ref(), trust, &mut checks);
    let rule = policy::check(record.as_ref(), bodies, &mut checks);
    checks.0.append(&mut late.0);
    let model =
        model::check(record.as_ref(), &stamps, (tee.as_ref(), upstream.as_ref()), trust, bodies, &mut checks);
    let copies = copies::check(record.as_ref(), &log, &http, trust, bodies, &mut checks);
    check_time(record.as_ref(), &log, &http, tee.as_ref(), &stamps, at, &mut checks);
    revoked::check(trust, &log, &http, upstream.as_ref(), &stamps, &mut checks);
    let complete = check_requirements(trust, &log, &copies, &stamps, model.certified, &mut checks);

    let result = match () {
        () if checks.any_failed() => Verdict::Bad,
        () if trust.is_some() && complete && !copies.not_compared => Verdict::Trusted,
        () => Verdict::ConsistentNotTrusted,
    };
    let trusted_log = trust.is_some();
    let case =
        Case { record, rule, draw, zk, model, log, stamps, http, tee, upstream, copies, trusted_log, at };
    case.report(result, checks.0)
}

/// Everything that the checks read, for the report.
pub(crate) struct Case {
    pub(crate) record: Option<Record>,
    /// What was drawn.
    pub(crate) draw: Option<report::Draw>,
    /// A proof about the record.
    pub(crate) zk: Option<ZkSide>,
    /// What is known of the model.
    pub(crate) model: ModelSide,
    /// The text of the rule that decided.
    pub(crate) rule: Option<String>,
    pub(crate) log: LogSide,
    pub(crate) stamps: TimeSide,
    pub(crate) http: HttpSide,
    pub(crate) tee: Option<TeeSide>,
    pub(crate) upstream: Option<UpstreamSide>,
    pub(crate) copies: CopySide,
    pub(crate) trusted_log: bool,
    pub(crate) at: Option<u64>,
}

impl Case {
    pub(crate) fn verified_level(&self) -> Level {
        let claimed = self.record.as_ref().map_or(Level::Pass, |record| record.leaf.level);
        verified_level(claimed, &self.http, self.tee.as_ref(), self.upstream.as_ref(), self.zk.as_ref())
    }

    fn report(&self, result: Verdict, checks: Vec<Check>) -> Report {
        let leaf = self.record.as_ref().map(|record| &record.leaf);
        let statement = self.log.statement.as_ref();
        let verified_level = (result != Verdict::Bad && self.trusted_log).then(|| self.verified_level());
        // Of a bad receipt no bound counts, nor without a trust file.
        let bounds = (result != Verdict::Bad).then_some(&self.stamps);
        let (proven, not_proven) = wording::lists(self, result, &checks);
        Report {
            result,
            record: leaf.map(|leaf| colophon_receipt::record::id_text(&leaf.id)),
            claimed_level: leaf.map(|leaf| leaf.level),
            verified_level,
            decision: policy::decision(self.record.as_ref())
                .map(|decision| report::Decision { text: self.rule.clone(), ..decision }),
            draw: self.draw.clone(),
            model: self.model.report.clone(),
            outcome: leaf.map(|leaf| leaf.outcome.as_str()),
            shard: statement.map(|statement| text::shown(&statement.shard)),
            keys: Keys {
                log: self.log.log_key.as_ref().map(|key| text::shown(key.to_string())),
                statement: self.log.statement_kid.map(hex::encode),
                http: self.http.signed.iter().map(|signed| signed.key.key_id_hex()).collect(),
            },
            log: self.log.proof.as_ref().map(|proof| LogPosition {
                origin: text::shown(&proof.checkpoint.origin),
                index: proof.index,
                size: proof.checkpoint.size,
                root: hex::encode(proof.checkpoint.root),
            }),
            time: report::Time {
                lower: bounds.and_then(|stamps| stamps.lower()).map(|stamp| stamp.time),
                upper: bounds.and_then(|stamps| stamps.upper()).map(|stamp| stamp.time),
                source: bounds.map_or_else(|| wording::NO_TIME.into(), wording::bounds),
                operator_completed: leaf.map(|leaf| leaf.completed_at),
                operator_batch: statement.map(|statement| (statement.from, statement.to)),
            },
            timestamps: self.stamps.report(),
            uniqueness: wording::uniqueness(self, result),
            witnesses: self
                .log
                .cosigned
                .iter()
                .map(|(key, at)| report::Cosignature {
                    vkey: text::shown(key.to_string()),
                    at: at.saturating_mul(1_000_000),
                })
                .collect(),
            witnesses_not_checked: self.log.unknown_witnesses.iter().map(text::shown).collect(),
            evidence: self.tee.as_ref().filter(|_| result != Verdict::Bad).map(report::Evidence::of),
            upstream: self.upstream.as_ref().filter(|_| result != Verdict::Bad).map(report::Upstream::of),
            proof: self.zk.as_ref().filter(|_| result != Verdict::Bad).map(|zk| zk.report.clone()),
            binding: if result == Verdict::Bad { Binding::None } else { self.copies.binding() },
            proven,
            not_proven,
            record_says: if result == Verdict::Bad { Vec::new() } else { wording::record_says(self) },
            checks,
        }
    }
}

/// A file that is no receipt at all.
fn refused(mut checks: Checks, why: String) -> Report {
    checks.add(RECEIPT_FORM, Err(why));
    let case = Case {
        record: None,
        rule: None,
        draw: None,
        zk: None,
        model: ModelSide::default(),
        log: LogSide::default(),
        stamps: TimeSide::default(),
        http: HttpSide::default(),
        tee: None,
        upstream: None,
        copies: CopySide::default(),
        trusted_log: false,
        at: None,
    };
    case.report(Verdict::Bad, checks.0)
}

/// What the receipt shows, whatever it claims; `tee` only where the record claims it too. A proof comes after the record, which
/// claims `sign`.
fn verified_level(
    claimed: Level,
    http: &HttpSide,
    tee: Option<&TeeSide>,
    upstream: Option<&UpstreamSide>,
    zk: Option<&ZkSide>,
) -> Level {
    if !http.both_digests {
        return Level::Commit;
    }
    if zk.is_some_and(|zk| zk.verified) {
        return Level::Zk;
    }
    if claimed < Level::Tee {
        return Level::Sign;
    }
    let shown = tee.map(|tee| tee.level).max(upstream.map(|upstream| upstream.level));
    shown.unwrap_or(Level::Sign).clamp(Level::Sign, Level::Tee)
}

fn check_level(
    record: Option<&Record>,
    http: &HttpSide,
    tee: Option<&TeeSide>,
    upstream: Option<&UpstreamSide>,
    zk: Option<&ZkSide>,
    trust: Option<&Trust>,
    checks: &mut Checks,
) {
    let Some(record) = record.filter(|record| record.fields_hold) else {
        return checks.skip(LEVEL, "needs the record leaf and its fields");
    };
    let claimed = record.leaf.level;
    if let Some(granted) = record.opened.decision.as_ref().and_then(|decision| decision.granted)
        && granted != claimed.code()
    {
        let name = fields::name(fields::DECISION);
        checks.add(LEVEL, Err(format!("the leaf says {claimed}, the field \"{name}\" says {granted}")));
        return;
    }
    if trust.is_none() {
        let what = format!("{claimed} is claimed; without a trust file no level is verified");
        return checks.skip(LEVEL, what);
    }
    let verified = verified_level(claimed, http, tee, upstream, zk);
    if claimed > verified {
        checks.skip(
            LEVEL,
            format!("{claimed} is claimed, which is not shown: the receipt shows no more than {verified}"),
        );
    } else {
        checks.add(LEVEL, Ok(format!("{claimed} is claimed, {verified} is shown")));
    }
}

fn check_time(
    record: Option<&Record>,
    log: &LogSide,
    http: &HttpSide,
    tee: Option<&TeeSide>,
    stamps: &TimeSide,
    at: Option<u64>,
    checks: &mut Checks,
) {
    let Some(at) = at else { return checks.skip(TIME, "no time was given (--at)") };
    // A batch's end is left out: the log may have been slow, and the reader's time that of the answer.
    let times = [record.map(|record| record.leaf.completed_at), log.statement.as_ref().map(|s| s.from)];
    let keys = log.announced.iter().map(|announced| announced.payload.not_before);
    let signed = http.signed.iter().filter_map(|signed| signed.base.input.created());
    let signed = signed.map(|seconds| seconds.saturating_mul(1_000_000));
    let cosigned = log.cosigned.iter().chain(log.bases.iter().flat_map(|basis| &basis.cosigned));
    let cosigned = cosigned.map(|(_, at)| at.saturating_mul(1_000_000));
    let evidence = log.bases.iter().flat_map(|basis| basis.times.iter().copied());
    let evidence = evidence.chain(tee.and_then(|tee| tee.token_at));
    let others = stamps.times().chain(cosigned).chain(evidence);
    let latest =
        times.into_iter().flatten().chain(keys).chain(signed).chain(others).max().unwrap_or_default();
    let finding = if latest > at.saturating_add(CLOCK_TOLERANCE) {
        Err(format!("it says {}, which is after {}", text::time(latest), text::time(at)))
    } else {
        Ok(format!(
            "record, batch, keys, signatures, timestamps and evidence begin no later than {}",
            text::time(at)
        ))
    };
    checks.add(TIME, finding);
}

/// Whether everything that the trust file requires is there. What is missing is not a fault of the receipt.
fn check_requirements(
    trust: Option<&Trust>,
    log: &LogSide,
    copies: &CopySide,
    stamps: &TimeSide,
    certified: bool,
    checks: &mut Checks,
) -> bool {
    let Some(trust) = trust else {
        checks.skip(REQUIREMENTS, "no trust file was given");
        return false;
    };
    let require = trust.require;
    let cosigned: Vec<_> = log.cosigned.iter().map(|(key, _)| key.clone()).collect();
    let unseen = log.elsewhere().find(|basis| !trust.are_enough(&basis.witnesses()));
    let unseen = unseen.map(|basis| {
        format!(
            "cosignatures by more of its witnesses than have cosigned the tree head of {} entries under which {} is proved (ask \
             for the receipt again later)",
            basis.checkpoint.size, basis.what
        )
    });
    let timestamps = format!("{} timestamps (RFC 3161): {} count", require.timestamps, stamps.counted());
    let missing = [
        (require.request && !copies.has(Side::Request), "your copy of the request (--request)"),
        (require.response && !copies.has(Side::Response), "your copy of the response (--response)"),
        (stamps.counted() < require.timestamps as usize, timestamps.as_str()),
        (require.model && !certified, "a model certificate by one of its authorities (--model-cert)"),
        (
            !trust.are_enough(&cosigned),
            "cosignatures by more of its witnesses than have cosigned this checkpoint (ask for the receipt again later)",
        ),
        (unseen.is_some(), unseen.as_deref().unwrap_or_default()),
    ];
    let missing: Vec<&str> = missing.into_iter().filter(|(is, _)| *is).map(|(_, what)| what).collect();
    if missing.is_empty() {
        return checks.add(REQUIREMENTS, Ok("all that the trust file requires is there".into()));
    }
    checks.skip(REQUIREMENTS, format!("the trust file requires {}", missing.join("; ")));
    false
}

#[cfg(test)]
mod tests;
