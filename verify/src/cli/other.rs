//! What was given as a receipt and is something else.

use serde::Deserialize;

use crate::trust;

/// What of a file tells its kind.
#[derive(Deserialize)]
struct Kind {
    format: Option<String>,
    status: Option<String>,
}

fn kind(file: &[u8]) -> Option<Kind> {
    serde_json::from_slice(file.strip_prefix(UTF_8_MARK).unwrap_or(file)).ok()
}

const UTF_8_MARK: &[u8] = b"\xef\xbb\xbf";

/// Whether it is a trust file.
pub(super) fn is_trust_file(file: &[u8]) -> bool {
    kind(file).and_then(|kind| kind.format).as_deref() == Some(trust::FORMAT)
}

/// What to do about a file that is no receipt, where that can be seen.
pub(super) fn hint(file: &[u8]) -> Option<&'static str> {
    let marks = [UTF_8_MARK, b"\xff\xfe", b"\xfe\xff"];
    if marks.iter().any(|mark| file.starts_with(mark)) {
        return Some(
            "it begins with a byte order mark, so an editor or a shell has rewritten it: save it again, byte for byte",
        );
    }
    let pending = || kind(file).and_then(|kind| kind.status).as_deref() == Some("pending");
    (file.is_empty() || pending())
        .then_some("was it ready? While the server answers 202, what it sends is not the receipt yet.")
}
