//! Kubernetes quantities, as far as two of them have to be compared.

use serde_json::Value;

/// The suffixes and what they stand for, in thousandths.
const SUFFIXES: [(&str, f64); 13] = [
    ("Ki", 1024e3),
    ("Mi", 1_048_576e3),
    ("Gi", 1_073_741_824e3),
    ("Ti", 1_099_511_627_776e3),
    ("Pi", 1_125_899_906_842_624e3),
    ("n", 1e-6),
    ("u", 1e-3),
    ("m", 1.0),
    ("k", 1e6),
    ("M", 1e9),
    ("G", 1e12),
    ("T", 1e15),
    ("P", 1e18),
];

/// In thousandths; `None` for what is no quantity.
fn parse(value: &Value) -> Option<f64> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    let found = SUFFIXES.iter().find_map(|(suffix, factor)| Some((text.strip_suffix(suffix)?, *factor)));
    let (number, factor) = found.unwrap_or((&text, 1e3));
    Some(number.parse::<f64>().ok()? * factor)
}

/// Whether both are the same amount, however it is written.
pub(crate) fn same(a: &Value, b: &Value) -> bool {
    a == b || parse(a).zip(parse(b)).is_some_and(|(a, b)| a == b)
}

/// Whether `a` is more than `b`.
pub(crate) fn is_more(a: &Value, b: &Value) -> bool {
    parse(a).zip(parse(b)).is_some_and(|(a, b)| a > b)
}

/// Whether it is an amount at all.
pub(crate) fn is_one(value: &Value) -> bool {
    parse(value).is_some_and(|amount| amount >= 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn one_amount_has_many_spellings() {
        for (a, b) in [
            (json!("1"), json!(1)),
            (json!("1000m"), json!("1")),
            (json!("1Gi"), json!("1024Mi")),
            (json!("0.5"), json!("500m")),
            (json!("1G"), json!("1000M")),
            (json!("1e3"), json!("1k")),
        ] {
            assert!(same(&a, &b), "{a} {b}");
        }
        assert!(!same(&json!("1Gi"), &json!("1G")));
        assert!(!same(&json!("one"), &json!("two")));
        assert!(is_one(&json!("250m")) && !is_one(&json!("much")) && !is_one(&json!("-1")));
    }
}
