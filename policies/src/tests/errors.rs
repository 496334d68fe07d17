//! Each bad input names its place and what to do. `§` marks the place in the text; the reader does not see it.

use super::file;
use crate::{MAX_POLICY_BYTES, Policy, PolicyError};
use proptest::prelude::*;

fn refuse(text: &str) -> PolicyError {
    Policy::parse(text, "clinic.yaml").err().unwrap_or_else(|| panic!("accepted:\n{text}"))
}

/// Checks that the whole file `marked` is refused at its mark, with this message.
fn check_file(marked: &str, message: &str) {
    let before = marked.split('§').next().unwrap();
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap().chars().count() + 1;
    let error = refuse(&marked.replace('§', ""));
    assert_eq!(error.to_string(), format!("clinic.yaml:{line}:{column}: {message}"), "{marked}");
}

fn check(spec: &str, message: &str) {
    check_file(&file(spec), message);
}

fn check_rule(rule: &str, message: &str) {
    check(&format!("rules:\n- {{name: ok, level: pass}}\n- {rule}"), message);
}

fn check_match(entry: &str, message: &str) {
    check_rule(&format!("{{name: a, level: pass, matches: [{entry}]}}"), message);
}

#[test]
fn unknown_keys() {
    check_rule("{name: a, §levle: pass}", "unknown key `levle`, did you mean `level`?");
    check("§rule: []", "unknown key `rule`, did you mean `rules`?");
    check("§ruels: []", "unknown key `ruels`, did you mean `rules`?");
    check("§clientmayraiseto: sign", "unknown key `clientmayraiseto`, did you mean `clientMayRaiseTo`?");
    check("§x: 1", "unknown key `x`");
    check("defaults: {§levels: pass}", "unknown key `levels`, did you mean `level`?");
    check_match("{§model: [x]}", "unknown key `model`, did you mean `models`?");
    check_match("{path: {§kind: Exact, value: /a}}", "unknown key `kind`");
    check_match("{headers: [{name: a, §val: b}]}", "unknown key `val`, did you mean `value`?");
    check_match("{method: \"\u{e9}\", §\"m\u{e9}\": a}", "unknown key `m\u{e9}`");
    check_file("§apiversion: x\n", "unknown key `apiversion`, did you mean `apiVersion`?");
    check_file(
        &file("{}").replace("{name:", "{§names: x, name:"),
        "unknown key `names`, did you mean `name`?",
    );

    let error = refuse("apiversion: x\n");
    assert_eq!((error.line(), error.column(), error.source_name()), (1, 1, "clinic.yaml"));
    assert!(error.message().starts_with("unknown key"));
}

#[test]
fn wrong_words() {
    check_rule("{name: a, level: §sing}", "unknown level `sing`, did you mean `sign`?");
    check_rule(
        "{name: a, level: §signature}",
        "unknown level `signature`; it is one of pass, commit, sign, tee, zk",
    );
    check_rule("name: a\n  level: §\"Sign\"", "unknown level `Sign`, did you mean `sign`?");
    check("defaults: {failurePolicy: §ignore}", "unknown failurePolicy `ignore`, did you mean `Ignore`?");
    check_match("{apis: [chat, §emmbeddings]}", "unknown API `emmbeddings`, did you mean `embeddings`?");
    check_match(
        "{path: {type: §Prefix, value: /a}}",
        "unknown type `Prefix`; it is one of Exact, PathPrefix, RegularExpression",
    );
    check_match("{method: §get}", "methods are case-sensitive, did you mean `GET`?");
    check_match("{method: §\"G T\"}", "not an HTTP method");
    check_file(&file("{}").replace("Provenance", "§"), "`kind` is `ProvenancePolicy`");
    check_file(
        &file("{}").replace("colophon.dev/v1alpha1", "§v1"),
        "`apiVersion` is `colophon.dev/v1alpha1`",
    );
}

