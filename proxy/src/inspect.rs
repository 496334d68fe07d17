//! What a policy is told of a request, and what its refusals look like.

use crate::app::App;
use crate::callers::Caller;
use crate::observe::RequestSeen;
use crate::problem::Problem;
use crate::request_body::{RequestBody, RequestBodyError, SharedRequest};
use bytes::Bytes;
use colophon_policies::{Api, Body, Content, Decision, Head, Pointer, Policy, Refusal, Route, Value};
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode};
use std::sync::PoisonError;

/// What a request's body says, as far as the policy asks.
#[derive(Debug, Default)]
pub struct Inspected {
    /// Whether it was read to its end, and every server would read the same.
    read: bool,
    /// `None`: in doubt.
    model: Option<String>,
    stream: Option<bool>,
    values: Vec<Value<'static>>,
}

/// What has to be asked of a body for a policy's sake. Where nobody knows the API's shape, that is also what stands where
/// the model and the wish for a stream usually do.
pub fn pointers(policy: &Policy, api: Api) -> Vec<Pointer> {
    let mut asked = policy.pointers().to_vec();
    if !colophon_reading::has_meaning(api) {
        asked.extend(["/model", "/stream"].into_iter().filter_map(|pointer| Pointer::new(pointer).ok()));
    }
    asked
}

impl Inspected {
    /// For the policy.
    pub fn body(&self) -> Body<'_> {
        if !self.read {
            return Body::Unread;
        }
        Body::Read(Content { model: self.model.as_deref(), stream: self.stream, values: &self.values })
    }

    /// What is said by a body that is there as a whole.
    pub fn of_body(policy: &Policy, api: Api, headers: &HeaderMap, body: &[u8]) -> Inspected {
        let mut seen = RequestSeen::new(api, headers, pointers(policy, api));
        seen.push(&Bytes::copy_from_slice(body));
        seen.end();
        Inspected::of(&mut seen, api)
    }

    fn of(seen: &mut RequestSeen, api: Api) -> Inspected {
        if !seen.legible() {
            return Inspected::default();
        }
        let mut values = seen.values().to_vec();
        if !colophon_reading::has_meaning(api) {
            let stream = match values.pop() {
                Some(Value::Bool(stream)) => Some(stream),
                Some(Value::Absent | Value::Null) => Some(false),
                _ => None,
            };
            let model = match values.pop() {
                Some(Value::Text(model)) => Some(model.into_owned()),
                Some(Value::Absent | Value::Null) => Some(String::new()),
                _ => None,
            };
            return Inspected { read: true, model, stream, values };
        }
        let meaning = seen.meaning();
        // Servers differ in what they make of a body that is ambiguous.
        let clear = meaning.unreadable.is_none();
        let model = String::from_utf8(meaning.model.unwrap_or_default()).ok();
        Inspected {
            read: true,
            model: model.filter(|_| clear),
            stream: clear.then(|| meaning.stream.unwrap_or(false)),
            values,
        }
    }
}

/// The method that a rule is about: of an extended CONNECT (RFC 8441) the `GET` that the upstream gets for it.
pub fn method(parts: &Parts) -> &Method {
    static GET: Method = Method::GET;
    if parts.extensions.get::<hyper::ext::Protocol>().is_some() { &GET } else { &parts.method }
}

/// A request as the policy sees it. Of who calls it sees what was checked, never what a client only claims.
pub fn head<'a>(parts: &'a Parts, route: &'a Route, caller: Option<&'a Caller>, body: Body<'a>) -> Head<'a> {
    let caller = caller.filter(|caller| caller.authenticated);
    Head {
        method: method(parts),
        path: parts.uri.path(),
        query: parts.uri.query(),
        headers: &parts.headers,
        route,
        tenant: caller.and_then(|caller| caller.tenant.as_deref()),
        caller: caller.map(|caller| &*caller.name),
        body,
    }
}

/// Reads ahead in a body, where a rule depends on it. What `seen` was made for is asked.
///
/// # Errors
/// It cannot be read: to be refused once there is a record to note it in.
pub async fn inspect(
    app: &App,
    api: Api,
    body: &mut RequestBody,
    seen: &SharedRequest,
) -> (Inspected, Result<(), RequestBodyError>) {
    match body.read_ahead(app.limits.inspect_limit, app.limits.header_timeout).await {
        // Another value may follow under the same key.
        Ok(false) => (Inspected::default(), Ok(())),
        Ok(true) => {
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            (Inspected::of(&mut seen, api), Ok(()))
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

#[cfg(test)]
mod tests;
