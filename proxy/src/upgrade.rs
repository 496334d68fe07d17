//! Connections that change protocol (RFC 9110 section 7.8, RFC 8441): bytes are copied and hashed per direction. Of realtime
//! sessions the messages are read, too.

use crate::accept::Stay;
use crate::app::App;
use crate::exchange::Client;
use crate::forward::Answer;
use crate::goodbye::Goodbye;
use crate::head;
use crate::in_flight::{Ending, InFlight};
use crate::response_body::ResponseBody;
use crate::rolling::Rolling;
use base64::prelude::{BASE64_STANDARD, Engine};
use bytes::Bytes;
use colophon_policies::Api;
use colophon_reading::{ClientReader, ServerReader};
use colophon_receipt::fields::Upgrade;
use http::header::{self, HeaderValue};
use http::{Method, Response, StatusCode, Version};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Bytes copied at once.
const CHUNK: usize = 16 * 1024;

/// Puts the wish for another protocol back into a head that was stripped of it.
pub fn ask(parts: &mut http::request::Parts, protocol: &HeaderValue, extended: bool) {
    parts.headers.insert(header::UPGRADE, protocol.clone());
    parts.headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    if extended {
        // RFC 8441 section 5: what HTTP/1.1 has and HTTP/2 dropped.
        parts.method = Method::GET;
        let mut key = [0; 16];
        if getrandom::fill(&mut key).is_ok()
            && let Ok(value) = HeaderValue::try_from(BASE64_STANDARD.encode(key))
        {
            parts.headers.insert(header::SEC_WEBSOCKET_KEY, value);
        }
    }
}

/// Switches a recorded exchange over.
pub fn switch(mut flight: Box<InFlight>, answer: Answer, client: Client) -> Response<ResponseBody> {
    let app = flight.app().clone();
    let (mut parts, tunnel) = prepare(answer, client, |parts, stripped| flight.answered(parts, stripped));
    flight.open_stream(&mut parts.headers, false);
    let Some(tunnel) = tunnel else {
        drop(flight.close_stream(Ending::UpstreamFailed("switched protocols unasked".into())));
        return bad_gateway();
    };
    let (kill, protocol) = (app.kill.clone(), tunnel.protocol.clone());
    let websocket = protocol.as_bytes().eq_ignore_ascii_case(b"websocket");
    let realtime = websocket && flight.facts.route.api == Api::Realtime;
    app.tasks.spawn(async move {
        let (mut sent, mut received) = (Rolling::default(), Rolling::default());
        let (mut asked, mut said) = (ClientReader::default(), ServerReader::default());
        let from_client = |bytes: &[u8]| {
            sent.push(bytes);
            if realtime {
                asked.push(bytes);
            }
        };
        let from_upstream = |bytes: &[u8]| {
            received.push(bytes);
            if realtime {
                said.push(bytes);
            }
        };
        let (ending, ended) = tokio::select! {
            // What breaks when the proxy stops was broken by that.
            biased;
            () = kill.cancelled() => (Ending::Stopped, None),
            ended = tunnel.run(from_client, from_upstream) => match ended {
                Ok(ended) => (Ending::Complete, Some(ended)),
                Err(Broken::Client) => (Ending::Cancelled, None),
                Err(Broken::Upstream(reason)) => (Ending::UpstreamFailed(reason), None),
            },
        };
        let mut said = said.finish();
        let responses = std::mem::take(&mut said.responses);
        let upgrade = Upgrade {
            protocol: Some(protocol.as_bytes().to_vec().into()),
            sent: Some(sent.digest()),
            received: Some(received.digest()),
            responses: (!responses.is_empty()).then_some(responses),
        };
        flight.upgraded(upgrade, realtime.then(|| (asked.finish(), said.answer)));
        // The tunnel is closed already: nothing is left that durability could hold back.
        if let Err(error) = flight.close_stream(ending) {
            tracing::error!(%error, record = flight.facts.id_text, "the record of an upgraded connection is lost");
        }
        if let Some(ended) = ended {
            kill.run_until_cancelled(ended.goodbye()).await;
        }
    });
    Response::from_parts(parts, ResponseBody::whole(Bytes::new()))
}

/// Switches an exchange of a `pass` rule over.
pub fn switch_unseen(app: &Arc<App>, answer: Answer, client: Client) -> Response<ResponseBody> {
    let (parts, tunnel) = prepare(answer, client, |_, _| ());
    let Some(tunnel) = tunnel else { return bad_gateway() };
    let kill = app.kill.clone();
    app.tasks.spawn(async move {
        kill.run_until_cancelled(async {
            if let Ok(ended) = tunnel.run(|_| (), |_| ()).await {
                ended.goodbye().await;
            }
        })
        .await;
    });
    Response::from_parts(parts, ResponseBody::whole(Bytes::new()))
}

