//! Message heads: what is hop-by-hop and what the upstream may not say in our name (RFC 9110 section 7.6.1).

use colophon_receipt::merkle;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};

/// Headers that concern one connection only. `Trailer` is not among them: it names what follows end to end.
const HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Removes hop-by-hop headers and those that `Connection` names.
pub fn strip_hop_by_hop(headers: &mut HeaderMap) {
    // Most heads have none, and one look over the names is cheaper than a search for each.
    if !headers.keys().any(is_hop_by_hop) {
        return;
    }
    if headers.contains_key(header::CONNECTION) {
        let named: Vec<HeaderName> = headers
            .get_all(header::CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .filter_map(|token| token.trim().parse().ok())
            // A sender may not use `Connection` to remove what frames or routes the message.
            .filter(|name| *name != header::HOST && *name != header::CONTENT_LENGTH)
            .collect();
        for name in named {
            headers.remove(name);
        }
    }
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
}

fn is_hop_by_hop(name: &HeaderName) -> bool {
    // By length first: comparing names one by one would cost as much as the searches.
    match name.as_str().len() {
        2 | 7 | 10 | 16 | 17 | 18 | 19 => HOP_BY_HOP.contains(name),
        _ => false,
    }
}

/// Puts the crumbs that HTTP/2 may split `Cookie` into together again (RFC 9113 section 8.2.3).
pub fn join_cookies(headers: &mut HeaderMap) {
    let crumbs: Vec<&[u8]> = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if crumbs.len() > 1
        && let Ok(whole) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..]))
    {
        headers.insert(header::COOKIE, whole);
    }
}

/// Whether a comma-separated header holds `token`, regardless of case and of parameters.
pub fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|item| item.split(';').next().is_some_and(|item| item.trim().eq_ignore_ascii_case(token)))
}

/// The protocol that a request asks to upgrade to, if it does so properly (RFC 9110 section 7.8).
pub fn upgrade_asked(headers: &HeaderMap) -> Option<HeaderValue> {
    let protocol = headers.get(header::UPGRADE)?;
    // h2c by upgrade is obsolete (RFC 9113 section 3.1) and would end the proxy's sight of the exchange.
    // Servers differ in which line they read.
    let hidden = headers.get_all(header::UPGRADE).iter().any(offers_h2);
    let usable = has_token(headers, &header::CONNECTION, "upgrade") && !hidden;
    usable.then(|| protocol.clone())
}

/// Whether HTTP/2 is among the protocols named: anywhere in the list, in any case, in any version.
pub fn offers_h2(protocols: &HeaderValue) -> bool {
    let mut offers = protocols.as_bytes().split(|b| *b == b',');
    offers.any(|item| item.trim_ascii().get(..2).is_some_and(|start| start.eq_ignore_ascii_case(b"h2")))
}

/// Whether a message's transfer coding is one that is undone here: `chunked`, once and last, or none. Of any other the
/// bytes would go on without the header that says what they are (RFC 9112 section 7).
pub fn coding_known(headers: &HeaderMap) -> bool {
    let mut codings = headers
        .get_all(header::TRANSFER_ENCODING)
        .iter()
        .flat_map(|line| line.as_bytes().split(|b| *b == b','));
    let Some(last) = codings.next_back() else { return true };
    let is = |coding: &[u8], name: &str| coding.trim_ascii().eq_ignore_ascii_case(name.as_bytes());
    // `identity` of the older HTTP/1.1 changes nothing.
    (is(last, "chunked") || is(last, "identity")) && codings.all(|coding| is(coding, "identity"))
}

/// Removes from an upstream's response what only this proxy may say. Returns the names of what was removed.
pub fn strip_claims(headers: &mut HeaderMap) -> Vec<Vec<u8>> {
    let mut removed: Vec<Vec<u8>> = Vec::new();
    if !headers.keys().any(is_claim) {
        return removed;
    }
    let names: Vec<HeaderName> = headers.keys().filter(|name| is_claim(name)).cloned().collect();
    for name in names {
        if name.as_str().starts_with("colophon-") {
            headers.remove(&name);
            removed.push(name.as_str().as_bytes().to_vec());
        } else if headers.get_all(&name).iter().any(|value| has_our_label(value.as_bytes())) {
            // A structured-field dictionary is one value however many lines: drop our labels, keep the rest.
            keep_foreign_labels(headers, &name, &mut removed);
        }
    }
    removed
}

fn is_claim(name: &HeaderName) -> bool {
    let name = name.as_str();
    name.starts_with("colophon-") || name == "signature" || name == "signature-input"
}

fn has_our_label(value: &[u8]) -> bool {
    value.windows(8).any(|window| window == b"colophon")
}

fn keep_foreign_labels(headers: &mut HeaderMap, name: &HeaderName, removed: &mut Vec<Vec<u8>>) {
    // Readers join the lines before they parse (RFC 9651 section 4.2), so a string may go on over two of them.
    let lines: Vec<&[u8]> = headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
    let whole = lines.join(&b", "[..]);
    let mut kept: Vec<&[u8]> = Vec::new();
    for member in split_members(&whole) {
        let member = member.trim_ascii();
        if member.starts_with(b"colophon") {
            let label = member.split(|b| *b == b'=').next().unwrap_or(member);
            removed.push([name.as_str().as_bytes(), b":", label].concat());
        } else if !member.is_empty() {
            kept.push(member);
        }
    }
    headers.remove(name);
    if let (false, Ok(value)) = (kept.is_empty(), HeaderValue::from_bytes(&kept.join(&b", "[..]))) {
        headers.append(name, value);
    }
}

/// Splits dictionary members at commas outside quoted strings and inner lists.
fn split_members(value: &[u8]) -> Vec<&[u8]> {
    let (mut members, mut start, mut quoted, mut escaped, mut depth) = (Vec::new(), 0, false, false, 0usize);
    for (at, byte) in value.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'(' if !quoted => depth += 1,
            b')' if !quoted => depth = depth.saturating_sub(1),
            b',' if !quoted && depth == 0 => {
                members.push(&value[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    members.push(&value[start..]);
    members
}

/// SHA-256 over `name: value\n` lines: names in lower case and ascending, the lines of one name in the order received.
pub fn digest(headers: &HeaderMap) -> [u8; 32] {
    // Lines of one name come together, in the order received, and a stable sort keeps them so.
    let mut lines: Vec<(&HeaderName, &HeaderValue)> = headers.iter().collect();
    lines.sort_by_key(|(name, _)| name.as_str());
    let mut text = Vec::with_capacity(32 * lines.len());
    for (name, value) in lines {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\n"] {
            text.extend_from_slice(part);
        }
    }
    merkle::sha256(&text)
}

#[cfg(test)]
mod tests;
