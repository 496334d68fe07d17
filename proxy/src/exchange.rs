//! The hot path: one exchange from its head to the point where only its body is still to come.

use crate::accept::Stay;
use crate::app::{App, PolicyInForce};
use crate::callers::Peer;
use crate::facts::Facts;
use crate::forward::{Answer, ForwardError, Upstream};
use crate::head;
use crate::in_flight::{Ending, InFlight, NotKept, is_event_stream};
use crate::inspect;
use crate::observe::RequestSeen;
use crate::own;
use crate::problem::Problem;
use crate::request_body::{RequestBody, RequestBodyError, SharedRequest};
use crate::response_body::{Observed, Passed, ResponseBody, Tail};
use crate::upstream::attested::Session;
use crate::upstream::signed::{SentHead, Signing};
use crate::upstream::{UpstreamBody, is_ambiguous};
use crate::{stamp, upgrade};
use bytes::Bytes;
use colophon_policies::{Api, Body, identify};
use colophon_receipt::Level;
use futures_util::FutureExt as _;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Request, Response, StatusCode, Version};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Longest wait for the rest of a request whose exchange has failed already.
const FAILED_DRAIN: Duration = Duration::from_secs(1);

/// Longest wait for the rest of a request whose whole answer is there: it is most often on its way, such as a last chunk.
const EARLY_DRAIN: Duration = Duration::from_millis(20);

/// Serves one request: decide → observe the request → forward → hold and stamp, or stream and hash.
pub async fn exchange(app: Arc<App>, mut request: Request<Incoming>) -> Response<ResponseBody> {
    if own::is_own(request.uri().path()) {
        return Box::pin(own::answer(&app, &request)).await;
    }
    let started = Instant::now();
    let client = Client::of(&mut request);
    let (parts, body) = request.into_parts();
    let route = identify(inspect::method(&parts), parts.uri.path());
    let in_force = app.policy.load_full();
    let policy = &in_force.policy;
    let callers = app.callers.as_ref();
    let caller = callers.and_then(|callers| callers.identify(&parts.headers, parts.extensions.get::<Peer>()));
    let unread = if body.is_end_stream() { Body::Empty } else { Body::Unread };
    let head_alone = inspect::head(&parts, &route, caller.as_ref(), unread);
    let decided = (!policy.needs_body(&head_alone)).then(|| policy.decide(&head_alone));
    if let Some(decision) = decided.as_ref().filter(|decision| decision.level == Level::Pass) {
        let body = RequestBody::unseen(body, app.limits.max_body_bytes);
        app.ledger.passed(&decision.rule);
        return unseen(&app, parts, body, client, route.api, started).await;
    }
    let asked = if decided.is_some() { Vec::new() } else { inspect::pointers(policy, route.api) };
    let seen = RequestSeen::new(route.api, &parts.headers, asked).digesting(app.limits.message_digests);
    // Whether this one's is needed, its rule says.
    let seen = seen.keeping(app.proving.as_ref().is_some_and(|proving| proving.keeps_bodies()));
    let seen: SharedRequest = Arc::new(Mutex::new(seen));
    let mut body = RequestBody::new(body, seen.clone(), app.limits.max_body_bytes);
    let mut waited_for_client = Duration::ZERO;
    let (decision, unread) = match decided {
        Some(decision) => (decision, None),
        None => {
            // In a box, as whatever is rare here: the future of every exchange has room for all that it may hold.
            let mut reading = Box::pin(inspect::inspect(&app, route.api, &mut body, &seen));
            // Most often the body came with the head, and no time passes.
            let (inspected, read) = match reading.as_mut().now_or_never() {
                Some(read) => read,
                None => {
                    let begun = Instant::now();
                    let read = reading.await;
                    waited_for_client = begun.elapsed();
                    read
                }
            };
            // Of a body that is not there nothing was read.
            let said = if let Body::Empty = unread { unread } else { inspected.body() };
            let decision = policy.decide(&inspect::head(&parts, &route, caller.as_ref(), said));
            (decision, read.err().map(|error| request_problem(&error)))
        }
    };
    if decision.level == Level::Pass {
        app.ledger.passed(&decision.rule);
        return unseen(&app, parts, body, client, route.api, Instant::now()).await;
    }
    let mut decision = decision;
    if let Some(proving) = &app.proving {
        proving.hold(&mut decision);
    }
    let refused = inspect::refused(&decision);
    let facts = Facts::new(&app, &parts, started, route, decision, in_force.digest, caller);
    let mut flight = InFlight::begin(app.clone(), facts, seen);
    flight.waited_for_client(waited_for_client);
    let not_kept = flight.opened().await.err();
    if not_kept.is_some() && unread.is_none() && refused.is_none() && flight.bypass() {
        let api = flight.facts.route.api;
        return Box::pin(unseen(&app, parts, body, client, api, Instant::now())).await;
    }
    let not_kept = not_kept.map(|error| not_kept_problem(&error));
    let by_policy = not_kept.is_none() && unread.is_none() && refused.is_some();
    if let Some(problem) = not_kept.or(unread).or(refused).or_else(|| refusal(&app, &parts, &client)) {
        return Box::pin(refuse(flight, problem, by_policy.then_some(body), &parts.headers)).await;
    }
    let sent = Instant::now();
    let answer = if flight.facts.decision.sends_to_attested() {
        Box::pin(proved(&in_force, &mut flight, parts, body, &client)).await
    } else {
        match client.head(&app.upstream, parts) {
            Ok(head) => {
                // Before the wait: a client may leave during it.
                flight.forwarded(&app.upstream);
                app.upstream.send(head, body, sent).await
            }
            Err(error) => Err(error),
        }
    };
    // Where nobody was asked, as for a target that cannot be sent, nobody was waited for.
    if flight.was_forwarded() {
        flight.waited(sent.elapsed());
    }
    match answer {
        Err(error) => Box::pin(failed(flight, error)).await,
        Ok(answer) if let Some(wrong) = wrong_head(&answer, &client) => {
            Box::pin(broken(flight, wrong.to_owned())).await
        }
        Ok(answer) => match flight.opened_safely().await {
            Err(error) => {
                let problem = not_kept_problem(&error);
                let ending = Ending::Refused(problem.fault, problem.message.clone());
                Box::pin(ours(flight, &problem, ending)).await
            }
            Ok(()) if answer.status() == StatusCode::SWITCHING_PROTOCOLS => {
                upgrade::switch(flight, answer, client)
            }
            Ok(()) => respond(flight, answer, &client).await,
        },
    }
}

