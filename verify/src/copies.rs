//! The reader's copies against the record: bodies, a saved head with its signatures, the nonce.

use colophon_receipt::fields::{
    BodyDigest, CONTEXT, REQUEST_BODY, REQUEST_DECODED, RESPONSE_BODY, RESPONSE_DECODED, RESPONSE_HEAD,
};

use crate::bodies::{Bodies, Body, Reading, Side, Trailers};
use crate::checks::{Checks, Finding, NONCE, REQUEST_BODY as REQUEST, RESPONSE_BODY as RESPONSE, SAVED_HEAD};
use crate::http::HttpSide;
use crate::log::LogSide;
use crate::record::Record;
use crate::report::Binding;
use crate::text::quoted;
use crate::trust::Trust;

mod lines;
mod messages;
mod saved;

/// Said of a copy that is not the recorded body, but what the record says that it decodes to.
pub(crate) const DECODED: &str = ", as decoded";

/// How the reader's copies compare.
#[derive(Default)]
pub(crate) struct CopySide {
    /// What matched, as (side, how it was read, bytes recorded).
    pub(crate) matched: Vec<(Side, String, u64)>,
    /// A copy or nonce was given, but there is nothing to compare it with.
    pub(crate) not_compared: bool,
    /// Members of the reader's answer object that no digest is over, for display.
    pub(crate) left_out: Option<String>,
    signature: bool,
    nonce: bool,
}

impl CopySide {
    pub(crate) fn binding(&self) -> Binding {
        match () {
            () if self.nonce => Binding::Nonce,
            () if self.signature => Binding::Signature,
            () if !self.matched.is_empty() => Binding::BytesOnly,
            () => Binding::None,
        }
    }

    pub(crate) fn has(&self, side: Side) -> bool {
        self.matched.iter().any(|(matched, ..)| *matched == side)
    }
}

/// Makes the checks `request-body`, `response-body`, `saved-head` and `nonce`.
pub(crate) fn check(
    record: Option<&Record>,
    log: &LogSide,
    http: &HttpSide,
    trust: Option<&Trust>,
    bodies: &Bodies,
    checks: &mut Checks,
) -> CopySide {
    let mut side = CopySide::default();
    let Some(record) = record.filter(|record| record.fields_hold) else {
        for name in [REQUEST, RESPONSE, SAVED_HEAD, NONCE] {
            checks.skip(name, "needs the record leaf and its fields");
        }
        return side;
    };
    let opened = &record.opened;
    let saved = bodies.request.as_ref().and_then(|body| body.head.as_ref());
    let request = Copied {
        name: REQUEST,
        of: Side::Request,
        copy: bodies.request.as_ref(),
        head: saved.map_or(Ok(Vec::new()), |head| lines::check_request(head, record, http)),
        recorded: [(REQUEST_BODY, opened.request_body), (REQUEST_DECODED, opened.request_decoded)],
    };
    compare(request, record, &mut side, checks);
    let response = Copied {
        name: RESPONSE,
        of: Side::Response,
        copy: bodies.response.as_ref(),
        // That has a check of its own.
        head: Ok(Vec::new()),
        recorded: [(RESPONSE_BODY, opened.response_body), (RESPONSE_DECODED, opened.response_decoded)],
    };
    let reading = compare(response, record, &mut side, checks);

    messages::compare(bodies, record, &mut side, checks);

    let head = bodies.response.as_ref().and_then(|body| body.head.as_ref());
    let trailers = reading.map(|reading| &reading.trailers).or_else(|| some_trailers(bodies));
    let head = head.map(|head| {
        saved::check_head(head, trailers.unwrap_or(&Trailers::default()), record, log, http, trust)
    });
    let comment = reading.and_then(|reading| reading.comment.as_deref());
    match (head, comment.map(|comment| saved::check_comment(comment, record, log, http))) {
        (None, None) => checks.skip(SAVED_HEAD, "no response was given with its head"),
        (Some(Err(error)), _) | (_, Some(Err(error))) => drop(checks.add(SAVED_HEAD, Err(error))),
        (_, Some(Ok(None))) => {
            side.not_compared = true;
            checks.skip(SAVED_HEAD, "your copy's closing comment has a signature, and the receipt none");
        }
        (head, comment) => {
            let comment = comment.and_then(Result::ok).flatten();
            let head = head.and_then(Result::ok).unwrap_or_default();
            let signed = head.signed + comment.unwrap_or(0);
            side.signature = signed > 0 && side.has(Side::Response);
            match signed {
                0 if comment.is_none() && head.compared.is_empty() => {
                    checks.skip(SAVED_HEAD, "your copy's head has nothing that the record has");
                }
                // What else it says, nothing covers.
                0 => {
                    let mut compared = head.compared;
                    compared.extend(comment.map(|_| "closing comment"));
                    let what = format!(
                        "your copy carries no signature; of its head, these are as recorded, and no more was compared: {}",
                        compared.join(", ")
                    );
                    checks.add(SAVED_HEAD, Ok(what));
                }
                n => {
                    let what = format!("your copy carries {n} of the key's signatures over this record");
                    checks.add(SAVED_HEAD, Ok(what));
                }
            }
        }
    }
    match &bodies.nonce {
        None => checks.skip(NONCE, "no nonce was given"),
        Some(nonce) => match check_nonce(nonce, record, http) {
            Some(found) => side.nonce = checks.add(NONCE, found),
            None => {
                side.not_compared = true;
                checks.skip(NONCE, "the field that holds the nonce is withheld");
            }
        },
    }
    side
}

