//! One client connection that speaks HTTP/1.1 or HTTP/2, over TCP or TLS, through hyper. For bytes that no client
//! library would send there is [`crate::client`].

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::{Request, Response, Version};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio_rustls::TlsConnector;

use crate::PATIENCE;
use crate::wire::{End, Framing, Message};

/// A connection with a runtime of its own, so that the tests can stay threads.
pub struct Session {
    runtime: Runtime,
    sender: Sender,
    authority: String,
    certificate: Option<CertificateDer<'static>>,
}

enum Sender {
    H1(http1::SendRequest<Full<Bytes>>),
    H2(http2::SendRequest<Full<Bytes>>),
}

impl Session {
    /// HTTP/1.1 over TCP.
    pub fn h1(to: SocketAddr) -> Self {
        let runtime = runtime();
        let sender = run(&runtime, async { h1(TcpStream::connect(to).await.expect("connect")).await });
        Self { runtime, sender, authority: to.to_string(), certificate: None }
    }

    /// HTTP/2 over TCP with prior knowledge (RFC 9113 section 3.3).
    pub fn h2(to: SocketAddr) -> Self {
        let runtime = runtime();
        let sender = run(&runtime, async { h2(TcpStream::connect(to).await.expect("connect")).await });
        Self { runtime, sender, authority: to.to_string(), certificate: None }
    }

    /// TLS; which HTTP it is, the handshake says.
    ///
    /// # Errors
    /// When the handshake fails.
    pub fn tls(to: SocketAddr, config: ClientConfig) -> io::Result<Self> {
        let runtime = runtime();
        let connected = run(&runtime, async {
            let stream = TcpStream::connect(to).await?;
            let name = ServerName::try_from("localhost").expect("a name");
            let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
            let tls = stream.get_ref().1;
            let certificate = tls.peer_certificates().and_then(|chain| chain.first()).cloned();
            let sender = match tls.alpn_protocol() {
                Some(b"h2") => h2(stream).await,
                _ => h1(stream).await,
            };
            Ok::<_, io::Error>((sender, certificate.map(CertificateDer::into_owned)))
        });
        let (sender, certificate) = connected?;
        Ok(Self { runtime, sender, authority: format!("localhost:{}", to.port()), certificate })
    }

    /// The certificate that the server showed.
    pub fn certificate(&self) -> Option<&CertificateDer<'static>> {
        self.certificate.as_ref()
    }

    /// The version spoken.
    pub fn version(&self) -> Version {
        match self.sender {
            Sender::H1(_) => Version::HTTP_11,
            Sender::H2(_) => Version::HTTP_2,
        }
    }

    /// A request for this connection: method, target, JSON body.
    pub fn request(&self, method: &str, target: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
        let body = body.into();
        let builder = match self.version() {
            Version::HTTP_2 => Request::builder().uri(format!("http://{}{target}", self.authority)),
            _ => Request::builder().uri(target).header("host", &self.authority),
        };
        let builder = builder.method(method).header("content-type", "application/json");
        builder.body(Full::new(body)).expect("a request")
    }

    /// Sends a request and reads the whole response.
    pub fn send(&mut self, request: Request<Full<Bytes>>) -> Message {
        let Self { runtime, sender, .. } = self;
        run(runtime, async {
            let response = sender.send(request).await.await;
            message(response.expect("a response")).await
        })
    }

    /// `GET target`.
    pub fn get(&mut self, target: &str) -> Message {
        self.send(self.request("GET", target, ""))
    }

    /// `POST target` with a JSON body.
    pub fn post(&mut self, target: &str, body: &str) -> Message {
        self.send(self.request("POST", target, body.to_owned()))
    }

    /// Sends a request and gives the response before its body.
    ///
    /// # Errors
    /// When there is none.
    pub fn open(&mut self, request: Request<Full<Bytes>>) -> hyper::Result<Response<Incoming>> {
        let Self { runtime, sender, .. } = self;
        run(runtime, async { sender.send(request).await.await })
    }

    /// Sends a request and takes it back if there is no answer within `patience`: whether there was one.
    pub fn race(&mut self, request: Request<Full<Bytes>>, patience: Duration) -> bool {
        let Self { runtime, sender, .. } = self;
        run(runtime, async {
            let response = sender.send(request).await;
            tokio::time::timeout(patience, response).await.is_ok()
        })
    }

    /// Sends all of them at once (HTTP/2), and reads all responses, in the order of the requests.
    pub fn send_all(&mut self, requests: Vec<Request<Full<Bytes>>>) -> Vec<Message> {
        let Self { runtime, sender, .. } = self;
        run(runtime, async {
            let mut sent = Vec::new();
            for request in requests {
                let response = sender.send(request).await;
                sent.push(async { message(response.await.expect("a response")).await });
            }
            futures_util::future::join_all(sent).await
        })
    }

    /// Runs something on the connection's runtime, for as long as [`PATIENCE`] lasts.
    pub fn run<F: Future>(&self, work: F) -> F::Output {
        run(&self.runtime, work)
    }
}

impl Sender {
    /// Waits for its turn and sends; what it gives is the response still to come.
    async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> BoxFuture<'static, hyper::Result<Response<Incoming>>> {
        match self {
            Sender::H1(sender) => {
                // A connection that has gone says so in the response's place.
                sender.ready().await.ok();
                sender.send_request(request).boxed()
            }
            Sender::H2(sender) => {
                sender.ready().await.ok();
                sender.send_request(request).boxed()
            }
        }
    }
}

fn runtime() -> Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(1).enable_all().build().expect("a runtime")
}

fn run<F: Future>(runtime: &Runtime, work: F) -> F::Output {
    let timed = runtime.block_on(async { tokio::time::timeout(PATIENCE, work).await });
    timed.unwrap_or_else(|_| panic!("no end after {PATIENCE:?}"))
}

async fn h1(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Sender {
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.expect("a connection");
    background(async move {
        connection.with_upgrades().await.ok();
    });
    Sender::H1(sender)
}

async fn h2(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Sender {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder.max_header_list_size(1 << 20);
    let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.expect("a connection");
    background(async move {
        connection.await.ok();
    });
    Sender::H2(sender)
}

#[allow(clippy::disallowed_methods, reason = "ends with the session's runtime")]
fn background(work: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(work);
}

/// Reads a response to its end.
pub async fn message(response: Response<Incoming>) -> Message {
    let mut read = head(&response);
    let mut body = response.into_body();
    while let Some(frame) = body.frame().await {
        match frame.map(piece) {
            Err(error) => {
                read.end = End::Bad(error.to_string());
                break;
            }
            Ok(Piece::Data(data)) => read.body.extend_from_slice(&data),
            Ok(Piece::Trailers(trailers)) => read.trailers = lines(&trailers),
        }
    }
    read
}

/// A response's head, as [`Message`].
pub fn head<B>(response: &Response<B>) -> Message {
    Message {
        start: format!("{:?} {}", response.version(), response.status()),
        headers: lines(response.headers()),
        body: Vec::new(),
        trailers: Vec::new(),
        framing: Framing::None,
        end: End::Complete,
        interim: Vec::new(),
    }
}

enum Piece {
    Data(Bytes),
    Trailers(http::HeaderMap),
}

fn piece(frame: hyper::body::Frame<Bytes>) -> Piece {
    match frame.into_data() {
        Ok(data) => Piece::Data(data),
        Err(frame) => Piece::Trailers(frame.into_trailers().unwrap_or_default()),
    }
}

fn lines(headers: &http::HeaderMap) -> Vec<(String, String)> {
    let line = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    headers.iter().map(line).collect()
}
