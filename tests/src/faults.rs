//! A TCP proxy in front of an HTTP server that misbehaves on command: slow, away, erring, or losing answers of requests
//! that the server has carried out.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Bytes pass.
    None,
    /// Connections are closed at once, open ones are cut.
    Away,
    /// Each piece of an answer waits for so long.
    Slow(Duration),
    /// Every request is answered 503, and never reaches the server.
    Unavailable,
    /// The request reaches the server, its answer never the client.
    LostAnswers,
    /// Of every four connections one each is: good, slow, erring, losing its answers.
    Mixed,
}

struct Shared {
    target: Mutex<SocketAddr>,
    fault: Mutex<Fault>,
    connections: AtomicU64,
    ended: AtomicBool,
}

/// The proxy. Dropping it ends it.
pub struct Faults {
    shared: Arc<Shared>,
    address: SocketAddr,
}

impl Faults {
    /// In front of `target`, without faults.
    pub fn before(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address");
        let shared = Arc::new(Shared {
            target: Mutex::new(target),
            fault: Mutex::new(Fault::None),
            connections: AtomicU64::new(0),
            ended: AtomicBool::new(false),
        });
        let proxied = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if proxied.ended.load(Ordering::Relaxed) {
                    return;
                }
                let proxied = proxied.clone();
                std::thread::spawn(move || connection(&proxied, stream));
            }
        });
        Self { shared, address }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on.
    pub fn set(&self, fault: Fault) {
        *self.shared.fault.lock().expect("lock") = fault;
    }

    /// The server has moved.
    pub fn point_to(&self, target: SocketAddr) {
        *self.shared.target.lock().expect("lock") = target;
    }

    /// How many connections came.
    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::Relaxed)
    }
}

impl Drop for Faults {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        self.set(Fault::Away);
        // Wakes the listener.
        TcpStream::connect(self.address).ok();
    }
}

fn connection(shared: &Arc<Shared>, client: TcpStream) {
    let number = shared.connections.fetch_add(1, Ordering::Relaxed);
    let fault = match *shared.fault.lock().expect("lock") {
        Fault::Mixed => match number % 4 {
            0 => Fault::None,
            1 => Fault::Slow(Duration::from_millis(300)),
            2 => Fault::Unavailable,
            _ => Fault::LostAnswers,
        },
        fault => fault,
    };
    match fault {
        Fault::Away => return,
        Fault::Unavailable => return unavailable(client),
        _ => {}
    }
    let target = *shared.target.lock().expect("lock");
    let Ok(server) = TcpStream::connect(target) else { return };
    for stream in [&client, &server] {
        stream.set_nodelay(true).ok();
        stream.set_read_timeout(Some(Duration::from_millis(50))).ok();
    }
    let (Ok(from), Ok(to)) = (client.try_clone(), server.try_clone()) else { return };
    let upwards = shared.clone();
    std::thread::spawn(move || copy(&upwards, from, to, Fault::None));
    copy(shared, server, client, fault);
}

/// Reads whatever is sent, so that closing does not reset the answer away.
fn unavailable(mut client: TcpStream) {
    client.set_read_timeout(Some(Duration::from_millis(200))).ok();
    let mut buffer = [0; 16 * 1024];
    let seen = client.read(&mut buffer);
    if seen.is_ok_and(|n| n > 0) {
        client.write_all(b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").ok();
        client.shutdown(Shutdown::Write).ok();
        while client.read(&mut buffer).is_ok_and(|n| n > 0) {}
    }
}

fn copy(shared: &Shared, mut from: TcpStream, mut to: TcpStream, fault: Fault) {
    let mut buffer = [0; 64 * 1024];
    loop {
        let now = *shared.fault.lock().expect("lock");
        if matches!(now, Fault::Away | Fault::Unavailable) {
            break;
        }
        match from.read(&mut buffer) {
            Ok(0) => {
                // The other direction goes on.
                to.shutdown(Shutdown::Write).ok();
                return;
            }
            Ok(n) => {
                match fault {
                    Fault::LostAnswers => break,
                    Fault::Slow(time) => crate::pause(time),
                    _ => {}
                }
                if to.write_all(&buffer[..n]).is_err() {
                    break;
                }
            }
            Err(error)
                if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {}
            Err(_) => break,
        }
    }
    from.shutdown(Shutdown::Both).ok();
    to.shutdown(Shutdown::Both).ok();
}
