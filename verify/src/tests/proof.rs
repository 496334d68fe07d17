//! Proofs in receipts: what counts, and everything that must not be taken for one.

use super::*;
use crate::proof::{Accepted, NotProven, ProofVerifier, TokenReader};
use crate::trust::Circuit;
use colophon_receipt::Hash;
use colophon_receipt::evidence::{EvidenceLeaf, Verdict as Came, asked_id};
use colophon_receipt::proof::{MAX_ARTEFACT, Proof, Statement};
use colophon_receipt::receipt::ProofPart;
use colophon_signer::ec::EcKey;
use colophon_signer::model::{Authority, Manifest, ModelCertificate, Terms};
use std::sync::Arc;

const SALT: [u8; 16] = [7; 16];

/// What a test changes of a proof, and of the leaf that commits to it.
type Bend = (fn(&mut Proof), fn(&mut EvidenceLeaf));

/// Accepts one artefact, as a prover's own verifier would.
struct Only(&'static [u8], Option<&'static str>);

/// The same, saying which SRS it looked with.
struct With(Option<&'static str>, &'static str);

impl ProofVerifier for With {
    fn verify(&self, statement: &Statement, artefact: &[u8]) -> Result<Accepted, NotProven> {
        let accepted = Only(b"artefact", Some(self.1)).verify(statement, artefact)?;
        Ok(Accepted { srs: self.0.map(|byte| byte.repeat(32)), ..accepted })
    }
}

impl ProofVerifier for Only {
    fn verify(&self, statement: &Statement, artefact: &[u8]) -> Result<Accepted, NotProven> {
        if statement.circuit != circuit() {
            return Err(NotProven::Unknown("no such circuit here".into()));
        }
        match artefact == self.0 {
            true => Ok(Accepted { setup: self.1.map(str::to_owned), ..Accepted::default() }),
            false => Err(NotProven::Refused("it proves another score".into())),
        }
    }
}

fn circuit() -> String {
    "cd".repeat(32)
}

fn proof(subject: Hash) -> Proof {
    Proof {
        format: Proof::FORMAT.into(),
        statement: serde_json::from_value(serde_json::json!({
            "format": Statement::FORMAT,
            "record": hex::encode(subject),
            "circuit": circuit(),
            "quantisation": "fixed point",
            "features": {"status": 50, "streamed": 0},
        }))
        .unwrap(),
        prover: "p 1".into(),
        hides: false,
        setup: Some("ceremony".into()),
        artefact: Bytes(b"artefact".to_vec()),
    }
}

/// The same with its salt, as a receipt has it.
pub(crate) fn part(subject: Hash) -> ProofPart {
    ProofPart { salt: Bytes(SALT.to_vec()), proof: proof(subject) }
}

/// A record with a leaf that commits to this proof, and the proof in the receipt.
fn made(bend: fn(&mut Proof), leaf: fn(&mut EvidenceLeaf)) -> Made {
    made_of(Plan { draw: Some((u64::MAX, Level::Zk)), ..Plan::default() }, bend, leaf)
}

fn made_of(plan: Plan, bend: fn(&mut Proof), leaf: fn(&mut EvidenceLeaf)) -> Made {
    // A function of a plan captures nothing, so the proof's commitment is put in by a second making.
    thread_local! {
        static BEND: std::cell::Cell<Option<Bend>> = const { std::cell::Cell::new(None) };
    }
    BEND.set(Some((bend, leaf)));
    let evidence = |leaf: &mut EvidenceLeaf| {
        let (bend, bend_leaf) = BEND.get().unwrap();
        let mut proof = proof(leaf.subject);
        bend(&mut proof);
        leaf.verdict = Came::Holds;
        leaf.commitment = proof.commitment(&SALT).unwrap();
        bend_leaf(leaf);
    };
    let mut made = Plan { evidence: Some(evidence), ..plan }.make();
    let subject = colophon_receipt::merkle::leaf_hash(&made.receipt.record.leaf.0);
    let mut proof = proof(subject);
    bend(&mut proof);
    made.receipt.evidence[0].proof = Some(ProofPart { salt: Bytes(SALT.to_vec()), proof });
    made
}

fn good() -> Made {
    made(|_| {}, |_| {})
}

