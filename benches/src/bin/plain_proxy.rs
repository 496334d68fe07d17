//! The yardstick: a reverse proxy from the same parts as Colophon (hyper's server, hyper-util's pooled client with the
//! same settings) that forwards and does nothing else. What Colophon costs more is what records cost.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Parser;
use colophon_benches::{listen, terminated};
use http::header::{self, HeaderMap, HeaderName};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Request, Response, Uri};
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
}

struct Proxy {
    client: Client<HttpConnector, Incoming>,
    upstream: Authority,
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
    let proxy = Arc::new(Proxy { client, upstream: args.upstream });
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
    async fn forward(&self, mut request: Request<Incoming>) -> Result<Response<Incoming>> {
        *request.uri_mut() = self.target(request.uri())?;
        strip(request.headers_mut());
        let mut response =
            self.client.request(request).await.map_err(|error: Error| anyhow::anyhow!(error))?;
        strip(response.headers_mut());
        Ok(response)
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

fn strip(headers: &mut HeaderMap) {
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
}
