//! Client connections: accepted within limits, TLS and protocol found out, served, drained.

use crate::app::App;
use crate::attestation::Exporter;
use crate::callers::{Peer, certificate_name};
use crate::exchange::exchange;
use crate::goodbye::Goodbye;
use crate::patience::{PatientTimer, within};
use crate::places::Taking;
use crate::response_body::{ResponseBody, ResponseBodyError};
use crate::taken::Taken;
use crate::upstream::attested::EXPORTER;
use bytes::Bytes;
use colophon_listen::{never_asked, next_connection};
use http::Request;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Streams of one HTTP/2 connection at once.
const MAX_STREAMS: u32 = 256;

/// How often an HTTP/2 peer is asked whether it is still there, and how long its answer may take.
const PING_EVERY: Duration = Duration::from_secs(20);

/// Longest wait for the goodbye of an HTTP/2 peer that never asked for anything.
const GOODBYE: Duration = Duration::from_secs(1);

/// Accepts until `stop`; connections then finish what they have begun.
pub async fn accept(app: Arc<App>, listener: TcpListener, tls: Option<TlsAcceptor>, stop: CancellationToken) {
    let places = Arc::new(Semaphore::new(app.limits.max_connections as usize));
    loop {
        let place = tokio::select! {
            place = places.clone().acquire_owned() => place,
            () = stop.cancelled() => return,
        };
        let Ok(place) = place else { return };
        let Some(stream) = next_connection(&listener, "a connection", &stop).await else { return };
        let (app, tls, stop) = (app.clone(), tls.clone(), stop.clone());
        // Counted before the task begins: a drain must not overlook it.
        let place = Arc::new(Place::new(&app, place));
        app.clone().tasks.spawn(async move {
            let connection = pin!(connection(&app, stream, tls, stop, place));
            // Dropping the connection ends its exchanges, each with a record.
            let _ = unless(&app.kill, connection).await;
        });
    }
}

/// Each way on is in a box, and so is what comes before it: the task of a connection has room for the largest of them
/// otherwise, as long as it lives.
async fn connection(
    app: &Arc<App>,
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    stop: CancellationToken,
    place: Arc<Place>,
) {
    // Small frames of a stream must not wait for an acknowledgement.
    let _ = stream.set_nodelay(true);
    match tls {
        None => {
            let h2 = tokio::select! {
                h2 = Box::pin(within(app.limits.header_timeout, speaks_h2(&stream))) => h2,
                () = stop.cancelled() => return,
            };
            match h2 {
                Some(Ok(true)) => Box::pin(serve_h2(app, stream, Known::default(), stop)).await,
                Some(Ok(false)) => Box::pin(serve_h1(app, stream, Known::default(), stop, &place)).await,
                // Gone, or silent for too long.
                Some(Err(_)) | None => {}
            }
        }
        Some(acceptor) => {
            let shaken = tokio::select! {
                shaken = Box::pin(shake(app, acceptor, stream)) => shaken,
                // Nothing was asked yet.
                () = stop.cancelled() => return,
            };
            match shaken {
                Some((stream, peer, true)) => Box::pin(serve_h2(app, stream, peer, stop)).await,
                Some((stream, peer, false)) => Box::pin(serve_h1(app, stream, peer, stop, &place)).await,
                None => {}
            }
        }
    }
}

/// A TLS session, what it says, and whether HTTP/2 was agreed on. `None` where it did not come about.
async fn shake(
    app: &App,
    acceptor: TlsAcceptor,
    stream: TcpStream,
) -> Option<(Box<TlsStream<TcpStream>>, Known, bool)> {
    let stream = match within(app.limits.header_timeout, acceptor.accept(stream)).await {
        Some(Ok(stream)) => Box::new(stream),
        Some(Err(error)) => {
            tracing::debug!(%error, "TLS handshake failed");
            return None;
        }
        None => {
            tracing::debug!("TLS handshake took too long");
            return None;
        }
    };
    let session = stream.get_ref().1;
    // The handshake has verified it.
    let shown = session.peer_certificates().and_then(|chain| chain.first());
    let peer = shown.and_then(|certificate| certificate_name(certificate));
    let exporter = app.attesting.as_ref().and_then(|_| exporter(session));
    let h2 = session.alpn_protocol() == Some(b"h2");
    Some((stream, Known { peer, exporter }, h2))
}

