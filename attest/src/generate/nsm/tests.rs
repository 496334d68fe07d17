use super::*;
use crate::simulate::{DEFAULT_SEED, Faults, Simulation};
use crate::{Collateral, Platform, Question, Refusal, Report, verify};
use colophon_receipt::level::Level;
use minicbor::data::Type;
use minicbor::{Decoder, Encoder};
use std::collections::BTreeMap;

const AT: u64 = 1_795_651_200;

/// A module whose documents a simulation makes. Requests leave and answers come as AWS's library codes them; the other side
/// is read and written by hand, as the protocol has it.
struct Fake(fn(&mut Encoder<Vec<u8>>, &[u8]));

/// `{"Attestation": {"user_data", "nonce", "public_key"}}`, each bytes or null.
fn read(request: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut decoder = Decoder::new(request);
    assert_eq!(decoder.map().unwrap(), Some(1));
    assert_eq!(decoder.str().unwrap(), "Attestation");
    assert_eq!(decoder.map().unwrap(), Some(3));
    let mut given = BTreeMap::new();
    for _ in 0..3 {
        let name = decoder.str().unwrap().to_owned();
        match decoder.datatype().unwrap() {
            Type::Null => decoder.null().unwrap(),
            _ => drop(given.insert(name, decoder.bytes().unwrap().to_vec())),
        }
    }
    assert_eq!(decoder.position(), request.len());
    given
}

impl Module for Fake {
    fn ask(&mut self, request: Request) -> Response {
        let mut given = read(&serde_cbor::to_vec(&request).unwrap());
        let mut taken = |name: &str| given.remove(name).unwrap_or_default();
        let (user_data, nonce) = (taken("user_data"), taken("nonce"));
        assert!(given.is_empty(), "no key is asked to be in it");
        let made = Simulation::new(DEFAULT_SEED).nitro(&user_data, &nonce, AT, Faults::default());
        let Evidence::Nitro { document } = made else { panic!("no document") };
        let mut answer = Encoder::new(Vec::new());
        (self.0)(&mut answer, &document);
        serde_cbor::from_slice(answer.writer()).unwrap()
    }
}

fn good(answer: &mut Encoder<Vec<u8>>, document: &[u8]) {
    let inner = answer.map(1).unwrap().str("Attestation").unwrap().map(1).unwrap();
    inner.str("document").unwrap().bytes(document).unwrap();
}

fn judge(evidence: &Evidence, nonce: &[u8], user_data: &[u8]) -> Result<Report, Refusal> {
    let roots = Simulation::new(DEFAULT_SEED).roots();
    let question = Question {
        at: AT,
        nonce: Some(nonce),
        report_data: Some(user_data),
        simulated: Some(&roots),
        ..Question::default()
    };
    verify(evidence, &Collateral::default(), &question)
}

#[test]
fn a_document_is_asked_for_in_the_modules_own_form_and_verifies() {
    let (user_data, nonce) = ([7; 64], [8; 32]);
    let evidence = document(&mut Fake(good), &user_data, &nonce).unwrap();
    let report = judge(&evidence, &nonce, &user_data).unwrap();
    assert_eq!((report.platform, report.highest_level()), (Platform::Nitro, Level::Sign));
    assert!(report.is_simulated());
    assert_eq!(judge(&evidence, &[9; 32], &user_data).unwrap_err().code(), "nonce");
    assert_eq!(judge(&evidence, &nonce, &[9; 64]).unwrap_err().code(), "report-data");
    // What is not given is null, not empty.
    let evidence = document(&mut Fake(good), &user_data, &[]).unwrap();
    assert!(judge(&evidence, &[], &user_data).is_ok());
}

#[test]
fn what_the_module_refuses_or_says_otherwise_is_an_error() {
    let asked = |answer: fn(&mut Encoder<Vec<u8>>, &[u8])| {
        document(&mut Fake(answer), &[7; 64], &[8; 32]).unwrap_err().to_string()
    };
    let refused = asked(|answer, _| {
        answer.map(1).unwrap().str("Error").unwrap().str("InvalidArgument").unwrap();
    });
    assert!(refused.contains("InvalidArgument"), "{refused}");
    let other = asked(|answer, _| {
        answer.str("LockPCR").unwrap();
    });
    assert!(other.contains("something else"), "{other}");
    let endless = asked(|answer, _| good(answer, &[0; MAX_DOCUMENT + 1]));
    assert!(endless.contains("something else"), "{endless}");
    let long = document(&mut Fake(good), &[7; MAX_DATA + 1], &[]).unwrap_err().to_string();
    assert!(long.contains("512"), "{long}");
    let error = open(Path::new("/nowhere/nsm")).unwrap_err();
    assert!(matches!(&error, GenerateError::Unavailable(why) if why.contains("no Nitro")), "{error}");
}

/// What is no device answers no request, and that is an error like any other.
#[test]
fn a_file_that_is_no_device_is_an_error() {
    let mut file = tempfile::tempfile().unwrap();
    let error = document(&mut file, &[7; 64], &[]).unwrap_err().to_string();
    assert!(error.contains("InternalError"), "{error}");
}
