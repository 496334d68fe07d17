//! `colophon demo`: the whole line on one machine, with nothing to install.

use super::{demo_server, get, receipt, term};
use crate::config::duration;
use crate::serve::{Running, ServeOptions, start};
use anyhow::Context as _;
use bytes::Bytes;
use clap::builder::Resettable;
use clap::{Args, FromArgMatches as _};
use colophon_verify::{Bodies, Body, Report, Side, Status, Trust, Verdict};
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Longest wait for the demo's receipt.
const RECEIPT_WAIT: Duration = Duration::from_secs(10);

#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// End after the demonstration instead of serving on
    #[arg(long)]
    once: bool,
    /// Folder to keep everything in [default: a temporary one, removed at the end]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Port of the proxy on 127.0.0.1; 0 picks a free one
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    port: u16,
    /// Print JSON instead of a story (implies --once)
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: DemoArgs) -> anyhow::Result<ExitCode> {
    let begun = Instant::now();
    let folder = Folder::new(args.data.as_deref())?;
    let say = Story { silent: args.json, removed: args.once && folder.temporary };
    say.title(
        "Colophon demo. Everything runs on this machine; the text server below is a stand-in, not a model.",
    );

    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let server =
        demo_server::start(&tasks, stop.clone()).await.context("cannot start the demo's text server")?;
    say.step(1, "text server", &format!("http://{server}"));
    let running = start(&options(server.port(), args.port, &folder.path)?).await?;
    let proxy = format!("http://{}", running.listen);
    say.step(2, "colophon", &format!("{proxy} → the text server"));

    let shown = show(&running, &proxy, &folder.path, &say, begun).await;
    let code = match shown {
        Ok(outcome) => {
            if args.json {
                outln!("{}", serde_json::to_string_pretty(&outcome.json)?);
            }
            if outcome.good { ExitCode::SUCCESS } else { ExitCode::from(1) }
        }
        Err(error) => {
            running.drain().await?;
            return Err(error);
        }
    };
    if !args.once && !args.json {
        say.next(&proxy, &folder.path);
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            ended = tokio::signal::ctrl_c() => ended?,
            _ = terminate.recv() => {}
        }
        say.line("");
    }
    running.drain().await?;
    stop.cancel();
    tasks.close();
    tasks.wait().await;
    if args.once && args.data.is_some() {
        say.commands(&proxy, &folder.path, false);
    }
    Ok(code)
}

/// What the demonstration found.
struct Outcome {
    good: bool,
    json: serde_json::Value,
}

async fn show(
    running: &Running,
    proxy: &str,
    folder: &Path,
    say: &Story,
    begun: Instant,
) -> anyhow::Result<Outcome> {
    let question = "Who wrote this answer?";
    say.step(3, "asked", &format!("{question:?}, streamed"));
    let request = serde_json::json!({
        "model": demo_server::MODEL, "stream": true, "messages": [{"role": "user", "content": question}],
    })
    .to_string();
    let (header, answer) = ask(running, &request, say, begun).await?;
    let asked = Instant::now();
    let receipt = receipt::fetch(&format!("{proxy}{}", header.trim_matches('"')), None, RECEIPT_WAIT).await?;
    let logged = asked.elapsed();
    let trust = get::get(&format!("{proxy}/.well-known/colophon/keys"), None).await?.into_body();
    for (name, bytes) in [
        ("request.json", request.as_bytes()),
        ("response.sse", &answer),
        ("receipt.json", &receipt),
        ("trust.json", &trust),
    ] {
        let path = folder.join(name);
        std::fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
    }
    say.step(4, "receipt", &format!("in the log {:.1} s after the answer ended", logged.as_secs_f64()));

    let trust = Trust::from_json(&trust)?;
    let report = check(&receipt, &trust, request.as_bytes(), &answer)?;
    say.verdict(5, "verified", &report, folder);
    let mut forged = answer.to_vec();
    let middle = forged.len() / 2;
    if let Some(byte) = forged.get_mut(middle) {
        *byte ^= 1;
    }
    let refused = check(&receipt, &trust, request.as_bytes(), &forged)?;
    say.forgery(6, middle, &refused);
    let good = report.result == Verdict::Trusted && refused.result == Verdict::Bad;
    Ok(Outcome {
        good,
        json: serde_json::json!({
            "good": good,
            "proxy": proxy,
            "folder": folder,
            "first_answer_s": say_seconds(begun, asked),
            "logged_after_s": logged.as_secs_f64(),
            "verified": report,
            "forgery": refused,
        }),
    })
}

