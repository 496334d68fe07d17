//! Recorded traffic of real servers (`tests/captures`), and an upstream that replays it with the recorded timing.

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::upstream::{Conn, Upstream};
use crate::wire::{Message, Wire};
use crate::{paths, pause};

/// Longer gaps between two recorded pieces are cut to this.
const LONGEST_GAP: Duration = Duration::from_millis(100);

/// One recording.
#[derive(Clone, Debug)]
pub struct Capture {
    /// `server/name`.
    pub name: String,
    /// The bytes the client sent, of which the server may have seen more than one request.
    pub request: Vec<u8>,
    /// The bytes the server sent.
    pub response: Vec<u8>,
    /// When how many bytes of it came: seconds since the request, bytes (0: the end).
    pub recv: Vec<(f64, usize)>,
    /// `eof`, `timeout` (the connection stayed open) or `cut by client`.
    pub end: String,
}

impl Capture {
    /// Every recording, in order of its name.
    pub fn all() -> Vec<Capture> {
        let mut found = Vec::new();
        for server in ["vllm-0.32.0", "vllm-0.32.0-flags", "tgi-3.3.6"] {
            for entry in
                fs::read_dir(paths::tests("captures").join(server)).expect("the recordings").flatten()
            {
                let path = entry.path();
                if path.extension().is_some_and(|extension| extension == "req") {
                    let stem = path.file_stem().expect("a name").to_string_lossy().into_owned();
                    found.push(Self::load(&format!("{server}/{stem}")));
                }
            }
        }
        assert!(found.len() > 150, "only {} recordings", found.len());
        found.sort_by(|a, b| a.name.cmp(&b.name));
        found
    }

    /// One recording by `server/name`.
    pub fn load(name: &str) -> Capture {
        let file =
            |extension: &str| -> PathBuf { paths::tests("captures").join(format!("{name}.{extension}")) };
        let read =
            |extension: &str| fs::read(file(extension)).unwrap_or_else(|error| panic!("{name}: {error}"));
        let timing: serde_json::Value = serde_json::from_slice(&read("json")).expect("its timing");
        let recv = timing["recv"].as_array().expect("recv").iter();
        Capture {
            name: name.to_owned(),
            request: read("req"),
            response: read("resp"),
            recv: recv
                .map(|piece| (piece[0].as_f64().unwrap(), piece[1].as_u64().unwrap() as usize))
                .collect(),
            end: timing["end"].as_str().expect("end").to_owned(),
        }
    }

    /// The requests in it, as our strict reader sees them.
    pub fn requests(&self) -> Vec<Message> {
        let mut wire = Wire::new(self.request.as_slice());
        let mut found = vec![wire.request()];
        while wire.consumed() < self.request.len()
            && found.last().is_some_and(|m| m.end == crate::wire::End::Complete)
        {
            found.push(wire.request());
        }
        found
    }

    /// The responses in it, with the number of bytes each takes, interim ones included.
    pub fn responses(&self) -> Vec<(Message, usize)> {
        let mut wire = Wire::new(self.response.as_slice());
        let mut found = Vec::new();
        for request in self.requests() {
            let before = wire.consumed();
            if before == self.response.len() && !found.is_empty() {
                break;
            }
            let response = wire.response(request.method());
            found.push((response, wire.consumed() - before));
        }
        found
    }

    /// The recorded pieces of `response[from..until]` with the gap before each.
    fn pieces(&self, from: usize, until: usize) -> Vec<(Duration, &[u8])> {
        let (mut at, mut last, mut found) = (0, 0.0, Vec::new());
        for (when, count) in &self.recv {
            let (start, end) = (at.max(from), (at + count).min(until));
            if start < end {
                let gap = Duration::from_secs_f64((when - last).max(0.0)).min(LONGEST_GAP);
                found.push((gap, &self.response[start..end]));
            }
            (at, last) = (at + count, *when);
        }
        found
    }
}

/// Which recording a replaying upstream plays now; the test sets it before each exchange.
pub type Playing = Arc<Mutex<Option<Arc<Capture>>>>;

/// An upstream that answers each request with the current recording, piece by piece as it was recorded, and ends the
/// connection where the recorded server did.
pub fn replay() -> (Upstream, Playing) {
    let playing = Playing::default();
    let of_handler = playing.clone();
    let upstream = Upstream::serve(move |conn| {
        let mut answered = 0;
        let mut last = String::new();
        while let Some(head) = conn.request_head() {
            let Some(capture) = of_handler.lock().expect("the lock").clone() else { return };
            if last != capture.name {
                (answered, last) = (0, capture.name.clone());
            }
            if !play(conn, &capture, head, answered) {
                return;
            }
            answered += 1;
        }
    });
    (upstream, playing)
}

/// Answers one request; `false` when the connection is to be closed.
fn play(conn: &mut Conn, capture: &Capture, head: Message, answered: usize) -> bool {
    let responses = capture.responses();
    let Some((response, length)) = responses.get(answered) else {
        conn.request_body(head);
        conn.wait_until_gone();
        return false;
    };
    let mut from: usize = responses[..answered].iter().map(|(_, length)| length).sum();
    let until = from + length;
    if !response.interim.is_empty() {
        // The recorded server sent its 100 before it had the body.
        let interim = b"HTTP/1.1 100 Continue\r\n\r\n";
        assert!(capture.response[from..].starts_with(interim), "{}: another interim response", capture.name);
        conn.send(interim);
        from += interim.len();
    }
    conn.request_body(head);
    for (gap, piece) in capture.pieces(from, until) {
        pause(gap);
        if !conn.send(piece) {
            return false;
        }
    }
    if capture.end == "cut by client" || capture.response.is_empty() {
        conn.wait_until_gone();
        return false;
    }
    !response.has_token("connection", "close") && !response.start.starts_with("HTTP/1.0")
}

#[cfg(test)]
mod tests;