/// What of the client's request matters once its answer is there.
pub struct Client {
    method: Method,
    version: Version,
    tail: Tail,
    /// The protocol asked for, and the connection once it is the client's to speak it on.
    pub upgrade: Option<(HeaderValue, hyper::upgrade::OnUpgrade)>,
    /// RFC 8441: an extended CONNECT, which is a `GET` with `Upgrade` on the other side.
    pub extended: bool,
    /// Keeps an HTTP/2 connection from being taken for idle.
    pub stay: Option<Stay>,
}

impl Client {
    fn of(request: &mut Request<Incoming>) -> Client {
        let headers = request.headers();
        // Gateways set `TE` of their own accord; a comment is asked for by name.
        let tail = if headers.get(stamp::TAIL).is_some_and(|value| value == "comment") {
            Tail::Comment
        } else if head::has_token(headers, &header::TE, "trailers") {
            Tail::Trailers
        } else {
            Tail::None
        };
        let protocol = match request.extensions().get::<hyper::ext::Protocol>() {
            Some(protocol) => HeaderValue::from_str(protocol.as_str()).ok(),
            None => head::upgrade_asked(headers),
        };
        let protocol = protocol.filter(|protocol| !head::offers_h2(protocol));
        Client {
            method: request.method().clone(),
            version: request.version(),
            tail,
            extended: request.extensions().get::<hyper::ext::Protocol>().is_some(),
            stay: request.extensions_mut().remove(),
            upgrade: protocol.map(|protocol| (protocol, hyper::upgrade::on(request))),
        }
    }

    /// The head that the upstream gets.
    fn head(
        &self,
        upstream: &Upstream,
        parts: http::request::Parts,
    ) -> Result<http::request::Parts, ForwardError> {
        let mut head = upstream.head(parts)?;
        if let Some((protocol, _)) = &self.upgrade {
            upgrade::ask(&mut head, protocol, self.extended);
        }
        Ok(head)
    }
}

