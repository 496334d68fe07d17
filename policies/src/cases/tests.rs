use super::Cases;
use crate::Policy;

const POLICY: &str = r#"
apiVersion: colophon.dev/v1alpha1
kind: ProvenancePolicy
metadata: {name: t}
spec:
  rules:
  - {name: health, matches: [{apis: [health]}], level: pass}
  - {name: diagnosis, matches: [{models: ["med-*"], body: [{pointer: /metadata/list/1, op: In, values: [triage]}]}], level: tee, failurePolicy: Fail}
  - {name: team, matches: [{headers: [{name: x-team, value: b}], query: [{name: q, value: "1"}], tenants: [t], callers: [c]}], level: sign}
  - {name: some, matches: [{apis: [embeddings]}], level: sign, sample: {percent: 0.5, to: zk, draw: PostCommit}}
  - {name: stop, matches: [{apis: [model-change]}], deny: {reason: no}}
"#;

const CASES: &str = r#"
cases:
- name: health
  request: {method: GET, path: /health}
  expect: {rule: health, level: pass, asked: pass, failurePolicy: Ignore, refused: No}
- name: diagnosis
  request:
    method: POST
    path: /v1/chat/completions
    body: {model: med-7b, metadata: {list: [a, triage]}}
  expect: {rule: diagnosis, level: sign, asked: tee, refused: Unavailable}
- name: another model
  request: {method: POST, path: /v1/chat/completions, body: {model: x, metadata: {list: [a, triage]}}}
  expect: {rule: (default), level: commit}
- name: nobody knows
  request: {method: POST, path: /v1/chat/completions}
  expect: {rule: diagnosis}
- name: unread
  request: {method: POST, path: /v1/chat/completions, bodyUnread: true}
  expect: {refused: Unavailable}
- name: some
  request: {method: POST, path: /v1/embeddings, body: {model: x}}
  expect: {rule: some, sampled: "0.5 % for zk, PostCommit"}
- name: team
  request: {method: GET, path: "/x?q=1", headers: {X-Team: [a, b]}, tenant: t, caller: c}
  expect: {rule: team}
- name: stop
  request: {method: POST, path: /sleep}
  expect: {refused: Denied, level: commit, sampled: No}
"#;

#[test]
fn cases_go_as_expected_or_say_what_does_not() {
    let policy = Policy::parse(POLICY, "p.yaml").unwrap();
    let cases = Cases::parse(CASES, "c.yaml").unwrap();
    let results = policy.test(&cases);
    assert_eq!(results.len(), 8);
    for result in &results {
        assert_eq!(result.wrong, Vec::<String>::new(), "{}", result.name);
    }
    let wrong = CASES.replace(
        "{rule: health, level: pass, asked: pass, failurePolicy: Ignore, refused: No}",
        "{rule: x, level: sign, asked: tee, failurePolicy: Fail, refused: Denied, sampled: \"1 % for zk, Local\"}",
    );
    let first = policy.test(&Cases::parse(&wrong, "c.yaml").unwrap()).swap_remove(0);
    let expected = [
        "rule: expected x, got health",
        "level: expected sign, got pass",
        "asked: expected tee, got pass",
        "failurePolicy: expected Fail, got Ignore",
        "refused: expected Denied, got No",
        "sampled: expected 1 % for zk, Local, got No",
    ];
    assert_eq!(first.wrong, expected);
    assert_eq!(first.place.to_string(), "c.yaml:3:3");
}

#[test]
fn bad_cases_say_where() {
    let case = |text: &str| format!("cases:\n- {text}\n");
    let request = "request: {method: GET, path: /x}";
    for (text, message) in [
        ("cases: []".to_owned(), "c.yaml:1:8: `cases` is empty; leave it out instead"),
        (
            case(&format!("{{name: a, {request}, expect: {{}}}}")),
            "`expect` is empty: nothing would be tested",
        ),
        (
            case(&format!("{{name: a, {request}, expect: {{rul: x}}}}")),
            "unknown key `rul`, did you mean `rule`?",
        ),
        (case(&format!("{{name: a, {request}, expect: {{level: sing}}}}")), "did you mean `sign`?"),
        (
            case(&format!("{{name: a, {request}, expect: {{refused: Maybe}}}}")),
            "it is one of No, Denied, Unavailable",
        ),
        (case(&format!("{{name: a, {request}}}")), "`case` needs the key `expect`"),
        (
            case(
                "{name: a, request: {method: POST, path: /x, body: {}, bodyUnread: true}, expect: {level: sign}}",
            ),
            "not both known and unread",
        ),
        (
            case(
                "{name: a, request: {method: POST, path: /x, headers: {\"a b\": c}}, expect: {level: sign}}",
            ),
            "no header name",
        ),
    ] {
        let error = Cases::parse(&text, "c.yaml").unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
}
