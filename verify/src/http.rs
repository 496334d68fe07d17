//! The RFC 9421 signatures that left with the answer: what they must cover, and that it is what the record says.

use colophon_receipt::Outcome;
use colophon_receipt::checkpoint::Checkpoint;
use colophon_receipt::fields::CONTEXT;
use colophon_receipt::merkle::sha256;
use colophon_receipt::receipt::{HttpSignature, Receipt};
use colophon_receipt::record::id_text;
use colophon_signer::PublicKey;
use colophon_signer::httpsig::{ALG, CoveredComponent, SignatureInput, parse_signature_input};
use colophon_signer::sf::{BareItem, Item, Member, parse_dictionary, parse_item};

use crate::checks::{Checks, Finding, HTTP_SIGNATURE, OTHER_ANNOUNCEMENTS};
use crate::log::{Announced, LogSide, same_tree};
use crate::record::Record;
use crate::text::quoted;
use crate::trust::Trust;

/// What a signature is for (DESIGN section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tag {
    /// A buffered answer: everything in one.
    Whole,
    /// The head of a stream.
    Open,
    /// The end of a stream.
    Close,
}

/// A signature whose base could be read.
pub(crate) struct Signed {
    pub(crate) tag: Tag,
    pub(crate) base: Base,
    pub(crate) signature: Vec<u8>,
    pub(crate) key: PublicKey,
    /// The log's key under the tree head that it covers; known only with a trust file.
    pub(crate) gossip: Option<PublicKey>,
}

/// A signature base taken apart.
pub(crate) struct Base {
    pub(crate) input: SignatureInput,
    /// One a component.
    values: Vec<String>,
}

/// What the signatures of a receipt amount to.
#[derive(Default)]
pub(crate) struct HttpSide {
    /// Those that verified, in the receipt's order.
    pub(crate) signed: Vec<Signed>,
    /// Whether both digests are under one good signature.
    pub(crate) both_digests: bool,
    /// The nonce that a signature covers.
    pub(crate) nonce: Option<String>,
}

const PARAMS: &str = "\"@signature-params\": ";

impl Tag {
    fn parse(tag: &str) -> Option<Tag> {
        Some(match tag {
            "colophon-v1" => Tag::Whole,
            "colophon-v1-open" => Tag::Open,
            "colophon-v1-close" => Tag::Close,
            _ => return None,
        })
    }

    /// The components that a signature of this kind covers in any case.
    fn minimum(self) -> &'static [(&'static str, bool)] {
        const WHOLE: [(&str, bool); 8] = [
            ("content-digest", false),
            ("@status", false),
            ("colophon-request-digest", false),
            ("colophon-record", false),
            ("@method", true),
            ("@path", true),
            ("@query", true),
            ("colophon-log", false),
        ];
        match self {
            Tag::Whole => &WHOLE,
            Tag::Open => &WHOLE[1..],
            Tag::Close => &WHOLE[..7],
        }
    }
}

impl Base {
    /// Takes a base apart and makes sure that it is the one spelling of what it says.
    pub(crate) fn parse(text: &str) -> Result<Base, String> {
        let (lines, params) = text.rsplit_once('\n').ok_or("the base covers nothing")?;
        let params = params.strip_prefix(PARAMS).ok_or("the base does not end with its parameters")?;
        let inputs = parse_signature_input(&format!("sig={params}")).map_err(|error| error.to_string())?;
        let [input] =
            <[SignatureInput; 1]>::try_from(inputs).map_err(|_| "not one signature's parameters")?;
        let values = lines
            .split('\n')
            .map(|line| line.split_once(": ").map(|(_, value)| value.to_owned()))
            .collect::<Option<Vec<_>>>()
            .ok_or("a line of the base is not `component: value`")?;
        let base = Base { input, values };
        // The identifiers were skipped above: they have to be those of the parameters, in their order.
        if base.values.len() == base.input.components().len() && base.text()? == text {
            Ok(base)
        } else {
            Err("the base is not in its canonical form".into())
        }
    }

    /// The member of `Signature-Input` under this label.
    pub(crate) fn input_member(&self, label: &str) -> Result<String, String> {
        let text = self.text()?;
        let (_, params) = text.rsplit_once(PARAMS).ok_or("the base has no parameters")?;
        Ok(format!("{label}={params}"))
    }

