//! The reader's copies against the record: bodies, a saved head with its signatures, the nonce.

use std::collections::BTreeMap;

use base64::prelude::{BASE64_STANDARD, Engine};
use colophon_receipt::canonical;
use colophon_receipt::fields::{
    BodyDigest, CONTEXT, REQUEST_BODY, REQUEST_DECODED, RESPONSE_BODY, RESPONSE_DECODED, SEMANTIC,
};
use colophon_receipt::record::id_text;
use colophon_signer::httpsig::{
    CoveredComponent, SignatureInput, field_value, parse_signature, parse_signature_input, signature_value,
};
use colophon_signer::sf::parse_item;

use crate::bodies::{Bodies, Body, SavedHead, Side};
use crate::checks::{
    Checks, Finding, MESSAGE, NONCE, REQUEST_BODY as REQUEST, REQUEST_MESSAGE, RESPONSE_BODY as RESPONSE,
    SAVED_HEAD,
};
use crate::http::{Base, HttpSide, Signed, Tag, check_one};
use crate::log::LogSide;
use crate::record::Record;
use crate::report::Binding;
use crate::text::quoted;
use crate::trust::Trust;

/// Said of a copy that is not the recorded body, but what the record says that it decodes to.
pub(crate) const DECODED: &str = ", as decoded";

/// How the reader's copies compare.
#[derive(Default)]
pub(crate) struct CopySide {
    /// What matched, as (side, how it was read, bytes recorded).
    pub(crate) matched: Vec<(Side, String, u64)>,
    /// A copy or nonce was given, but there is nothing to compare it with.
    pub(crate) not_compared: bool,
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
    let request = [(REQUEST_BODY, opened.request_body), (REQUEST_DECODED, opened.request_decoded)];
    compare(REQUEST, Side::Request, &bodies.request, record, request, &mut side, checks);
    let response = [(RESPONSE_BODY, opened.response_body), (RESPONSE_DECODED, opened.response_decoded)];
    let comment = compare(RESPONSE, Side::Response, &bodies.response, record, response, &mut side, checks);

    compare_messages(bodies, record, &mut side, checks);

