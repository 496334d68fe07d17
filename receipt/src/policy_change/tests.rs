use super::*;

#[test]
fn it_has_one_form() {
    let change = PolicyChange { shard: "a/0".into(), seq: 3, at: 7, before: [1; 32], after: [2; 32] };
    let bytes = change.encode();
    assert_eq!(PolicyChange::decode(&bytes).unwrap(), change);
    let same = PolicyChange { after: [1; 32], ..change }.encode();
    assert!(PolicyChange::decode(&same).is_err(), "a change to the same policy is none");
    for cut in 0..bytes.len() {
        assert!(PolicyChange::decode(&bytes[..cut]).is_err(), "{cut}");
    }
}

#[test]
fn a_text_is_named_by_its_digest() {
    let name = policy_file(&[0xa5; 32]);
    assert_eq!(name, format!("policy/{}.json", "a5".repeat(32)));
}
