//! What is known of an exchange when the policy has decided, and how it stands in records.

use crate::app::App;
use crate::callers::Caller;
use crate::sampling::Sampled;
use crate::stamp;
use colophon_ledger::Shard;
use colophon_policies::{Api, Decision, Route};
use colophon_receipt::fields::{self, DecisionField, Operation, RequestLine, Times};
use colophon_receipt::record::{FieldSet, RecordId, id_text};
use colophon_receipt::{Hash, Level};
use http::header::{self, HeaderName, HeaderValue};
use http::{Method, Uri, Version};
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const RETRY_COUNT: HeaderName = HeaderName::from_static("x-stainless-retry-count");

/// Longest value of a header that goes into a record.
pub(crate) const MAX_VALUE: usize = 512;

/// What is known when the policy has decided.
pub struct Facts {
    /// Number of the exchange.
    pub id: RecordId,
    /// The same as a UUID's text.
    pub id_text: String,
    /// The shard that was in force then.
    pub shard: Arc<Shard>,
    /// µs.
    pub received_at: u64,
    /// When the head was there, for `Server-Timing`.
    pub started: Instant,
    /// Request method.
    pub method: Method,
    uri: Uri,
    /// `@query` of RFC 9421: `?` and the query.
    pub query_component: String,
    authority: Option<Vec<u8>>,
    content_type: Option<HeaderValue>,
    content_encoding: Option<HeaderValue>,
    version: Version,
    pub(crate) traceparent: Option<HeaderValue>,
    pub(crate) request_id: Option<HeaderValue>,
    pub(crate) retries: Option<u64>,
    /// Who calls, if that is known.
    pub caller: Option<Caller>,
    /// The client's nonce.
    pub nonce: Option<HeaderValue>,
    /// The tenant whose keys seal what opens the record.
    pub tenant: Option<String>,
    /// What the request is.
    pub route: Route,
    /// What the policy says of it.
    pub decision: Decision,
    /// What its rule draws.
    pub(crate) sampled: Sampled,
    /// Digest of that policy.
    pub policy: Hash,
}

/// Copies a header's value out of the buffer that its head was read into.
pub(crate) fn detach(value: &mut Option<HeaderValue>) {
    if let Some(value) = value
        && let Ok(copy) = HeaderValue::from_bytes(value.as_bytes())
    {
        *value = copy;
    }
}

impl Facts {
    /// Takes what a record needs from a request's head, which was there at `started`.
    pub fn new(
        app: &App,
        parts: &http::request::Parts,
        started: Instant,
        route: Route,
        mut decision: Decision,
        policy: Hash,
        caller: Option<Caller>,
    ) -> Facts {
        let sampled = Sampled::of(&mut decision, || app.ledger.new_seed().ok());
        let received_at = app.ledger.now();
        let id = app.ledger.new_id(received_at / 1000);
        let get =
            |name: HeaderName| parts.headers.get(name).filter(|value| value.len() <= MAX_VALUE).cloned();
        let authority = match parts.uri.authority() {
            Some(authority) => Some(authority.as_str().as_bytes().to_vec()),
            None => parts.headers.get(header::HOST).map(|host| host.as_bytes().to_vec()),
        };
        Facts {
            id,
            id_text: id_text(&id),
            shard: app.ledger.shard(),
            received_at,
            started,
            method: parts.method.clone(),
            query_component: query_component(&parts.uri),
            uri: parts.uri.clone(),
            authority,
            content_type: get(header::CONTENT_TYPE),
            content_encoding: get(header::CONTENT_ENCODING),
            version: parts.version,
            traceparent: get(TRACEPARENT),
            request_id: get(REQUEST_ID),
            retries: get(RETRY_COUNT).and_then(|value| value.to_str().ok()?.parse().ok()),
            nonce: get(stamp::CLIENT_NONCE).filter(|value| {
                let single = parts.headers.get_all(stamp::CLIENT_NONCE).iter().count() == 1;
                single && stamp::coverable(value.as_bytes())
            }),
            tenant: caller
                .as_ref()
                .filter(|caller| caller.authenticated)
                .and_then(|caller| caller.tenant.as_deref())
                .map(str::to_owned),
            caller,
            route,
            decision,
            sampled,
            policy,
        }
    }

    /// Lets go of the connection's read buffer, in which the values of a head lie: it would be kept for as long as a stream
    /// takes, beside the next one.
    pub(crate) fn detach(&mut self) {
        let Facts { content_type, content_encoding, traceparent, request_id, nonce, .. } = self;
        for value in [content_type, content_encoding, traceparent, request_id, nonce] {
            detach(value);
        }
        if let Ok(copy) = self.uri.to_string().parse::<Uri>()
            && copy == self.uri
        {
            self.uri = copy;
        }
    }

