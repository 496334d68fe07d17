//! Keys that the reader's trust file says are revoked: what they signed counts only if others dated it before.
//!
//! A receipt cannot show a revocation that came after it, so this rests on the trust file alone.

use crate::anchors::TimeSide;
use crate::checks::{Checks, REVOCATION};
use crate::http::HttpSide;
use crate::log::LogSide;
use crate::text::time;
use crate::trust::Trust;

/// Makes the check `revocation`, if the trust file revokes anything.
pub(crate) fn check(
    trust: Option<&Trust>,
    log: &LogSide,
    http: &HttpSide,
    stamps: &TimeSide,
    checks: &mut Checks,
) {
    let Some(trust) = trust.filter(|trust| !trust.revoked().is_empty()) else { return };
    let log_key = log.log_key.as_ref().and_then(|key| Some(key.public_key()?.key_id()));
    let signers = http.signed.iter().map(|signed| signed.key.key_id());
    let used: Vec<[u8; 32]> = log_key.into_iter().chain(log.statement_kid).chain(signers).collect();
    // The earliest time from which on one of them does not count.
    let revoked = trust.revoked().iter().filter(|entry| used.contains(&entry.key_id));
    let Some(revoked) = revoked.min_by_key(|entry| entry.from) else {
        checks.add(REVOCATION, Ok("no key of this receipt is one that the trust file revokes".into()));
        return;
    };
    let (key, from) = (hex::encode(revoked.key_id), time(revoked.from));
    let finding = match stamps.upper() {
        Some(stamp) if stamp.time < revoked.from => {
            Ok(format!("the key {key} is revoked from {from}, and {} dated this before", stamp.tsa()))
        }
        Some(stamp) => Err(format!(
            "the key {key} is revoked from {from}, and {} dated this no earlier than {}",
            stamp.tsa(),
            time(stamp.time)
        )),
        None => Err(format!(
            "the key {key} is revoked from {from}, and no timestamp that your trust file knows shows that this was made before"
        )),
    };
    checks.add(REVOCATION, finding);
}

#[cfg(test)]
mod tests;
