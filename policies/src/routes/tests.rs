use super::{PROFILES, TABLE, Table, identify};
use crate::api::Api;
use http::Method;
use std::path::PathBuf;

fn route(method: &str, path: &str) -> (Api, String, bool, bool) {
    let route = identify(&method.parse().unwrap(), path);
    (route.api, route.operation.to_string(), route.generating, route.normalised_differs)
}

#[test]
fn the_profiles_agree_with_each_other() {
    let table = Table::read(&PROFILES).unwrap();
    assert!(table.literal.len() > 80 && table.templates.len() >= 8);
    let clash = "server: x\nroutes:\n- {method: POST, path: /generate, api: chat, operation: generate}\n";
    let error = Table::read(&[PROFILES[1], ("clash.yaml", clash)]).err().unwrap();
    assert_eq!(error, "clash.yaml:3:3: POST /generate means something else elsewhere");
}

#[test]
fn requests_are_known_by_method_and_path() {
    let known = [
        ("POST", "/v1/chat/completions", Api::Chat, "chat.completions", true),
        ("POST", "/chat/completions", Api::Chat, "chat.completions", true),
        ("POST", "/v1/chat/completions/render", Api::Tokenize, "chat.completions.render", false),
        ("POST", "/v1/completions", Api::Completions, "completions", true),
        ("POST", "/completion", Api::Generate, "completion", true),
        ("POST", "/v1/responses", Api::Responses, "responses", true),
        ("GET", "/v1/responses/resp_1", Api::Responses, "responses.retrieve", true),
        ("POST", "/v1/responses/resp_1/cancel", Api::Responses, "responses.cancel", true),
        ("POST", "/v1/messages", Api::Messages, "messages", true),
        ("POST", "/v1/messages/count_tokens", Api::Tokenize, "messages.count_tokens", false),
        ("POST", "/generate_stream", Api::Generate, "generate.stream", true),
        ("POST", "/", Api::Generate, "generate.compat", true),
        ("GET", "/", Api::Health, "health", false),
        ("HEAD", "/", Api::Health, "health", false),
        ("GET", "/v1/stream/abc", Api::Chat, "stream.resume", true),
        ("GET", "/v1/realtime", Api::Realtime, "realtime", true),
        ("CONNECT", "/v1/realtime", Api::Realtime, "realtime", true),
        ("GET", "/props", Api::Health, "server.info", false),
        ("POST", "/props", Api::ModelChange, "server.props", false),
        ("PUT", "/props", Api::ModelChange, "server.props", false),
        ("DELETE", "/adapters/x", Api::ModelChange, "lora.unload", false),
        ("POST", "/collective_rpc", Api::ModelChange, "collective_rpc", false),
        ("POST", "/pause", Api::Admin, "engine.pause", false),
        ("GET", "/v1/chat/completions", Api::Chat, "chat.completions", true),
        ("POST", "/base/path/v1/chat/completions", Api::Chat, "chat.completions", true),
        ("POST", "/v1/batches", Api::Generate, "batches.create", true),
        ("GET", "/v1/batches/batch_1", Api::Admin, "batches.retrieve", false),
        ("POST", "/v1/batches/batch_1/cancel", Api::Admin, "batches.cancel", false),
        ("POST", "/v1/files", Api::Admin, "files.upload", false),
        ("DELETE", "/v1/files/file_1", Api::Admin, "files.delete", false),
        ("GET", "/v1/files/file_1/content", Api::Generate, "files.content", true),
        ("GET", "/favicon.ico", Api::Unknown, "unknown", false),
        ("GET", "/v1", Api::Unknown, "unknown", false),
        ("POST", "/v1/responses//cancel", Api::Responses, "responses.retrieve", true),
    ];
    for (method, path, api, operation, generating) in known {
        let differs = path.contains("//");
        assert_eq!(route(method, path), (api, operation.to_owned(), generating, differs), "{method} {path}");
    }
}

#[test]
fn case_is_ignored_but_noticed() {
    assert_eq!(route("POST", "/V1/Chat/COMPLETIONS"), (Api::Chat, "chat.completions".into(), true, true));
    assert_eq!(route("POST", "/x/V1/chat/completions"), (Api::Chat, "chat.completions".into(), true, true));
    let mixed = identify(&Method::GET, "/v1/Responses/Resp_A");
    assert_eq!(mixed.matched_path("/v1/Responses/Resp_A"), "/v1/responses/Resp_A");
    assert!(mixed.normalised_differs);
    let plain = identify(&Method::GET, "/X/v1/responses/Resp_A");
    assert_eq!(plain.matched_path("/X/v1/responses/Resp_A"), "/X/v1/responses/Resp_A");
    assert!(!plain.normalised_differs, "ids and foreign prefixes have no case of ours");
    assert!(!identify(&Method::GET, "/Unknown").normalised_differs);
}

#[test]
fn long_paths_stay_cheap() {
    let long = "/v1".repeat(30_000);
    assert_eq!(identify(&Method::POST, &long).api, Api::Unknown);
    let dots = "/..%2f".repeat(20_000);
    assert_eq!(identify(&Method::POST, &dots).matched_path(&dots), "/");
}

#[test]
fn every_route_of_the_recorded_servers_is_in_a_profile() {
    let shared = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/captures"));
    for (capture, at_least) in [("vllm-0.32.0/get-openapi.resp", 50), ("tgi-3.3.6/get-openapi.resp", 12)] {
        let Ok(recorded) = std::fs::read(shared.join(capture)) else {
            eprintln!("skipped: no recording {capture}, so its routes are not compared with the profiles");
            continue;
        };
        let body = recorded.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
        let openapi: serde_json::Value = serde_json::from_slice(&recorded[body..]).unwrap();
        let mut named = 0;
        for (path, methods) in openapi["paths"].as_object().unwrap() {
            for method in methods.as_object().unwrap().keys() {
                let method: Method = method.to_ascii_uppercase().parse().unwrap();
                let known =
                    TABLE.find_whole(path).and_then(|known| known.calls.iter().find(|(m, _)| *m == method));
                assert!(known.is_some(), "{capture}: no profile names {method} {path}");
                assert_ne!(identify(&method, path).api, Api::Unknown);
                named += 1;
            }
        }
        assert!(named >= at_least, "{capture} has only {named} routes");
    }
}
