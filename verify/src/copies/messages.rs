//! Objects of client libraries against the digests of what was said.

use colophon_receipt::canonical;
use colophon_receipt::fields::SEMANTIC;

use super::CopySide;
use crate::bodies::Bodies;
use crate::checks::{Checks, MESSAGE, REQUEST_MESSAGE};
use crate::record::Record;

/// No byte of them is as it was sent.
pub(super) fn compare(bodies: &Bodies, record: &Record, side: &mut CopySide, checks: &mut Checks) {
    let said = record.opened.semantic.clone().unwrap_or_default();
    let objects = [
        (
            REQUEST_MESSAGE,
            &bodies.request_message,
            canonical::digest as Digest,
            said.request,
            said.no_request,
        ),
        (MESSAGE, &bodies.message, canonical::message_digest as Digest, said.message, said.no_message),
    ];
    for (name, object, digest, recorded, why_none) in objects {
        let Some(object) = object else { continue };
        match (digest(object), recorded) {
            (Ok(found), Some(recorded)) if found == recorded => {
                checks.add(name, Ok("your object says what was recorded, member by member".into()));
            }
            (Ok(_), Some(_)) => {
                checks.add(name, Err("your object says something else than what was recorded".into()));
            }
            (Err(why), Some(_)) => {
                checks.add(name, Err(format!("your object has no canonical form: {why}")));
            }
            (_, None) => {
                side.not_compared = true;
                checks.skip(name, match why_none {
                    _ if record.is_withheld(SEMANTIC) => "the receipt withholds the digest".to_owned(),
                    Some(why) => format!("the record has no digest of what was said: {why}"),
                    None => "the record has no digest of what was said: the proxy ran without --message-digests".into(),
                });
            }
        }
    }
}

type Digest = fn(&[u8]) -> Result<colophon_receipt::Hash, canonical::Uncanonical>;
