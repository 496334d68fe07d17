use super::{Request, policy};
use crate::{DEFAULT_RULE, FailurePolicy, Policy};
use colophon_receipt::Level;

fn get(path: &str) -> Request {
    Request::new("GET", path)
}

fn post(path: &str) -> Request {
    Request::new("POST", path)
}

#[test]
fn the_builtin_policy_signs_answers_commits_the_rest_and_passes_health() {
    let builtin = Policy::builtin();
    for path in ["/health", "/v1/health", "/metrics", "/ping", "/version", "/v1/models"] {
        let decision = get(path).decide(&builtin);
        assert_eq!((decision.level, &*decision.rule), (Level::Pass, "health"), "{path}");
    }
    for path in [
        "/v1/chat/completions",
        "/v1/messages",
        "/generate",
        "/completion",
        "/invocations",
        "/",
        "/v1/rerank",
    ] {
        let decision = post(path).decide(&builtin);
        assert_eq!((decision.level, &*decision.rule), (Level::Sign, "answers"), "{path}");
    }
    let committed = [
        post("/ping"),
        get("/"),
        get("/info"),
        get("/nothing"),
        post("/health"),
        post("/tokenize"),
        post("/sleep"),
        post("/v1/load_lora_adapter"),
        get("/healthz"),
        get("/x/health"),
        get("/v1/models/x"),
        Request::new("HEAD", "/health"),
    ];
    for request in committed {
        let decision = request.decide(&builtin);
        assert_eq!((decision.level, &*decision.rule), (Level::Commit, DEFAULT_RULE), "{}", request.path);
        assert_eq!(decision.failure_policy, FailurePolicy::Ignore);
        assert_eq!((decision.asked, decision.why_lowered), (Level::Commit, None));
    }
}

#[test]
fn every_generating_route_of_the_profiles_is_signed_by_the_builtin_policy() {
    let builtin = Policy::builtin();
    let mut generating = 0;
    for line in crate::routes::table_text().lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let request = Request::new(words[1], &words[0].replace(['{', '}'], "_"));
        let decision = request.decide(&builtin);
        if words[4] == "true" {
            assert_eq!(decision.level, Level::Sign, "{line}");
            generating += 1;
        } else {
            assert!(decision.level <= Level::Commit, "{line}");
        }
    }
    assert!(generating > 40);
}

#[test]
fn nothing_is_committed_by_default_and_the_first_rule_wins() {
    let empty = policy("{}");
    assert_eq!(get("/x").decide(&empty).level, Level::Commit);
    let two = policy(
        "defaults: {level: sign, failurePolicy: Fail}\nrules:\n\
         - {name: a, matches: [{path: {type: PathPrefix, value: /a}}], level: commit, failurePolicy: Ignore}\n\
         - {name: b, matches: [{path: {type: Exact, value: /a/b}}], level: pass}\n\
         - {name: rest, level: commit}",
    );
    let decision = get("/a/b").decide(&two);
    assert_eq!(
        (&*decision.rule, decision.level, decision.failure_policy),
        ("a", Level::Commit, FailurePolicy::Ignore)
    );
    let decision = get("/b").decide(&two);
    assert_eq!(
        (&*decision.rule, decision.failure_policy),
        ("rest", FailurePolicy::Fail),
        "inherited from defaults"
    );
}

#[test]
fn headers_match_by_any_value() {
    let policy = policy(
        "rules:\n- name: h\n  matches:\n  - headers:\n    - {name: X-Team, value: med}\n    - {name: x-env, type: RegularExpression, value: \"prod|stage\"}\n  level: sign",
    );
    let both = get("/x").header("x-team", "other").header("X-Team", "med").header("x-env", "stage");
    assert_eq!(both.decide(&policy).level, Level::Sign);
    assert_eq!(get("/x").header("x-team", "med").decide(&policy).level, Level::Commit);
    assert_eq!(
        get("/x").header("x-team", "med").header("x-env", "prod2").decide(&policy).level,
        Level::Commit
    );
}

