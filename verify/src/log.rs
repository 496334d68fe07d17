//! From the record's batch up to the log: statement, its key's announcement, and the signed tree over both.

use colophon_receipt::checkpoint::{Checkpoint, TlogProof};
use colophon_receipt::merkle::{Hash, leaf_hash, verify_inclusion};
use colophon_receipt::receipt::{AnnouncementPart, BatchPart, Receipt};
use colophon_receipt::statement::{ANNOUNCEMENT_TYPE, Announcement, STATEMENT_TYPE, Statement, payload_hash};
use colophon_signer::PublicKey;
use colophon_signer::cose::Sign1;
use colophon_signer::note::{Note, NoteSignature, VerifiedSignature, VerifierKey};

use crate::basis::Basis;
use crate::checks::{
    ANNOUNCEMENT, BATCH, CHECKPOINT, Checks, Finding, LOG_INCLUSION, STATEMENT, STATEMENT_SIGNATURE,
    WITNESSES,
};
use crate::record::Record;
use crate::text::{quoted, time};
use crate::trust::Trust;

/// A proof with its checkpoint taken apart. Nothing of it is verified yet.
pub(crate) struct LogProof {
    pub(crate) index: u64,
    path: Vec<Hash>,
    pub(crate) note: Note,
    pub(crate) checkpoint: Checkpoint,
}

/// A key announcement and its proof, parsed.
pub(crate) struct Announced {
    cose: Sign1,
    pub(crate) payload: Announcement,
    pub(crate) proof: LogProof,
}

/// What was read of the log's side of a receipt.
#[derive(Default)]
pub(crate) struct LogSide {
    pub(crate) statement: Option<Statement>,
    pub(crate) statement_kid: Option<[u8; 32]>,
    pub(crate) proof: Option<LogProof>,
    /// The log's key, once its signature was verified.
    pub(crate) log_key: Option<VerifierKey>,
    /// The witnesses of the trust file that cosigned the statement's checkpoint, and when, in seconds since the epoch.
    pub(crate) cosigned: Vec<(VerifierKey, u64)>,
    /// The names on cosignature lines that could not be checked.
    pub(crate) unknown_witnesses: Vec<String>,
    /// The announcement of the statement's key first; as many as could be read.
    pub(crate) announced: Vec<Announced>,
    /// What else counts, and what that rests on.
    pub(crate) bases: Vec<Basis>,
}

impl LogSide {
    /// What is proved under another tree head than the statement's, which nothing that was said of that one covers.
    pub(crate) fn elsewhere(&self) -> impl Iterator<Item = &Basis> {
        self.bases.iter().filter(|basis| !self.is_own(&basis.checkpoint))
    }

    /// Whether this is the tree head that the statement is proved under.
    pub(crate) fn is_own(&self, checkpoint: &Checkpoint) -> bool {
        self.proof.as_ref().is_some_and(|proof| proof.checkpoint == *checkpoint)
    }
}

impl LogProof {
    pub(crate) fn parse(text: &str) -> Result<LogProof, String> {
        let proof = TlogProof::parse(text).map_err(|error| format!("tlog-proof: {error}"))?;
        let note = Note::parse(&proof.checkpoint).map_err(|error| error.to_string())?;
        let checkpoint = Checkpoint::parse(note.text()).map_err(|error| format!("checkpoint: {error}"))?;
        Ok(LogProof { index: proof.index, path: proof.path, note, checkpoint })
    }

    pub(crate) fn check_inclusion(&self, entry: &[u8]) -> Result<(), String> {
        verify_inclusion(
            &leaf_hash(entry),
            self.index,
            self.checkpoint.size,
            &self.path,
            &self.checkpoint.root,
        )
        .map_err(|error| format!("entry {} of {}: {error}", self.index, self.checkpoint.size))
    }

    /// The trusted key that signed the checkpoint. The log's own line comes first. Lines that witnesses may have added
    /// follow it: those of known witnesses have to be good, those of others vouch for nothing. Anything else is refused.
    pub(crate) fn check_signature(&self, trust: &Trust) -> Result<Signed, String> {
        let origin = &self.checkpoint.origin;
        let keys = trust.keys_of(origin);
        if keys.is_empty() {
            return Err(format!("the trust file names no log {}", quoted(origin)));
        }
        let known = [keys.as_slice(), trust.witnesses()].concat();
        let verified = self.note.verify(&known).map_err(|error| format!("checkpoint: {error}"))?;
        if let Some(unknown) = verified.unknown.iter().find(|line| !may_be_cosignature(line)) {
            return Err(format!(
                "checkpoint: a signature line by {}, whom the trust file does not name",
                quoted(&unknown.name)
            ));
        }
        let lines = self.note.signatures();
        let named = |at: usize| (&lines[at].name, lines[at].id);
        if (0..lines.len()).any(|at| (0..at).any(|before| named(before) == named(at))) {
            return Err("checkpoint: two signature lines by one key".into());
        }
        let own = verified.signed.iter().filter(|signed| keys.contains(signed.key));
        let Some(log_key) =
            own.map(|signed| signed.key).find(|key| lines.first().is_some_and(|l| key.names(l)))
        else {
            return Err("checkpoint: its first signature line is not the log's own".into());
        };
        let witness = |signed: &VerifiedSignature<'_>| {
            let time = signed.time.filter(|_| trust.witnesses().contains(signed.key))?;
            Some((signed.key.clone(), time))
        };
        Ok(Signed {
            log_key: log_key.clone(),
            cosigned: verified.signed.iter().filter_map(witness).collect(),
            unknown: verified.unknown.iter().map(|line| line.name.clone()).collect(),
        })
    }
}

