//! Whole receipts made from real keys, for tests and benchmarks: a log of several leaves, a shard and its announcement,
//! a batch of records, signatures over the answer. Every part can be bent before it is signed.
#![allow(clippy::expect_used)] // Only tests and benchmarks call this, and they should fail loudly.

use colophon_receipt::checkpoint::{Checkpoint, TlogProof};
use colophon_receipt::evidence::{EvidenceLeaf, Verdict, draw_id, no_evidence};
use colophon_receipt::fields::{self, *};
use colophon_receipt::merkle::{self, Hash, leaf_hash, sha256};
use colophon_receipt::receipt::{
    Anchor, AnnouncementPart, BatchPart, Bytes, EvidencePart, FORMAT, Field, HttpSignature, KeyEvidencePart,
    NOTICE, OpenedField, Receipt, RecordPart, RoundPart, WithheldField,
};
use colophon_receipt::record::{FieldSet, Record, RecordLeaf, field_hash, id_text, salt, seal_sampled};
use colophon_receipt::statement::{
    ANNOUNCEMENT_TYPE, Announcement, Counters, Genesis, STATEMENT_TYPE, Statement, payload_hash,
};
use colophon_receipt::{Level, Outcome};
use colophon_signer::Ed25519Key;
use colophon_signer::cose::sign_statement;
use colophon_signer::httpsig::{Component, Params, shorten, signature_base, signature_value};
use colophon_signer::note::{Note, NoteAlgorithm, VerifierKey, cosignature_line, sign_note};
use colophon_signer::rfc3161::testing::Tsa;
use colophon_signer::sf::push_bytes;

use crate::Trust;

/// When everything here happens, µs: 14 November 2026.
pub const NOW: u64 = 1_794_652_800_000_000;

/// The salt of evidence about the key.
const SALT: [u8; 16] = [5; 16];

/// Which signatures leave with the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signing {
    /// None.
    Unsigned,
    /// One over a buffered answer.
    Whole,
    /// One over a stream's head, one over its end.
    Stream,
    /// A stream that was cut: its head only.
    OpenOnly,
}

/// Makes an attestation document about a key.
pub type DocumentOf = fn([u8; 32]) -> Vec<u8>;

/// Bends an evidence leaf.
pub type Bend = fn(&mut EvidenceLeaf);

/// A signature base, and the signature over it.
pub type SignedBase = (String, Vec<u8>);

/// What a signature covers: (name, `req`, `tr`, value) each.
pub type Covered = Vec<(String, bool, bool, String)>;

/// What to make. Change what a test is about, and leave the rest.
#[derive(Clone)]
pub struct Plan {
    /// Chooses the log's key.
    pub log_key: u8,
    /// The log.
    pub origin: String,
    /// The shard.
    pub shard: String,
    /// The level granted and promised.
    pub level: Level,
    /// Threshold and target of a draw.
    pub draw: Option<(u64, Level)>,
    /// The policy that the field names.
    pub policy: Option<Hash>,
    /// The rule that decided.
    pub rule: &'static str,
    /// How the field says that the rule samples.
    pub how: Option<&'static str>,
    /// The round in the receipt.
    pub round: Option<RoundPart>,
    /// Whether "drawn but not done" was logged, and bends that leaf.
    pub evidence: Option<Bend>,
    /// The document of evidence about this key that was logged later, instead, and bends its leaf.
    pub key_evidence: Option<(DocumentOf, Bend)>,
    /// The attestation document of the server that answered, and what it signed: a signature base, and the signature.
    pub upstream: Option<(Vec<u8>, Option<SignedBase>)>,
    /// Records in the batch.
    pub records: usize,
    /// Which of them the receipt is about.
    pub index: usize,
    /// Whether the announcement is proved in the tree that was there before the statement; receipts that a proxy gives out have it
    /// in the statement's own.
    pub apart: bool,
    /// Entries in the log after the statement.
    pub later_entries: usize,
    /// Signatures of the answer.
    pub signing: Signing,
    /// Whether an earlier key signed the answer and another one the statement, as after a crash.
    pub earlier_key: bool,
    /// Fields to withhold.
    pub withheld: Vec<u8>,
    /// The request's body.
    pub request: Vec<u8>,
    /// The response's body.
    pub response: Vec<u8>,
    /// Digest of the upstream's trailers.
    pub trailers: Option<Hash>,
    /// `Colophon-Client-Nonce`.
    pub nonce: Option<String>,
    /// Digests of what request and answer say.
    pub semantic: Semantic<'static>,
    /// The path recorded.
    pub path: String,
    /// Timestamps over the checkpoint: the TSA and the time, µs.
    pub anchors: Vec<(Tsa, u64)>,
    /// The timestamp that the statement names.
    pub beacon: Option<(Tsa, u64)>,
    /// Bends the statement before it is signed.
    pub statement: fn(&mut Statement),
    /// Bends the announcement before its proof of possession.
    pub announcement: fn(&mut Announcement),
    /// Bends the announcement after it.
    pub announced: fn(&mut Announcement),
    /// Bends what a signature of the answer covers.
    pub covered: fn(&mut Covered),
    /// Bends a record leaf before the batch is built over it.
    pub leaf: fn(&mut colophon_receipt::record::RecordLeaf),
    /// Makes the published checkpoint from its text and the signed note: for witnesses' lines.
    pub cosign: fn(&str, String) -> String,
}

