//! What platform teams load into Prometheus and Grafana: rules that promtool accepts, and queries that find data.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use colophon_receipt::level::Outcome;
use colophon_tests::client::{get, post, post_bytes, send};
use colophon_tests::colophon::Colophon;
use colophon_tests::process::{self, Process};
use colophon_tests::upstream::Upstream;
use colophon_tests::{PATIENCE, paths, wait_for};
use serde_json::Value;

const CHAT: &str = "/v1/chat/completions";
const WHOLE: &str = r#"{"id":"c","model":"m-1","choices":[{"index":0,"message":{"role":"assistant","content":"hello"},"finish_reason":"stop"}],"usage":{"prompt_tokens":5,"completion_tokens":7,"total_tokens":12}}"#;
const STREAM: &str = "data: {\"id\":\"c\",\"model\":\"m-1\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hello\"},\"finish_reason\":null}]}\n\n\
                      data: {\"id\":\"c\",\"model\":\"m-1\",\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":7,\"total_tokens\":12}}\n\n\
                      data: [DONE]\n\n";

/// Names that only processes with certain settings have: witnesses, timestamps, evidence, provers, TLS, a collector, or monitors.
const CONDITIONAL: [&str; 17] = [
    "colophon_log_forks_total",
    "colophon_anchor_age_seconds",
    "colophon_tsa_far_off",
    "colophon_witness_contradicts",
    "colophon_witness_quorum_size",
    "colophon_witness_failed_total",
    "colophon_witness_cosigned_at_seconds",
    "colophon_attestation_age_seconds",
    "colophon_upstream_evidence_refused_total",
    "colophon_proof_jobs",
    "colophon_proofs_missed_total",
    "colophon_proof_webhooks_given_up_total",
    "colophon_tls_certificate_not_after_seconds",
    "colophon_otlp_failed_total",
    "colophon_monitor_found_total",
    "colophon_monitor_standing",
    "colophon_monitor_read_at_seconds",
];

fn chart(file: &str) -> PathBuf {
    paths::root().join("helm/colophon").join(file)
}

fn have(program: &str) -> bool {
    let there = Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success());
    if !there {
        eprintln!(
            "skipped: {program} is not installed (Debian's package prometheus; `cargo xtask setup` says why)"
        );
    }
    there
}

/// The queries of all panels.
fn panels() -> Vec<(String, String)> {
    let text = fs::read_to_string(chart("dashboards/colophon.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let queries = panels.flat_map(|panel| {
        let targets = panel["targets"].as_array().cloned().unwrap_or_default();
        let title = panel["title"].as_str().unwrap_or_default().to_owned();
        targets.into_iter().map(move |target| (title.clone(), target["expr"].as_str().unwrap().to_owned()))
    });
    queries.collect()
}

/// Names of metrics in a query, or in a file of rules.
fn names(text: &str) -> BTreeSet<String> {
    let word = |c: char| !(c.is_ascii_alphanumeric() || c == '_');
    let ours = |name: &&str| {
        name.starts_with("colophon_")
            || name.starts_with("gen_ai_server")
            || name.starts_with("gen_ai_client")
    };
    text.split(word).filter(ours).map(str::to_owned).collect()
}

/// Answers, streams and a failure have passed.
fn busy() -> (Upstream, Colophon) {
    let upstream = Upstream::serve(|conn| {
        while let Some(request) = conn.request() {
            let text = request.text();
            let (status, kind, body) = match () {
                () if text.contains("missing") => ("404 Not Found", "application/json", "{}"),
                () if text.contains("\"stream\":true") => ("200 OK", "text/event-stream", STREAM),
                () => ("200 OK", "application/json", WHOLE),
            };
            let head = format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}", body.len());
            conn.send(format!("{head}\r\n\r\n{body}").as_bytes());
        }
    });
    let colophon = Colophon::signing(&upstream.url());
    traffic(&colophon);
    colophon.until_ended_as(Outcome::UpstreamError, 1);
    (upstream, colophon)
}

fn traffic(colophon: &Colophon) {
    for body in ["{}", "{\"stream\":true}", "{\"model\":\"missing\"}"] {
        post(colophon.listen(), CHAT, body);
    }
}

#[test]
fn rules_are_accepted_and_fire_when_they_should() {
    if !have("promtool") {
        return;
    }
    for (command, file) in [("check", "colophon.yaml"), ("test", "tests.yaml")] {
        let mut promtool = Command::new("promtool");
        promtool.args([command, "rules", file]).current_dir(chart("rules"));
        let output = process::run(&mut promtool, PATIENCE);
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success(), "promtool {command} rules {file}: {said}");
        assert!(said.contains("SUCCESS"), "{said}");
    }
}

#[test]
fn every_metric_that_a_rule_or_panel_names_exists() {
    let (_upstream, colophon) = busy();
    let exposed = get(colophon.admin(), "/metrics").text();
    let rules = fs::read_to_string(chart("rules/colophon.yaml")).unwrap();
    let mut named = names(&rules);
    panels().iter().for_each(|(_, query)| named.extend(names(query)));
    assert!(named.len() > 25, "{named:?}");
    for name in named.iter().filter(|name| !CONDITIONAL.contains(&name.as_str())) {
        let exists = exposed
            .lines()
            .any(|line| line.strip_prefix(name.as_str()).is_some_and(|rest| rest.starts_with([' ', '{'])));
        assert!(exists, "{name} is in no exposition");
    }
    // What only some processes have is at least documented.
    let documented = operations();
    for name in named.iter().filter(|name| CONDITIONAL.contains(&name.as_str())) {
        assert!(documented.contains(name.as_str()), "{name} is not in docs/OPERATIONS.md");
    }
}

