//! The patch, applied by somebody else.

use super::*;
use proptest::prelude::*;
use serde_json::json;

fn applied(before: &Value, patch: &[Operation]) -> Value {
    let patch: json_patch::Patch = serde_json::from_value(serde_json::to_value(patch).unwrap()).unwrap();
    let mut value = before.clone();
    json_patch::patch(&mut value, &patch).unwrap();
    value
}

#[test]
fn names_are_escaped() {
    let (before, after) = (json!({"a": {"x/y~z": 1}}), json!({"a": {"x/y~z": 2, "~1": 3}}));
    let patch = between(&before, &after);
    let first = Operation::Replace { path: "/a/x~1y~0z".into(), value: json!(2) };
    assert_eq!(patch[0], first);
    assert_eq!(applied(&before, &patch), after);
}

#[test]
fn nothing_is_said_of_what_is_the_same() {
    let pod = json!({"spec": {"containers": [{"name": "a"}, {"name": "b"}]}});
    assert!(between(&pod, &pod).is_empty());
    let mut other = pod.clone();
    other["spec"]["containers"][1]["image"] = json!("i");
    let added = Operation::Add { path: "/spec/containers/1/image".into(), value: json!("i") };
    assert_eq!(between(&pod, &other), [added]);
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "[a-c/~]{0,3}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-c/~]{0,3}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_two_values(before in value(), after in value()) {
        prop_assert_eq!(applied(&before, &between(&before, &after)), after);
    }
}
