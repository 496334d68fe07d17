//! Keys that the reader's trust file says are revoked: what they signed counts only if others dated it before.
//!
//! A receipt cannot show a revocation that came after it, so this rests on the trust file alone.

use colophon_signer::PublicKey;

use crate::anchors::{Stamp, TimeSide};
use crate::attestation::UpstreamSide;
use crate::basis::Basis;
use crate::checks::{Checks, Finding, REVOCATION};
use crate::http::HttpSide;
use crate::log::LogSide;
use crate::text::time;
use crate::trust::{Revoked, Trust};

/// Makes the check `revocation`, if the trust file revokes anything: of every key whose signature the receipt needs. Evidence
/// is not among that: what a revoked key signed of it does not count ([`uncounted`]).
pub(crate) fn check(
    trust: Option<&Trust>,
    log: &LogSide,
    http: &HttpSide,
    upstream: Option<&UpstreamSide>,
    stamps: &TimeSide,
    checks: &mut Checks,
) {
    let Some(trust) = trust.filter(|trust| !trust.revoked().is_empty()) else { return };
    let log_key = log.log_key.as_ref().and_then(|key| Some(key.public_key()?.key_id()));
    let signers = http.signed.iter().flat_map(|signed| [Some(signed.key), signed.gossip]);
    let signers = signers.chain([upstream.and_then(|upstream| upstream.signer)]).flatten();
    let own = signers.map(|key: PublicKey| key.key_id()).chain(log_key).chain(log.statement_kid);
    let used = own.map(|key| (key, stamps.upper()));
    let elsewhere = log.bases.iter().flat_map(|basis| {
        let dated = stamps.upper().filter(|_| log.is_own(&basis.checkpoint));
        basis.keys.iter().map(move |key| (*key, dated))
    });
    let used: Vec<([u8; 32], Option<&Stamp>)> = used.chain(elsewhere).collect();
    let judged = trust.revoked().iter().flat_map(|entry| {
        let of_it = used.iter().filter(|(key, _)| *key == entry.key_id);
        of_it.map(|(_, dated)| judge(entry, *dated))
    });
    // The first that does not count, or else any.
    let finding = judged.max_by_key(Result::is_err);
    let none = || Ok("no key that the record rests on is one that the trust file revokes".into());
    checks.add(REVOCATION, finding.unwrap_or_else(none));
}

/// Why evidence that rests on this does not count, if a key that the trust file revokes signed it.
pub(crate) fn uncounted(
    trust: Option<&Trust>,
    bases: &[Basis],
    log: &LogSide,
    stamps: &TimeSide,
) -> Option<String> {
    let refused = |basis: &Basis| {
        let dated = stamps.upper().filter(|_| log.is_own(&basis.checkpoint));
        let entries = trust?.revoked().iter().filter(|entry| basis.keys.contains(&entry.key_id));
        let why = { entries }.find_map(|entry| judge(entry, dated).err())?;
        Some(format!("{} does not count: {why}", basis.what))
    };
    bases.iter().find_map(refused)
}

/// Whether what a revoked key signed counts all the same, since `dated` shows that it is older.
fn judge(revoked: &Revoked, dated: Option<&Stamp>) -> Finding {
    let (key, from) = (hex::encode(revoked.key_id), time(revoked.from));
    match dated {
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
    }
}

#[cfg(test)]
mod tests;
