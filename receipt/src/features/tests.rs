use super::*;
use crate::fields::write_sampling;
use crate::receipt::{Bytes, OpenedField, WithheldField};
use crate::record::FieldSet;

/// A record's fields, all of them opened.
fn opened(set: &FieldSet) -> Vec<Field> {
    let field = |(number, encoded): (u8, &[u8])| {
        Field::Opened(OpenedField { number, salt: Bytes::default(), value: encoded.into() })
    };
    set.iter().map(field).collect()
}

fn exchange() -> FieldSet {
    let mut set = FieldSet::new();
    BodyDigest { digest: [1; 32], size: 1024 }.write(REQUEST_BODY, &mut set);
    BodyDigest { digest: [2; 32], size: 1 << 40 }.write(RESPONSE_BODY, &mut set);
    ResponseHead { status: Some(200), ..ResponseHead::default() }.write(RESPONSE_HEAD, &mut set);
    Operation { streamed: Some(true), ..Operation::default() }.write(OPERATION, &mut set);
    write_sampling(&[("temperature", b"0.7".to_vec()), ("max_completion_tokens", b"16".to_vec())], &mut set);
    Usage { prompt: Some(1), completion: Some(3), cached: Some(0), ..Usage::default() }
        .write(USAGE, &mut set);
    Answer { finish_reasons: Some(vec![b"length".to_vec()]), tool_calls: Some(2), ..Answer::default() }
        .write(ANSWER, &mut set);
    set
}

#[test]
fn each_follows_from_its_field() {
    let features = of(NAMES, &opened(&exchange())).unwrap();
    let expected = [1, 13, 0, 0, 81, 128, 44, 33, 50, 128, 32, 128];
    for (name, value) in NAMES.into_iter().zip(expected) {
        assert_eq!(features[name], value, "{name}");
    }
    // Of an exchange that says nothing.
    assert!(of(NAMES, &[]).unwrap().values().all(|value| *value == 0));
}

#[test]
fn what_is_withheld_or_unknown_is_said_by_name() {
    let mut fields = opened(&exchange());
    for field in &mut fields {
        if matches!(field, Field::Opened(opened) if opened.number == USAGE) {
            *field = Field::Withheld(WithheldField { number: USAGE, hash: Bytes::default() });
        }
    }
    assert_eq!(of(["status"], &fields).unwrap()["status"], 50);
    let said = of(["prompt_tokens"], &fields).unwrap_err().to_string();
    assert!(said.contains("`prompt_tokens`") && said.contains("\"usage\""), "{said}");
    assert!(matches!(of(["mood"], &fields), Err(FeatureError::Unknown(name)) if name == "mood"));
}

#[test]
fn magnitudes_rise_and_stay_in_bounds() {
    let rising = [0, 1, 2, 3, 4, 5, 1000, 1024, 65_535, 65_536, u64::MAX];
    let mut last = None;
    for count in rising {
        assert!(last < Some(magnitude(count)), "{count}");
        last = Some(magnitude(count));
    }
    assert_eq!((magnitude(1), magnitude(2), magnitude(1024), magnitude(65_535)), (1, 9, 81, 128));
    for (raw, value) in [("-1", 0), ("1e308", u64::MAX), ("\"hot\"", 0), ("2", 128), ("{", 0)] {
        assert_eq!(temperature(&[("temperature".into(), raw.into())]), value, "{raw}");
    }
}