/// Who signed a checkpoint.
pub(crate) struct Signed {
    pub(crate) log_key: VerifierKey,
    /// The witnesses of the trust file, and when by their clocks, in seconds since the epoch.
    pub(crate) cosigned: Vec<(VerifierKey, u64)>,
    /// The names on lines that may be other witnesses' cosignatures: nothing about them was checked.
    unknown: Vec<String>,
}

/// Whether a line has the length of a cosignature (c2sp.org/tlog-cosignature): a time, and an Ed25519 or ML-DSA-44
/// signature.
fn may_be_cosignature(line: &NoteSignature) -> bool {
    matches!(line.signature.len(), 72 | 2428)
}

impl Announced {
    pub(crate) fn parse(part: &AnnouncementPart) -> Result<Announced, String> {
        let cose = Sign1::parse(&part.statement.0).map_err(|error| error.to_string())?;
        if cose.content_type() != ANNOUNCEMENT_TYPE {
            return Err(format!(
                "content type {} instead of {ANNOUNCEMENT_TYPE}",
                quoted(cose.content_type())
            ));
        }
        let payload = Announcement::decode(cose.payload()).map_err(|error| error.to_string())?;
        Ok(Announced { proof: LogProof::parse(&part.log_proof)?, cose, payload })
    }

    pub(crate) fn key(&self) -> PublicKey {
        PublicKey(self.payload.public_key)
    }

    /// What the shard's first statement calls the one before, and evidence about the key its subject.
    pub(crate) fn payload_hash(&self) -> Hash {
        payload_hash(self.cose.payload())
    }

    /// Everything about the announcement itself: whose it is, that the key's holder asked for it, that `log` holds it
    /// and, with a trust file, that the log's key signed it. Gives what it rests on.
    pub(crate) fn check(
        &self,
        part: &AnnouncementPart,
        log: &LogProof,
        trust: Option<&Trust>,
    ) -> Result<Basis, String> {
        let announced = &self.payload;
        let origin = &log.checkpoint.origin;
        for (what, name) in [
            ("the announcement", announced.origin.as_str()),
            ("its issuer", self.cose.iss()),
            ("its checkpoint", self.proof.checkpoint.origin.as_str()),
        ] {
            if name != origin {
                return Err(format!(
                    "{what} names the log {}, the statement's is {}",
                    quoted(name),
                    quoted(origin)
                ));
            }
        }
        if self.cose.sub() != announced.shard {
            return Err("its subject names another shard than its payload".into());
        }
        if announced.not_before > announced.not_after {
            return Err("the key's validity ends before it begins".into());
        }
        self.key()
            .verify(&announced.proof_message(), &announced.proof)
            .map_err(|error| format!("the key's holder did not ask for it: {error}"))?;
        self.proof.check_inclusion(&part.statement.0)?;
        same_tree(&self.proof.checkpoint, &log.checkpoint)?;
        let basis = |signed| {
            let what = format!("the announcement of key {}", self.key().key_id_hex());
            let basis = Basis::new(what, &self.proof, *self.cose.kid(), signed);
            Basis { times: vec![announced.not_before], ..basis }
        };
        let Some(trust) = trust else { return Ok(basis(None)) };
        let signed = self.proof.check_signature(trust)?;
        let keys = trust.keys_of(origin);
        let key = keys
            .iter()
            .filter_map(|key| key.public_key())
            .find(|key| key.key_id() == *self.cose.kid())
            .ok_or("it names a signer that is no key of this log in the trust file")?;
        self.cose.verify(key).map_err(|error| error.to_string())?;
        Ok(basis(Some(signed)))
    }
}

/// Two checkpoints of one log and one size have one root.
pub(crate) fn same_tree(a: &Checkpoint, b: &Checkpoint) -> Result<(), String> {
    if a.origin == b.origin && a.size == b.size && a.root != b.root {
        return Err(format!(
            "two checkpoints of {} entries with different roots: this log shows different people different trees",
            a.size
        ));
    }
    Ok(())
}

