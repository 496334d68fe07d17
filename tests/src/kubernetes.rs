//! Helm, and a real Kubernetes API server with its etcd; `cargo xtask test --full` builds them.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::certs::Authority;
use crate::process::{self, Process, free_address};
use crate::session::Session;
use crate::{paths, wait_for};

/// The bearer token of who may do everything,
const TOKEN: &str = "a-token-of-the-tests";
/// and that of the ServiceAccount [`ACCOUNT`], who may do what roles allow.
const ACCOUNT_TOKEN: &str = "another-token-of-the-tests";
/// The injector's, of a release `rel` in the namespace `colophon`.
const ACCOUNT: &str = "system:serviceaccount:colophon:rel-injector";
/// The server takes its time to make its own objects.
const START: Duration = Duration::from_secs(120);
/// Helm and the server answer within this time, on a busy machine too.
const ANSWER: Duration = Duration::from_secs(120);

/// A program that set-up builds, as `folder/name`, unless it is not there: then this says so and the test ends.
///
/// # Panics
/// When it is to be there (`cargo xtask test --full`) and is not.
pub fn installed(test: &str, name: &str) -> Option<PathBuf> {
    let found = paths::installed(name);
    if found.is_none() {
        assert!(std::env::var_os("COLOPHON_TEST_FULL").is_none(), "{name} is not installed");
        eprintln!("skipped: {test}: no {name} (cargo xtask test --full builds it)");
    }
    found
}

/// The folder of other projects' CustomResourceDefinitions; see [`installed`].
///
/// # Panics
/// As [`installed`].
pub fn definitions(test: &str) -> Option<PathBuf> {
    let found = paths::installed("crds");
    if found.is_none() {
        assert!(std::env::var_os("COLOPHON_TEST_FULL").is_none(), "no CustomResourceDefinitions");
        eprintln!("skipped: {test}: no CustomResourceDefinitions (cargo xtask test --full fetches them)");
    }
    found
}

/// The chart.
pub fn chart() -> PathBuf {
    paths::root().join("helm/colophon")
}

/// Helm, with files of its own.
pub struct Helm {
    program: PathBuf,
    home: TempDir,
    kubeconfig: Option<PathBuf>,
}

impl Helm {
    /// As it is installed; see [`installed`].
    pub fn new(test: &str) -> Option<Self> {
        let program = installed(test, "kubernetes/helm")?;
        Some(Self { program, home: tempfile::tempdir().expect("a temporary folder"), kubeconfig: None })
    }

    /// Against this server from now on.
    pub fn at(mut self, server: &ApiServer) -> Self {
        self.kubeconfig = Some(server.kubeconfig());
        self
    }

    /// Runs it to its end.
    pub fn run(&self, args: &[&str]) -> Output {
        let mut command = Command::new(&self.program);
        for (variable, folder) in
            [("HELM_CACHE_HOME", "cache"), ("HELM_CONFIG_HOME", "config"), ("HELM_DATA_HOME", "data")]
        {
            command.env(variable, self.home.path().join(folder));
        }
        let none = self.home.path().join("no-kubeconfig");
        command.env("KUBECONFIG", self.kubeconfig.as_deref().unwrap_or(&none));
        process::run(command.args(args), ANSWER)
    }

    /// What it prints, where it succeeds.
    ///
    /// # Panics
    /// Where it does not.
    pub fn output(&self, args: &[&str]) -> String {
        let out = self.run(args);
        let error = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "helm {args:?}: {error}{}", String::from_utf8_lossy(&out.stdout));
        String::from_utf8(out.stdout).expect("UTF-8")
    }
}

/// A running API server. Dropping it kills it and its etcd.
pub struct ApiServer {
    // In the order in which they end.
    _server: Process,
    _etcd: Process,
    folder: TempDir,
    ca: Authority,
    address: SocketAddr,
}

impl ApiServer {
    /// Starts one with etcd; see [`installed`].
    ///
    /// # Panics
    /// When it is not ready in time.
    pub fn start(test: &str) -> Option<Self> {
        let (server, etcd) =
            (installed(test, "kubernetes/kube-apiserver")?, installed(test, "kubernetes/server")?);
        let folder = tempfile::Builder::new().prefix("colophon-").tempdir().expect("a temporary folder");
        let file = |name: &str| folder.path().join(name);
        let (clients, peers, address) = (free_address(), free_address(), free_address());
        let mut command = Command::new(etcd);
        command.arg("--data-dir").arg(file("etcd")).arg("--unsafe-no-fsync");
        for flag in ["--listen-client-urls", "--advertise-client-urls"] {
            command.arg(format!("{flag}=http://{clients}"));
        }
        for flag in ["--listen-peer-urls", "--initial-advertise-peer-urls"] {
            command.arg(format!("{flag}=http://{peers}"));
        }
        command.arg(format!("--initial-cluster=default=http://{peers}"));
        let etcd = Process::start(&mut command, &file("etcd.log"));
        let ca = Authority::new();
        ca.issue("kube-apiserver").write(&file("tls.crt"), &file("tls.key"));
        // Any key does for the tokens of ServiceAccounts.
        ca.issue("accounts").write(&file("accounts.crt"), &file("accounts.key"));
        let tokens = format!("{TOKEN},admin,1,\"system:masters\"\n{ACCOUNT_TOKEN},{ACCOUNT},2\n");
        fs::write(file("tokens.csv"), tokens).expect("the tokens");
        let mut command = Command::new(server);
        command.arg(format!("--etcd-servers=http://{clients}"));
        command.arg(format!("--secure-port={}", address.port()));
        for (flag, name) in [
            ("--tls-cert-file", "tls.crt"),
            ("--tls-private-key-file", "tls.key"),
            ("--cert-dir", "certificates"),
            ("--token-auth-file", "tokens.csv"),
            ("--service-account-key-file", "accounts.crt"),
            ("--service-account-signing-key-file", "accounts.key"),
        ] {
            command.arg(format!("{flag}={}", file(name).display()));
        }
        command.args([
            "--bind-address=127.0.0.1",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--service-cluster-ip-range=10.0.0.0/24",
            "--authorization-mode=RBAC",
            "--endpoint-reconciler-type=none",
        ]);
        let process = Process::start(&mut command, &file("server.log"));
        let mut server = Self { _server: process, _etcd: etcd, folder, ca, address };
        let ready = wait_for(START, || {
            if let Some(status) = server._server.ended() {
                panic!("the API server ended with {status}:\n{}", server._server.log());
            }
            let mut session = Session::tls(server.address, server.ca.client(&["http/1.1"])).ok()?;
            (server.ask(&mut session, "GET", "/readyz", "", "application/json").0 == 200).then_some(())
        });
        assert!(ready.is_some(), "the API server is not ready:\n{}", server._server.log());
        Some(server)
    }

