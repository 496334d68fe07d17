//! What this proxy answers about itself on the client side: receipts, keys and the public log, under
//! `/.well-known/colophon/` and, because gateways often route `/v1/*` only, `/v1/colophon/`.

use crate::app::App;
use crate::attestation::Exporter;
use crate::facts::parse_id;
use crate::response_body::ResponseBody;
use bytes::Bytes;
use colophon_ledger::{ErasedRecord, Lookup};
use colophon_receipt::receipt;
use http::header::{self, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use serde_json::json;

/// When a receipt is not there yet, how long to wait before asking again, in seconds.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

/// Whether the path is one of ours.
pub fn is_own(path: &str) -> bool {
    rest(path).is_some()
}

fn rest(path: &str) -> Option<&str> {
    path.strip_prefix("/v1/colophon/").or_else(|| path.strip_prefix("/.well-known/colophon/"))
}

/// The answer to a request for something of ours.
pub async fn answer<B>(app: &App, request: &Request<B>) -> Response<ResponseBody> {
    let rest = rest(request.uri().path()).unwrap_or_default();
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = problem(
            StatusCode::METHOD_NOT_ALLOWED,
            "method_not_allowed",
            "Only GET and HEAD are served here",
        );
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match rest.split_once('/') {
        Some(("receipts", id)) => receipt(app, id, request.uri().query()).await,
        Some(("log", file)) => log_file(app, file).await,
        Some(("models", digest)) => model(app, digest),
        None if rest == "keys" => {
            let mut response = body("application/json", app.ledger.trust_json().into_bytes().into());
            response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
            response
        }
        None if rest == "about" => about(app),
        None if rest == "attestation" => attestation(app, request).await,
        _ => problem(
            StatusCode::NOT_FOUND,
            "not_found",
            "Colophon serves receipts/, keys, log/, models/, about and attestation here",
        ),
    }
}

/// Evidence of this proxy for the nonce that the reader gives, and for nothing else that he says.
async fn attestation<B>(app: &App, request: &Request<B>) -> Response<ResponseBody> {
    let Some(attesting) = &app.attesting else {
        let message = "This proxy runs in no trusted environment that it could prove";
        return problem(StatusCode::NOT_FOUND, "not_attested", message);
    };
    let nonce = match request.uri().query().map(|query| query.split('&').collect::<Vec<_>>()).as_deref() {
        Some([pair]) => pair.strip_prefix("nonce="),
        _ => None,
    };
    let Some(nonce) = nonce.filter(|nonce| colophon_attest::aci::is_nonce(nonce)) else {
        let message = "Give nonce= and nothing else: 1 to 128 of 0-9 A-Z a-z _ -";
        return problem(StatusCode::BAD_REQUEST, "bad_nonce", message);
    };
    let exporter = request.extensions().get::<Exporter>().copied();
    let key = app.ledger.shard().public_key.0;
    match attesting.challenge(key, nonce.to_owned(), exporter).await {
        Ok(document) => {
            let mut response = body("application/json", document.into());
            response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            response
        }
        Err(error) => {
            tracing::error!(%error, "a challenge got no evidence");
            let message = "This machine gave no evidence at the moment";
            let mut response = problem(StatusCode::SERVICE_UNAVAILABLE, "no_evidence", message);
            response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
            response
        }
    }
}

async fn receipt(app: &App, id: &str, query: Option<&str>) -> Response<ResponseBody> {
    let Some(id) = parse_id(id) else {
        return problem(StatusCode::BAD_REQUEST, "bad_id", "A record id is a UUID");
    };
    let token =
        query.into_iter().flat_map(|query| query.split('&')).find_map(|pair| pair.strip_prefix("token="));
    if !token.is_some_and(|token| app.ledger.token_ok(&id, token)) {
        return problem(
            StatusCode::FORBIDDEN,
            "bad_token",
            "A receipt is shown to whoever holds its token: use the whole of the Colophon-Receipt header",
        );
    }
    match app.ledger.lookup(&id).await {
        Ok(Lookup::Found(found)) => match found.to_json() {
            Ok(json) => {
                app.metrics.receipts.inc();
                body(receipt::MEDIA_TYPE, json.into())
            }
            Err(error) => unavailable(&error),
        },
        Ok(Lookup::Pending) => {
            let mut response = body("application/json", json!({"status": "pending"}).to_string().into());
            *response.status_mut() = StatusCode::ACCEPTED;
            response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
            response
        }
        Ok(Lookup::Erased(erased)) => gone(&erased),
        Ok(Lookup::Unknown) => problem(StatusCode::NOT_FOUND, "unknown_record", "No record has this id"),
        Err(error) => unavailable(&error),
    }
}

/// The record is logged; what opened it was deleted on purpose.
fn gone(erased: &ErasedRecord) -> Response<ResponseBody> {
    let (at, index) = erased.logged.unzip();
    let when = match erased.logged {
        Some((_, index)) => format!("log entry {index} says so"),
        None => "the log will say so soon".to_owned(),
    };
    let json = json!({
        "error": {
            "message": format!("What opened this record was erased on purpose; {when}"),
            "type": "colophon_error",
            "param": null,
            "code": "erased",
        },
        "erasure": {"id": hex::encode(erased.erasure), "at": at, "log_index": index},
    });
    let mut response = body("application/json", json.to_string().into());
    *response.status_mut() = StatusCode::GONE;
    response
}

async fn log_file(app: &App, file: &str) -> Response<ResponseBody> {
    match app.ledger.public_log_file(file).await {
        Ok(Some(bytes)) => {
            let checkpoint = file.ends_with("/checkpoint");
            let kind = if checkpoint { "text/plain; charset=utf-8" } else { "application/octet-stream" };
            let cache = if checkpoint { "no-cache" } else { "public, max-age=31536000, immutable" };
            let mut response = body(kind, bytes);
            response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
            response
        }
        Ok(None) => problem(StatusCode::NOT_FOUND, "not_found", "The log has no such file"),
        Err(error) => unavailable(&error),
    }
}

/// The file of a model certificate, by its digest: what it says is for its reader to check.
fn model(app: &App, digest: &str) -> Response<ResponseBody> {
    let digest = hex::decode(digest).ok().and_then(|bytes| colophon_receipt::Hash::try_from(bytes).ok());
    let of_circuit = |digest: &_| app.proving.as_ref().and_then(|proving| proving.certificate(digest));
    match digest.and_then(|digest| app.model.file(&digest).or_else(|| of_circuit(&digest))) {
        Some(file) => body("application/json", file),
        None => problem(
            StatusCode::NOT_FOUND,
            "unknown_model",
            "No model certificate with this digest is in force here, or was of late: ask its issuer",
        ),
    }
}

fn about(app: &App) -> Response<ResponseBody> {
    let (head, policy) = (app.ledger.head(), app.policy.load());
    let model =
        app.model.now().map(|bound| json!({"name": bound.name, "certificate": hex::encode(bound.digest)}));
    let shard = app.ledger.shard();
    let about = json!({
        "program": "colophon",
        "version": env!("CARGO_PKG_VERSION"),
        "notice": receipt::NOTICE,
        "log": {"origin": head.checkpoint.origin, "size": head.checkpoint.size},
        "shard": shard.name,
        "key": {"id": hex::encode(shard.key_id), "public": hex::encode(shard.public_key.as_bytes())},
        "policy": {"name": policy.policy.name(), "digest": hex::encode(policy.digest)},
        "durability": app.ledger.durability().as_str(),
        "model": model,
    });
    body("application/json", about.to_string().into())
}

fn unavailable(error: &dyn std::error::Error) -> Response<ResponseBody> {
    tracing::error!(%error, "cannot answer from the store");
    problem(StatusCode::SERVICE_UNAVAILABLE, "store", "The store cannot be read at the moment")
}

fn problem(status: StatusCode, code: &str, message: &str) -> Response<ResponseBody> {
    let json = json!({"error": {"message": message, "type": "colophon_error", "param": null, "code": code}});
    let mut response = body("application/json", json.to_string().into());
    *response.status_mut() = status;
    response
}

fn body(kind: &'static str, bytes: Bytes) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::whole(bytes));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