    let head = bodies.response.as_ref().and_then(|body| body.head.as_ref());
    let head = head.map(|head| check_head(head, record, log, http, trust));
    match (head, comment.map(|comment| check_comment(comment, record, http))) {
        (None, None) => checks.skip(SAVED_HEAD, "no response was given with its head"),
        (Some(Err(error)), _) | (_, Some(Err(error))) => drop(checks.add(SAVED_HEAD, Err(error))),
        (head, comment) => {
            let signed = head.and_then(Result::ok).unwrap_or(0) + comment.and_then(Result::ok).unwrap_or(0);
            side.signature = signed > 0 && side.has(Side::Response);
            let detail = match signed {
                0 => "your copy carries no signature, but nothing in it contradicts the record".into(),
                n => format!("your copy carries {n} of the key's signatures over this record"),
            };
            checks.add(SAVED_HEAD, Ok(detail));
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

/// Returns the closing comment that had to be left out of the copy.
fn compare<'a>(
    name: &'static str,
    of: Side,
    copy: &'a Option<Body>,
    record: &Record,
    recorded: [(u8, Option<BodyDigest>); 2],
    side: &mut CopySide,
    checks: &mut Checks,
) -> Option<&'a [u8]> {
    let Some(copy) = copy else {
        checks.skip(name, "no copy was given");
        return None;
    };
    for (at, body) in recorded {
        let Some(body) = body else { continue };
        if let Some(reading) = copy.readings.iter().find(|reading| reading.body == body) {
            let decoded = [REQUEST_DECODED, RESPONSE_DECODED].contains(&at);
            let how = format!("{}{}", reading.how, if decoded { DECODED } else { "" });
            checks.add(name, Ok(format!("{how} is the recorded one, {} bytes", body.size)));
            side.matched.push((of, how, body.size));
            return reading.comment.as_deref();
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
        body if copy.size == 0 => {
            format!("your copy is empty, the recorded one has {} bytes", body.size)
        }
        body => format!(
            "your copy ({} bytes) is not the recorded one ({} bytes, SHA-256 {})",
            copy.size,
            body.size,
            hex::encode(body.digest)
        ),
    };
    checks.add(name, Err(finding));
    None
}

/// Objects of client libraries, of which no byte is as it was sent, against the digests of what was said.
fn compare_messages(bodies: &Bodies, record: &Record, side: &mut CopySide, checks: &mut Checks) {
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

/// The closing comment of an event stream, which no digest covers: it has to say what the receipt says. Counts the
/// signatures in it.
fn check_comment(comment: &[u8], record: &Record, http: &HttpSide) -> Result<usize, String> {
    let text = std::str::from_utf8(comment).ok().map(str::trim_end);
    let fields: Option<BTreeMap<&str, String>> = text
        .and_then(|text| text.strip_prefix(": colophon "))
        .and_then(|json| serde_json::from_str(json).ok());
    let fields = fields.ok_or("your copy's closing comment is not one that the proxy writes")?;
    let field = |name: &str| fields.get(name).map(String::as_str);
    let known = ["content-digest", "colophon-record", "signature-input", "signature"];
    if fields.keys().any(|name| !known.contains(name)) {
        return Err("your copy's closing comment says more than the proxy does".into());
    }
    if let Some(value) = field("colophon-record") {
        names_record(value, record)?;
    }
    let recorded =
        record.opened.response_body.map(|body| format!("sha-256=:{}:", BASE64_STANDARD.encode(body.digest)));
    if field("content-digest").is_some() && field("content-digest") != recorded.as_deref() {
        return Err("your copy's closing comment names another digest".into());
    }
    match (field("signature-input"), field("signature")) {
        (None, None) => Ok(0),
        (Some(input), Some(signature)) => {
            let same = |known: &Signed| {
                let Ok(signature_bytes) = known.signature.as_slice().try_into() else { return false };
                known.tag == Tag::Close
                    && known.base.input_member("colophon-close").as_deref() == Ok(input)
                    && signature_value("colophon-close", signature_bytes) == signature
            };
            match http.signed.iter().any(same) {
                true => Ok(1),
                // The receipt was handed on without its signatures: nothing to compare with.
                false if http.signed.is_empty() => Ok(0),
                false => Err("the signature in your copy's closing comment is not the receipt's".into()),
            }
        }
        _ => Err("your copy's closing comment has half a signature".into()),
    }
}

fn names_record(value: &str, record: &Record) -> Result<(), String> {
    let id = id_text(&record.leaf.id);
    let item = parse_item(value).map_err(|error| format!("Colophon-Record: {error}"))?;
    match item.value.as_string() == Some(id.as_str()) {
        true => Ok(()),
        false => Err(format!("your copy's Colophon-Record names another record than {id}")),
    }
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

/// Counts the signatures in the saved head; all that it says of the record has to be so.
fn check_head(
    head: &SavedHead,
    record: &Record,
    log: &LogSide,
    http: &HttpSide,
    trust: Option<&Trust>,
) -> Result<usize, String> {
    for line in head.header("colophon-record").chain(head.trailer("colophon-record")) {
        names_record(line, record)?;
    }
    let mut signed = 0;
    for in_trailers in [false, true] {
        let field = |name: &'static str| match in_trailers {
            false => field_value(head.header(name)),
            true => field_value(head.trailer(name)),
        };
        let (Some(inputs), Some(signatures)) = (field("signature-input"), field("signature")) else {
            continue;
        };
        let inputs = parse_signature_input(&inputs).map_err(|error| error.to_string())?;
        let signatures = parse_signature(&signatures).map_err(|error| error.to_string())?;
        for input in inputs.iter().filter(|input| input.label().starts_with("colophon")) {
            let (_, signature) = signatures
                .iter()
                .find(|(label, _)| label == input.label())
                .ok_or("your copy has a Signature-Input without its Signature")?;
            check_saved(head, input, signature, record, log, http, trust)?;
            signed += 1;
        }
    }
    Ok(signed)
}

/// One signature of the saved answer: rebuilt from the saved head, and from the record for what was the request's.
fn check_saved(
    head: &SavedHead,
    input: &SignatureInput,
    signature: &[u8],
    record: &Record,
    log: &LogSide,
    http: &HttpSide,
    trust: Option<&Trust>,
) -> Result<(), String> {
    let known = http.signed.iter().find(|known| known.signature == signature).map(|known| &known.base);
    let line = record.opened.request_line.as_ref();
    let mut values = Vec::with_capacity(input.components().len());
    for component in input.components() {
        let name = component.name.as_str();
        let value = match (name, component.req) {
            ("@status", false) => head.status.clone(),
            (_, false) if component.tr => field_value(head.trailer(name)),
            (_, false) => field_value(head.header(name)),
            // What was the request's comes from the receipt: nothing of it is in the response's head.
            (_, true) if known.is_some() => known.and_then(|base| base.value(name, true)).map(str::to_owned),
            ("@method", true) => line.and_then(|line| text(line.method.as_deref())),
            ("@path", true) => line.and_then(|line| text(line.path.as_deref())),
            ("@query", true) => line.filter(|line| line.query.is_none()).map(|_| "?".into()),
            ("colophon-client-nonce", true) => {
                record.opened.context.as_ref().and_then(|context| text(context.nonce.as_deref()))
            }
            _ => None,
        };
        values.push((component, value));
    }
    let value = |component: &CoveredComponent| {
        values.iter().find(|(known, _)| *known == component).and_then(|(_, value)| value.as_deref())
    };
    let rebuilt = input.signature_base(value).map_err(|error| format!("your copy: {error}"))?;
    let base = Base::parse(rebuilt.as_str())?;
    let label = quoted(input.label());
    match known {
        // Verified already, so only the head is left to compare.
        Some(known) if known.text()? == rebuilt.as_str() => Ok(()),
        Some(_) => Err(format!("your copy's head is not the one that its signature {label} covers")),
        None => match check_one(base, signature, record, log, trust) {
            Ok(_) => Ok(()),
            Err(error) => Err(format!("your copy's signature {label}: {error}")),
        },
    }
}

fn text(bytes: Option<&[u8]>) -> Option<String> {
    String::from_utf8(bytes?.to_vec()).ok()
}
