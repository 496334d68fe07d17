//! Lines of saved heads that a record has as well: what is in both has to be the same.

use colophon_receipt::Outcome;
use colophon_receipt::fields::CONTEXT;
use colophon_receipt::merkle::{Hash, sha256};
use colophon_signer::sf::{Member, parse_dictionary};

use crate::bodies::SavedHead;
use crate::http::HttpSide;
use crate::record::Record;
use crate::text::quoted;

/// Values in a record are cut here, or left out.
const MAX_VALUE: usize = 512;

/// The head of an answer. Returns what was compared.
pub(super) fn check_answer(head: &SavedHead, record: &Record) -> Result<Vec<&'static str>, String> {
    let mut compared = Vec::new();
    if let Some(recorded) = &record.opened.response_head {
        let status = recorded.status.map(|status| status.to_string());
        if let (Some(saved), Some(recorded)) = (&head.status, status) {
            same("status", saved, recorded.as_bytes())?;
            compared.push("status");
        }
        for (name, title, recorded) in [
            ("content-type", "Content-Type", &recorded.content_type),
            ("content-encoding", "Content-Encoding", &recorded.content_encoding),
        ] {
            // A record keeps the first line of a name.
            let Some(saved) = head.header(name).next() else { continue };
            same(title, saved, recorded.as_deref().unwrap_or_default())?;
            compared.push(title);
        }
    }
    // Of an answer that was cut, the upstream's own digest is that of the whole.
    let whole = matches!(record.leaf.outcome, Outcome::Complete | Outcome::UpstreamError | Outcome::Refused);
    let response = record.opened.response_body.filter(|_| whole);
    for (name, title, recorded) in [
        ("content-digest", "Content-Digest", response),
        ("colophon-request-digest", "Colophon-Request-Digest", record.opened.request_body),
    ] {
        for saved in head.header(name) {
            let Some((saved, recorded)) = sha256_of(saved).zip(recorded) else { continue };
            same(title, &hex::encode(saved), hex::encode(recorded.digest).as_bytes())?;
            compared.push(title);
        }
    }
    compared.dedup();
    Ok(compared)
}

/// The head of a request, likewise.
pub(super) fn check_request(
    head: &SavedHead,
    record: &Record,
    http: &HttpSide,
) -> Result<Vec<&'static str>, String> {
    let mut compared = Vec::new();
    if let (Some((method, target)), Some(line)) = (&head.request, &record.opened.request_line) {
        if let Some(recorded) = &line.method {
            same("method", &String::from_utf8_lossy(method), recorded)?;
            compared.push("method");
        }
        if let (Some((path, query)), Some(recorded)) = (split_target(target), &line.path) {
            let recorded: &[u8] = if recorded.is_empty() { b"/" } else { recorded };
            same("path", &String::from_utf8_lossy(path), recorded)?;
            if !same_query(query, line.query) {
                return Err("your copy's query is not the recorded one".into());
            }
            compared.extend(["path", "query"]);
        }
    }
    let kept =
        |nonce: &&str| nonce.len() <= MAX_VALUE && nonce.bytes().all(|byte| (0x20..0x7f).contains(&byte));
    if let Some(saved) = head.header("colophon-client-nonce").next().filter(kept) {
        let context = record.opened.context.as_ref().and_then(|context| context.nonce.as_deref());
        match context.or(http.nonce.as_ref().map(String::as_bytes)) {
            Some(recorded) => same("nonce", saved, recorded)?,
            None if record.is_withheld(CONTEXT) => return Ok(compared),
            None => return Err("your copy has a nonce, the record none".into()),
        }
        compared.push("nonce");
    }
    Ok(compared)
}

fn same(what: &str, saved: &str, recorded: &[u8]) -> Result<(), String> {
    let text = String::from_utf8_lossy(recorded);
    let is = match recorded.len() >= MAX_VALUE {
        true => saved.starts_with(&*text),
        false => saved == text.trim(),
    };
    is.then_some(()).ok_or_else(|| {
        let (saved, recorded) = (quoted(saved), quoted(recorded));
        format!("your copy's {what} is {saved}, the recorded one {recorded}")
    })
}

/// The SHA-256 in a digest field (RFC 9530), which may have others beside it, or only those.
fn sha256_of(value: &str) -> Option<Vec<u8>> {
    let members = parse_dictionary(value).ok()?;
    members.into_iter().find_map(|(algorithm, member)| match member {
        Member::Item(item) if algorithm == "sha-256" => item.value.as_bytes().map(<[u8]>::to_vec),
        _ => None,
    })
}

/// Path and query of a target, in origin form or absolute form; others have none.
fn split_target(target: &[u8]) -> Option<(&[u8], Option<&[u8]>)> {
    let scheme = [&b"http://"[..], b"https://"]
        .into_iter()
        .find(|scheme| target.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)));
    let rest = match scheme {
        None => target,
        Some(scheme) => {
            let rest = &target[scheme.len()..];
            let authority = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
            &rest[authority..]
        }
    };
    let end = rest.iter().position(|byte| *byte == b'?').unwrap_or(rest.len());
    let (path, query) = (&rest[..end], rest.get(end + 1..));
    match path {
        b"" if scheme.is_some() => Some((b"/", query)),
        [b'/', ..] => Some((path, query)),
        _ => None,
    }
}

fn same_query(saved: Option<&[u8]>, recorded: Option<Hash>) -> bool {
    let saved = saved.unwrap_or_default();
    recorded.map_or(saved.is_empty(), |recorded| sha256(saved) == recorded)
}
