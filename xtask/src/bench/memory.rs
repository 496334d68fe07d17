//! `cargo xtask bench memory`: what memory Colophon takes at rest, beside many idle connections, and with a thousand
//! streams at once; resident, and as Kubernetes counts it.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use serde_json::{Value, json};

use super::group::Group;
use super::machine::{self, Machine};
use super::report::insert;
use super::rounds::SETTLE;
use super::servers::{Server, pinned_to};
use super::shapes::{IDLE, LEVELS, connected};
use super::{Folder, Output, RELEASE, build, load, program, write_json};
use crate::shell::{pause, run_quietly};

/// Streams that are read at once.
const STREAMS: usize = 1_000;
/// Milliseconds between a stream's events: as a model writes, and ten times as fast, which is more than one core forwards.
const PACES: [u64; 2] = [50, 5];
/// How often each stream is read, one after the other on its connection.
const REPEAT: u64 = 2;
/// How often memory is looked at.
const LOOK: Duration = Duration::from_millis(10);
const PLAIN: &str = "plain";

/// What can be told to the run.
#[derive(Args)]
pub(crate) struct MemoryArgs {
    #[command(flatten)]
    output: Output,
}

/// kB.
#[derive(Clone, Copy, Default)]
struct Memory {
    resident: u64,
    /// Where the machine lets the bench make control groups.
    working_set: Option<u64>,
}

/// What one contender took.
struct Row {
    name: &'static str,
    at_rest: Memory,
    idle: Memory,
    /// At most, by [`PACES`].
    streams: [Memory; 2],
}

/// Measures and writes the table.
pub(super) fn run(args: &MemoryArgs) -> Result<()> {
    if !args.output.no_build {
        build(RELEASE)?;
    }
    let machine = Machine::look()?;
    let grouped = match Group::new() {
        Ok(_) => true,
        Err(why) => {
            eprintln!("bench: no control groups, so what Kubernetes would count is left out: {why:#}");
            false
        }
    };
    let mut rows = Vec::new();
    for name in [PLAIN].into_iter().chain(LEVELS) {
        let row = measure(name, grouped, &machine)?;
        eprintln!("bench: {name}: {}", row.cells().join(" "));
        rows.push(row);
    }
    let text = table(&machine, grouped, &rows);
    println!("{text}");
    write_json(args.output.json.as_deref(), || {
        let rows: Vec<Value> = rows.iter().map(Row::json).collect();
        json!({"machine": machine.line(), "idle_connections": IDLE, "streams": STREAMS, "memory_kb": rows})
    })?;
    if !args.output.no_write {
        insert(&[("memory", &text)])?;
    }
    Ok(())
}

fn table(machine: &Machine, grouped: bool, rows: &[Row]) -> String {
    let paces =
        PACES.map(|pace| format!("at most with {STREAMS} streams, {} events a second each", 1000 / pace));
    let mut text = format!(
        "Machine: {}.\nMB resident{}.\n\n\
         | | at rest | with {IDLE} idle connections | {} |\n|---|---:|---:|---:|---:|\n",
        machine.line(),
        if grouped { ", and in brackets as Kubernetes counts a container's" } else { "" },
        paces.join(" | ")
    );
    for row in rows {
        let title = match row.name {
            PLAIN => "plain hyper proxy".to_owned(),
            level => format!("Colophon, `{level}`"),
        };
        let _ = writeln!(text, "| {title} | {} |", row.cells().join(" | "));
    }
    text
}

impl Row {
    fn cells(&self) -> Vec<String> {
        [self.at_rest, self.idle].iter().chain(&self.streams).map(Memory::cell).collect()
    }

    fn json(&self) -> Value {
        let streams: Vec<Value> = (PACES.iter().zip(&self.streams))
            .map(|(pace, memory)| json!({"every_ms": pace, "at_most": memory.json()}))
            .collect();
        json!({"name": self.name, "at_rest": self.at_rest.json(), "idle": self.idle.json(), "streams": streams})
    }
}

