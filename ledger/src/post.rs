//! The way out of this process, to witnesses and time stamping authorities: the ledger itself speaks no HTTP.

use bytes::Bytes;
use futures_util::future::BoxFuture;

/// An answer's body is at most this long.
pub const MAX_ANSWER: usize = 64 << 10;

/// Sends HTTP requests.
pub trait Post: Send + Sync {
    /// `POST url` with a body of this `Content-Type`. The implementation bounds the wait, and the answer's body to
    /// [`MAX_ANSWER`]; an error says what happened.
    fn post(
        &self,
        url: String,
        content_type: &'static str,
        body: Vec<u8>,
    ) -> BoxFuture<'_, Result<Answer, String>>;
}

/// An HTTP answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// `Content-Type`, if there is one.
    pub content_type: Option<String>,
    /// The whole body.
    pub body: Bytes,
}
