//! The webhook's server: AdmissionReviews over TLS, with bounds on everything that others choose.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use colophon_listen::{ServerCertificate, next_connection, small};
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::review::{Mode, answer, answer_policy};
use crate::settings::Settings;

/// A review is never longer: an API server takes objects of 3 MiB, and an update has the old one too.
const MAX_REVIEW: usize = 8 << 20;
/// Reviews worked on at once. Only whole ones take a place.
const REVIEWS: usize = 16;
/// Bytes of reviews in memory at once: anybody may send, and who sends nothing takes nothing from others.
const HELD: usize = REVIEWS * MAX_REVIEW;
/// A review has to be whole within this time: API servers send theirs at once.
const BODY_TIMEOUT: Duration = Duration::from_secs(2);
/// Connections at once. API servers keep theirs open.
const CONNECTIONS: usize = 256;
/// A handshake has to be done within this time. API servers wait 10 s for an answer at most.
const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest wait for what is under way at the end.
const DRAIN: Duration = Duration::from_secs(10);

/// Where and as whom it is served.
#[derive(Clone, Debug, clap::Args)]
pub struct ServeOptions {
    /// Serve the webhook on this address
    #[arg(long, value_name = "ADDR", requires_all = ["tls_cert", "tls_key"])]
    pub listen: Option<SocketAddr>,
    /// PEM file of the webhook's certificate chain, re-read when it changes
    #[arg(long, value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,
    /// PEM file of its key
    #[arg(long, value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// PEM file of the CAs by which API servers show certificates: reviews of nobody else are answered. Probes need none
    #[arg(long, value_name = "FILE", requires = "listen")]
    pub client_ca: Option<PathBuf>,
    /// File to write once it listens: {"listen": "…", "pid": …}
    #[arg(long, value_name = "FILE")]
    pub ready_file: Option<PathBuf>,
}

struct Shared {
    settings: Settings,
    reviews: Semaphore,
    /// One permit a byte of [`HELD`].
    bytes: Semaphore,
    /// Only who showed a certificate is answered.
    certified: bool,
    /// Policies are judged.
    policies: bool,
}

/// Serves until `stop`, then finishes what is under way. Only with `policies` are policies judged.
///
/// # Errors
/// The certificate cannot be read, or the address not be listened on.
pub async fn serve(
    options: &ServeOptions,
    settings: Settings,
    policies: bool,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let (Some(address), Some(chain), Some(key)) = (options.listen, &options.tls_cert, &options.tls_key)
    else {
        anyhow::bail!("--listen, --tls-cert and --tls-key go together");
    };
    let certificate = ServerCertificate::load(chain, key)?;
    // A kubelet that probes shows no certificate.
    let config = certificate.server_config_for(options.client_ca.as_deref(), true).context("--client-ca")?;
    let acceptor = TlsAcceptor::from(config);
    let listener = TcpListener::bind(address).await.with_context(|| format!("--listen {address}"))?;
    let address = listener.local_addr()?;
    let tasks = TaskTracker::new();
    tasks.spawn(certificate.follow(stop.clone()));
    if let Some(path) = &options.ready_file {
        let ready = serde_json::json!({"listen": address.to_string(), "pid": std::process::id()});
        small::write_ready(path, &ready)?;
    }
    tracing::info!(listen = %address, image = settings.image, "the webhook serves");
    let shared = Arc::new(Shared {
        settings,
        reviews: Semaphore::new(REVIEWS),
        bytes: Semaphore::new(HELD),
        certified: options.client_ca.is_some(),
        policies,
    });
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    while let Ok(place) = places.clone().acquire_owned().await {
        let Some(stream) = next_connection(&listener, "a connection", &stop).await else { break };
        let (shared, acceptor, stop) = (shared.clone(), acceptor.clone(), stop.clone());
        tasks.spawn(async move {
            connection(shared, stream, acceptor, stop).await;
            drop(place);
        });
    }
    tasks.close();
    // What is still under way then has waited for longer than any API server does.
    let _ = tokio::time::timeout(DRAIN, tasks.wait()).await;
    Ok(())
}

