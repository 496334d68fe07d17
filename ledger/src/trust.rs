//! The trust file that a log gives out: its own keys, and nothing outside it.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::json;

use crate::anchor::Timestamping;
use crate::generation::Older;

/// What a reader has to believe to trust this log and its earlier generations.
pub(crate) fn trust_json(
    vkey: &str,
    origin: &str,
    older: &[Older],
    timestamps: Option<&Timestamping>,
) -> String {
    let log = |vkey: &str, origin: &str| json!({"origin": origin, "vkey": vkey});
    let mut logs = vec![log(vkey, origin)];
    logs.extend(older.iter().map(|older| log(&older.vkey, &older.head.checkpoint.origin)));
    let roots = timestamps.into_iter().flat_map(|timestamps| timestamps.roots.certificates());
    let trust = json!({
        "format": "colophon-trust-v1",
        "logs": logs,
        "witnesses": [],
        "tsa_roots": roots.map(|root| BASE64_STANDARD.encode(root)).collect::<Vec<_>>(),
        "require": {"request": false, "response": false, "timestamps": 0, "witnesses": 0},
    });
    format!("{trust:#}\n")
}