/// What is refused before anything is forwarded.
fn refusal(app: &App, parts: &http::request::Parts, client: &Client) -> Option<Problem> {
    let length = content_length(&parts.headers);
    if length.is_some_and(|length| length > app.limits.max_body_bytes) {
        return Some(request_problem(&RequestBodyError::TooLarge));
    }
    if !head::coding_known(&parts.headers) {
        return Some(Problem {
            status: StatusCode::NOT_IMPLEMENTED,
            fault: "client",
            code: "transfer_coding",
            message: "Of the transfer codings only chunked is served".into(),
            retry: false,
        });
    }
    // A tunnel to somewhere, or for a protocol that cannot be asked for. `Upgrade` beside it changes nothing (RFC 9110 section 7.8).
    let extended = client.extended && client.upgrade.is_some();
    (parts.method == Method::CONNECT && !extended).then(|| Problem {
        status: StatusCode::METHOD_NOT_ALLOWED,
        fault: "client",
        code: "method_not_allowed",
        message: "CONNECT is not served: this is a reverse proxy".into(),
        retry: false,
    })
}

/// Forwards without looking: only what is hop-by-hop, or claims to be ours, is touched.
async fn unseen(
    app: &Arc<App>,
    parts: http::request::Parts,
    body: RequestBody,
    client: Client,
    api: Api,
    now: Instant,
) -> Response<ResponseBody> {
    if let Some(problem) = refusal(app, &parts, &client) {
        return whole(problem.response(api));
    }
    let answer = match client.head(&app.upstream, parts) {
        Ok(head) => app.upstream.send(head, body, now).await,
        Err(error) => Err(error),
    };
    match answer {
        Err(error) => {
            let (problem, upstream) = forward_problem(&error);
            if upstream {
                app.upstream_failed(app.upstream.url(), None, &error.to_string());
            }
            whole(problem.response(api))
        }
        Ok(answer) if let Some(wrong) = wrong_head(&answer, &client) => {
            app.upstream_failed(app.upstream.url(), None, wrong);
            whole(bad_gateway(wrong.into()).response(api))
        }
        Ok(answer) if answer.status() == StatusCode::SWITCHING_PROTOCOLS => {
            upgrade::switch_unseen(app, answer, client)
        }
        Ok(answer) => {
            if api == Api::ModelChange && answer.status().is_success() {
                app.model.changed_by_api("that no record tells of");
            }
            let Framed { mut parts, body, close, .. } = frame(answer);
            parts.version = Version::HTTP_11;
            close_after(&mut parts.headers, close, &client);
            Response::from_parts(parts, ResponseBody::Passed(Passed::new(body, app.clone())))
        }
    }
}

/// An upstream's answer, fit for the client but for what this proxy adds.
struct Framed {
    parts: http::response::Parts,
    body: UpstreamBody,
    /// What the upstream may not say.
    stripped: Vec<Vec<u8>>,
    /// Its framing was ambiguous: no connection goes on after it.
    close: bool,
}