impl Default for Plan {
    fn default() -> Plan {
        Plan {
            log_key: 1,
            origin: "log.example/2026".into(),
            shard: "clinic/5d1f0c9a".into(),
            level: Level::Sign,
            draw: None,
            policy: None,
            rule: "chat",
            how: None,
            round: None,
            evidence: None,
            key_evidence: None,
            upstream: None,
            records: 5,
            index: 3,
            apart: false,
            later_entries: 2,
            signing: Signing::Whole,
            earlier_key: false,
            withheld: vec![fields::DECISION],
            request: br#"{"model":"med-7b","messages":[]}"#.to_vec(),
            response: br#"{"id":"chatcmpl-1","object":"chat.completion"}"#.to_vec(),
            trailers: None,
            nonce: None,
            semantic: Semantic::default(),
            path: "/v1/chat/completions".into(),
            anchors: vec![],
            beacon: None,
            statement: |_| {},
            announcement: |_| {},
            announced: |_| {},
            covered: |_| {},
            leaf: |_| {},
            cosign: |_, note| note,
        }
    }
}

/// A receipt with what belongs to it.
pub struct Made {
    /// The receipt.
    pub receipt: Receipt,
    /// The log's verifier key.
    pub vkey: VerifierKey,
    /// The request's body.
    pub request: Vec<u8>,
    /// The response's body.
    pub response: Vec<u8>,
    /// The response's head as it would be saved, its empty line included.
    pub head: String,
    /// The trailers of a stream, as lines.
    pub trailers: String,
}

impl Made {
    /// The receipt's file.
    pub fn file(&self) -> Vec<u8> {
        self.receipt.to_json().expect("a receipt can be written")
    }

    /// Trust in the log.
    pub fn trust(&self) -> Trust {
        Trust::in_logs(vec![self.vkey.clone()])
    }

    /// The trust file.
    pub fn trust_file(&self, require: &str) -> String {
        format!(
            r#"{{"format":"colophon-trust-v1","logs":[{{"origin":"{}","vkey":"{}"}}],"witnesses":[],"tsa_roots":[],"require":{require}}}"#,
            self.vkey.name(),
            self.vkey
        )
    }
}

/// The verifier key of the witness of this number.
pub fn witness(number: u8) -> VerifierKey {
    let name = format!("witness.example/{number}");
    VerifierKey::new(&name, NoteAlgorithm::CosignatureV1, key(number).public_key()).expect("a key name")
}

/// The line of the witness of this number, a minute after [`NOW`].
pub fn cosignature(number: u8, text: &str) -> String {
    let time = NOW / 1_000_000 + 60;
    cosignature_line(text, witness(number).name(), time, &key(number)).expect("a line")
}

/// The key of this number.
pub fn key(number: u8) -> Ed25519Key {
    Ed25519Key::from_seed(&[number; 32]).expect("every seed is a key")
}

