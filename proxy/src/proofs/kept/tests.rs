use super::*;

fn said(bytes: usize) -> Said {
    Said { request: vec![0; bytes / 2].into(), response: vec![0; bytes - bytes / 2].into() }
}

#[test]
fn what_finds_no_place_pushes_the_oldest_out_and_never_more_than_needed() {
    let kept = Kept::new(100);
    for number in 0..5 {
        kept.keep([number; 16], said(30));
    }
    let here = |number: u8| kept.get(&[number; 16]).is_some();
    assert_eq!([0, 1, 2, 3, 4].map(here), [false, false, true, true, true]);
    // The same one again takes the place that it had; what is larger than all places is not kept.
    kept.keep([3; 16], said(40));
    assert!(here(2) && here(3) && here(4));
    kept.keep([9; 16], said(101));
    assert!(!here(9) && here(2));
    kept.keep([4; 16], said(101));
    assert!(!here(4), "what it had is not what it has now");
    kept.forget(&[2; 16]);
    assert_eq!(kept.records(), [[3; 16]]);
    assert_eq!(kept.all().bytes, 40);
}
