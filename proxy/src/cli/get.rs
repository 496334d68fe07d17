//! One bounded HTTP request, for the commands that fetch.

use crate::erase::Access;
use anyhow::Context as _;
use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use std::io;
use std::path::Path;
use std::time::Duration;

/// Nothing that is fetched here is larger than a receipt may be.
const MAX_BODY: usize = colophon_receipt::receipt::MAX_BYTES;

/// One request takes no longer than this.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Sends a request and reads its whole answer.
pub(super) async fn send(
    request: Request<Full<Bytes>>,
    ca: Option<&Path>,
) -> anyhow::Result<Response<Bytes>> {
    send_within(TIMEOUT, request, ca).await
}

/// The same for what may take longer.
pub(super) async fn send_within(
    limit: Duration,
    request: Request<Full<Bytes>>,
    ca: Option<&Path>,
) -> anyhow::Result<Response<Bytes>> {
    let uri = request.uri().clone();
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(crate::tls::roots_config(ca)?)
        .https_or_http()
        .enable_http1()
        .build();
    let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build(connector);
    let exchange = async {
        let (parts, body) = client.request(request).await?.into_parts();
        let body = Limited::new(body, MAX_BODY).collect().await.map_err(|error| anyhow::anyhow!(error))?;
        Ok::<_, anyhow::Error>(Response::from_parts(parts, body.to_bytes()))
    };
    match tokio::time::timeout(limit, exchange).await {
        Ok(Ok(response)) => Ok(response),
        Ok(Err(error)) => Err(error).with_context(|| format!("cannot fetch {}", shown(&uri))),
        Err(_) => anyhow::bail!("{} did not answer within {limit:?}", shown(&uri)),
    }
}

/// A plain `GET`.
pub(super) async fn get(uri: &str, ca: Option<&Path>) -> anyhow::Result<Response<Bytes>> {
    let uri: Uri = uri.parse().with_context(|| format!("`{uri}` is not a URL"))?;
    let host = uri.authority().with_context(|| format!("`{uri}` has no host"))?.to_string();
    send(Request::get(uri).header(http::header::HOST, host).body(Full::default())?, ca).await
}

/// Where the admin side is of the process that uses a data folder, and the token for it.
pub(super) fn access(data: &Path) -> anyhow::Result<Access> {
    let kind = |error: &anyhow::Error| error.downcast_ref::<io::Error>().map(io::Error::kind);
    Access::load(data).map_err(|error| match kind(&error) {
        Some(io::ErrorKind::NotFound) => error.context("no `colophon serve` has used this data folder"),
        Some(io::ErrorKind::PermissionDenied) => anyhow::anyhow!("{error:#}: run this as the proxy's user"),
        _ => error,
    })
}

/// A URL without its token.
fn shown(uri: &Uri) -> String {
    uri.to_string().split('?').next().unwrap_or_default().to_owned()
}