    /// What is signed.
    pub(crate) fn text(&self) -> Result<String, String> {
        let built = self.input.signature_base(|component| {
            self.values().find(|(known, _)| *known == component).map(|(_, value)| value)
        });
        built.map(|base| base.as_str().to_owned()).map_err(|error| error.to_string())
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = (&CoveredComponent, &str)> {
        self.input.components().iter().zip(self.values.iter().map(String::as_str))
    }

    /// The value of a component of this name, wherever in the response it stands.
    pub(crate) fn value(&self, name: &str, req: bool) -> Option<&str> {
        self.values().find(|(known, _)| known.name == name && known.req == req).map(|(_, value)| value)
    }
}

/// Makes the checks `other-announcements` and `http-signature`.
pub(crate) fn check(
    receipt: &Receipt,
    record: Option<&Record>,
    log: &mut LogSide,
    trust: Option<&Trust>,
    checks: &mut Checks,
) -> HttpSide {
    let others = receipt.announcements.get(1..).unwrap_or_default();
    let mut wrong = None;
    for (at, part) in others.iter().enumerate() {
        let number = at + 2;
        let announced = Announced::parse(part).and_then(|announced| match &log.proof {
            Some(proof) => announced.check(part, proof, trust).map(|basis| (announced, basis)),
            None => Err("cannot be checked without the log proof".into()),
        });
        match announced {
            Ok((announced, _)) if log.announced.iter().any(|known| known.key() == announced.key()) => {
                wrong = Some(format!("announcement {number} repeats a key"));
            }
            // One order only, so that not even that can be changed unseen.
            Ok((announced, _))
                if log.announced.iter().skip(1).any(|known| known.proof.index >= announced.proof.index) =>
            {
                wrong = Some(format!("announcement {number} is out of the log's order"));
            }
            Ok((announced, basis)) => {
                log.announced.push(announced);
                log.bases.push(basis);
            }
            Err(error) => wrong = Some(format!("announcement {number}: {error}")),
        }
    }

    let mut side = HttpSide::default();
    match record {
        _ if receipt.http_signatures.is_empty() => {
            checks.skip(HTTP_SIGNATURE, "the receipt carries no signature over the HTTP answer");
        }
        Some(record) if record.fields_hold => {
            let found = check_all(&receipt.http_signatures, record, log, trust, &mut side);
            checks.add(HTTP_SIGNATURE, found);
        }
        _ => checks.skip(HTTP_SIGNATURE, "needs the record leaf and its fields"),
    }

    // An announcement that nothing needs would be an unauthenticated passenger. (A bad signature is said already.)
    let all_read = side.signed.len() == receipt.http_signatures.len();
    let used: Vec<PublicKey> = side.signed.iter().map(|signed| signed.key).collect();
    if let Some(unused) = log.announced.iter().skip(1).find(|announced| !used.contains(&announced.key()))
        && all_read
    {
        wrong.get_or_insert_with(|| {
            format!("key {} is announced, but signed nothing here", unused.key().key_id_hex())
        });
    }
    match (wrong, others.len()) {
        (Some(error), _) => drop(checks.add(OTHER_ANNOUNCEMENTS, Err(error))),
        (None, 0) => checks.skip(OTHER_ANNOUNCEMENTS, "the receipt has none"),
        (None, n) => drop(checks.add(OTHER_ANNOUNCEMENTS, Ok(format!("{n} more, each of them needed")))),
    }
    side
}

fn check_all(
    signatures: &[HttpSignature],
    record: &Record,
    log: &LogSide,
    trust: Option<&Trust>,
    side: &mut HttpSide,
) -> Finding {
    if record.withheld_body().is_some() {
        return Err("there is a signature, but a body digest that it covers is withheld".into());
    }
    for signature in signatures {
        let signed = check_one(Base::parse(&signature.base)?, &signature.signature.0, record, log, trust)?;
        if let Some(nonce) = signed.base.value("colophon-client-nonce", true) {
            side.nonce = Some(nonce.to_owned());
        }
        side.both_digests |= signed.tag != Tag::Open;
        side.signed.push(signed);
    }
    let tags: Vec<Tag> = side.signed.iter().map(|signed| signed.tag).collect();
    let what = match tags.as_slice() {
        [Tag::Whole] if record.leaf.outcome != Outcome::Complete => {
            "the answer is signed, as far as the record has it"
        }
        [Tag::Whole] => "the whole answer is signed",
        [Tag::Open, Tag::Close] => "the stream's head and its end are signed",
        [Tag::Close] => "the stream's end is signed, both digests with it",
        [Tag::Open] => "the stream's head is signed, its end is not",
        _ => {
            side.both_digests = false;
            return Err("an answer has one signature, or one for its head and then one for its end".into());
        }
    };
    // After a crash the shard that signed the answer is not the one that logged the record.
    let own = log.announced.first().map(|announced| announced.key());
    Ok(match side.signed.iter().find(|signed| Some(signed.key) != own) {
        None => what.into(),
        Some(other) => format!("{what}, by another key of this log, {}", other.key.key_id_hex()),
    })
}

/// Everything about one signature: its key, what it covers, and that this is what the record says.
pub(crate) fn check_one(
    base: Base,
    signature: &[u8],
    record: &Record,
    log: &LogSide,
    trust: Option<&Trust>,
) -> Result<Signed, String> {
    let tag = base
        .input
        .tag()
        .and_then(Tag::parse)
        .ok_or("its tag is none of colophon-v1, colophon-v1-open and colophon-v1-close")?;
    let key = check_signature(&base, signature, log)?;
    check_coverage(&base, tag, record)?;
    let shard = &key.payload.shard;
    let mut gossip = None;
    for (component, value) in base.values() {
        let name = &component.name;
        if component.tr && (tag != Tag::Close || name.starts_with('@')) {
            return Err(format!("it covers {name} as a trailer, which it is not"));
        }
        let found = match (name.as_str(), component.req) {
            ("colophon-log", false) => check_gossip(value, log, trust).map(|key| gossip = key),
            _ => check_value(component, value, record, shard),
        };
        found.map_err(|what| format!("{name}: {what}"))?;
    }
    // A stream's head leaves before its leaf is known; its end has to name it.
    let names_leaf = |value: &str| parse_item(value).is_ok_and(|item| item.params.get("leaf").is_some());
    if tag == Tag::Close
        && !base.values().any(|(known, value)| known.name == "colophon-record" && names_leaf(value))
    {
        return Err("the closing signature does not name the record's leaf".into());
    }
    Ok(Signed { tag, key: key.key(), gossip, base, signature: signature.to_vec() })
}

/// The announced key that made `signature` over `base`.
fn check_signature<'a>(base: &Base, signature: &[u8], log: &'a LogSide) -> Result<&'a Announced, String> {
    if base.input.params().iter().any(|(key, _)| !["created", "keyid", "alg", "tag"].contains(&key)) {
        return Err("it has a parameter besides created, keyid, alg and tag".into());
    }
    if base.input.alg() != Some(ALG) {
        return Err("its algorithm is not ed25519".into());
    }
    let created = base.input.created().ok_or("it does not say when it was made")?;
    let keyid = base.input.keyid().ok_or("it does not say which key made it")?;
    let key = log
        .announced
        .iter()
        .find(|announced| announced.key().key_id_hex() == keyid)
        .ok_or_else(|| format!("no announcement for the key {} that it names", quoted(keyid)))?;
    let (from, to) = (key.payload.not_before / 1_000_000, key.payload.not_after / 1_000_000);
    if created < from || created > to {
        return Err("it was made outside its key's validity".into());
    }
    key.key().verify(base.text()?.as_bytes(), signature).map_err(|error| error.to_string())?;
    Ok(key)
}

