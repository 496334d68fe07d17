use super::*;

#[test]
fn bodies_have_the_size_that_the_tables_name() {
    assert_eq!(request_body().len(), BODY_BYTES);
    assert_eq!(answer_body().len(), BODY_BYTES);
    assert_eq!((request_body_of(1 << 20).len(), answer_body_of(1 << 16).len()), (1 << 20, 1 << 16));
}

#[test]
fn a_usual_exchange_has_twelve_fields() {
    assert_eq!(super::exchange::fields(1).iter().count(), 12);
    assert!(super::exchange::fields(1) != super::exchange::fields(2));
}
