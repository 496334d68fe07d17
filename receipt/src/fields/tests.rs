use super::*;
use crate::record::decode_field;

fn value(set: &FieldSet, number: u8) -> Value {
    decode_field(set.get(number).unwrap()).unwrap().1
}

#[test]
fn fields_come_back_as_written() {
    let mut set = FieldSet::new();
    let line = RequestLine {
        method: Some(b"POST".into()),
        path: Some(b"/v1/%00".into()),
        query: Some([1; 32]),
        version: Some("HTTP/1.1".into()),
        ..RequestLine::default()
    };
    line.write(REQUEST_LINE, &mut set);
    write_list(STRIPPED, &[b"colophon-record".to_vec()], &mut set);
    write_sampling(&[("temperature", b"0.1".to_vec())], &mut set);
    let answer = Answer {
        finish_reasons: Some(vec![b"stop".to_vec(), vec![0xff]]),
        terminated: Some(false),
        ..Answer::default()
    };
    answer.write(ANSWER, &mut set);
    let body = BodyDigest { digest: [2; 32], size: 9 };
    let responses = Some(vec![b"resp_1".to_vec(), b"resp_2".to_vec()]);
    let upgrade =
        Upgrade { protocol: Some(b"websocket".into()), sent: Some(body), received: None, responses };
    upgrade.write(UPGRADE, &mut set);
    assert_eq!(RequestLine::read(value(&set, REQUEST_LINE)), Ok(line));
    assert_eq!(read_list(&value(&set, STRIPPED)), Ok(vec![b"colophon-record".to_vec()]));
    assert_eq!(read_sampling(&value(&set, SAMPLING)), Ok(vec![("temperature".into(), b"0.1".to_vec())]));
    assert_eq!(Answer::read(value(&set, ANSWER)), Ok(answer));
    assert_eq!(Upgrade::read(value(&set, UPGRADE)), Ok(upgrade));
}

#[test]
fn a_field_that_says_nothing_is_absent() {
    let mut set = FieldSet::new();
    Usage::default().write(USAGE, &mut set);
    write_list(STRIPPED, &[], &mut set);
    write_sampling(&[], &mut set);
    assert_eq!(set.present(), 0);
}

#[test]
fn unknown_keys_and_wrong_types_are_refused() {
    assert!(Usage::read(Value::Map(vec![(7, Value::Uint(1))])).is_err());
    assert!(Usage::read(Value::Map(vec![(1, Value::text("1"))])).is_err());
    assert!(Usage::read(Value::Array(vec![])).is_err());
    assert!(BodyDigest::read(&Value::Array(vec![Value::bytes([0; 31]), Value::Uint(1)])).is_err());
    assert!(Answer::read(Value::Map(vec![(6, Value::Uint(1))])).is_err());
}

#[test]
fn every_number_has_its_own_name() {
    let names: std::collections::HashSet<_> = (0..=UPSTREAM_SIGNED).map(name).collect();
    assert_eq!(names.len(), usize::from(UPSTREAM_SIGNED) + 1);
    assert_eq!(name(63), "unknown field");
}
