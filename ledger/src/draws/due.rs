//! The note that a statement's records are to be drawn.

use std::time::Duration;

use colophon_receipt::Hash;
use colophon_receipt::cbor::{CborError, Value};
use tokio::time::Instant;

/// Notes lie below this.
pub(crate) const FOLDER: &str = "draw/due";
/// A note has at most this many bytes.
pub(crate) const MAX_BYTES: u64 = 64;

/// Evidence that is made beside the ledger is looked for again after this, at first, and after this at last.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);

/// A statement whose records may be drawn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) shard: String,
    pub(crate) seq: u64,
    /// The end of its interval, µs: it names the round.
    pub(crate) to: u64,
    /// The root of its batch.
    pub(crate) root: Hash,
    /// This process has logged it, and no evidence for it.
    pub(crate) fresh: bool,
    /// What is drawn whatever the round is has its evidence.
    pub(crate) certain_done: bool,
    /// Somebody makes evidence for what was drawn, or could not be asked: when it is looked at again, and the pause before that.
    pub(crate) again: Option<(Instant, Duration)>,
}

impl Due {
    pub(crate) fn new(shard: &str, seq: u64, to: u64, root: Hash) -> Due {
        Due { shard: shard.to_owned(), seq, to, root, fresh: true, certain_done: false, again: None }
    }

    /// Looked at again after a pause that doubles each time.
    pub(crate) fn later(self) -> Due {
        let pause = self.again.map_or(FIRST_PAUSE, |(_, pause)| (pause * 2).min(LONGEST_PAUSE));
        Due { fresh: false, again: Some((Instant::now() + pause, pause)), ..self }
    }

    /// Whether it is to be looked at now.
    pub(crate) fn is_due(&self) -> bool {
        self.again.is_none_or(|(at, _)| at <= Instant::now())
    }

    /// The note's name.
    pub(crate) fn name(&self) -> String {
        format!("{FOLDER}/{}/{}", self.shard, self.seq)
    }

    /// The note: `[to, root]`.
    pub(crate) fn encode(&self) -> Vec<u8> {
        Value::Array(vec![Value::Uint(self.to), Value::bytes(self.root)]).encode()
    }

    /// A note that an earlier life has left.
    pub(crate) fn read(name: &str, bytes: &[u8]) -> Result<Due, CborError> {
        let wrong = CborError::Value("note of a draw");
        let rest = name.strip_prefix(FOLDER).and_then(|rest| rest.strip_prefix('/'));
        let (shard, seq) = rest.and_then(|rest| rest.rsplit_once('/')).ok_or(wrong)?;
        let seq = seq.parse().map_err(|_| CborError::Value("note of a draw"))?;
        match Value::decode(bytes)?.as_items("note of a draw")? {
            [to, root] => {
                let (to, root) = (to.as_uint("note of a draw")?, root.as_array("note of a draw")?);
                Ok(Due { fresh: false, ..Due::new(shard, seq, to, root) })
            }
            _ => Err(CborError::Value("note of a draw")),
        }
    }
}