#[test]
fn clients_may_raise_up_to_the_ceiling_and_never_lower() {
    let spec = "rules:\n- {name: h, matches: [{path: {type: Exact, value: /health}}], level: pass}\n- {name: s, matches: [{path: {type: Exact, value: /s}}], level: sign}";
    let open = policy(&format!("clientMayRaiseTo: sign\n{spec}"));
    let closed = policy(spec);
    let ask = |path: &str, level: &str| get(path).header("colophon-level", level);

    for (path, asked, granted) in [
        ("/health", "commit", Level::Commit),
        ("/health", " Sign ", Level::Sign),
        ("/x", "sign", Level::Sign),
    ] {
        let decision = ask(path, asked).decide(&open);
        assert_eq!(
            (decision.level, decision.asked, decision.why_lowered),
            (granted, granted, None),
            "{path} {asked}"
        );
    }
    for lower in ["pass", "commit"] {
        let decision = ask("/s", lower).decide(&open);
        assert_eq!((decision.level, decision.asked, decision.why_lowered), (Level::Sign, Level::Sign, None));
    }
    assert_eq!(ask("/x", "pass").decide(&open).level, Level::Commit);
    // What a client may have is due; what it asks for in vain is not.
    assert_eq!(ask("/x", "sign").decide(&open).due, Level::Sign);
    let vain = ask("/x", "sign").decide(&closed);
    assert_eq!((vain.asked, vain.due, vain.level), (Level::Sign, Level::Commit, Level::Commit));
    for unknown in ["", "high", "sign,zk", "2"] {
        assert_eq!(ask("/health", unknown).decide(&open).level, Level::Pass, "{unknown}");
    }
    assert_eq!(ask("/health", "commit").header("colophon-level", "sign").decide(&open).level, Level::Sign);

    let decision = ask("/x", "zk").decide(&open);
    assert_eq!((decision.level, decision.asked), (Level::Sign, Level::Zk));
    assert_eq!(
        &*decision.why_lowered.unwrap(),
        "the client asked for `zk`; clients may raise the level to `sign`"
    );
    let decision = ask("/health", "commit").decide(&closed);
    assert_eq!((decision.level, decision.asked), (Level::Pass, Level::Commit));
    assert_eq!(
        &*decision.why_lowered.unwrap(),
        "the client asked for `commit`; clients may not raise the level"
    );
    assert_eq!(ask("/s", "sign").decide(&closed).why_lowered, None);
}

#[test]
fn pass_does_not_apply_to_an_odd_spelling() {
    let with_default = |level: &str| {
        policy(&format!(
            "defaults: {{level: {level}, failurePolicy: Fail}}\nrules:\n- {{name: all, level: pass, failurePolicy: Ignore}}"
        ))
    };
    assert_eq!(post("/v1/chat/completions").decide(&with_default("sign")).level, Level::Pass, "explicit");
    for (default, granted) in [("pass", Level::Commit), ("commit", Level::Commit), ("sign", Level::Sign)] {
        let decision = post("/v1/%63hat/completions").decide(&with_default(default));
        assert_eq!((decision.level, &*decision.rule), (granted, "all"));
        assert_eq!((decision.asked, decision.failure_policy), (Level::Pass, FailurePolicy::Fail));
        assert!(decision.why_lowered.unwrap().contains("not written plainly"));
    }
    let decision = get("/%68ealth").header("colophon-level", "zk").decide(&with_default("commit"));
    let why = decision.why_lowered.unwrap();
    assert!(why.contains("not written plainly") && why.contains("asked for `zk`"), "{why}");
}

const MODELS: &str = "defaults: {level: commit}\nrules:\n\
    - {name: med, matches: [{models: [\"med-*\"]}], level: sign, failurePolicy: Fail}\n\
    - {name: toy, matches: [{models: [\"toy\"]}], level: pass}\n\
    - {name: chat, matches: [{apis: [chat]}], level: sign}";

