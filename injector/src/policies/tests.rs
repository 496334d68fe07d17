use std::sync::Mutex;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use tempfile::NamedTempFile;
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

use super::*;

/// Nothing here takes as long.
const PATIENCE: Duration = Duration::from_secs(20);

/// An API server that says what `answer` says; where that is nothing, nothing ever.
struct Server {
    api: Api,
    /// Method and path of each request, with its body.
    asked: Arc<Mutex<Vec<(String, Value)>>>,
    _token: NamedTempFile,
    stop: CancellationToken,
}

impl Server {
    async fn start(answer: impl Fn(&str) -> Option<(u16, Value)> + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let token = NamedTempFile::new().unwrap();
        std::fs::write(token.path(), "secret").unwrap();
        let api = Api::without_tls(format!("http://{address}"), token.path().to_owned());
        let (asked, stop) = (Arc::new(Mutex::new(Vec::new())), CancellationToken::new());
        let (answer, seen, end) = (Arc::new(answer), asked.clone(), stop.clone());
        let tasks = TaskTracker::new();
        tasks.clone().spawn(async move {
            while let Some(stream) = colophon_listen::next_connection(&listener, "a test's", &end).await {
                let (answer, seen) = (answer.clone(), seen.clone());
                let answer = move |request: Request<Incoming>| {
                    let (answer, seen) = (answer.clone(), seen.clone());
                    async move {
                        let what = format!("{} {}", request.method(), request.uri());
                        let body = request.into_body().collect().await.unwrap().to_bytes();
                        let body = serde_json::from_slice(&body).unwrap_or_default();
                        seen.lock().unwrap().push((what.clone(), body));
                        let Some((status, body)) = answer(&what) else { return std::future::pending().await };
                        let body = Full::new(Bytes::from(body.to_string()));
                        Response::builder().status(status).body(body).unwrap()
                    }
                };
                tasks.spawn(colophon_listen::small::serve(stream, end.clone(), answer));
            }
        });
        Server { api, asked, _token: token, stop }
    }

