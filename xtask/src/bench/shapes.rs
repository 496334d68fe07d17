//! `cargo xtask bench shapes`: what the usual run does not show. Large bodies, many idle connections, HTTP/2, TLS.
//! Whether some shape of traffic costs out of proportion is the question, so each is compared with `pass` of the same shape.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use serde_json::{Value, json};

use super::machine::{self, Machine};
use super::report::{insert, spread};
use super::rounds::{CONNECTIONS, SETTLE, Spread, in_turns};
use super::servers::{Server, certificate, pinned_to, policy_text};
use super::{Folder, Output, RELEASE, build, load, program, write_json};
use crate::shell::{pause, run_quietly};

/// Connections that only wait.
pub(super) const IDLE: usize = 10_000;
/// Connections and streams on each, over HTTP/2.
const HTTP2: (usize, usize) = (4, 100);
/// Everything is compared with the first.
pub(super) const LEVELS: [&str; 3] = ["pass", "commit", "sign"];

/// What can be told to the run.
#[derive(Args)]
pub(crate) struct ShapesArgs {
    /// Seconds of each measurement under load
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// Rounds: every level is measured once in each
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=50))]
    rounds: u64,
    #[command(flatten)]
    output: Output,
}

/// A shape of traffic.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// As everywhere else: what the others are to be seen beside.
    Usual,
    /// Bodies of so many bytes, both ways.
    Bodies(usize),
    /// As usual, while [`IDLE`] more connections are open.
    BesideIdle,
    Http2,
    Tls,
}

impl Shape {
    const ALL: [Shape; 6] = [
        Shape::Usual,
        Shape::Bodies(64 << 10),
        Shape::Bodies(1 << 20),
        Shape::BesideIdle,
        Shape::Http2,
        Shape::Tls,
    ];

    fn title(self) -> String {
        match self {
            Shape::Usual => "1.5 KB up and down".into(),
            Shape::Bodies(bytes) => format!("{} KB up and down", bytes >> 10),
            Shape::BesideIdle => format!("1.5 KB, beside {IDLE} idle connections"),
            Shape::Http2 => format!("1.5 KB, HTTP/2, {} streams on each of {} connections", HTTP2.1, HTTP2.0),
            Shape::Tls => "1.5 KB, TLS 1.3".into(),
        }
    }

    fn body_bytes(self) -> usize {
        if let Shape::Bodies(bytes) = self { bytes } else { 1536 }
    }
}

/// One level under one shape, in one round.
#[derive(Clone, Copy)]
struct Turn {
    per_second: f64,
    cpu_us: f64,
}

/// Measures, prints and writes the table.
///
/// # Errors
/// When a load generator cannot be had, a contender fails, or an answer was not a 200.
pub(super) fn run(args: &ShapesArgs) -> Result<()> {
    load::ensure_wrk()?;
    load::ensure_h2load()?;
    if !args.output.no_build {
        build(RELEASE)?;
    }
    let machine = Machine::look()?;
    let mut text = format!(
        "Machine: {}.\n{} rounds of {} s, {CONNECTIONS} connections where nothing else is said. Requests a second, CPU µs a \
         request, and the latter's ratio to `pass` under the same shape.\n\n| |{}\n|---|{}\n",
        machine.line(),
        args.rounds,
        args.seconds,
        LEVELS.map(|level| format!(" `{level}` | CPU | of `pass` |")).concat(),
        "---:|".repeat(3 * LEVELS.len()),
    );
    let mut figures = Vec::new();
    for shape in Shape::ALL {
        let turns = measure(shape, &machine, args)?;
        row(shape, &turns, &mut text);
        figures.push(json(shape, &turns));
    }
    println!("{text}");
    write_json(
        args.output.json.as_deref(),
        || json!({"machine": machine.line(), "seconds": args.seconds, "connections": CONNECTIONS, "shapes": figures}),
    )?;
    if !args.output.no_write {
        insert(&[("shapes", &text)])?;
    }
    Ok(())
}

fn row(shape: Shape, turns: &[Vec<Turn>], text: &mut String) {
    let _ = write!(text, "| {} |", shape.title());
    let base = turns.first().map_or(&[][..], Vec::as_slice);
    for own in turns {
        let per_second = Spread::of(own.iter().map(|turn| turn.per_second)).median;
        let cpu = Spread::of(own.iter().map(|turn| turn.cpu_us)).median;
        let ratio = Spread::of(own.iter().zip(base).map(|(own, base)| own.cpu_us / base.cpu_us));
        let _ = write!(text, " {per_second:.0} | {cpu:.1} | {} |", spread(ratio, 2));
    }
    text.push('\n');
}

