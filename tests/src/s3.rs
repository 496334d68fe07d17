//! versitygw, a real S3 server that enforces `If-None-Match`, `If-Match` and Object Lock; `cargo xtask test --full`
//! builds it.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use colophon_receipt::merkle::sha256;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path;
use object_store::signer::{SignedUrlOptions, Signer};
use tempfile::TempDir;

use crate::colophon::Options;
use crate::process::{self, Process};
use crate::wire::Message;
use crate::{PATIENCE, client, paths, wait_for};

/// The credentials of its one account.
pub const KEY: &str = "colophon-tests";
/// Their secret half.
pub const SECRET: &str = "a-secret-of-the-tests";

/// One version of an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// Its name.
    pub key: String,
    /// Which version.
    pub id: String,
    /// The digest of its bytes, as the server has it.
    pub e_tag: String,
}

/// The text of the first element of a name.
fn tag(xml: &str, name: &str) -> Option<String> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    rest.split_once(&format!("</{name}>")).map(|(text, _)| text.replace("&#34;", "").replace("&quot;", ""))
}

/// A running server with a folder of its own. Dropping it kills it.
pub struct S3 {
    process: Process,
    folder: TempDir,
    address: SocketAddr,
    /// Its buckets are on a small file system of their own.
    small: bool,
}

impl S3 {
    /// Starts one, unless it is not installed: then this says so and the test ends.
    ///
    /// # Panics
    /// When it is to be there (`cargo xtask test --full`) and is not.
    pub fn start(test: &str) -> Option<Self> {
        Self::start_with(test, None)
    }

    /// One whose buckets together hold so many bytes, if a file system of that size can be mounted here.
    pub fn start_small(test: &str, bytes: usize) -> Option<Self> {
        Self::start_with(test, Some(bytes))
    }

    fn start_with(test: &str, size: Option<usize>) -> Option<Self> {
        if paths::installed("versitygw/versitygw").is_none() {
            assert!(std::env::var_os("COLOPHON_TEST_FULL").is_none(), "versitygw is not installed");
            eprintln!("skipped: {test}: no versitygw (cargo xtask test --full builds it)");
            return None;
        }
        let folder = tempfile::Builder::new().prefix("s3-").tempdir().expect("a temporary folder");
        for part in ["buckets", "versions", "attributes"] {
            fs::create_dir(folder.path().join(part)).expect("a folder");
        }
        let buckets = folder.path().join("buckets");
        if let Some(bytes) = size {
            let mut mount = Command::new("mount");
            mount.args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs"]).arg(&buckets);
            if !mount.output().is_ok_and(|done| done.status.success()) {
                eprintln!("skipped: {test}: no small file system can be mounted here");
                return None;
            }
        }
        let address = process::free_address();
        let process = spawn(&folder, address, size.is_some());
        let mut server = Self { process, folder, address, small: size.is_some() };
        server.until_ready();
        Some(server)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The folder that holds a bucket's objects as files.
    pub fn bucket_folder(&self, bucket: &str) -> PathBuf {
        self.folder.path().join("buckets").join(bucket)
    }

    /// Makes a bucket; with `lock`, one with Object Lock.
    pub fn make_bucket(&self, bucket: &str, lock: bool) {
        let mut command = Command::new(paths::installed("versitygw/versitygw").expect("versitygw"));
        command.args(["admin", "--access", KEY, "--secret", SECRET, "--endpoint-url"]);
        command.arg(format!("http://{}", self.address));
        command.args(["create-bucket", "--owner", KEY, "--bucket", bucket]);
        if lock {
            command.arg("--object-lock-enabled-for-bucket");
        }
        let output = process::run(&mut command, PATIENCE);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "bucket {bucket}: {said}");
    }

    /// Has a proxy keep its log in `url`, with this server behind it.
    pub fn keep_in(&self, url: &str, options: &mut Options) {
        self.keep_behind(url, self.address, options);
    }

    /// The same, by way of a proxy in front of the server.
    pub fn keep_behind(&self, url: &str, endpoint: SocketAddr, options: &mut Options) {
        options.arg(&["--store", url]);
        let endpoint = format!("http://{endpoint}");
        for (name, value) in [
            ("AWS_ACCESS_KEY_ID", KEY),
            ("AWS_SECRET_ACCESS_KEY", SECRET),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ENDPOINT_URL", &endpoint),
        ] {
            options.env.push((name.to_owned(), value.to_owned()));
        }
    }

