use super::*;
use crate::batch::tests::{file, leaves_of};
use colophon_receipt::merkle;

#[test]
fn a_leaf_and_its_path_come_from_the_beginning_and_one_page() {
    for count in [1, 2, 255, 256, 257, 300, 512, 513, 1100] {
        let (file, leaves) = (file(count), leaves_of(count));
        let hashes: Vec<Hash> = leaves.iter().map(|leaf| merkle::leaf_hash(leaf)).collect();
        let head = Head::read(&file[..file.len().min(MAX_HEAD as usize)]).unwrap().unwrap();
        assert_eq!((head.count(), head.root()), (count as u64, merkle::root(&hashes)), "{count}");
        for slot in 0..count {
            let range = head.page(slot as u32).unwrap();
            let page = &file[range.start as usize..range.end as usize];
            let (leaf, path) = head.leaf(slot as u32, page).unwrap();
            assert_eq!(leaf, leaves[slot]);
            merkle::verify_inclusion(&hashes[slot], slot as u64, count as u64, &path, &head.root()).unwrap();
        }
        assert_eq!(head.page(count as u32), None);
    }
}

#[test]
fn the_beginning_of_a_full_batch_is_not_longer_than_what_is_read() {
    assert_eq!(MAX_HEAD, (HEAD + table_len(MAX_RECORDS)) as u64);
}

#[test]
fn a_page_that_is_cut_or_another_one_gives_no_leaf() {
    let file = file(300);
    let head = Head::read(&file).unwrap().unwrap();
    let range = head.page(0).unwrap();
    let page = &file[range.start as usize..range.end as usize];
    for end in 0..page.len() {
        assert_eq!(head.leaf(0, &page[..end]), None, "{end} bytes");
    }
    let other = head.page(299).unwrap();
    assert_eq!(head.leaf(0, &file[other.start as usize..other.end as usize]), None);
    // Its bytes are another leaf's: the path then leads elsewhere.
    let mut bad = page.to_vec();
    *bad.last_mut().unwrap() ^= 1;
    let (leaf, path) = head.leaf(255, &bad).unwrap();
    let hash = merkle::leaf_hash(leaf);
    assert!(merkle::verify_inclusion(&hash, 255, 300, &path, &head.root()).is_err());
}

#[test]
fn a_damaged_beginning_is_refused_or_leads_to_another_root() {
    let file = file(300);
    let whole = Head::read(&file).unwrap().unwrap();
    for at in 0..HEAD + table_len(300) {
        assert!(Head::read(&file[..at]).is_err(), "cut at {at}");
        let mut bad = file.clone();
        bad[at] ^= 1;
        match Head::read(&bad) {
            Err(_) | Ok(None) => {}
            Ok(Some(head)) => assert_ne!(head, whole, "byte {at}"),
        }
    }
}
