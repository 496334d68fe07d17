//! The yardstick: a reverse proxy from the same parts as Colophon (hyper's server, hyper-util's pooled client with the
//! same settings) that forwards and does nothing else. What Colophon costs more is what records cost.
//!
//! With `--floor` it also does what no implementation of these formats can leave out (`floor.rs`), and nothing beside it:
//! what Colophon costs more than that is what better code could still save.

mod floor;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use clap::Parser;
use colophon_benches::{listen, terminated};
use floor::Floor;
use http::header::{self, HeaderMap, HeaderName};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Request, Response, Uri};
use http_body::Frame;
use http_body_util::combinators::MapFrame;
use http_body_util::{BodyExt as _, Either, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio_util::task::TaskTracker;

const HOP_BY_HOP: [HeaderName; 5] = [
    header::CONNECTION,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
];

/// Colophon's own, so that the ratios are not the allocator's.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Forwards every request to one server.
#[derive(Parser)]
struct Args {
    /// host:port of the server
    #[arg(long)]
    upstream: Authority,
    /// Hashes, seals and writes what every record needs, into this folder
    #[arg(long)]
    floor: Option<PathBuf>,
    /// Signs each answer too
    #[arg(long, requires = "floor")]
    sign: bool,
}

/// As it came, held and hashed, or hashed in passing.
type Body = Either<Incoming, Either<Full<Bytes>, MapFrame<Incoming, Passing>>>;

/// What a frame goes through.
type Passing = Box<dyn FnMut(Frame<Bytes>) -> Frame<Bytes> + Send>;

struct Proxy {
    client: Client<HttpConnector, Body>,
    upstream: Authority,
    floor: Option<Floor>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(Duration::from_secs(5)));
    let client = Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(Duration::from_secs(4))
        .set_host(false)
        .build(connector);
    let floor = args.floor.map(|folder| Floor::new(&folder, args.sign)).transpose()?;
    let proxy = Arc::new(Proxy { client, upstream: args.upstream, floor });
    let listener = listen().await?;
    let tasks = TaskTracker::new();
    let accept = async {
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let proxy = proxy.clone();
            let service = service_fn(move |request| {
                let proxy = proxy.clone();
                async move { proxy.forward(request).await }
            });
            let mut builder = hyper::server::conn::http1::Builder::new();
            builder
                .timer(TokioTimer::new())
                .header_read_timeout(Duration::from_secs(60))
                .auto_date_header(false);
            // A failed exchange closes its connection, and the load generator counts it.
            tasks.spawn(async move { drop(builder.serve_connection(TokioIo::new(stream), service).await) });
        }
    };
    tokio::select! {
        ended = accept => ended,
        ended = terminated() => ended,
    }
}

impl Proxy {
    async fn forward(&self, mut request: Request<Incoming>) -> Result<Response<Body>> {
        *request.uri_mut() = self.target(request.uri())?;
        strip(request.headers_mut());
        let Some(floor) = &self.floor else {
            let mut response = self.client.request(request.map(Either::Left)).await.map_err(failed)?;
            strip(response.headers_mut());
            return Ok(response.map(Either::Left));
        };
        let (head, body) = request.into_parts();
        let asked = body.collect().await?.to_bytes();
        let opened = floor.open(&asked)?;
        let request = Request::from_parts(head, held(asked));
        let (mut head, body) = self.client.request(request).await.map_err(failed)?.into_parts();
        strip(&mut head.headers);
        if !head.headers.contains_key(header::CONTENT_LENGTH) {
            let passing: Passing = Box::new(floor.stream());
            return Ok(Response::from_parts(head, Either::Right(Either::Right(body.map_frame(passing)))));
        }
        let answer = body.collect().await?.to_bytes();
        floor.close(&opened, &answer)?;
        Ok(Response::from_parts(head, held(answer)))
    }

    fn target(&self, uri: &Uri) -> Result<Uri> {
        let path = uri.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/"));
        Uri::builder()
            .scheme(Scheme::HTTP)
            .authority(self.upstream.clone())
            .path_and_query(path)
            .build()
            .context("a target that cannot be forwarded")
    }
}

fn held(body: Bytes) -> Body {
    Either::Right(Either::Left(Full::new(body)))
}

fn failed(error: Error) -> anyhow::Error {
    error.into()
}

fn strip(headers: &mut HeaderMap) {
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
}
