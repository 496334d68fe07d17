//! The head of a saved HTTP message.

use std::collections::BTreeSet;

use super::Side;

/// Start line and header lines.
#[derive(Clone, Debug, Default)]
pub(crate) struct SavedHead {
    /// Of a response.
    pub(crate) status: Option<String>,
    /// Method and target, of a request.
    pub(crate) request: Option<(Vec<u8>, Vec<u8>)>,
    lines: Vec<(String, String)>,
}

/// Whether bytes begin like an HTTP message of this side, as far as they go.
pub(super) fn is_message(side: Side, start: &[u8]) -> bool {
    match side {
        Side::Response => {
            let n = start.len().min(5);
            start[..n] == b"HTTP/"[..n]
        }
        Side::Request => match start.iter().take(8192).position(|byte| *byte == b'\n') {
            Some(end) => is_request_line(start[..end].trim_ascii_end()),
            // JSON begins otherwise than a method.
            None => start.len() < 8192 && start.first().is_none_or(u8::is_ascii_uppercase),
        },
    }
}

fn is_request_line(line: &[u8]) -> bool {
    let mut words = line.split(|byte| *byte == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return false;
    };
    !method.is_empty()
        && method.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
        && !target.is_empty()
        && version.starts_with(b"HTTP/")
}

impl SavedHead {
    /// The head and what follows it; `None` while it has not ended. Interim (1xx) heads are skipped.
    pub(super) fn parse(side: Side, bytes: &[u8]) -> Result<Option<(SavedHead, &[u8])>, ()> {
        let mut rest = bytes;
        loop {
            let Some((block, after)) = split_head(rest) else { return Ok(None) };
            let mut lines = block.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_end);
            let start = lines.next().unwrap_or_default();
            let mut head = SavedHead::default();
            if side == Side::Response {
                let mut words = start.splitn(3, |byte| *byte == b' ');
                let status = words.nth(1).filter(|status| {
                    start.starts_with(b"HTTP/") && status.len() == 3 && status.iter().all(u8::is_ascii_digit)
                });
                head.status = Some(String::from_utf8_lossy(status.ok_or(())?).into_owned());
            }
            if side == Side::Request {
                let mut words = start.split(|byte| *byte == b' ').map(<[u8]>::to_vec);
                head.request = words.next().zip(words.next());
            }
            for line in lines.filter(|line| !line.is_empty()) {
                head.lines.push(header(line).ok_or(())?);
            }
            if head.status.as_deref().is_some_and(|status| status.starts_with('1')) {
                rest = after;
                continue;
            }
            return Ok(Some((head, after)));
        }
    }

    /// What `Trailer` announces.
    pub(super) fn trailer_names(&self) -> BTreeSet<String> {
        let named = self.header("trailer").flat_map(|value| value.split(','));
        named.map(|name| name.trim().to_ascii_lowercase()).filter(|name| !name.is_empty()).collect()
    }

    /// Whether the message was sent in chunks. What saved it may have undone them.
    pub(super) fn is_chunked(&self) -> bool {
        let last = self.header("transfer-encoding").last().and_then(|value| value.rsplit(',').next());
        last.is_some_and(|coding| coding.trim().eq_ignore_ascii_case("chunked"))
    }

    /// The lines of a header.
    pub(crate) fn header<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.lines.iter().filter(move |(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

fn header(line: &[u8]) -> Option<(String, String)> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    // Bytes outside UTF-8 become characters that no signature covers, and so never compare as equal.
    let name = String::from_utf8_lossy(&line[..colon]).to_ascii_lowercase();
    let value = String::from_utf8_lossy(line[colon + 1..].trim_ascii()).into_owned();
    (!name.is_empty()).then_some((name, value))
}

/// Splits after the first empty line, with CRLF or bare LF line ends.
fn split_head(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut from = 0;
    while let Some(newline) = bytes[from..].iter().position(|byte| *byte == b'\n') {
        let after = from + newline + 1;
        let rest = &bytes[after..];
        if let Some(body) = rest.strip_prefix(b"\r\n").or_else(|| rest.strip_prefix(b"\n")) {
            return Some((&bytes[..after], body));
        }
        from = after;
    }
    None
}
