//! One witness: submits a checkpoint, answers conflicts with the right proof, verifies the cosignature.

use std::sync::Arc;
use std::time::Duration;

use colophon_signer::note::{Note, NoteSignature, VerifierKey};
use tokio::time::timeout;

use super::protocol::{self, ADD_CHECKPOINT, AddCheckpoint, REQUEST_TYPE};
use crate::head::SignedHead;
use crate::log::LogError;
use crate::post::{Answer, MAX_ANSWER, Post};
use crate::prove::LogReader;

/// A conflict says which size is the right one, and others may submit at the same time: one more try after that.
const TRIES: usize = 3;
/// A witness that does not answer within this is asked another time: others wait for it with their next checkpoint.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// A cosignature's time may differ by so many seconds from this machine's clock.
const CLOCK_TOLERANCE: u64 = 600;

/// Why there is no cosignature.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    /// The witness cosigned a tree of this log that is larger than the checkpoint.
    #[error("it has cosigned {0} leaves already")]
    Larger(u64),
    /// The witness cosigned a tree that the checkpoint does not continue.
    #[error("it has cosigned another tree of {0} leaves, which this log does not continue")]
    Fork(u64),
    /// It does not know this log.
    #[error("it does not know this log ({0}): have its operator add the log's verifier key")]
    Unknown(u16),
    /// Anything else: try again later.
    #[error("{0}")]
    Failed(String),
}

/// A witness and what it is known to have cosigned.
pub(super) struct Client {
    pub(super) key: VerifierKey,
    url: String,
    post: Arc<dyn Post>,
    /// The size that it cosigned last, as far as we know.
    size: u64,
}

impl Client {
    pub(super) fn new(key: VerifierKey, prefix: &str, post: Arc<dyn Post>) -> Client {
        let url = format!("{}/{ADD_CHECKPOINT}", prefix.trim_end_matches('/'));
        Client { key, url, post, size: 0 }
    }

    /// Asks for a cosignature of `head`, at `now` (seconds since the epoch). Returns its line.
    pub(super) async fn submit(
        &mut self,
        head: &SignedHead,
        reader: &LogReader,
        now: u64,
    ) -> Result<NoteSignature, Refusal> {
        // What the witness has said itself during this call.
        let mut said = None;
        for _ in 0..TRIES {
            let old = said.unwrap_or(self.size);
            if old > head.size() {
                return Err(Refusal::Larger(old));
            }
            let proof = reader.consistency_path(old, &head.checkpoint).await;
            let proof = proof.map_err(|error: LogError| Refusal::Failed(error.to_string()))?;
            let request = AddCheckpoint { old, proof, note: head.note.clone() };
            let answer = self.post.post(self.url.clone(), REQUEST_TYPE, request.to_text().into_bytes());
            let answer = timeout(ANSWER_WITHIN, answer).await;
            let answer = answer
                .unwrap_or_else(|_| Err(format!("no answer within {} s", ANSWER_WITHIN.as_secs())))
                .map_err(Refusal::Failed)?;
            match answer.status {
                200 => {
                    let line = self.cosignature(head, &answer, now)?;
                    self.size = head.size();
                    return Ok(line);
                }
                409 => match protocol::conflict_size(&answer.body) {
                    // The size was right, so it is the root that differs.
                    Some(size) if size == old && old == head.size() => return Err(Refusal::Fork(size)),
                    Some(size) => said = Some(size),
                    // It named this size itself, and need not name it again.
                    None if said == Some(old) && old == head.size() => return Err(Refusal::Fork(old)),
                    None => return Err(Refusal::Failed("it answered 409, but without a size".into())),
                },
                // The proof is right for this log: what it does not fit is the tree that the witness cosigned.
                422 if said == Some(old) && old > 0 => return Err(Refusal::Fork(old)),
                // Our memory of what it has may be wrong: ask.
                422 if said.is_none() && old > 0 => said = Some(0),
                status @ (403 | 404) => return Err(Refusal::Unknown(status)),
                status => return Err(Refusal::Failed(format!("it answered {status}"))),
            }
        }
        Err(Refusal::Failed("it names another size each time".into()))
    }

    /// The witness's line of a 200, if it is one.
    fn cosignature(&self, head: &SignedHead, answer: &Answer, now: u64) -> Result<NoteSignature, Refusal> {
        let failed = |what: &str| Refusal::Failed(format!("it answered 200, but {what}"));
        if answer.body.len() > MAX_ANSWER {
            return Err(failed("with too long a body"));
        }
        let lines = std::str::from_utf8(&answer.body).ok().and_then(|body| body.strip_suffix('\n'));
        let lines = lines.ok_or_else(|| failed("not with signature lines"))?;
        // Of several lines of its key the newest counts; those of other keys say nothing here.
        let mut newest: Option<(u64, NoteSignature)> = None;
        for line in lines.split('\n') {
            let line = NoteSignature::parse(line).map_err(|_| failed("not with signature lines"))?;
            if !self.key.names(&line) {
                continue;
            }
            let cosigned = head.with_cosignatures(std::slice::from_ref(&line));
            let note = cosigned.and_then(|cosigned| Note::parse(&cosigned.note));
            let note = note.map_err(|error| failed(&error.to_string()))?;
            let keys = [self.key.clone()];
            let verified = note.verify(&keys).map_err(|error| failed(&error.to_string()))?;
            let time = verified.signed.first().and_then(|signed| signed.time).unwrap_or_default();
            if newest.as_ref().is_none_or(|(newest, _)| *newest < time) {
                newest = Some((time, line));
            }
        }
        let (time, line) = newest.ok_or_else(|| failed("without a signature by its key"))?;
        if time.abs_diff(now) > CLOCK_TOLERANCE {
            return Err(failed(&format!(
                "its time is {} s off this machine's clock; one of the two is wrong",
                time.abs_diff(now)
            )));
        }
        Ok(line)
    }
}
