//! Receipts: fetched as a client would, checked by the program strangers would use, and looked into.

use std::fs;
use std::net::SocketAddr;
use std::process::Command;

use colophon_receipt::cbor::Value;
use colophon_receipt::fields;
use colophon_receipt::level::Outcome;
use colophon_receipt::receipt::{Field, Receipt};
use colophon_receipt::record::{RecordLeaf, decode_field};

use crate::colophon::LOGGED_WITHIN;
use crate::wire::Message;
use crate::{PATIENCE, client, paths, process, wait_for};

/// A fetched receipt.
pub struct Fetched {
    /// The file's bytes.
    pub json: Vec<u8>,
    /// The record leaf in it.
    pub leaf: RecordLeaf,
    fields: Vec<(u8, Value)>,
}

impl Fetched {
    /// The receipt that the response promises.
    ///
    /// # Panics
    /// When it promises none, or the receipt does not come.
    pub fn of(response: &Message, from: SocketAddr) -> Self {
        Self::with(response, |path| client::get(from, path))
    }

    /// The same, fetched by other means than a plain connection.
    ///
    /// # Panics
    /// As [`Fetched::of`].
    pub fn with(response: &Message, mut get: impl FnMut(&str) -> Message) -> Self {
        let header = response.header("colophon-receipt").unwrap_or_else(|| {
            panic!("no Colophon-Receipt in {:?} {:?}", response.start, response.headers);
        });
        let path = header.strip_prefix('"').and_then(|rest| rest.split('"').next()).expect("a quoted path");
        let receipt = wait_for(LOGGED_WITHIN, || {
            let answer = get(path);
            match answer.status() {
                202 => {
                    assert!(answer.header("retry-after").is_some(), "202 without Retry-After");
                    None
                }
                200 => Some(answer),
                other => panic!("{path}: {other} {}", answer.text()),
            }
        });
        let receipt = receipt.unwrap_or_else(|| panic!("{path}: still not logged"));
        assert_eq!(receipt.header("content-type"), Some("application/colophon-receipt+json"));
        Self::parse(receipt.body)
    }

    /// Reads a receipt's bytes.
    pub fn parse(json: Vec<u8>) -> Self {
        let receipt: Receipt = serde_json::from_slice(&json).expect("a receipt");
        let leaf = RecordLeaf::decode(&receipt.record.leaf.0).expect("a record leaf");
        let opened = receipt.record.fields.iter().filter_map(|field| match field {
            Field::Opened(opened) => Some(decode_field(&opened.value.0).expect("a field")),
            Field::Withheld(_) => None,
        });
        Self { fields: opened.collect(), leaf, json }
    }

    /// The whole receipt.
    pub fn receipt(&self) -> Receipt {
        serde_json::from_slice(&self.json).expect("a receipt")
    }

    /// How the exchange ended.
    pub fn outcome(&self) -> Outcome {
        self.leaf.outcome
    }

    /// An opened field's value.
    pub fn field(&self, number: u8) -> Option<Value> {
        self.fields.iter().find(|(n, _)| *n == number).map(|(_, value)| value.clone())
    }

    /// Digest and size of the response body that the record commits to.
    pub fn response_body(&self) -> Option<fields::BodyDigest> {
        self.field(fields::RESPONSE_BODY)
            .map(|value| fields::BodyDigest::read(&value).expect("a body digest"))
    }

    /// Digest and size of the request body that the record commits to.
    pub fn request_body(&self) -> Option<fields::BodyDigest> {
        self.field(fields::REQUEST_BODY).map(|value| fields::BodyDigest::read(&value).expect("a body digest"))
    }

    /// Runs `colophon-verify` on it with the proxy's own trust file and the bodies that are given: its exit code, and
    /// what it said.
    pub fn verify(&self, from: SocketAddr, request: Option<&[u8]>, response: Option<&[u8]>) -> (i32, String) {
        let trust = client::get(from, "/.well-known/colophon/keys");
        assert_eq!(trust.status(), 200, "the trust file: {}", trust.text());
        self.verify_by(&trust.body, request, response)
    }

    /// The same, with a trust file fetched by other means.
    pub fn verify_by(&self, trust: &[u8], request: Option<&[u8]>, response: Option<&[u8]>) -> (i32, String) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let save = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            fs::write(&path, bytes).expect("a file in the temporary folder");
            path
        };
        let mut command = Command::new(paths::program("colophon-verify"));
        command.arg(save("receipt.json", &self.json)).arg("--trust").arg(save("trust.json", trust));
        if let Some(body) = request {
            command.arg("--request").arg(save("request", body));
        }
        if let Some(body) = response {
            command.arg("--response").arg(save("response", body));
        }
        let output = process::run(&mut command, PATIENCE);
        let said = [output.stdout, output.stderr].concat();
        (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&said).into_owned())
    }

    /// What `colophon-verify --json` reports by this trust file, without the bodies: its exit code, and the report.
    ///
    /// # Panics
    /// When it gives no JSON.
    pub fn report(&self, trust: &[u8], more: &[&str]) -> (i32, serde_json::Value) {
        self.report_by(Command::new(paths::program("colophon-verify")), trust, more)
    }

    /// The same by `colophon verify`, with the trust file that the proxy at this address publishes.
    ///
    /// # Panics
    /// When it gives no JSON.
    pub fn report_by_colophon(&self, from: SocketAddr, more: &[&str]) -> (i32, serde_json::Value) {
        let trust = client::get(from, "/.well-known/colophon/keys").body;
        self.report_by(crate::colophon::command(&["verify"]), &trust, more)
    }

    /// The same by whichever program, with its first words.
    ///
    /// # Panics
    /// When it gives no JSON.
    pub fn report_by(&self, mut command: Command, trust: &[u8], more: &[&str]) -> (i32, serde_json::Value) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (receipt, trusted) = (folder.path().join("receipt"), folder.path().join("trust"));
        fs::write(&receipt, &self.json).expect("a file in the temporary folder");
        fs::write(&trusted, trust).expect("a file in the temporary folder");
        command.arg(receipt).arg("--trust").arg(trusted).arg("--json").args(more);
        let output = process::run(&mut command, PATIENCE);
        let report = serde_json::from_slice(&output.stdout);
        let report =
            report.unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
        (output.status.code().unwrap_or(-1), report)
    }

    /// It verifies with these bodies; and with a flipped byte in either it does not.
    ///
    /// # Panics
    /// When that is not so.
    pub fn assert_verifies(&self, from: SocketAddr, request: &[u8], response: &[u8]) {
        let (code, said) = self.verify(from, Some(request), Some(response));
        assert_eq!(code, 0, "colophon-verify:\n{said}\n{}", String::from_utf8_lossy(&self.json));
        let spoilt = spoil(response);
        let (code, said) = self.verify(from, Some(request), Some(&spoilt));
        assert_eq!(code, 1, "colophon-verify accepted another response:\n{said}");
    }
}

/// The same bytes with one bit flipped; a byte where there was none.
fn spoil(bytes: &[u8]) -> Vec<u8> {
    let mut spoilt = bytes.to_vec();
    match spoilt.last_mut() {
        Some(byte) => *byte ^= 1,
        None => spoilt.push(b'x'),
    }
    spoilt
}