    fn ask(&self, session: &mut Session, method: &str, path: &str, body: &str, kind: &str) -> (u16, Answer) {
        let mut request = session.request(method, path, body.to_owned());
        let headers = request.headers_mut();
        headers.insert("authorization", format!("Bearer {TOKEN}").parse().expect("a header"));
        headers.insert("content-type", kind.parse().expect("a header"));
        let response = session.send(request);
        let warnings = response.all("warning").map(str::to_owned).collect();
        let object = serde_json::from_slice(&response.body).unwrap_or(Value::Null);
        (response.status(), Answer { object, warnings })
    }

    /// Asks it for something: status, object and warnings.
    pub fn call(&self, method: &str, path: &str, body: &Value) -> (u16, Answer) {
        let mut session = Session::tls(self.address, self.ca.client(&["http/1.1"])).expect("a handshake");
        let kind = if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.ask(&mut session, method, path, &body, kind)
    }

    /// Makes an object.
    ///
    /// # Panics
    /// Where that is refused.
    pub fn create(&self, path: &str, object: &Value) -> Answer {
        let (status, answer) = self.call("POST", path, object);
        assert_eq!(status, 201, "{path}: {}", answer.object);
        answer
    }

    /// Makes an object of a file's text.
    ///
    /// # Panics
    /// Where that is refused.
    pub fn create_yaml(&self, path: &str, text: &str) {
        let mut session = Session::tls(self.address, self.ca.client(&["http/1.1"])).expect("a handshake");
        let (status, answer) = self.ask(&mut session, "POST", path, text, "application/yaml");
        assert_eq!(status, 201, "{path}: {}", answer.object);
    }

    /// Makes a namespace, and the ServiceAccount in it that a controller makes elsewhere.
    pub fn namespace(&self, name: &str, labels: &Value) {
        self.create("/api/v1/namespaces", &json!({"metadata": {"name": name, "labels": labels}}));
        let path = format!("/api/v1/namespaces/{name}/serviceaccounts");
        self.create(&path, &json!({"metadata": {"name": "default"}}));
    }

    /// Reads an object.
    ///
    /// # Panics
    /// Where there is none.
    pub fn get(&self, path: &str) -> Value {
        let (status, answer) = self.call("GET", path, &Value::Null);
        assert_eq!(status, 200, "{path}: {}", answer.object);
        answer.object
    }

    /// How a program is told to be the ServiceAccount of a release's injector.
    pub fn account(&self) -> Vec<String> {
        let file = |name: &str, text: &str| {
            let path = self.folder.path().join(name);
            fs::write(&path, text).expect("a file");
            path.display().to_string()
        };
        let (token, ca) = (file("account-token", ACCOUNT_TOKEN), file("account-ca.pem", &self.ca.pem()));
        let server = format!("https://{}", self.address);
        [("--api-server", server), ("--api-token-file", token), ("--api-ca", ca)]
            .into_iter()
            .flat_map(|(flag, value)| [flag.to_owned(), value])
            .collect()
    }

    /// A file by which kubectl and Helm find it.
    pub fn kubeconfig(&self) -> PathBuf {
        let path = self.folder.path().join("kubeconfig");
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "tests",
            "clusters": [{"name": "tests", "cluster": {
                "server": format!("https://{}", self.address),
                "certificate-authority-data": BASE64_STANDARD.encode(self.ca.pem()),
            }}],
            "users": [{"name": "tests", "user": {"token": TOKEN}}],
            "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": "tests"}}],
        });
        fs::write(&path, config.to_string()).expect("the kubeconfig");
        path
    }
}

/// What the server says.
#[derive(Debug)]
pub struct Answer {
    /// The object, or a Status.
    pub object: Value,
    /// Its `Warning` headers.
    pub warnings: Vec<String>,
}

/// The base64 member of a Secret's `data`, as a file.
pub fn secret_file(secret: &Value, name: &str, to: &Path) {
    let text = secret["data"][name].as_str().unwrap_or_else(|| panic!("no {name} in {secret}"));
    fs::write(to, BASE64_STANDARD.decode(text).expect("base64")).expect("a file");
}
