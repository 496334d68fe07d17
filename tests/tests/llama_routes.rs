//! What llama.cpp's server serves, learnt by asking it: the profile names every route that it has, and no spelling under
//! which it generates gets by without a record.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;

use colophon_policies::{Body, Head, Policy, identify, known_routes};
use colophon_receipt::Level;
use colophon_tests::client::{Client, get, send};
use colophon_tests::colophon::Colophon;
use colophon_tests::llama::{Llama, MODEL};
use colophon_tests::paths;
use colophon_tests::wire::Message;
use http::{HeaderMap, Method};

/// Routes of the profile that the server of these tests does not have, and where they are from. A newer one that has them
/// fails the test, so that they leave this list.
const NOT_SERVED: &[(&str, &str)] = &[
    ("/predict", "only where AIP_MODE says that it is Vertex"),
    ("/models/sse", "only where it is a router of several models"),
    ("/models/load", "likewise"),
    ("/models/unload", "likewise"),
    ("/api/chat", "Ollama's names, which older servers have"),
    ("/api/tags", "likewise"),
    ("/api/show", "likewise"),
    ("/v1/streams", "older servers"),
];

/// A body with what each of the routes asks for, and as little work as can be.
fn body() -> String {
    format!(
        r#"{{"model":"{MODEL}","messages":[{{"role":"user","content":"a"}}],"prompt":"a","input":"a","max_tokens":1,"max_output_tokens":1,"n_predict":1,"query":"a","documents":["a"]}}"#
    )
}

fn request(method: &str, target: &str, body: &str) -> Vec<u8> {
    let head = format!("{method} {target} HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n");
    let length = body.len();
    format!("{head}Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}").into_bytes()
}

/// A connection to the server that is opened again once it closes it.
struct Asker(SocketAddr, Client);

impl Asker {
    fn new(to: SocketAddr) -> Self {
        Self(to, Client::connect(to))
    }

    fn ask(&mut self, method: &str, target: &str, body: &str) -> Message {
        let request = request(method, target, body);
        for _ in 0..2 {
            if self.1.send(&request) {
                let answer = self.1.response(method);
                if !answer.start.is_empty() {
                    return answer;
                }
            }
            self.1 = Client::connect(self.0);
        }
        panic!("no answer to {method} {target}");
    }
}

/// Whether there is a route behind an answer. That there is none is said in these words.
fn served(answer: &Message) -> bool {
    answer.status() != 404 || !answer.text().contains("File Not Found")
}

#[test]
fn the_profile_names_the_routes_that_it_has() {
    let llama = Llama::start();
    let mut asker = Asker::new(llama.address());
    assert!(!served(&asker.ask("POST", "/no-such-route", "{}")), "what is not served looks as if it were");

    // What the profile names is there.
    let (mut there, mut missing) = (0, BTreeSet::new());
    let profile: Vec<_> = known_routes().into_iter().filter(|route| route.server == "llama-cpp").collect();
    assert!(profile.len() > 50);
    for route in &profile {
        // A stream that nobody has begun is not there either; without its name the route says what it misses.
        let path = route.path.replace("/{conv_id}", "").replace("{id_slot}", "0");
        let body = if route.method == Method::POST { "{}" } else { "" };
        if served(&asker.ask(route.method.as_str(), &path, body)) {
            there += 1;
            assert!(
                !NOT_SERVED.iter().any(|(path, _)| *path == route.path),
                "{} is served, and listed as if not",
                route.path
            );
        } else {
            missing.insert(format!("{} {}", route.method, route.path));
        }
    }
    let known = |missing: &String| {
        // A router's list of models is also added to and removed from.
        let changes = ["POST /models", "DELETE /models"].contains(&missing.as_str());
        changes || NOT_SERVED.iter().any(|(path, _)| missing.ends_with(&format!(" {path}")))
    };
    let unexplained: Vec<_> = missing.iter().filter(|missing| !known(missing)).collect();
    assert!(unexplained.is_empty(), "in the profile, and not served: {unexplained:?}");
    assert!(there >= 40, "{there} routes are served");

    // What is there the profile names: every text in the program that could be a path is asked for.
    let mut asked = 0;
    for path in paths_in_the_program() {
        for method in ["GET", "POST", "DELETE", "PUT"] {
            let answer = asker.ask(method, &path, if method == "GET" { "" } else { "{}" });
            asked += 1;
            let web_page = method == "GET"
                && answer.header("content-type").is_none_or(|kind| !kind.starts_with("application/json"));
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let known = profile.iter().any(|route| {
                let plain = route.path.replace("/{conv_id}", "").replace("{id_slot}", ":id_slot");
                route.method == method && plain == path
            });
            assert!(!served(&answer) || known || web_page, "{method} {path} is served: {}", answer.text());
        }
    }
    println!("{there} of {} routes of the profile are served; {asked} requests for others", profile.len());
    assert!(asked > 1_000);
}

