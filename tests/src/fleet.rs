//! A log of several replicas on one store, and sidecars that post to them.

use std::path::Path;

use crate::client::post;
use crate::colophon::{self, Colophon, Options};
use crate::receipts::Fetched;
use crate::upstream::Upstream;
use crate::wire::Message;

/// The answer of [`upstream`].
pub const ANSWER: &str = r#"{"id":"chatcmpl-1","object":"chat.completion","model":"m","choices":[]}"#;
/// The request of [`ask`].
pub const REQUEST: &str = r#"{"model":"m","messages":[]}"#;
/// The fleet's bearer token.
pub const TOKEN: &str = "a-token-of-the-tests";

/// A model server that always gives [`ANSWER`].
pub fn upstream() -> Upstream {
    Upstream::serve(|conn| {
        while conn.request().is_some() {
            let head = format!("Content-Type: application/json\r\nContent-Length: {}\r\n\r\n", ANSWER.len());
            conn.send(format!("HTTP/1.1 200 OK\r\n{head}{ANSWER}").as_bytes());
        }
    })
}

/// One answer through a proxy.
pub fn ask(colophon: &Colophon) -> Message {
    let response = post(colophon.listen(), "/v1/chat/completions", REQUEST);
    assert_eq!(response.status(), 200, "{}", response.text());
    response
}

/// The answer's receipt, verified.
pub fn verify(colophon: &Colophon, response: &Message) {
    let receipt = Fetched::of(response, colophon.listen());
    receipt.assert_verifies(colophon.listen(), REQUEST.as_bytes(), ANSWER.as_bytes());
}

/// One exchange with its verified receipt.
pub fn exchange(colophon: &Colophon) {
    verify(colophon, &ask(colophon));
}

/// What replicas and sidecars of one fleet have in common: the log's key and the token, in a folder.
pub struct Fleet<'a>(pub &'a Path);

impl Fleet<'_> {
    /// Makes key and token.
    pub fn new(folder: &Path) -> Fleet<'_> {
        let key = folder.join("log.pem");
        let (code, said) = colophon::run(&["key", "generate", &key.display().to_string()]);
        assert_eq!(code, 0, "{said}");
        std::fs::write(folder.join("token"), format!("{TOKEN}\n")).expect("a file");
        Fleet(folder)
    }

    /// A replica of the log, told where its store is.
    pub fn replica(&self, store: impl FnOnce(&mut Options)) -> Colophon {
        Colophon::start("http://127.0.0.1:1", |options| {
            self.keep_log(options);
            store(options);
        })
    }

    /// A replica whose store is a folder beside the key: `store`.
    pub fn replica_on_disk(&self) -> Colophon {
        let store = format!("file://{}", self.0.join("store").display());
        self.replica(|options| {
            options.arg(&["--store", &store]);
        })
    }

    /// Makes a replica of what `options` start.
    pub fn keep_log(&self, options: &mut Options) {
        options.arg(&["--role", "log", "--origin", "log.example/fleet"]);
        options.arg(&["--log-key", &self.0.join("log.pem").display().to_string()]);
        options.arg(&["--log-token-file", &self.0.join("token").display().to_string()]);
    }

    /// A sidecar that posts to the replicas at `urls`.
    pub fn sidecar(&self, upstream: &str, urls: &[String], more: impl FnOnce(&mut Options)) -> Colophon {
        Colophon::start(upstream, |options| {
            self.post_to(urls, options);
            more(options);
        })
    }

    /// Makes a sidecar of what `options` start.
    pub fn post_to(&self, urls: &[String], options: &mut Options) {
        options.arg(&["--log-url", &urls.join(",")]);
        options.arg(&["--log-token-file", &self.0.join("token").display().to_string()]);
    }
}

/// Where a replica takes posts.
pub fn url(replica: &Colophon) -> String {
    format!("http://{}", replica.listen())
}
