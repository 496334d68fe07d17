use super::openapi_routes;
use crate::{Api, Policy};
use colophon_receipt::Level;

#[test]
fn the_built_in_policy_covers_vllm() {
    let recorded = include_bytes!(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../tests/captures/vllm-0.32.0/get-openapi.resp"
    ));
    let body = recorded.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
    let routes = openapi_routes(&recorded[body..]).unwrap();
    let covered = Policy::builtin().coverage(&routes);
    assert_eq!(covered.len(), routes.len());
    assert!(covered.iter().all(|route| !route.doubtful()), "a route that no profile names, or that passes");
    let of = |method: &str, path: &str| {
        let found = covered.iter().find(|route| route.method == method && route.path == path).unwrap();
        (found.api, found.rules.iter().map(|rule| rule.to_string()).collect::<Vec<_>>(), found.decision.level)
    };
    assert_eq!(of("POST", "/v1/chat/completions"), (Api::Chat, vec!["answers".to_owned()], Level::Sign));
    assert_eq!(of("GET", "/health"), (Api::Health, vec!["health".to_owned()], Level::Pass));
    assert_eq!(of("POST", "/tokenize"), (Api::Tokenize, vec!["(default)".to_owned()], Level::Commit));
    assert_eq!(of("GET", "/v1/responses/{response_id}").0, Api::Responses);
}

#[test]
fn rules_about_the_body_are_listed_before_the_certain_one() {
    let text = super::super::tests::file(
        "rules:\n- {name: med, matches: [{models: [\"med-*\"]}], level: sign}\n- {name: all, level: pass}",
    );
    let policy = Policy::parse(&text, "p.yaml").unwrap();
    let routes =
        openapi_routes(br#"{"paths":{"/generate":{"post":{}},"/other":{"get":{},"summary":""}}}"#).unwrap();
    let covered = policy.coverage(&routes);
    assert_eq!(covered[1].rules.iter().map(|rule| &**rule).collect::<Vec<_>>(), ["med", "all"]);
    assert_eq!(covered[1].decision.level, Level::Sign);
    assert!(covered[1].doubtful(), "whoever names another model passes");
    assert_eq!(
        (covered[0].path.as_str(), covered[0].api, covered[0].doubtful()),
        ("/other", Api::Unknown, true)
    );
}

#[test]
fn what_is_no_openapi_document_says_so() {
    assert!(openapi_routes(b"{").unwrap_err().contains("not JSON"));
    assert!(openapi_routes(b"{}").unwrap_err().contains("no `paths`"));
}