#[test]
fn wrong_types() {
    check_rule("{name: §7, level: pass}", "`name` is a string, not a number: put it in quotes");
    check_rule("{name: §true, level: pass}", "`name` is a string, not a boolean: put it in quotes");
    check_rule("{name: a, level: §[pass]}", "`level` is a string, not a list");
    check_rule("{name: a, level: §~}", "`level` is a string, not empty");
    check_rule("§just text", "`rule` is a mapping, not a string");
    check("rules: §{a: b}", "`rules` is a list, not a mapping");
    check_rule("{name: a, level: pass, matches: §{apis: [chat]}}", "`matches` is a list, not a mapping");
    check_match("{apis: §chat}", "`apis` is a list, not a string");
    check_match("{headers: [{name: a, value: §1}]}", "`value` is a string, not a number: put it in quotes");
    check_match("{path: §/health}", "`path` is a mapping, not a string");
    check_file("§text", "`policy` is a mapping, not a string");
    for empty in ["", "# nothing\n", "---\n", "~"] {
        assert!(Policy::parse(empty, "e.yaml").is_err(), "{empty:?}");
    }
}

#[test]
fn missing_and_empty() {
    check_rule("§{name: a}", "`rule` needs the key `level`");
    check_rule("§{level: pass}", "`rule` needs the key `name`");
    check("rules: §[]", "`rules` is empty; leave it out instead");
    check_rule("{name: a, level: pass, matches: §[]}", "`matches` is empty; leave it out instead");
    check_match("§{}", "an empty entry in `matches` matches everything; leave `matches` out instead");
    for list in ["apis", "models", "headers"] {
        check_match(&format!("{{{list}: §[]}}"), &format!("`{list}` is empty; leave it out instead"));
    }
    check_match("{models: [a, §\"\"]}", "`models` is empty");
    check_match("{headers: [§{name: a}]}", "`headers` needs the key `value`");
    check_match("{path: §{value: /a}}", "`path` needs the key `type`");
    check_file("§kind: ProvenancePolicy\n", "`policy` needs the key `apiVersion`");
}

/// Whoever is refused is told why.
#[test]
fn a_denial_has_a_reason_of_one_line() {
    check_rule("{name: a, deny: §{}}", "`deny` needs the key `reason`");
    for reason in ["", "  ", "a\\nb", "a\\u001b[2J", &"a".repeat(257)] {
        check_rule(
            &format!("{{name: a, deny: {{reason: §\"{reason}\"}}}}"),
            "a reason is a line of 1 to 256 bytes",
        );
    }
    for level in ["pass", "tee", "zk"] {
        let rule = format!("{{name: a, deny: {{reason: no}}, level: §{level}}}");
        check_rule(&rule, &format!("a refusal is recorded at `commit` or `sign`, not at `{level}`"));
    }
}

#[test]
fn duplicates_and_names() {
    check(
        "rules:\n- {name: a, level: pass}\n- name: §a\n  level: sign",
        "a second rule named `a`; the first is at clinic.yaml:6:12",
    );
    check_rule("{name: a, level: pass, §level: sign}", "duplicate key `level`");
    check("defaults: {}\nrules:\n- {name: a, level: pass}\n§defaults: {}", "duplicate key `defaults`");
    for bad in ["(default)", " a", "a\\nb", "", "a\\u001b[2J", "\\u202ea"] {
        let error = refuse(&file(&format!("rules:\n- {{name: \"{bad}\", level: pass}}"))).to_string();
        assert!(error.starts_with("clinic.yaml:6:12: a name has 1 to 128 bytes"), "{error}");
        assert!(!error.chars().any(char::is_control), "{error:?}");
    }
    let long = "a".repeat(129);
    assert!(
        refuse(&file(&format!("rules:\n- {{name: {long}, level: pass}}")))
            .message()
            .contains("1 to 128 bytes")
    );
}

#[test]
fn paths_that_never_match() {
    for (kind, value, meant) in [
        ("Exact", "/health/", "/health"),
        ("Exact", "/%68ealth", "/health"),
        ("Exact", "/v1/Models", "/v1/models"),
        ("Exact", "health", "/health"),
        ("PathPrefix", "//", "/"),
        ("PathPrefix", "/a/../b", "/b"),
        ("PathPrefix", "/a//", "/a"),
    ] {
        check_match(
            &format!("{{path: {{type: {kind}, value: §{value}}}}}"),
            &format!("`{value}` never matches: paths are normalised first, did you mean `{meant}`?"),
        );
    }
    for (kind, value) in [("PathPrefix", "/"), ("PathPrefix", "/v1/"), ("Exact", "/"), ("Exact", "/Any/Case")]
    {
        let entry = format!(
            "rules:\n- {{name: a, level: pass, matches: [{{path: {{type: {kind}, value: {value}}}}}]}}"
        );
        assert!(Policy::parse(&file(&entry), "p.yaml").is_ok(), "{kind} {value}");
    }
}

