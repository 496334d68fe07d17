//! The model server's own count of requests beside the log's: `log count --backend-metrics`.

use super::super::{get, term};
use anyhow::Context as _;
use colophon_verify::count::Totals;
use std::io::Read as _;

/// Metrics pages are shorter.
const MAX_METRICS: u64 = 4 << 20;

/// A counter of finished requests that a server is known to have.
struct Known {
    server: &'static str,
    counter: &'static str,
    /// What it counts otherwise than the log.
    differs: &'static str,
}

const KNOWN: [Known; 4] = [
    Known {
        server: "vLLM",
        counter: "vllm:request_success_total",
        differs: "generations that finished; a request with n choices or several prompts counts as so many; embeddings, \
                  errors and aborted requests do not count",
    },
    Known {
        server: "SGLang",
        counter: "sglang:num_requests_total",
        differs: "generations; a batch of prompts counts as so many; only with --enable-metrics",
    },
    Known { server: "TGI", counter: "tgi_request_count", differs: "generations, failed ones included" },
    Known { server: "TGI", counter: "tgi_request_count_total", differs: "generations, failed ones included" },
];

/// Counters of servers that do not count requests at all.
const TOKENS_ONLY: &str = "llamacpp:";

/// What a server counted.
#[derive(Debug, PartialEq)]
pub(super) struct Backend {
    pub(super) server: String,
    pub(super) counter: String,
    /// Requests since its start, or between two readings.
    pub(super) requests: f64,
    pub(super) differs: String,
    /// Whether it is the difference of two readings.
    pub(super) between: bool,
}

/// Reads one page of metrics, or an earlier and a later one, each from a URL or a saved file.
pub(super) async fn read(places: &[String], counter: Option<&str>) -> anyhow::Result<Backend> {
    anyhow::ensure!(places.len() <= 2, "--backend-metrics is given once, or twice for a difference");
    let mut readings = Vec::new();
    for place in places {
        let text = page(place).await?;
        readings.push(
            reading(&text, counter).with_context(|| format!("the metrics of {}", term::safe_line(place)))?,
        );
    }
    let between = readings.len() > 1;
    let mut last = readings.pop().context("--backend-metrics needs a URL or a file")?;
    if let Some(first) = readings.pop() {
        anyhow::ensure!(
            first.counter == last.counter && first.requests <= last.requests,
            "the two readings are not an earlier and a later one of one server: it may have been started anew"
        );
        last.requests -= first.requests;
    }
    Ok(Backend { between, ..last })
}

async fn page(place: &str) -> anyhow::Result<String> {
    if place.starts_with("http://") || place.starts_with("https://") {
        let answer = get::get(place, None).await?;
        anyhow::ensure!(
            answer.status().is_success(),
            "{} answered {}",
            term::safe_line(place),
            answer.status()
        );
        return Ok(String::from_utf8_lossy(answer.body()).into_owned());
    }
    let mut text = String::new();
    let file =
        std::fs::File::open(place).with_context(|| format!("cannot read {}", term::safe_line(place)))?;
    file.take(MAX_METRICS).read_to_string(&mut text)?;
    Ok(text)
}

/// The sum of the server's counter over all its labels.
fn reading(text: &str, counter: Option<&str>) -> anyhow::Result<Backend> {
    let of = |counter: &str| sum(text, counter);
    let made = |server: &str, counter: &str, requests, differs: &str| Backend {
        server: server.into(),
        counter: counter.into(),
        requests,
        differs: differs.into(),
        between: false,
    };
    if let Some(counter) = counter {
        let requests = of(counter).with_context(|| format!("no counter {}", term::safe_line(counter)))?;
        return Ok(made("the server", counter, requests, "what this counter counts is yours to know"));
    }
    for known in &KNOWN {
        if let Some(requests) = of(known.counter) {
            return Ok(made(known.server, known.counter, requests, known.differs));
        }
    }
    let tokens_only = text.lines().any(|line| line.starts_with(TOKENS_ONLY));
    anyhow::ensure!(
        !tokens_only,
        "llama.cpp counts tokens and not requests, so there is nothing to put beside the log"
    );
    anyhow::bail!("no known counter of requests (vLLM, SGLang, TGI); name one with --backend-counter")
}

/// The samples of one metric in the Prometheus text format, added up.
fn sum(text: &str, metric: &str) -> Option<f64> {
    let samples = text.lines().filter_map(|line| {
        let rest = line.strip_prefix(metric)?;
        let value = match rest.strip_prefix('{') {
            // Label values may hold spaces and braces; what follows the last brace does not.
            Some(labels) => labels.rsplit_once('}')?.1,
            None if rest.starts_with([' ', '\t']) => rest,
            None => return None,
        };
        value
            .split_whitespace()
            .next()?
            .parse::<f64>()
            .ok()
            .filter(|value| value.is_finite() && *value >= 0.0)
    });
    samples.fold(None, |sum, value| Some(sum.unwrap_or(0.0) + value))
}

impl Backend {
    pub(super) fn print(&self, totals: &Totals) {
        let since = if self.between { "between the two readings" } else { "since its own start" };
        let Backend { server, counter, requests, differs, .. } = self;
        let counter = term::safe_line(counter);
        outln!("backend     {server} counted {requests} requests {since} ({counter})");
        outln!("            beside {} recorded and {} passed in the log", totals.recorded, totals.passed);
        outln!("            it counts {differs}");
        outln!(
            "            nobody signed it, and the log counts refusals and failures too: a hint, no proof"
        );
    }

    pub(super) fn json(&self) -> serde_json::Value {
        let Backend { server, counter, requests, differs, between } = self;
        serde_json::json!({
            "server": server, "counter": counter, "requests": requests, "differs": differs, "between_readings": between,
        })
    }
}

#[cfg(test)]
mod tests;