/// What a connection's TLS session says of it.
#[derive(Default)]
struct Known {
    peer: Option<Peer>,
    /// Where this proxy makes evidence of itself.
    exporter: Option<Exporter>,
}

impl Known {
    fn note(&self, request: &mut Request<Incoming>) {
        if let Some(peer) = &self.peer {
            request.extensions_mut().insert(peer.clone());
        }
        if let Some(exporter) = self.exporter {
            request.extensions_mut().insert(exporter);
        }
    }
}

/// Only TLS 1.3 binds its exporter to the whole handshake.
fn exporter(session: &rustls::ServerConnection) -> Option<Exporter> {
    let suits = session.protocol_version() == Some(rustls::ProtocolVersion::TLSv1_3);
    let value = session.export_keying_material([0; 32], EXPORTER, Some(&[]));
    value.ok().filter(|_| suits).map(Exporter)
}

/// Whether a connection begins with the HTTP/2 preface `PRI * HTTP/2.0`. Looks without taking.
async fn speaks_h2(stream: &TcpStream) -> std::io::Result<bool> {
    let mut start = [0; 3];
    let mut pause = Duration::from_millis(5);
    loop {
        let n = stream.peek(&mut start).await?;
        if n == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if start[..n] != b"PRI"[..n] {
            return Ok(false);
        }
        if n == start.len() {
            return Ok(true);
        }
        // `peek` would return at once with the same bytes.
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(320));
    }
}

async fn serve_h1(
    app: &Arc<App>,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    known: Known,
    stop: CancellationToken,
    place: &Arc<Place>,
) {
    let (served, place) = (app.clone(), place.clone());
    let service = service_fn(move |mut request: http::Request<hyper::body::Incoming>| {
        let app = served.clone();
        known.note(&mut request);
        // A tunnel goes on with the connection when HTTP is through with it.
        let stay = request.headers().contains_key(http::header::UPGRADE).then(|| place.clone());
        // In a box of its own: hyper keeps room for it as long as the connection lives, also while it is idle or streams.
        Box::pin(async move {
            let taking = app.exchanges.of_connection().await;
            if let Some(place) = stay {
                request.extensions_mut().insert(Stay::Connection(place, taking.clone()));
            }
            let response = exchange(app, request).await;
            Ok::<_, Infallible>(match taking {
                None => response,
                Some(taking) => response.map(|body| ResponseBody::Placed(Box::new(body), taking)),
            })
        })
    });
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder
        .timer(PatientTimer)
        .header_read_timeout(app.limits.header_timeout)
        .max_header_size(app.limits.max_header_bytes as usize)
        // The upstream's Date, or none: the answer is not ours.
        .auto_date_header(false);
    // An idle client of HTTP/1.1 has nothing to say, and may not look at its connection before it needs it: a drain does not wait long
    // for it.
    let stream = taken(app, stream, Goodbye::new(Some(stop.clone())));
    let connection = builder.serve_connection(stream, service).with_upgrades();
    let mut connection = pin!(connection);
    let ended = match unless(&stop, connection.as_mut()).await {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    note_end(app, ended);
}

fn taken<S>(app: &App, stream: S, goodbye: Goodbye) -> TokioIo<Taken<S>> {
    TokioIo::new(Taken::new(stream, app.limits.client_write_timeout, goodbye))
}

/// Does `work` unless `token` fires before it is done. For a task of its own: the token is told once whom to wake, and
/// after that only asked, which costs less each time that the work goes on. By reference: the future would have room for
/// the work twice.
async fn unless<T>(token: &CancellationToken, mut work: Pin<&mut impl Future<Output = T>>) -> Option<T> {
    let mut fired = pin!(token.cancelled());
    let mut told = false;
    std::future::poll_fn(|cx| {
        if let Poll::Ready(done) = work.as_mut().poll(cx) {
            return Poll::Ready(Some(done));
        }
        if std::mem::replace(&mut told, true) && !token.is_cancelled() {
            return Poll::Pending;
        }
        fired.as_mut().poll(cx).map(|()| None)
    })
    .await
}

async fn serve_h2(
    app: &Arc<App>,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    known: Known,
    stop: CancellationToken,
) {
    let served = app.clone();
    let busy = Arc::new(AtomicUsize::new(0));
    let asked = Arc::new(AtomicBool::new(false));
    let (counted, asks) = (busy.clone(), asked.clone());
    let service = service_fn(move |mut request: Request<Incoming>| {
        let app = served.clone();
        asks.store(true, Ordering::Relaxed);
        let busy = Arc::new(Busy::new(&counted));
        let stay = Stay::Stream(busy.clone());
        // A tunnel goes on when its answer's body has ended.
        request.extensions_mut().insert(stay.clone());
        known.note(&mut request);
        async move {
            if let Some(taking) = app.exchanges.of_stream().await {
                let _ = busy.taking.set(taking);
            }
            Ok::<_, Infallible>(exchange(app, request).await.map(|body| Counted { body, _stay: stay }))
        }
    });
    let mut builder = hyper::server::conn::http2::Builder::new(Tracked(app.tasks.clone()));
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(app.limits.max_header_bytes)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_EVERY)
        .enable_connect_protocol()
        .auto_date_header(false);
    let connection = builder.serve_connection(taken(app, stream, Goodbye::new(None)), service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = until_idle(&busy, app.limits.header_timeout) => {
            connection.as_mut().graceful_shutdown();
            finish(connection, &asked).await
        }
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            finish(connection, &asked).await
        }
    };
    note_end(app, ended);
}