#[test]
fn a_known_model_decides() {
    let policy = policy(MODELS);
    let rule = |request: Request| request.decide(&policy).rule.to_string();
    assert_eq!(rule(post("/v1/completions").model("med-7b")), "med");
    assert_eq!(rule(post("/v1/completions").model("toy")), "toy");
    assert_eq!(rule(post("/v1/completions").model("other")), DEFAULT_RULE);
    assert!(!policy.needs_body(&post("/v1/completions").model("other").head()));
}

/// A server with one model takes requests that name none; so does one that ignores names.
#[test]
fn a_request_that_generates_and_names_no_model_may_mean_any() {
    let policy = policy(MODELS);
    let rule = |request: Request| request.decide(&policy).rule.to_string();
    assert_eq!(rule(post("/v1/completions").model("")), "med");
    assert_eq!(rule(get("/v1/realtime").model("")), "med", "it comes in the session's frames");
    assert_eq!(rule(get("/v1/responses/resp_1").model("")), "med");
    assert_eq!(rule(post("/of/my/own").model("")), DEFAULT_RULE, "nothing is generated there");
}

#[test]
fn an_unknown_model_gets_the_stricter_branch() {
    let policy = policy(MODELS);
    let decision = post("/v1/completions").decide(&policy);
    assert_eq!(
        (&*decision.rule, decision.level, decision.failure_policy),
        ("med", Level::Sign, FailurePolicy::Fail)
    );
    assert!(decision.why_lowered.unwrap().contains("body is not known"));
    let decision = post("/v1/chat/completions").decide(&policy);
    assert_eq!(
        (&*decision.rule, decision.failure_policy),
        ("chat", FailurePolicy::Fail),
        "as strict as any model makes it"
    );
    assert!(decision.why_lowered.is_some());
    for request in [
        post("/v1/chat/completions"),
        post("/unknown"),
        get("/v1/realtime"),
        get("/x").header("upgrade", "websocket"),
    ] {
        assert!(policy.needs_body(&request.head()), "{}", request.path);
    }
    for request in [get("/health"), get("/v1/models"), post("/sleep"), get("/favicon.ico")] {
        let decision = request.decide(&policy);
        assert_eq!(
            (&*decision.rule, decision.why_lowered),
            (DEFAULT_RULE, None),
            "{} names no model",
            request.path
        );
        assert!(!policy.needs_body(&request.head()), "{}", request.path);
    }
    assert!(!Policy::builtin().needs_body(&post("/v1/chat/completions").head()));
}

/// Also prints what a decision costs in this build (`--nocapture`).
#[test]
fn sixty_four_rules_are_decided_without_ado() {
    let mut spec = String::from("rules:\n");
    for n in 0..64 {
        let entry = match n % 4 {
            0 => format!(
                "{{method: POST, path: {{type: RegularExpression, value: \"/v{n}/(chat|text)/.*\"}}}}"
            ),
            1 => format!("{{apis: [chat], models: [\"model-{n}-*\", exact-{n}]}}"),
            2 => format!(
                "{{path: {{type: PathPrefix, value: /team{n}}}, headers: [{{name: x-team, value: t{n}}}]}}"
            ),
            _ => format!(
                "{{headers: [{{name: x-tenant, type: RegularExpression, value: \"tenant-{n}-[a-z]+\"}}]}}"
            ),
        };
        spec.push_str(&format!("- {{name: r{n}, matches: [{entry}], level: sign}}\n"));
    }
    let policy = policy(&spec);
    let request =
        post("/v1/chat/completions").header("x-team", "t99").header("x-tenant", "tenant-99-abc").model("m");
    assert_eq!(&*request.decide(&policy).rule, DEFAULT_RULE);
    let start = std::time::Instant::now();
    let rounds = 2_000;
    for _ in 0..rounds {
        std::hint::black_box(policy.decide(std::hint::black_box(&request.head())));
    }
    eprintln!("decide, 64 rules, none matches: {} ns", start.elapsed().as_nanos() / rounds);
    let start = std::time::Instant::now();
    for _ in 0..rounds {
        std::hint::black_box(crate::identify(&request.method, std::hint::black_box(&request.path)));
    }
    eprintln!("identify: {} ns", start.elapsed().as_nanos() / rounds);
}
