use super::*;

const TEXT: &str = r#"{"apiVersion":"v","defaults":{"level":"commit","failurePolicy":"Ignore"},"rules":[{"name":"a","level":"sign"},{"name":"b","level":"pass"}]}"#;

fn decision(rule: &str, asked: &'static str) -> Decision {
    Decision {
        policy: hex::encode(sha256(TEXT.as_bytes())),
        rule: Some(rule.into()),
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
