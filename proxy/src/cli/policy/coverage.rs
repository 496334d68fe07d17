//! `colophon policy coverage`.

use super::explain::decision_json;
use super::load;
use crate::cli::term;
use crate::files;
use clap::Args;
use colophon_policies::{Covered, openapi_routes};
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;

/// Longer OpenAPI documents are not read.
const MAX_DOCUMENT: usize = 32 << 20;

#[derive(Debug, Args)]
pub(in crate::cli) struct CoverageOptions {
    /// The policy: a YAML file, or a folder of them [default: the built-in one]
    #[arg(value_name = "FILE")]
    policy: Option<PathBuf>,
    /// The server's OpenAPI document: what it answers to GET /openapi.json, saved
    #[arg(long, value_name = "FILE")]
    openapi: PathBuf,
    /// Exit code 1 if a generating route passes or no profile names a route
    #[arg(long)]
    strict: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(options: &CoverageOptions) -> anyhow::Result<ExitCode> {
    let policy = load(options.policy.as_deref())?;
    let name = options.openapi.display();
    let routes = openapi_routes(&files::read(&options.openapi, MAX_DOCUMENT)?)
        .map_err(|reason| anyhow::anyhow!("{name}: {reason}"))?;
    let covered = policy.coverage(&routes);
    let doubtful = covered.iter().filter(|route| route.doubtful()).count();
    if options.json {
        let routes: Vec<_> = covered.iter().map(to_json).collect();
        outln!("{}", json!({"routes": routes, "doubtful": doubtful}));
    } else {
        out!("{}", to_text(&covered));
        outln!("{} routes, {doubtful} of them generate and pass, or are in no profile", covered.len());
    }
    Ok(if options.strict && doubtful > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn to_text(covered: &[Covered]) -> String {
    let width = covered.iter().map(|route| route.path.chars().count()).max().unwrap_or(0).min(60);
    let mut text = String::new();
    for route in covered {
        let rules: Vec<String> = route.rules.iter().map(|rule| term::safe_line(rule)).collect();
        let mark = if route.doubtful() { term::refused("!") } else { " ".to_owned() };
        let refused = if route.decision.refusal.is_some() { " refused" } else { "" };
        text.push_str(&format!(
            "{mark} {:6} {:width$} {:12} {:6}{refused} {}\n",
            route.method.as_str(),
            term::safe_line(&route.path),
            route.api.as_str(),
            route.decision.level.as_str(),
            rules.join(" | "),
        ));
    }
    text
}

fn to_json(route: &Covered) -> serde_json::Value {
    json!({
        "method": route.method.as_str(),
        "path": route.path,
        "api": route.api.as_str(),
        "operation": &*route.operation,
        "generating": route.generating,
        "rules": route.rules.iter().map(|rule| rule.to_string()).collect::<Vec<String>>(),
        "decision": decision_json(&route.decision),
        "doubtful": route.doubtful(),
    })
}
