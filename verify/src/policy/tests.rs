use super::*;

const TEXT: &str = r#"{"apiVersion":"v","defaults":{"level":"commit","failurePolicy":"Ignore"},"rules":[{"name":"a","level":"sign"},{"name":"b","level":"pass"}]}"#;

fn decision(rule: &str, asked: &'static str) -> Decision {
    Decision {
        policy: hex::encode(sha256(TEXT.as_bytes())),
        rule: Some(shown(rule)),
        named: Some(rule.into()),
        asked: Some(asked),
        granted: Some(asked),
        why_lowered: None,
        text: None,
    }
}

#[test]
fn the_rule_is_the_one_named() {
    let rule = judge(TEXT.as_bytes(), &decision("a", "sign")).unwrap();
    assert_eq!(rule.get(), r#"{"name":"a","level":"sign"}"#);
    let newline = format!("{TEXT}\n");
    assert!(judge(newline.as_bytes(), &decision("(default)", "commit")).unwrap().get().contains("commit"));
    // A client may have raised it.
    judge(TEXT.as_bytes(), &decision("b", "sign")).unwrap();
}

#[test]
fn another_text_rule_or_level_is_refused() {
    assert!(judge(b"{}", &decision("a", "sign")).unwrap_err().contains("another policy"));
    assert!(judge(TEXT.as_bytes(), &decision("c", "sign")).unwrap_err().contains("no rule"));
    assert!(judge(TEXT.as_bytes(), &decision("a", "commit")).unwrap_err().contains("asks for sign"));
}

/// What scripts and terminals get is escaped; the policy's text is searched for the name as it is.
#[test]
fn a_rule_of_any_name_is_found_and_shown_escaped() {
    const NAME: &str = "ev\u{202e}il\u{9b}31m\u{7f}";
    let text = format!(r#"{{"defaults":{{}},"rules":[{{"name":"{NAME}","level":"sign"}}]}}"#);
    let (policy, rule) = (Some(sha256(text.as_bytes())), NAME);
    let made = crate::testing::Plan { policy, rule, withheld: vec![], ..Default::default() }.make();
    let bodies = Bodies { policy: Some(text.into_bytes()), ..Bodies::default() };
    let report = crate::verify(&made.file(), Some(&made.trust()), &bodies, None);
    assert_eq!(report.check(POLICY).unwrap().status, crate::Status::Passed, "{:#?}", report.checks);
    let json = serde_json::to_string(&report).unwrap();
    assert!(json.contains(r"ev\\u{202e}il\\u{9b}31m\\u{7f}"), "{json}");
    assert!(!json.contains(['\u{202e}', '\u{9b}', '\u{7f}']));
}
