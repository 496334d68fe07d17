//! The names of the checks, which scripts rely on, and the list that collects their outcomes.

use crate::report::{Check, Status};
use crate::text::line;

/// The receipt is one file of the known format, in its only spelling.
pub const RECEIPT_FORM: &str = "receipt-form";
/// The record leaf is canonical CBOR of its type.
pub const RECORD_LEAF: &str = "record-leaf";
/// The record's id is a UUIDv7.
pub const RECORD_ID: &str = "record-id";
/// The fields are those of the bitmap, canonical, and lead to the field root.
pub const FIELDS: &str = "fields";
/// The record is in the statement's batch.
pub const BATCH: &str = "batch";
/// The statement is well-formed and its contents agree with the record.
pub const STATEMENT: &str = "statement";
/// The announced key signed the statement.
pub const STATEMENT_SIGNATURE: &str = "statement-signature";
/// The log's tree holds exactly the statement's bytes.
pub const LOG_INCLUSION: &str = "log-inclusion";
/// A key of the trust file signed the tree.
pub const CHECKPOINT: &str = "checkpoint";
/// Witnesses of the trust file have cosigned the tree.
pub const WITNESSES: &str = "witnesses";
/// The log announced the statement's key, and its holder asked for that.
pub const ANNOUNCEMENT: &str = "announcement";
/// Further announcements hold as well, and each is needed.
pub const OTHER_ANNOUNCEMENTS: &str = "other-announcements";
/// Others' signatures over the checkpoint are good, and the trust file names whose they are.
pub const ANCHORS: &str = "anchors";
/// The statement's beacon is the timestamp that the receipt shows, by a TSA of the trust file.
pub const BEACON: &str = "beacon";
/// The signatures that left with the answer cover what they must and agree with the record.
pub const HTTP_SIGNATURE: &str = "http-signature";
/// The evidence that was announced with the statement's key is good, and as the trust file says. Left out where there is none.
pub const ATTESTATION: &str = "attestation";
/// The evidence by which the server that answered had proved itself is the one that the record names, and good. Left out where
/// there is none.
pub const UPSTREAM_EVIDENCE: &str = "upstream-evidence";
/// A key that this evidence names signed request and answer. Left out where the record has no such signature.
pub const UPSTREAM_SIGNATURE: &str = "upstream-signature";
/// The level claimed is the level that was verified.
pub const LEVEL: &str = "level";
/// The draw that the record is in, re-computed. Left out where its rule does not sample.
pub const DRAW: &str = "draw";
/// The evidence leaves are in the log, for this record and its draw. Left out where there are none.
pub const EVIDENCE: &str = "evidence";
/// A proof in the receipt is the one that its evidence leaf commits to, is about this record, and holds by the reader's own prover
/// program for a circuit of the trust file. Left out where there is none.
pub const PROOF: &str = "proof";
/// The reader's text is that of the policy that the record names, and has its rule. Left out without a text.
pub const POLICY: &str = "policy";
/// The model certificate that the record names is the reader's, by an authority of the trust file, and counted then. Left out
/// where the record names none and the reader has none.
pub const MODEL: &str = "model";
/// The reader's request is the recorded one.
pub const REQUEST_BODY: &str = "request-body";
/// The reader's response is the recorded one.
pub const RESPONSE_BODY: &str = "response-body";
/// The reader's request object says what the recorded request says. Left out where none was given.
pub const REQUEST_MESSAGE: &str = "request-message";
/// The reader's answer object says what the recorded answer says. Left out where none was given.
pub const MESSAGE: &str = "message";
/// The head that the reader saved belongs to this record.
pub const SAVED_HEAD: &str = "saved-head";
/// The record holds the reader's nonce.
pub const NONCE: &str = "nonce";
/// Nothing lies in the reader's future.
pub const TIME: &str = "time";
/// No key of the receipt is revoked by the trust file, or others dated it before. Left out where the file revokes none.
pub const REVOCATION: &str = "revocation";
/// Everything that the trust file requires is there.
pub const REQUIREMENTS: &str = "requirements";

/// The sentence of a check: what was found, or what is wrong.
pub(crate) type Finding = Result<String, String>;

/// Checks as they are made.
#[derive(Default)]
pub(crate) struct Checks(pub(crate) Vec<Check>);

impl Checks {
    pub(crate) fn add(&mut self, name: &'static str, finding: Finding) -> bool {
        let (status, detail) = match finding {
            Ok(detail) => (Status::Passed, detail),
            Err(detail) => (Status::Failed, detail),
        };
        // Whatever a finding quotes, it cannot act on a terminal.
        self.0.push(Check { name, status, detail: line(&detail) });
        status == Status::Passed
    }

    pub(crate) fn skip(&mut self, name: &'static str, why: impl Into<String>) {
        self.0.push(Check { name, status: Status::NotChecked, detail: line(&why.into()) });
    }

    pub(crate) fn any_failed(&self) -> bool {
        self.0.iter().any(|check| check.status == Status::Failed)
    }
}