fn trust(made: &Made) -> Trust {
    let circuits = vec![Circuit { name: "classifier".into(), circuit: circuit() }];
    let mut trust = made.trust();
    trust.circuits = circuits;
    trust
}

fn by(made: &Made, trust: &Trust, prover: Only) -> Report {
    let bodies = Bodies { prover: Some(Arc::new(prover)), ..Bodies::default() };
    verify(&made.file(), Some(trust), &bodies, None)
}

fn seen(made: &Made) -> Report {
    by(made, &trust(made), Only(b"artefact", Some("ceremony")))
}

/// Not bad, and no more than `sign`, because of this.
#[track_caller]
fn counts_for_no_more(report: &Report, why: &str) {
    assert_eq!((report.result, report.verified_level), (Verdict::Trusted, Some(Level::Sign)));
    let check = report.check(checks::PROOF).unwrap();
    assert!(check.status == Status::NotChecked && check.detail.contains(why), "{check:?}");
    assert!(!report.proof.as_ref().unwrap().verified);
}

#[track_caller]
fn refused_because(report: &Report, why: &str) {
    refused_by(report, &[checks::PROOF]);
    let check = report.check(checks::PROOF).unwrap();
    assert!(check.detail.contains(why), "{check:?}");
}

/// Of several none rides along unchecked behind one that is good, and one that counts is told before one that does not.
#[test]
fn each_proof_of_a_receipt_is_checked() {
    let made = good();
    let (trust, evidence) = (trust(&made), &made.receipt.evidence[0]);
    let leaf = EvidenceLeaf::decode(&evidence.leaf.0).unwrap();
    let verifier = Only(b"artefact", Some("ceremony"));
    let bodies = Bodies { prover: Some(Arc::new(verifier)), ..Bodies::default() };
    let whole = evidence.proof.clone().unwrap();
    let mut bent = whole.clone();
    bent.proof.artefact.0.push(0);
    let mut elsewhere = whole.clone();
    elsewhere.proof.statement = proof([9; 32]).statement;
    let came = |parts: &[&ProofPart]| {
        let mut checks = checks::Checks::default();
        let record = crate::record::check(&made.receipt.record, &mut checks).unwrap();
        let proven = parts.iter().map(|part| (*part, &leaf));
        let fields = &made.receipt.record.fields;
        let reader =
            crate::proof::Reader { stamps: &Default::default(), trust: Some(&trust), bodies: &bodies };
        let side = crate::proof::check(proven, &record, fields, &reader, &mut checks);
        side.is_some_and(|side| side.verified)
    };
    assert!(came(&[&whole]) && came(&[&whole, &whole]));
    assert!(!came(&[&whole, &bent]) && !came(&[&whole, &elsewhere]) && !came(&[&bent, &whole]));
    assert!(!came(&[]));
}

#[test]
fn a_proof_counts_by_the_readers_own_program_and_for_a_circuit_that_the_reader_names() {
    let made = good();
    let report = seen(&made);
    assert_eq!((report.result, report.verified_level), (Verdict::Trusted, Some(Level::Zk)));
    assert_eq!(report.claimed_level, Some(Level::Sign), "it was not there when the record was made");
    let shown = report.proof.as_ref().unwrap();
    assert!(shown.verified && shown.name.as_deref() == Some("classifier"), "{shown:?}");
    assert!(
        report.proven.iter().any(|line| line.contains("made the decision in the proof about this record"))
    );
    for said in [
        "neither the answer's truth",
        "it is succinct, not zero-knowledge",
        "That the named model produced it",
    ] {
        assert!(report.not_proven.iter().any(|line| line.contains(said)), "{said}");
    }
    // The word of the operator alone.
    let report = verify(&made.file(), Some(&trust(&made)), &Bodies::default(), None);
    counts_for_no_more(&report, "give --prover-cmd");
    // A circuit that nobody named: whoever makes one decides what it says.
    counts_for_no_more(&by(&made, &made.trust(), Only(b"artefact", Some("ceremony"))), "does not name it");
    // One that the reader's program has not.
    let other = self::made(|proof| proof.statement.circuit = "ee".repeat(32), |_| {});
    counts_for_no_more(&seen(&other), "no such circuit");
    // Without the answer's signature it is about no more than a commitment.
    let unsigned = Plan { draw: Some((u64::MAX, Level::Zk)), signing: Signing::Unsigned, ..Plan::default() };
    let report = seen(&made_of(unsigned, |_| {}, |_| {}));
    assert_eq!(report.verified_level, Some(Level::Commit));
}