fn bad_gateway() -> Response<ResponseBody> {
    let mut response =
        Response::new(ResponseBody::whole(Bytes::from_static(b"the upstream switched protocols unasked")));
    *response.status_mut() = StatusCode::BAD_GATEWAY;
    response
}

struct Tunnel {
    protocol: HeaderValue,
    client: hyper::upgrade::OnUpgrade,
    upstream: hyper::upgrade::OnUpgrade,
    _stay: Option<Stay>,
}

fn prepare(
    mut answer: Answer,
    client: Client,
    note: impl FnOnce(&http::response::Parts, Vec<Vec<u8>>),
) -> (http::response::Parts, Option<Tunnel>) {
    let upstream = hyper::upgrade::on(&mut answer);
    let (mut parts, _) = answer.into_parts();
    let granted = parts.headers.get(header::UPGRADE).cloned();
    head::strip_hop_by_hop(&mut parts.headers);
    let stripped = head::strip_claims(&mut parts.headers);
    parts.version = Version::HTTP_11;
    if client.extended {
        // What the client sees is what is signed and recorded.
        parts.status = StatusCode::OK;
    }
    note(&parts, stripped);
    let Some((asked, client_side)) = client.upgrade else { return (parts, None) };
    let protocol = granted.unwrap_or(asked);
    if client.extended {
        parts.headers.remove(header::SEC_WEBSOCKET_ACCEPT);
    } else {
        parts.headers.insert(header::UPGRADE, protocol.clone());
        parts.headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    }
    (parts, Some(Tunnel { protocol, client: client_side, upstream, _stay: client.stay }))
}

/// Which side a tunnel broke on.
enum Broken {
    Client,
    Upstream(String),
}

/// Which end of a copy failed.
enum Failed {
    Read(std::io::Error),
    Write(std::io::Error),
}

impl Tunnel {
    /// Copies until one side ends, and shows what is handed on, per direction. When the client ends there is nobody left to copy for, and a half-closed upstream
    /// connection would get no answer; when the upstream ends, everything it said has been passed on.
    async fn run(self, sent: impl FnMut(&[u8]), received: impl FnMut(&[u8])) -> Result<Ended, Broken> {
        let client = self.client.await.map_err(|_| Broken::Client)?;
        let unswitched = |error| Broken::Upstream(format!("the upstream did not switch: {error}"));
        let upstream = self.upstream.await.map_err(unswitched)?;
        let (mut client, mut upstream) = (TokioIo::new(client), TokioIo::new(upstream));
        let (client_read, client_write) = tokio::io::split(&mut client);
        let (upstream_read, upstream_write) = tokio::io::split(&mut upstream);
        let by_client = tokio::select! {
            ended = copy(client_read, upstream_write, sent) => {
                ended.map(|()| true).map_err(|failed| match failed {
                    Failed::Read(_) => Broken::Client,
                    Failed::Write(error) => Broken::Upstream(error.to_string()),
                })
            }
            ended = copy(upstream_read, client_write, received) => {
                ended.map(|()| false).map_err(|failed| match failed {
                    Failed::Read(error) => Broken::Upstream(error.to_string()),
                    Failed::Write(_) => Broken::Client,
                })
            }
        };
        Ok(match by_client? {
            true => Ended::ByClient(upstream, self._stay),
            false => Ended::ByUpstream(client, self._stay),
        })
    }
}

/// A tunnel that one side has ended; the other is still to hear of it, after all that it was sent. What it still sends is for nobody.
enum Ended {
    ByClient(TokioIo<Upgraded>, Option<Stay>),
    ByUpstream(TokioIo<Upgraded>, Option<Stay>),
}

impl Ended {
    async fn goodbye(self) {
        match self {
            Ended::ByClient(mut upstream, _stay) => {
                let mut goodbye = Goodbye::new(None);
                let _ = std::future::poll_fn(|cx| goodbye.poll(cx, &mut upstream)).await;
            }
            // A client's connection has a goodbye of its own.
            Ended::ByUpstream(mut client, _stay) => drop(client.shutdown().await),
        }
    }
}

async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut passed: impl FnMut(&[u8]),
) -> Result<(), Failed> {
    let mut buffer = vec![0; CHUNK];
    loop {
        let n = from.read(&mut buffer).await.map_err(Failed::Read)?;
        if n == 0 {
            // The other side's goodbye has to leave before the connection is dropped.
            return to.flush().await.map_err(Failed::Write);
        }
        // Handed on counts as passed, as it does for a body: a copy that is cut short may have delivered part of it.
        passed(&buffer[..n]);
        to.write_all(&buffer[..n]).await.map_err(Failed::Write)?;
        to.flush().await.map_err(Failed::Write)?;
    }
}
