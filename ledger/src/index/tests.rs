use super::*;
use crate::ledger::objects::Objects;
use std::ops::Range;

pub(crate) fn id(ms: u64, tag: [u8; 2], n: u8) -> RecordId {
    let mut id = [n; 16];
    id[..6].copy_from_slice(&ms.to_be_bytes()[2..]);
    id[8] = 0x80 | tag[0] >> 2;
    id[9] = tag[0] << 6 | tag[1] >> 2;
    id[10] = tag[1] << 6 | n >> 2;
    id
}

pub(super) fn target() -> Target {
    Target { shard: "host/0011223344556677".into(), seq: 5, log_index: 99, announced: 3 }
}

/// When the tests' hour begins, ms since the epoch.
pub(crate) const HOUR: u64 = 495_000 * 3_600_000;

/// One file a second of the tests' hour, with a record each, from two shards in turn.
pub(crate) async fn quiet(objects: &Objects, seconds: Range<u64>) -> Vec<(RecordId, Target)> {
    let mut records = Vec::new();
    for n in seconds {
        let (tag, shard) = if n % 2 == 0 { ([1, 2], "a/1") } else { ([3, 4], "b/2") };
        let target = Target { shard: shard.into(), seq: n, log_index: 10 + n, announced: 1 };
        let id = id(HOUR + n * 1000, tag, n as u8);
        for (name, bytes) in write(&target, [(id, 0)]) {
            objects.put(&name, bytes.into()).await.unwrap();
        }
        records.push((id, target));
    }
    records
}

#[test]
fn hours_are_those_of_the_calendar() {
    assert_eq!(hour(0), "1970010100");
    assert_eq!(hour(951_782_399_999), "2000022823");
    assert_eq!(hour(951_782_400_000), "2000022900");
    assert_eq!(hour(1_735_689_599_999), "2024123123");
    assert_eq!(hour(1_735_689_600_000), "2025010100");
    assert_eq!(hour(4_107_542_399_000), "2100022823");
    assert_eq!(hour(4_107_542_400_000), "2100030100");
}

#[test]
fn ids_are_grouped_by_their_hour_and_tag_and_found_again() {
    let start = 1_735_689_599_000;
    let ids: Vec<RecordId> = (0..40)
        .map(|n| id(start + u64::from(n) * 100, if n % 3 == 0 { [1, 2] } else { [0xfe, 0xdc] }, n))
        .collect();
    let files = write(&target(), ids.iter().copied().zip(0..));
    assert_eq!(files.len(), 4);
    for (slot, id) in ids.iter().enumerate() {
        let holding: Vec<_> = files
            .iter()
            .filter(|(name, _)| name.starts_with(&format!("index/{}/", hour(id_ms(id)))))
            .filter(|(name, _)| may_hold(name.rsplit('/').next().unwrap(), id))
            .collect();
        assert_eq!(holding.len(), 1);
        let file = Index::read(&holding[0].1.clone().into()).unwrap();
        assert!(keeps_name(holding[0].0.rsplit('/').next().unwrap(), &file));
        assert_eq!(file.find(id).unwrap(), Some((target(), slot as u32)));
        assert_eq!(file.find(&[7; 16]).unwrap(), None);
    }
}

#[test]
fn a_damaged_file_is_an_error() {
    let (_, file) = write(&target(), [(id(5, [1, 2], 1), 0)]).remove(0);
    for end in 0..file.len() {
        assert!(Index::read(&file[..end].to_vec().into()).is_err() || end == file.len() - 24, "{end} bytes");
    }
    for name in ["", "x", "1-2", "1-2-zz", "a-b-0102-7"] {
        assert!(!may_hold(name, &id(1, [1, 2], 1)), "{name}");
    }
}
