use super::url;

#[test]
fn takes_what_a_person_pastes() {
    let path = "/v1/colophon/receipts/x?token=y";
    for pasted in [path.to_owned(), format!("\"{path}\""), format!("Colophon-Receipt: \"{path}\"\n")] {
        assert_eq!(url(&pasted, "http://h:1/").unwrap(), "http://h:1/v1/colophon/receipts/x?token=y");
    }
    assert_eq!(url("https://a/b", "http://h").unwrap(), "https://a/b");
    for wrong in ["", "\"\"", "/", "01a20707-1db5-7000-8c5f-6c1b5cd28982"] {
        let refused = url(wrong, "http://h").unwrap_err().to_string();
        assert!(refused.contains("give the Colophon-Receipt header's value"), "{refused}");
    }
}
