//! `export.json`: what an export says it holds. Nothing of it is believed.

use serde::{Deserialize, Serialize};

use crate::count::Window;

/// The only value of `format`.
pub const FORMAT: &str = "colophon-export-v1";

/// What an export says it holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: String,
    /// The log.
    pub origin: String,
    /// The log's generation: the folder below `log/`.
    pub generation: u32,
    /// Start of the interval, µs since the epoch.
    pub from: u64,
    /// End of the interval, µs since the epoch.
    pub to: u64,
    /// The shard or sidecar that it is about, if not all.
    pub shard: Option<String>,
    /// The first log entry in it: a multiple of 256.
    pub first: u64,
    /// The log entry after the last: a multiple of 256, or the size of the checkpoint's tree.
    pub end: u64,
    /// Whether the receipts are meant to be here; otherwise only the count can be checked.
    pub receipts: bool,
}

impl Manifest {
    /// The file's bytes.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }

    /// Reads it.
    ///
    /// # Errors
    /// With a sentence for the reader.
    pub fn from_json(file: &[u8]) -> Result<Manifest, String> {
        let manifest: Manifest = serde_json::from_slice(file)
            .map_err(|error| format!("{} is not an export's: {error}", super::MANIFEST))?;
        if manifest.format != FORMAT {
            return Err(format!("{} has an unknown format; this program reads {FORMAT}", super::MANIFEST));
        }
        Ok(manifest)
    }

    /// The interval and shard asked for.
    pub fn window(&self) -> Window {
        Window { from: self.from, to: self.to, shard: self.shard.clone() }
    }
}
