//! Rounds of public randomness from a drand server.

use crate::forward::chain as reasons;
use crate::post::{KeptClient, kept_client};
use bytes::Bytes;
use colophon_ledger::RoundSource;
use colophon_signer::drand::{Chain, MAX_ROUND};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::header::{HeaderValue, USER_AGENT};
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest time from request to the answer's last byte.
const TIMEOUT: Duration = Duration::from_secs(15);

/// A server of rounds: `<url>/<chain hash>/public/<number>`.
pub(crate) struct RoundServer {
    client: KeptClient,
    url: String,
    chain: Chain,
}

impl RoundServer {
    /// The server at `url`, whose certificate the CAs of a file, or the system's, have to vouch for.
    ///
    /// # Errors
    /// What is no URL of a server, or no file of CAs.
    pub(crate) fn new(url: &str, chain: Chain, ca: Option<&Path>) -> anyhow::Result<RoundServer> {
        let usable = url.parse::<Uri>().is_ok_and(|uri| uri.authority().is_some() && uri.query().is_none());
        anyhow::ensure!(usable, "--drand {url}: give http://host/path, https://host/path, or a folder");
        let client = kept_client(crate::tls::roots_config(ca)?, CONNECT_TIMEOUT);
        Ok(RoundServer { client, url: url.trim_end_matches('/').to_owned(), chain })
    }

    async fn get(&self, number: u64) -> Result<Option<Vec<u8>>, String> {
        let url = format!("{}/{}/public/{number}", self.url, hex::encode(self.chain.hash()));
        let uri: Uri = url.parse().map_err(|error| format!("{url}: {error}"))?;
        let mut request = Request::get(uri).body(Full::<Bytes>::default()).map_err(|e| e.to_string())?;
        let agent = HeaderValue::from_static(concat!("colophon/", env!("CARGO_PKG_VERSION")));
        request.headers_mut().insert(USER_AGENT, agent);
        let response = self.client.request(request).await.map_err(|e| format!("{url}: {}", reasons(&e)))?;
        let status = response.status();
        if matches!(status, StatusCode::NOT_FOUND | StatusCode::TOO_EARLY) {
            return Ok(None);
        }
        if status != StatusCode::OK {
            return Err(format!("{url}: {status}"));
        }
        let body = Limited::new(response.into_body(), MAX_ROUND).collect().await;
        Ok(Some(body.map_err(|error| format!("{url}: {}", reasons(&*error)))?.to_bytes().into()))
    }
}

impl RoundSource for RoundServer {
    fn fetch(&self, number: u64) -> BoxFuture<'_, Result<Option<Vec<u8>>, String>> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        // Nobody has it before its time, and servers do not like to be asked.
        if u128::from(self.chain.schedule.time(number)) > now.as_micros() {
            return async { Ok(None) }.boxed();
        }
        let timed = tokio::time::timeout(TIMEOUT, self.get(number));
        timed.map(|got| got.unwrap_or_else(|_| Err(format!("no whole answer within {TIMEOUT:?}")))).boxed()
    }
}

#[cfg(test)]
mod tests;
