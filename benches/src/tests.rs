use super::*;

#[test]
fn bodies_have_the_size_that_the_tables_name() {
    assert_eq!(request_body().len(), BODY_BYTES);
    assert_eq!(answer_body().len(), BODY_BYTES);
}
