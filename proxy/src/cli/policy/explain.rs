//! `colophon policy explain`.

use super::load;
use super::saved::Request;
use crate::cli::term;
use crate::files;
use crate::inspect::Inspected;
use anyhow::Context as _;
use clap::Args;
use colophon_policies::{Body, Decision, Draw, Explanation, Fit, Head, Refusal, Route, Sample, identify};
use colophon_receipt::Level;
use http::Method;
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;

/// A request or body longer than this is not read: `--inspect-limit` at most lets a policy see as much.
const MAX_READ: usize = 16 << 20;

#[derive(Debug, Args)]
pub(in crate::cli) struct ExplainOptions {
    /// The policy: a YAML file, or a folder of them [default: the built-in one]
    #[arg(value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Method of the request
    #[arg(long, default_value = "GET", value_name = "METHOD", conflicts_with = "request")]
    method: String,
    /// Path of the request as sent, with its query
    #[arg(long, value_name = "PATH", required_unless_present = "request")]
    path: Option<String>,
    /// A header: `Name: value`; may be given several times
    #[arg(long = "header", value_name = "HEADER")]
    headers: Vec<String>,
    /// File with the request's body. Without, the body of a method that usually has one is not known
    #[arg(long, value_name = "FILE", conflicts_with = "request")]
    body: Option<PathBuf>,
    /// File with a whole request, as sent: HTTP/1.1 text
    #[arg(long, value_name = "FILE", conflicts_with = "path")]
    request: Option<PathBuf>,
    /// The tenant that the caller belongs to
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
    /// Who calls
    #[arg(long, value_name = "NAME")]
    caller: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(options: &ExplainOptions) -> anyhow::Result<ExitCode> {
    let policy = load(options.policy.as_deref())?;
    let mut request = match (&options.request, &options.path) {
        (Some(file), _) => Request::parse(&files::read(file, MAX_READ)?)
            .with_context(|| format!("the request {}", file.display()))?,
        (None, path) => Request::new(&options.method, path.as_deref().unwrap_or("/"))?,
    };
    for header in &options.headers {
        request.add_header(header)?;
    }
    if let Some(file) = &options.body {
        request.body = Some(files::read(file, MAX_READ)?);
    }
    let route = identify(&request.method, &request.path);
    let inspected =
        request.body.as_ref().map(|body| Inspected::of_body(&policy, route.api, &request.headers, body));
    let bodiless = matches!(request.method, Method::GET | Method::HEAD | Method::OPTIONS | Method::DELETE);
    let body = match &inspected {
        Some(_) if request.body.as_ref().is_some_and(Vec::is_empty) => Body::Empty,
        Some(inspected) => inspected.body(),
        None if bodiless => Body::Empty,
        None => Body::Unread,
    };
    let head = Head {
        method: &request.method,
        path: &request.path,
        query: request.query.as_deref(),
        headers: &request.headers,
        route: &route,
        tenant: options.tenant.as_deref(),
        caller: options.caller.as_deref(),
        body,
    };
    let explanation = policy.explain(&head);
    if options.json {
        outln!("{}", to_json(&request, &route, &explanation));
    } else {
        out!("{}", to_text(&request, &route, &explanation));
    }
    Ok(ExitCode::SUCCESS)
}

fn to_text(request: &Request, route: &Route, explanation: &Explanation) -> String {
    let mut lines = Vec::new();
    let generates = if route.generating { ", and its answer carries what a model computed" } else { "" };
    lines.push(format!(
        "{} {} is `{}` ({}){generates}",
        request.method,
        term::safe_line(&request.path),
        route.api,
        route.operation
    ));
    if route.normalised_differs {
        let matched = term::safe_line(route.matched_path(&request.path));
        lines.push(format!(
            "The path is not written plainly: it is matched as {matched}, and `pass` does not apply"
        ));
    }
    for step in &explanation.steps {
        let place = term::dim(&term::safe_line(&step.place.to_string()));
        lines.push(format!("{} rule {}  {place}", mark(step.fit), term::bold(&term::safe_line(&step.rule))));
        if step.entries.is_empty() {
            lines.push("    it has no `matches`, so it matches everything".to_owned());
        }
        for (number, entry) in step.entries.iter().enumerate() {
            if step.entries.len() > 1 {
                lines.push(format!("  {} entry {}", mark(entry.fit), number + 1));
            }
            for check in &entry.checks {
                let (asks, saw) = (term::safe_line(&check.asks), term::safe_line(&check.saw));
                lines.push(format!("    {} {asks}: {saw}", mark(check.fit)));
            }
        }
    }
    if explanation.not_reached > 0 {
        lines.push(term::dim(&format!("  {} more rules are not reached", explanation.not_reached)));
    }
    lines.extend(decided(&explanation.decision));
    lines.push(String::new());
    lines.join("\n")
}

fn decided(decision: &Decision) -> Vec<String> {
    let mut lines = vec![format!(
        "→ rule {}: level {}, failurePolicy {}",
        term::bold(&term::safe_line(&decision.rule)),
        term::bold(decision.level.as_str()),
        decision.failure_policy
    )];
    if decision.asked != decision.level {
        lines.push(format!("  asked for: {}", decision.asked));
    }
    lines.extend(decision.why_lowered.as_ref().map(|why| format!("  why: {why}")));
    match &decision.refusal {
        Some(Refusal::Denied(reason)) => lines.push(format!("  refused, 403: {}", term::safe_line(reason))),
        Some(Refusal::Unavailable(level)) => {
            lines.push(format!("  refused, 503: {level} cannot be given here"))
        }
        None => {}
    }
    if decision.sends_to_attested() {
        let names: Vec<String> =
            decision.actions.upstreams.iter().map(|name| term::safe_line(name)).collect();
        lines.push(format!("  sent to the first that proves itself, else 503: {}", names.join(", ")));
    }
    if let Some(sample) = decision.actions.sample {
        lines.push(format!("  sampled: {}", sampled(&sample)));
    }
    lines
}

/// What a sample comes to, in this program.
fn sampled(sample: &Sample) -> String {
    let (to, share) = (sample.to, sample.percent());
    let when = match sample.draw {
        Draw::Local => "at once by the proxy's own randomness, which nobody can check (operator-influenced)",
        Draw::PostCommit => {
            "by the drand round that the end of its statement names, 20 minutes later, which anybody can re-compute"
        }
    };
    let came = match (sample.to <= Level::Sign, sample.draw) {
        (true, Draw::Local) => "it is signed".to_owned(),
        _ => format!("an evidence leaf says \"not done\": this program makes no `{to}` evidence"),
    };
    format!("{share} % are drawn for {to}, {when}; of what is drawn {came}")
}

fn mark(fit: Fit) -> String {
    match fit {
        Fit::Yes => term::green("✓"),
        Fit::No => term::refused("✗"),
        Fit::Maybe => "?".to_owned(),
    }
}

fn to_json(request: &Request, route: &Route, explanation: &Explanation) -> serde_json::Value {
    json!({
        "request": {
            "method": request.method.as_str(),
            "path": request.path,
            "matchedPath": route.matched_path(&request.path),
            "plain": !route.normalised_differs,
            "api": route.api.as_str(),
            "operation": &*route.operation,
            "generating": route.generating,
        },
        "steps": explanation.steps,
        "notReached": explanation.not_reached,
        "decision": decision_json(&explanation.decision),
    })
}

pub(super) fn decision_json(decision: &Decision) -> serde_json::Value {
    let refusal = decision.refusal.as_ref().map(|refusal| match refusal {
        Refusal::Denied(reason) => json!({"status": 403, "denied": &**reason}),
        Refusal::Unavailable(level) => json!({"status": 503, "unavailable": level.as_str()}),
    });
    let sample = decision.actions.sample.map(|sample| {
        json!({"threshold": sample.threshold.to_string(), "to": sample.to.as_str(), "draw": sample.draw.as_str()})
    });
    json!({
        "rule": &*decision.rule,
        "level": decision.level.as_str(),
        "asked": decision.asked.as_str(),
        "failurePolicy": decision.failure_policy.as_str(),
        "why": decision.why_lowered.as_deref(),
        "refusal": refusal,
        "sample": sample,
    })
}