/// Makes an upstream's head fit for the client: framing first, then hop-by-hop headers, then claims that are not its
/// to make.
fn frame(answer: Answer) -> Framed {
    let close = is_ambiguous(answer.headers());
    let (mut parts, body) = answer.into_parts();
    if close {
        parts.headers.remove(header::CONTENT_LENGTH);
    } else if one_length(&parts.headers).is_none()
        && let Some(length) = content_length(&parts.headers)
    {
        // Identical repetitions collapse to one.
        parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    head::strip_hop_by_hop(&mut parts.headers);
    let stripped = head::strip_claims(&mut parts.headers);
    Framed { parts, body, stripped, close }
}

/// Ends the client's connection after this answer, where the protocol says so in a header.
fn close_after(headers: &mut HeaderMap, close: bool, client: &Client) {
    if close && client.version < Version::HTTP_2 {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
}

/// Sends a request to the first of the rule's servers that has proved itself. Nothing of it is read, let alone sent, before.
async fn proved(
    in_force: &PolicyInForce,
    flight: &mut InFlight,
    parts: http::request::Parts,
    body: RequestBody,
    client: &Client,
) -> Result<Answer, ForwardError> {
    let names = &flight.facts.decision.actions.upstreams;
    let (upstream, reserved) = in_force.upstreams.reserve(names, client.upgrade.is_some()).await?;
    let mut head = client.head(upstream, parts)?;
    flight.forwarded(upstream);
    // What it signs at a stream's end comes in trailers; a comment there would be in our own answer.
    if client.upgrade.is_none() {
        ask_for_trailers(&mut head.headers);
    }
    let sent = SentHead::of(&head);
    let answer = upstream.send_on(Some(reserved), head, body, Instant::now()).await?;
    let session = answer.extensions().get::<Arc<Session>>().cloned();
    flight.signed = session.clone().map(|session| {
        let mut signing = Signing::new(session, sent);
        signing.answered(answer.status().as_u16(), answer.headers());
        Box::new(signing)
    });
    flight.proved(session);
    Ok(answer)
}

/// Asks for trailers, whatever the client can read.
fn ask_for_trailers(headers: &mut HeaderMap) {
    headers.remove(stamp::TAIL);
    if !head::has_token(headers, &header::TE, "trailers") {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
        headers.append(header::CONNECTION, HeaderValue::from_static("te"));
    }
}

/// Releases an upstream's answer: held if its length is known and small, streamed otherwise.
async fn respond(mut flight: Box<InFlight>, answer: Answer, client: &Client) -> Response<ResponseBody> {
    let Framed { mut parts, body, mut stripped, close } = frame(answer);
    if flight.signed.is_some() && parts.headers.get(header::TRAILER) == Some(&stamp::TRAILER_NAMES) {
        // They are between that server and us.
        parts.headers.remove(header::TRAILER);
    }
    let app = flight.app().clone();
    let length = content_length(&parts.headers);
    let bodiless = client.method == Method::HEAD
        || parts.status == StatusCode::NO_CONTENT
        || parts.status == StatusCode::NOT_MODIFIED;
    let whole = bodiless || length.is_some_and(|length| length <= app.limits.buffer_limit);
    if whole && parts.headers.contains_key(stamp::CONTENT_DIGEST) {
        // Ours takes its place, over the same bytes.
        stripped.push(stamp::CONTENT_DIGEST.as_str().into());
    }
    flight.answered(&parts, stripped);
    // The upstream's version is on record now; hyper answers in the client's.
    parts.version = Version::HTTP_11;
    close_after(&mut parts.headers, close, client);
    if whole {
        let held = if bodiless { Ok((Bytes::new(), None)) } else { hold(&app, body, &mut flight).await };
        return match held {
            Err(reason) => Box::pin(broken(flight, reason)).await,
            Ok((bytes, mut trailers)) => {
                flight.drain_request(EARLY_DRAIN).await;
                flight.push_whole(&bytes);
                if let Some(trailers) = &mut trailers {
                    flight.trailed(trailers);
                }
                let ours = flight.signed.is_some();
                let trailers = trailers.filter(|trailers| !ours || !trailers.is_empty());
                release(flight, parts, bytes, trailers).await
            }
        };
    }
    let encoded = parts.headers.contains_key(header::CONTENT_ENCODING);
    let events = parts.headers.get(header::CONTENT_TYPE).is_some_and(is_event_stream);
    let tail = match client.tail {
        Tail::Trailers if length.is_none() && client.version >= Version::HTTP_11 => Tail::Trailers,
        Tail::Comment if length.is_none() && events && !encoded => Tail::Comment,
        _ => Tail::None,
    };
    flight.open_stream(&mut parts.headers, tail == Tail::Trailers);
    let observed = Observed::new(body, flight, tail, length, app.upstream_idle);
    Response::from_parts(parts, ResponseBody::Observed(Box::new(observed)))
}

/// What is wrong with an answer that is coded in a way nobody undoes, that changes the protocol when it should not, or
/// does not when it seems to.
fn wrong_head(answer: &Answer, client: &Client) -> Option<&'static str> {
    if !head::coding_known(answer.headers()) {
        return Some("its transfer coding is not chunked");
    }
    let status = answer.status();
    if status == StatusCode::SWITCHING_PROTOCOLS && client.upgrade.is_none() {
        return Some("it switched protocols unasked");
    }
    // To a client of HTTP/2 any 2xx means that the tunnel is open.
    (client.extended && status.is_success()).then_some("it did not switch protocols")
}

/// Reads a body to its end.
async fn hold(
    app: &App,
    mut body: UpstreamBody,
    flight: &mut InFlight,
) -> Result<(Bytes, Option<HeaderMap>), String> {
    let mut frames: Vec<Bytes> = Vec::with_capacity(1);
    let mut trailers = None;
    loop {
        // Most often it came with the head, and no time passes.
        let next = match body.frame().now_or_never() {
            Some(next) => Ok(next),
            None => {
                let begun = Instant::now();
                let next = Box::pin(tokio::time::timeout(app.upstream_idle, body.frame())).await;
                flight.waited(begun.elapsed());
                next
            }
        };
        match next {
            Err(_) => return Err(format!("no byte of the body for {:?}", app.upstream_idle)),
            Ok(Some(Err(error))) => return Err(crate::forward::chain(&error)),
            Ok(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) => frames.push(data),
                Err(frame) => trailers = frame.into_trailers().ok(),
            },
            Ok(None) => break,
        }
    }
    let body = if frames.len() == 1 { frames.swap_remove(0) } else { frames.concat().into() };
    Ok((body, trailers))
}