impl Plan {
    /// Makes it.
    pub fn make(&self) -> Made {
        let log = key(self.log_key);
        let shard = key(11);
        let earlier = key(12);
        let vkey =
            VerifierKey::new(&self.origin, NoteAlgorithm::Ed25519, log.public_key()).expect("a key name");
        let records: Vec<Record> = (0..self.records).map(|number| self.record(number)).collect();
        let mut leaves: Vec<Vec<u8>> = records.iter().map(|record| record.leaf.clone()).collect();
        let record = &records[self.index];
        leaves[self.index] = self.bent_leaf(record);
        let hashes: Vec<Hash> = leaves.iter().map(|leaf| leaf_hash(leaf)).collect();

        let announcement = self.announce(&self.shard, &shard);
        let statement = self.state(&announcement, &hashes);
        let mut entries = vec![self.genesis(&vkey)];
        let cose = |payload: &[u8], kind, sub: &str, key| {
            sign_statement(payload, kind, &self.origin, sub, key).expect("a key in memory signs")
        };
        if self.earlier_key {
            entries.push(cose(
                &self.announce("clinic/00000000", &earlier),
                ANNOUNCEMENT_TYPE,
                "clinic/00000000",
                &log,
            ));
        }
        let announced_at = entries.len();
        entries.push(cose(&announcement, ANNOUNCEMENT_TYPE, &self.shard, &log));
        entries.push(b"another shard's statement".to_vec());
        let stated_at = entries.len();
        entries.push(cose(&statement, STATEMENT_TYPE, &self.shard, &shard));
        let evidence = match self.key_evidence {
            Some((document, bend)) => {
                let document = document(shard.public_key().0);
                Some(self.about_key(&statement, &announcement, &document, bend))
            }
            None => self.evidence(&statement, &leaves[self.index]),
        };
        let evidence = evidence.map(|(leaf, payload)| {
            entries.push(cose(&payload, STATEMENT_TYPE, &self.shard, &shard));
            (leaf, entries.len() - 1)
        });
        entries.extend((0..self.later_entries).map(|n| format!("entry {n}").into_bytes()));

        let tree: Vec<Hash> = entries.iter().map(|entry| leaf_hash(entry)).collect();
        let prove = |index: usize, size: usize| self.prove(&tree[..size], index, &log);
        let mut announcements = vec![AnnouncementPart {
            statement: Bytes(entries[announced_at].clone()),
            log_proof: prove(announced_at, if self.apart { stated_at } else { tree.len() }),
        }];
        if self.earlier_key {
            announcements.push(AnnouncementPart {
                statement: Bytes(entries[1].clone()),
                log_proof: prove(1, tree.len()),
            });
        }
        let (signer, shard_name) =
            if self.earlier_key { (&earlier, "clinic/00000000") } else { (&shard, self.shard.as_str()) };
        let gossip = Checkpoint { origin: self.origin.clone(), size: 1, root: tree[0] };
        let mut head = self.head();
        let mut trailers = String::new();
        let mut http_signatures = Vec::new();
        for tag in self.tags() {
            let covered = self.covered(tag, &leaves[self.index], record, shard_name, &gossip, &log);
            let close = tag.ends_with("close");
            let lines = if close { &mut trailers } else { &mut head };
            let label = if close { "colophon-close" } else { "colophon" };
            http_signatures.push(sign_answer(&covered, tag, label, signer, lines));
        }
        head.push_str("\r\n");

        let log_proof = prove(stated_at, tree.len());
        let batch_path = merkle::inclusion_proof(&hashes, self.index).expect("the record is in the batch");
        let evidence = evidence.map(|(leaf, at)| EvidencePart {
            leaf: Bytes(leaf),
            batch: BatchPart { index: 0, path: vec![] },
            statement: Bytes(entries[at].clone()),
            log_proof: prove(at, tree.len()),
            announcement: None,
            proof: None,
        });
        let (evidence, key_evidence) = match self.key_evidence {
            Some((document, _)) => (
                None,
                evidence.map(|logged| KeyEvidencePart {
                    document: Bytes(document(shard.public_key().0)),
                    salt: Bytes(SALT.to_vec()),
                    logged,
                }),
            ),
            None => (evidence, None),
        };
        let receipt = Receipt {
            format: FORMAT.into(),
            notice: NOTICE.into(),
            record: RecordPart { leaf: Bytes(leaves[self.index].clone()), fields: self.fields(record) },
            batch: BatchPart {
                index: self.index as u64,
                path: batch_path.iter().map(|hash| Bytes(hash.to_vec())).collect(),
            },
            statement: Bytes(entries[stated_at].clone()),
            anchors: self.anchors(&log_proof),
            log_proof,
            announcements,
            http_signatures,
            beacon: self.beacon_token().map(Bytes),
            upstream_evidence: self.upstream.as_ref().map(|(document, _)| Bytes(document.clone())),
            key_evidence,
            round: self.round.clone(),
            evidence: evidence.into_iter().collect(),
        };
        let (request, response) = (self.request.clone(), self.response.clone());
        Made { receipt, vkey, request, response, head, trailers }
    }

