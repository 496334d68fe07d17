//! What a policy is told of a request, and what its refusals look like.

use crate::app::App;
use crate::problem::Problem;
use crate::request_body::{RequestBody, RequestBodyError, SharedRequest};
use colophon_policies::{Body, Content, Decision, Head, Refusal, Route};
use http::StatusCode;
use http::request::Parts;
use std::sync::PoisonError;

/// What a request's body says, as far as the policy asks.
#[derive(Default)]
pub struct Inspected {
    /// Whether it was read to its end, and without doubt.
    read: bool,
    model: Option<String>,
    stream: bool,
}

impl Inspected {
    /// For the policy.
    pub fn body(&self) -> Body<'_> {
        if !self.read {
            return Body::Unread;
        }
        Body::Read(Content { model: self.model.as_deref(), stream: Some(self.stream), values: &[] })
    }
}

/// A request as the policy sees it.
pub fn head<'a>(parts: &'a Parts, route: &'a Route, body: Body<'a>) -> Head<'a> {
    Head {
        method: &parts.method,
        path: parts.uri.path(),
        query: parts.uri.query(),
        headers: &parts.headers,
        route,
        tenant: None,
        caller: None,
        body,
    }
}

/// Reads ahead in a body, where a rule depends on it.
///
/// # Errors
/// It cannot be read: to be refused once there is a record to note it in.
pub async fn inspect(
    app: &App,
    body: &mut RequestBody,
    seen: &SharedRequest,
) -> (Inspected, Result<(), RequestBodyError>) {
    match body.read_ahead(app.limits.inspect_limit, app.limits.header_timeout).await {
        // Another value may follow under the same key.
        Ok(false) => (Inspected::default(), Ok(())),
        Ok(true) => {
            let meaning = seen.lock().unwrap_or_else(PoisonError::into_inner).meaning();
            let inspected = Inspected {
                // Servers differ in what they make of a body that is ambiguous.
                read: meaning.unreadable.is_none(),
                model: String::from_utf8(meaning.model.unwrap_or_default()).ok(),
                stream: meaning.stream.unwrap_or(false),
            };
            (inspected, Ok(()))
        }
        Err(error) => (Inspected::default(), Err(error)),
    }
}

/// The answer to a request that the policy refuses.
pub fn refused(decision: &Decision) -> Option<Problem> {
    Some(match decision.refusal.as_ref()? {
        Refusal::Denied(reason) => Problem {
            status: StatusCode::FORBIDDEN,
            fault: "policy",
            code: "denied_by_policy",
            message: format!("Denied by the policy's rule {}: {reason}", decision.rule),
            retry: false,
        },
        Refusal::Unavailable(level) => Problem {
            status: StatusCode::SERVICE_UNAVAILABLE,
            fault: "policy",
            code: "level_unavailable",
            message: format!(
                "The policy's rule {} asks for the level {level}, which cannot be given here, and forbids an answer without it",
                decision.rule
            ),
            retry: false,
        },
    })
}