fn json(shape: Shape, turns: &[Vec<Turn>]) -> Value {
    let levels = LEVELS.iter().zip(turns).map(|(level, own)| {
        let rounds = own
            .iter()
            .map(|turn| json!({"requests_per_second": turn.per_second, "cpu_us_per_request": turn.cpu_us}));
        json!({"level": level, "rounds": rounds.collect::<Vec<_>>()})
    });
    json!({"shape": shape.title(), "levels": levels.collect::<Vec<_>>()})
}

/// What stands on the stage while something is measured.
struct Stage {
    _upstream: Server,
    servers: Vec<Server>,
}

impl Stage {
    fn set(folder: &Path, machine: &Machine, bytes: usize, tls: bool) -> Result<Stage> {
        let bytes = bytes.to_string();
        let upstream = program("fixed-upstream");
        let mut ask = std::process::Command::new(&upstream);
        let request = run_quietly(ask.args(["--print-request", "--body-bytes", &bytes]))?;
        load::write_script(folder, request.trim())?;
        if tls {
            certificate(folder)?;
        }
        let mut upstream = pinned_to(&machine.load_cores, &upstream);
        upstream.args(["--body-bytes", &bytes]);
        let upstream = Server::announced("direct", upstream)?;
        let start = |level| {
            let mut command = pinned_to(&[machine.proxy_core], &program("colophon"));
            command.args(["serve", "--upstream", &format!("http://{}", upstream.listen)]);
            if tls {
                command.arg("--tls-cert").arg(folder.join("cert.pem"));
                command.arg("--tls-key").arg(folder.join("key.pem"));
            }
            Server::serving(command, level, &folder.join(level), &policy_text(level))
        };
        let servers = LEVELS.into_iter().map(start).collect::<Result<_>>()?;
        Ok(Stage { _upstream: upstream, servers })
    }
}

/// All turns of each level.
fn measure(shape: Shape, machine: &Machine, args: &ShapesArgs) -> Result<Vec<Vec<Turn>>> {
    let folder = Folder::new()?;
    let stage = Stage::set(&folder.0, machine, shape.body_bytes(), shape == Shape::Tls)?;
    for server in &stage.servers {
        turn(shape, &folder.0, machine, server, 1)?;
    }
    in_turns(&stage.servers, args.rounds, |round, server| {
        // Anew for each: a server closes those that wait for too long.
        let idle = if shape == Shape::BesideIdle { connected(server.listen)? } else { Vec::new() };
        let turn = turn(shape, &folder.0, machine, server, args.seconds)?;
        drop(idle);
        eprintln!(
            "bench: {}: round {}: {:6}: {:.0}/s, {:.1} µs CPU",
            shape.title(),
            round + 1,
            server.name,
            turn.per_second,
            turn.cpu_us
        );
        Ok(turn)
    })
}

fn turn(shape: Shape, folder: &Path, machine: &Machine, server: &Server, seconds: u64) -> Result<Turn> {
    let (cores, time) = (&machine.load_cores, Duration::from_secs(seconds));
    let before = machine::cpu_seconds(server.pid())?;
    let (requests, seconds) = match shape {
        Shape::Http2 => load::h2load(folder, cores, server.listen, HTTP2, time)?,
        _ => {
            let scheme = if shape == Shape::Tls { "https" } else { "http" };
            let url = format!("{scheme}://{}", server.listen);
            let load = load::wrk_at(folder, cores, &url, &[], CONNECTIONS, time)?;
            (load.requests, load.seconds)
        }
    };
    // What follows the answers, a batch's closing say, is paid for by them.
    pause(SETTLE);
    let cpu = machine::cpu_seconds(server.pid())? - before;
    Ok(Turn { per_second: requests / seconds, cpu_us: cpu * 1e6 / requests })
}

/// Connections that asked once and then wait, as clients with a pool leave them.
pub(super) fn connected(server: SocketAddr) -> Result<Vec<TcpStream>> {
    let request = format!("GET /health HTTP/1.1\r\nHost: {server}\r\n\r\n");
    let mut answer = vec![0; 16 << 10];
    (0..IDLE)
        .map(|number| {
            let mut connection =
                TcpStream::connect(server).with_context(|| format!("connection {number}"))?;
            connection.set_read_timeout(Some(Duration::from_secs(10)))?;
            connection.write_all(request.as_bytes())?;
            if connection.read(&mut answer)? == 0 {
                bail!("connection {number} was closed");
            }
            Ok(connection)
        })
        .collect()
}
