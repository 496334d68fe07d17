//! The record and its fields: well-formed, complete by the bitmap, and under the root of the leaf.

use colophon_receipt::Level;
use colophon_receipt::cbor::{CborError, Value};
use colophon_receipt::fields::{self, *};
use colophon_receipt::merkle::{self, Hash};
use colophon_receipt::receipt::{Field, RecordPart};
use colophon_receipt::record::{RecordId, RecordLeaf, decode_field, field_hash, id_text};

use crate::checks::{Checks, FIELDS, Finding, RECORD_ID, RECORD_LEAF};

/// The record as far as it could be read.
pub(crate) struct Record {
    pub(crate) leaf: RecordLeaf,
    pub(crate) leaf_hash: Hash,
    pub(crate) opened: Opened,
    pub(crate) withheld: Vec<u8>,
    /// Whether the check `fields` passed: else the values mean nothing.
    pub(crate) fields_hold: bool,
}

/// The values of the opened fields.
#[derive(Default)]
pub(crate) struct Opened {
    pub(crate) request_body: Option<BodyDigest>,
    pub(crate) request_decoded: Option<BodyDigest>,
    pub(crate) request_line: Option<RequestLine<'static>>,
    pub(crate) response_body: Option<BodyDigest>,
    pub(crate) response_decoded: Option<BodyDigest>,
    pub(crate) response_head: Option<ResponseHead<'static>>,
    pub(crate) operation: Option<Operation<'static>>,
    pub(crate) model: Option<Model<'static>>,
    pub(crate) usage: Option<Usage>,
    pub(crate) answer: Option<Answer<'static>>,
    pub(crate) semantic: Option<Semantic<'static>>,
    pub(crate) times: Option<Times<'static>>,
    pub(crate) decision: Option<DecisionField<'static>>,
    pub(crate) caller: Option<Caller<'static>>,
    pub(crate) context: Option<Context<'static>>,
    pub(crate) failure: Option<Failure<'static>>,
    pub(crate) upstream: Option<Upstream<'static>>,
    pub(crate) upstream_signed: Option<UpstreamSigned<'static>>,
}

impl Record {
    /// The level that was asked for, by the record.
    pub(crate) fn asked(&self) -> Level {
        let asked = self.opened.decision.as_ref().and_then(|decision| decision.asked);
        asked.and_then(|code| Level::from_code(code).ok()).unwrap_or(Level::Pass)
    }

    pub(crate) fn is_withheld(&self, number: u8) -> bool {
        self.withheld.contains(&number)
    }

    /// The body whose digest is withheld, so that a signature over it cannot be compared.
    pub(crate) fn withheld_body(&self) -> Option<&'static str> {
        let number = [REQUEST_BODY, RESPONSE_BODY].into_iter().find(|number| self.is_withheld(*number))?;
        Some(fields::name(number))
    }
}

/// Makes the checks `record-leaf`, `record-id` and `fields`. Without a leaf there is no record.
pub(crate) fn check(part: &RecordPart, checks: &mut Checks) -> Option<Record> {
    let leaf = match RecordLeaf::decode(&part.leaf.0) {
        Ok(leaf) => leaf,
        Err(error) => {
            checks.add(RECORD_LEAF, Err(format!("the record leaf is not one: {error}")));
            checks.skip(RECORD_ID, "needs the record leaf");
            checks.skip(FIELDS, "needs the record leaf");
            return None;
        }
    };
    checks.add(RECORD_LEAF, Ok(format!("canonical, type 1, outcome {}", leaf.outcome)));
    checks.add(RECORD_ID, check_id(&leaf.id, leaf.completed_at));
    let mut record = Record {
        leaf_hash: merkle::leaf_hash(&part.leaf.0),
        leaf,
        opened: Opened::default(),
        withheld: Vec::new(),
        fields_hold: false,
    };
    let finding = check_fields(&part.fields, &mut record);
    record.fields_hold = checks.add(FIELDS, finding);
    Some(record)
}

