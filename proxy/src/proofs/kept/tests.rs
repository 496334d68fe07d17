use super::*;

/// Of this cost.
fn said(cost: usize) -> Said {
    let bytes = cost - ENTRY;
    Said { request: vec![0; bytes / 2].into(), response: vec![0; bytes - bytes / 2].into() }
}

#[test]
fn what_finds_no_place_pushes_the_oldest_out_and_never_more_than_needed() {
    let kept = Kept::new(1000);
    for number in 0..5 {
        kept.keep([number; 16], said(300));
    }
    let here = |number: u8| kept.get(&[number; 16]).is_some();
    assert_eq!([0, 1, 2, 3, 4].map(here), [false, false, true, true, true]);
    // The same one again takes the place that it had; what is larger than all places is not kept.
    kept.keep([3; 16], said(400));
    assert!(here(2) && here(3) && here(4));
    kept.keep([9; 16], said(1001));
    assert!(!here(9) && here(2));
    kept.keep([4; 16], said(1001));
    assert!(!here(4), "what it had is not what it has now");
    kept.forget(&[2; 16]);
    assert_eq!(kept.records(), [[3; 16]]);
    assert_eq!(kept.all().bytes, 400);
}

#[test]
fn exchanges_with_next_to_nothing_in_them_are_bounded_too() {
    let kept = Kept::new(10 * ENTRY);
    for number in 0..100 {
        kept.keep([number; 16], said(ENTRY));
    }
    assert_eq!(kept.records().len(), 10);
}

#[test]
fn a_small_body_does_not_keep_the_large_buffer_that_it_came_in() {
    let kept = Kept::new(1000);
    let buffer = Bytes::from(vec![7; 1 << 20]);
    kept.keep([1; 16], Said { request: buffer.slice(..10), response: buffer.slice(10..20) });
    assert!(buffer.is_unique(), "nobody else holds the buffer");
    let said = kept.get(&[1; 16]).unwrap();
    assert_eq!((&said.request[..], &said.response[..]), (&[7; 10][..], &[7; 10][..]));
}

#[tokio::test]
async fn what_is_here_for_too_long_goes_though_nobody_asks_for_it() {
    let longest = Duration::from_secs(2);
    let kept = Kept { longest, ..Kept::new(1000) };
    kept.keep([1; 16], said(300));
    assert!(kept.get(&[1; 16]).is_some());
    let stop = CancellationToken::new();
    let gone = async {
        // Looked at without `all`, which would forget it by itself.
        while !kept.all.lock().unwrap().bodies.is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        stop.cancel();
    };
    let both = async { tokio::join!(gone, kept.forget_in_time(&stop)) };
    tokio::time::timeout(Duration::from_secs(20), both).await.unwrap();
    assert_eq!(kept.all().bytes, 0);
}

#[test]
fn whoever_asks_gets_nothing_that_is_too_old_whether_or_not_the_timer_was_there() {
    let kept = Kept { longest: Duration::ZERO, ..Kept::new(1000) };
    kept.keep([1; 16], said(300));
    assert!(kept.all.lock().unwrap().bodies.len() == 1 && kept.get(&[1; 16]).is_none());
    kept.keep([2; 16], said(300));
    kept.keep([3; 16], said(300));
    assert_eq!(kept.all.lock().unwrap().bodies.len(), 1, "to keep another forgets it too");
    assert_eq!(kept.records(), [[0; 16]; 0]);
}