#[test]
fn parameters_that_their_maker_can_forge_with_count_only_where_the_reader_says_so() {
    let made = good();
    counts_for_no_more(&by(&made, &trust(&made), Only(b"artefact", Some("local"))), "--allow-local-setup");
    let mut allowed = trust(&made);
    allowed.allow_local_setup = true;
    let report = by(&made, &allowed, Only(b"artefact", Some("local")));
    assert_eq!(report.verified_level, Some(Level::Zk));
    assert!(report.not_proven.iter().any(|line| line.contains("That nobody forged the proof")));
    // The operator's word for them is none, nor is nobody's.
    for setup in [Some("ceremony"), None] {
        let said = match setup {
            Some(_) => good(),
            None => self::made(|proof| proof.setup = None, |_| {}),
        };
        let report = by(&said, &trust(&said), Only(b"artefact", None));
        counts_for_no_more(&report, "does not say that its parameters are a ceremony's");
    }
    let local = self::made(|proof| proof.setup = Some("local".into()), |_| {});
    let unsaid = Only(b"artefact", None);
    counts_for_no_more(&by(&local, &trust(&local), unsaid), "its parameters are local");
}

#[test]
fn a_proof_of_anything_else_is_refused_by_name() {
    refused_because(&by(&good(), &trust(&good()), Only(b"another", None)), "it proves another score");
    // A statement that does not follow from the record, however well it is proven and logged.
    let record = made(|proof| proof.statement.record = "ab".repeat(32), |_| {});
    refused_because(&seen(&record), "about another record");
    let features = made(
        |proof| {
            proof.statement.features.as_mut().unwrap().insert("status".into(), 51);
        },
        |_| {},
    );
    refused_because(&seen(&features), "says \"status\" = 51, from the record's fields follows 50");
    let unknown = made(
        |proof| {
            proof.statement.features.as_mut().unwrap().insert("mood".into(), 1);
        },
        |_| {},
    );
    refused_because(&seen(&unknown), "no feature `mood`");
    let nothing = made(|proof| proof.statement.features = None, |_| {});
    refused_because(&seen(&nothing), "says nothing of the record");
    let empty = made(|proof| proof.statement.features = Some(Default::default()), |_| {});
    refused_because(&seen(&empty), "says nothing of the record");
    let tokens = made(|proof| proof.statement.prompt = Some(vec![1]), |_| {});
    refused_because(&seen(&tokens), "token ids");
    // What is withheld cannot be computed again.
    let withheld = Plan {
        draw: Some((u64::MAX, Level::Zk)),
        withheld: vec![colophon_receipt::fields::RESPONSE_HEAD],
        ..Plan::default()
    };
    let report = seen(&made_of(withheld, |_| {}, |_| {}));
    refused_because(&report, "\"response head\", which is withheld");
    // Empty, and larger than a receipt carries.
    refused_because(&seen(&made(|proof| proof.artefact = Bytes(Vec::new()), |_| {})), "artefact of 0 bytes");
    let large = made(|proof| proof.artefact = Bytes(vec![1; MAX_ARTEFACT + 1]), |_| {});
    refused_because(&seen(&large), "1048577 bytes");
}

#[test]
fn a_proof_that_the_log_did_not_commit_to_is_refused() {
    let alter = |bend: fn(&mut ProofPart)| {
        let mut made = good();
        bend(made.receipt.evidence[0].proof.as_mut().unwrap());
        seen(&made)
    };
    for bend in [
        (|part| part.salt.0[0] ^= 1) as fn(&mut ProofPart),
        |part| part.proof.artefact.0[0] ^= 1,
        |part| part.proof.artefact.0.truncate(3),
        |part| part.proof.prover.push('0'),
        |part| part.proof.setup = None,
        |part| part.proof.hides = true,
        |part| part.proof.statement.circuit = "ee".repeat(32),
    ] {
        refused_because(&alter(bend), "not the proof that the evidence leaf commits to");
    }
    refused_because(&alter(|part| part.salt.0.truncate(15)), "not 16 bytes");
    refused_because(&alter(|part| part.proof.format.push('x')), "colophon-proof-v1x");
    refused_because(&made_that_says_fails(), "the log says fails");
}

