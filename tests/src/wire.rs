//! HTTP/1.1 messages read strictly from a socket: what RFC 9112 forbids is reported, not repaired.

use std::io::{self, Read};

/// No head of ours is longer.
const MAX_LINE: usize = 1 << 20;

/// How a body was delimited (RFC 9112 section 6.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Framing {
    /// No body by definition (HEAD, 1xx, 204, 304, a request without length).
    None,
    /// `Content-Length`.
    Length(usize),
    /// `Transfer-Encoding: chunked`.
    Chunked,
    /// Until the connection closes.
    Close,
}

/// How reading a message ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// By its own framing.
    Complete,
    /// The connection closed before the framing said so.
    Truncated,
    /// The connection was reset.
    Reset,
    /// Nothing more came within the read timeout.
    TimedOut,
    /// What came breaks RFC 9112.
    Bad(String),
}

/// A request or a response, de-chunked.
#[derive(Clone, Debug)]
pub struct Message {
    /// The first line; empty when nothing came.
    pub start: String,
    /// Names as sent, values without surrounding blanks.
    pub headers: Vec<(String, String)>,
    /// The body, de-chunked but still content-encoded.
    pub body: Vec<u8>,
    /// Fields after the last chunk.
    pub trailers: Vec<(String, String)>,
    /// How the body was delimited.
    pub framing: Framing,
    /// How reading ended.
    pub end: End,
    /// Interim (1xx) responses that came before it.
    pub interim: Vec<String>,
}

impl Message {
    fn nothing(end: End) -> Self {
        let (headers, body, trailers, interim) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { start: String::new(), headers, body, trailers, framing: Framing::None, end, interim }
    }

    /// The status code of a response.
    ///
    /// # Panics
    /// When there is none.
    pub fn status(&self) -> u16 {
        let code = self.start.split(' ').nth(1).and_then(|code| code.parse().ok());
        code.unwrap_or_else(|| panic!("no status in {:?} ({:?})", self.start, self.end))
    }

    /// The method of a request.
    pub fn method(&self) -> &str {
        self.start.split(' ').next().unwrap_or_default()
    }

    /// The target of a request.
    pub fn target(&self) -> &str {
        self.start.split(' ').nth(1).unwrap_or_default()
    }

    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Every value of a header.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Whether a comma-separated header holds the token.
    pub fn has_token(&self, name: &str, token: &str) -> bool {
        self.all(name).flat_map(|value| value.split(',')).any(|word| word.trim().eq_ignore_ascii_case(token))
    }

    /// The body as text, for messages.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A byte stream that messages are read from, one after the other.
pub struct Wire<R> {
    from: R,
    buffer: Vec<u8>,
    at: usize,
}

/// What stopped the reading.
enum Stop {
    Eof,
    Io(io::Error),
    Bad(String),
}

impl From<Stop> for End {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Eof => End::Truncated,
            Stop::Io(error) if error.kind() == io::ErrorKind::ConnectionReset => End::Reset,
            Stop::Io(error) if error.kind() == io::ErrorKind::BrokenPipe => End::Reset,
            Stop::Io(error) if error.kind() == io::ErrorKind::WouldBlock => End::TimedOut,
            Stop::Io(error) if error.kind() == io::ErrorKind::TimedOut => End::TimedOut,
            Stop::Io(error) => End::Bad(error.to_string()),
            Stop::Bad(why) => End::Bad(why),
        }
    }
}

impl<R: Read> Wire<R> {
    /// Reads from `from`.
    pub fn new(from: R) -> Self {
        Self { from, buffer: Vec::new(), at: 0 }
    }

    /// How many bytes the messages read so far took.
    pub fn consumed(&self) -> usize {
        self.at
    }

    /// What was read ahead and belongs to no message yet.
    pub fn rest(&self) -> &[u8] {
        &self.buffer[self.at..]
    }

