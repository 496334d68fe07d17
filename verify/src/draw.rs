//! Whether the record was drawn for a higher level, re-computed from public randomness.

use colophon_receipt::draw::{certain, drawn};
use colophon_receipt::receipt::{Receipt, RoundPart};
use colophon_signer::drand::{Chain, Round};

use crate::Bodies;
use crate::anchors::TimeSide;
use crate::checks::{Checks, DRAW, Finding};
use crate::log::LogSide;
use crate::record::Record;
use crate::report::Draw;
use crate::text::time;

/// What the decision's field says of a draw by the proxy's own randomness.
const LOCAL: &str = "Local";

/// Makes the check `draw`, where the record's rule samples.
pub(crate) fn check(
    receipt: &Receipt,
    record: Option<&Record>,
    log: &LogSide,
    stamps: &TimeSide,
    bodies: &Bodies,
    checks: &mut Checks,
) -> Option<Draw> {
    let Some((record, (threshold, target))) = record.and_then(|record| Some((record, record.leaf.draw?)))
    else {
        if receipt.round.is_some() {
            checks.add(DRAW, Err("the receipt has a round, but the record's rule draws nothing".into()));
        }
        return None;
    };
    let quicknet = Chain::quicknet();
    let chain = bodies.chain.as_ref().unwrap_or(&quicknet);
    let Some(statement) = &log.statement else {
        checks.skip(DRAW, "needs the statement: the end of its interval names the round");
        return None;
    };
    let number = chain.schedule.round(statement.to);
    let local = record.opened.decision.as_ref().and_then(|decision| decision.draw.as_deref()) == Some(LOCAL);
    let mut draw = Draw {
        target: target.as_str(),
        percent: percent(threshold),
        round: number,
        round_at: chain.schedule.time(number),
        drawn: certain(threshold).then_some(true),
        operator_influenced: true,
        evidence: None,
    };
    // Whoever commits after the randomness is known can choose what to commit to.
    let dated = stamps.upper().is_some_and(|upper| upper.time < draw.round_at);
    let round = match (&bodies.round, &receipt.round) {
        (Some(given), _) => Some(Ok(given.clone())),
        (None, Some(part)) if part.chain == hex::encode(chain.hash()) => Some(Ok(of_receipt(part))),
        (None, Some(part)) => Some(Err(part.chain.clone())),
        (None, None) => None,
    };
    let found = match round {
        // Its signature was verified, or it is not needed.
        None | Some(Err(_)) if certain(threshold) => Ok(String::new()),
        None => {
            let made = time(draw.round_at);
            let what = format!(
                "cannot say: the record may be drawn for {target} at {} % by round {number}, made {made}; the receipt has no \
                 round and none was given (--round): operator-influenced",
                draw.percent
            );
            checks.skip(DRAW, what);
            return Some(draw);
        }
        Some(Err(other)) => {
            let what = format!(
                "cannot say: the receipt's round is of chain {}, not of {} (--drand-chain): operator-influenced",
                crate::text::quoted(other),
                hex::encode(chain.hash())
            );
            checks.skip(DRAW, what);
            return Some(draw);
        }
        Some(Ok(round)) => by_round(chain, &round, number, record, threshold, &mut draw),
    };
    draw.operator_influenced = local || !dated && !certain(threshold);
    let steered = match (local, certain(threshold), dated) {
        (true, ..) => "operator-influenced: by the proxy's own randomness, which nobody can check",
        (_, true, _) => "as all that the rule matches are",
        (_, _, false) => {
            "operator-influenced: no timestamp shows that the commitment is older than that round"
        }
        (_, _, true) => {
            "a timestamp shows that the commitment is older than that round, so nobody could steer it"
        }
    };
    if found.is_err() {
        draw.operator_influenced = true;
    }
    let is = if draw.drawn == Some(true) { "drawn" } else { "not drawn" };
    checks.add(DRAW, found.map(|by| format!("{is} for {target}{by}; {steered}")));
    Some(draw)
}

/// Judges a round, and by it the record.
fn by_round(
    chain: &Chain,
    round: &Round,
    number: u64,
    record: &Record,
    threshold: u64,
    draw: &mut Draw,
) -> Finding {
    if round.round != number {
        draw.drawn = None;
        return Err(format!("this is round {}, the statement names round {number}", round.round));
    }
    let randomness = chain.randomness(round).map_err(|error| {
        draw.drawn = None;
        error.to_string()
    })?;
    draw.drawn = Some(drawn(&randomness, &record.leaf_hash, threshold));
    Ok(match certain(threshold) {
        true => String::new(),
        false => format!(" by round {number} at {} %", draw.percent),
    })
}

fn of_receipt(part: &RoundPart) -> Round {
    Round { round: part.number, signature: part.signature.0.clone() }
}

/// The share that a threshold is, in percent.
fn percent(threshold: u64) -> f64 {
    let share = threshold as f64 / u64::MAX as f64;
    (share * 1e8).round() / 1e6
}

#[cfg(test)]
mod tests;
