//! Servers that speak Azure's and Google's interfaces: Azurite, and fake-gcs-server with the little that it lacks;
//! `cargo xtask test --full` installs both.

use std::env;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use aws_lc_rs::hmac;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use tempfile::TempDir;

use crate::colophon::Options;
use crate::process::{self, Process};
use crate::{PATIENCE, client, paths, wait_for};

/// Azurite's account.
pub const ACCOUNT: &str = "colophontests";
/// What Google's clients show.
pub const TOKEN: &str = "ya29.a-token-of-the-tests";

/// A store that lies behind a server of the test's own. Dropping it kills the server.
pub struct Cloud {
    _process: Process,
    _folder: TempDir,
    /// Of URLs of what is in it.
    scheme: &'static str,
    /// What a client is told of the server and its credentials.
    pub env: Vec<(String, String)>,
}

/// Whether a server heeds what a write depends on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Preconditions {
    /// As it should.
    Honoured,
    /// It overwrites what it was told not to.
    Ignored,
}

/// The program, unless it is not installed.
///
/// # Panics
/// When it is to be there (`cargo xtask test --full`) and is not.
fn installed(test: &str, name: &str) -> Option<PathBuf> {
    let found = paths::installed(name);
    if found.is_none() {
        assert!(env::var_os("COLOPHON_TEST_FULL").is_none(), "{name} is not installed");
        eprintln!("skipped: {test}: no {name} (cargo xtask test --full installs it)");
    }
    found
}

/// The secret of [`ACCOUNT`], base64.
pub fn azure_key() -> String {
    BASE64_STANDARD.encode(b"a key of the tests, as long as Azure's are: 64 bytes or 512 bits")
}

impl Cloud {
    /// Azurite in memory, with these containers; `None` where it is not installed.
    pub fn azure(test: &str, containers: &[&str]) -> Option<Self> {
        let program = installed(test, "azurite/node_modules/azurite/dist/src/blob/main.js")?;
        let folder = tempfile::Builder::new().prefix("azurite-").tempdir().expect("a temporary folder");
        let mut command = Command::new("node");
        command.arg(program).args(["--blobPort", "0", "--inMemoryPersistence", "--disableTelemetry"]);
        command.env("AZURITE_ACCOUNTS", format!("{ACCOUNT}:{}", azure_key())).current_dir(folder.path());
        let mut process = Process::start(&mut command, &folder.path().join("log"));
        let address = said(&mut process, |log| log.split_once("listens on http://")?.1.lines().next());
        for container in containers {
            make_container(address, container);
        }
        let set = [
            ("AZURE_STORAGE_ACCOUNT_NAME", ACCOUNT.to_owned()),
            ("AZURE_STORAGE_ACCOUNT_KEY", azure_key()),
            ("AZURE_ENDPOINT", format!("http://{address}/{ACCOUNT}")),
        ];
        Some(Self { _process: process, _folder: folder, scheme: "az", env: variables(&set) })
    }

    /// fake-gcs-server in memory, with these buckets; `None` where it is not installed.
    pub fn google(test: &str, buckets: &[&str], preconditions: Preconditions) -> Option<Self> {
        let program = installed(test, "fake-gcs-server/fake-gcs-server")?;
        let folder = tempfile::Builder::new().prefix("gcs-").tempdir().expect("a temporary folder");
        let mut command = Command::new(program);
        command.args(["127.0.0.1:0", TOKEN]).args(buckets);
        if preconditions == Preconditions::Ignored {
            command.env("IGNORE_PRECONDITIONS", "1");
        }
        let mut process = Process::start(&mut command, &folder.path().join("log"));
        let address = said(&mut process, |log| log.lines().next());
        let set =
            [("GOOGLE_BEARER_TOKEN", TOKEN.to_owned()), ("GOOGLE_BASE_URL", format!("http://{address}"))];
        Some(Self { _process: process, _folder: folder, scheme: "gs", env: variables(&set) })
    }

    /// The URL of a place in it.
    pub fn url(&self, place: &str) -> String {
        format!("{}://{place}", self.scheme)
    }

    /// Has a proxy keep its log in `place`.
    pub fn keep_in(&self, place: &str, options: &mut Options) {
        options.arg(&["--store", &self.url(place)]);
        options.env.extend_from_slice(&self.env);
    }
}

fn variables(set: &[(&str, String)]) -> Vec<(String, String)> {
    set.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
}

/// The address that a server says it listens on, once it does.
fn said(process: &mut Process, find: impl Fn(&str) -> Option<&str>) -> SocketAddr {
    let found = wait_for(PATIENCE, || {
        assert!(process.ended().is_none(), "it has ended:\n{}", process.log());
        find(&process.log())?.trim().parse().ok()
    });
    found.unwrap_or_else(|| panic!("it does not listen:\n{}", process.log()))
}

/// Makes a container, with a request signed as Azure's "Shared Key" has it: nothing that the product uses makes one.
fn make_container(address: SocketAddr, container: &str) {
    let mut date = Command::new("date");
    date.args(["-u", "+%a, %d %b %Y %H:%M:%S GMT"]).env("LC_ALL", "C");
    let date = String::from_utf8(process::run(&mut date, PATIENCE).stdout).expect("a date");
    let date = date.trim();
    let headers = format!("x-ms-date:{date}\nx-ms-version:2021-12-02\n");
    // An account's name stands once for itself, once for the path.
    let resource = format!("/{ACCOUNT}/{ACCOUNT}/{container}\nrestype:container");
    // Eleven standard headers, none of which is sent with a value.
    let signed = format!("PUT\n{}{headers}{resource}", "\n".repeat(11));
    let key = BASE64_STANDARD.decode(azure_key()).expect("base64");
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), signed.as_bytes());
    let signature = BASE64_STANDARD.encode(tag);
    let request = format!(
        "PUT /{ACCOUNT}/{container}?restype=container HTTP/1.1\r\nHost: {address}\r\nContent-Length: 0\r\n\
         Connection: close\r\nx-ms-date: {date}\r\nx-ms-version: 2021-12-02\r\n\
         Authorization: SharedKey {ACCOUNT}:{signature}\r\n\r\n"
    );
    let answer = client::send(address, request.as_bytes());
    assert_eq!(answer.status(), 201, "{}", answer.text());
}
