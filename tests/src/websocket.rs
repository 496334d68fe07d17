//! WebSocket on both sides, by tokio-tungstenite: a server that echoes, and a client over HTTP/1.1 or HTTP/2 that keeps
//! the bytes of each direction.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use futures_util::{SinkExt as _, StreamExt as _};
use http::{Method, Request, Version};
use http_body_util::Full;
use hyper::ext::Protocol;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::session::{self, Session};
use crate::wire::Message;

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// A server that sends every message back. Dropping it ends it.
pub struct Echo {
    address: SocketAddr,
    _runtime: Runtime,
}

impl Default for Echo {
    fn default() -> Self {
        Self::start()
    }
}

impl Echo {
    /// Starts it.
    pub fn start() -> Self {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).enable_all().build().expect("a runtime");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a free port");
        let address = listener.local_addr().expect("its address");
        let handle = runtime.handle().clone();
        runtime.handle().spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                handle.spawn(async move {
                    let Ok(mut socket) = tokio_tungstenite::accept_async(stream).await else { return };
                    while let Some(Ok(message)) = socket.next().await {
                        if (message.is_text() || message.is_binary()) && socket.send(message).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Self { address, _runtime: runtime }
    }

    /// Its URL, as an upstream.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// What went over a connection after the switch.
#[derive(Clone, Debug, Default)]
pub struct Traffic {
    /// From us.
    pub sent: Vec<u8>,
    /// To us.
    pub received: Vec<u8>,
}

/// An open WebSocket, and the bytes that went over it.
pub struct Socket {
    /// Its messages.
    pub messages: WebSocketStream<Recorder<TokioIo<Upgraded>>>,
    /// Its bytes.
    pub traffic: Arc<Mutex<Traffic>>,
}

impl Session {
    /// Opens a WebSocket: `Upgrade` on HTTP/1.1, extended CONNECT (RFC 8441) on HTTP/2. Gives the response's head too.
    pub fn websocket(&mut self, target: &str) -> (Message, Socket) {
        let request = self.handshake(target);
        let mut response = self.open(request).expect("an answer to the handshake");
        let head = session::head(&response);
        let expected = if self.version() == Version::HTTP_2 { 200 } else { 101 };
        assert_eq!(head.status(), expected, "{head:?}");
        if expected == 101 {
            assert_eq!(head.header("sec-websocket-accept"), Some(derive_accept_key(KEY.as_bytes()).as_str()));
        }
        let traffic = Arc::new(Mutex::new(Traffic::default()));
        let of_recorder = traffic.clone();
        let messages = self.run(async move {
            let upgraded = hyper::upgrade::on(&mut response).await.expect("the switch");
            let recorder = Recorder { inner: TokioIo::new(upgraded), traffic: of_recorder };
            WebSocketStream::from_raw_socket(recorder, Role::Client, None).await
        });
        (head, Socket { messages, traffic })
    }

    /// The request that opens a WebSocket.
    pub fn handshake(&self, target: &str) -> Request<Full<bytes::Bytes>> {
        let mut request = self.request("GET", target, "");
        request.headers_mut().remove("content-type");
        request.headers_mut().insert("sec-websocket-version", http::HeaderValue::from_static("13"));
        if self.version() == Version::HTTP_2 {
            *request.method_mut() = Method::CONNECT;
            *request.version_mut() = Version::HTTP_2;
            request.extensions_mut().insert(Protocol::from_static("websocket"));
        } else {
            let headers = [("connection", "Upgrade"), ("upgrade", "websocket"), ("sec-websocket-key", KEY)];
            for (name, value) in headers {
                request.headers_mut().insert(name, http::HeaderValue::from_static(value));
            }
        }
        request
    }
}

/// A stream that keeps what goes over it.
pub struct Recorder<S> {
    inner: S,
    traffic: Arc<Mutex<Traffic>>,
}

impl<S> Recorder<S> {
    fn keep(&self, note: impl FnOnce(&mut Traffic)) {
        note(&mut self.traffic.lock().expect("nobody panics with the lock"));
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Recorder<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(cx, buf);
        self.keep(|traffic| traffic.received.extend_from_slice(&buf.filled()[before..]));
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Recorder<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write(cx, buf);
        if let Poll::Ready(Ok(count)) = &polled {
            self.keep(|traffic| traffic.sent.extend_from_slice(&buf[..*count]));
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
