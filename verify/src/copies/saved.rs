//! A saved head, trailers and a closing comment: what they say has to be of this record.

use std::collections::BTreeMap;

use base64::prelude::{BASE64_STANDARD, Engine};
use colophon_receipt::fields::BodyDigest;
use colophon_signer::httpsig::{
    CoveredComponent, SignatureInput, field_value, parse_signature, parse_signature_input, signature_value,
};
use colophon_signer::sf::{BareItem, parse_item};

use super::lines;
use crate::bodies::{SavedHead, Trailers};
use crate::http::{Base, HttpSide, Signed, Tag, check_one, promise};
use crate::log::LogSide;
use crate::record::Record;
use crate::text::quoted;
use crate::trust::Trust;

/// The closing comment of an event stream, which no digest covers: it has to say what the receipt says. Counts the
/// signatures in it; `None` if it has one, and the receipt none to compare it with.
pub(super) fn check_comment(
    comment: &[u8],
    record: &Record,
    log: &LogSide,
    http: &HttpSide,
) -> Result<Option<usize>, String> {
    let text = std::str::from_utf8(comment).ok().map(str::trim_end);
    let fields: Option<BTreeMap<&str, String>> = text
        .and_then(|text| text.strip_prefix(": colophon "))
        .and_then(|json| serde_json::from_str(json).ok());
    let fields = fields.ok_or("your copy's closing comment is not one that the proxy writes")?;
    let field = |name: &str| fields.get(name).map(String::as_str);
    const KNOWN: [&str; 4] = ["content-digest", "colophon-record", "signature-input", "signature"];
    // Members that came twice, or anything between them, would be left out unseen.
    let listed = KNOWN.iter().filter_map(|name| Some((*name, field(name)?)));
    let listed: Vec<String> =
        listed.map(|(name, value)| format!("\"{name}\":{}", serde_json::Value::from(value))).collect();
    if text != Some(&format!(": colophon {{{}}}", listed.join(","))) {
        return Err("your copy's closing comment says more than the proxy does".into());
    }
    if let Some(value) = field("colophon-record") {
        check_promise(value, record, log)?;
    }
    let recorded = record.opened.response_body.map(|body| content_digest(&body));
    if field("content-digest").is_some() && field("content-digest") != recorded.as_deref() {
        return Err("your copy's closing comment names another digest".into());
    }
    match (field("signature-input"), field("signature")) {
        (None, None) => Ok(Some(0)),
        (Some(input), Some(signature)) => {
            let same = |known: &Signed| {
                let Ok(signature_bytes) = known.signature.as_slice().try_into() else { return false };
                known.tag == Tag::Close
                    && known.base.input_member("colophon-close").as_deref() == Ok(input)
                    && signature_value("colophon-close", signature_bytes) == signature
            };
            match http.signed.iter().any(same) {
                true => Ok(Some(1)),
                false if http.signed.is_empty() => Ok(None),
                false => Err("the signature in your copy's closing comment is not the receipt's".into()),
            }
        }
        _ => Err("your copy's closing comment has half a signature".into()),
    }
}

/// What was seen of a saved head.
#[derive(Default)]
pub(super) struct Seen {
    /// Signatures in it and its trailers.
    pub(super) signed: usize,
    /// What is as the record has it.
    pub(super) compared: Vec<&'static str>,
}

