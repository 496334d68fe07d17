use super::seal as seal_file;
use super::*;
use crate::private::read;
use colophon_receipt::record::{FieldSet, seal};
use colophon_receipt::{Level, Outcome, fields};

const SHARD: &str = "a/0011";
/// In November 2026, µs.
const TIME: u64 = 1_795_000_000_000_000;

fn record(n: u8) -> Record {
    let mut set = FieldSet::new();
    fields::write_list(fields::STRIPPED, &[vec![n; usize::from(n)]], &mut set);
    seal([n; 16], TIME, Level::Sign, Outcome::Complete, [n; 32], set)
}

fn signature() -> KeptSignature {
    KeptSignature { base: "\"@status\": 200".into(), signature: [9; 64] }
}

/// A record and what else its opening says.
struct Owned {
    record: Record,
    id: RecordId,
    completed_at: u64,
    tenant: &'static [u8],
    signatures: Vec<KeptSignature>,
    announced: u64,
}

impl Openings for Vec<Owned> {
    fn entries(&self) -> impl ExactSizeIterator<Item = Entry<'_>> {
        self.iter().map(|one| Entry {
            record: &one.record,
            id: &one.id,
            completed_at: one.completed_at,
            tenant: one.tenant,
            signatures: &one.signatures,
            announced: one.announced,
        })
    }
}

/// Five records, the one numbered 3 with a signature, of two tenants and two months.
fn openings() -> Vec<Owned> {
    let one = |n: u8| Owned {
        record: record(n),
        id: [n; 16],
        completed_at: if n == 4 { TIME + 30 * 86_400_000_000 } else { TIME },
        tenant: if n == 2 { b"clinic" } else { b"-" },
        signatures: if n == 3 { vec![signature()] } else { Vec::new() },
        announced: n.into(),
    };
    (0..5).map(one).collect()
}

fn keys(openings: &Vec<Owned>) -> BTreeMap<(Tenant, u32), Arc<DataKey>> {
    let key =
        |(_, kind): (Entry<'_>, (Tenant, u32))| (kind, Arc::new(DataKey::generate(kind.0, kind.1).unwrap()));
    openings.kinds().map(key).collect()
}

/// A version 1 file of the same records: what earlier programs wrote.
pub(crate) fn clear<'a>(entries: impl ExactSizeIterator<Item = Entry<'a>>) -> Vec<u8> {
    let count = entries.len();
    let (mut texts, mut ends) = (Vec::new(), Vec::new());
    for entry in entries {
        encode(&entry, &mut texts);
        ends.push(texts.len());
    }
    let mut out = [CLEAR.as_slice(), &(count as u32).to_le_bytes()].concat();
    let first = out.len() + (count + 1) * 8;
    out.extend_from_slice(&(first as u64).to_le_bytes());
    for end in ends {
        out.extend_from_slice(&((first + end) as u64).to_le_bytes());
    }
    out.extend_from_slice(&texts);
    out
}

fn part(file: &[u8], range: Range<u64>) -> &[u8] {
    &file[range.start as usize..range.end as usize]
}

#[test]
fn one_opening_is_read_without_the_others() {
    let openings = openings();
    let keys = keys(&openings);
    assert_eq!(keys.len(), 3, "two tenants, and a second month");
    let file = seal_file(&openings, SHARD, 7, &[1; 16], &keys).unwrap().concat();
    let head = Head::read(&file).unwrap();
    assert_eq!(head, Head::Sealed(5, [1; 16]));
    assert_eq!(head.pages(&file).unwrap().len(), 5);
    for slot in 0..5u32 {
        let n = slot as u8;
        let page = head.page(part(&file, head.row(slot).unwrap())).unwrap();
        let Page::Sealed(name, sealed) = Page::read(part(&file, page), slot).unwrap() else {
            panic!("slot {slot} is erased");
        };
        let key = keys[&(name.tenant, name.month)].of_file(&[1; 16]).unwrap();
        let place = Place { shard: SHARD, seq: 7, slot, id: &[n; 16] };
        let opening = read(&key.open(place, sealed).unwrap()).unwrap();
        let record = record(n);
        assert_eq!((opening.seed, &opening.fields), (record.seed, &record.fields));
        assert_eq!(opening.announced, u64::from(n));
        assert_eq!(opening.signatures.len(), usize::from(n == 3));
        assert!(!file.windows(32).any(|bytes| bytes == record.seed), "a seed in clear");
    }
    assert_eq!(head.row(5), Err(FileError::Slot(5)));
}

