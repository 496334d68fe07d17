//! Upstreams that answer whatever bytes a test wants.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::wire::{End, Message, Wire};
use crate::{PATIENCE, pause, wait_for};

/// One accepted connection, as its handler sees it.
pub struct Conn {
    stream: TcpStream,
    wire: Wire<TcpStream>,
    shared: Arc<Shared>,
}

struct Shared {
    received: Mutex<Vec<Message>>,
    connections: AtomicUsize,
    closed: AtomicUsize,
    gone: Mutex<Vec<Instant>>,
    stopped: AtomicBool,
}

/// A server on a loopback port; each connection gets a thread and the handler.
pub struct Upstream {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Upstream {
    /// Listens and gives every connection to `handle`, which returns when it is done with it; then it is closed.
    pub fn serve(handle: impl Fn(&mut Conn) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("its address");
        let shared = Arc::new(Shared {
            received: Mutex::default(),
            connections: AtomicUsize::new(0),
            closed: AtomicUsize::new(0),
            gone: Mutex::default(),
            stopped: AtomicBool::new(false),
        });
        let (handle, of_thread) = (Arc::new(handle), shared.clone());
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if of_thread.stopped.load(Ordering::SeqCst) {
                    return;
                }
                of_thread.connections.fetch_add(1, Ordering::SeqCst);
                let (handle, shared) = (handle.clone(), of_thread.clone());
                thread::spawn(move || {
                    stream.set_nodelay(true).ok();
                    stream.set_read_timeout(Some(PATIENCE)).ok();
                    let Ok(reader) = stream.try_clone() else { return };
                    let mut conn = Conn { stream, wire: Wire::new(reader), shared: shared.clone() };
                    handle(&mut conn);
                    drop(conn);
                    shared.closed.fetch_add(1, Ordering::SeqCst);
                });
            }
        });
        Self { address, shared }
    }

    /// Answers every request with the same bytes, keeping the connection open.
    pub fn answering(response: impl Into<Vec<u8>>) -> Self {
        let response = response.into();
        Self::serve(move |conn| {
            while conn.request().is_some() {
                conn.send(&response);
            }
        })
    }

    /// Answers the first request of each connection and closes it.
    pub fn answering_once(response: impl Into<Vec<u8>>) -> Self {
        let response = response.into();
        Self::serve(move |conn| {
            if conn.request().is_some() {
                conn.send(&response);
            }
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The requests read so far.
    pub fn received(&self) -> Vec<Message> {
        self.shared.received.lock().expect("no handler panics with the lock").clone()
    }

    /// How many connections it has accepted.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Waits until it has closed `count` connections.
    ///
    /// # Panics
    /// When that does not happen.
    pub fn until_closed(&self, count: usize) {
        let closed =
            wait_for(PATIENCE, || (self.shared.closed.load(Ordering::SeqCst) >= count).then_some(()));
        assert!(closed.is_some(), "not {count} connections are closed");
    }

    /// When a handler saw, with [`Conn::wait_until_gone`], that the other side had gone.
    pub fn gone(&self) -> Option<Instant> {
        wait_for(PATIENCE, || {
            self.shared.gone.lock().expect("no handler panics with the lock").first().copied()
        })
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        // Wakes the accepting thread, which then sees the flag.
        TcpStream::connect(self.address).ok();
    }
}

impl Conn {
    /// Reads the next request and notes it; `None` when no more comes.
    pub fn request(&mut self) -> Option<Message> {
        let head = self.request_head()?;
        Some(self.request_body(head))
    }

    /// Reads a request's head without its body.
    pub fn request_head(&mut self) -> Option<Message> {
        let head = self.wire.request_head();
        (!head.start.is_empty()).then_some(head)
    }

    /// Reads the body that belongs to the head, and notes the request.
    pub fn request_body(&mut self, head: Message) -> Message {
        let request = self.wire.request_body(head);
        self.shared.received.lock().expect("no handler panics with the lock").push(request.clone());
        request
    }

    /// Sends bytes; `false` when the other side has gone.
    pub fn send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Says that nothing more is sent.
    pub fn half_close(&mut self) {
        self.stream.shutdown(std::net::Shutdown::Write).ok();
    }

    /// Bytes of an upgraded connection, `None` at its end.
    pub fn raw(&mut self) -> Option<Vec<u8>> {
        let mut some = [0; 4096];
        match self.stream.read(&mut some) {
            Ok(0) | Err(_) => None,
            Ok(count) => Some(some[..count].to_vec()),
        }
    }

    /// Waits until the other side closes the connection, and notes when. Nothing more may come from it.
    pub fn wait_until_gone(&mut self) {
        if matches!(self.wire.request_head().end, End::Truncated | End::Reset) {
            self.shared.gone.lock().expect("no handler panics with the lock").push(Instant::now());
        }
    }

    /// Sends the bytes in pieces, waiting `gap` between them.
    pub fn send_slowly(&mut self, pieces: &[&[u8]], gap: Duration) -> bool {
        for (index, piece) in pieces.iter().enumerate() {
            if index > 0 {
                pause(gap);
            }
            if !self.send(piece) {
                return false;
            }
        }
        true
    }
}
