//! Connections to a server that has to prove itself: evidence is asked for on the connection itself, with a fresh nonce, and
//! has to name that very connection, before anything else is written to it.

use super::h1::Connection;
use super::h2::Sender;
use super::pool::Pool;
use super::{Io, NoAnswer, UpstreamBody};
use crate::attestation::read_collateral;
use crate::forward::chain;
use crate::metrics::UpstreamEvidence;
use crate::model::vouched::Vouched;
use crate::request_body::RequestBody;
use bytes::Bytes;
use colophon_attest::document::MAX_BYTES;
use colophon_attest::told::Known;
use colophon_attest::{
    Collateral, Document, Policy, Question, Refusal, SimulatedRoots, Source, Speaks, Told,
};
use colophon_receipt::Hash;
use colophon_receipt::merkle::sha256;
use colophon_signer::x509::Certificate;
use http::header::{self, HeaderValue};
use http::uri::Authority;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper_rustls::MaybeHttpsStream;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Label and length of RFC 9266's `tls-exporter`.
pub(crate) const EXPORTER: &[u8] = b"EXPORTER-Channel-Binding";

/// What a server has to prove.
pub(crate) struct Demand {
    /// Its name in the policy.
    pub(crate) name: Arc<str>,
    pub(crate) authority: Authority,
    pub(crate) policy: Policy,
    /// The model certificate that this stands in.
    pub(crate) vouched: Option<Vouched>,
    /// Roots of simulations that count, for tests.
    pub(crate) simulated: Option<Arc<SimulatedRoots>>,
    /// Collateral for evidence that comes without; read each time, since it goes stale.
    pub(crate) collateral: Option<PathBuf>,
    /// How long evidence counts.
    pub(crate) lease: Duration,
    /// Longest wait for evidence, its verification included.
    pub(crate) timeout: Duration,
    /// Where it is counted what came of it.
    pub(crate) evidence: UpstreamEvidence,
}

/// The other end of one TLS connection.
#[derive(Clone)]
pub(crate) struct Identity {
    exporter: [u8; 32],
    spki: Hash,
    /// The server's certificate, DER.
    certificate: Bytes,
}

/// A connection whose evidence was verified, and until when that counts.
#[derive(Debug)]
pub struct Session {
    /// The upstream, as the policy names it.
    pub name: Arc<str>,
    /// `exporter` or `spki`: what of the connection the evidence names.
    pub bound: &'static str,
    /// SHA-256 of the document that was verified.
    pub evidence: Hash,
    /// When, µs since the epoch.
    pub verified_at: u64,
    /// How it is known.
    pub source: Source,
    /// Ed25519 keys that live there, and sign records.
    pub(crate) keys: Vec<[u8; 32]>,
    /// The document, until somebody takes it to keep it.
    document: Mutex<Option<Bytes>>,
    good_until: Instant,
    renew_at: Instant,
}