fn check_coverage(base: &Base, tag: Tag, record: &Record) -> Result<(), String> {
    let mut wanted: Vec<(&str, bool)> = tag.minimum().to_vec();
    if let (Some(head), true) = (&record.opened.response_head, tag != Tag::Close) {
        wanted.extend(head.content_type.as_ref().map(|_| ("content-type", false)));
        wanted.extend(head.content_encoding.as_ref().map(|_| ("content-encoding", false)));
    }
    let nonce = record.opened.context.as_ref().and_then(|context| context.nonce.as_ref());
    wanted.extend(nonce.filter(|_| tag != Tag::Close).map(|_| ("colophon-client-nonce", true)));
    match wanted.iter().find(|(name, req)| base.value(name, *req).is_none()) {
        Some((name, _)) => Err(format!("it does not cover {name}")),
        None => Ok(()),
    }
}

/// Compares one covered value with the record. A value whose field is withheld is the signer's word only.
fn check_value(
    component: &CoveredComponent,
    value: &str,
    record: &Record,
    shard: &str,
) -> Result<(), String> {
    let opened = &record.opened;
    let line = opened.request_line.as_ref();
    let head = opened.response_head.as_ref();
    let same = |recorded: Option<&[u8]>, default: &str| {
        let recorded = recorded.unwrap_or(default.as_bytes()).trim_ascii();
        if recorded == value.as_bytes() { Ok(()) } else { Err(differs(value, recorded)) }
    };
    match (component.name.as_str(), component.req) {
        ("content-digest", false) => digest(value, opened.response_body.map(|body| body.digest)),
        ("colophon-request-digest", false) => digest(value, opened.request_body.map(|body| body.digest)),
        ("colophon-record", false) => promise(value, record, shard),
        ("@status", false) => match head {
            Some(head) => same(Some(head.status.unwrap_or_default().to_string().as_bytes()), ""),
            None => Ok(()),
        },
        ("content-type", false) => head.map_or(Ok(()), |head| same(head.content_type.as_deref(), "")),
        ("content-encoding", false) => head.map_or(Ok(()), |head| same(head.content_encoding.as_deref(), "")),
        ("@method", true) => line.map_or(Ok(()), |line| same(line.method.as_deref(), "")),
        ("@path", true) => {
            line.map_or(Ok(()), |line| same(line.path.as_deref().filter(|path| !path.is_empty()), "/"))
        }
        ("@query", true) => line.map_or(Ok(()), |line| query(value, line.query)),
        ("colophon-client-nonce", true) if record.is_withheld(CONTEXT) => Ok(()),
        ("colophon-client-nonce", true) => {
            same(opened.context.as_ref().and_then(|context| context.nonce.as_deref()), "")
        }
        _ => Err("no signature of this tag covers this".into()),
    }
}

