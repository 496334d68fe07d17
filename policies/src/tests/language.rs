//! Each word of the language, by an example of what it matches and what it asks for.

use super::{Request, file, policy};
use crate::{Actions, Draw, FailurePolicy, Honours, OnMiss, Policy, Refusal, Sample, Value};
use colophon_receipt::Level;
use std::time::Duration;

fn post(path: &str) -> Request {
    Request::new("POST", path)
}

/// Whether a rule with this entry takes the request.
fn fits(entry: &str, request: &Request) -> bool {
    let policy = policy(&format!("rules:\n- {{name: r, matches: [{entry}], level: sign}}"));
    &*request.decide(&policy).rule == "r"
}

fn body(value: Value<'static>) -> Request {
    let mut request = post("/v1/chat/completions").model("m");
    request.values = vec![value];
    request
}

#[test]
fn queries_are_matched_without_their_escapes() {
    let asked = |query: Option<&str>| {
        let mut request = post("/x");
        request.query = query.map(str::to_owned);
        request
    };
    let entry = "{query: [{name: \"a b\", value: \"c&d\"}]}";
    for query in ["a+b=c%26d", "x=1&a%20b=c%26d", "a+b=other&a+b=c%26d"] {
        assert!(fits(entry, &asked(Some(query))), "{query}");
    }
    for query in [None, Some(""), Some("a+b=c"), Some("a+b=c&d"), Some("A+B=c%26d")] {
        assert!(!fits(entry, &asked(query)), "{query:?}");
    }
    let entry = "{query: [{name: n, type: RegularExpression, value: \"[0-9]+\"}]}";
    assert!(fits(entry, &asked(Some("n=12"))) && !fits(entry, &asked(Some("n=12a"))));
}

#[test]
fn tenants_and_callers_of_nobody_known_fit_nothing() {
    let mut request = post("/x");
    assert!(!fits("{tenants: [\"*\"]}", &request) && !fits("{callers: [\"*\"]}", &request));
    (request.tenant, request.caller) = (Some("hospital/a"), Some("spiffe://x/y"));
    assert!(fits("{tenants: [\"hospital/*\"]}", &request) && fits("{callers: [\"spiffe://*\"]}", &request));
    assert!(!fits("{tenants: [hospital]}", &request) && !fits("{callers: [x]}", &request));
}

#[test]
fn streams_are_told_by_the_body_or_the_route() {
    let mut request = post("/v1/chat/completions").model("m");
    assert!(fits("{stream: false}", &request) && !fits("{stream: true}", &request));
    request.stream = true;
    assert!(fits("{stream: true}", &request) && !fits("{stream: false}", &request));
    for (method, path) in [("POST", "/generate_stream"), ("GET", "/v1/realtime")] {
        assert!(fits("{stream: true}", &Request::new(method, path)), "{path} always streams");
    }
    let unknown = post("/v1/chat/completions");
    assert!(fits("{stream: true}", &unknown) && fits("{stream: false}", &unknown), "the stricter branch");
}

#[test]
fn bodies_are_compared_by_type_and_value() {
    let equals = |value: &str| format!("{{body: [{{pointer: /a, op: Equals, value: {value}}}]}}");
    let text = |text: &'static str| body(Value::Text(text.into()));
    let number = |number: &'static str| body(Value::Number(number.into()));
    assert!(fits(&equals("triage"), &text("triage")) && !fits(&equals("triage"), &text("Triage")));
    for same in ["1", "1.0", "1e0", "10E-1"] {
        assert!(fits(&equals("1"), &number(same)), "{same}");
    }
    assert!(!fits(&equals("1"), &number("2")));
    assert!(fits(&equals("9007199254740993"), &number("9007199254740993")));
    assert!(!fits(&equals("9007199254740993"), &number("9007199254740992")), "integers are exact");
    assert!(
        fits(&equals("true"), &body(Value::Bool(true))) && !fits(&equals("true"), &body(Value::Bool(false)))
    );
    assert!(fits(&equals("~"), &body(Value::Null)) && !fits(&equals("~"), &body(Value::Absent)));
    let exists = "{body: [{pointer: /a, op: Exists}]}";
    assert!(fits(exists, &body(Value::Null)) && fits(exists, &body(Value::Container)));
    assert!(!fits(exists, &body(Value::Absent)));
    let matches = "{body: [{pointer: /a, op: Matches, value: \"tri.*\"}]}";
    assert!(fits(matches, &text("triage")) && !fits(matches, &text("xtriage")));
    assert!(!fits(matches, &body(Value::Container)) && !fits(matches, &body(Value::Null)));
}