#[test]
fn expressions_headers_and_globs() {
    let expression = |value: &str, message: &str| {
        check_match(&format!("{{path: {{type: RegularExpression, value: §\"{value}\"}}}}"), message);
        check_match(
            &format!("{{headers: [{{name: a, type: RegularExpression, value: §\"{value}\"}}]}}"),
            message,
        );
    };
    expression("/(a", "not a regular expression: unclosed group");
    expression("a)|(b", "not a regular expression: unopened group");
    expression(
        "(?=a)",
        "not a regular expression: look-around, including look-ahead and look-behind, is not supported",
    );
    expression("([a-z]{1,1000}){1,1000}", "the expression needs more than 256 KiB compiled");
    expression(&"a".repeat(5000), "`value` is longer than 4096 bytes");
    check_match("{headers: [{name: §\"a b\", value: x}]}", "not a header name");
    check_match("{headers: [{name: a, value: §\"x\\ny\"}]}", "no header has this value");
    check_match("{headers: [{name: a, value: §\" x\"}]}", "no header has this value");
    check_match(
        "{headers: [{name: a, value: x, type: §PathPrefix}]}",
        "unknown type `PathPrefix`; it is one of Exact, RegularExpression",
    );
    check_match(
        "{models: [a, §\"{a,b\"]}",
        "not a glob: unclosed alternate group; missing '}' (maybe escape '{' with '[{]'?)",
    );
}

#[test]
fn too_much() {
    let long = format!("{}\n# {}", file("{}"), "x".repeat(MAX_POLICY_BYTES));
    assert_eq!(refuse(&long).to_string(), "clinic.yaml:1:1: the file is larger than 1024 KiB");
    let rules: String = (0..1025).map(|n| format!("\n- {{name: r{n}, level: pass}}")).collect();
    assert_eq!(refuse(&file(&format!("rules:{rules}"))).message(), "more than 1024 rules");
    let models: Vec<String> = (0..4097).map(|n| format!("m{n}")).collect();
    let models =
        format!("rules:\n- {{name: a, level: pass, matches: [{{models: [{}]}}]}}", models.join(", "));
    assert!(refuse(&file(&models)).message().starts_with("more than 4096"));
    let key = "k".repeat(100_000);
    assert!(refuse(&file(&format!("? {key}\n: x"))).to_string().len() < 200);
    let keys: String = (0..80_000).map(|n| format!("{n:x}: a\n")).collect();
    assert_eq!(refuse(&keys).message(), "unknown key `0`");
    for (spec, line) in [
        (format!("rules: {}{}", "[".repeat(100), "]".repeat(100)), 5),
        ("rules: [".to_owned(), 5),
        ("a: &a [*a]".to_owned(), 5),
        ("rules:\n- {name: a, level: pass}\n- {name: b\n  level: pass}".to_owned(), 8),
    ] {
        let error = refuse(&file(&spec));
        assert!(error.line() >= line && error.line() <= line + 1, "{error}");
    }
}

proptest! {
    /// A valid policy with a few characters replaced is read or refused with a place inside it.
    #[test]
    fn damaged_policies_are_refused_in_place(changes in proptest::collection::vec((0usize..900, any::<char>()), 1..4)) {
        let mut text: Vec<char> = include_str!("../../profiles/default.yaml").chars().collect();
        for (at, c) in changes {
            let len = text.len();
            text[at % len] = c;
        }
        let text: String = text.into_iter().collect();
        if let Err(error) = Policy::parse(&text, "damaged.yaml") {
            prop_assert!(error.line() >= 1 && error.line() as usize <= text.lines().count() + 1);
            prop_assert!(!error.message().is_empty() && !error.message().chars().any(char::is_control), "{error:?}");
        }
    }
}