fn say_seconds(begun: Instant, at: Instant) -> f64 {
    at.duration_since(begun).as_secs_f64()
}

fn check(receipt: &[u8], trust: &Trust, request: &[u8], response: &[u8]) -> anyhow::Result<Report> {
    let bodies = Bodies {
        request: Some(Body::from_bytes(Side::Request, request)),
        response: Some(Body::from_bytes(Side::Response, response)),
        ..Bodies::default()
    };
    Ok(colophon_verify::verify(receipt, Some(trust), &bodies, None))
}

/// Sends the chat and shows its words as they come. Returns `Colophon-Receipt` and the exact body.
async fn ask(running: &Running, body: &str, say: &Story, begun: Instant) -> anyhow::Result<(String, Bytes)> {
    let address = running.listen.to_string();
    let stream = tokio::net::TcpStream::connect(&address).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = running.app.tasks.spawn(connection);
    let request = Request::post("/v1/chat/completions")
        .header("host", &address)
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body.to_owned())))?;
    let response: Response<Incoming> = sender.send_request(request).await?;
    anyhow::ensure!(response.status().is_success(), "the text server's answer was {}", response.status());
    let header = response
        .headers()
        .get("colophon-receipt")
        .and_then(|value| value.to_str().ok())
        .context("the answer has no Colophon-Receipt header")?
        .to_owned();
    let mut kept: Vec<u8> = Vec::new();
    let mut body = response.into_body();
    say.begin_answer(begun);
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            say.words(&data);
            kept.extend_from_slice(&data);
        }
    }
    say.end_answer();
    drop(sender);
    connection.abort();
    Ok((header, kept.into()))
}

/// `serve`, as its own command line would set it up.
fn options(upstream: u16, port: u16, folder: &Path) -> anyhow::Result<ServeOptions> {
    let typed = [
        "--upstream".to_owned(),
        format!("http://127.0.0.1:{upstream}"),
        "--listen".to_owned(),
        format!("127.0.0.1:{port}"),
        "--admin".to_owned(),
        "127.0.0.1:0".to_owned(),
        "--name".to_owned(),
        "demo".to_owned(),
    ];
    // A demo is the same whatever the environment says of a real proxy.
    let command = ServeOptions::augment_args(clap::Command::new("serve").no_binary_name(true));
    let command = command.mut_args(|arg| arg.env(Resettable::<clap::builder::OsStr>::Reset));
    let mut options = ServeOptions::from_arg_matches(&command.try_get_matches_from(typed)?)?;
    options.ledger.data = folder.join("data");
    options.ledger.state = Some(folder.join("state"));
    options.ledger.batch_every = Some(duration("500ms").map_err(anyhow::Error::msg)?);
    Ok(options)
}

/// Where the demo keeps its files; a temporary folder is removed at the end.
struct Folder {
    path: PathBuf,
    temporary: bool,
}