/// Of a copy that is not known to be the recorded body: its trailers have to be of the record all the same.
fn some_trailers(bodies: &Bodies) -> Option<&Trailers> {
    let readings = &bodies.response.as_ref()?.readings;
    readings.iter().map(|reading| &reading.trailers).find(|trailers| !trailers.is_empty())
}

/// A copy, and what it should be.
struct Copied<'a> {
    name: &'static str,
    of: Side,
    copy: Option<&'a Body>,
    /// What of its head is as recorded.
    head: Result<Vec<&'static str>, String>,
    recorded: [(u8, Option<BodyDigest>); 2],
}

/// Returns how the copy had to be read.
fn compare<'a>(
    copied: Copied<'a>,
    record: &Record,
    side: &mut CopySide,
    checks: &mut Checks,
) -> Option<&'a Reading> {
    let Copied { name, of, copy, head, recorded } = copied;
    let Some(copy) = copy else {
        checks.skip(name, "no copy was given");
        return None;
    };
    let compared = match head {
        Ok(compared) if compared.is_empty() => String::new(),
        Ok(compared) => format!("; of its head, these are as recorded: {}", compared.join(", ")),
        Err(error) => {
            checks.add(name, Err(error));
            return None;
        }
    };
    for (at, body) in recorded {
        let Some(body) = body else { continue };
        if let Some(reading) = copy.readings.iter().find(|reading| reading.body == body) {
            let decoded = [REQUEST_DECODED, RESPONSE_DECODED].contains(&at);
            let how = format!("{}{}", reading.told(), if decoded { DECODED } else { "" });
            match uncommitted(of, &reading.trailers, record) {
                None => {
                    checks.add(name, Ok(format!("{how} is the recorded one, {} bytes{compared}", body.size)));
                    side.matched.push((of, how, body.size));
                }
                Some(names) if of == Side::Response && record.is_withheld(RESPONSE_HEAD) => {
                    side.not_compared = true;
                    checks.skip(
                        name,
                        format!("the receipt withholds what your copy's trailers ({names}) compare with"),
                    );
                }
                Some(names) => {
                    let what = format!(
                        "your copy says more than the recorded body: trailers ({names}) that the record does not commit to"
                    );
                    checks.add(name, Err(what));
                }
            }
            return Some(reading);
        }
    }
    if recorded.iter().any(|(at, _)| record.is_withheld(*at)) {
        side.not_compared = true;
        checks.skip(name, "the receipt withholds the digest");
        return None;
    }
    let Some(body) = recorded[0].1 else {
        side.not_compared = true;
        checks.skip(name, "the record has no such body: it says that none was seen to its end");
        return None;
    };
    let finding = match body {
        _ if copy.odd.is_some() => {
            format!("your copy is not the recorded body: {}", copy.odd.unwrap_or_default())
        }
        body if copy.size == 0 => {
            format!("your copy is empty, the recorded one has {} bytes", body.size)
        }
        body => {
            let (what, own) = copy.told();
            let one =
                |body: &BodyDigest| format!("({} bytes, SHA-256 {})", body.size, hex::encode(body.digest));
            format!("{what} {} is not the recorded one {}", one(&own), one(&body))
        }
    };
    checks.add(name, Err(finding));
    None
}

/// Names of trailers that are neither Colophon's nor under the record's digest of the upstream's.
fn uncommitted(of: Side, trailers: &Trailers, record: &Record) -> Option<String> {
    let head = record.opened.response_head.as_ref().filter(|_| of == Side::Response);
    let recorded = head.and_then(|head| head.trailers);
    let foreign = trailers.foreign();
    (!foreign.is_empty() && !trailers.are_committed(recorded)).then(|| foreign.join(", "))
}

/// `None` if the record's word on it is withheld.
fn check_nonce(nonce: &[u8], record: &Record, http: &HttpSide) -> Option<Finding> {
    let recorded = record.opened.context.as_ref().and_then(|context| context.nonce.as_deref());
    let covered = http.nonce.as_ref().map(String::as_bytes);
    match recorded.or(covered) {
        // Nobody chose that.
        _ if nonce.is_empty() => Some(Err("an empty nonce ties nothing to anything".into())),
        Some(found) if found == nonce => Some(Ok("the record holds your nonce".into())),
        Some(found) => Some(Err(format!("the record holds the nonce {}", quoted(found)))),
        None if record.is_withheld(CONTEXT) => None,
        None => Some(Err("the record holds no nonce".into())),
    }
}
