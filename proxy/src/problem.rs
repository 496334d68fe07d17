//! What the proxy answers itself, in the error shape of the API that was called, so that SDKs show it as they would
//! show the server's own.

use bytes::Bytes;
use colophon_policies::Api;
use http::header::{self, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use serde_json::json;

const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// Whose fault it is that there is no answer of the upstream's, and whether asking again may help.
#[derive(Clone, Debug)]
pub struct Problem {
    /// Status code.
    pub status: StatusCode,
    /// `client`, `upstream`, `proxy` or `policy`.
    pub fault: &'static str,
    /// A word for programs.
    pub code: &'static str,
    /// A sentence for people: what happened.
    pub message: String,
    /// Whether the same request may succeed later.
    pub retry: bool,
}

impl Problem {
    /// The response, in the shape of `api`.
    pub fn response(&self, api: Api) -> Response<Bytes> {
        let kind = match self.fault {
            "client" => "invalid_request_error",
            "policy" => "permission_error",
            _ => "api_error",
        };
        let body = match api {
            Api::Messages => json!({"type": "error", "error": {"type": kind, "message": self.message}}),
            Api::Generate => json!({"error": self.message, "error_type": self.code}),
            _ => json!({"error": {"message": self.message, "type": kind, "param": null, "code": self.code}}),
        };
        let body = Bytes::from(body.to_string());
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if !self.retry {
            headers.insert(SHOULD_RETRY, HeaderValue::from_static("false"));
        }
        response
    }
}

#[cfg(test)]
mod tests;
