//! The API server, as a program with a ServiceAccount asks it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use colophon_listen::ask::{AskError, KeptClient, ask, kept_client, roots_config};
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, USER_AGENT};
use http::{Method, Request};
use http_body_util::Full;
use serde_json::Value;

use crate::manifest::read_bounded;
use crate::value::text;

/// Where kubelet puts a ServiceAccount's token and the server's CA.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const TIMEOUT: Duration = Duration::from_secs(30);
/// A page of a list is never longer.
const MAX_ANSWER: usize = 16 << 20;
/// Objects in a page,
const PAGE: usize = 250;
/// and in one where so many have more than [`MAX_ANSWER`]: of the largest that an API server keeps, so many fit.
const SMALL_PAGE: usize = 10;
/// A list has no more pages.
const PAGES: usize = 10_000;
/// A token is never longer.
const MAX_TOKEN: usize = 64 << 10;
/// As much of what the server says against something is passed on, in characters.
const SHOWN: usize = 300;

/// Where the API server is, and as whom it is asked: the Pod's ServiceAccount where nothing is said.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ApiOptions {
    /// The API server's URL [default: from the Pod's environment]
    #[arg(long, value_name = "URL", requires = "policies")]
    pub api_server: Option<String>,
    /// File of the bearer token that it is asked with, re-read each time [default: the ServiceAccount's]
    #[arg(long, value_name = "FILE", requires = "policies")]
    pub api_token_file: Option<PathBuf>,
    /// PEM file of the CAs that may sign its certificate [default: the ServiceAccount's]
    #[arg(long, value_name = "FILE", requires = "policies")]
    pub api_ca: Option<PathBuf>,
}

/// Why something could not be had or done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    /// No whole answer, or none that is JSON.
    #[error("the API server: {0}")]
    Away(String),
    /// Its answer is longer than [`MAX_ANSWER`].
    #[error("the API server: {0}")]
    TooLong(AskError),
    /// It says no.
    #[error("the API server says {status}: {message}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// Its message.
        message: String,
    },
}

impl ApiError {
    /// Somebody was faster: the object is another now.
    pub(crate) fn is_conflict(&self) -> bool {
        matches!(self, ApiError::Refused { status: 409, .. })
    }
}

/// A client of it.
pub(crate) struct Api {
    client: KeptClient,
    server: String,
    token: PathBuf,
}

impl Api {
    /// Nothing is asked yet.
    ///
    /// # Errors
    /// It is not said where the server is, or the CAs cannot be read.
    pub(crate) fn new(options: &ApiOptions) -> anyhow::Result<Api> {
        let server = match &options.api_server {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => in_cluster().context("no --api-server, and this is no Pod of a cluster")?,
        };
        let of_account = |given: &Option<PathBuf>, name: &str| {
            given.clone().unwrap_or_else(|| Path::new(ACCOUNT).join(name))
        };
        let ca = of_account(&options.api_ca, "ca.crt");
        let client = kept_client(roots_config(Some(&ca))?, CONNECT_TIMEOUT);
        Ok(Api { client, server, token: of_account(&options.api_token_file, "token") })
    }

    #[cfg(test)]
    pub(crate) fn without_tls(server: String, token: PathBuf) -> Api {
        let client = kept_client(roots_config(None).expect("the system's roots"), CONNECT_TIMEOUT);
        Api { client, server, token }
    }

    /// The client, for others than the server.
    pub(crate) fn client(&self) -> &KeptClient {
        &self.client
    }