impl Session {
    /// The document that was verified, for whoever asks first.
    pub(crate) fn take_document(&self) -> Option<Bytes> {
        self.document.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Of a server that has proved these keys, for tests.
    #[cfg(test)]
    pub(crate) fn of_keys(keys: Vec<[u8; 32]>) -> Session {
        let now = Instant::now();
        Session {
            name: "test".into(),
            bound: "exporter",
            evidence: [0; 32],
            verified_at: 0,
            source: Source::OperatorAsserted,
            keys,
            document: Mutex::new(None),
            good_until: now,
            renew_at: now,
        }
    }

    pub(super) fn is_good(&self, now: Instant) -> bool {
        now < self.good_until
    }

    pub(super) fn renew_at(&self) -> Instant {
        self.renew_at
    }
}

/// A connection on which the server has proved itself.
#[derive(Clone)]
pub(super) struct Proven {
    pub(super) session: Arc<Session>,
    pub(super) identity: Identity,
}

impl Identity {
    /// Of a connection over TLS 1.3; of any other there is none.
    pub(super) fn of(io: &Io) -> Result<Identity, String> {
        let MaybeHttpsStream::Https(stream) = io else {
            return Err("the connection is not encrypted".into());
        };
        let session = stream.inner().get_ref().1;
        if session.protocol_version() != Some(rustls::ProtocolVersion::TLSv1_3) {
            return Err("the connection is not TLS 1.3".into());
        }
        let shown = session.peer_certificates().and_then(|chain| chain.first());
        let spki = shown.and_then(|certificate| spki_sha256(certificate));
        let exporter = session.export_keying_material([0; 32], EXPORTER, Some(&[]));
        match (spki, exporter) {
            (Some(spki), Ok(exporter)) => {
                let certificate = shown.map(|der| Bytes::copy_from_slice(der)).unwrap_or_default();
                Ok(Identity { exporter, spki, certificate })
            }
            _ => Err("its certificate cannot be read".into()),
        }
    }
}

/// SHA-256 of a certificate's SubjectPublicKeyInfo.
pub(crate) fn spki_sha256(der: &[u8]) -> Option<Hash> {
    Some(sha256(Certificate::parse(der).ok()?.spki()))
}

impl Demand {
    /// Has the server of an HTTP/1.1 connection prove itself. Nothing else has been sent on it since the last time.
    pub(super) async fn prove_h1(
        self: &Arc<Self>,
        connection: Box<Connection>,
        identity: Identity,
        pool: &Pool,
    ) -> Result<Box<Connection>, NoAnswer> {
        let (asked_at, nonce) = (Instant::now(), nonce()?);
        let deadline = asked_at + self.timeout;
        let again = connection.proven.is_some();
        let Some(question) = self.question(&nonce, None)? else {
            let mut connection = connection;
            let said = identity.certificate.clone();
            connection.proven = Some(self.judge(said, (nonce, asked_at), identity, deadline, again).await?);
            return Ok(connection);
        };
        // A pool of its own: the connection is nobody else's before it has proved itself.
        let apart = pool.apart();
        let asked = connection.send(question, deadline, &apart);
        let document = async {
            let answer = asked.await.map_err(NoAnswer::from)?;
            read(answer).await.map_err(NoAnswer::Unattested)
        };
        let document = tokio::time::timeout_at(deadline, document).await.unwrap_or(Err(NoAnswer::Timeout));
        let document = document.inspect_err(|why| self.no_document(why))?;
        let proven = self.judge(document, (nonce, asked_at), identity, deadline, again).await?;
        let connection = apart.take(Instant::now());
        let mut connection = connection
            .ok_or_else(|| NoAnswer::Unattested("it closed the connection after its evidence".into()))?;
        connection.proven = Some(proven);
        Ok(connection)
    }

    /// The same for an HTTP/2 connection.
    pub(super) async fn prove_h2(
        self: &Arc<Self>,
        sender: &mut Sender,
        identity: Identity,
        again: bool,
    ) -> Result<Proven, NoAnswer> {
        let (asked_at, nonce) = (Instant::now(), nonce()?);
        let deadline = asked_at + self.timeout;
        let Some(request) = self.question(&nonce, Some("https"))? else {
            return self
                .judge(identity.certificate.clone(), (nonce, asked_at), identity, deadline, again)
                .await;
        };
        let document = async {
            let answer = sender.try_send_request(request).await;
            let answer = answer.map_err(|error| NoAnswer::Broken(error.into_error()))?;
            read(answer.map(UpstreamBody::apart)).await.map_err(NoAnswer::Unattested)
        };
        let document = tokio::time::timeout_at(deadline, document).await.unwrap_or(Err(NoAnswer::Timeout));
        let document = document.inspect_err(|why| self.no_document(why))?;
        self.judge(document, (nonce, asked_at), identity, deadline, again).await
    }

    fn no_document(&self, why: &NoAnswer) {
        let reason = if matches!(why, NoAnswer::Timeout) { "timeout" } else { "no-answer" };
        self.evidence.refused(&self.name, reason);
    }

    /// What is asked, where the certificate does not say it all.
    fn question(
        &self,
        nonce: &[u8; 32],
        scheme: Option<&str>,
    ) -> Result<Option<Request<RequestBody>>, NoAnswer> {
        let Some(path) = self.policy.speaks().question(nonce) else { return Ok(None) };
        let target = match scheme {
            Some(scheme) => format!("{scheme}://{}{path}", self.authority),
            None => path,
        };
        let host = HeaderValue::from_str(self.authority.as_str()).ok();
        let host = host.filter(|_| scheme.is_none());
        let request = Request::get(target).body(RequestBody::empty());
        let mut request = request.map_err(|error| NoAnswer::Unattested(error.to_string()))?;
        request.headers_mut().extend(host.map(|host| (header::HOST, host)));
        Ok(Some(request))
    }