fn made_that_says_fails() -> Report {
    seen(&made(|_| {}, |leaf| leaf.verdict = Came::Fails))
}

#[test]
fn what_was_asked_for_needs_no_draw() {
    let asked = |leaf: &mut EvidenceLeaf| {
        // The end of the plans' statements, as `draw_id` had it.
        let to = leaf.id[..6].iter().fold(0, |ms: u64, byte| ms << 8 | u64::from(*byte)) * 1000;
        leaf.id = asked_id(to, &leaf.id, &leaf.subject, Level::Zk);
    };
    let report = seen(&made_of(Plan::default(), |_| {}, asked));
    assert_eq!(
        (report.result, report.verified_level),
        (Verdict::Trusted, Some(Level::Zk)),
        "{:#?}",
        report.checks
    );
    assert_eq!(report.draw, None);
    // About another record it is that one's.
    let report = seen(&made_of(Plan::default(), |_| {}, |_| {}));
    refused_by(&report, &[checks::EVIDENCE]);
}

/// A certificate that names the circuit of these tests, its authority, and a receipt whose proof names the certificate.
struct CertifiedProof {
    made: Made,
    authority: Authority,
    file: Vec<u8>,
}

fn certificate(key: &EcKey, byte: &str) -> Vec<u8> {
    let named = colophon_signer::model::Circuit {
        name: "certified".into(),
        circuit: byte.repeat(32),
        model: "0d".repeat(32),
        settings: "02".repeat(32),
        srs: "05".repeat(32),
        setup: "ceremony".into(),
        quantisation: "fixed point".into(),
    };
    let files = vec![("model.onnx".to_owned(), [0x0d; 32])];
    let manifest = Manifest::of(files, Vec::new(), false).unwrap();
    // The records of the plans are of 1970, for all that is known here.
    let terms = Terms::new("tiny", "1", "Model Lab", 0, u64::MAX).unwrap();
    ModelCertificate::issue(&manifest, terms.with_circuits(vec![named]).unwrap(), key).unwrap()
}

thread_local! {
    static NAMED: std::cell::RefCell<String> = const { std::cell::RefCell::new(String::new()) };
}

fn certified(byte: &str, bend: fn(&mut Proof)) -> CertifiedProof {
    let key = EcKey::generate().unwrap();
    let authority = Authority::new("Model Lab", &key.public_key().unwrap()).unwrap();
    let file = certificate(&key, byte);
    NAMED.set(hex::encode(ModelCertificate::parse(&file).unwrap().digest()));
    thread_local! {
        static MORE: std::cell::Cell<Option<fn(&mut Proof)>> = const { std::cell::Cell::new(None) };
    }
    MORE.set(Some(bend));
    let name = |proof: &mut Proof| {
        proof.statement.model_certificate = Some(NAMED.with_borrow(String::clone));
        proof.statement.weights = Some("0d".repeat(32));
        MORE.get().unwrap()(proof);
    };
    CertifiedProof { made: made(name, |_| {}), authority, file }
}

impl CertifiedProof {
    /// By a reader who trusts the authority and names no circuit.
    fn seen_with(&self, file: Option<&[u8]>, prover: With) -> Report {
        let mut trust = self.made.trust();
        trust.models = vec![self.authority.clone()];
        let circuit = file.map(<[u8]>::to_vec);
        let bodies = Bodies { prover: Some(Arc::new(prover)), circuit, ..Bodies::default() };
        verify(&self.made.file(), Some(&trust), &bodies, None)
    }
}

