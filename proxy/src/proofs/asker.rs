//! A server that is asked over HTTP about jobs: each answer is bounded in bytes and in time.

use crate::post::{self, KeptClient, kept_client};
use anyhow::Context as _;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use http::{Method, Request, StatusCode, Uri};
use http_body_util::Full;
use std::path::Path;
use std::time::Duration;

pub(super) use crate::post::AskError;

/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest time from request to the answer's last byte.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The server.
#[derive(Clone)]
pub(super) struct Asker {
    client: KeptClient,
    url: String,
    token: Option<HeaderValue>,
}

impl Asker {
    /// That at `url` (`http://…` or `https://…`), asked with a bearer's token if one is given.
    ///
    /// # Errors
    /// The URL, the token or the CAs cannot be used.
    pub(super) fn new(url: &str, token: Option<&str>, ca: Option<&Path>) -> anyhow::Result<Asker> {
        let uri: Uri = url.parse().with_context(|| format!("`{url}` is not a URL"))?;
        anyhow::ensure!(
            matches!(uri.scheme_str(), Some("http" | "https"))
                && uri.authority().is_some()
                && uri.query().is_none(),
            "`{url}`: http://host:port or https://host:port is needed"
        );
        let header = |token: &str| -> anyhow::Result<HeaderValue> {
            let value = HeaderValue::try_from(format!("Bearer {token}"));
            let mut value = value.context("the token is no text of a header")?;
            value.set_sensitive(true);
            Ok(value)
        };
        Ok(Asker {
            client: kept_client(crate::tls::roots_config(ca)?, CONNECT_TIMEOUT),
            url: url.trim_end_matches('/').to_owned(),
            token: token.map(header).transpose()?,
        })
    }

    /// Asks, with a JSON body if one is given; the answer has `most` bytes at most.
    ///
    /// # Errors
    /// What went wrong, in words.
    pub(super) async fn ask(
        &self,
        method: Method,
        path: &str,
        json: Option<Vec<u8>>,
        most: usize,
    ) -> Result<(StatusCode, Bytes), AskError> {
        let away = |why: String| AskError::Away(why);
        let uri: Uri = format!("{}{path}", self.url).parse().map_err(|error| away(format!("{error}")))?;
        let host = uri.authority().map(ToString::to_string).unwrap_or_default();
        let mut request = Request::builder().method(method).uri(uri).header(HOST, host);
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, token.clone());
        }
        if json.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let body = Full::from(json.unwrap_or_default());
        let request = request.body(body).map_err(|error| away(error.to_string()))?;
        let answer = post::ask(&self.client, request, TIMEOUT, most).await?;
        Ok((answer.status(), answer.into_body()))
    }
}