    /// Reads a request's head only; its body is still to come.
    pub fn request_head(&mut self) -> Message {
        self.head().unwrap_or_else(|stop| Message::nothing(stop.into()))
    }

    /// Reads the body that the request's head announces.
    pub fn request_body(&mut self, mut request: Message) -> Message {
        if request.end == End::Complete {
            let framing = delimit(&request, Framing::None);
            self.body(&mut request, framing);
        }
        request
    }

    /// Reads a request.
    pub fn request(&mut self) -> Message {
        let head = self.request_head();
        self.request_body(head)
    }

    /// Reads the response to a request of method `method`; interim responses are noted on the way.
    pub fn response(&mut self, method: &str) -> Message {
        let mut response = self.response_head();
        if response.end == End::Complete {
            self.response_body(&mut response, method);
        }
        response
    }

    /// Reads a response's head only.
    pub fn response_head(&mut self) -> Message {
        let mut interim = Vec::new();
        loop {
            let mut message = self.head().unwrap_or_else(|stop| Message::nothing(stop.into()));
            if message.end == End::Complete {
                if let Err(why) = check_status_line(&message.start) {
                    message.end = End::Bad(why);
                } else if message.status() < 200 && message.status() != 101 {
                    interim.push(message.start.clone());
                    continue;
                }
            }
            message.interim = interim;
            return message;
        }
    }

    /// Reads the body that belongs to the head.
    pub fn response_body(&mut self, response: &mut Message, method: &str) {
        let bodiless = method == "HEAD" || matches!(response.status(), 101 | 204 | 304);
        let framing = if bodiless { Ok(Framing::None) } else { delimit(response, Framing::Close) };
        self.body(response, framing);
    }

    /// Reads body bytes until `body` is at least `length` long, without waiting for the message's end. The message
    /// must be chunked, or delimited by the close.
    pub fn response_prefix(&mut self, response: &mut Message, length: usize) {
        response.framing = match delimit(response, Framing::Close) {
            Ok(framing) => framing,
            Err(why) => return response.end = End::Bad(why),
        };
        while response.body.len() < length {
            let read = match response.framing {
                Framing::Chunked => self.chunk(&mut response.body),
                _ => self.some(&mut response.body, length).map(|()| true),
            };
            match read {
                Ok(true) => {}
                Ok(false) => return,
                Err(stop) => return response.end = stop.into(),
            }
        }
    }

    fn head(&mut self) -> Result<Message, Stop> {
        let start = match self.line() {
            Err(Stop::Eof) if self.rest().is_empty() => return Ok(Message::nothing(End::Truncated)),
            line => line?,
        };
        let mut message = Message::nothing(End::Complete);
        message.start = start;
        message.headers = self.fields()?;
        Ok(message)
    }

    fn body(&mut self, message: &mut Message, framing: Result<Framing, String>) {
        let read = match framing {
            Err(why) => Err(Stop::Bad(why)),
            Ok(framing) => {
                message.framing = framing.clone();
                self.framed(message, &framing)
            }
        };
        if let Err(stop) = read {
            message.end = stop.into();
        }
    }

    fn framed(&mut self, message: &mut Message, framing: &Framing) -> Result<(), Stop> {
        match framing {
            Framing::None => Ok(()),
            Framing::Length(length) => {
                while message.body.len() < *length {
                    self.some(&mut message.body, *length)?;
                }
                Ok(())
            }
            Framing::Chunked => {
                while self.chunk(&mut message.body)? {}
                message.trailers = self.fields()?;
                Ok(())
            }
            Framing::Close => loop {
                match self.some(&mut message.body, usize::MAX) {
                    Ok(()) => {}
                    Err(Stop::Eof) => return Ok(()),
                    Err(stop) => return Err(stop),
                }
            },
        }
    }