#[test]
fn a_circuit_of_a_certificate_by_an_authority_of_the_reader_counts() {
    let case = certified("cd", |_| {});
    let report = case.seen_with(Some(&case.file), With(Some("05"), "ceremony"));
    assert_eq!((report.result, report.verified_level), (Verdict::Trusted, Some(Level::Zk)), "{report:#?}");
    let shown = report.proof.as_ref().unwrap();
    assert_eq!(
        (shown.name.as_deref(), shown.certified_by.as_deref()),
        (Some("certified"), Some("Model Lab"))
    );
    assert!(report.proven.iter().any(|line| line.contains("that \"Model Lab\" certified")), "{report:#?}");
    // Without the certificate nobody vouches for the circuit, nor where another authority signed it.
    counts_for_no_more(&case.seen_with(None, With(Some("05"), "ceremony")), "--circuit-cert");
    let mut trust = case.made.trust();
    let other = EcKey::generate().unwrap().public_key().unwrap();
    trust.models = vec![Authority::new("Model Lab", &other).unwrap()];
    let prover = Some(Arc::new(With(Some("05"), "ceremony")) as Arc<dyn ProofVerifier>);
    let bodies = Bodies { prover, circuit: Some(case.file.clone()), ..Bodies::default() };
    let report = verify(&case.made.file(), Some(&trust), &bodies, None);
    counts_for_no_more(&report, "no model authority of your trust file");
    // The certificate's word on the parameters bounds the program's.
    counts_for_no_more(&case.seen_with(Some(&case.file), With(Some("05"), "local")), "--allow-local-setup");
}

#[test]
fn a_proof_under_another_key_model_srs_or_certificate_is_refused_by_name() {
    let good = certified("cd", |_| {});
    let by = |case: &CertifiedProof, srs| case.seen_with(Some(&case.file), With(srs, "ceremony"));
    refused_because(&by(&good, Some("06")), "another SRS");
    counts_for_no_more(&by(&good, None), "does not say with which SRS");
    refused_because(&by(&certified("ee", |_| {}), Some("05")), "another verifying key");
    let model = certified("cd", |proof| proof.statement.weights = Some("0e".repeat(32)));
    refused_because(&by(&model, Some("05")), "another model: the statement has 0e0e");
    let none = certified("cd", |proof| proof.statement.weights = None);
    refused_because(&by(&none, Some("05")), "another model: the statement has none");
    let quantised = certified("cd", |proof| proof.statement.quantisation = "other".into());
    refused_because(&by(&quantised, Some("05")), "another quantisation");
    // A certificate that the statement does not name, and a file that is none.
    let other = certificate(&EcKey::generate().unwrap(), "cd");
    let report = good.seen_with(Some(&other[..]), With(Some("05"), "ceremony"));
    // Of equal content the signed statement is the same, whoever signed: nobody vouches for it then.
    counts_for_no_more(&report, "no model authority of your trust file");
    let other = certificate(&EcKey::generate().unwrap(), "ee");
    refused_because(
        &good.seen_with(Some(&other[..]), With(Some("05"), "ceremony")),
        "another model certificate",
    );
    refused_because(&good.seen_with(Some(b"{}"), With(Some("05"), "ceremony")), "your certificate");
}

/// A draw's proof and one that was asked for may be about circuits of two certificates; the reader gives one of them.
#[test]
fn a_certificate_is_for_the_proof_that_names_it_and_no_fault_of_another() {
    let case = certified("cd", |_| {});
    let evidence = &case.made.receipt.evidence[0];
    let leaf = EvidenceLeaf::decode(&evidence.leaf.0).unwrap();
    let first = evidence.proof.clone().unwrap();
    let mut second = first.clone();
    second.proof.statement.model_certificate = Some("99".repeat(32));
    let of_second = EvidenceLeaf { commitment: second.proof.commitment(&SALT).unwrap(), ..leaf.clone() };
    let mut trust = case.made.trust();
    trust.models = vec![case.authority.clone()];
    let verifier = With(Some("05"), "ceremony");
    let circuit = Some(case.file.clone());
    let bodies = Bodies { prover: Some(Arc::new(verifier)), circuit, ..Bodies::default() };
    let came = |proven: &[(&ProofPart, &EvidenceLeaf)]| {
        let mut checks = checks::Checks::default();
        let record = crate::record::check(&case.made.receipt.record, &mut checks).unwrap();
        let fields = &case.made.receipt.record.fields;
        let reader =
            crate::proof::Reader { stamps: &Default::default(), trust: Some(&trust), bodies: &bodies };
        crate::proof::check(proven.iter().copied(), &record, fields, &reader, &mut checks)
            .map(|side| side.verified)
    };
    assert_eq!(came(&[(&first, &leaf), (&second, &of_second)]), Some(true));
    assert_eq!(came(&[(&second, &of_second), (&first, &leaf)]), Some(true));
    assert_eq!(came(&[(&second, &of_second)]), None, "a certificate that no proof of the receipt names");
}

