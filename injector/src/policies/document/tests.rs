use super::*;

fn object(spec: Value) -> Value {
    json!({
        "apiVersion": "colophon.dev/v1alpha1", "kind": "ProvenancePolicy",
        "metadata": {"name": "clinic", "namespace": "models", "uid": "u", "generation": 3, "labels": {"a": "b"}},
        "spec": spec, "status": {"digest": "x"},
    })
}

fn wrong(spec: Value) -> String {
    judge(&object(spec)).expect_err("it is wrong").to_string()
}

#[test]
fn the_file_is_the_policy_with_the_digest_that_any_other_spelling_has() {
    let accepted = judge(&object(json!({"rules": [{"name": "a", "level": "sign", "matches": [
        {"body": [{"pointer": "/x", "op": "In", "values": [null, "a \"b\" \u{85}\u{2028}ü😀\n", 1.5]}]}]}]})))
    .expect("it is right");
    let other = "{apiVersion: colophon.dev/v1alpha1, kind: ProvenancePolicy, metadata: {name: clinic}, spec: {rules: [{level: sign,
        name: a, matches: [{body: [{op: In, values: [1.5, \"a \\\"b\\\" \\x85\\u2028ü😀\\n\", null], pointer: /x}]}]}]}}";
    assert_eq!(Some(&accepted.digest), digest(other).as_ref());
    assert_eq!(digest(&accepted.text), Some(accepted.digest));
    assert_eq!(digest("apiVersion: 1"), None);
}

#[test]
fn what_is_wrong_is_named_by_its_path() {
    let rule = |rule: Value| json!({"rules": [{"name": "first", "level": "sign"}, rule]});
    assert_eq!(
        wrong(rule(json!({"name": "second", "levle": "sign"}))),
        "spec.rules[1].levle: unknown key `levle`, did you mean `level`?"
    );
    let body = json!({"name": "second", "level": "sign", "matches": [
        {"apis": ["chat"]}, {"body": [{"pointer": "/a", "op": "In", "values": [1, {"b": 2}]}]}]});
    assert!(wrong(rule(body)).starts_with("spec.rules[1].matches[1].body[0].values[1]: "));
    assert!(wrong(rule(json!({"level": "sign"}))).starts_with("spec.rules[1]: "));
    assert!(wrong(rule(json!({"name": "first", "level": "sign"}))).starts_with("spec.rules[1].name: "));
    assert!(wrong(json!({"rules": []})).starts_with("spec.rules: "));
    assert!(wrong(json!(null)).starts_with("spec: "));
}

#[test]
fn an_object_of_any_shape_is_judged() {
    for object in
        [json!(null), json!([]), json!({"spec": {"rules": {"a": [[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]}}})]
    {
        judge(&object).expect_err("it is wrong");
    }
    let long = "x".repeat(colophon_policies::MAX_POLICY_BYTES);
    assert!(wrong(json!({"rules": [{"name": long}]})).contains("larger than"));
}

/// A key of 60 KB above 150,000 elements: paths in full would be 9 GB.
#[test]
fn what_is_written_of_a_wrong_object_is_no_longer_than_a_policy() {
    let key = "k".repeat(60 << 10);
    let object = object(json!({ key: vec![1; 150_000] }));
    let mut file = File::default();
    file.document([("spec", &object["spec"]), ("a", &Value::Null), ("b", &Value::Null), ("c", &Value::Null)]);
    let most = colophon_policies::MAX_POLICY_BYTES;
    assert!(file.text.len() > most && file.text.len() < most + 1000, "{}", file.text.len());
    assert!(file.lines.len() * size_of::<Step<'_>>() < 8 << 20, "{}", file.lines.len());
    let wrong = judge(&object).expect_err("it is wrong");
    assert!(wrong.message.contains("larger than"), "{wrong}");
}

#[test]
fn what_is_said_of_a_wrong_object_is_cut() {
    let said = wrong(json!({"rules": [{"name": "a", "level": "sign", "k".repeat(60 << 10): {"x": 1}}]}));
    assert!(said.starts_with("spec.rules[0].kkkk") && said.contains('…'), "{said}");
    assert!(said.chars().count() < 2 * MAX_SHOWN + 10, "{}", said.len());
}
