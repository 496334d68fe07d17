//! A model server that speaks HTTP/1.1 and HTTP/2, over TCP or TLS, through hyper. For servers that misbehave there is
//! [`crate::upstream`].

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, Version};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;

/// What it answers to every request.
pub const ANSWER: &str = r#"{"id":"chatcmpl-1","object":"chat.completion","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"Hello"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":1,"total_tokens":4}}"#;

/// A request that it got.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The version it came in.
    pub version: Version,
    /// Its target.
    pub target: String,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
    /// Whether the client had shown a certificate.
    pub certified: bool,
}

/// A running server. Dropping it ends it.
pub struct Server {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    tls: bool,
    _runtime: Runtime,
}

impl Server {
    /// HTTP/1.1, or HTTP/2 alone with prior knowledge.
    pub fn plain(h2: bool) -> Self {
        Self::start(None, h2)
    }

    /// TLS; which HTTP it is, the handshake says.
    pub fn tls(config: Arc<ServerConfig>) -> Self {
        Self::start(Some(config), false)
    }

    fn start(tls: Option<Arc<ServerConfig>>, h2: bool) -> Self {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).enable_all().build().expect("a runtime");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a free port");
        let address = listener.local_addr().expect("its address");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let server = Self { address, seen: seen.clone(), tls: tls.is_some(), _runtime: runtime };
        let handle = server._runtime.handle().clone();
        let acceptor = tls.map(TlsAcceptor::from);
        server._runtime.handle().spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, seen) = (acceptor.clone(), seen.clone());
                stream.set_nodelay(true).ok();
                handle.spawn(async move {
                    match acceptor {
                        None => serve(stream, h2, seen, false).await,
                        Some(acceptor) => {
                            let Ok(stream) = acceptor.accept(stream).await else { return };
                            let tls = stream.get_ref().1;
                            let h2 = tls.alpn_protocol() == Some(b"h2");
                            let certified = tls.peer_certificates().is_some();
                            serve(stream, h2, seen, certified).await;
                        }
                    }
                });
            }
        });
        server
    }

    /// Its URL; with TLS by the name its certificate has.
    pub fn url(&self) -> String {
        match self.tls {
            true => format!("https://localhost:{}", self.address.port()),
            false => format!("http://{}", self.address),
        }
    }

    /// The requests it got so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("no handler panics with the lock").clone()
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    h2: bool,
    seen: Arc<Mutex<Vec<Seen>>>,
    certified: bool,
) {
    let service = service_fn(move |request: Request<Incoming>| {
        let seen = seen.clone();
        async move {
            let (parts, body) = request.into_parts();
            // A body that breaks off is the client's affair; what came of it is noted.
            let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
            let target = parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
            let (version, headers) = (parts.version, parts.headers);
            let request = Seen { version, target, headers, body, certified };
            seen.lock().expect("no handler panics with the lock").push(request);
            let response = Response::builder().header("content-type", "application/json");
            Ok::<_, Infallible>(
                response.body(Full::new(Bytes::from_static(ANSWER.as_bytes()))).expect("a response"),
            )
        }
    });
    let io = TokioIo::new(stream);
    if h2 {
        http2::Builder::new(TokioExecutor::new()).serve_connection(io, service).await.ok();
    } else {
        http1::Builder::new().serve_connection(io, service).await.ok();
    }
}
