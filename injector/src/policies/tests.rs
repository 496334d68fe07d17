use super::*;

#[test]
fn only_our_own_config_map_is_touched_and_nothing_else_is_left_in_it() {
    let object = json!({"metadata": {"name": "clinic", "uid": "7"}});
    let mut config_map = json!({"metadata": {"name": "clinic", "resourceVersion": "5", "labels": {"a": "b"}},
        "data": {"other.yaml": "x"}, "binaryData": {"more.yaml": "eA=="}});
    assert!(!is_ours(&config_map, "clinic"));
    fill(&mut config_map, &object, "text");
    assert!(is_ours(&config_map, "clinic") && !is_ours(&config_map, "other"));
    assert!(has_only(&config_map, "text") && !has_only(&config_map, "other"));
    assert_eq!(
        config_map["metadata"]["resourceVersion"], "5",
        "the server refuses it where it is another now"
    );
    assert_eq!(config_map["metadata"]["labels"], json!({"a": "b"}));
    config_map["data"]["other.yaml"] = json!("x");
    assert!(!has_only(&config_map, "text"));
}