    /// Verifies what it said, outside of the runtime's own threads.
    async fn judge(
        self: &Arc<Self>,
        document: Bytes,
        (nonce, asked_at): ([u8; 32], Instant),
        identity: Identity,
        deadline: Instant,
        again: bool,
    ) -> Result<Proven, NoAnswer> {
        let (this, of) = (self.clone(), identity.clone());
        let verify = tokio::task::spawn_blocking(move || this.verify(document, &nonce, &of, asked_at));
        match tokio::time::timeout_at(deadline, verify).await {
            Ok(Ok(Ok(session))) => {
                self.evidence.good(&self.name, again);
                Ok(Proven { session: Arc::new(session), identity })
            }
            Ok(Ok(Err(refusal))) => {
                self.evidence.refused(&self.name, refusal.code());
                Err(NoAnswer::Unattested(refusal.to_string()))
            }
            Ok(Err(error)) => Err(NoAnswer::Unattested(error.to_string())),
            Err(_) => {
                self.evidence.refused(&self.name, "timeout");
                Err(NoAnswer::Timeout)
            }
        }
    }

    /// The lease counts from `asked_at`: evidence is never younger than its nonce.
    fn verify(
        &self,
        answer: Bytes,
        nonce: &[u8; 32],
        identity: &Identity,
        asked_at: Instant,
    ) -> Result<Session, Refusal> {
        if let Some(vouched) = &self.vouched {
            vouched.counts().map_err(Refusal::Policy)?;
        }
        let now = jiff::Timestamp::now();
        let question = Question {
            at: u64::try_from(now.as_second()).unwrap_or(0),
            nonce: Some(nonce),
            report_data: None,
            policy: Some(&self.policy),
            simulated: self.simulated.as_deref(),
        };
        let (Known { keyset, reports }, document) = self.known(answer, nonce, &question)?;
        let bound = match keyset.tls_exporter {
            Some(exporter) if exporter == identity.exporter => "exporter",
            // Whoever relays evidence of another machine has another connection.
            Some(_) => return Err(Refusal::ReportData("it names another TLS connection".into())),
            None if keyset.tls_spki.contains(&identity.spki) => "spki",
            None => return Err(Refusal::ReportData("it names another TLS key than the connection's".into())),
        };
        let source = reports.iter().map(|report| report.source).min();
        Ok(Session {
            name: self.name.clone(),
            bound,
            evidence: sha256(&document),
            document: Mutex::new(Some(document)),
            verified_at: u64::try_from(now.as_microsecond()).unwrap_or(0),
            source: source.unwrap_or(Source::OperatorAsserted),
            keys: keyset.shard_keys,
            good_until: asked_at + self.lease,
            renew_at: asked_at + self.lease / 2,
        })
    }
}

impl Demand {
    /// Verifies an answer, in the form that the policy names. Gives what is kept of it, too.
    fn known(
        &self,
        answer: Bytes,
        nonce: &[u8; 32],
        question: &Question<'_>,
    ) -> Result<(Known, Bytes), Refusal> {
        let speaks = self.policy.speaks();
        if speaks == Speaks::Colophon {
            // It brings its collateral along: what is kept is the document as it came, and has to be good by itself.
            let attested = Document::read(&answer)?.verify(&Collateral::default(), question)?;
            return Ok((attested.into(), answer));
        }
        let collateral = match &self.collateral {
            Some(path) => read_collateral(path).map_err(|error| Refusal::Collateral(format!("{error:#}")))?,
            None => Collateral::default(),
        };
        let told = Told::new(speaks, nonce, &answer, collateral)?;
        let kept = told.to_json()?;
        Ok((told.verify(&Collateral::default(), question)?, kept.into()))
    }
}

fn nonce() -> Result<[u8; 32], NoAnswer> {
    let mut nonce = [0; 32];
    getrandom::fill(&mut nonce).map_err(|error| NoAnswer::Unattested(format!("no randomness: {error}")))?;
    Ok(nonce)
}

/// The document in an answer.
async fn read(answer: Response<UpstreamBody>) -> Result<Bytes, String> {
    let status = answer.status();
    if status != StatusCode::OK {
        return Err(format!("asked for evidence, it answered {}", status.as_u16()));
    }
    let body = http_body_util::Limited::new(answer.into_body(), MAX_BYTES);
    match body.collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) => Err(format!("its evidence cannot be read: {}", chain(&*error))),
    }
}
