//! The reader's copies against the record: bodies, a saved head with its signatures, the nonce.

use colophon_receipt::fields::{
    BodyDigest, CONTEXT, REQUEST_BODY, REQUEST_DECODED, RESPONSE_BODY, RESPONSE_DECODED,
};
use colophon_signer::httpsig::{
    CoveredComponent, SignatureInput, field_value, parse_signature, parse_signature_input,
};
use colophon_signer::sf::parse_item;

use crate::bodies::{Bodies, Body, SavedHead, Side};
use crate::checks::{Checks, Finding, NONCE, REQUEST_BODY as REQUEST, RESPONSE_BODY as RESPONSE, SAVED_HEAD};
use crate::http::{Base, HttpSide, check_one};
use crate::log::LogSide;
use crate::record::Record;
use crate::report::Binding;
use crate::text::{quoted, uuid};
use crate::trust::Trust;

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
    compare(RESPONSE, Side::Response, &bodies.response, record, response, &mut side, checks);

    match bodies.response.as_ref().and_then(|body| body.head.as_ref()) {
        None => checks.skip(SAVED_HEAD, "no response was given with its head"),
        Some(head) => match check_head(head, record, log, http, trust) {
            Ok((signed, detail)) => {
                side.signature = signed && side.has(Side::Response);
                checks.add(SAVED_HEAD, Ok(detail));
            }
            Err(error) => drop(checks.add(SAVED_HEAD, Err(error))),
        },
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

fn compare(
    name: &'static str,
    of: Side,
    copy: &Option<Body>,
    record: &Record,
    recorded: [(u8, Option<BodyDigest>); 2],
    side: &mut CopySide,
    checks: &mut Checks,
) {
    let Some(copy) = copy else {
        return checks.skip(name, "no copy was given");
    };
    for (at, body) in recorded {
        let Some(body) = body else { continue };
        if let Some(reading) = copy.readings.iter().find(|reading| reading.body == body) {
            let decoded = [REQUEST_DECODED, RESPONSE_DECODED].contains(&at);
            let how = format!("{}{}", reading.how, if decoded { ", as decoded" } else { "" });
            checks.add(name, Ok(format!("{how} is the recorded one, {} bytes", body.size)));
            side.matched.push((of, how, body.size));
            return;
        }
    }
    if recorded.iter().any(|(at, _)| record.is_withheld(*at)) {
        side.not_compared = true;
        return checks.skip(name, "the receipt withholds the digest");
    }
    let finding = match recorded[0].1 {
        None => "the record has no such body".to_owned(),
        Some(body) if copy.size == 0 => {
            format!("your copy is empty, the recorded one has {} bytes", body.size)
        }
        Some(body) => format!(
            "your copy ({} bytes) is not the recorded one ({} bytes, SHA-256 {})",
            copy.size,
            body.size,
            hex::encode(body.digest)
        ),
    };
    checks.add(name, Err(finding));
}

/// `None` if the record's word on it is withheld.
fn check_nonce(nonce: &[u8], record: &Record, http: &HttpSide) -> Option<Finding> {
    let recorded = record.opened.context.as_ref().and_then(|context| context.nonce.as_deref());
    let covered = http.nonce.as_ref().map(String::as_bytes);
    match recorded.or(covered) {
        Some(found) if found == nonce => Some(Ok("the record holds your nonce".into())),
        Some(found) => Some(Err(format!("the record holds the nonce {}", quoted(found)))),
        None if record.is_withheld(CONTEXT) => None,
        None => Some(Err("the record holds no nonce".into())),
    }
}

/// Whether the saved head carries a signature, and that all it says of the record is so.
fn check_head(
    head: &SavedHead,
    record: &Record,
    log: &LogSide,
    http: &HttpSide,
    trust: Option<&Trust>,
) -> Result<(bool, String), String> {
    let id = uuid(&record.leaf.id);
    for line in head.header("colophon-record").chain(head.trailer("colophon-record")) {
        let item = parse_item(line).map_err(|error| format!("Colophon-Record: {error}"))?;
        if item.value.as_string() != Some(id.as_str()) {
            return Err(format!("your copy's Colophon-Record names another record than {id}"));
        }
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
    Ok(match signed {
        0 => (false, "your copy's head carries no signature".into()),
        n => (true, format!("your copy's head carries {n} of the key's signatures over this record")),
    })
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