    /// Appends one chunk's data; `false` for the last one.
    fn chunk(&mut self, body: &mut Vec<u8>) -> Result<bool, Stop> {
        let line = self.line()?;
        let digits = line.split(';').next().unwrap_or_default().trim_end();
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(Stop::Bad(format!("chunk size {line:?}")));
        }
        let size = usize::from_str_radix(digits, 16).map_err(|error| Stop::Bad(error.to_string()))?;
        if size == 0 {
            return Ok(false);
        }
        let until = body.len() + size;
        while body.len() < until {
            self.some(body, until)?;
        }
        match self.line()? {
            end if end.is_empty() => Ok(true),
            more => Err(Stop::Bad(format!("{more:?} after a chunk"))),
        }
    }

    /// Moves what is there into `body`, until that holds `limit` bytes at most; reads when there is nothing.
    fn some(&mut self, body: &mut Vec<u8>, limit: usize) -> Result<(), Stop> {
        if self.rest().is_empty() {
            self.fill()?;
        }
        let take = self.rest().len().min(limit - body.len());
        body.extend_from_slice(&self.buffer[self.at..self.at + take]);
        self.at += take;
        Ok(())
    }

    fn fields(&mut self) -> Result<Vec<(String, String)>, Stop> {
        let mut fields = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(fields);
            }
            let Some((name, value)) = line.split_once(':') else {
                return Err(Stop::Bad(format!("header line {line:?}")));
            };
            if name.is_empty() || !name.bytes().all(is_token) {
                return Err(Stop::Bad(format!("header name {name:?}")));
            }
            fields.push((name.to_owned(), value.trim_matches([' ', '\t']).to_owned()));
        }
    }

    /// A line without its CRLF. Bytes that are not UTF-8 come out as U+FFFD.
    fn line(&mut self) -> Result<String, Stop> {
        let mut searched = self.at;
        loop {
            if let Some(found) = self.buffer[searched..].iter().position(|byte| *byte == b'\n') {
                let end = searched + found;
                let line = &self.buffer[self.at..end];
                let Some(line) = line.strip_suffix(b"\r") else {
                    return Err(Stop::Bad(format!("bare LF after {:?}", String::from_utf8_lossy(line))));
                };
                let line = String::from_utf8_lossy(line).into_owned();
                self.at = end + 1;
                return Ok(line);
            }
            if self.rest().len() > MAX_LINE {
                return Err(Stop::Bad("an endless line".to_owned()));
            }
            searched = self.buffer.len();
            self.fill()?;
        }
    }

    fn fill(&mut self) -> Result<(), Stop> {
        let mut some = [0; 16 << 10];
        loop {
            match self.from.read(&mut some) {
                Ok(0) => return Err(Stop::Eof),
                Ok(count) => {
                    self.buffer.extend_from_slice(&some[..count]);
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Stop::Io(error)),
            }
        }
    }
}

fn delimit(message: &Message, otherwise: Framing) -> Result<Framing, String> {
    let lengths: Vec<&str> = message.all("content-length").collect();
    let codings: Vec<&str> = message.all("transfer-encoding").collect();
    match (codings.as_slice(), lengths.as_slice()) {
        ([], []) => Ok(otherwise),
        ([], [length]) => {
            length.parse().map(Framing::Length).map_err(|_| format!("Content-Length {length:?}"))
        }
        ([coding], []) if coding.eq_ignore_ascii_case("chunked") => Ok(Framing::Chunked),
        _ => Err(format!("Transfer-Encoding {codings:?} and Content-Length {lengths:?}")),
    }
}

fn check_status_line(line: &str) -> Result<(), String> {
    let code = line.strip_prefix("HTTP/1.1 ").or_else(|| line.strip_prefix("HTTP/1.0 "));
    let code = code.and_then(|rest| rest.split(' ').next());
    match code {
        Some(code) if code.len() == 3 && code.bytes().all(|byte| byte.is_ascii_digit()) => Ok(()),
        _ => Err(format!("status line {line:?}")),
    }
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests;
