//! The parsers of what a verifier is handed: whatever is accepted is written the one way that it may be written.
#![no_main]

use colophon_receipt::canonical::Uncanonical;
use colophon_receipt::cbor::Value;
use colophon_receipt::checkpoint::{Checkpoint, TlogProof};
use colophon_receipt::erasure::Erasure;
use colophon_receipt::policy_change::PolicyChange;
use colophon_receipt::receipt::Receipt;
use colophon_receipt::record::{RecordLeaf, decode_field};
use colophon_receipt::revocation::Revocation;
use colophon_receipt::statement::{Announcement, Genesis, ShardClose, Statement};
use colophon_receipt::{canonical, tiles};
use libfuzzer_sys::fuzz_target;

/// Bytes that decode encode to themselves.
macro_rules! same {
    ($bytes:ident, $($kind:ty)*) => {
        $(if let Ok(read) = <$kind>::decode($bytes) {
            assert_eq!(read.encode(), $bytes, stringify!($kind));
        })*
    };
}

fuzz_target!(|data: &[u8]| {
    same!(data, Value RecordLeaf Statement Genesis Announcement ShardClose PolicyChange Erasure Revocation);
    let _ = decode_field(data);
    if let Ok(receipt) = Receipt::from_json(data) {
        assert_eq!(receipt.to_json().expect("a receipt is JSON"), data);
    }
    if let Ok(text) = std::str::from_utf8(data) {
        if let Ok(checkpoint) = Checkpoint::parse(text) {
            assert_eq!(checkpoint.to_text(), text);
        }
        if let Ok(proof) = TlogProof::parse(text) {
            assert_eq!(proof.to_text(), text);
        }
    }
    if let Ok(value) = canonical::parse(data) {
        let canonical = canonical::canonical(&value).expect("what is read can be written");
        match canonical::parse(&canonical) {
            Ok(again) => assert_eq!(canonical::canonical(&again).expect("again"), canonical),
            // 1e20 is read, and written without its exponent: then it is an integer that a double may not hold.
            Err(error) => assert_eq!(error, Uncanonical::BigInteger),
        }
    }
    for width in [1, 2, 256] {
        let _ = tiles::parse_tile(data, width);
        let _ = tiles::parse_bundle(data, width);
    }
});
