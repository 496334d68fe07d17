//! Upstreams that speak HTTP/2 frame by frame, for what no server library would do.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// How long a connection without a frame is kept.
const SILENCE: Duration = Duration::from_secs(120);

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
/// END_STREAM of DATA and HEADERS, ACK of SETTINGS and PING.
const FIRST_FLAG: u8 = 1;
const END_HEADERS: u8 = 4;

/// `:status: 200` and `content-type: text/plain`, as HPACK has them.
const PLAIN: &[u8] = b"\x88\x5f\x0atext/plain";

/// What a connection says that a test may look at.
#[derive(Debug, PartialEq, Eq)]
pub enum Said {
    /// A request has begun; `true` if that is all of it.
    Head(u32, bool),
    /// Bytes of its body, and whether they are the last ones.
    Body(u32, Vec<u8>, bool),
    /// A stream was given up.
    Reset(u32),
    /// A ping, answered unless the connection is [`mute`](Frames::mute).
    Ping,
}

/// One connection. Settings are acknowledged and pings answered while it is read.
#[derive(Clone)]
pub struct Frames {
    /// Which one it is, from 1.
    pub number: usize,
    writer: Arc<Mutex<TcpStream>>,
    mute: Arc<AtomicBool>,
}

/// A server on a loopback port.
pub struct FrameServer {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    connections: AtomicUsize,
    ended: AtomicUsize,
    refusing: AtomicBool,
    stopped: AtomicBool,
}

impl FrameServer {
    /// Gives all that each connection says to `said`, until the connection or the server ends. `streams` is how many of them the
    /// server says that it allows on each.
    pub fn start(streams: Option<u32>, said: impl Fn(&Frames, Said) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("its address");
        let shared: Arc<Shared> = Arc::default();
        let (of_thread, said) = (shared.clone(), Arc::new(said));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if of_thread.stopped.load(Ordering::SeqCst) {
                    return;
                }
                if of_thread.refusing.load(Ordering::SeqCst) {
                    continue;
                }
                let (said, shared) = (said.clone(), of_thread.clone());
                thread::spawn(move || serve(stream, streams, &shared, &*said));
            }
        });
        Self { address, shared }
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on new connections are closed at once.
    pub fn refuse(&self) {
        self.shared.refusing.store(true, Ordering::SeqCst);
    }

    /// How many connections it has had.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// How many of them are over.
    pub fn ended(&self) -> usize {
        self.shared.ended.load(Ordering::SeqCst)
    }
}

impl Drop for FrameServer {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        // Wakes the accepting thread, which then sees the flag.
        TcpStream::connect(self.address).ok();
    }
}

fn serve(
    stream: TcpStream,
    streams: Option<u32>,
    shared: &Shared,
    said: &(impl Fn(&Frames, Said) + ?Sized),
) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    stream.set_read_timeout(Some(SILENCE)).ok()?;
    let mut reader = stream.try_clone().ok()?;
    let mut preface = [0; 24];
    reader.read_exact(&mut preface).ok()?;
    // What says nothing, to see whether the server is there, does not count.
    let number = shared.connections.fetch_add(1, Ordering::SeqCst) + 1;
    let frames = Frames { number, writer: Arc::new(Mutex::new(stream)), mute: Arc::default() };
    let allowed: Vec<u8> =
        streams.map(|most| [&[0, 3][..], &most.to_be_bytes()].concat()).unwrap_or_default();
    frames.write(SETTINGS, 0, 0, &allowed);
    let read = read(&mut reader, &frames, said);
    shared.ended.fetch_add(1, Ordering::SeqCst);
    read
}

fn read(reader: &mut TcpStream, frames: &Frames, said: &(impl Fn(&Frames, Said) + ?Sized)) -> Option<()> {
    loop {
        let mut head = [0; 9];
        reader.read_exact(&mut head).ok()?;
        let [a, b, c, kind, flags, id @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        reader.read_exact(&mut payload).ok()?;
        let (id, first) = (u32::from_be_bytes(id), flags & FIRST_FLAG != 0);
        match kind {
            HEADERS => said(frames, Said::Head(id, first)),
            DATA => {
                // What was taken may come again: on the stream, and on the connection.
                if !payload.is_empty() {
                    let taken = u32::try_from(payload.len()).ok()?.to_be_bytes();
                    frames.write(8, 0, 0, &taken);
                    frames.write(8, 0, id, &taken);
                }
                said(frames, Said::Body(id, payload, first));
            }
            RST_STREAM => said(frames, Said::Reset(id)),
            SETTINGS if !first => frames.write(SETTINGS, FIRST_FLAG, 0, &[]),
            PING if !first => {
                frames.write(PING, FIRST_FLAG, 0, &payload);
                said(frames, Said::Ping);
            }
            _ => {}
        }
    }
}

impl Frames {
    /// From now on it says nothing, though it stays open.
    pub fn mute(&self) {
        self.mute.store(true, Ordering::SeqCst);
    }

    /// Answers a stream, whole.
    pub fn answer(&self, stream: u32, body: &[u8]) {
        self.begin(stream);
        self.write(DATA, FIRST_FLAG, stream, body);
    }

    /// The head of an answer, and nothing of its body.
    pub fn begin(&self, stream: u32) {
        self.write(HEADERS, END_HEADERS, stream, PLAIN);
    }

    /// An answer whose head has `count` fields of 1000 bytes each.
    pub fn answer_with_big_head(&self, stream: u32, count: usize) {
        let mut block = PLAIN.to_vec();
        for field in 0..count {
            // Literal, not indexed: the lengths of name and value, the latter as 127 and the rest in sevens of bits.
            block.extend_from_slice(format!("\x00\x05x-{field:03}").as_bytes());
            block.extend_from_slice(&[127, ((1000 - 127) & 127) as u8 | 128, ((1000 - 127) >> 7) as u8]);
            block.extend_from_slice(&[b'a'; 1000]);
        }
        let parts: Vec<&[u8]> = block.chunks(16000).collect();
        let last = parts.len() - 1;
        let writer = self.lock();
        for (index, part) in parts.iter().enumerate() {
            let kind = if index == 0 { HEADERS } else { CONTINUATION };
            let flags = if index == last { END_HEADERS } else { 0 };
            put(&writer, kind, flags, stream, part);
        }
        drop(writer);
        self.write(DATA, FIRST_FLAG, stream, b"{}");
    }

    /// Gives a stream up.
    pub fn reset(&self, stream: u32, code: u32) {
        self.write(RST_STREAM, 0, stream, &code.to_be_bytes());
    }

    /// Says that streams after `last` will not be looked at.
    pub fn go_away(&self, last: u32, code: u32) {
        self.write(GOAWAY, 0, 0, &[last.to_be_bytes(), code.to_be_bytes()].concat());
    }

    fn write(&self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        if !self.mute.load(Ordering::SeqCst) {
            put(&self.lock(), kind, flags, stream, payload);
        }
    }

    fn lock(&self) -> MutexGuard<'_, TcpStream> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes a frame. The other side may have gone: then nobody misses it.
fn put(mut to: &TcpStream, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let length = u32::try_from(payload.len()).unwrap_or(0).to_be_bytes();
    let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
    to.write_all(&[&head, payload].concat()).ok();
}
