use super::{Node, Value, read};
use crate::error::At;

fn fault(text: &str) -> (u64, u64, String) {
    let fault = read(text).unwrap_err();
    (fault.at.line, fault.at.column, fault.message)
}

#[test]
fn every_key_and_value_knows_its_place() {
    let node = read("a: {b: [1, x]}\nc:\n  - d: \"y\"\n").unwrap();
    let map = node.map("top", &["a", "c"]).unwrap();
    let b = map.get("a").unwrap().map("a", &["b"]).unwrap().get("b").unwrap();
    assert_eq!(b.at, At { line: 1, column: 8 });
    let items = b.items("b").unwrap();
    assert_eq!(items[1].at, At { line: 1, column: 12 });
    let c = map.required("c").unwrap().items("c").unwrap();
    let Value::Map(entries) = &c[0].value else { panic!("not a map") };
    assert_eq!((entries[0].0.at, entries[0].1.at), (At { line: 3, column: 5 }, At { line: 3, column: 8 }));
    assert_eq!(entries[0].1.text("d").unwrap(), "y");
}

#[test]
fn scalars_keep_their_types() {
    let kinds = |text: &str| read(text).unwrap().value;
    assert!(matches!(kinds("true"), Value::Bool(true)));
    assert!(matches!(kinds("yes"), Value::Text(t) if t == "yes"), "YAML 1.2 has no yes");
    assert!(matches!(kinds("'true'"), Value::Text(t) if t == "true"));
    assert!(matches!(kinds("~"), Value::Null));
    for number in ["1", "-1", "1.5", "0x10", "18446744073709551615"] {
        assert!(matches!(kinds(number), Value::Number(_)), "{number}");
    }
}

#[test]
fn duplicate_keys_are_errors_at_the_second() {
    assert_eq!(fault("a: 1\nb: 2\na: 3\n"), (3, 1, "duplicate key `a`".into()));
    assert_eq!(fault("x: {a: 1, \"a\": 2}\n"), (1, 11, "duplicate key `a`".into()));
}

#[test]
fn aliases_work_but_bombs_do_not() {
    let node = read("a: &x {k: v}\nb: *x\n").unwrap();
    let b: &Node = node.map("top", &["a", "b"]).unwrap().get("b").unwrap();
    assert_eq!(b.map("b", &["k"]).unwrap().get("k").unwrap().text("k").unwrap(), "v");

    let mut bomb = String::from("a: &a [x, x, x, x, x, x, x, x, x]\n");
    for (last, next) in "abcdefgh".chars().zip("bcdefghi".chars()) {
        bomb.push_str(&format!("{next}: &{next} [{}]\n", vec![format!("*{last}"); 9].join(", ")));
    }
    let (line, _, message) = fault(&bomb);
    assert!(line > 1, "{message}");

    let many = format!("a: &a x\nb: [{}]\n", vec!["*a"; 300].join(", "));
    assert!(fault(&many).2.contains("too large"), "{:?}", fault(&many));
    assert!(read("a: &a [*a]\n").is_err(), "a cycle");
}

#[test]
fn what_is_outside_the_language_is_an_error() {
    assert!(fault("a: {<<: {b: 1}}\n").2.to_lowercase().contains("merge"));
    assert_eq!(fault("a: 1\n---\nb: 2\n").2, "a policy file holds one YAML document");
    assert!(read("a: !custom x\n").is_err());
    assert!(read("a: !include x\n").is_err());
    assert!(read("").is_err() || matches!(read("").unwrap().value, Value::Null));
    let deep = format!("{}x{}", "[".repeat(5000), "]".repeat(5000));
    assert_eq!(fault(&deep).0, 1);
    let deep_blocks: String = (0..200).map(|n| format!("{}a:\n", " ".repeat(n))).collect();
    assert!(fault(&deep_blocks).0 > 1);
    assert!(fault("a: [1\nb: 2\n").0 >= 1);
    assert!(fault("a:\n\t- b\n").0 >= 1);
    assert!(fault("? [a]\n: b\n").0 == 1, "keys are strings");
}
