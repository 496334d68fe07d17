use super::*;

#[test]
fn another_contender_begins_in_each_round_and_each_has_its_own_turns() {
    let mut order = Vec::new();
    let all = in_turns(&["a", "b", "c"], 4, |round, name| {
        order.push(*name);
        Ok(format!("{name}{round}"))
    })
    .unwrap();
    assert_eq!(order.concat(), "abcbcacababc");
    assert_eq!(all[1], ["b0", "b1", "b2", "b3"]);
    assert!(in_turns(&["a"], 1, |_, _| bail!("it fails") as Result<()>).is_err());
}
