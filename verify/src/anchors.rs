//! Timestamps by others: those over the receipt's checkpoint say *before*, the statement's beacon says *after*.
//!
//! They date the commitment, not the exchange. A timestamp that is bad makes the receipt bad; a good one by a TSA that
//! the trust file does not name says nothing.

use colophon_receipt::merkle::sha256;
use colophon_receipt::receipt::{Anchor, Bytes, MAX_ANCHORS, Receipt};
use colophon_signer::rfc3161::{ChainError, Roots, Token, TstInfo};

use crate::CLOCK_TOLERANCE;
use crate::checks::{ANCHORS, BEACON, Checks};
use crate::log::{LogProof, LogSide};
use crate::record::Record;
use crate::report::Timestamp;
use crate::text::{quoted, shown, time};
use crate::trust::Trust;

/// A token whose own signature is good.
pub(crate) struct Stamp {
    info: TstInfo,
    /// Genuine only with a TSA that the trust file names.
    by: Option<By>,
    pub(crate) time: u64,
}

/// Who made it, by a root of the trust file.
struct By {
    tsa: String,
    root: [u8; 32],
    crl_checked: bool,
}

impl Stamp {
    /// The TSA as the report names it.
    pub(crate) fn tsa(&self) -> String {
        quoted(self.by.as_ref().map_or("", |by| by.tsa.as_str()))
    }
}

/// The timestamps of a receipt.
#[derive(Default)]
pub(crate) struct TimeSide {
    anchors: Vec<Stamp>,
    beacon: Option<Stamp>,
    /// When the statement's key ends: an entry that is dated later does not count.
    key_ends: Option<u64>,
}

impl TimeSide {
    /// The trusted timestamp before which the commitment was there: the earliest.
    pub(crate) fn upper(&self) -> Option<&Stamp> {
        self.anchors.iter().filter(|stamp| stamp.by.is_some()).min_by_key(|stamp| stamp.time)
    }

    /// The trusted timestamp after which it was made.
    pub(crate) fn lower(&self) -> Option<&Stamp> {
        self.beacon.as_ref().filter(|stamp| stamp.by.is_some())
    }

    /// Whether the earliest trusted timestamp is after the end of the statement's key.
    pub(crate) fn too_late(&self) -> bool {
        self.upper().zip(self.key_ends).is_some_and(|(upper, ends)| upper.time > ends)
    }

    /// Timestamps that count towards what the trust file requires: by different roots, before the end of the key.
    pub(crate) fn counted(&self) -> usize {
        let in_time =
            self.anchors.iter().filter(|stamp| self.key_ends.is_some_and(|ends| stamp.time <= ends));
        let mut roots: Vec<_> = in_time.filter_map(|stamp| stamp.by.as_ref().map(|by| by.root)).collect();
        roots.sort_unstable();
        roots.dedup();
        roots.len()
    }

    /// All their times, trusted or not.
    pub(crate) fn times(&self) -> impl Iterator<Item = u64> {
        self.anchors.iter().chain(&self.beacon).map(|stamp| stamp.time)
    }

    pub(crate) fn report(&self) -> Vec<Timestamp> {
        let report = |of: &'static str, stamp: &Stamp| Timestamp {
            of,
            time: stamp.time,
            accuracy: stamp.info.accuracy,
            tsa: stamp.by.as_ref().map(|by| shown(&by.tsa)),
            root: stamp.by.as_ref().map(|by| hex::encode(by.root)),
            policy: stamp.info.policy.clone(),
            serial: stamp.info.serial.clone(),
            revocation_checked: stamp.by.as_ref().is_some_and(|by| by.crl_checked),
        };
        let anchors = self.anchors.iter().map(|stamp| report("anchor", stamp));
        anchors.chain(self.beacon.iter().map(|stamp| report("beacon", stamp))).collect()
    }
}

/// Makes the checks `anchors` and `beacon`.
pub(crate) fn check(
    receipt: &Receipt,
    record: Option<&Record>,
    log: &LogSide,
    trust: Option<&Trust>,
    checks: &mut Checks,
) -> TimeSide {
    let roots = trust.map(|trust| &trust.tsa_roots);
    let mut side = TimeSide {
        key_ends: log.announced.first().map(|announced| announced.payload.not_after),
        ..TimeSide::default()
    };
    match check_anchors(receipt, log.proof.as_ref(), roots) {
        Ok(anchors) => {
            side.anchors = anchors;
            tell_anchors(&side, operators(record, log), roots, checks);
        }
        Err(why) => {
            checks.add(ANCHORS, Err(why));
        }
    }
    check_beacon(receipt, log, roots, &mut side, checks);
    side
}

fn check_anchors(
    receipt: &Receipt,
    proof: Option<&LogProof>,
    roots: Option<&Roots>,
) -> Result<Vec<Stamp>, String> {
    if receipt.anchors.len() > MAX_ANCHORS {
        return Err(format!("more than {MAX_ANCHORS} anchors"));
    }
    // A log proof that cannot be read has failed its own check, and then these date nothing.
    let Some(proof) = proof else { return Ok(Vec::new()) };
    let mut stamps = Vec::with_capacity(receipt.anchors.len());
    for (at, anchor) in receipt.anchors.iter().enumerate() {
        let Anchor::Rfc3161(token) = anchor;
        if receipt.anchors[..at].contains(anchor) {
            return Err(format!("anchors[{at}]: the same as an earlier one"));
        }
        let dated = proof.note.with_only(&proof.checkpoint.origin);
        let dated = dated.ok_or("the checkpoint has no signature line of its log")?;
        let imprint = sha256(dated.as_bytes());
        stamps.push(stamp(token, Some(&imprint), roots).map_err(|error| format!("anchors[{at}]: {error}"))?);
    }
    Ok(stamps)
}