    /// Reads an object, or none where there is none.
    pub(crate) async fn get(&self, path: &str) -> Result<Option<Value>, ApiError> {
        match self.send(Method::GET, path, None).await {
            Ok(object) => Ok(Some(object)),
            Err(ApiError::Refused { status: 404, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes an object.
    pub(crate) async fn create(&self, path: &str, object: &Value) -> Result<(), ApiError> {
        self.send(Method::POST, path, Some(object)).await.map(|_| ())
    }

    /// Replaces an object, if it is still the one whose `resourceVersion` is in `object`.
    pub(crate) async fn replace(&self, path: &str, object: &Value) -> Result<(), ApiError> {
        self.send(Method::PUT, path, Some(object)).await.map(|_| ())
    }

    /// A list, page by page. `query` may be empty, else it begins with `&`.
    pub(crate) fn list(&self, path: String, query: &'static str) -> Pages<'_> {
        Pages { api: self, path, query, next: Some(String::new()), size: PAGE, pages: 0 }
    }

    async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, ApiError> {
        let away = |error: &dyn std::fmt::Display| ApiError::Away(error.to_string());
        let token = read_bounded(&self.token, MAX_TOKEN).map_err(|error| away(&format!("{error:#}")))?;
        let mut bearer = b"Bearer ".to_vec();
        bearer.extend_from_slice(token.trim_ascii());
        let mut bearer = HeaderValue::from_bytes(&bearer).map_err(|error| away(&error))?;
        bearer.set_sensitive(true);
        let bytes = body.map(Value::to_string).unwrap_or_default();
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.server))
            .body(Full::new(Bytes::from(bytes)))
            .map_err(|error| away(&error))?;
        let headers = request.headers_mut();
        headers.insert(AUTHORIZATION, bearer);
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(
            USER_AGENT,
            HeaderValue::from_static(concat!("colophon-injector/", env!("CARGO_PKG_VERSION"))),
        );
        if body.is_some() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        let answer = ask(&self.client, request, TIMEOUT, MAX_ANSWER).await.map_err(|error| match error {
            AskError::TooLong(_) => ApiError::TooLong(error),
            AskError::Away(_) => away(&error),
        })?;
        let (status, body) = (answer.status(), answer.into_body());
        let object: Result<Value, _> = serde_json::from_slice(&body);
        if status.is_success() {
            return object.map_err(|error| away(&error));
        }
        let message = object.ok().and_then(|object| text(&object, "message").map(str::to_owned));
        let message = message.unwrap_or_default().chars().filter(|c| !c.is_control()).take(SHOWN).collect();
        Err(ApiError::Refused { status: status.as_u16(), message })
    }
}

/// A list, of which one page at a time is in memory.
pub(crate) struct Pages<'a> {
    api: &'a Api,
    path: String,
    query: &'static str,
    next: Option<String>,
    size: usize,
    pages: usize,
}

impl Pages<'_> {
    /// The next page, or none after the last.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<Value>>, ApiError> {
        let Some(next) = self.next.take() else { return Ok(None) };
        self.pages += 1;
        if self.pages > PAGES {
            return Err(ApiError::Away(format!("{} has more than {PAGES} pages", self.path)));
        }
        let mut page = match self.page(&next).await {
            Err(ApiError::TooLong(_)) if self.size > SMALL_PAGE => {
                self.size = SMALL_PAGE;
                self.page(&next).await?
            }
            page => page?,
        };
        let more =
            page.pointer("/metadata/continue").and_then(Value::as_str).filter(|token| !token.is_empty());
        self.next = more.map(|token| {
            let token: String = url::form_urlencoded::byte_serialize(token.as_bytes()).collect();
            format!("&continue={token}")
        });
        match page.get_mut("items").map(Value::take) {
            Some(Value::Array(items)) => Ok(Some(items)),
            _ => Ok(Some(Vec::new())),
        }
    }

    async fn page(&self, next: &str) -> Result<Value, ApiError> {
        let url = format!("{}?limit={}{}{next}", self.path, self.size, self.query);
        self.api.send(Method::GET, &url, None).await
    }
}

fn in_cluster() -> Option<String> {
    let host = std::env::var("KUBERNETES_SERVICE_HOST").ok()?;
    let port = std::env::var("KUBERNETES_SERVICE_PORT").ok()?;
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    Some(format!("https://{host}:{port}"))
}
