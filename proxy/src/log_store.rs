//! Someone's log to read: a folder, or the files of a C2SP tlog-tiles log over HTTP.

use anyhow::Context as _;
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use http::{Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use object_store::path::Path as ObjectPath;
use object_store::{
    Attributes, CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload,
    ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// No file of a log is longer: 256 entries of at most 65,535 bytes with their lengths.
const MAX_FILE: usize = 256 * (2 + 65_535);

/// Longest time for one file.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Opens the log at `place`, for reading: a URL below which `checkpoint` and `tile/` are, such as
/// `https://host/.well-known/colophon/log/1`; a folder that holds them; or a data folder. Returns the store, and the
/// log's folder in it.
pub fn open(place: &str, ca: Option<&Path>) -> anyhow::Result<(Arc<dyn ObjectStore>, &'static str)> {
    if place.starts_with("http://") || place.starts_with("https://") {
        return Ok((Arc::new(HttpLog::new(place, ca)?), ""));
    }
    let folder = Path::new(place);
    for (inside, prefix) in [("checkpoint", ""), ("log/1/checkpoint", "log/1")] {
        if folder.join(inside).is_file() {
            return Ok((colophon_ledger::store::local(folder)?, prefix));
        }
    }
    anyhow::bail!(
        "{place} holds no log: neither `checkpoint` nor `log/1/checkpoint` is there, and it is no URL"
    )
}

/// The files below a URL. Only reading works.
struct HttpLog {
    base: String,
    client: Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
}

impl HttpLog {
    fn new(base: &str, ca: Option<&Path>) -> anyhow::Result<HttpLog> {
        let uri: Uri = base.parse().with_context(|| format!("`{base}` is not a URL"))?;
        anyhow::ensure!(uri.authority().is_some() && uri.query().is_none(), "`{base}` is no URL of a log");
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(crate::tls::roots_config(ca)?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(http);
        let client = Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(connector);
        Ok(HttpLog { base: base.trim_end_matches('/').to_owned(), client })
    }

    async fn fetch(&self, location: &ObjectPath, method: Method) -> Result<Bytes> {
        let failed =
            |source: Box<dyn std::error::Error + Send + Sync>| Error::Generic { store: "http", source };
        let url = format!("{}/{location}", self.base);
        let exchange = async {
            let request = Request::builder().method(method).uri(&url).body(Empty::new());
            let response = self.client.request(request.map_err(|e| failed(e.into()))?).await;
            // hyper's error says its causes only when asked for them.
            let cause = |error| failed(format!("{url}: {:#}", anyhow::Error::new(error)).into());
            let (parts, body) = response.map_err(cause)?.into_parts();
            match parts.status {
                StatusCode::OK => {}
                StatusCode::NOT_FOUND => {
                    let source = format!("{url} answered 404").into();
                    return Err(Error::NotFound { path: location.to_string(), source });
                }
                status => return Err(failed(format!("{url} answered {status}").into())),
            }
            // One byte more than any file has is somebody else's file.
            let body = Limited::new(body, MAX_FILE).collect().await.map_err(failed)?;
            Ok(body.to_bytes())
        };
        match tokio::time::timeout(TIMEOUT, exchange).await {
            Ok(done) => done,
            Err(_) => Err(failed(format!("{url} did not come within {TIMEOUT:?}").into())),
        }
    }
}

impl fmt::Display for HttpLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.base)
    }
}

impl fmt::Debug for HttpLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HttpLog {{ base: {:?} }}", self.base)
    }
}

fn read_only() -> Error {
    Error::NotSupported { source: "a log over HTTP can only be read".into() }
}

#[async_trait]
impl ObjectStore for HttpLog {
    async fn get_opts(&self, location: &ObjectPath, options: GetOptions) -> Result<GetResult> {
        let method = if options.head { Method::HEAD } else { Method::GET };
        let whole = self.fetch(location, method).await?;
        let size = whole.len() as u64;
        let meta = ObjectMeta {
            location: location.clone(),
            last_modified: Default::default(),
            size,
            e_tag: None,
            version: None,
        };
        let range = match &options.range {
            None => 0..size,
            Some(range) => range
                .as_range(size)
                .map_err(|source| Error::Generic { store: "http", source: Box::new(source) })?,
        };
        let bytes = whole.slice(range.start as usize..range.end as usize);
        let payload = GetResultPayload::Stream(stream::iter([Ok(bytes)]).boxed());
        Ok(GetResult {
            payload,
            meta,
            range,
            attributes: Attributes::default(),
            extensions: Default::default(),
        })
    }

    async fn put_opts(&self, _: &ObjectPath, _: PutPayload, _: PutOptions) -> Result<PutResult> {
        Err(read_only())
    }

    async fn put_multipart_opts(
        &self,
        _: &ObjectPath,
        _: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        Err(read_only())
    }

    fn delete_stream(
        &self,
        _: BoxStream<'static, Result<ObjectPath>>,
    ) -> BoxStream<'static, Result<ObjectPath>> {
        stream::iter([Err(read_only())]).boxed()
    }

    fn list(&self, _: Option<&ObjectPath>) -> BoxStream<'static, Result<ObjectMeta>> {
        stream::iter([Err(read_only())]).boxed()
    }

    async fn list_with_delimiter(&self, _: Option<&ObjectPath>) -> Result<ListResult> {
        Err(read_only())
    }

    async fn copy_opts(&self, _: &ObjectPath, _: &ObjectPath, _: CopyOptions) -> Result<()> {
        Err(read_only())
    }
}