async fn release(
    mut flight: Box<InFlight>,
    mut parts: http::response::Parts,
    body: Bytes,
    trailers: Option<HeaderMap>,
) -> Response<ResponseBody> {
    let ending = trailers.as_ref().map_or(Ending::Complete, Ending::Trailers);
    match flight.release_whole(&mut parts.headers, &ending).await {
        Ok(()) => Response::from_parts(parts, ResponseBody::whole_with(body, trailers)),
        Err(error) => Box::pin(unrecorded(flight, error)).await,
    }
}

/// Answers in the upstream's place. The answer is recorded and stamped like any other.
async fn ours(mut flight: Box<InFlight>, problem: &Problem, ending: Ending<'_>) -> Response<ResponseBody> {
    match recorded(&mut flight, problem, &ending).await {
        Ok(response) => response,
        Err(error) => unrecorded(flight, error).await,
    }
}

async fn recorded(
    flight: &mut InFlight,
    problem: &Problem,
    ending: &Ending<'_>,
) -> Result<Response<ResponseBody>, NotKept> {
    let (mut parts, body) = problem.response(flight.facts.route.api).into_parts();
    flight.answered_by_us(&parts);
    flight.push_whole(&body);
    flight.release_whole(&mut parts.headers, ending).await?;
    Ok(Response::from_parts(parts, ResponseBody::whole(body)))
}

/// The record of an answer could not be kept safely: a refusal is released, with a record in memory if that can be.
async fn unrecorded(mut flight: Box<InFlight>, error: NotKept) -> Response<ResponseBody> {
    let problem = not_kept_problem(&error);
    let ending = Ending::Refused(problem.fault, problem.message.clone());
    if flight.is_open()
        && let Ok(refused) = recorded(&mut flight, &problem, &ending).await
    {
        return refused;
    }
    whole(problem.response(flight.facts.route.api))
}

/// Answers a request that goes nowhere. A refusal by the policy waits a moment for the rest of the request: most often it
/// is there, and then the record covers all of it and can be signed. Whoever waits for a `100 Continue` has not sent it.
async fn refuse(
    mut flight: Box<InFlight>,
    problem: Problem,
    body: Option<RequestBody>,
    headers: &HeaderMap,
) -> Response<ResponseBody> {
    if let Some(body) = body.filter(|_| !head::has_token(headers, &header::EXPECT, "100-continue")) {
        drop(body);
        flight.drain_request(EARLY_DRAIN).await;
    }
    let ending = Ending::Refused(problem.fault, problem.message.clone());
    ours(flight, &problem, ending).await
}