fn operations() -> String {
    fs::read_to_string(paths::root().join("docs/OPERATIONS.md")).unwrap()
}

/// Whoever is woken finds what it means, and what to do.
#[test]
fn every_alert_has_its_section() {
    let rules = fs::read_to_string(chart("rules/colophon.yaml")).unwrap();
    let alerts: BTreeSet<_> =
        rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() > 15, "{alerts:?}");
    let operations = operations();
    let section = operations.split("\n## Alerts").nth(1).unwrap().split("\n## ").next().unwrap();
    let sections: Vec<_> =
        section.split("\n### ").skip(1).map(|text| text.split_once('\n').unwrap()).collect();
    let told: BTreeSet<_> = sections.iter().map(|(name, _)| *name).collect();
    assert_eq!(told, alerts, "sections and alerts differ");
    for (name, text) in sections {
        assert!(text.len() > 120, "{name} says nothing");
    }
}

/// What is quoted as said by the program is what it says.
#[test]
fn messages_that_are_explained_are_in_the_program() {
    let mut source = String::new();
    for folder in ["ledger/src", "proxy/src", "signer/src", "verify/src"] {
        read(&paths::root().join(folder), &mut source);
    }
    // A message may go over several lines of the source.
    let source = source.replace("\\\n", " ").split_whitespace().collect::<Vec<_>>().join(" ");
    let operations = operations();
    let section = operations.split("\n## What to do when").nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let mut quoted = 0;
    for bold in section.split("**").skip(1).step_by(2) {
        for message in bold.split('"').skip(1).step_by(2).filter(|message| message.contains(' ')) {
            for part in message.split(['…', '`']).map(str::trim).filter(|part| part.len() > 8) {
                let part = part.trim_end_matches([':', '.']).replace(" N ", "\u{0}");
                for part in part.split('\u{0}').map(str::trim) {
                    quoted += 1;
                    assert!(source.contains(part), "nothing says {part:?}");
                }
            }
        }
    }
    assert!(quoted > 20, "{quoted}");
}

fn read(folder: &Path, all: &mut String) {
    for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            read(&entry, all);
        } else if entry.extension().is_some_and(|ext| ext == "rs") && !entry.ends_with("tests.rs") {
            all.push_str(&fs::read_to_string(&entry).unwrap());
        }
    }
}

#[test]
fn a_prometheus_finds_data_for_the_dashboard() {
    if !have("prometheus") {
        return;
    }
    let (_upstream, colophon) = busy();
    let folder = tempfile::tempdir().unwrap();
    let (_prometheus, address) = prometheus(folder.path(), colophon.admin());
    let mut missing: Vec<(String, String)> = panels()
        .into_iter()
        .filter(|(_, query)| !names(query).iter().any(|name| CONDITIONAL.contains(&name.as_str())))
        .collect();
    assert!(missing.len() > 20, "{}", missing.len());
    // Rates need two scrapes with traffic between.
    let all = wait_for(Duration::from_secs(60), || {
        traffic(&colophon);
        missing.retain(|(_, query)| {
            let query = query.replace("$instance", ".*").replace("$__rate_interval", "10s");
            answer(address, &query).is_none_or(|result| result.is_empty())
        });
        missing.is_empty().then_some(())
    });
    assert!(all.is_some(), "no data: {missing:#?}");
}

/// A Prometheus that scrapes every second, once it is ready.
fn prometheus(folder: &Path, target: SocketAddr) -> (Process, SocketAddr) {
    let config = folder.join("prometheus.yml");
    let text = format!(
        "global: {{scrape_interval: 1s}}\nrule_files: [{}]\nscrape_configs:\n- job_name: colophon\n  static_configs:\n  - targets: [\"{target}\"]\n",
        chart("rules/colophon.yaml").display()
    );
    fs::write(&config, text).unwrap();
    let address = process::free_address();
    let mut command = Command::new("prometheus");
    command.arg(format!("--config.file={}", config.display()));
    command.arg(format!("--storage.tsdb.path={}", folder.join("data").display()));
    command.arg(format!("--web.listen-address={address}"));
    let process = Process::start(&mut command, &folder.join("log"));
    let ready = wait_for(PATIENCE, || {
        std::net::TcpStream::connect(address).ok()?;
        (get(address, "/-/ready").status() == 200).then_some(())
    });
    assert!(ready.is_some(), "{}", process.log());
    (process, address)
}

/// The result of an instant query; `None` while it cannot be answered.
fn answer(prometheus: SocketAddr, query: &str) -> Option<Vec<Value>> {
    let form: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let request = post_bytes("/api/v1/query", "Connection: close\r\n", &format!("query={form}"));
    let request =
        String::from_utf8(request).unwrap().replace("application/json", "application/x-www-form-urlencoded");
    let response: Value = serde_json::from_slice(&send(prometheus, request.as_bytes()).body).unwrap();
    assert_eq!(response["status"], "success", "{query}: {response}");
    let result = response["data"]["result"].as_array().cloned();
    // A series of nothing but NaN is no data.
    result.map(|all| all.into_iter().filter(|one| one["value"][1] != "NaN").collect())
}
