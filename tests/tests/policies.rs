//! A folder of policy files in force: what each rule comes to, at the client, at the upstream and in the record.

use std::fs;
use std::path::Path;

use colophon_receipt::fields::{self, DecisionField};
use colophon_receipt::level::{Level, Outcome};
use colophon_receipt::policy_change::{POLICY_CHANGE_TYPE, PolicyChange};
use colophon_signer::cose::Sign1;
use colophon_tests::client::{get, post, post_bytes, send};
use colophon_tests::colophon::Colophon;
use colophon_tests::receipts::Fetched;
use colophon_tests::upstream::Upstream;
use colophon_tests::wire::Message;
use colophon_tests::{PATIENCE, log, wait_for};

const CHAT: &str = "/v1/chat/completions";
const OK: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n{\"id\":\"x\"}";

const HEAD: &str = "apiVersion: colophon.dev/v1alpha1\nkind: ProvenancePolicy\nmetadata: {name: clinic}\n";

/// The defaults, and what the body decides: the first file of the folder.
const FIRST: &str = "\
spec:
  defaults: {level: commit, failurePolicy: Ignore}
  clientMayRaiseTo: sign
  upstreams: [{name: enclave, url: 'https://enclave.invalid:8443'}]
  provers: [{name: ezkl, backend: exec}]
  rules:
  - name: diagnosis
    matches: [{models: ['med-*'], body: [{pointer: /metadata/decision, op: In, values: [triage, dosage]}]}]
    level: sign
    failurePolicy: Fail
  - name: second element
    matches: [{body: [{pointer: /list/1, op: Equals, value: yes}]}]
    level: sign
";

/// Every other action: the second file.
const SECOND: &str = "\
spec:
  rules:
  - name: no models
    matches: [{apis: [model-change]}]
    deny: {reason: models are changed by the platform team}
  - name: closed
    matches: [{models: [closed]}]
    level: sign
    deny: {reason: closed}
  - name: enclave only
    matches: [{models: [enclave]}]
    level: tee
    failurePolicy: Fail
    upstream: enclave
  - name: enclave if there is one
    matches: [{models: [maybe]}]
    level: tee
    failurePolicy: Ignore
  - name: proof only
    matches: [{models: [proof]}]
    level: zk
    failurePolicy: Fail
    prover: ezkl
    deadline: 24h
    onMiss: Alert
  - name: proof if it can be had
    matches: [{models: [late]}]
    level: zk
    failurePolicy: Ignore
    deadline: 10m
    onMiss: Downgrade
  - name: scrapers
    matches: [{method: GET, path: {type: Exact, value: /metrics}}]
    level: pass
";

/// A proxy with a folder of files for its policy.
fn with_folder(upstream: &Upstream, folder: &Path, files: &[(&str, &str)]) -> Colophon {
    write(folder, files);
    Colophon::start(&upstream.url(), |options| {
        options.arg(&["--policy", &folder.display().to_string()]);
    })
}

fn write(folder: &Path, files: &[(&str, &str)]) {
    for (name, spec) in files {
        fs::write(folder.join(name), format!("{HEAD}{spec}")).expect("a policy file");
    }
}

/// Rule, level asked, level granted, and why less was granted; with all of which the record's own level agrees.
fn decision(receipt: &Fetched) -> (String, Level, Level, String) {
    let value = receipt.field(fields::DECISION).expect("a decision");
    let decision = DecisionField::read(value).expect("a decision");
    let level = |code: Option<u64>| Level::from_code(code.expect("a level")).expect("a level");
    let rule = String::from_utf8(decision.rule.expect("a rule").into_owned()).expect("a name");
    let granted = level(decision.granted);
    assert_eq!(granted, receipt.leaf.level, "{rule}");
    (rule, level(decision.asked), granted, decision.why_lowered.unwrap_or_default().into_owned())
}

/// What a request came to.
struct Came {
    answer: Message,
    receipt: Fetched,
    /// How many requests reached the upstream for it.
    forwarded: usize,
}

fn ask(colophon: &Colophon, upstream: &Upstream, path: &str, headers: &str, body: &str) -> Came {
    let before = upstream.received().len();
    let answer = send(colophon.listen(), &post_bytes(path, &format!("Connection: close\r\n{headers}"), body));
    let receipt = Fetched::of(&answer, colophon.listen());
    Came { answer, receipt, forwarded: upstream.received().len() - before }
}

#[test]
fn every_action_is_honoured_or_refused_and_the_record_says_which() {
    let upstream = Upstream::answering(OK);
    let folder = tempfile::tempdir().unwrap();
    let colophon = with_folder(&upstream, folder.path(), &[("10.yaml", FIRST), ("20.yaml", SECOND)]);
    let came = |body: &str| ask(&colophon, &upstream, CHAT, "", body);
    use Level::{Commit, Sign, Tee, Zk};

    // (body, rule, asked, granted, why the level is not simply what was asked)
    let (no_tee, no_zk) = ("`tee` cannot be given here", "`zk` cannot be given here");
    for (body, rule, asked, granted, why) in [
        (r#"{"model":"med-7b","metadata":{"decision":"triage"}}"#, "diagnosis", Sign, Sign, ""),
        (r#"{"model":"med-7b","metadata":{"decision":"small talk"}}"#, "(default)", Commit, Commit, ""),
        (r#"{"model":"x","list":["no","yes"]}"#, "second element", Sign, Sign, ""),
        (r#"{"model":"x","list":["yes"]}"#, "(default)", Commit, Commit, ""),
        (r#"{"model":"maybe"}"#, "enclave if there is one", Tee, Sign, no_tee),
        (r#"{"model":"late"}"#, "proof if it can be had", Zk, Sign, no_zk),
    ] {
        let came = came(body);
        assert_eq!((came.answer.status(), came.forwarded), (200, 1), "{body}");
        let expected = (rule.to_owned(), asked, granted, why.to_owned());
        assert_eq!(decision(&came.receipt), expected, "{body}");
        assert_eq!(came.receipt.outcome(), Outcome::Complete, "{body}");
        assert_eq!(came.answer.header("signature").is_some(), granted >= Sign, "{body}");
        assert!(came.answer.header("content-digest").is_some(), "{body}");
        let (code, said) = came.receipt.verify(colophon.listen(), Some(body.as_bytes()), None);
        assert_eq!(code, 0, "{said}");
        let levels = format!("{asked} asked, {granted} granted");
        assert!(
            said.contains(&format!("{rule:?}")) && said.contains(&levels) && said.contains(why),
            "{said}"
        );
    }

    // Refused, each in the shape of its API, and nothing of it leaves.
    let connections = upstream.connections();
    for (path, model, status, rule, words, asked) in [
        (CHAT, "closed", 403, "closed", "closed", Sign),
        ("/v1/messages", "closed", 403, "closed", "closed", Sign),
        ("/generate", "closed", 403, "closed", "closed", Sign),
        (CHAT, "enclave", 503, "enclave only", "tee", Tee),
        ("/v1/messages", "proof", 503, "proof only", "zk", Zk),
        ("/v1/load_lora_adapter", "x", 403, "no models", "models are changed by the platform team", Commit),
    ] {
        let body = format!("{{\"model\":\"{model}\"}}");
        let came = ask(&colophon, &upstream, path, "", &body);
        assert_eq!((came.answer.status(), came.forwarded), (status, 0), "{path} {body}");
        assert_eq!(came.answer.header("x-should-retry"), Some("false"), "{path} {body}");
        let said: serde_json::Value = serde_json::from_slice(&came.answer.body).expect("an error in JSON");
        let message = match path {
            "/generate" => &said["error"],
            _ => &said["error"]["message"],
        };
        let message = message.as_str().unwrap_or_else(|| panic!("not the shape of {path}: {said}"));
        assert!(message.contains(rule) && message.contains(words), "{message}");
        assert_eq!(said["type"] == "error", path == "/v1/messages", "{said}");
        let (named, asked_for, granted, _) = decision(&came.receipt);
        assert_eq!((named.as_str(), asked_for), (rule, asked), "{path} {body}");
        assert!(granted == Sign || granted == Commit, "{granted}");
        assert_eq!(came.receipt.outcome(), Outcome::Refused, "{path} {body}");
        let (code, said) = came.receipt.verify(colophon.listen(), None, Some(&came.answer.body));
        assert_eq!(code, 0, "{said}");
    }
    assert_eq!(upstream.connections(), connections, "a refusal needs no connection");
    assert_eq!(colophon.ended_as(Outcome::Refused), 6);

    // Passed: forwarded and counted, and there is no record.
    let passed = get(colophon.listen(), "/metrics");
    assert_eq!((passed.status(), passed.header("colophon-record")), (200, None));
    let odd = get(colophon.listen(), "/x/..//metrics");
    let (rule, asked, granted, why) = decision(&Fetched::of(&odd, colophon.listen()));
    assert_eq!((rule.as_str(), asked, granted), ("scrapers", Level::Pass, Commit));
    assert!(why.contains("not written plainly"), "{why}");
}

#[test]
fn clients_raise_up_to_the_ceiling_and_never_lower() {
    let upstream = Upstream::answering(OK);
    let folder = tempfile::tempdir().unwrap();
    let colophon = with_folder(&upstream, folder.path(), &[("10.yaml", FIRST), ("20.yaml", SECOND)]);
    let signed = r#"{"model":"med-7b","metadata":{"decision":"dosage"}}"#;
    let other = r#"{"model":"other"}"#;
    for (body, header, asked, granted, why) in [
        (other, "sign", Level::Sign, Level::Sign, ""),
        (other, "zk", Level::Zk, Level::Sign, "clients may raise the level to `sign`"),
        (other, "pass", Level::Commit, Level::Commit, ""),
        (other, "nonsense", Level::Commit, Level::Commit, ""),
        (signed, "commit", Level::Sign, Level::Sign, ""),
        (signed, "pass", Level::Sign, Level::Sign, ""),
    ] {
        let came = ask(&colophon, &upstream, CHAT, &format!("Colophon-Level: {header}\r\n"), body);
        let (_, asked_for, given, reason) = decision(&came.receipt);
        assert_eq!((asked_for, given), (asked, granted), "{body} {header}");
        assert!(reason.contains(why) && reason.is_empty() == why.is_empty(), "{body} {header}: {reason:?}");
        assert_eq!(came.answer.header("signature").is_some(), granted == Level::Sign, "{body} {header}");
    }
    // What a rule passes is recorded, where the client wants it to be.
    let request = "GET /metrics HTTP/1.1\r\nHost: x\r\nColophon-Level: sign\r\nConnection: close\r\n\r\n";
    let raised = send(colophon.listen(), request.as_bytes());
    let (rule, _, granted, _) = decision(&Fetched::of(&raised, colophon.listen()));
    assert_eq!((rule.as_str(), granted), ("scrapers", Level::Sign));
}

#[test]
fn what_contradicts_itself_does_not_start_and_says_where() {
    let rule = |name: &str| format!("spec:\n  rules:\n  - {{name: {name}, level: sign}}\n");
    let (one, two) = (rule("one"), rule("one").replace("sign", "commit"));
    let defaults = "spec:\n  defaults: {level: sign}\n";
    let undefined = |key: &str, level: &str| {
        format!(
            "spec:\n  rules:\n  - {{name: a, matches: [{{apis: [chat]}}], level: {level}, {key}: nowhere}}\n"
        )
    };
    let (prover, upstream) = (undefined("prover", "zk"), undefined("upstream", "tee"));
    for (files, words) in [
        (
            &[("1.yaml", one.as_str()), ("2.yaml", two.as_str())][..],
            &["2.yaml:6:12", "1.yaml:6:12", "`one`"][..],
        ),
        (&[("1.yaml", defaults), ("2.yaml", defaults)], &["2.yaml:5:", "1.yaml:5:", "defaults"]),
        (&[("1.yaml", &prover)], &["1.yaml:6:", "nowhere", "prover"]),
        (&[("1.yaml", &upstream)], &["1.yaml:6:", "nowhere", "upstream"]),
    ] {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), files);
        let path = folder.path().display().to_string();
        let (status, said) = Colophon::refused("http://127.0.0.1:9", |options| {
            options.arg(&["--policy", &path]);
        });
        assert!(!status.success() && words.iter().all(|word| said.contains(word)), "{words:?}: {said}");
    }
}

/// Both digests of every change that the log tells of, in its order.
fn changes(data: &Path) -> Vec<([u8; 32], [u8; 32])> {
    let entries = log::entries(data);
    let signed = entries.iter().filter_map(|entry| Sign1::parse(entry).ok());
    let of_policies = signed.filter(|signed| signed.content_type() == POLICY_CHANGE_TYPE);
    let changes = of_policies.map(|signed| PolicyChange::decode(signed.payload()).expect("a policy change"));
    changes.map(|change| (change.before, change.after)).collect()
}

#[test]
fn a_folder_is_followed_file_by_file() {
    let upstream = Upstream::answering(OK);
    let folder = tempfile::tempdir().unwrap();
    let mut colophon = with_folder(&upstream, folder.path(), &[("10.yaml", FIRST)]);
    let digest = |colophon: &Colophon| {
        let receipt = Fetched::of(&post(colophon.listen(), CHAT, "{}"), colophon.listen());
        DecisionField::read(receipt.field(fields::DECISION).unwrap()).unwrap().policy.expect("a digest")
    };
    let first = digest(&colophon);
    assert_eq!(post(colophon.listen(), CHAT, r#"{"model":"closed"}"#).status(), 200);

    // A file more is a rule more.
    write(folder.path(), &[("20.yaml", SECOND)]);
    colophon.signal("HUP");
    let denied = || (post(colophon.listen(), CHAT, r#"{"model":"closed"}"#).status() == 403).then_some(());
    assert!(wait_for(PATIENCE, denied).is_some(), "the second file does not come into force");
    let second = digest(&colophon);
    assert_ne!(first, second);

    // One that contradicts the others is none.
    write(folder.path(), &[("30.yaml", SECOND)]);
    colophon.signal("HUP");
    let alarm = || (colophon.metric("colophon_policy_reload_failed") == Some(1.0)).then_some(());
    assert!(wait_for(PATIENCE, alarm).is_some(), "no alarm");
    let said = colophon.process().log();
    assert!(said.contains("30.yaml:6:") && said.contains("20.yaml:6:"), "{said}");
    assert_eq!(digest(&colophon), second, "the old policy stays");

    // Gone, with the second file: as at first.
    for name in ["20.yaml", "30.yaml"] {
        fs::remove_file(folder.path().join(name)).unwrap();
    }
    let back = || (digest(&colophon) == first).then_some(());
    assert!(wait_for(PATIENCE, back).is_some(), "a removed file stays in force");
    assert_eq!(colophon.metric("colophon_policy_reload_failed"), Some(0.0));
    assert!(colophon.stop().success());
    assert_eq!(changes(&colophon.data()), [(first, second), (second, first)]);
    for digest in [first, second] {
        let text = colophon.data().join(colophon_receipt::policy_change::policy_file(&digest));
        let text = fs::read_to_string(text).expect("the policy's text is in the store");
        assert!(text.contains("\"name\":\"clinic\"") && text.contains("diagnosis"), "{text}");
    }
}

/// What is for an enclave that does not answer goes nowhere: whatever the client raises it to, and whatever is not known of the body.
#[test]
fn a_prompt_for_an_enclave_never_reaches_the_ordinary_upstream() {
    let upstream = Upstream::answering(OK);
    let colophon = Colophon::start(&upstream.url(), |options| {
        let enclave = format!(
            "{{name: enclave, url: 'https://127.0.0.1:1', attestation: {{platforms: {{tdx: {{referenceValues: {{mr_td: ['{}']}}}}}}}}}}",
            "91".repeat(48)
        );
        let rules = [
            "{name: proven, matches: [{models: ['tiny-*']}], level: zk}",
            "{name: secret, matches: [{models: ['med-*']}], level: tee, upstream: enclave}",
            "{name: here, matches: [{apis: [chat]}], level: tee}",
        ];
        let rules = rules.join(", ");
        options.policy = Some(format!(
            "{HEAD}spec:\n  defaults: {{level: sign, failurePolicy: Ignore}}\n  clientMayRaiseTo: zk\n  upstreams: [{enclave}]\n  rules: [{rules}]\n"
        ));
    });
    let plain = "{\"model\":\"med-1\"}";
    for (headers, body) in [
        ("", plain),
        ("Colophon-Level: zk\r\n", plain),
        ("", "{\"model\":\"tiny-1\",\"model\":\"med-1\"}"),
        ("", "not JSON at all"),
        ("Colophon-Level: zk\r\n", "{\"model\":\"x\",\"model\":\"med-1\"}"),
    ] {
        let answer = send(colophon.listen(), &post_bytes(CHAT, headers, body));
        assert_eq!(answer.status(), 503, "{headers}{body}");
        assert!(answer.text().contains("upstream_not_attested"), "{headers}{body}: {}", answer.text());
    }
    assert_eq!(upstream.received().len(), 0, "the prompt got out");
    assert_eq!(post(colophon.listen(), CHAT, "{\"model\":\"other\"}").status(), 200);
}

/// Requests that name no model, and spellings that servers take for the route, get no other rule's treatment.
#[test]
fn a_rule_about_a_model_is_not_escaped_by_not_naming_it() {
    let upstream = Upstream::answering(OK);
    let colophon = Colophon::start(&upstream.url(), |options| {
        options.policy = Some(format!(
            "{HEAD}spec:\n  rules: [{{name: no, matches: [{{models: ['med-*']}}], deny: {{reason: no}}}}, {{name: route, matches: [{{apis: [model-change]}}], deny: {{reason: no}}}}]\n"
        ));
    });
    for body in ["{\"model\":\"med-1\"}", "{}", "{\"model\":null}", "{\"model\":\"\"}", "{\"messages\":[]}"] {
        assert_eq!(post(colophon.listen(), CHAT, body).status(), 403, "{body}");
    }
    assert_eq!(get(colophon.listen(), "/v1/responses/resp_1").status(), 403, "it resumes whatever model's");
    let handshake =
        "GET /v1/realtime HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    assert_eq!(send(colophon.listen(), handshake.as_bytes()).status(), 403);
    for spelling in ["/v1/load_lora_adapter%0A", "/v1/%u006coad_lora_adapter"] {
        assert_eq!(post(colophon.listen(), spelling, "{}").status(), 403, "{spelling}");
    }
    assert_eq!(upstream.received().len(), 0);
    assert_eq!(post(colophon.listen(), CHAT, "{\"model\":\"toy\"}").status(), 200);
    assert_eq!(get(colophon.listen(), "/v1/models").status(), 200, "it names none, and cannot");
}