/// Texts in the server's program that look like paths. Short ones are part of its instructions, and not found by this.
fn paths_in_the_program() -> BTreeSet<String> {
    let packages = paths::installed("python/lib").expect("a Python environment: run `cargo xtask setup`");
    let pythons = fs::read_dir(packages).expect("its folder").flatten();
    let folder =
        pythons.map(|python| python.path().join("site-packages/xllamacpp")).find(|path| path.is_dir());
    let files = fs::read_dir(folder.expect("llama.cpp")).expect("its folder").flatten();
    let program = files.map(|file| file.path()).find(|path| path.to_string_lossy().ends_with(".so"));
    let bytes = fs::read(program.expect("llama.cpp's program")).expect("a file");
    let mut found = BTreeSet::new();
    for (at, _) in bytes.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
        let rest = bytes[at..].iter().take(48);
        let path: String = rest
            .take_while(|byte| byte.is_ascii_alphanumeric() || b"/_-:.".contains(byte))
            .map(|byte| char::from(*byte))
            .collect();
        let elsewhere = ["/workspace", "/usr", "/etc", "/rust", "/proc", "/sys", "/dev", "/opt", "//"];
        // An absolute form would be another host's.
        if path.len() > 4 && !elsewhere.iter().any(|folder| path.starts_with(folder)) {
            found.insert(path);
        }
    }
    found
}

/// Level by a policy.
fn level(policy: &Policy, method: &str, target: &str) -> (Level, bool) {
    // As the proxy takes a target in absolute form apart; the query is none of the path.
    let local = target.split_once("://").map_or(target, |(_, rest)| &rest[rest.find('/').unwrap_or(0)..]);
    let (path, query) = local.split_once('?').map_or((local, None), |(path, query)| (path, Some(query)));
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    let (route, headers) = (identify(&method, path), HeaderMap::new());
    let (route, headers, tenant, caller, body) = (&route, &headers, None, None, Body::Unread);
    let head = Head { method: &method, path, query, headers, route, tenant, caller, body };
    (policy.decide(&head).level, route.generating)
}

#[test]
fn no_spelling_under_which_it_generates_gets_by_without_a_record() {
    let llama = Llama::start();
    let colophon = Colophon::before(&llama.url());
    let builtin = Policy::builtin();
    let corpus =
        fs::read_to_string(paths::root().join("policies/profiles/spellings.txt")).expect("the corpus");
    let body = body();
    let close = |method: &str, target: &str| {
        let request = String::from_utf8(request(method, target, &body)).expect("text");
        request.replacen("Host: x\r\n", "Host: x\r\nConnection: close\r\n", 1).into_bytes()
    };
    let (mut tried, mut generating, mut plain) = (0, BTreeSet::new(), 0);
    for line in corpus.lines().filter(|line| !line.starts_with('#')) {
        let (method, target) = line.split_once(' ').expect("a method and a target");
        let direct = send(llama.address(), &close(method, target));
        tried += 1;
        // A route's own answer, errors included, is JSON; that of the HTTP library to what it cannot read is empty.
        if !served(&direct) || serde_json::from_slice::<serde_json::Value>(&direct.body).is_err() {
            continue;
        }
        let (level, known) = level(&builtin, method, target);
        assert!(known && level == Level::Sign, "llama.cpp serves `{line}` ({}): {level}", direct.text());
        let through = send(colophon.listen(), &close(method, target));
        match through.header("colophon-record") {
            Some(record) => assert!(record.contains(";level=sign;"), "{line}: {record}"),
            // What hyper refuses is forwarded to nobody.
            None => {
                assert_eq!((through.status(), through.body.len()), (400, 0), "{line}: {}", through.text())
            }
        }
        plain += usize::from(direct.status() == 200);
        generating.insert(line.to_owned());
    }
    println!(
        "llama.cpp serves {} of {tried} spellings, {plain} with an answer of the model",
        generating.len()
    );
    assert!(tried >= 1_000 && generating.len() >= 50 && plain >= 20, "{tried}: {generating:?}");
    assert!(get(llama.address(), "/health").status() == 200, "it has survived");
}
