//! Objects of client libraries against the digests of what was said.

use colophon_receipt::canonical::{self, LeftOut};
use colophon_receipt::fields::SEMANTIC;
use serde_json::Value;

use super::CopySide;
use crate::bodies::Bodies;
use crate::checks::{Checks, MESSAGE, REQUEST_MESSAGE};
use crate::record::Record;
use crate::text::shown;

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
                let left_out = (name == MESSAGE).then(|| canonical::parse(object).ok()).flatten();
                let left_out = left_out.map_or(Ok(None), |value| left_out_of(&value));
                let finding = left_out.map(|left_out| {
                    let same = "your object says what was recorded, member by member";
                    let told = left_out
                        .as_ref()
                        .map(|paths| format!("; left out, since libraries add them: {paths}"));
                    side.left_out = left_out;
                    format!("{same}{}", told.unwrap_or_default())
                });
                checks.add(name, finding);
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

/// Members that the digest is not over, for display; an error if one contradicts what it is over.
fn left_out_of(message: &Value) -> Result<Option<String>, String> {
    let LeftOut { paths, more, differs } = canonical::left_out(message);
    if let Some(path) = differs {
        let path = shown(path);
        return Err(format!(
            "your object's {path} is not what the text beside it says: leave it out, or what your library made of it is not compared"
        ));
    }
    let list = paths.iter().map(shown).collect::<Vec<_>>().join(", ");
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    Ok((!paths.is_empty()).then(|| format!("{list}{more}")))
}

type Digest = fn(&[u8]) -> Result<colophon_receipt::Hash, canonical::Uncanonical>;