/// A server that converts types would take these for equal: the stricter branch, with the reason in the record.
#[test]
fn a_value_of_another_type_does_not_slip_by() {
    let policy = policy(
        "rules:\n- {name: a, matches: [{body: [{pointer: /a, op: In, values: [3, true, \"7\", \"yes\"]}]}], level: sign, failurePolicy: Fail}",
    );
    let doubtful = [
        Value::Text("3".into()),
        Value::Text("1".into()),
        Value::Text(" 3.0 ".into()),
        Value::Text("YES".into()),
        Value::Number("7.0".into()),
        Value::Unknown,
    ];
    for value in doubtful {
        let decision = body(value.clone()).decide(&policy);
        assert_eq!(
            (decision.level, decision.failure_policy),
            (Level::Sign, FailurePolicy::Fail),
            "{value:?}"
        );
        assert!(decision.why_lowered.is_some() || value == Value::Text("YES".into()), "{value:?}");
    }
    for value in [Value::Text("2".into()), Value::Bool(false), Value::Number("8".into()), Value::Container] {
        assert_eq!(body(value.clone()).decide(&policy).level, Level::Commit, "{value:?}");
    }
}

#[test]
fn a_level_that_cannot_be_given_is_refused_or_said() {
    for (level, honours) in
        [("tee", Honours { tee: true, zk: false }), ("zk", Honours { tee: false, zk: true })]
    {
        let spec = |failure: &str| format!("rules:\n- {{name: r, level: {level}, failurePolicy: {failure}}}");
        let asked: Level = level.parse().unwrap();
        let failing = policy(&spec("Fail"));
        let decision = post("/x").decide(&failing);
        assert_eq!(decision.refusal, Some(Refusal::Unavailable(asked)));
        assert_eq!((decision.level, decision.asked), (Level::Sign, asked));
        let ignoring = policy(&spec("Ignore"));
        let decision = post("/x").decide(&ignoring);
        assert_eq!((decision.refusal, decision.level, decision.asked), (None, Level::Sign, asked));
        assert_eq!(&*decision.why_lowered.unwrap(), format!("`{level}` cannot be given here"));
        let warning = &ignoring.warnings()[0];
        assert!(
            warning.message.starts_with(&format!("`{level}` cannot be given by this program")),
            "{warning}"
        );
        assert_eq!((warning.place.line, warning.place.column), (6, 22));
        let able = ignoring.honouring(honours);
        let decision = post("/x").decide(&able);
        assert_eq!((decision.level, decision.why_lowered, decision.refusal), (asked, None, None));
        assert!(able.warnings().is_empty());
    }
    let ceiling = policy("clientMayRaiseTo: tee\ndefaults: {failurePolicy: Fail}");
    let decision = post("/x").header("colophon-level", "tee").decide(&ceiling);
    assert_eq!(decision.refusal, Some(Refusal::Unavailable(Level::Tee)), "the client's wish counts as well");
}

#[test]
fn a_denied_request_is_recorded_as_a_refusal() {
    let policy = policy(
        "clientMayRaiseTo: tee\nrules:\n- {name: a, matches: [{apis: [model-change]}], deny: {reason: not by the API}}\n- {name: b, matches: [{body: [{pointer: /a, op: Exists}]}], deny: {reason: secret}, level: sign}\n- {name: c, level: sign}",
    );
    let decision = post("/sleep").decide(&policy);
    assert_eq!(decision.refusal, Some(Refusal::Denied("not by the API".into())));
    assert_eq!((decision.level, decision.asked), (Level::Commit, Level::Commit));
    let raised = post("/sleep").header("colophon-level", "tee").decide(&policy);
    assert_eq!((raised.level, raised.refusal), (Level::Sign, Some(Refusal::Denied("not by the API".into()))));
    let unread = post("/v1/chat/completions").decide(&policy);
    assert_eq!((&*unread.rule, unread.refusal), ("b", Some(Refusal::Denied("secret".into()))), "strictest");
    assert_eq!(body(Value::Absent).decide(&policy).refusal, None);
}

