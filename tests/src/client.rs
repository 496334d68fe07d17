//! A client that sends exactly the bytes it is given.

use std::io::Write;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use crate::PATIENCE;
use crate::wire::{Message, Wire};

/// One connection.
pub struct Client {
    stream: TcpStream,
    wire: Wire<TcpStream>,
}

impl Client {
    /// Connects, with [`PATIENCE`] as the read timeout.
    pub fn connect(to: SocketAddr) -> Self {
        Self::over(TcpStream::connect_timeout(&to, PATIENCE).expect("connect"))
    }

    /// The same where the other side may be gone.
    pub fn try_connect(to: SocketAddr) -> Option<Self> {
        TcpStream::connect_timeout(&to, PATIENCE).ok().map(Self::over)
    }

    fn over(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("nodelay");
        stream.set_read_timeout(Some(PATIENCE)).expect("read timeout");
        let wire = Wire::new(stream.try_clone().expect("a second handle"));
        Self { stream, wire }
    }

    /// Gives up reading after `limit` without a byte.
    pub fn timeout(self, limit: Duration) -> Self {
        self.stream.set_read_timeout(Some(limit)).expect("read timeout");
        self
    }

    /// Sends bytes. That the other side has closed already is no error: its answer may still be there to read.
    pub fn send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Reads the next response, to a request of method `method`.
    pub fn response(&mut self, method: &str) -> Message {
        self.wire.response(method)
    }

    /// The incoming bytes, for reading piece by piece.
    pub fn wire(&mut self) -> &mut Wire<TcpStream> {
        &mut self.wire
    }

    /// The socket.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Says that nothing more will be sent, and goes on reading.
    pub fn half_close(&self) {
        self.stream.shutdown(Shutdown::Write).ok();
    }
}

/// Sends one request on a connection of its own and reads the response.
pub fn send(to: SocketAddr, request: &[u8]) -> Message {
    let mut client = Client::connect(to);
    client.send(request);
    client.response(method_of(request))
}

/// `GET target`, on a connection of its own.
pub fn get(to: SocketAddr, target: &str) -> Message {
    send(to, format!("GET {target} HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n\r\n").as_bytes())
}

/// `POST target` with a JSON body, on a connection of its own.
pub fn post(to: SocketAddr, target: &str, body: &str) -> Message {
    send(to, &post_bytes(target, "Connection: close\r\n", body))
}

/// The bytes of a `POST` of JSON; `headers` are whole lines.
pub fn post_bytes(target: &str, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    let head = format!("POST {target} HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n{headers}");
    format!("{head}Content-Length: {length}\r\n\r\n{body}").into_bytes()
}

fn method_of(request: &[u8]) -> &str {
    let end = request.iter().position(|byte| *byte == b' ').unwrap_or(0);
    std::str::from_utf8(&request[..end]).unwrap_or_default()
}