fn check_id(id: &RecordId, completed_at: u64) -> Finding {
    if id[6] >> 4 != 7 || id[8] >> 6 != 0b10 {
        return Err(format!("{} is not a UUIDv7", id_text(id)));
    }
    let made = id[..6].iter().fold(0, |ms: u64, byte| ms << 8 | u64::from(*byte));
    let note = match made.checked_sub(completed_at / 1000) {
        // Completion times are clamped into their batch's interval, so a little is normal.
        Some(ahead) if ahead > 60_000 => format!("; its time lies {} s after the completion", ahead / 1000),
        _ => String::new(),
    };
    Ok(format!("{} is a UUIDv7{note}", id_text(id)))
}

fn check_fields(listed: &[Field], record: &mut Record) -> Finding {
    let mut bits = 0u64;
    let mut last = None;
    let mut hashes = Vec::with_capacity(listed.len());
    for field in listed {
        let number = match field {
            Field::Opened(field) => field.number,
            Field::Withheld(field) => field.number,
        };
        if last.is_some_and(|last| last >= number) {
            return Err(format!("field {number} stands twice or out of order"));
        }
        if number > 63 || record.leaf.present >> number & 1 == 0 {
            return Err(format!("field {number} is listed, but the leaf's bitmap says that it is absent"));
        }
        last = Some(number);
        bits |= 1 << number;
        let what = format!("field {number} ({})", fields::name(number));
        hashes.push(match field {
            Field::Opened(field) => {
                let salt = field.salt.salt().ok_or_else(|| format!("{what}: the salt is not 16 bytes"))?;
                let (inner, value) =
                    decode_field(&field.value.0).map_err(|error| format!("{what}: {error}"))?;
                if inner != number {
                    return Err(format!("{what}: the committed bytes say that it is field {inner}"));
                }
                record.opened.read(number, value).map_err(|error| format!("{what}: {error}"))?;
                field_hash(&salt, &field.value.0)
            }
            Field::Withheld(field) => {
                record.withheld.push(number);
                field.hash.hash().ok_or_else(|| format!("{what}: the hash is not 32 bytes"))?
            }
        });
    }
    let missing = record.leaf.present & !bits;
    if missing != 0 {
        let number = missing.trailing_zeros();
        return Err(format!("field {number} is in the leaf's bitmap, but not in the receipt"));
    }
    if merkle::root(&hashes) != record.leaf.field_root {
        return Err("the fields do not lead to the field root of the record leaf".into());
    }
    Ok(format!(
        "{} fields, {} opened and {} withheld, lead to the field root",
        listed.len(),
        listed.len() - record.withheld.len(),
        record.withheld.len()
    ))
}

impl Opened {
    /// Reads a value by its number. A number of a later version is committed to all the same; nothing is said about it.
    fn read(&mut self, number: u8, value: Value) -> Result<(), CborError> {
        match number {
            REQUEST_BODY => self.request_body = Some(BodyDigest::read(&value)?),
            REQUEST_FORWARDED => drop(BodyDigest::read(&value)?),
            REQUEST_DECODED => self.request_decoded = Some(BodyDigest::read(&value)?),
            REQUEST_LINE => self.request_line = Some(RequestLine::read(value)?),
            RESPONSE_BODY => self.response_body = Some(BodyDigest::read(&value)?),
            RESPONSE_DECODED => self.response_decoded = Some(BodyDigest::read(&value)?),
            RESPONSE_HEAD => self.response_head = Some(ResponseHead::read(value)?),
            STRIPPED => drop(read_list(&value)?),
            OPERATION => self.operation = Some(Operation::read(value)?),
            MODEL => self.model = Some(Model::read(value)?),
            SAMPLING => drop(read_sampling(&value)?),
            USAGE => self.usage = Some(Usage::read(value)?),
            ANSWER => self.answer = Some(Answer::read(value)?),
            SEMANTIC => self.semantic = Some(Semantic::read(value)?),
            TIMES => self.times = Some(Times::read(value)?),
            DECISION => self.decision = Some(DecisionField::read(value)?),
            UPSTREAM => self.upstream = Some(Upstream::read(value)?),
            CALLER => self.caller = Some(Caller::read(value)?),
            CONTEXT => self.context = Some(Context::read(value)?),
            FAILURE => self.failure = Some(Failure::read(value)?),
            UPGRADE => drop(Upgrade::read(value)?),
            UPSTREAM_SIGNED => self.upstream_signed = Some(UpstreamSigned::read(value)?),
            _ => {}
        }
        Ok(())
    }
}