    fn record(&self, number: usize) -> Record {
        let body = |bytes: &[u8]| BodyDigest { digest: sha256(bytes), size: bytes.len() as u64 };
        let mut set = FieldSet::new();
        body(&self.request).write(REQUEST_BODY, &mut set);
        let line = RequestLine {
            method: Some(b"POST".into()),
            path: Some(self.path.as_bytes().into()),
            query: Some(sha256(b"beta=true")),
            authority: Some(b"llm.example".into()),
            ..RequestLine::default()
        };
        line.write(REQUEST_LINE, &mut set);
        body(&self.response).write(RESPONSE_BODY, &mut set);
        let head = ResponseHead {
            status: Some(200),
            content_type: Some(b"application/json".into()),
            trailers: self.trailers,
            ..ResponseHead::default()
        };
        head.write(RESPONSE_HEAD, &mut set);
        let model = Model {
            requested: Some(b"med-7b".into()),
            reported: Some("med-7b\u{202e}\u{1b}[2J".as_bytes().into()),
            ..Model::default()
        };
        model.write(MODEL, &mut set);
        let decision = DecisionField {
            rule: Some(self.rule.as_bytes().into()),
            granted: Some(self.level.code()),
            policy: self.policy,
            draw: self.how.map(Into::into),
            ..DecisionField::default()
        };
        self.semantic.write(SEMANTIC, &mut set);
        let upstream = self
            .upstream
            .as_ref()
            .map(|(document, _)| Upstream { evidence: Some(sha256(document)), ..Upstream::default() });
        decision.write(DECISION, &mut set);
        let context = Context {
            nonce: self.nonce.as_deref().map(|nonce| nonce.as_bytes().into()),
            ..Context::default()
        };
        context.write(CONTEXT, &mut set);

        upstream.unwrap_or_default().write(UPSTREAM, &mut set);
        if let Some((_, Some((base, signature)))) = &self.upstream {
            let base = shorten(base, &sha256(&self.request), &sha256(&self.response));
            let signed = UpstreamSigned { base: Some(base.into()), signature: Some(signature.into()) };
            signed.write(UPSTREAM_SIGNED, &mut set);
        }

        let mut id = [0; 16];
        id[..6].copy_from_slice(&(NOW / 1000).to_be_bytes()[2..]);
        (id[6], id[8], id[15]) = (0x70, 0x80, number as u8);
        let seed = [number as u8; 32];
        let at = NOW + 1000 + number as u64;
        seal_sampled(id, at, self.level, Outcome::Complete, seed, set, self.draw)
    }

    fn bent_leaf(&self, record: &Record) -> Vec<u8> {
        let mut leaf =
            colophon_receipt::record::RecordLeaf::decode(&record.leaf).expect("a leaf that seal wrote");
        (self.leaf)(&mut leaf);
        leaf.encode()
    }

    fn fields(&self, record: &Record) -> Vec<Field> {
        let part = |(number, encoded): (u8, &[u8])| {
            let salt = salt(&record.seed, number);
            if self.withheld.contains(&number) {
                let hash = Bytes(field_hash(&salt, encoded).to_vec());
                Field::Withheld(WithheldField { number, hash })
            } else {
                Field::Opened(OpenedField {
                    number,
                    salt: Bytes(salt.to_vec()),
                    value: Bytes(encoded.to_vec()),
                })
            }
        };
        record.fields.iter().map(part).collect()
    }

    fn announce(&self, shard: &str, key: &Ed25519Key) -> Vec<u8> {
        let mut announcement = Announcement {
            shard: shard.to_owned(),
            public_key: key.public_key().0,
            not_before: NOW - 60_000_000,
            not_after: NOW + 86_400_000_000,
            origin: self.origin.clone(),
            predecessor: None,
            proof: [0; 64],
            attestation: None,
        };
        (self.announcement)(&mut announcement);
        announcement.proof = key.sign(&announcement.proof_message());
        (self.announced)(&mut announcement);
        announcement.encode()
    }

