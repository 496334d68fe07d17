use super::*;

#[test]
fn masks_what_differs_and_nothing_else() {
    let answers = [
        br#"{"id":"a-1","created":17,"text":"hi"}"#.to_vec(),
        br#"{"id":"b-22","created":17,"text":"hi"}"#.to_vec(),
    ];
    let template = Template::of(&answers).unwrap();
    assert_eq!(template.keys(), BTreeSet::from(["id".to_owned()]));
    assert_eq!(template.check(br#"{"id":"ccc","created":17,"text":"hi"}"#), Ok(()));
    assert!(template.check(br#"{"id":"ccc","created":18,"text":"hi"}"#).is_err());
    assert!(template.check(br#"{"id":"ccc","created":17,"text":"hi"} "#).is_err());
    assert!(template.check(br#"{"id": "ccc","created":17,"text":"hi"}"#).is_err());
    assert!(Template::of(&[b"a b".to_vec(), b"a b c".to_vec()]).is_err());
}
