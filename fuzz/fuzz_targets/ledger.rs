//! What the ledger finds on its disks and in its store: segments of the WAL, batches, indexes, tiles, sealed openings.
#![no_main]

use bytes::Bytes;
use colophon_ledger::testing::{self, Segment};
use colophon_ledger::{batch, index};
use colophon_receipt::record::RecordId;
use colophon_receipt::tiles;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let [kind, bytes @ ..] = data else { return };
    match kind % 6 {
        0 => segment(bytes),
        // Frames with good checksums: what is behind the checksum is read, too.
        1 => segment(&testing::framed(bytes)),
        2 => {
            if let Ok(read) = batch::read(bytes) {
                let leaves: Vec<(&RecordId, &[u8])> = in_order(&read);
                let written = batch::write(leaves.into_iter(), read.hashes());
                // Files of version 1 are written no more.
                assert!(bytes.starts_with(b"colophon batch 1") || written == bytes, "another file");
                assert_eq!(read.root(), batch::root(read.hashes()));
            }
        }
        3 => {
            if let Ok(read) = index::Index::read(&Bytes::copy_from_slice(bytes)) {
                for id in read.ids().take(100) {
                    let _ = read.find(&id);
                }
            }
        }
        // The note on evidence about a key.
        5 => {
            if let Some(written) = testing::read_note(bytes) {
                assert_eq!(written, bytes, "another note");
            }
        }
        _ => {
            testing::read_openings(bytes);
            for width in [1, 2, 3, tiles::WIDTH] {
                let _ = tiles::parse_tile(bytes, width);
                let _ = tiles::parse_bundle(bytes, width);
            }
        }
    }
});

/// What cannot be read is told once, and every record is there once.
fn segment(bytes: &[u8]) {
    let Segment { damage, done, open } = testing::read_segment(bytes);
    let mut end = 0;
    for found in &damage {
        assert!(found.offset >= end && found.dropped > 0, "{damage:?}");
        end = found.offset + found.dropped;
    }
    assert!(end <= bytes.len() as u64, "{damage:?}");
    let mut ids: Vec<RecordId> = done.iter().chain(&open).copied().collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), done.len() + open.len(), "a record twice");
}

/// Ids and leaves, in the order of the tree.
fn in_order(read: &batch::Batch) -> Vec<(&RecordId, &[u8])> {
    let mut rows: Vec<_> = read.ids.iter().map(|(id, slot)| (*slot, id)).collect();
    rows.sort_unstable();
    rows.iter().zip(&read.leaves).map(|((_, id), leaf)| (*id, leaf.as_slice())).collect()
}