/// Makes the checks from `batch` to `announcement`.
pub(crate) fn check(
    receipt: &Receipt,
    record: Option<&Record>,
    trust: Option<&Trust>,
    checks: &mut Checks,
) -> LogSide {
    let mut side = LogSide::default();
    let cose = Sign1::parse(&receipt.statement.0).map_err(|error| error.to_string());
    let statement = cose.as_ref().map_err(Clone::clone).and_then(|cose| {
        let payload = Statement::decode(cose.payload()).map_err(|error| error.to_string())?;
        Ok((cose, payload))
    });
    let proof = LogProof::parse(&receipt.log_proof);
    let announced = match receipt.announcements.first() {
        Some(first) => Announced::parse(first).map(|announced| (first, announced)),
        None => Err("the receipt has no key announcement".into()),
    };

    match (&statement, record) {
        (Ok((_, statement)), Some(record)) => {
            checks.add(BATCH, check_batch(receipt, record, statement));
        }
        _ => checks.skip(BATCH, "needs the record leaf and the statement"),
    }
    checks.add(
        STATEMENT,
        match (&statement, &proof) {
            (Err(error), _) => Err(error.clone()),
            (Ok((cose, statement)), proof) => {
                let announced = announced.as_ref().ok().map(|(_, announced)| announced);
                check_statement(cose, statement, record, proof.as_ref().ok(), announced)
            }
        },
    );
    match (&statement, &announced) {
        (Ok((cose, _)), Ok((_, announced))) => checks.add(STATEMENT_SIGNATURE, check_key(cose, announced)),
        _ => {
            checks.skip(STATEMENT_SIGNATURE, "needs the statement and the announcement of its key");
            false
        }
    };
    match &proof {
        Err(error) => {
            checks.add(LOG_INCLUSION, Err(error.clone()));
            checks.skip(CHECKPOINT, "needs the log proof");
        }
        Ok(proof) => {
            let found = proof
                .check_inclusion(&receipt.statement.0)
                .map(|()| format!("the statement is entry {} of {}", proof.index, proof.checkpoint.size));
            checks.add(LOG_INCLUSION, found);
            match trust.map(|trust| proof.check_signature(trust)) {
                None => checks
                    .skip(CHECKPOINT, "no trust file was given, so the log's signature cannot be checked"),
                Some(Ok(signed)) => {
                    checks.add(CHECKPOINT, Ok(format!("signed by {}", quoted(signed.log_key.to_string()))));
                    side.log_key = Some(signed.log_key);
                    (side.cosigned, side.unknown_witnesses) = (signed.cosigned, signed.unknown);
                }
                Some(Err(error)) => drop(checks.add(CHECKPOINT, Err(error))),
            }
        }
    }
    check_witnesses(&side, trust, checks);
    match (&announced, &proof) {
        (Err(error), _) => drop(checks.add(ANNOUNCEMENT, Err(error.clone()))),
        (Ok(_), Err(_)) => checks.skip(ANNOUNCEMENT, "needs the log proof"),
        (Ok((part, announced)), Ok(proof)) => {
            let statement = statement.as_ref().ok().map(|(_, statement)| statement);
            let found = announced.check(part, proof, trust).and_then(|basis| {
                side.bases.push(basis);
                check_validity(announced, proof, record, statement)
            });
            match found {
                Ok(_) if trust.is_none() => checks.skip(
                    ANNOUNCEMENT,
                    "holds, except that without a trust file the log's signature cannot be checked",
                ),
                found => drop(checks.add(ANNOUNCEMENT, found)),
            }
        }
    }

    side.statement_kid = cose.as_ref().ok().map(|cose| *cose.kid());
    side.statement = statement.ok().map(|(_, statement)| statement);
    side.proof = proof.ok();
    side.announced = announced.ok().map(|(_, announced)| announced).into_iter().collect();
    side
}

/// Says who cosigned; that these are enough is for the requirements. Where nobody asks and nobody did, there is no check.
fn check_witnesses(side: &LogSide, trust: Option<&Trust>, checks: &mut Checks) {
    let asked = trust.is_some_and(|trust| !trust.witnesses().is_empty());
    let unknown: Vec<String> = side.unknown_witnesses.iter().map(quoted).collect();
    let others = match unknown.as_slice() {
        [] => String::new(),
        names => format!("; not checked, since the trust file does not name them: {}", names.join(", ")),
    };
    let by = |(key, time): &(VerifierKey, u64)| {
        let at = crate::text::time(time.saturating_mul(1_000_000));
        format!("{} at {at} by its clock", quoted(key.name()))
    };
    let cosigned: Vec<String> = side.cosigned.iter().map(by).collect();
    if !cosigned.is_empty() {
        checks.add(WITNESSES, Ok(format!("cosigned by {}{others}", cosigned.join(", "))));
    } else if asked && side.log_key.is_some() {
        checks.skip(WITNESSES, format!("no witness of the trust file has cosigned the checkpoint{others}"));
    } else if asked {
        checks.skip(WITNESSES, "needs the checkpoint");
    } else if !unknown.is_empty() {
        checks.skip(WITNESSES, format!("the trust file names no witness{others}"));
    }
}

