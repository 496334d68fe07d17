//! `colophon policy check | explain | test | coverage | schema | show`: what is typed, what comes back, and the exit codes that a
//! CI run depends on.

use std::fs;
use std::path::Path;

use colophon_receipt::merkle::sha256;
use colophon_tests::colophon;
use colophon_tests::{PATIENCE, process};

const CLINIC: &str = "\
apiVersion: colophon.dev/v1alpha1
kind: ProvenancePolicy
metadata: {name: clinic}
spec:
  rules:
  - name: diagnosis
    matches: [{models: [\"med-*\"], body: [{pointer: /metadata/decision, op: In, values: [triage]}]}]
    level: sign
    failurePolicy: Fail
  - name: health
    matches: [{method: GET, path: {type: Exact, value: /health}}]
    level: pass
  - name: enclave
    matches: [{models: [secret]}]
    level: tee
";

/// A folder with these files; what they are called there.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

/// Exit code, standard output, standard error of a command run in a folder.
fn policy(folder: &Path, args: &[&str]) -> (i32, String, String) {
    let mut command = colophon::command(&[&["policy"], args].concat());
    let output = process::run(command.current_dir(folder), PATIENCE);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().expect("an exit code"), text(&output.stdout), text(&output.stderr))
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn check_points_at_the_mistake() {
    let bad = CLINIC.replace("level: sign", "levle: sign");
    let folder = folder(&[("clinic.yaml", CLINIC), ("bad.yaml", &bad)]);
    let (code, _, error) = policy(folder.path(), &["check", "bad.yaml"]);
    assert_eq!(code, 1);
    let lines: Vec<&str> = error.lines().collect();
    assert_eq!(lines[0], "error: bad.yaml:8:5: unknown key `levle`, did you mean `level`?");
    let line = lines.iter().position(|line| line.ends_with("|     levle: sign")).expect("the line itself");
    let caret = lines[line + 1].find('^').expect("a caret");
    assert_eq!(lines[line].find("levle"), Some(caret), "{error}");
    let (code, said, _) = policy(folder.path(), &["check", "bad.yaml", "--json"]);
    let said = json(&said);
    assert_eq!((code, &said["valid"]), (1, &false.into()));
    assert_eq!(said["place"], serde_json::json!({"file": "bad.yaml", "line": 8, "column": 5}));

    // Right, with a warning that `--strict` counts: `tee` cannot be given.
    let (code, said, _) = policy(folder.path(), &["check", "clinic.yaml", "--json"]);
    let said = json(&said);
    assert_eq!((code, &said["valid"]), (0, &true.into()), "{said}");
    assert!(said["warnings"][0]["warning"].as_str().unwrap().contains("`tee` cannot be given"), "{said}");
    // Where the warning cannot be said, the policy is no worse.
    let mut unheard = colophon::command(&["policy", "check", "clinic.yaml"]);
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    assert!(unheard.current_dir(folder.path()).stderr(full).output().unwrap().status.success());
    let (code, strict, error) = policy(folder.path(), &["check", "clinic.yaml", "--strict"]);
    assert!(code == 1 && strict.contains("✗ policy clinic has 1 warning"), "{strict}");
    assert!(error.starts_with("error: clinic.yaml:") && !strict.contains("right"), "{error}");
    let (code, strict, _) = policy(folder.path(), &["check", "clinic.yaml", "--strict", "--json"]);
    assert_eq!((code, &json(&strict)["passed"]), (1, &false.into()), "{strict}");

    // The digest is that of what `show` prints, which is what records name.
    let (code, shown, _) = policy(folder.path(), &["show", "clinic.yaml"]);
    let digest: String =
        sha256(shown.trim_end().as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!((code, said["digest"].as_str()), (0, Some(digest.as_str())), "{said}");
}

#[test]
fn explain_goes_rule_by_rule() {
    let saved = "GET /health HTTP/1.1\r\nHost: x\r\n\r\n";
    let body = r#"{"model":"med-7b","metadata":{"decision":"triage"}}"#;
    let folder = folder(&[("clinic.yaml", CLINIC), ("saved.http", saved), ("body.json", body)]);
    let chat = ["explain", "clinic.yaml", "--method", "POST", "--path", "/v1/chat/completions"];
    let (code, said, _) = policy(folder.path(), &[&chat[..], &["--body", "body.json"]].concat());
    assert_eq!(code, 0);
    for part in [
        "is `chat` (chat.completions)",
        "rule diagnosis  clinic.yaml:6:11",
        "models med-*: med-7b",
        "body /metadata/decision In \"triage\": \"triage\"",
        "2 more rules are not reached",
        "→ rule diagnosis: level sign, failurePolicy Fail",
    ] {
        assert!(said.contains(part), "no {part:?} in {said}");
    }
    // Without the body nobody knows, and the stricter rule is taken.
    let (_, said, _) = policy(folder.path(), &[&chat[..], &["--json"]].concat());
    let said = json(&said);
    assert_eq!(
        (&said["steps"][0]["fit"], &said["decision"]["level"]),
        (&"maybe".into(), &"sign".into()),
        "{said}"
    );
    let (_, said, _) =
        policy(folder.path(), &["explain", "clinic.yaml", "--request", "saved.http", "--json"]);
    let said = json(&said);
    assert_eq!((&said["decision"]["rule"], &said["decision"]["level"]), (&"health".into(), &"pass".into()));
    assert_eq!(said["steps"][0]["fit"], "no", "a health check names no model: {said}");
}

#[test]
fn test_fails_a_run_in_which_a_case_goes_another_way() {
    let good = "cases:\n- name: signed\n  request: {method: POST, path: /v1/chat/completions, body: {model: med-1, metadata: {decision: triage}}}\n  expect: {rule: diagnosis, level: sign, failurePolicy: Fail}\n";
    let wrong = format!(
        "{good}- name: passed\n  request: {{method: GET, path: /health}}\n  expect: {{level: sign}}\n"
    );
    let folder = folder(&[("clinic.yaml", CLINIC), ("clinic.test.yaml", good)]);
    let (code, said, _) = policy(folder.path(), &["test", "clinic.yaml"]);
    assert!(code == 0 && said.contains("1 passed"), "{said}");
    fs::write(folder.path().join("clinic.test.yaml"), wrong).unwrap();
    let (code, said, _) = policy(folder.path(), &["test", "clinic.yaml"]);
    assert!(code == 1 && said.contains("clinic.test.yaml:5:3"), "{said}");
    assert!(said.contains("level: expected sign, got pass") && said.contains("1 passed, 1 failed"), "{said}");
    fs::remove_file(folder.path().join("clinic.test.yaml")).unwrap();
    assert_ne!(policy(folder.path(), &["test", "clinic.yaml"]).0, 0, "no cases are no success");
}

#[test]
fn coverage_marks_what_passes_or_is_in_no_profile() {
    let api = r#"{"openapi":"3.1.0","paths":{"/v1/chat/completions":{"post":{}},"/health":{"get":{}},"/new/route":{"post":{}}}}"#;
    let open = CLINIC.replace("matches: [{models: [secret]}]\n    level: tee", "level: pass");
    let folder = folder(&[("clinic.yaml", CLINIC), ("open.yaml", &open), ("openapi.json", api)]);
    let marked = |file: &str, route: &str| {
        let (code, said, _) =
            policy(folder.path(), &["coverage", file, "--openapi", "openapi.json", "--strict"]);
        let line =
            said.lines().find(|line| line.contains(route)).unwrap_or_else(|| panic!("{said}")).to_owned();
        (code, line.starts_with('!'))
    };
    assert_eq!(marked("clinic.yaml", "/v1/chat/completions"), (1, false));
    assert_eq!(marked("clinic.yaml", "/new/route"), (1, true), "in no profile");
    assert_eq!(marked("clinic.yaml", "/health"), (1, false), "it may pass");
    assert_eq!(marked("open.yaml", "/v1/chat/completions"), (1, true), "it generates, and passes");
    let known = api.replace(r#","/new/route":{"post":{}}"#, "");
    fs::write(folder.path().join("openapi.json"), known).unwrap();
    assert_eq!(
        policy(folder.path(), &["coverage", "clinic.yaml", "--openapi", "openapi.json", "--strict"]).0,
        0
    );
}

#[test]
fn the_schema_is_the_one_in_the_repository() {
    let (code, said, _) = policy(Path::new("."), &["schema"]);
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies/policy.schema.json");
    assert_eq!((code, said), (0, fs::read_to_string(file).unwrap()));
}
