//! `colophon bypass`: break glass.

use super::{get, term};
use crate::bypass::Begin;
use crate::config::duration;
use crate::files;
use anyhow::Context as _;
use clap::Args;
use colophon_ledger::bypass::MAX_TIME;
use http::{Method, Request, StatusCode, header};
use http_body_util::Full;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// The admin side answers from memory.
const PATIENCE: Duration = Duration::from_secs(30);

/// `/etc/passwd` is read no further.
const MAX_FILE: usize = 1 << 20;

#[derive(Debug, Args)]
pub(super) struct BypassArgs {
    /// Break the glass for this long, at most 24h: what cannot be recorded goes on unrecorded, and is counted
    #[arg(long = "for", value_name = "TIME", value_parser = time, requires = "reason", conflicts_with = "end")]
    time: Option<Duration>,
    /// Why, for the log
    #[arg(long, value_name = "TEXT", requires = "time")]
    reason: Option<String>,
    /// Who, for the log; nothing proves it [default: the name of the user]
    #[arg(long, value_name = "NAME", requires = "time")]
    by: Option<String>,
    /// End the one in force
    #[arg(long)]
    end: bool,
    /// Data folder of the running `colophon serve`
    #[arg(long, env = "COLOPHON_DATA", value_name = "DIR", default_value = "./colophon-data")]
    data: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: BypassArgs) -> anyhow::Result<ExitCode> {
    let access = get::access(&args.data)?;
    let (method, body) = match (args.time, args.reason) {
        (Some(time), Some(reason)) => {
            let who = args.by.or_else(user).context("say who breaks the glass: --by NAME")?;
            let for_ms = u64::try_from(time.as_millis())?;
            (Method::POST, serde_json::to_vec(&Begin { who, reason, for_ms })?)
        }
        _ if args.end => (Method::DELETE, Vec::new()),
        _ => (Method::GET, Vec::new()),
    };
    let request = Request::builder()
        .method(&method)
        .uri(format!("http://{}/bypass", access.address))
        .header(header::HOST, access.address.to_string())
        .header(header::AUTHORIZATION, format!("Bearer {}", access.token))
        .body(Full::from(body))?;
    let response = get::send_within(PATIENCE, request, None)
        .await
        .context("a running colophon holds the data folder, and its admin side is needed")?;
    let body: serde_json::Value =
        serde_json::from_slice(response.body()).context("the admin side answered with something else")?;
    if response.status() != StatusCode::OK {
        anyhow::bail!("{}", body["error"].as_str().unwrap_or(response.status().as_str()));
    }
    if args.json {
        outln!("{body}");
    } else {
        print(&method, &body["bypass"]);
    }
    Ok(ExitCode::SUCCESS)
}

fn print(method: &Method, bypass: &serde_json::Value) {
    let text = |name: &str| term::safe_line(bypass[name].as_str().unwrap_or_default());
    let time = |name: &str| colophon_verify::time(bypass[name].as_u64().unwrap_or_default());
    if bypass.is_null() {
        outln!("no bypass is in force: what a rule with failurePolicy Fail cannot record is refused");
        return;
    }
    match *method {
        Method::DELETE => {
            outln!("{}: {} exchanges went unrecorded", term::green("ended"), bypass["exchanges"])
        }
        _ => outln!(
            "{} until {}: what cannot be recorded goes on unrecorded, {} so far",
            term::refused("BYPASS"),
            time("until"),
            bypass["exchanges"]
        ),
    }
    outln!("by          {}", text("who"));
    outln!("because     {}", text("why"));
    outln!("since       {}", time("from"));
    if bypass["remembered"] == false {
        outln!("the data folder cannot be written: a restart ends it, and loses its count");
    }
}

/// The name of whoever runs this: by the environment, which cron and containers leave empty, or by the process's user.
fn user() -> Option<String> {
    let mut named = ["SUDO_USER", "USER", "LOGNAME"].into_iter().filter_map(|name| std::env::var(name).ok());
    named.find(|name| !name.is_empty()).or_else(|| {
        let status = files::read_text(Path::new("/proc/self/status"), MAX_FILE).ok()?;
        let users = files::read_text(Path::new("/etc/passwd"), MAX_FILE).unwrap_or_default();
        uid(&status).map(|uid| name_of(uid, &users))
    })
}

/// The real user's number, by `/proc/self/status`.
fn uid(status: &str) -> Option<&str> {
    status.lines().find_map(|line| line.strip_prefix("Uid:"))?.split_whitespace().next()
}

/// A user's name by `/etc/passwd`; the number where it has none, as in a container.
fn name_of(uid: &str, users: &str) -> String {
    let fields = users.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let name = fields.filter(|fields| fields.get(2) == Some(&uid)).find_map(|fields| fields.first().copied());
    name.filter(|name| !name.is_empty()).map_or_else(|| format!("uid {uid}"), str::to_owned)
}

/// A time that a bypass may last.
fn time(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        time if time > MAX_TIME => {
            Err(format!("`{text}`: 24h is the most; break the glass again if it has to be longer"))
        }
        time => Ok(time),
    }
}

#[cfg(test)]
mod tests;