fn check_batch(receipt: &Receipt, record: &Record, statement: &Statement) -> Finding {
    in_batch(&receipt.batch, &record.leaf_hash, statement)
        .map(|index| format!("the record is number {index} of {} in its batch", statement.count))
}

/// Where in the statement's batch the leaf is.
pub(crate) fn in_batch(part: &BatchPart, leaf: &Hash, statement: &Statement) -> Result<u64, String> {
    let mut path = Vec::with_capacity(part.path.len().min(64));
    for hash in part.path.iter().take(65) {
        path.push(hash.hash().ok_or("a hash of the batch path is not 32 bytes")?);
    }
    let index = part.index;
    verify_inclusion(leaf, index, statement.count, &path, &statement.root)
        .map_err(|error| format!("record {index} of {}: {error}", statement.count))?;
    Ok(index)
}

pub(crate) fn check_statement(
    cose: &Sign1,
    statement: &Statement,
    record: Option<&Record>,
    proof: Option<&LogProof>,
    announced: Option<&Announced>,
) -> Finding {
    if cose.content_type() != STATEMENT_TYPE {
        return Err(format!("content type {} instead of {STATEMENT_TYPE}", quoted(cose.content_type())));
    }
    if cose.sub() != statement.shard {
        return Err("the COSE subject names another shard than the payload".into());
    }
    if let Some(proof) = proof
        && cose.iss() != proof.checkpoint.origin
    {
        return Err(format!(
            "it was made for the log {}, not for {}",
            quoted(cose.iss()),
            quoted(&proof.checkpoint.origin)
        ));
    }
    if statement.from > statement.to {
        return Err("its interval ends before it begins".into());
    }
    if let Some(record) = record {
        let completed = record.leaf.completed_at;
        if completed < statement.from || completed > statement.to {
            return Err(format!(
                "the record was completed at {}, outside the batch's interval from {} to {}",
                time(completed),
                time(statement.from),
                time(statement.to)
            ));
        }
    }
    if !statement.counters.balanced() {
        return Err("its counters do not balance: received is not recorded + passed + lost + open".into());
    }
    if !statement.rules.add_up_to(&statement.counters) {
        return Err("its counters by rule do not add up to its counters".into());
    }
    let cumulative = statement.cumulative_exchanges.checked_add(statement.cumulative_evidence);
    if cumulative.is_none_or(|sum| sum < statement.count) {
        return Err("it counts fewer records so far than there are in its batch".into());
    }
    if let Some(announced) = announced
        && statement.seq == 0
        && statement.previous != announced.payload_hash()
    {
        return Err("the shard's first statement does not name its key's announcement".into());
    }
    Ok(format!(
        "statement {} of shard {}, {} records",
        statement.seq,
        quoted(&statement.shard),
        statement.count
    ))
}

pub(crate) fn check_key(cose: &Sign1, announced: &Announced) -> Finding {
    if cose.sub() != announced.payload.shard {
        return Err(format!(
            "the key was announced for shard {}, not for {}",
            quoted(&announced.payload.shard),
            quoted(cose.sub())
        ));
    }
    cose.verify(&announced.key()).map_err(|error| error.to_string())?;
    Ok(format!("by the announced key {}", announced.key().key_id_hex()))
}

/// The key was announced before it was used, and used while it was valid, all by the operator's clock.
pub(crate) fn check_validity(
    announced: &Announced,
    log: &LogProof,
    record: Option<&Record>,
    statement: Option<&Statement>,
) -> Finding {
    let key = &announced.payload;
    if announced.proof.index >= log.index {
        return Err("the key was announced after the statement that it signed".into());
    }
    // A record that an earlier life of the sidecar left behind is older than the key that vouches for it now.
    let first = statement.map_or(0, |statement| statement.to);
    let last = record.map_or(0, |record| record.leaf.completed_at).max(first);
    if statement.is_some() && first < key.not_before || last > key.not_after {
        return Err(format!(
            "the key was valid from {} to {}, but was used at {}",
            time(key.not_before),
            time(key.not_after),
            time(last)
        ));
    }
    Ok(format!(
        "entry {} announces key {} for shard {}, valid until {}",
        announced.proof.index,
        announced.key().key_id_hex(),
        quoted(&key.shard),
        time(key.not_after)
    ))
}