    fn state(&self, announcement: &[u8], batch: &[Hash]) -> Vec<u8> {
        let count = batch.len() as u64;
        let mut statement = Statement {
            shard: self.shard.clone(),
            seq: 0,
            count,
            root: merkle::root(batch),
            previous: payload_hash(announcement),
            from: NOW,
            to: NOW + 1_000_000,
            beacon: self.beacon_token().map(|token| sha256(&token)),
            cumulative_exchanges: count,
            cumulative_evidence: 0,
            bypasses: Vec::new(),
            rules: Default::default(),
            policy: sha256(b"policy"),
            counters: Counters {
                received: count + 3,
                recorded: count,
                passed: 2,
                open: 1,
                ..Counters::default()
            },
        };
        (self.statement)(&mut statement);
        statement.encode()
    }

    /// The leaf of the record's evidence, and the statement of its batch.
    fn evidence(&self, record: &[u8], leaf: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
        let bend = self.evidence?;
        let before = Statement::decode(record).expect("a statement that state wrote");
        let record_leaf = RecordLeaf::decode(leaf).expect("a record leaf");
        let (subject, at) = (leaf_hash(leaf), before.to + 1_500_000_000);
        let mut evidence = EvidenceLeaf {
            id: draw_id(before.to, &record_leaf.id, &subject, Level::Zk),
            at,
            subject,
            kind: Level::Zk,
            commitment: no_evidence(),
            verdict: Verdict::NotDone,
        };
        bend(&mut evidence);
        Some(logged(before, &evidence, at))
    }

    /// The leaf of evidence about the key, and the statement of its batch.
    fn about_key(
        &self,
        record: &[u8],
        announcement: &[u8],
        document: &[u8],
        bend: Bend,
    ) -> (Vec<u8>, Vec<u8>) {
        let before = Statement::decode(record).expect("a statement that state wrote");
        let mut evidence = EvidenceLeaf {
            id: [0x77; 16],
            at: before.to + 1_000_000,
            subject: payload_hash(announcement),
            kind: Level::Tee,
            commitment: sha256(&[&SALT[..], &sha256(document)].concat()),
            verdict: Verdict::Holds,
        };
        let at = evidence.at;
        bend(&mut evidence);
        logged(before, &evidence, at)
    }

    fn genesis(&self, vkey: &VerifierKey) -> Vec<u8> {
        let (origin, vkeys) = (self.origin.clone(), vec![vkey.to_string()]);
        Genesis { origin, vkeys, inception: NOW - 120_000_000, predecessor: None }.encode()
    }

    fn prove(&self, tree: &[Hash], index: usize, log: &Ed25519Key) -> String {
        let head =
            Checkpoint { origin: self.origin.clone(), size: tree.len() as u64, root: merkle::root(tree) };
        let text = head.to_text();
        let checkpoint = sign_note(&text, &self.origin, log).expect("a note");
        let checkpoint = (self.cosign)(&text, checkpoint);
        let path = merkle::inclusion_proof(tree, index).expect("an entry of the tree");
        TlogProof { index: index as u64, path, checkpoint }.to_text()
    }

    /// Timestamps over the checkpoint in a proof.
    fn anchors(&self, proof: &str) -> Vec<Anchor> {
        let (_, checkpoint) = proof.split_once("\n\n").expect("a proof");
        let note = Note::parse(checkpoint).expect("a note");
        let imprint = sha256(note.with_only(&self.origin).expect("the log's line").as_bytes());
        let anchor = |(tsa, time): &(Tsa, u64)| Anchor::Rfc3161(Bytes(tsa.token(&imprint, *time, None)));
        self.anchors.iter().map(anchor).collect()
    }

    /// The beacon dates an earlier checkpoint.
    fn beacon_token(&self) -> Option<Vec<u8>> {
        self.beacon.as_ref().map(|(tsa, time)| tsa.token(&[9; 32], *time, Some(&[1, 2, 3])))
    }

