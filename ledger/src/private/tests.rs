use super::*;
use colophon_receipt::receipt::Bytes;
use colophon_receipt::record::seal;
use colophon_receipt::{Level, Outcome, fields};

#[test]
fn one_record_is_read_without_the_others() {
    let record = |n: u8| {
        let mut set = FieldSet::new();
        fields::write_list(fields::STRIPPED, &[vec![n; usize::from(n)]], &mut set);
        seal([n; 16], 7, Level::Sign, Outcome::Complete, [n; 32], set)
    };
    let records: Vec<Record> = (0..5).map(record).collect();
    let signatures = [HttpSignature { base: "\"@status\": 200".into(), signature: Bytes(vec![9; 64]) }];
    let rows =
        records.iter().zip(0u64..).map(|(record, n)| (record, if n == 3 { &signatures[..] } else { &[] }, n));
    let file = write(rows.collect::<Vec<_>>().into_iter());
    let part = |range: Range<u64>| &file[range.start as usize..range.end as usize];
    for (n, record) in records.iter().enumerate() {
        let opening = read(part(range(part(row(n as u32))).unwrap())).unwrap();
        assert_eq!((opening.seed, &opening.fields), (record.seed, &record.fields));
        assert_eq!(opening.announced, n as u64);
        assert_eq!(opening.signatures.len(), usize::from(n == 3));
    }
    let end = range(part(row(4))).unwrap().end;
    assert_eq!(end, file.len() as u64);
}

#[test]
fn offsets_that_make_no_sense_are_refused() {
    let offsets = |start: u64, end: u64| [start.to_le_bytes(), end.to_le_bytes()].concat();
    assert!(range(&offsets(100, 100)).is_err());
    assert!(range(&offsets(100, 99)).is_err());
    assert!(range(&offsets(0, MAX_RECORD + 1)).is_err());
    assert!(range(&offsets(0, 10)[..15]).is_err());
    assert_eq!(range(&offsets(5, 10)).unwrap(), 5..10);
}
