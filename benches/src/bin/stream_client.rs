//! Reads many streams at once, which wrk cannot: asks for a streamed chat on each connection, again and again, counts
//! events, and takes the time between them. Prints one line of JSON.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::Parser;
use colophon_benches::{EVENT_STREAM, request_body};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// One stream may take so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// The last chunk of a chunked body without trailers; the clients here never ask for trailers.
const END: &[u8] = b"\r\n0\r\n\r\n";

/// Reads streams from a server or a proxy.
#[derive(Parser)]
struct Args {
    /// Where to connect
    #[arg(long)]
    target: SocketAddr,
    /// Streams at once
    #[arg(long, default_value_t = 32)]
    streams: usize,
    /// Streams one after the other on each connection
    #[arg(long, default_value_t = 1)]
    repeat: usize,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let args = Args::parse();
    let begun = Instant::now();
    let mut readers = JoinSet::new();
    for _ in 0..args.streams {
        readers.spawn(read(args.target, args.repeat));
    }
    let mut all = Came::default();
    while let Some(read) = readers.join_next().await {
        let came = read??;
        all.events += came.events;
        all.gaps.extend(came.gaps);
    }
    let seconds = begun.elapsed().as_secs_f64();
    all.gaps.sort_unstable();
    let p99 = all.gaps.get(all.gaps.len() * 99 / 100).copied().unwrap_or_default();
    println!("{{\"events\":{},\"seconds\":{:.3},\"gap_p99_us\":{}}}", all.events, seconds, p99.as_micros());
    Ok(())
}

/// What came of streams.
#[derive(Default)]
struct Came {
    events: usize,
    /// From one arrival of bytes to the next, within a stream: a chunk that is held back makes a long one.
    gaps: Vec<Duration>,
}

async fn read(target: SocketAddr, repeat: usize) -> Result<Came> {
    let mut connection = TcpStream::connect(target).await?;
    connection.set_nodelay(true)?;
    let body = request_body();
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: {target}\r\nAccept: {EVENT_STREAM}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut came = Came::default();
    for _ in 0..repeat {
        connection.write_all(request.as_bytes()).await?;
        timeout(PATIENCE, stream(&mut connection, &mut came)).await.context("a stream stood still")??;
    }
    Ok(came)
}

/// Reads one answer to its end.
async fn stream(connection: &mut TcpStream, came: &mut Came) -> Result<()> {
    let mut answer = Vec::with_capacity(128 << 10);
    let mut last = None;
    while !answer.ends_with(END) {
        if connection.read_buf(&mut answer).await? == 0 {
            bail!("the connection closed within a stream");
        }
        let now = Instant::now();
        came.gaps.extend(last.replace(now).map(|last| now - last));
    }
    if !answer.starts_with(b"HTTP/1.1 200 ") {
        bail!("not a 200: {}", String::from_utf8_lossy(&answer[..answer.len().min(200)]));
    }
    came.events += answer.windows(7).filter(|window| window == b"\ndata: ").count();
    Ok(())
}
