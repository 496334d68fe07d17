use super::*;

fn tar(entries: &[(&str, tar::EntryType, usize)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, kind, size) in entries {
        let mut header = tar::Header::new_ustar();
        header.set_path(name).unwrap();
        header.set_entry_type(*kind);
        header.set_size(*size as u64);
        header.set_cksum();
        out.extend_from_slice(header.as_bytes());
        out.resize((out.len() + size).next_multiple_of(BLOCK), 0);
    }
    out.resize(out.len() + 2 * BLOCK, 0);
    out
}

fn archive(tar: Vec<u8>, files: u64) -> Source {
    Source::Archive { read: Box::new(io::Cursor::new(tar)), files }
}

/// A bundle may be long, but a small archive of long zeros must not become so many gigabytes of receipts.
#[test]
fn no_more_of_a_receipt_is_kept_than_the_verifier_looks_at() {
    use tar::EntryType::Regular;
    let long = receipt::MAX_BYTES + 5000;
    let entries =
        [("log/x", Regular, long), ("receipts/a.json", Regular, long), ("receipts/b.json", Regular, 7)];
    let mut source = archive(tar(&entries), 0);
    let mut lengths = Vec::new();
    while let Some(item) = source.next().unwrap() {
        lengths.push(item.bytes.len());
    }
    assert_eq!(lengths, [long, receipt::MAX_BYTES + 1, 7]);
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("receipts")).unwrap();
    fs::write(folder.path().join("receipts/a.json"), vec![0; long]).unwrap();
    let item = Source::open(folder.path()).unwrap().next().unwrap().unwrap();
    assert_eq!(item.bytes.len(), receipt::MAX_BYTES + 1);
}

#[test]
fn folders_in_an_archive_count() {
    use tar::EntryType::{Directory, Regular};
    let entries = [("a/", Directory, 0), ("b/", Directory, 0), ("c", Regular, 1)];
    assert!(archive(tar(&entries), MAX_FILES - 3).next().is_ok_and(|item| item.is_some()));
    let refused = archive(tar(&entries), MAX_FILES - 2).next();
    assert!(matches!(refused, Err(FolderError::Form(what)) if what.contains("more than")));
}