/// Says which prompt belongs to which request.
struct Reads(&'static [u32], Vec<u8>, Vec<u8>);

impl TokenReader for Reads {
    fn check(&self, statement: &Statement, request: &[u8], response: &[u8]) -> Result<(), NotProven> {
        assert!(request == self.1 && response == self.2, "what was recorded, and nothing else");
        if statement.tokenizer != Some("aa".repeat(32)) {
            return Err(NotProven::Unknown("by another tokenizer".into()));
        }
        match statement.prompt.as_deref() == Some(self.0) {
            true => Ok(()),
            false => Err(NotProven::Refused("another prompt".into())),
        }
    }
}

fn about_tokens(proof: &mut Proof) {
    let statement = &mut proof.statement;
    statement.features = None;
    (statement.prompt, statement.output) = (Some(vec![1, 2]), Some(vec![3]));
    (statement.tokenizer, statement.template) = (Some("aa".repeat(32)), Some("bb".repeat(32)));
    statement.decode = Some("greedy".into());
}

#[test]
fn token_ids_count_by_what_the_readers_folder_makes_of_the_recorded_bodies() {
    let made = made(about_tokens, |_| {});
    let (request, response) = (made.request.clone(), made.response.clone());
    let with = |prompt, request: Option<&[u8]>, response: Option<&[u8]>| {
        let bodies = Bodies {
            prover: Some(Arc::new(Only(b"artefact", Some("ceremony")))),
            tokens: Some(Arc::new(Reads(prompt, made.request.clone(), made.response.clone()))),
            request: request.map(|bytes| Body::from_bytes(Side::Request, bytes)),
            response: response.map(|bytes| Body::from_bytes(Side::Response, bytes)),
            ..Bodies::default()
        };
        verify(&made.file(), Some(&trust(&made)), &bodies, None)
    };
    let good = with(&[1, 2], Some(&request), Some(&response));
    assert_eq!((good.result, good.verified_level), (Verdict::Trusted, Some(Level::Zk)), "{:#?}", good.checks);
    assert_eq!(good.proof.as_ref().unwrap().tokens, Some(1));
    assert!(good.proven.iter().any(|line| line.contains("gives this answer to this request")));
    // As `curl -i` saves it.
    let saved = [b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n".as_slice(), &response].concat();
    let report = with(&[1, 2], Some(&request), Some(&saved));
    assert_eq!(report.verified_level, Some(Level::Zk), "{:#?}", report.checks);
    refused_because(&with(&[1, 9], Some(&request), Some(&response)), "another prompt");
    for (request, response) in [(None, Some(&*response)), (Some(&*request), None)] {
        counts_for_no_more(&with(&[1, 2], request, response), "give --request FILE and --response FILE");
    }
    counts_for_no_more(&seen(&made), "give --model DIR");
    let mut other = response.clone();
    other.push(b' ');
    let report = with(&[1, 2], Some(&request), Some(&other));
    refused_by(&report, &[checks::RESPONSE_BODY]);
    assert_ne!(report.verified_level, Some(Level::Zk));
}

#[test]
fn token_ids_without_all_that_says_what_they_are_are_refused() {
    type Bend = fn(&mut Proof);
    for (bend, why) in [
        ((|proof| proof.statement.output = None) as Bend, "not all that says what they are"),
        (|proof| proof.statement.prompt = None, "not all that says what they are"),
        (|proof| proof.statement.decode = None, "not all that says what they are"),
        (|proof| proof.statement.tokenizer = None, "not all that says what they are"),
        (|proof| proof.statement.template = None, "not all that says what they are"),
        (
            |proof| proof.statement.decode = Some("by mood".into()),
            "a decode rule that this version does not know",
        ),
    ] {
        thread_local! {
            static BEND: std::cell::Cell<Option<Bend>> = const { std::cell::Cell::new(None) };
        }
        BEND.set(Some(bend));
        let bent = made(
            |proof| {
                about_tokens(proof);
                BEND.get().unwrap()(proof);
            },
            |_| {},
        );
        refused_because(&seen(&bent), why);
    }
}