#[test]
fn tee_is_given_where_every_named_upstream_has_reference_values() {
    let given = |spare: &str, rule: &str| {
        policy(&format!(
            "upstreams:\n- {{name: a, url: \"https://a\", attestation: {{platforms: {{tdx: {{}}}}}}}}\n- {{name: b, url: \"https://b\"{spare}}}\nrules:\n- {{name: t, level: tee, failurePolicy: Ignore, upstream: {rule}}}\n- {{name: u, matches: [{{apis: [chat]}}], level: sign}}"
        ))
    };
    let attested = ", attestation: {gpu: off}";
    let both = given(attested, "[a, b]");
    let decision = post("/x").decide(&both);
    assert_eq!((decision.level, decision.why_lowered, decision.refusal), (Level::Tee, None, None));
    assert_eq!(decision.actions.upstreams, ["a".into(), "b".into()]);
    assert!(!both.warnings().iter().any(|warning| warning.message.contains("`tee` cannot be given")));
    assert!(both.canonical().contains(r#""attestation":{"gpu":"off"}"#), "{}", both.canonical());
    assert!(both.canonical().contains(r#""upstream":["a","b"]"#));
    let one = given("", "[a, b]");
    assert_eq!(post("/x").decide(&one).level, Level::Sign, "b proves nothing");
    assert!(one.warnings().iter().any(|warning| warning.message.contains("`tee` cannot be given")));
    assert_ne!(both.digest(), given(", attestation: {gpu: require}", "[a, b]").digest());
}

/// Whoever may raise the level, and whatever is not known of a body: it goes to attested servers or to none.
#[test]
fn a_prompt_for_attested_servers_goes_nowhere_else() {
    let enclave = "upstreams: [{name: enclave, url: \"https://a\", attestation: {gpu: off}}]\n";
    let secret = "{name: secret, matches: [{models: [\"med-*\"]}], level: tee, upstream: enclave}";
    let zk_for = "{name: small, matches: [{models: [\"tiny-*\"]}], level: zk}";
    let tee_here = "{name: rest, matches: [{apis: [chat]}], level: tee}";
    let able = [(false, false), (true, false), (false, true), (true, true)];
    for (honours, failure) in able.into_iter().flat_map(|able| [(able, "Ignore"), (able, "Fail")]) {
        let honours = Honours { tee: honours.0, zk: honours.1 };
        let decide = |rules: &str, request: Request| {
            let defaults =
                format!("defaults: {{level: sign, failurePolicy: {failure}}}\nclientMayRaiseTo: zk\n");
            request.decide(&policy(&format!("{defaults}{enclave}rules: [{rules}]")).honouring(honours))
        };
        let chat = || post("/v1/chat/completions");
        let cases = [
            decide(secret, chat().model("med-1")),
            decide(secret, chat().model("med-1").header("colophon-level", "zk")),
            decide(secret, chat()),
            decide(&format!("{zk_for}, {secret}"), chat()),
            decide(&format!("{secret}, {zk_for}"), chat()),
            decide(&format!("{secret}, {tee_here}"), chat()),
            decide(&format!("{secret}, {zk_for}, {tee_here}"), chat().header("colophon-level", "zk")),
        ];
        for (n, decision) in cases.into_iter().enumerate() {
            assert_eq!(&*decision.rule, "secret", "{n}");
            assert!(decision.sends_to_attested(), "{n}: {decision:?}");
            assert!(decision.refusal.is_some() || decision.level >= Level::Tee, "{n}: {decision:?}");
        }
        // What the client asked for beside is not lost: refused, downgraded by name, or to be proven.
        let raised = decide(secret, chat().model("med-1").header("colophon-level", "zk"));
        assert_eq!(raised.asked, Level::Zk);
        match (honours.zk, failure) {
            (true, _) => assert_eq!(raised.level, Level::Zk),
            (false, "Fail") => assert_eq!(raised.refusal, Some(Refusal::Unavailable(Level::Zk))),
            (false, _) => assert_eq!((raised.level, raised.why_lowered.is_some()), (Level::Tee, true)),
        }
        assert!(!decide(secret, chat().model("toy")).sends_to_attested());
    }
}

#[test]
fn an_upstream_is_for_tee_only() {
    for level in ["sign", "zk"] {
        let text = format!(
            "upstreams: [{{name: e, url: \"https://a\", attestation: {{gpu: off}}}}]\nrules: [{{name: r, level: {level}, upstream: e}}]"
        );
        let error = Policy::parse(&file(&text), "test.yaml").unwrap_err().to_string();
        assert!(error.contains("with `level: tee`"), "{error}");
    }
}

#[test]
fn actions_come_with_the_decision() {
    let policy = policy(
        "upstreams: [{name: enclave, url: \"https://10.0.0.7:8443\"}]\nprovers: [{name: ezkl, backend: exec}]\nrules:\n- {name: t, matches: [{apis: [chat]}], level: tee, upstream: enclave, deadline: 10m}\n- {name: s, level: sign, sample: {percent: 0.5, to: zk, draw: PostCommit}, deadline: 1d, onMiss: Alert, prover: ezkl}",
    );
    let actions = |request: Request| request.decide(&policy).actions;
    let expected = Actions {
        upstreams: vec!["enclave".into()],
        deadline: Some(Duration::from_secs(600)),
        ..Actions::default()
    };
    assert_eq!(*actions(post("/v1/chat/completions")), expected);
    let expected = Actions {
        sample: Some(Sample {
            threshold: ((1_u128 << 64) / 200) as u64,
            to: Level::Zk,
            draw: Draw::PostCommit,
        }),
        deadline: Some(Duration::from_secs(86_400)),
        on_miss: OnMiss::Alert,
        prover: Some("ezkl".into()),
        ..Actions::default()
    };
    assert_eq!(*actions(post("/v1/completions")), expected);
    for (percent, threshold) in [("100", u64::MAX), ("50", 1 << 63), ("0.000001", 184_467_440_737)] {
        let text = format!(
            "rules:\n- {{name: s, level: sign, sample: {{percent: {percent}, to: zk, draw: Local}}}}"
        );
        let sample = post("/x").decide(&super::policy(&text)).actions.sample.unwrap();
        assert_eq!((sample.threshold, sample.draw), (threshold, Draw::Local), "{percent}");
    }
}

/// Nobody hides from a rule that samples behind a body that is not read.
#[test]
fn among_equal_levels_the_one_that_samples_most_is_stricter() {
    let policy = policy(
        "rules:\n- {name: audited, matches: [{body: [{pointer: /a, op: Exists}]}], level: sign, sample: {percent: 100, to: zk, draw: PostCommit}}\n- {name: chat, level: sign}",
    );
    let decision = post("/v1/chat/completions").decide(&policy);
    assert_eq!((&*decision.rule, decision.actions.sample.is_some()), ("audited", true));
    assert_eq!(&*body(Value::Absent).decide(&policy).rule, "chat");
}

#[test]
fn files_of_a_folder_are_one_policy() {
    let a = file(
        "defaults: {level: sign}\nprovers: [{name: p, backend: http}]\nrules:\n- {name: a, matches: [{apis: [health]}], level: pass}",
    );
    let b =
        file("clientMayRaiseTo: zk\nrules:\n- {name: b, matches: [{apis: [chat]}], level: zk, prover: p}");
    let together = Policy::parse_all([("a.yaml", a.as_str()), ("b.yaml", b.as_str())]).unwrap();
    assert_eq!(Request::new("GET", "/health").decide(&together).level, Level::Pass);
    assert_eq!(post("/x").decide(&together).level, Level::Sign);
    assert_eq!(post("/v1/chat/completions").decide(&together).asked, Level::Zk);
    let one = file(
        "defaults: {level: sign}\nclientMayRaiseTo: zk\nprovers: [{name: p, backend: http}]\nrules:\n- {name: a, matches: [{apis: [health]}], level: pass}\n- {name: b, matches: [{apis: [chat]}], level: zk, prover: p}",
    );
    assert_eq!(
        together.digest(),
        Policy::parse(&one, "one.yaml").unwrap().digest(),
        "how it is cut means nothing"
    );

    let conflict = |second: &str| {
        let second = file(second);
        let error = Policy::parse_all([("a.yaml", a.as_str()), ("b.yaml", second.as_str())]).unwrap_err();
        error.to_string()
    };
    let same = "is given already at a.yaml:5:13";
    assert_eq!(conflict("defaults: {level: sign}"), format!("b.yaml:5:13: `defaults` {same}"));
    assert_eq!(
        conflict("rules: [{name: a, level: sign}]"),
        "b.yaml:5:18: a second rule named `a`; the first is at a.yaml:8:12"
    );
    assert!(
        conflict("provers: [{name: p, backend: http}]")
            .contains("a second prover named `p`; the first is at a.yaml:6")
    );
    let other = b.replace("{name: test}", "{name: other}");
    let error = Policy::parse_all([("a.yaml", a.as_str()), ("b.yaml", other.as_str())]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "b.yaml:3:18: the files of one policy have one name, and it is `test` at a.yaml:3:18"
    );
    let many: Vec<(String, String)> = (0..65)
        .map(|n| (format!("{n}.yaml"), file(&format!("rules: [{{name: r{n}, level: sign}}]"))))
        .collect();
    let error = Policy::parse_all(many.iter().map(|(n, t)| (n.as_str(), t.as_str()))).unwrap_err();
    assert!(error.message().contains("more than 64 files"), "{error}");
    assert!(Policy::parse_all([]).unwrap_err().message().contains("no policy file"));
}

#[test]
fn what_no_request_reaches_is_warned_of() {
    let policy = policy(
        "upstreams: [{name: u, url: \"https://u\"}]\nrules:\n- {name: all, level: sign}\n- {name: late, level: commit}",
    );
    let warnings: Vec<String> = policy.warnings().iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            "test.yaml:8:12: no request gets here: rule `all` at test.yaml:7:12 takes all",
            "test.yaml:5:22: no rule uses the upstream `u`",
        ]
    );
}