    /// Bodies of the requests that begin so.
    fn asked(&self, beginning: &str) -> Vec<Value> {
        let asked = self.asked.lock().unwrap();
        asked.iter().filter(|(what, _)| what.starts_with(beginning)).map(|(_, body)| body.clone()).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn policy(namespace: &str, name: &str) -> Value {
    json!({"metadata": {"name": name, "namespace": namespace, "uid": "u", "resourceVersion": "4", "generation": 1,
        "annotations": {"a": "b"}}, "spec": {"rules": [{"name": "all", "level": "sign"}]}})
}

/// What a server says whose namespace `clinic` has these policies and no ConfigMaps.
fn clinic(what: &str, policies: &[&str]) -> Option<(u16, Value)> {
    let items: Vec<Value> = policies.iter().map(|name| policy("clinic", name)).collect();
    match what {
        list if list.contains("/provenancepolicies?") => Some((200, json!({"items": items}))),
        get if get.starts_with("GET /api/v1/namespaces/clinic/configmaps/") => Some((404, json!({}))),
        pods if pods.contains("/pods?") => Some((200, json!({"items": []}))),
        _ => Some((200, json!({}))),
    }
}

#[tokio::test]
async fn a_namespace_that_is_gone_takes_nothing_from_the_others() {
    let server = Server::start(|what| match what.contains("/namespaces/gone/") {
        true => Some((403, json!({"message": "no such namespace"}))),
        false => clinic(what, &["a"]),
    })
    .await;
    let both = ["gone".to_owned(), "clinic".to_owned()];
    let policies = round(&server.api, &both).await.unwrap();
    assert_eq!(policies["clinic"][0].written, Written::Done);
    let made = server.asked("POST /api/v1/namespaces/clinic/configmaps");
    assert_eq!(made[0]["metadata"]["ownerReferences"][0]["uid"], "u");
    assert!(round(&server.api, &both[..1]).await.is_err(), "nothing at all: the next round waits for longer");
}

#[tokio::test]
async fn pods_are_listed_once_for_all_policies_of_a_namespace() {
    let server = Server::start(|what| clinic(what, &["a", "b", "c"])).await;
    let policies = round(&server.api, &["clinic".to_owned()]).await.unwrap();
    tell(&server.api, "clinic", &policies["clinic"]).await.unwrap();
    assert_eq!(server.asked("GET /api/v1/namespaces/clinic/pods?").len(), 1);
    let told = server.asked("PUT /apis/colophon.dev/v1alpha1/namespaces/clinic/provenancepolicies/");
    assert_eq!(told.len(), 3);
    assert_eq!(told[0]["status"]["conditions"][1]["reason"], "Written");
    let metadata =
        json!({"name": "a", "namespace": "clinic", "uid": "u", "resourceVersion": "4", "generation": 1});
    assert_eq!((&told[0]["metadata"], told[0].get("spec")), (&metadata, None));
}

#[tokio::test]
async fn pages_that_are_too_long_are_asked_for_anew_and_smaller() {
    let server = Server::start(|what| match what.contains("limit=250") {
        true => Some((200, json!({"items": ["x".repeat(17 << 20)]}))),
        false => clinic(what, &["a"]),
    })
    .await;
    assert_eq!(round(&server.api, &["clinic".to_owned()]).await.unwrap()["clinic"].len(), 1);
}

#[tokio::test]
async fn config_maps_do_not_wait_for_sidecars() {
    // Pods are never listed, as if their sidecars never answered.
    let server = Server::start(|what| match what.contains("/pods?") {
        true => None,
        false => clinic(what, &["a"]),
    })
    .await;
    let options = Options {
        policies: true,
        policies_namespace: vec!["clinic".to_owned()],
        policies_every: 0,
        api: ApiOptions::default(),
    };
    let rounds = async {
        while server.asked("POST /api/v1/namespaces/clinic/configmaps").len() < 5 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        () = look_after(&server.api, &options) => panic!("it goes on for ever"),
        done = tokio::time::timeout(PATIENCE, rounds) => done.expect("ConfigMaps wait"),
    }
    assert_eq!(server.asked("GET /api/v1/namespaces/clinic/pods?").len(), 1);
}

#[test]
fn only_our_own_config_map_is_touched_and_nothing_else_is_left_in_it() {
    let object = json!({"metadata": {"name": "clinic", "uid": "7"}});
    let mut config_map = json!({"metadata": {"name": "clinic", "resourceVersion": "5", "labels": {"a": "b"}},
        "data": {"other.yaml": "x"}, "binaryData": {"more.yaml": "eA=="}});
    assert!(!is_ours(&config_map, "clinic"));
    fill(&mut config_map, &object, "text");
    assert!(is_ours(&config_map, "clinic") && !is_ours(&config_map, "other"));
    assert!(has_only(&config_map, &object, "text") && !has_only(&config_map, &object, "other"));
    assert_eq!(
        config_map["metadata"]["resourceVersion"], "5",
        "the server refuses it where it is another now"
    );
    assert_eq!(config_map["metadata"]["labels"], json!({"a": "b"}));
    config_map["data"]["other.yaml"] = json!("x");
    assert!(!has_only(&config_map, &object, "text"));
}

#[test]
fn a_config_map_of_a_deleted_object_is_taken_over() {
    let (first, second) = (
        json!({"metadata": {"name": "clinic", "uid": "7"}}),
        json!({"metadata": {"name": "clinic", "uid": "8"}}),
    );
    let mut config_map = json!({"metadata": {"name": "clinic"}});
    fill(&mut config_map, &first, "text");
    assert!(is_ours(&config_map, "clinic") && !has_only(&config_map, &second, "text"));
    fill(&mut config_map, &second, "text");
    assert!(has_only(&config_map, &second, "text"));
}
