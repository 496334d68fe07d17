use super::{file, policy};
use crate::Policy;
use sha2::{Digest as _, Sha256};
use std::collections::HashSet;

const FLOW: &str = "defaults: {level: commit, failurePolicy: Ignore}\nclientMayRaiseTo: sign\nrules:\n- {name: a, matches: [{method: GET, path: {type: PathPrefix, value: /v1/}, headers: [{name: X-A, value: b}, {name: c, type: RegularExpression, value: \"d+\"}], apis: [chat, models], models: [\"m*\", n]}, {apis: [health]}], level: pass}\n- {name: b, level: sign, failurePolicy: Fail}";

#[test]
fn spelling_does_not_change_the_digest() {
    let block = r#"
# comments do not count
rules:
- level: "pass"
  name: 'a'
  failurePolicy: Ignore          # the default, said aloud
  matches:
  - apis: [health, health]
  - models:
    - n
    - "m*"
    apis: &apis
    - models
    - chat
    headers:
    - {type: RegularExpression, value: d+, name: C}
    - {type: Exact, value: b, name: x-a}
    path:
      value: /v1
      type: PathPrefix
    method: GET
- {level: sign, name: b, failurePolicy: Fail}
clientMayRaiseTo: sign
"#;
    let flow = policy(FLOW);
    let other = policy(block);
    assert_eq!(flow.canonical(), other.canonical());
    assert_eq!(flow.digest(), other.digest());
    let crlf = Policy::parse(&file(FLOW).replace('\n', "\r\n"), "crlf.yaml").unwrap();
    assert_eq!(flow.digest(), crlf.digest());
    assert_eq!(policy("{}").digest(), policy("clientMayRaiseTo: pass\ndefaults: {}").digest());
}

#[test]
fn meaning_changes_the_digest() {
    let changes = [
        ("level: commit", "level: sign"),
        ("Ignore", "Fail"),
        ("clientMayRaiseTo: sign", "clientMayRaiseTo: commit"),
        ("clientMayRaiseTo: sign\n", ""),
        ("name: a,", "name: z,"),
        ("method: GET", "method: POST"),
        ("method: GET, ", ""),
        ("PathPrefix", "RegularExpression"),
        ("value: /v1/", "value: /v2/"),
        ("X-A", "X-B"),
        ("value: b", "value: c"),
        ("RegularExpression", "Exact"),
        ("\"d+\"", "\"d*\""),
        ("[chat, models]", "[chat]"),
        ("\"m*\", n", "\"m*\""),
        ("level: pass", "level: commit"),
        ("level: sign, failurePolicy: Fail", "level: sign"),
        (", {apis: [health]}", ""),
    ];
    let mut digests = HashSet::from([policy(FLOW).digest()]);
    for (from, to) in changes {
        assert!(FLOW.contains(from), "{from}");
        assert!(
            digests.insert(policy(&FLOW.replacen(from, to, 1)).digest()),
            "{from} -> {to} changes nothing"
        );
    }
    let mut lines: Vec<&str> = FLOW.lines().collect();
    lines.swap(3, 4);
    assert!(digests.insert(policy(&lines.join("\n")).digest()), "the order of rules has a meaning");
}

#[test]
fn the_canonical_text_is_as_documented() {
    let policy = policy(
        "rules:\n- {name: a, matches: [{method: GET, path: {type: Exact, value: /h}, apis: [health], models: [m]}], level: pass}\n- {name: b, level: sign}",
    );
    let text = policy.canonical();
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    let routes = value["routes"].as_str().unwrap();
    // What `apis` means is part of the policy: another table is another policy.
    let table = crate::routes::table_text();
    assert!(
        table.lines().any(|line| line == "/v1/chat/completions POST chat chat.completions true"),
        "{table}"
    );
    let digest: [u8; 32] = Sha256::digest(table).into();
    assert_eq!(routes, digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
    assert_eq!(
        text.replace(routes, "…"),
        r#"{"apiVersion":"colophon.dev/v1alpha1","kind":"ProvenancePolicy","name":"test","defaults":{"level":"commit","failurePolicy":"Ignore"},"clientMayRaiseTo":null,"routes":"…","rules":[{"name":"a","level":"pass","failurePolicy":"Ignore","matches":[{"method":"GET","path":{"type":"Exact","value":"/h"},"apis":["health"],"models":["m"]}]},{"name":"b","level":"sign","failurePolicy":"Ignore","matches":null}]}"#
    );
    assert_eq!(policy.name(), "test");
    assert_eq!(Policy::builtin().name(), "default");
}
