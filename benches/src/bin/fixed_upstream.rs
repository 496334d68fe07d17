//! A model server that thinks of nothing: the same chat completion (1.5 KB) at once, or a stream of events at a steady
//! pace where `Accept` asks for one.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use clap::Parser;
use colophon_benches::{
    BODY_BYTES, EVENT_STREAM, LAST_CHUNK, answer_body_of, chunk, listen, request_body_of, terminated,
};
use http::header::{ACCEPT, CONTENT_TYPE, SERVER};
use http::{HeaderValue, Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::time::{Interval, MissedTickBehavior, interval};
use tokio_util::task::TaskTracker;

/// No request of the run is longer.
const MAX_REQUEST: usize = 1 << 20;

/// Answers every POST with the same chat completion.
#[derive(Parser)]
struct Args {
    /// Events of a stream
    #[arg(long, default_value_t = 200)]
    chunks: usize,
    /// Milliseconds between them
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..10_000))]
    every_ms: u64,
    /// Bytes of the request body and of a whole answer
    #[arg(long, default_value_t = BODY_BYTES)]
    body_bytes: usize,
    /// Prints the request body of the run, for other clients to send, and ends
    #[arg(long)]
    print_request: bool,
}

/// What is sent, made once.
struct Answers {
    whole: Bytes,
    chunks: Vec<Bytes>,
    every: Duration,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let args = Args::parse();
    if args.print_request {
        println!("{}", request_body_of(args.body_bytes));
        return Ok(());
    }
    let mut chunks: Vec<Bytes> = (0..args.chunks).map(|number| chunk(number).into()).collect();
    chunks.push(LAST_CHUNK.into());
    let every = Duration::from_millis(args.every_ms);
    let answers = Arc::new(Answers { whole: answer_body_of(args.body_bytes).into(), chunks, every });
    let listener = listen().await?;
    let tasks = TaskTracker::new();
    let accept = async {
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let answers = answers.clone();
            let service = service_fn(move |request| answer(answers.clone(), request));
            let mut builder = hyper::server::conn::http1::Builder::new();
            builder.timer(TokioTimer::new());
            // A client that goes away is no matter here.
            tasks.spawn(async move { drop(builder.serve_connection(TokioIo::new(stream), service).await) });
        }
    };
    tokio::select! {
        ended = accept => ended,
        ended = terminated() => ended,
    }
}

async fn answer(answers: Arc<Answers>, request: Request<Incoming>) -> Result<Response<Answer>, Infallible> {
    let stream = request.headers().get(ACCEPT).is_some_and(|accept| accept == EVENT_STREAM);
    // Read to its end, as a server that parses it would. A broken request shows on its own connection.
    let _ = Limited::new(request.into_body(), MAX_REQUEST).collect().await;
    let (kind, body) = match stream {
        true => ("text/event-stream; charset=utf-8", Answer::stream(answers)),
        false => ("application/json", Answer::Whole(Some(answers.whole.clone()))),
    };
    let mut response = Response::new(body);
    response.headers_mut().insert(SERVER, HeaderValue::from_static("uvicorn"));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    Ok(response)
}

/// The body of an answer.
enum Answer {
    Whole(Option<Bytes>),
    Stream { answers: Arc<Answers>, next: usize, ticks: Interval },
}

impl Answer {
    fn stream(answers: Arc<Answers>) -> Answer {
        let mut ticks = interval(answers.every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Answer::Stream { answers, next: 0, ticks }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Answer::Whole(body) => Poll::Ready(body.take().map(|body| Ok(Frame::data(body)))),
            Answer::Stream { answers, next, ticks } => {
                let Some(chunk) = answers.chunks.get(*next) else { return Poll::Ready(None) };
                ready!(ticks.poll_tick(cx));
                *next += 1;
                Poll::Ready(Some(Ok(Frame::data(chunk.clone()))))
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Answer::Whole(Some(body)) => SizeHint::with_exact(body.len() as u64),
            Answer::Whole(None) => SizeHint::with_exact(0),
            Answer::Stream { .. } => SizeHint::default(),
        }
    }
}
