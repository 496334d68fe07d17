//! OpenTelemetry collectors: what an upstream in a collector's place got, read by others' definitions, and the real one.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::process::{self, Process};
use crate::upstream::Upstream;
use crate::{PATIENCE, paths, wait_for};

/// What came to `path` (`/v1/traces`, `/v1/metrics`), read by a program of `checkers/` with OpenTelemetry's own definitions for
/// Python.
///
/// # Panics
/// A request is not what OTLP over HTTP says, or `secret` is in one.
pub fn read(collector: &Upstream, path: &str, checker: &str) -> Vec<Value> {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(paths::python());
    command.arg(paths::tests("checkers").join(checker));
    let all = collector.received();
    for (number, request) in all.iter().filter(|request| request.target() == path).enumerate() {
        assert_eq!(request.method(), "POST");
        assert_eq!(request.header("content-type"), Some("application/x-protobuf"));
        let bytes = String::from_utf8_lossy(&request.body);
        assert!(!bytes.contains("secret"), "content in what a collector gets");
        let file = folder.path().join(number.to_string());
        fs::write(&file, &request.body).unwrap();
        command.arg(file);
    }
    let output = process::run(&mut command, PATIENCE);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// OpenTelemetry's own collector, which prints what it gets.
pub struct Collector {
    process: Process,
    address: SocketAddr,
    _folder: TempDir,
}

impl Collector {
    /// Starts it; `None`, said loudly, where it is not installed.
    pub fn start() -> Option<Collector> {
        let Some(program) = paths::installed("otelcol/otelcol") else {
            eprintln!("skipped: no OpenTelemetry collector (cargo xtask test --full)");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("config.yaml");
        let address = process::free_address();
        let pipeline = "{receivers: [otlp], exporters: [debug]}";
        let text = format!(
            "receivers: {{otlp: {{protocols: {{http: {{endpoint: \"{address}\"}}}}}}}}\n\
             exporters: {{debug: {{verbosity: detailed}}}}\n\
             service:\n  telemetry: {{metrics: {{level: none}}}}\n  \
               pipelines: {{traces: {pipeline}, metrics: {pipeline}}}\n"
        );
        fs::write(&config, text).unwrap();
        let mut command = Command::new(program);
        command.arg(format!("--config=file:{}", config.display()));
        let process = Process::start(&mut command, &folder.path().join("log"));
        let ready = wait_for(PATIENCE, || TcpStream::connect(address).ok());
        assert!(ready.is_some(), "{}", process.log());
        Some(Collector { process, address, _folder: folder })
    }

    /// For `--otlp-endpoint`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What it printed so far.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Waits until it has printed each of these.
    ///
    /// # Panics
    /// It does not.
    pub fn expect(&self, all: &[&str]) {
        for expected in all {
            let told = wait_for(PATIENCE, || self.log().contains(expected).then_some(()));
            assert!(told.is_some(), "no {expected:?} in {}", self.log());
        }
    }
}
