use super::*;
use colophon_signer::PublicKey;
use colophon_signer::note::NoteAlgorithm;

#[test]
fn what_is_left_out_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["c", "a", "b.json"] {
        std::fs::write(folder.path().join(name), "").unwrap();
    }
    std::fs::create_dir(folder.path().join("d")).unwrap();
    let key = VerifierKey::new("log.example", NoteAlgorithm::Ed25519, PublicKey([7; 32])).unwrap();
    let promises = Promises::new(folder.path().to_owned(), key, "", None);
    let names = |most| {
        let (files, unseen) = promises.files(most);
        let names = files.iter().map(|file| file.file_name().unwrap().to_str().unwrap().to_owned());
        (names.collect::<Vec<_>>().join(" "), unseen)
    };
    assert_eq!(names(3), ("a c b.json".to_owned(), 0));
    assert_eq!(names(2), ("a c".to_owned(), 1));
}
