//! `/bypass` on the admin side: how `colophon bypass` breaks the glass of the process that holds the data folder, with the
//! permission that `colophon erase` needs too: whoever may read `keys/admin` in the data folder.

use crate::erase::{authorized, json_response, read_body, refused};
use bytes::Bytes;
use colophon_ledger::{BypassError, Bypassing, Ledger};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::time::Duration;

/// Who breaks the glass, and why.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Begin {
    /// Who says so.
    pub who: String,
    /// The reason.
    pub reason: String,
    /// For how long, ms.
    pub for_ms: u64,
}

/// Answers `GET`, `POST` and `DELETE /bypass`: the one in force, begin, end.
pub async fn answer(ledger: &Ledger, token: &str, request: Request<Incoming>) -> Response<Full<Bytes>> {
    if let Err(refusal) = authorized(&request, token) {
        return *refusal;
    }
    let method = request.method().clone();
    if method == Method::GET {
        return said(ledger.bypassing());
    }
    if method == Method::DELETE {
        return said(ledger.end_bypass());
    }
    if method != Method::POST {
        return refused(StatusCode::METHOD_NOT_ALLOWED, "GET, POST and DELETE are served here");
    }
    let body = match read_body(request).await {
        Ok(body) => body,
        Err(refusal) => return *refusal,
    };
    let Ok(begin) = serde_json::from_slice::<Begin>(&body) else {
        return refused(StatusCode::BAD_REQUEST, r#"write {"who": "…", "reason": "…", "for_ms": <ms>}"#);
    };
    match ledger.begin_bypass(&begin.who, &begin.reason, Duration::from_millis(begin.for_ms)) {
        Ok(begun) => said(Some(begun)),
        Err(error) => {
            let status = match error {
                BypassError::InForce(_) | BypassError::TooMany => StatusCode::CONFLICT,
                BypassError::Form => StatusCode::BAD_REQUEST,
                BypassError::Random(_) => StatusCode::SERVICE_UNAVAILABLE,
            };
            refused(status, &error.to_string())
        }
    }
}

fn said(bypass: Option<Bypassing>) -> Response<Full<Bytes>> {
    json_response(StatusCode::OK, &json!({ "bypass": bypass }))
}
