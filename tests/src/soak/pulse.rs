//! Tells a connection that hangs from a machine that stands still.
//!
//! On a starved machine nothing moves for a minute, and then everything goes on: a clock alone says nothing of a
//! connection. So one client asks for a small answer again and again, each time on a new connection, and what the others
//! wait for is compared with that: a connection hangs if it stays without a byte while so many of these were answered.

use std::io::{self, ErrorKind, Read, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::PATIENCE;
use crate::wire::{End, Message, Wire};

/// A connection that is silent while so many answers come on other ones hangs.
const BEATS: u64 = 60;

/// Between two of these answers: so a connection is silent for a minute at least before it hangs.
pub(super) const EVERY: Duration = Duration::from_secs(1);

/// If nobody was answered for so long, the machine is no excuse any more.
const STANDSTILL: Duration = Duration::from_secs(600);

/// How often a client that waits for a byte looks at the pulse.
const LOOK: Duration = Duration::from_secs(1);

/// Answers that the proxy gave while others may have waited.
#[derive(Debug, Default)]
pub(super) struct Pulse(AtomicU64);

impl Pulse {
    /// Another answer came, whole.
    pub(super) fn beat(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    fn beats(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// One connection to the proxy, whose reading ends as timed out only if it hangs.
pub(super) struct Asker<'a> {
    stream: TcpStream,
    /// What comes.
    pub(super) wire: Wire<Patient<'a>>,
}

impl<'a> Asker<'a> {
    /// Connects, unless nobody listens any more.
    pub(super) fn connect(to: SocketAddr, pulse: &'a Pulse) -> Option<Asker<'a>> {
        let stream = TcpStream::connect_timeout(&to, PATIENCE).ok()?;
        stream.set_nodelay(true).expect("nodelay");
        stream.set_read_timeout(Some(LOOK)).expect("read timeout");
        let from = stream.try_clone().expect("a second handle");
        Some(Asker { stream, wire: Wire::new(Patient { from, pulse }) })
    }

    /// Sends bytes; the other side may be gone already.
    pub(super) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).ok();
    }
}

/// Reads, and gives up by the pulse.
pub(super) struct Patient<'a> {
    from: TcpStream,
    pulse: &'a Pulse,
}

impl Read for Patient<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let (begun, before) = (Instant::now(), self.pulse.beats());
        loop {
            // Looked at before the last try: this thread may have been the one that stood still, with bytes to be read.
            let over = self.pulse.beats() - before >= BEATS || begun.elapsed() >= STANDSTILL;
            match self.from.read(into) {
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) && !over => {}
                read => return read,
            }
        }
    }
}

/// Fails if the connection that a response came on hangs.
pub(super) fn assert_no_hang(response: &Message, body: &str) {
    let (head, length) = (&response.start, response.body.len());
    assert_ne!(
        response.end,
        End::TimedOut,
        "a connection hangs after {length} bytes, while {BEATS} others were answered or nobody for {STANDSTILL:?}: \
         {body}, {head:?}"
    );
}

#[cfg(test)]
mod tests;