    /// The path as received.
    pub fn path(&self) -> &str {
        path_component(&self.uri)
    }

    /// Whether a bypass may let it go on: never where evidence of the upstream is asked for.
    pub(crate) fn bypassable(&self) -> bool {
        self.decision.asked.max(self.decision.level) < Level::Tee
    }

    /// Whether a signature can cover the request line.
    pub(crate) fn signable(&self) -> bool {
        stamp::coverable(self.path().as_bytes()) && stamp::coverable(self.query_component.as_bytes())
    }

    /// The model that a session asks for: it has no body, so `model` stands in the query.
    pub(crate) fn queried_model(&self) -> Option<Cow<'_, [u8]>> {
        if self.route.api != Api::Realtime {
            return None;
        }
        let model = self.uri.query()?.split('&').find_map(|pair| pair.strip_prefix("model="))?;
        let model: Cow<'_, [u8]> = percent_encoding::percent_decode_str(model).into();
        (!model.is_empty() && model.len() <= MAX_VALUE).then_some(model)
    }

    fn line(&self) -> RequestLine<'_> {
        RequestLine {
            method: Some(self.method.as_str().as_bytes().into()),
            path: Some(self.path().as_bytes().into()),
            query: self.uri.query().map(|query| colophon_receipt::merkle::sha256(query.as_bytes())),
            authority: self.authority.as_deref().map(Cow::Borrowed),
            content_type: bytes(&self.content_type),
            content_encoding: bytes(&self.content_encoding),
            version: Some(version(self.version).into()),
        }
    }

    /// What the WAL keeps of an exchange that may never end.
    pub fn open_fields(&self) -> FieldSet {
        // Some 170 bytes usually. Not much more: each exchange in flight has one.
        let mut set = FieldSet::with_room(256, 5);
        self.line().write(fields::REQUEST_LINE, &mut set);
        self.operation().write(fields::OPERATION, &mut set);
        let times =
            Times { received: Some(self.received_at), clock: Some("system".into()), ..Times::default() };
        times.write(fields::TIMES, &mut set);
        self.decision(self.decision.level, None, false).write(fields::DECISION, &mut set);
        self.caller().write(fields::CALLER, &mut set);
        set
    }

    pub(crate) fn caller(&self) -> fields::Caller<'_> {
        let Some(caller) = &self.caller else { return fields::Caller::default() };
        fields::Caller {
            tenant: caller.tenant.as_ref().map(|tenant| tenant.as_bytes().into()),
            caller: Some(caller.name.as_bytes().into()),
            authenticated: Some(caller.authenticated),
            by: Some(caller.by.into()),
        }
    }

    pub(crate) fn operation(&self) -> Operation<'_> {
        Operation {
            api: Some(self.route.api.as_str().into()),
            operation: Some((&*self.route.operation).into()),
            ..Operation::default()
        }
    }

    pub(crate) fn decision<'a>(
        &'a self,
        granted: Level,
        why: Option<&'a str>,
        degraded: bool,
    ) -> DecisionField<'a> {
        DecisionField {
            rule: Some(self.decision.rule.as_bytes().into()),
            policy: Some(self.policy),
            asked: Some(self.decision.asked.code()),
            granted: Some(granted.code()),
            why_lowered: why.or(self.decision.why_lowered.as_deref()).map(Cow::Borrowed),
            degraded: degraded.then_some(true),
            draw: self.sampled.how.map(|how| how.as_str().into()),
        }
    }
}

/// `@path` of RFC 9421.
pub(crate) fn path_component(uri: &Uri) -> &str {
    match uri.path() {
        "" => "/",
        path => path,
    }
}

/// `@query` of RFC 9421: `?` and the query.
pub(crate) fn query_component(uri: &Uri) -> String {
    format!("?{}", uri.query().unwrap_or_default())
}

/// A header's value as a record keeps it.
pub(crate) fn bytes(value: &Option<HeaderValue>) -> Option<Cow<'_, [u8]>> {
    let value = value.as_ref()?.as_bytes();
    Some(value.get(..MAX_VALUE).unwrap_or(value).into())
}

/// A version as a record names it.
pub(crate) fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "HTTP/0.9",
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_11 => "HTTP/1.1",
        Version::HTTP_2 => "HTTP/2.0",
        _ => "HTTP/3.0",
    }
}

/// Reads a UUID's text.
pub fn parse_id(text: &str) -> Option<RecordId> {
    let groups: Vec<usize> = text.split('-').map(str::len).collect();
    if groups != [8, 4, 4, 4, 12] {
        return None;
    }
    hex::decode(text.replace('-', "")).ok()?.try_into().ok()
}