/// Waits for a connection that was told to end. hyper ends it once all answers have left it, however slowly their reader takes
/// them (that their bodies are gone from here says nothing of that). A peer that never asked for anything may not have finished its
/// preface, and does not hear that it is over.
async fn finish(
    connection: impl Future<Output = hyper::Result<()>>,
    asked: &AtomicBool,
) -> hyper::Result<()> {
    tokio::select! {
        ended = connection => ended,
        () = never_asked(asked, GOODBYE) => Ok(()),
    }
}

fn note_end(app: &App, ended: hyper::Result<()>) {
    if let Err(error) = ended {
        if error.is_parse() || error.is_parse_too_large() {
            app.ledger.malformed();
        }
        tracing::debug!(%error, "connection ended");
    }
}

/// Returns when nothing was under way twice in a row, `patience` apart.
async fn until_idle(busy: &AtomicUsize, patience: Duration) {
    let mut idle_before = false;
    loop {
        tokio::time::sleep(patience / 2).await;
        let idle = busy.load(Ordering::Relaxed) == 0;
        if idle && idle_before {
            return;
        }
        idle_before = idle;
    }
}

/// Runs the streams of HTTP/2 connections as tasks that the end of the process waits for: each may still have a record
/// to write when its connection is gone.
#[derive(Clone)]
pub(crate) struct Tracked(pub(crate) TaskTracker);

impl<F: Future<Output: Send> + Send + 'static> Executor<F> for Tracked {
    fn execute(&self, stream: F) {
        drop(self.0.spawn(stream));
    }
}

/// What a tunnel holds on to, since HTTP itself is done with it.
#[derive(Clone)]
pub enum Stay {
    /// The connection's place and the exchange's, for HTTP/1.1.
    Connection(Arc<Place>, Option<Taking>),
    /// The stream's mark that its connection is not idle, for HTTP/2.
    Stream(Arc<Busy>),
}

/// One of `--max-connections` places, counted while it is taken.
pub struct Place {
    app: Arc<App>,
    _permit: OwnedSemaphorePermit,
}

impl Place {
    fn new(app: &Arc<App>, permit: OwnedSemaphorePermit) -> Place {
        app.metrics.connections.inc();
        Place { app: app.clone(), _permit: permit }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.app.metrics.connections.dec();
    }
}

/// Counts an exchange as under way until its body, or its tunnel, is gone.
pub struct Busy {
    count: Arc<AtomicUsize>,
    /// Its place among all exchanges.
    taking: OnceLock<Taking>,
}

impl Busy {
    fn new(count: &Arc<AtomicUsize>) -> Busy {
        count.fetch_add(1, Ordering::Relaxed);
        Busy { count: count.clone(), taking: OnceLock::new() }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A response body that counts as under way.
struct Counted {
    body: ResponseBody,
    _stay: Stay,
}

impl Body for Counted {
    type Data = Bytes;
    type Error = ResponseBodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ResponseBodyError>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
