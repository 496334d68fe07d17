//! A request as it was sent, saved in a file: HTTP/1.1 text.

use anyhow::{Context as _, bail};
use http::{HeaderMap, HeaderName, HeaderValue, Method};

/// A request that a policy is asked about.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) method: Method,
    /// The path as sent, without the query.
    pub(super) path: String,
    pub(super) query: Option<String>,
    pub(super) headers: HeaderMap,
    /// `None`: not known.
    pub(super) body: Option<Vec<u8>>,
}

impl Request {
    /// A request for `target`, which may be in absolute form.
    pub(super) fn new(method: &str, target: &str) -> anyhow::Result<Request> {
        let method = method.parse().with_context(|| format!("{method:?} is no HTTP method"))?;
        let target = target.split('#').next().unwrap_or_default();
        let local = match target.split_once("://") {
            Some((_, rest)) => rest.find('/').and_then(|slash| rest.get(slash..)).unwrap_or("/"),
            None => target,
        };
        let (path, query) = local.split_once('?').map_or((local, None), |(path, query)| (path, Some(query)));
        Ok(Request {
            method,
            path: path.to_owned(),
            query: query.map(str::to_owned),
            headers: HeaderMap::new(),
            body: None,
        })
    }

    /// Adds `Name: value`.
    pub(super) fn add_header(&mut self, line: &str) -> anyhow::Result<()> {
        let (name, value) =
            line.split_once(':').with_context(|| format!("{line:?} is no header: `Name: value`"))?;
        let name: HeaderName = name.parse().with_context(|| format!("{name:?} is no header's name"))?;
        let value =
            HeaderValue::from_str(value.trim()).with_context(|| format!("{line:?}: no such value"))?;
        self.headers.append(name, value);
        Ok(())
    }

    /// Reads HTTP/1.1 text: request line, headers, an empty line, the body (its chunks undone).
    pub(super) fn parse(bytes: &[u8]) -> anyhow::Result<Request> {
        let ends = [&b"\r\n\r\n"[..], b"\n\n"].map(|empty| {
            let at = bytes.windows(empty.len()).position(|window| window == empty)?;
            Some((at, at + empty.len()))
        });
        let Some((end, start)) = ends.into_iter().flatten().min() else {
            bail!("no HTTP/1.1 request: there is no empty line after its headers");
        };
        let (head, body) = (&bytes[..end], &bytes[start..]);
        let head = std::str::from_utf8(head).context("the head of the request is no text")?;
        let mut lines = head.lines();
        let first = lines.next().unwrap_or_default();
        let mut words = first.split(' ');
        let (Some(method), Some(target)) = (words.next(), words.next()) else {
            bail!("{first:?} is no request line: `METHOD target HTTP/1.1`");
        };
        let mut request = Request::new(method, target)?;
        for line in lines {
            request.add_header(line)?;
        }
        let chunked = request.headers.get(http::header::TRANSFER_ENCODING).is_some();
        request.body = Some(if chunked { unchunked(body)? } else { body.to_vec() });
        Ok(request)
    }
}

fn unchunked(mut rest: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|window| window == b"\r\n").context("a chunk has no size")?;
        let line = std::str::from_utf8(&rest[..end]).context("a chunk has no size")?;
        let size = line.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(size, 16).with_context(|| format!("{size:?} is no chunk's size"))?;
        if size == 0 {
            return Ok(body);
        }
        let start = end + 2;
        let chunk = rest.get(start..start.saturating_add(size)).context("a chunk is cut short")?;
        body.extend_from_slice(chunk);
        rest = rest.get(start + size + 2..).context("the chunks have no end")?;
    }
}

#[cfg(test)]
mod tests;
