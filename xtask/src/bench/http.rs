//! HTTP/1.1 as far as the run needs it: one request, one connection, an answer with a length or to the close.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result};

const PATIENCE: Duration = Duration::from_secs(10);

/// No answer here is longer.
const MAX_ANSWER: u64 = 4 << 20;

/// An answer.
pub(super) struct Answer {
    pub(super) status: u16,
    head: String,
    pub(super) body: String,
}

impl Answer {
    /// A header's value; `name` in lower case.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

/// GET.
pub(super) fn get(server: SocketAddr, target: &str) -> Result<Answer> {
    send(server, &format!("GET {target} HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\n\r\n"))
}

/// POST of JSON.
pub(super) fn post(server: SocketAddr, target: &str, body: &str) -> Result<Answer> {
    let length = body.len();
    send(
        server,
        &format!(
            "POST {target} HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        ),
    )
}

fn send(server: SocketAddr, request: &str) -> Result<Answer> {
    let mut connection = TcpStream::connect_timeout(&server, PATIENCE)?;
    connection.set_read_timeout(Some(PATIENCE))?;
    connection.set_nodelay(true)?;
    connection.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    connection.take(MAX_ANSWER).read_to_end(&mut answer)?;
    let answer = String::from_utf8(answer).context("not a text answer")?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no end of the head")?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).context("no status")?;
    Ok(Answer { status, head: head.to_owned(), body: body.to_owned() })
}
