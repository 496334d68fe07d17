use super::url;

#[test]
fn takes_what_a_person_pastes() {
    let path = "/v1/colophon/receipts/x?token=y";
    for pasted in [path.to_owned(), format!("\"{path}\""), format!("Colophon-Receipt: \"{path}\"\n")] {
        assert_eq!(url(&pasted, "http://h:1/"), "http://h:1/v1/colophon/receipts/x?token=y");
    }
    assert_eq!(url("https://a/b", "http://h"), "https://a/b");
}