/// The latest of the operator's times of what is under the dated tree head, and whose it is. The end of the batch's interval is
/// left out, as it is where the reader's time is compared.
fn operators(record: Option<&Record>, log: &LogSide) -> Option<(u64, &'static str)> {
    let key = log.announced.first().map(|key| (key.payload.not_before, "its key is valid only from"));
    let batch = log.statement.as_ref().map(|statement| (statement.from, "its batch begins at"));
    let record = record.map(|record| (record.leaf.completed_at, "the record was completed at"));
    key.into_iter().chain(batch).chain(record).max_by_key(|(at, _)| *at)
}

fn tell_anchors(
    side: &TimeSide,
    operators: Option<(u64, &'static str)>,
    roots: Option<&Roots>,
    checks: &mut Checks,
) {
    let all = side.anchors.len();
    let Some(first) = side.upper() else {
        return checks
            .skip(ANCHORS, if all == 0 { "the receipt has no timestamps" } else { untrusted(all, roots) });
    };
    let trusted = side.anchors.iter().filter(|stamp| stamp.by.is_some()).count();
    let found = format!(
        "{trusted} of {all} timestamps by TSAs of your trust file; the earliest, by {}, is of {}{}",
        first.tsa(),
        time(first.time),
        revocation(first)
    );
    checks.add(
        ANCHORS,
        match operators {
            // It was there by then, so the operator's clock is wrong, or made up.
            Some((at, what)) if at > first.time.saturating_add(CLOCK_TOLERANCE) => Err(format!(
                "{found}, but by the operator's clock {what} {}: the two contradict each other",
                time(at)
            )),
            _ => Ok(found),
        },
    );
}

fn check_beacon(
    receipt: &Receipt,
    log: &LogSide,
    roots: Option<&Roots>,
    side: &mut TimeSide,
    checks: &mut Checks,
) {
    let named = log.statement.as_ref().and_then(|statement| statement.beacon);
    let (named, token) = match (named, &receipt.beacon) {
        (None, None) => return checks.skip(BEACON, "the statement names none"),
        (Some(_), None) => {
            return checks.skip(BEACON, "the statement names a timestamp that the receipt does not show");
        }
        (None, Some(_)) => {
            let why = "the receipt shows a timestamp that the statement does not name";
            checks.add(BEACON, Err(why.into()));
            return;
        }
        (Some(named), Some(token)) => (named, token),
    };
    let found = match sha256(&token.0) == named {
        true => stamp(token, None, roots),
        false => Err("it is not the timestamp that the statement names".into()),
    };
    let beacon = match found {
        Ok(beacon) => side.beacon.insert(beacon),
        Err(why) => {
            checks.add(BEACON, Err(why));
            return;
        }
    };
    if beacon.by.is_none() {
        return checks.skip(BEACON, untrusted(1, roots));
    }
    let said = format!(
        "the statement was made after {}, by {}{}",
        time(beacon.time),
        beacon.tsa(),
        revocation(beacon)
    );
    let beacon = beacon.time;
    let finding = match side.upper() {
        // The statement is between them, so one of the two clocks is wrong.
        Some(upper) if beacon > upper.time.saturating_add(CLOCK_TOLERANCE) => Err(format!(
            "{said}, but before {}, by {}: the two contradict each other",
            time(upper.time),
            upper.tsa()
        )),
        _ if side.key_ends.is_some_and(|ends| beacon > ends.saturating_add(CLOCK_TOLERANCE)) => {
            let ends = side.key_ends.map(time).unwrap_or_default();
            Err(format!("{said}, but its key was valid only until {ends}: the two contradict each other"))
        }
        _ => Ok(said),
    };
    checks.add(BEACON, finding);
}

/// Verifies a token, and says who made it where the roots say so.
fn stamp(token: &Bytes, imprint: Option<&[u8; 32]>, roots: Option<&Roots>) -> Result<Stamp, String> {
    let token = Token::parse(&token.0).map_err(|error| error.to_string())?;
    if let Some(imprint) = imprint {
        token.check_imprint(imprint).map_err(|error| error.to_string())?;
    }
    let chain = roots.map(|roots| (token.chain(roots), roots));
    let by = match chain {
        None | Some((Err(ChainError::Unknown), _)) => None,
        Some((Err(error), _)) => return Err(error.to_string()),
        Some((Ok(chain), roots)) => {
            let root = roots.certificates().get(chain.root).map(|root| sha256(root)).unwrap_or_default();
            Some(By { tsa: chain.tsa, root, crl_checked: chain.crl_checked.iter().all(|checked| *checked) })
        }
    };
    let info = token.info().clone();
    Ok(Stamp { time: info.gen_time, info, by })
}

fn untrusted(count: usize, roots: Option<&Roots>) -> &'static str {
    match roots {
        None => "no trust file was given, so whose timestamp it is cannot be checked",
        Some(roots) if roots.is_empty() => "not trusted: the trust file names no TSA (tsa_roots)",
        Some(_) if count == 1 => "not trusted: its TSA leads to no root of the trust file",
        Some(_) => "not trusted: their TSAs lead to no root of the trust file",
    }
}

fn revocation(stamp: &Stamp) -> &'static str {
    match &stamp.by {
        Some(by) if !by.crl_checked => " (revocation not checked: no list that covers it is at hand)",
        _ => "",
    }
}

#[cfg(test)]
mod tests;
