use super::*;

#[test]
fn a_state_folder_that_goes_with_the_data_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let at = |path: &str| folder.path().join(path);
    std::fs::create_dir_all(at("data")).unwrap();
    std::os::unix::fs::symlink(at("data"), at("link")).unwrap();
    let store = Some(colophon_ledger::Location::Folder(at("store")));
    for (state, stores, inside) in [
        ("data", None, Some("--data")),
        ("data/state", None, Some("--data")),
        ("link/state/deeper", None, Some("--data")),
        ("data/../data/state", None, Some("--data")),
        ("store/state", store.clone(), Some("--store")),
        ("store/state", None, None),
        ("data-state", store, None),
        (".", None, None),
    ] {
        let stores = Stores { public: stores, ..Stores::default() };
        let found = state_folder(Some(&at(state)), &at("data"), &stores);
        match inside {
            None => assert_eq!(found.unwrap(), Some(at(state))),
            Some(flag) => {
                let error = found.unwrap_err().to_string();
                assert!(error.contains(flag) && error.contains("give a folder outside"), "{state}: {error}");
            }
        }
    }
}