    fn tags(&self) -> Vec<&'static str> {
        match self.signing {
            Signing::Unsigned => vec![],
            Signing::Whole => vec!["colophon-v1"],
            Signing::Stream => vec!["colophon-v1-open", "colophon-v1-close"],
            Signing::OpenOnly => vec!["colophon-v1-open"],
        }
    }

    fn head(&self) -> String {
        let trailer = match self.signing {
            Signing::Stream => {
                "Trailer: Content-Digest, Colophon-Record, Signature-Input, Signature\r\nTransfer-Encoding: chunked\r\n"
            }
            _ => "",
        };
        format!("HTTP/1.1 200 OK\r\nServer: vllm\r\n{trailer}")
    }

    /// (name, req, tr, value) as the signature of `tag` covers them.
    fn covered(
        &self,
        tag: &str,
        leaf: &[u8],
        record: &Record,
        shard: &str,
        gossip: &Checkpoint,
        log: &Ed25519Key,
    ) -> Covered {
        let digest = |bytes: &[u8]| {
            let mut value = "sha-256=".to_owned();
            push_bytes(&mut value, &sha256(bytes));
            value
        };
        let mut id = [0; 16];
        id.copy_from_slice(&record.leaf[5..21]);
        let mut promise = format!("\"{}\";level={};shard=\"{shard}\"", id_text(&id), self.level);
        if tag != "colophon-v1-open" {
            promise.push_str(";leaf=");
            push_bytes(&mut promise, &leaf_hash(leaf));
        }
        let mut head = format!("\"{}\";size={};root=", gossip.origin, gossip.size);
        push_bytes(&mut head, &gossip.root);
        head.push_str(";sig=");
        push_bytes(&mut head, &log.sign(gossip.to_text().as_bytes()));

        let close = tag == "colophon-v1-close";
        let mut covered = vec![("@status".into(), false, false, "200".into())];
        if !close {
            covered.push(("content-type".into(), false, false, "application/json".into()));
        }
        if tag != "colophon-v1-open" {
            covered.push(("content-digest".into(), false, close, digest(&self.response)));
        }
        covered.push(("colophon-request-digest".into(), false, false, digest(&self.request)));
        covered.push(("colophon-record".into(), false, close, promise));
        if !close {
            covered.push(("colophon-log".into(), false, false, head));
        }
        covered.push(("@method".into(), true, false, "POST".into()));
        covered.push(("@path".into(), true, false, self.path.clone()));
        covered.push(("@query".into(), true, false, "?beta=true".into()));
        if let (Some(nonce), false) = (&self.nonce, close) {
            covered.push(("colophon-client-nonce".into(), true, false, nonce.clone()));
        }
        (self.covered)(&mut covered);
        covered
    }
}

/// The leaf, and the statement of its batch, which follows `before` and ends at `to`.
fn logged(before: Statement, evidence: &EvidenceLeaf, to: u64) -> (Vec<u8>, Vec<u8>) {
    let (record, evidence) = (before.encode(), evidence.encode());
    let statement = Statement {
        seq: before.seq + 1,
        count: 1,
        root: leaf_hash(&evidence),
        previous: payload_hash(&record),
        from: before.to,
        to,
        cumulative_evidence: before.cumulative_evidence + 1,
        ..before
    };
    (evidence, statement.encode())
}

/// Signs, and appends the header or trailer lines to `lines`.
fn sign_answer(
    covered: &[(String, bool, bool, String)],
    tag: &str,
    label: &str,
    signer: &Ed25519Key,
    lines: &mut String,
) -> HttpSignature {
    let components: Vec<Component<'_>> =
        covered.iter().map(|(name, req, tr, value)| Component { name, req: *req, tr: *tr, value }).collect();
    let keyid = signer.public_key().key_id_hex();
    let params = Params { created: NOW / 1_000_000, keyid: &keyid, tag };
    let base = signature_base(&components, &params).expect("values that can be covered");
    let signature = signer.sign(base.as_bytes());
    let in_trailers = label == "colophon-close";
    for component in components.iter().filter(|c| !c.req && !c.name.starts_with('@') && c.tr == in_trailers) {
        lines.push_str(&format!("{}: {}\r\n", component.name, component.value));
    }
    lines.push_str(&format!("Signature-Input: {}\r\n", base.signature_input(label)));
    lines.push_str(&format!("Signature: {}\r\n", signature_value(label, &signature)));
    HttpSignature { base: base.as_str().to_owned(), signature: Bytes(signature.to_vec()) }
}