fn differs(value: &str, recorded: &[u8]) -> String {
    format!("the signature says {}, the record {}", quoted(value), quoted(recorded))
}

pub(crate) fn digest(value: &str, recorded: Option<[u8; 32]>) -> Result<(), String> {
    let recorded = recorded.ok_or("the record has no such digest")?;
    let members = parse_dictionary(value).map_err(|error| error.to_string())?;
    match members.as_slice() {
        [(algorithm, Member::Item(Item { value: BareItem::Bytes(digest), params }))]
            if algorithm == "sha-256" && params.is_empty() =>
        {
            if *digest == recorded {
                Ok(())
            } else {
                Err(differs(&hex::encode(digest), hex::encode(recorded).as_bytes()))
            }
        }
        _ => Err("not one SHA-256 digest".into()),
    }
}

fn query(value: &str, recorded: Option<[u8; 32]>) -> Result<(), String> {
    let text = value.strip_prefix('?').ok_or("it does not begin with a question mark")?;
    match recorded {
        None if text.is_empty() => Ok(()),
        Some(hash) if sha256(text.as_bytes()) == hash => Ok(()),
        _ => Err("the record has another query".into()),
    }
}

/// `Colophon-Record`: the answer's promise names this record.
pub(crate) fn promise(value: &str, record: &Record, shard: &str) -> Result<(), String> {
    let item = parse_item(value).map_err(|error| error.to_string())?;
    let id = id_text(&record.leaf.id);
    if item.value.as_string() != Some(id.as_str()) {
        return Err(format!("it names another record than {id}"));
    }
    let param = |name: &str| item.params.get(name);
    if let Some((key, _)) =
        item.params.iter().find(|(key, _)| !["level", "shard", "leaf", "durability", "mmd"].contains(key))
    {
        return Err(format!("unknown parameter {}", quoted(key)));
    }
    if param("level").and_then(BareItem::as_token) != Some(record.leaf.level.as_str()) {
        return Err(format!("it promises another level than the record's, {}", record.leaf.level));
    }
    if param("shard").and_then(BareItem::as_string) != Some(shard) {
        return Err(format!("it names another shard than its key's, {}", quoted(shard)));
    }
    match param("leaf") {
        None => Ok(()),
        Some(leaf) if leaf.as_bytes() == Some(&record.leaf_hash) => Ok(()),
        Some(_) => Err("it names another record leaf".into()),
    }
}

/// `Colophon-Log`: a checkpoint of the same log, signed by it. Gives the key.
fn check_gossip(value: &str, log: &LogSide, trust: Option<&Trust>) -> Result<Option<PublicKey>, String> {
    let item = parse_item(value).map_err(|error| error.to_string())?;
    let param = |name: &str| item.params.get(name);
    let bytes = |name: &str| param(name).and_then(BareItem::as_bytes);
    let (Some(origin), Some(size), Some(root), Some(signature), 3) = (
        item.value.as_string(),
        param("size").and_then(BareItem::as_integer).and_then(|size| u64::try_from(size).ok()),
        bytes("root").and_then(|root| <[u8; 32]>::try_from(root).ok()),
        bytes("sig"),
        item.params.iter().count(),
    ) else {
        return Err("not an origin with size, root and sig".into());
    };
    let checkpoint = Checkpoint { origin: origin.to_owned(), size, root };
    let Some(proof) = &log.proof else { return Err("cannot be compared without the log proof".into()) };
    if checkpoint.origin != proof.checkpoint.origin {
        return Err(format!(
            "it names the log {}, the receipt's is {}",
            quoted(origin),
            quoted(&proof.checkpoint.origin)
        ));
    }
    same_tree(&checkpoint, &proof.checkpoint)?;
    let Some(trust) = trust else { return Ok(None) };
    let text = checkpoint.to_text();
    let signed = |key: &&PublicKey| key.verify(text.as_bytes(), signature).is_ok();
    let keys = trust.keys_of(origin);
    let key = keys.iter().filter_map(|key| key.public_key()).find(signed).copied();
    key.map(Some).ok_or_else(|| "no trusted key of this log signed that tree head".into())
}
