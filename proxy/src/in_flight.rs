//! An exchange between its `OPEN` and its `DONE`: what is known of it, and the one way it ends.

mod record;

use crate::app::App;
use crate::facts::{Facts, MAX_VALUE, detach};
use crate::head;
use crate::model::identity::Bound;
use crate::observe::ResponseSeen;
use crate::request_body::{self, SharedRequest};
use crate::stamp::{self, Closing, LogValue, Stamp, Timing};
use crate::telemetry::{Ended, Told};
use crate::upstream::attested::Session;
use crate::upstream::signed::{Signing, forget_trailers};
use colophon_ledger::{Done, Durability, Finishing, Open, Ticket, Unfinished, WalError};
use colophon_policies::{Api, FailurePolicy};
use colophon_reading::{RequestMeaning, ResponseMeaning};
use colophon_receipt::fields::{BodyDigest, Upgrade};
use colophon_receipt::record::{FieldSet, seal_sampled};
use colophon_receipt::{Hash, Level, Outcome};
use colophon_signer::httpsig::KeptSignature;
use http::Version;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use record::EMPTY_BODY;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

/// Most bytes read of a request that nobody forwards.
const MAX_DRAIN: u64 = 1 << 20;

/// How a response ended. Closed: a body ends in one of these ways, and being dropped is one of them.
pub enum Ending<'a> {
    /// The upstream's whole answer was, or is about to be, released.
    Complete,
    /// The same, with trailers.
    Trailers(&'a HeaderMap),
    /// The upstream failed.
    UpstreamFailed(String),
    /// The proxy answers in the upstream's place: whose fault, and why.
    Refused(&'static str, String),
    /// The client left.
    Cancelled,
    /// The proxy was stopped before the answer had ended: neither side's doing.
    Stopped,
}

/// The upstream's head, kept for the record.
#[derive(Default)]
pub struct SavedHead {
    status: u16,
    content_type: Option<HeaderValue>,
    content_encoding: Option<HeaderValue>,
    headers: Option<Hash>,
    stripped: Vec<Vec<u8>>,
    version: Option<Version>,
}

/// An exchange that has begun and not yet ended. Dropping it ends it: the client left, or the proxy was stopped.
pub struct InFlight {
    app: Arc<App>,
    /// What is known of it.
    pub facts: Facts,
    /// The fields that `OPEN` has; those that the end does not change are taken from here.
    opened: FieldSet,
    ticket: Option<Ticket>,
    /// Why there is no `OPEN`, until somebody asks.
    unopened: Option<WalError>,
    degraded: bool,
    request: SharedRequest,
    response: Option<ResponseSeen>,
    head: Option<SavedHead>,
    /// In a box: few exchanges have it, and all would have room for it.
    upgraded: Option<Box<Upgraded>>,
    level: Level,
    why_lowered: Option<&'static str>,
    first_byte: Option<u64>,
    /// Where it was sent.
    forwarded: Option<Arc<str>>,
    /// What the server there had proved, where it has to.
    proof: Option<Arc<Session>>,
    /// What it signs of request and answer.
    pub signed: Option<Box<Signing>>,
    /// The model certificate in force when the request went on.
    certified: Option<Arc<Bound>>,
    signatures: Vec<KeptSignature>,
    /// `Colophon-Log` as it stands in this answer's head.
    log: Arc<LogValue>,
    /// Time spent waiting for the upstream.
    waited: Duration,
    /// Whether its bodies are kept for a proof.
    keeping: bool,
    /// Time spent waiting for the rest of the request, while nothing else could be done.
    waited_for_client: Duration,
}

/// A connection that went on with another protocol, and has ended.
struct Upgraded {
    upgrade: Upgrade<'static>,
    /// What the two sides said, where that was read.
    said: Option<(RequestMeaning, ResponseMeaning)>,
}

/// A stream that has ended.
pub struct Closed {
    /// What its end says.
    pub closing: Closing,
    /// What has to be waited for before the end is released; dropped, it finishes all the same.
    pub finishing: Option<Finishing>,
}

/// The record could not be kept, and the rule says that then nothing is released.
#[derive(Debug, thiserror::Error)]
#[error("the record could not be kept: {0}")]
pub struct NotKept(String);

impl InFlight {
    /// Accepts the exchange. Nothing of it may be forwarded before [`opened`](InFlight::opened).
    pub fn begin(app: Arc<App>, mut facts: Facts, request: SharedRequest) -> Box<InFlight> {
        let opened = facts.open_fields();
        let open = Open {
            id: facts.id,
            received_at: facts.received_at,
            level: facts.decision.level,
            fields: &opened,
            tenant: facts.tenant.as_deref().map(str::as_bytes),
            rule: Some(&facts.decision.rule),
        };
        let (ticket, unopened) = match app.ledger.begin(&open) {
            Ok(ticket) => (ticket, None),
            Err(error) => (app.ledger.begin_degraded(&open), Some(error)),
        };
        // Another shard may have taken over since the facts were gathered; the ticket's is the one that signs.
        facts.shard = ticket.shard().clone();
        let log = app.log_value();
        let signing = facts.decision.level >= Level::Sign;
        let why_lowered = match () {
            () if signing && !facts.signable() => {
                Some("the request target has bytes that a signature cannot cover")
            }
            // A signature covers the log's newest head.
            () if signing && log.header.is_empty() => Some("no head of the log is known yet"),
            () => None,
        };
        let level = if why_lowered.is_none() { facts.decision.level } else { Level::Commit };
        let proving = app.proving.as_ref().filter(|proving| proving.keeps_bodies());
        let keeping = proving.is_some_and(|proving| proving.needs_bodies(&facts));
        if proving.is_some() && !keeping {
            request.lock().unwrap_or_else(PoisonError::into_inner).keep_no_longer();
        }
        Box::new(InFlight {
            log,
            app,
            ticket: Some(ticket),
            unopened,
            degraded: false,
            request,
            response: None,
            head: None,
            upgraded: None,
            level,
            why_lowered,
            first_byte: None,
            forwarded: None,
            proof: None,
            signed: None,
            certified: None,
            signatures: Vec::new(),
            waited: Duration::ZERO,
            keeping,
            waited_for_client: Duration::ZERO,
            opened,
            facts,
        })
    }

    /// Waits until `OPEN` is written. With an error the rule says `Fail` and the ledger cannot keep a record now: refuse
    /// the exchange. The refusal is kept in memory and counted as degraded, so that it is not left out.
    pub async fn opened(&mut self) -> Result<(), NotKept> {
        let error = match (self.unopened.take(), &mut self.ticket) {
            (None, Some(ticket)) => self.app.ledger.opened(ticket).await.err(),
            (error, _) => error,
        };
        self.opened_or(error)
    }

    /// Waits until what of the answer is released now has a record that is as durable as was promised, as far as that
    /// differs from [`opened`](InFlight::opened): with `--durability power` and `node`.
    pub async fn opened_safely(&mut self) -> Result<(), NotKept> {
        let Some(ticket) = &mut self.ticket else { return Ok(()) };
        let error = self.app.ledger.opened_safely(ticket).await.err();
        self.opened_or(error)
    }

    fn opened_or(&mut self, error: Option<WalError>) -> Result<(), NotKept> {
        let Some(error) = error else { return Ok(()) };
        self.degraded = true;
        self.count_degraded(&error);
        match self.facts.decision.failure_policy {
            FailurePolicy::Fail => Err(NotKept(error.to_string())),
            FailurePolicy::Ignore => Ok(()),
        }
    }

    /// Lets the exchange go on without a record, if a bypass is in force and its rule asks for no more than a signature:
    /// then nothing of it is left to do here. To be asked before anything is forwarded.
    pub fn bypass(&mut self) -> bool {
        let Some(ticket) = self.ticket.as_mut().filter(|_| self.facts.bypassable()) else { return false };
        let bypassed = ticket.bypass();
        if bypassed {
            self.ticket = None;
        }
        bypassed
    }

    /// The process that this exchange belongs to.
    pub fn app(&self) -> &Arc<App> {
        &self.app
    }

    /// Notes that the request goes on.
    pub fn forwarded(&mut self, upstream: &crate::forward::Upstream) {
        self.forwarded = Some(upstream.url().clone());
        // The certificate is of the model of `--upstream`; what a policy's other upstreams run, nobody said.
        if self.facts.route.generating && upstream.url() == self.app.upstream.url() {
            self.certified = self.app.model.now();
        }
    }

    /// Whether the request went on, or was about to when the way there failed.
    pub fn was_forwarded(&self) -> bool {
        self.forwarded.is_some()
    }

    /// What the server that answers has proved on the connection.
    pub fn proved(&mut self, session: Option<Arc<Session>>) {
        if let Some(document) = session.as_ref().and_then(|session| session.take_document()) {
            // Beside the answer: its receipt is asked for later.
            let app = self.app.clone();
            self.app.tasks.spawn(async move {
                if let Err(error) = app.ledger.keep_attested(document).await {
                    tracing::error!(%error, "an upstream's evidence is not kept: receipts go without it");
                }
            });
        }
        self.proof = session;
    }

    /// Takes note of the upstream's head: before anything is added to it.
    pub fn answered(&mut self, parts: &http::response::Parts, stripped: Vec<Vec<u8>>) {
        let get = |name: HeaderName| parts.headers.get(name).cloned();
        let head = SavedHead {
            status: parts.status.as_u16(),
            content_type: get(header::CONTENT_TYPE),
            content_encoding: get(header::CONTENT_ENCODING),
            headers: Some(head::digest(&parts.headers)),
            stripped,
            version: Some(parts.version),
        };
        // What is longer than a record keeps could not be compared with it.
        let coverable = |value: &Option<HeaderValue>| {
            value.as_ref().is_none_or(|v| v.len() <= MAX_VALUE && stamp::coverable(v.as_bytes()))
        };
        // RFC 9421 joins the lines of one name, a record keeps the first.
        let single = |name| parts.headers.get_all(name).iter().count() <= 1;
        let single = single(header::CONTENT_TYPE) && single(header::CONTENT_ENCODING);
        let coverable = single && coverable(&head.content_type) && coverable(&head.content_encoding);
        if self.level >= Level::Sign && !coverable {
            self.lower("the response head has values that a signature cannot cover");
        }
        let seen = ResponseSeen::new(self.facts.route.api, head.status, &parts.headers);
        let seen = if self.app.limits.message_digests { seen.digesting() } else { seen };
        self.response = Some(if self.keeping { seen.keeping() } else { seen });
        self.head = Some(head);
    }

    /// The head of an answer of our own.
    pub fn answered_by_us(&mut self, parts: &http::response::Parts) {
        self.answered(parts, Vec::new());
        if self.level > Level::Sign {
            self.level = Level::Sign;
            self.why_lowered = Some("the answer is this proxy's own");
        }
        if let Some(head) = &mut self.head {
            // The digest of the upstream's headers is just that.
            head.headers = None;
            head.version = None;
        }
    }

    fn lower(&mut self, why: &'static str) {
        self.level = Level::Commit;
        self.why_lowered = Some(why);
    }

    /// Reads the rest of a request that nobody forwards, within bounds.
    pub async fn drain_request(&mut self, time: Duration) {
        if self.request_digest().is_none() {
            let begun = Instant::now();
            request_body::drain(&self.request, self.app.limits.max_body_bytes.min(MAX_DRAIN), time).await;
            self.waited_for_client += begun.elapsed();
        }
    }

    /// Takes note of the upstream's trailers, and removes from them what it says in our name.
    pub fn trailed(&mut self, trailers: &mut HeaderMap) {
        if let Some(signed) = &mut self.signed {
            signed.ended(trailers);
            forget_trailers(trailers);
        }
        let names = head::strip_claims(trailers);
        if let Some(head) = &mut self.head {
            head.stripped.extend(names);
        }
    }

    /// Body bytes that are about to be released.
    pub fn push(&mut self, bytes: &[u8]) {
        self.begun();
        if let Some(response) = &mut self.response {
            response.push(bytes);
        }
    }

    /// The whole body of an answer that is held.
    pub fn push_whole(&mut self, bytes: &[u8]) {
        self.begun();
        if let Some(response) = &mut self.response {
            response.push_last(bytes);
        }
    }

    fn begun(&mut self) {
        if self.first_byte.is_none() {
            self.first_byte = Some(self.app.ledger.now());
        }
    }

    /// What went over an upgraded connection, and what the two sides said there.
    pub fn upgraded(&mut self, upgrade: Upgrade<'static>, said: Option<(RequestMeaning, ResponseMeaning)>) {
        self.upgraded = Some(Box::new(Upgraded { upgrade, said }));
    }

    /// Stamps a stream's head.
    pub fn open_stream(&mut self, headers: &mut HeaderMap, trailers: bool) {
        self.facts.detach();
        if let Some(head) = &mut self.head {
            detach(&mut head.content_type);
            detach(&mut head.content_encoding);
        }
        if self.level >= Level::Sign && self.request_digest().is_none() {
            self.lower("the answer began before the request was complete");
        }
        let signature = self.stamp(|stamp| stamp.opening(headers, trailers));
        // Its end is signed, too.
        self.keep(signature, 2);
        self.timing(headers);
    }

    /// Makes the record of an answer that is held, stamps its head and writes `DONE`.
    ///
    /// # Errors
    /// The record could not be kept, and the rule says `Fail`. If the exchange is still [open](InFlight::is_open), the answer in
    /// this one's place can have a record in memory.
    pub async fn release_whole(
        &mut self,
        headers: &mut HeaderMap,
        ending: &Ending<'_>,
    ) -> Result<(), NotKept> {
        if self.level >= Level::Sign && self.request_digest().is_none() {
            self.lower("the answer came before the request was complete");
        }
        let Some(sealed) = self.seal(ending)? else { return Ok(()) };
        let signature = self.stamp(|stamp| stamp.whole(headers, &sealed.body, &sealed.record.leaf_hash));
        self.keep(signature, 1);
        let Some((ticket, done, ended)) = self.done(sealed) else { return Ok(()) };
        let kept = match self.app.ledger.finishing(ticket, done) {
            Ok(finishing) => finishing.written().await,
            Err(unfinished) => Err(unfinished),
        };
        // The wait for the record is this proxy's own time.
        self.timing(headers);
        match kept {
            Err(unfinished) if self.forbids() => {
                let Unfinished { error, mut ticket, .. } = *unfinished;
                self.count_degraded(&error);
                ticket.degrade();
                (self.ticket, self.degraded) = (Some(ticket), true);
                self.forget_bodies();
                Err(NotKept(error.to_string()))
            }
            kept => {
                self.tell(ended);
                kept.or_else(|unfinished| self.unfinished(*unfinished))
            }
        }
    }

    /// Whether its record is still to be made.
    pub fn is_open(&self) -> bool {
        self.ticket.is_some()
    }

    /// Makes the record of a stream that has ended and writes `DONE`. `None` if it had ended before.
    pub fn close_stream(&mut self, ending: Ending<'_>) -> Result<Option<Closed>, NotKept> {
        let Some(sealed) = self.seal(&ending)? else { return Ok(None) };
        let mut closing = self.stamp(|stamp| stamp.closing(&sealed.body, &sealed.record.leaf_hash));
        self.keep(closing.signature.take(), 1);
        let Some((ticket, done, ended)) = self.done(sealed) else { return Ok(None) };
        self.tell(ended);
        let ledger = &self.app.ledger;
        let finishing = match ledger.durability() {
            // A write(2), and nothing to wait for but one of another thread.
            Durability::Process => ledger.finishing(ticket, done).and_then(Finishing::now_or_later),
            Durability::Power | Durability::Node => ledger.finishing(ticket, done).map(Some),
        };
        let finishing = finishing.or_else(|unfinished| self.unfinished(*unfinished).map(|()| None))?;
        Ok(Some(Closed { closing, finishing }))
    }

    /// Whether the API's own terminator was released.
    pub fn terminated(&self) -> bool {
        self.response.as_ref().is_some_and(ResponseSeen::terminated)
    }

    fn timing(&self, headers: &mut HeaderMap) {
        let (upstream, client) = (self.waited, self.waited_for_client);
        let own = self.facts.started.elapsed().saturating_sub(upstream + client);
        Timing { own, upstream, client }.tell(headers);
    }

    /// Adds to the time that was the upstream's.
    pub fn waited(&mut self, time: Duration) {
        self.waited += time;
    }

    /// Adds to the time that was the client's: it had not sent what had to be read first.
    pub fn waited_for_client(&mut self, time: Duration) {
        self.waited_for_client += time;
    }

    fn request_digest(&self) -> Option<BodyDigest> {
        let request = self.request.lock().unwrap_or_else(PoisonError::into_inner);
        request.complete().then(|| request.digest())
    }

    /// Keeps a signature for the receipt, with room for `most` from now on: it is in memory until the record's batch closes.
    fn keep(&mut self, signature: Option<KeptSignature>, most: usize) {
        if let Some(signature) = signature {
            self.signatures.reserve_exact(most);
            self.signatures.push(signature);
        }
    }

    fn stamp<T>(&self, with: impl FnOnce(&Stamp<'_>) -> T) -> T {
        fn text(value: &Option<HeaderValue>) -> Option<&str> {
            value.as_ref().and_then(|value| value.to_str().ok()).map(str::trim)
        }
        let (status, content_type, content_encoding) = match &self.head {
            Some(head) => (head.status, text(&head.content_type), text(&head.content_encoding)),
            None => (0, None, None),
        };
        with(&Stamp {
            app: &self.app,
            facts: &self.facts,
            status,
            content_type,
            content_encoding,
            request: self.request_digest(),
            level: self.level,
            log: &self.log,
        })
    }

    fn seal(&mut self, ending: &Ending<'_>) -> Result<Option<Sealed>, NotKept> {
        let Some(ticket) = &mut self.ticket else { return Ok(None) };
        if let Ending::UpstreamFailed(reason) = ending {
            let upstream = self.forwarded.as_ref().unwrap_or(self.app.upstream.url());
            self.app.upstream_failed(upstream, Some(&self.facts.id_text), reason);
        }
        let completed = self.app.ledger.stamp(ticket);
        let seed = self.app.ledger.new_seed().map_err(|error| NotKept(error.to_string()))?;
        // Before the fields: reading what the response said ends its reader.
        let outcome = self.outcome(ending);
        let body = self.response.as_ref().map_or(EMPTY_BODY, ResponseSeen::digest);
        let (set, told) = self.fields(ending, completed, &body);
        let draw = self.facts.sampled.leaf;
        let record = seal_sampled(self.facts.id, completed, self.level, outcome, seed, set, draw);
        Ok(Some(Sealed { record, body, outcome, completed, told }))
    }

    fn outcome(&self, ending: &Ending<'_>) -> Outcome {
        let status = self.head.as_ref().map_or(0, |head| head.status);
        match ending {
            Ending::Refused(..) => Outcome::Refused,
            Ending::UpstreamFailed(_) => Outcome::UpstreamFailed,
            Ending::Cancelled if !self.terminated() => Outcome::ClientAborted,
            // Of the two sides the server's is the operator's, as the proxy is.
            Ending::Stopped if !self.terminated() => Outcome::UpstreamFailed,
            _ if status >= 400 => Outcome::UpstreamError,
            _ => Outcome::Complete,
        }
    }

    /// What the ledger is given, and what there is to [tell](InFlight::tell) of it. The exchange has ended with this.
    fn done(&mut self, sealed: Sealed) -> Option<(Ticket, Done, ToTell)> {
        let ticket = self.ticket.take()?;
        let signatures = std::mem::take(&mut self.signatures);
        let Sealed { record, outcome, completed, told, .. } = sealed;
        if self.keeping && outcome == Outcome::Complete {
            self.keep_bodies();
        }
        if outcome == Outcome::Complete && self.facts.route.api == Api::ModelChange {
            self.app.model.changed_by_api(&self.facts.route.operation);
        }
        let done = Done { record, signatures, refused: outcome == Outcome::Refused };
        Some((ticket, done, ToTell { outcome, completed, told }))
    }

    /// Counts the exchange and tells of it.
    fn tell(&self, ended: ToTell) {
        let ToTell { outcome, completed, told } = ended;
        let (app, facts) = (&self.app, &self.facts);
        app.metrics.finished(facts.decision.due, self.level, outcome);
        let ended = Ended {
            api: facts.route.api,
            outcome,
            received_at: facts.received_at,
            first_byte: self.first_byte,
            completed,
            told: &told,
        };
        app.metrics.gen_ai.ended(&ended);
        // Off unless `--log` names it: a line an exchange costs more than the exchange.
        tracing::debug!(
            target: "colophon::ended",
            record = facts.id_text,
            level = self.level.as_str(),
            outcome = outcome.as_str(),
            rule = %facts.decision.rule,
            status = self.head.as_ref().map_or(0, |head| head.status),
            "an exchange ended"
        );
        if let Some(traces) = &app.traces {
            traces.ended(facts, self.level, self.head.as_ref().map_or(0, |head| head.status), &ended);
        }
    }

    /// Hands the bodies to whoever makes a job of them once the record is logged.
    fn keep_bodies(&mut self) {
        let request = self.request.lock().unwrap_or_else(PoisonError::into_inner).kept();
        let response = self.response.as_mut().and_then(ResponseSeen::kept);
        if let (Some(proving), Some(request), Some(response)) = (&self.app.proving, request, response) {
            proving.keep_bodies(self.facts.id, request, response);
        }
    }

    /// `DONE` of a stream could not be written: the rule says whether its end may be released with a record in memory only.
    ///
    /// # Errors
    /// It may not, or there is none in memory either. What was released has one all the same, where that can be: it says that the
    /// proxy broke off.
    pub fn unfinished(&self, unfinished: Unfinished) -> Result<(), NotKept> {
        let Unfinished { error, ticket, done } = unfinished;
        let forbidden = self.forbids();
        let done = if forbidden { self.cut(done, &error) } else { done };
        self.count_degraded(&error);
        let kept = self.app.ledger.finish_degraded(ticket, done);
        let kept = kept.map_err(|unfinished| NotKept(unfinished.error.to_string()));
        let kept = kept.and_then(|()| if forbidden { Err(NotKept(error.to_string())) } else { Ok(()) });
        if kept.is_err() {
            self.forget_bodies();
        }
        kept
    }

    fn count_degraded(&self, error: &WalError) {
        self.app.metrics.degraded.inc();
        tracing::warn!(%error, record = self.facts.id_text, "no WAL frame for this exchange: it counts as degraded");
    }

    /// Whether nothing may be released of which there is a record in memory only. What is there already goes out under a bypass: a
    /// record in memory is better than none.
    fn forbids(&self) -> bool {
        let fail = self.facts.decision.failure_policy == FailurePolicy::Fail;
        fail && !(self.facts.bypassable() && self.app.ledger.bypassing().is_some())
    }

    /// Of what was not released nothing is proven.
    fn forget_bodies(&self) {
        if let Some(proving) = &self.app.proving {
            proving.forget_bodies(&self.facts.id);
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if self.ticket.is_none() {
            return;
        }
        let stopped = self.app.kill.is_cancelled();
        let ending = if stopped { Ending::Stopped } else { Ending::Cancelled };
        if let Err(error) = self.close_stream(ending) {
            tracing::error!(%error, record = self.facts.id_text, "the record of an aborted exchange is lost");
        }
    }
}

struct Sealed {
    record: colophon_receipt::record::Record,
    body: BodyDigest,
    outcome: Outcome,
    /// µs.
    completed: u64,
    told: Told,
}

/// What metrics, traces and the program's log hear of an exchange that has ended.
struct ToTell {
    outcome: Outcome,
    /// µs.
    completed: u64,
    told: Told,
}

/// Whether a content type is that of server-sent events.
pub fn is_event_stream(value: &HeaderValue) -> bool {
    value.as_bytes().get(..17).is_some_and(|start| start.eq_ignore_ascii_case(b"text/event-stream"))
}