impl Memory {
    fn cell(&self) -> String {
        let mb = |kb: u64| format!("{:.1}", kb as f64 / 1024.0);
        let working_set = self.working_set.map(|kb| format!(" ({})", mb(kb)));
        mb(self.resident) + &working_set.unwrap_or_default()
    }

    fn json(&self) -> Value {
        json!({"resident": self.resident, "working_set": self.working_set})
    }
}

/// Each load meets a process that has not seen another: memory that one took may not be given back before the next.
fn measure(name: &'static str, grouped: bool, machine: &Machine) -> Result<Row> {
    let stage = Stage::set(name, grouped, PACES[0], machine)?;
    pause(SETTLE);
    let at_rest = stage.memory()?;
    let connections = connected(stage.proxy.listen)?;
    pause(SETTLE);
    let idle = stage.memory()?;
    drop((connections, stage));
    let mut streams = [Memory::default(); 2];
    for (most, pace) in streams.iter_mut().zip(PACES) {
        *most = Stage::set(name, grouped, pace, machine)?.most_with_streams(machine)?;
    }
    Ok(Row { name, at_rest, idle, streams })
}

/// A contender, alone. In this order they end.
struct Stage {
    proxy: Server,
    _upstream: Server,
    group: Option<Group>,
    _folder: Folder,
}

impl Stage {
    fn set(name: &'static str, grouped: bool, pace: u64, machine: &Machine) -> Result<Stage> {
        let folder = Folder::new()?;
        let mut upstream = pinned_to(&machine.load_cores, &program("fixed-upstream"));
        upstream.args(["--every-ms", &pace.to_string()]);
        let upstream = Server::announced("direct", upstream)?;
        let group = grouped.then(Group::new).transpose()?;
        let file = uncached(if name == PLAIN { "plain-proxy" } else { "colophon" }, &folder.0)?;
        let mut command = pinned_to(&[machine.proxy_core], &file);
        if let Some(group) = &group {
            command = group.within(&command);
        }
        let proxy = if name == PLAIN {
            Server::plain(command, upstream.listen)?
        } else {
            Server::colophon(command, name, &folder.0.join(name), upstream.listen)?
        };
        Ok(Stage { proxy, _upstream: upstream, group, _folder: folder })
    }

    fn memory(&self) -> Result<Memory> {
        let working_set = self.group.as_ref().map(Group::working_set_kb).transpose()?;
        Ok(Memory { resident: machine::resident_kb(self.proxy.pid())?, working_set })
    }

    /// The most there was while [`STREAMS`] streams were read.
    fn most_with_streams(&self, machine: &Machine) -> Result<Memory> {
        let over = AtomicBool::new(false);
        let (resident, working_set) = (AtomicU64::new(0), AtomicU64::new(0));
        std::thread::scope(|scope| {
            let watch = scope.spawn(|| -> Result<()> {
                while !over.load(Ordering::Relaxed) {
                    let now = self.memory()?;
                    resident.fetch_max(now.resident, Ordering::Relaxed);
                    working_set.fetch_max(now.working_set.unwrap_or(0), Ordering::Relaxed);
                    pause(LOOK);
                }
                Ok(())
            });
            let read = load::streams(&machine.load_cores, self.proxy.listen, STREAMS, REPEAT);
            over.store(true, Ordering::Relaxed);
            watch.join().unwrap_or_else(|_| bail!("cannot watch the memory"))?;
            read.map(drop)
        })?;
        let working_set = self.group.is_some().then(|| working_set.into_inner());
        Ok(Memory { resident: resident.into_inner(), working_set })
    }
}

/// A copy of a program of which nothing is in memory: pages of files are counted against the group that first read them.
fn uncached(name: &str, folder: &Path) -> Result<PathBuf> {
    let copy = folder.join(name);
    fs::copy(program(name), &copy).with_context(|| format!("cannot copy {name}"))?;
    let mut dd = Command::new("dd");
    dd.arg(format!("of={}", copy.display())).args([
        "oflag=nocache",
        "conv=notrunc,fdatasync",
        "count=0",
        "status=none",
    ]);
    run_quietly(&mut dd).context("cannot have a file leave the page cache")?;
    Ok(copy)
}