async fn connection(shared: Arc<Shared>, stream: TcpStream, acceptor: TlsAcceptor, stop: CancellationToken) {
    let _ = stream.set_nodelay(true);
    let stream = match tokio::time::timeout(READ_TIMEOUT, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%error, "TLS handshake"),
        Err(_) => return tracing::debug!("no TLS handshake in time"),
    };
    // The handshake has verified what was shown.
    let known = !shared.certified || stream.get_ref().1.peer_certificates().is_some();
    let answer = |request| {
        let shared = shared.clone();
        async move { respond(&shared, known, request).await }
    };
    small::serve(stream, stop, answer).await;
}

/// `known` is whether reviews of whoever asks are answered.
async fn respond(shared: &Shared, known: bool, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let mode = match (request.method(), request.uri().path()) {
        (_, "/validate/policy") if !shared.policies => {
            return text(StatusCode::NOT_FOUND, "policies are judged with --policies only\n");
        }
        (&Method::GET | &Method::HEAD, "/livez" | "/readyz") => return text(StatusCode::OK, "ok\n"),
        (&Method::POST, "/mutate/required" | "/mutate/enabled" | "/validate/policy") if !known => {
            return text(StatusCode::FORBIDDEN, "show a certificate by --client-ca\n");
        }
        (&Method::POST, "/mutate/required") => Some(Mode::Required),
        (&Method::POST, "/mutate/enabled") => Some(Mode::Enabled),
        (&Method::POST, "/validate/policy") => None,
        (_, "/livez" | "/readyz" | "/mutate/required" | "/mutate/enabled" | "/validate/policy") => {
            return text(
                StatusCode::METHOD_NOT_ALLOWED,
                "POST to /mutate/… and /validate/policy, GET of /livez\n",
            );
        }
        _ => {
            let served = "served here: POST /mutate/required, /mutate/enabled, /validate/policy\n";
            return text(StatusCode::NOT_FOUND, served);
        }
    };
    let (body, _bytes) = match read(request.into_body(), &shared.bytes).await {
        Ok(read) => read,
        Err((status, why)) => return text(status, why),
    };
    let Ok(_place) = shared.reviews.acquire().await else {
        return text(StatusCode::SERVICE_UNAVAILABLE, "it ends\n");
    };
    let answered = match mode {
        Some(mode) => answer(&body, &shared.settings, mode),
        None => answer_policy(&body),
    };
    match answered {
        Ok(review) => {
            let mut response = Response::new(Full::new(review.into()));
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            response
        }
        Err(error) => {
            tracing::warn!(%error, "a malformed review");
            text(StatusCode::BAD_REQUEST, format!("{error}\n"))
        }
    }
}

/// Reads a review whole, with a permit for each of its bytes; else the answer to whoever sent it.
async fn read<B>(
    body: B,
    bytes: &Semaphore,
) -> Result<(Vec<u8>, Option<SemaphorePermit<'_>>), (StatusCode, String)>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let broken = || (StatusCode::BAD_REQUEST, "the review did not come whole\n".to_owned());
    let whole = async {
        let (mut read, mut held) = (Vec::new(), None::<SemaphorePermit<'_>>);
        let mut body = pin!(Limited::new(body, MAX_REVIEW));
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| match error.is::<LengthLimitError>() {
                true => (StatusCode::PAYLOAD_TOO_LARGE, format!("a review has {MAX_REVIEW} bytes at most\n")),
                false => broken(),
            })?;
            let Ok(data) = frame.into_data() else { continue };
            let count = u32::try_from(data.len()).map_err(|_| broken())?;
            let more = bytes.acquire_many(count).await.map_err(|_| broken())?;
            match &mut held {
                Some(held) => held.merge(more),
                None => held = Some(more),
            }
            read.extend_from_slice(&data);
        }
        Ok((read, held))
    };
    tokio::time::timeout(BODY_TIMEOUT, whole).await.unwrap_or_else(|_| {
        Err((StatusCode::REQUEST_TIMEOUT, "the review did not come in time\n".to_owned()))
    })
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

#[cfg(test)]
mod tests;