    /// One signed request to `bucket/object?query`; `object` may be empty.
    pub fn request(
        &self,
        method: &str,
        bucket: &str,
        object: &str,
        query: &[(&str, &str)],
        body: &[u8],
    ) -> Message {
        let store = self.client(bucket);
        let digest = BASE64_STANDARD.encode(sha256(body));
        let options = SignedUrlOptions::default().with_query(query.iter().copied()).with_signed_header(
            http::HeaderName::from_static("x-amz-checksum-sha256"),
            http::HeaderValue::try_from(&digest).expect("base64"),
        );
        let path = Path::from(object);
        let method = http::Method::from_bytes(method.as_bytes()).expect("a method");
        let signed = store.signed_url_opts(method.clone(), &path, Duration::from_secs(60), &options);
        let url = wait_for_nothing(signed).expect("a signed URL");
        let target = url.as_str().split_once("//").and_then(|(_, rest)| rest.find('/').map(|at| &rest[at..]));
        let target = target.expect("a path");
        let head = format!(
            "{method} {target} HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\nx-amz-checksum-sha256: {digest}\r\n\
             Connection: close\r\n\r\n",
            self.address,
            body.len()
        );
        client::send(self.address, &[head.as_bytes(), body].concat())
    }

    /// Every version of every object in a bucket.
    pub fn versions(&self, bucket: &str) -> Vec<Version> {
        let (mut found, mut marker) = (Vec::new(), String::new());
        loop {
            let mut query = vec![("versions", ""), ("max-keys", "1000")];
            if !marker.is_empty() {
                query.push(("key-marker", &marker));
            }
            let answer = self.request("GET", bucket, "", &query, b"");
            assert_eq!(answer.status(), 200, "{}", answer.text());
            let text = answer.text();
            let read =
                |part: &str, name: &str| tag(part, name).unwrap_or_else(|| panic!("no {name}: {part}"));
            for part in text.split("<Version>").skip(1) {
                let part = part.split("</Version>").next().unwrap_or_default();
                found.push(Version {
                    key: read(part, "Key"),
                    id: read(part, "VersionId"),
                    e_tag: read(part, "ETag"),
                });
            }
            match tag(&text, "NextKeyMarker").filter(|_| text.contains("<IsTruncated>true")) {
                Some(next) => marker = next,
                None => return found,
            }
        }
    }

    fn client(&self, bucket: &str) -> AmazonS3 {
        let builder = AmazonS3Builder::new()
            .with_bucket_name(bucket)
            .with_region("us-east-1")
            .with_endpoint(format!("http://{}", self.address))
            .with_allow_http(true)
            .with_access_key_id(KEY)
            .with_secret_access_key(SECRET);
        builder.build().expect("a client")
    }

    /// Kills it where it stands.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again on the same folders and port.
    pub fn restart(&mut self) {
        self.process = spawn(&self.folder, self.address, self.small);
        self.until_ready();
    }

    /// The small file system grows.
    pub fn grow(&self, bytes: usize) {
        assert!(self.small, "it is not small");
        let mut mount = Command::new("mount");
        mount.args(["-o", &format!("remount,size={bytes}")]).arg(self.folder.path().join("buckets"));
        assert!(mount.status().is_ok_and(|status| status.success()), "it cannot grow");
    }

    fn until_ready(&mut self) {
        let up = wait_for(PATIENCE, || {
            assert!(self.process.ended().is_none(), "versitygw has ended:\n{}", self.process.log());
            TcpStream::connect(self.address).ok()
        });
        assert!(up.is_some(), "versitygw does not listen:\n{}", self.process.log());
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        if self.small {
            self.process.kill();
            Command::new("umount").arg("-l").arg(self.folder.path().join("buckets")).status().ok();
        }
    }
}

fn spawn(folder: &TempDir, address: SocketAddr, small: bool) -> Process {
    let mut command = Command::new(paths::installed("versitygw/versitygw").expect("versitygw"));
    command.args([
        "--access",
        KEY,
        "--secret",
        SECRET,
        "--port",
        &address.to_string(),
        "--keep-alive",
        "--quiet",
    ]);
    // tmpfs does not have extended attributes everywhere.
    let (option, part) = if small { ("--sidecar", "attributes") } else { ("--versioning-dir", "versions") };
    command.args(["posix", option]).arg(folder.path().join(part));
    command.arg(folder.path().join("buckets"));
    Process::start(&mut command, &folder.path().join("log"))
}

/// Runs a future that waits for nothing.
fn wait_for_nothing<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(future)
}