async fn failed(mut flight: Box<InFlight>, error: ForwardError) -> Response<ResponseBody> {
    let (problem, upstream) = forward_problem(&error);
    if upstream {
        flight.drain_request(FAILED_DRAIN).await;
    }
    let ending = match upstream {
        true => Ending::UpstreamFailed(error.to_string()),
        // Nobody is there to be refused.
        false if matches!(error, ForwardError::Request(RequestBodyError::Left)) => Ending::Cancelled,
        false => {
            // A refusal's record covers what of the request is on its way already.
            flight.drain_request(EARLY_DRAIN).await;
            Ending::Refused(problem.fault, error.to_string())
        }
    };
    ours(flight, &problem, ending).await
}

async fn broken(flight: Box<InFlight>, reason: String) -> Response<ResponseBody> {
    let problem = bad_gateway(format!("the upstream's answer broke off: {reason}"));
    ours(flight, &problem, Ending::UpstreamFailed(reason)).await
}

fn not_kept_problem(error: &NotKept) -> Problem {
    tracing::error!(%error, "answered 503: the rule says Fail");
    Problem {
        status: StatusCode::SERVICE_UNAVAILABLE,
        fault: "proxy",
        code: "record_not_kept",
        message: "No record of this exchange can be kept, and the policy forbids an answer without one"
            .into(),
        retry: false,
    }
}

fn whole(response: Response<Bytes>) -> Response<ResponseBody> {
    response.map(ResponseBody::whole)
}

fn bad_gateway(message: String) -> Problem {
    Problem { status: StatusCode::BAD_GATEWAY, fault: "upstream", code: "bad_gateway", message, retry: true }
}

/// What to answer when there is nothing to forward, and whether that is the upstream's fault.
fn forward_problem(error: &ForwardError) -> (Problem, bool) {
    match error {
        ForwardError::Connect(_) => (bad_gateway("The model server cannot be reached".into()), true),
        ForwardError::Upstream(_) => {
            (bad_gateway("The model server broke off before its answer".into()), true)
        }
        ForwardError::Timeout(after) => (
            Problem {
                status: StatusCode::GATEWAY_TIMEOUT,
                fault: "upstream",
                code: "gateway_timeout",
                message: format!("The model server sent no answer within {after:?}"),
                retry: true,
            },
            true,
        ),
        ForwardError::Unattested(_) => (
            Problem {
                status: StatusCode::SERVICE_UNAVAILABLE,
                fault: "upstream",
                code: "upstream_not_attested",
                message: "The policy asks for a model server that proves what it runs, and none has: nothing was sent to it"
                    .into(),
                retry: true,
            },
            false,
        ),
        ForwardError::Request(error) => (request_problem(error), false),
        ForwardError::Hosts | ForwardError::UserInfo | ForwardError::Target(_) => (
            Problem {
                status: StatusCode::BAD_REQUEST,
                fault: "client",
                code: "bad_target",
                message: "This request target cannot be forwarded".into(),
                retry: false,
            },
            false,
        ),
    }
}

fn request_problem(error: &RequestBodyError) -> Problem {
    let (status, code) = match error {
        RequestBodyError::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large"),
        RequestBodyError::Slow => (StatusCode::REQUEST_TIMEOUT, "request_timeout"),
        RequestBodyError::Malformed(_) | RequestBodyError::Left => (StatusCode::BAD_REQUEST, "bad_body"),
    };
    Problem { status, fault: "client", code, message: error.to_string(), retry: false }
}

/// The length that a head promises, if all its `Content-Length` lines say the same.
pub fn content_length(headers: &HeaderMap) -> Option<u64> {
    if let Some(length) = one_length(headers) {
        return Some(length);
    }
    let mut lengths = headers
        .get_all(header::CONTENT_LENGTH)
        .iter()
        .flat_map(|value| value.to_str().unwrap_or("?").split(','))
        .map(|value| value.trim().parse::<u64>().ok());
    let first = lengths.next()??;
    lengths.all(|length| length == Some(first)).then_some(first)
}

/// The same, where it stands there once and as a plain number, as it does in most heads.
fn one_length(headers: &HeaderMap) -> Option<u64> {
    let mut lines = headers.get_all(header::CONTENT_LENGTH).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else { return None };
    if line.is_empty() {
        return None;
    }
    line.as_bytes().iter().try_fold(0u64, |length, digit| {
        let digit = digit.checked_sub(b'0').filter(|digit| *digit < 10)?;
        length.checked_mul(10)?.checked_add(digit.into())
    })
}
