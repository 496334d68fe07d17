//! Recorded traffic of real servers (`tests/captures`), and an upstream that replays it with the recorded timing.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::upstream::{Conn, Upstream};
use crate::wire::{Message, Wire};
use crate::{paths, pause};

/// Longer gaps between two recorded pieces are cut to this.
const LONGEST_GAP: Duration = Duration::from_millis(100);

/// What stays on one hop (RFC 9110 section 7.6.1, RFC 9112), in either direction.
const HOP_BY_HOP: &[&str] =
    &["connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"];

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

/// End-to-end headers, sorted: hop-by-hop ones, those that `Connection` names, and those in `but` left out.
pub fn end_to_end(message: &Message, but: &[&str]) -> Vec<(String, String)> {
    let mut kept: Vec<(String, String)> = Vec::new();
    for (name, value) in &message.headers {
        let name = name.to_ascii_lowercase();
        let dropped = HOP_BY_HOP.contains(&name.as_str()) || message.has_token("connection", &name);
        if !dropped && !but.contains(&name.as_str()) {
            kept.push((name, value.clone()));
        }
    }
    kept.sort();
    kept
}

/// Which recording a replaying upstream plays now.
#[derive(Clone, Default)]
pub struct Playing(Arc<Mutex<Option<Arc<Play>>>>);

impl Playing {
    /// Says what the requests from now on are answered with.
    pub fn play(&self, capture: &Capture) -> Arc<Play> {
        let play = Play { capture: capture.clone(), begun: AtomicUsize::new(0), received: Mutex::default() };
        let play = Arc::new(play);
        *self.0.lock().expect("the lock") = Some(play.clone());
        play
    }
}

/// One playing of a recording. Its requests are counted here and not by connection: a proxy sends the second one over
/// another connection than the first when that is not back in its pool yet.
pub struct Play {
    capture: Capture,
    begun: AtomicUsize,
    received: Mutex<Vec<(usize, Message)>>,
}

impl Play {
    /// The requests that were read while it was on, in the order of their heads.
    pub fn received(&self) -> Vec<Message> {
        let mut received = self.received.lock().expect("no handler panics with the lock").clone();
        received.sort_by_key(|(at, _)| *at);
        received.into_iter().map(|(_, request)| request).collect()
    }

    /// Reads the rest of a request and notes it as this playing's.
    fn request_body(&self, conn: &mut Conn, at: usize, head: Message) {
        let request = conn.request_body(head);
        self.received.lock().expect("no handler panics with the lock").push((at, request));
    }
}

/// An upstream that answers each request with the current recording, piece by piece as it was recorded, and ends the
/// connection where the recorded server did.
pub fn replay() -> (Upstream, Playing) {
    let playing = Playing::default();
    let of_handler = playing.clone();
    let upstream = Upstream::serve(move |conn| {
        while let Some(head) = conn.request_head() {
            let Some(playing) = of_handler.0.lock().expect("the lock").clone() else { return };
            let at = playing.begun.fetch_add(1, Ordering::SeqCst);
            if !play(conn, &playing, head, at) {
                return;
            }
        }
    });
    (upstream, playing)
}

/// Answers the request that came as number `at`; `false` when the connection is to be closed.
fn play(conn: &mut Conn, playing: &Play, head: Message, at: usize) -> bool {
    let capture = &playing.capture;
    let responses = capture.responses();
    let Some((response, length)) = responses.get(at) else {
        playing.request_body(conn, at, head);
        conn.wait_until_gone();
        return false;
    };
    let mut from: usize = responses[..at].iter().map(|(_, length)| length).sum();
    let until = from + length;
    if !response.interim.is_empty() {
        // The recorded server sent its 100 before it had the body.
        let interim = b"HTTP/1.1 100 Continue\r\n\r\n";
        assert!(capture.response[from..].starts_with(interim), "{}: another interim response", capture.name);
        conn.send(interim);
        from += interim.len();
    }
    playing.request_body(conn, at, head);
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