#[test]
fn version_1_is_still_read() {
    let record = record(1);
    let signatures = [signature()];
    let entry = || Entry {
        record: &record,
        id: &[1; 16],
        completed_at: TIME,
        tenant: b"-",
        signatures: &signatures,
        announced: 4,
    };
    let file = clear([entry(), entry()].into_iter());
    // Exactly as version 1 wrote it.
    assert!(file.starts_with(b"colophon open  1\x02\0\0\0"));
    assert_eq!(file[20..28], 44u64.to_le_bytes());
    let head = Head::read(&file).unwrap();
    assert_eq!(head, Head::Clear(2));
    let page = head.page(part(&file, head.row(1).unwrap())).unwrap();
    assert_eq!(page.end, file.len() as u64);
    let opening = read(part(&file, page)).unwrap();
    assert_eq!((opening.seed, opening.signatures.len(), opening.announced), (record.seed, 1, 4));
}

#[test]
fn a_large_file_is_made_in_parts_that_join_seamlessly() {
    let mut file = Writer::new(&[2; 16]);
    let pages: Vec<Vec<u8>> = (0..9u8).map(|n| vec![n; PART / 3 + usize::from(n)]).collect();
    pages.iter().for_each(|page| file.copy(page));
    let parts = file.finish();
    assert!(parts.len() > 3 && parts.iter().all(|part| part.len() < 2 * PART), "{} parts", parts.len());
    let file = parts.concat();
    assert_eq!(Head::read(&file).unwrap().pages(&file).unwrap(), pages);
}

#[test]
fn erased_pages_and_files_say_by_what() {
    let mut file = Writer::new(&[2; 16]);
    file.erased(&[7; 16]);
    file.erased(&[8; 16]);
    let file = file.finish().concat();
    let head = Head::read(&file).unwrap();
    let pages = head.pages(&file).unwrap();
    assert_eq!(Page::read(pages[1], 1).unwrap(), Page::Erased([8; 16]));
    assert_eq!(Head::read(&gone(&[7; 16], 9)).unwrap(), Head::Gone([7; 16], 9));
    assert_eq!(Head::read(&gone(&[7; 16], 9)[..35]), Err(FileError::Magic));
}

#[test]
fn what_is_no_file_of_openings_is_refused() {
    let openings = openings();
    let file = seal_file(&openings, SHARD, 7, &[1; 16], &keys(&openings)).unwrap().concat();
    for length in 0..file.len() {
        let whole = Head::read(&file[..length]).and_then(|head| head.pages(&file[..length]).map(drop));
        assert!(whole.is_err(), "{length} bytes");
    }
    let longer = [file.as_slice(), &[0]].concat();
    assert_eq!(Head::read(&longer).unwrap().pages(&longer), Err(FileError::Offsets));
    assert_eq!(Head::read(b"colophon open  3\0\0\0\0"), Err(FileError::Magic));
    let many = [SEALED.as_slice(), &65_537u32.to_le_bytes(), &[0; 16]].concat();
    assert_eq!(Head::read(&many), Err(FileError::Offsets));
    let head = Head::read(&file).unwrap();
    let offsets = |start: u64, end: u64| [start.to_le_bytes(), end.to_le_bytes()].concat();
    for (start, end) in
        [(100, 100), (100, 99), (0, 10), (83, 90), (84, 84 + MAX_PAGE + 1), (MAX_FILE, MAX_FILE + 1)]
    {
        assert_eq!(head.page(&offsets(start, end)), Err(FileError::Offsets), "{start}..{end}");
    }
    assert_eq!(head.page(&offsets(84, 90)), Ok(84..90));
    assert!(head.page(&offsets(84, 90)[..15]).is_err());
    for page in [&[][..], &[2; 60], &[0; 16], &[0; 18], &[1; 20]] {
        assert_eq!(Page::read(page, 3), Err(FileError::Page(3)));
    }
}
