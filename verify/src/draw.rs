//! Whether the record was drawn for a higher level, re-computed from public randomness.

use colophon_receipt::Level;
use colophon_signer::drand::Chain;

use crate::Bodies;
use crate::anchors::TimeSide;
use crate::checks::{Checks, DRAW};
use crate::log::LogSide;
use crate::record::Record;
use crate::report::Draw;
use crate::text::time;

/// Makes the check `draw`, where the record's rule samples.
pub(crate) fn check(
    record: Option<&Record>,
    log: &LogSide,
    stamps: &TimeSide,
    bodies: &Bodies,
    checks: &mut Checks,
) -> Option<Draw> {
    let record = record?;
    let (threshold, target) = record.leaf.draw?;
    let chain = bodies.chain.unwrap_or_else(Chain::quicknet);
    let Some(statement) = &log.statement else {
        checks.skip(DRAW, "needs the statement: the end of its interval names the round");
        return None;
    };
    let round = chain.schedule.round(statement.to);
    let made = chain.schedule.time(round);
    let mut draw = Draw {
        target: target.as_str(),
        percent: percent(threshold),
        round,
        round_at: made,
        drawn: None,
        operator_influenced: true,
    };
    let Some(given) = &bodies.round else {
        let what = format!(
            "the record may be drawn for {target} by round {round}, made {}; no round was given (--round)",
            time(made)
        );
        checks.skip(DRAW, what);
        return Some(draw);
    };
    if given.round != round {
        checks.add(DRAW, Err(format!("round {} was given, the statement names round {round}", given.round)));
        return Some(draw);
    }
    match chain.randomness(given) {
        Err(error) => drop(checks.add(DRAW, Err(error.to_string()))),
        Ok(randomness) => {
            let drawn = colophon_receipt::draw::drawn(&randomness, &record.leaf_hash, threshold);
            draw.drawn = Some(drawn);
            // Whoever commits after the randomness is known can choose what to commit to.
            draw.operator_influenced = stamps.upper().is_none_or(|upper| upper.time >= made);
            checks.add(DRAW, Ok(sentence(drawn, target, &draw)));
        }
    }
    Some(draw)
}

fn sentence(drawn: bool, target: Level, draw: &Draw) -> String {
    let is = if drawn { "drawn" } else { "not drawn" };
    let steered = match draw.operator_influenced {
        true => "operator-influenced: no timestamp shows that the commitment is older than that round",
        false => "a timestamp shows that the commitment is older than that round, so nobody could steer it",
    };
    format!("{is} for {target} by round {} at {} %; {steered}", draw.round, draw.percent)
}

/// The share that a threshold is, in percent.
fn percent(threshold: u64) -> f64 {
    let share = threshold as f64 / u64::MAX as f64;
    (share * 1e8).round() / 1e6
}

#[cfg(test)]
mod tests;