impl Folder {
    fn new(data: Option<&Path>) -> anyhow::Result<Folder> {
        let (path, temporary) = match data {
            Some(path) => (path.to_owned(), false),
            None => (std::env::temp_dir().join(format!("colophon-demo-{}", std::process::id())), true),
        };
        std::fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Folder { path: path.canonicalize()?, temporary })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.temporary {
            // Nothing depends on it; what stays behind is in the system's temporary folder.
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

/// The story told on the terminal.
struct Story {
    silent: bool,
    /// The files are gone before anybody can look at them.
    removed: bool,
}

impl Story {
    fn line(&self, text: &str) {
        if !self.silent {
            outln!("{text}");
        }
    }

    fn title(&self, text: &str) {
        self.line(&format!("{}\n", term::bold(text)));
    }

    fn step(&self, number: u8, what: &str, text: &str) {
        self.line(&format!(
            "  {} {} {text}",
            term::dim(&number.to_string()),
            term::bold(&format!("{what:<12}"))
        ));
    }

    fn begin_answer(&self, begun: Instant) {
        if !self.silent {
            let after = format!("after {:.1} s", begun.elapsed().as_secs_f64());
            term::output::bytes(format!("    {after:<12} ").as_bytes());
        }
    }

    fn words(&self, data: &[u8]) {
        if self.silent {
            return;
        }
        for line in String::from_utf8_lossy(data).lines() {
            let event = line
                .strip_prefix("data: ")
                .and_then(|json| serde_json::from_str::<serde_json::Value>(json).ok());
            if let Some(word) =
                event.as_ref().and_then(|event| event["choices"][0]["delta"]["content"].as_str())
            {
                term::output::bytes(term::safe(word).as_bytes());
            }
        }
    }

    fn end_answer(&self) {
        self.line("");
    }

    fn verdict(&self, number: u8, what: &str, report: &Report, folder: &Path) {
        let log = report
            .log
            .as_ref()
            .map_or(String::new(), |log| format!("leaf {} of log {}", log.index, log.origin));
        let mark = match report.result {
            Verdict::Trusted => term::green("✓ trusted"),
            Verdict::ConsistentNotTrusted => term::refused("consistent, not trusted"),
            Verdict::Bad => term::refused("✗ bad"),
        };
        let passed = report.checks.iter().filter(|check| check.status == Status::Passed).count();
        self.step(number, what, &format!("{mark}: {passed} checks passed, offline; {log}"));
        for failed in report.failed() {
            self.line(&format!("                 {}: {}", failed.name, failed.detail));
        }
        let removed = if self.removed { ", removed at the end: --data DIR keeps them" } else { "" };
        self.line(&format!(
            "                 {}",
            term::dim(&format!("files in {}{removed}", folder.display()))
        ));
    }

    fn forgery(&self, number: u8, at: usize, report: &Report) {
        let failed: Vec<&str> = report.failed().map(|check| check.name).collect();
        let mark = match report.result {
            Verdict::Bad => term::green(&format!("✓ refused by {}", failed.join(", "))),
            _ => term::refused("✗ not noticed"),
        };
        self.step(number, "forged", &format!("one bit of byte {at} of the answer flipped: {mark}"));
        self.line(&format!("\n  {}", term::dim(colophon_receipt::receipt::NOTICE)));
    }

    fn next(&self, proxy: &str, folder: &Path) {
        self.commands(proxy, folder, true);
        self.line(&format!("\n{}", term::dim("Serving on; Ctrl-C ends the demo.")));
    }

    /// Three things to try; the first needs the proxy.
    fn commands(&self, proxy: &str, folder: &Path, serving: bool) {
        let folder = folder.display();
        self.line(&format!("\n{}", term::bold("Try next:")));
        if serving {
            self.line(&format!(
                "  curl -i {proxy}/v1/completions -H 'content-type: application/json' -d '{{\"prompt\":\"Hello\"}}'"
            ));
        }
        self.line(&format!(
            "  colophon verify {folder}/receipt.json --trust {folder}/trust.json --response {folder}/response.sse"
        ));
        self.line(&format!("  colophon log check {folder}/data"));
        if std::io::stdout().is_terminal() && !self.silent {
            self.line(&term::dim(
                "  (colophon is target/release/colophon after `cargo run --release -- demo`)",
            ));
        }
    }
}