/// All that a saved head and its trailers say of the record has to be so.
pub(super) fn check_head(
    head: &SavedHead,
    trailers: &Trailers,
    record: &Record,
    log: &LogSide,
    http: &HttpSide,
    trust: Option<&Trust>,
) -> Result<Seen, String> {
    let mut seen = Seen { signed: 0, compared: lines::check_answer(head, record)? };
    for line in head.header("colophon-record").chain(trailers.values("colophon-record")) {
        seen.compared.push(check_promise(line, record, log)?);
    }
    seen.compared.dedup();
    check_digest(trailers, record)?;
    let saved = Saved { head, trailers };
    for in_trailers in [false, true] {
        let field = |name: &'static str| match in_trailers {
            false => field_value(head.header(name)),
            true => field_value(trailers.values(name)),
        };
        let (inputs, signatures) = match (field("signature-input"), field("signature")) {
            (Some(inputs), Some(signatures)) => (inputs, signatures),
            (None, None) => continue,
            _ if in_trailers => return Err("your copy's trailers have half a signature".into()),
            _ => continue,
        };
        let inputs = parse_signature_input(&inputs).map_err(|error| error.to_string())?;
        let signatures = parse_signature(&signatures).map_err(|error| error.to_string())?;
        for input in inputs.iter().filter(|input| input.label().starts_with("colophon")) {
            let (_, signature) = signatures
                .iter()
                .find(|(label, _)| label == input.label())
                .ok_or("your copy has a Signature-Input without its Signature")?;
            check_saved(&saved, input, signature, record, log, http, trust)?;
            seen.signed += 1;
        }
        // Trailers are left out of the body, so nothing may stand there unseen. Those of others are under the record's digest.
        if in_trailers && trailers.foreign().is_empty() && (inputs.len(), signatures.len()) != (1, 1) {
            return Err("your copy's trailers have another signature beside the key's".into());
        }
    }
    Ok(seen)
}

/// `Colophon-Record`, with all that it says. After a crash the record is another shard's than the promise, and only a signature
/// shows that one.
fn check_promise(value: &str, record: &Record, log: &LogSide) -> Result<&'static str, String> {
    let wrong = |what: &str| format!("your copy's Colophon-Record: {what}");
    let item = parse_item(value).map_err(|error| wrong(&error.to_string()))?;
    let param = |name: &str| item.params.get(name);
    let durability = param("durability").is_none_or(|value| {
        value.as_token().is_some_and(|value| ["process", "power", "node"].contains(&value))
    });
    if !durability || param("mmd").is_some_and(|value| value.as_integer().is_none()) {
        return Err(wrong("its durability or mmd is none"));
    }
    let shard = param("shard").and_then(BareItem::as_string).unwrap_or_default();
    promise(value, record, shard).map_err(|what| wrong(&what))?;
    let announced = || log.announced.iter().map(|announced| announced.payload.shard.as_str());
    let name = |shard: &'_ str| shard.rsplit_once('/').map(|(name, _)| name.to_owned());
    if announced().any(|known| known == shard) {
        return Ok("Colophon-Record");
    }
    match announced().any(|known| name(known) == name(shard)) {
        true => Ok("Colophon-Record but for its shard"),
        false => Err(wrong(&format!("it names the shard {}, of another sidecar", quoted(shard)))),
    }
}

/// A `Content-Digest` after the body is the recorded one, unless it is the upstream's, and recorded as such.
fn check_digest(trailers: &Trailers, record: &Record) -> Result<(), String> {
    let upstreams = record.opened.response_head.as_ref().and_then(|head| head.trailers);
    let Some(body) = record.opened.response_body.filter(|_| !trailers.digest_is_committed(upstreams)) else {
        return Ok(());
    };
    let recorded = content_digest(&body);
    match trailers.values("content-digest").all(|value| value == recorded) {
        true => Ok(()),
        false => Err("the Content-Digest after your copy's body is not that of the recorded one".into()),
    }
}

fn content_digest(body: &BodyDigest) -> String {
    format!("sha-256=:{}:", BASE64_STANDARD.encode(body.digest))
}

/// Head and end of an answer.
struct Saved<'a> {
    head: &'a SavedHead,
    trailers: &'a Trailers,
}

/// One signature of the saved answer: rebuilt from the saved head, and from the record for what was the request's.
fn check_saved(
    saved: &Saved<'_>,
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
            ("@status", false) => saved.head.status.clone(),
            (_, false) if component.tr => field_value(saved.trailers.values(name)),
            (_, false) => field_value(saved.head.header(name)),
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
