use super::*;
use crate::testing::{flips, recorded};
use crate::{Collateral, Evidence, SimulatedRoots, verify as verify_evidence};
use colophon_receipt::level::Level;

/// What tpm2-tools writes with `--pcrs_output`: a `TPML_PCR_SELECTION` and lists of digests, as C structures.
fn pcrs_of_tools(file: &[u8]) -> BTreeMap<u8, String> {
    let bits = &file[7..10];
    let numbers = (0..24u8).filter(|n| bits[usize::from(n / 8)] >> (n % 8) & 1 == 1);
    let lists = file[136..].chunks(4 + 8 * 66);
    let digests = lists.flat_map(|list| {
        let count = u32::from_le_bytes(list[..4].try_into().unwrap()) as usize;
        list[4..].chunks(66).take(count).map(|digest| hex::encode(&digest[2..34]))
    });
    numbers.zip(digests).collect()
}

pub(crate) fn quote(kind: &str) -> Option<TpmQuote> {
    let pem = String::from_utf8(recorded(&format!("tpm/ak_{kind}.pem"))?).unwrap();
    let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    Some(TpmQuote {
        message: recorded(&format!("tpm/quote_{kind}.msg"))?,
        signature: recorded(&format!("tpm/quote_{kind}.sig"))?,
        key: base64::Engine::decode(&base64::prelude::BASE64_STANDARD, body).unwrap(),
        pcrs: pcrs_of_tools(&recorded(&format!("tpm/quote_{kind}.pcrs"))?),
        event_log: None,
    })
}

fn allowed() -> SimulatedRoots {
    SimulatedRoots::default()
}

fn ask(quote: &TpmQuote, simulated: Option<&SimulatedRoots>) -> Result<Report, Refusal> {
    let question = Question { simulated, ..Question::default() };
    verify_evidence(&Evidence::Tpm(quote.clone()), &Collateral::default(), &question)
}

#[test]
fn quotes_of_a_software_tpm_are_marked_and_capped() {
    let Some(nonce) = recorded("tpm/qd.hex") else { return };
    let nonce = hex::decode(nonce.trim_ascii()).unwrap();
    for kind in ["ecc", "rsa"] {
        let Some(quote) = quote(kind) else { return };
        assert_eq!(ask(&quote, None).unwrap_err().code(), "simulated");
        let report = ask(&quote, Some(&allowed())).unwrap();
        assert!(report.is_simulated());
        assert_eq!((report.source, report.highest_level()), (Source::OperatorAsserted, Level::Sign));
        assert_eq!(report.report_data.as_ref(), Some(&nonce));
        assert_eq!(report.measurements.len(), 9);
    }
}

#[test]
fn other_pcrs_keys_and_nonces_are_refused() {
    let (Some(ecc), Some(rsa)) = (quote("ecc"), quote("rsa")) else { return };
    let code = |quote: &TpmQuote| ask(quote, Some(&allowed())).unwrap_err().code();
    assert_eq!(code(&TpmQuote { key: rsa.key.clone(), ..ecc.clone() }), "malformed");
    assert_eq!(
        code(&TpmQuote { signature: rsa.signature.clone(), ..rsa.clone() }.with_message(&ecc.message)),
        "signature"
    );
    let mut other = ecc.clone();
    other.pcrs.insert(0, "11".repeat(32));
    assert_eq!(code(&other), "identity");
    let mut fewer = ecc.clone();
    fewer.pcrs.remove(&0);
    assert_eq!(code(&fewer), "malformed");
    let question = Question { nonce: Some(b"other"), simulated: Some(&allowed()), ..Question::default() };
    let refusal = verify_evidence(&Evidence::Tpm(ecc), &Collateral::default(), &question).unwrap_err();
    assert_eq!(refusal.code(), "nonce");
}

impl TpmQuote {
    fn with_message(self, message: &[u8]) -> TpmQuote {
        TpmQuote { message: message.to_vec(), ..self }
    }
}

/// Every bit of the quote and its signature.
#[test]
fn no_flipped_bit_is_accepted() {
    for kind in ["ecc", "rsa"] {
        let Some(quote) = quote(kind) else { return };
        let ask = |quote: &TpmQuote| ask(quote, Some(&allowed())).is_ok();
        let message = |at: usize, mask: u8| {
            let mut quote = quote.clone();
            quote.message[at] ^= mask;
            ask(&quote)
        };
        assert_eq!(flips(0..quote.message.len(), true, message), []);
        let signature = |at: usize, mask: u8| {
            let mut quote = quote.clone();
            quote.signature[at] ^= mask;
            ask(&quote)
        };
        assert_eq!(flips(0..quote.signature.len(), true, signature), []);
    }
}

/// A key that also signs what others hand it proves nothing by a message that only looks like a quote.
#[test]
fn what_no_tpm_generated_as_a_quote_is_refused() {
    use p256::ecdsa::signature::Signer as _;
    use p256::pkcs8::EncodePublicKey as _;
    let Some(quote) = bundle("azure/quote.json") else { panic!("it is in the repository") };
    let key = p256::ecdsa::SigningKey::from_slice(&[7; 32]).unwrap();
    let spki = key.verifying_key().to_public_key_der().unwrap().into_vec();
    let signed = |message: &[u8]| {
        let signature: p256::ecdsa::Signature = key.sign(message);
        let (r, s) = signature.split_bytes();
        let signature = [&[0, 0x18, 0, 0x0b, 0, 32][..], &r, &[0, 32], &s].concat();
        let quote = TpmQuote { signature, key: spki.clone(), ..quote.clone() }.with_message(message);
        ask(&quote, Some(&allowed())).err().map(|refusal| refusal.code())
    };
    assert_eq!(signed(&quote.message), None);
    for (at, byte) in [(0, 0xfe), (3, b'X'), (5, 0x17)] {
        let mut message = quote.message.clone();
        message[at] = byte;
        assert_eq!(signed(&message), Some("malformed"), "{at}");
    }
    assert_eq!(signed(&[&quote.message[..], &[0]].concat()), Some("malformed"), "a byte behind its end");
}

/// An event log of the old head and two events, for the PCRs 0 and 7.
fn event_log(events: &[(u32, u32, &[u8])]) -> Vec<u8> {
    let mut head = b"Spec ID Event03\0".to_vec();
    head.extend([0, 0, 0, 0, 0, 2, 0, 2, 1, 0, 0, 0, 0x0b, 0, 32, 0, 0]);
    let mut log =
        [[0, 0, 0, 0, 3, 0, 0, 0].as_slice(), &[0; 20], &(head.len() as u32).to_le_bytes(), &head].concat();
    for (pcr, kind, data) in events {
        log.extend(pcr.to_le_bytes());
        log.extend(kind.to_le_bytes());
        log.extend([1, 0, 0, 0, 0x0b, 0]);
        log.extend(Hash::Sha256.digest(data));
        log.extend((data.len() as u32).to_le_bytes());
        log.extend(*data);
    }
    log
}

#[test]
fn an_event_log_is_replayed() {
    let log =
        event_log(&[(0, 8, b"firmware"), (7, 1, b"policy"), (0, 4, b"separator"), (5, 3, b"no action")]);
    let extend =
        |start: &[u8], data: &[u8]| Hash::Sha256.digest(&[start, &Hash::Sha256.digest(data)].concat());
    let zero = vec![0; 32];
    let mut pcrs = BTreeMap::from([
        (0, extend(&extend(&zero, b"firmware"), b"separator")),
        (5, zero.clone()),
        (7, extend(&zero, b"policy")),
        (17, vec![0xff; 32]),
    ]);
    let replay = |log: &[u8], pcrs: &BTreeMap<u8, Vec<u8>>| event_log::replay(log, Hash::Sha256, pcrs);
    assert_eq!(replay(&log, &pcrs), Ok(Replayed { events: 4, untold: vec![] }));
    pcrs.insert(10, vec![1; 32]);
    assert_eq!(replay(&log, &pcrs).unwrap().untold, [10], "software's own, or taken out of the log");
    pcrs.insert(3, vec![1; 32]);
    assert_eq!(replay(&log, &pcrs).unwrap_err().code(), "identity", "the firmware's, and no event of it");
    pcrs.insert(3, zero.clone());
    pcrs.insert(7, zero);
    assert_eq!(replay(&log, &pcrs).unwrap_err().code(), "identity");
    assert_eq!(replay(&log[1..], &pcrs).unwrap_err().code(), "malformed");
}

/// A startup locality says with what PCR 0 began; after an event it would make that undone.
#[test]
fn a_startup_locality_comes_first() {
    let locality: (u32, u32, &[u8]) = (0, 3, b"StartupLocality\0\x03");
    let mut start = [0; 32];
    start[31] = 3;
    let pcr = Hash::Sha256.digest(&[&start[..], &Hash::Sha256.digest(b"firmware")].concat());
    let pcrs = BTreeMap::from([(0, pcr)]);
    let replay = |events: &[(u32, u32, &[u8])]| event_log::replay(&event_log(events), Hash::Sha256, &pcrs);
    assert!(replay(&[locality, (0, 8, b"firmware")]).is_ok());
    let hidden = replay(&[(0, 8, b"another firmware"), locality, (0, 8, b"firmware")]);
    assert_eq!(hidden.unwrap_err().code(), "malformed");
}

fn bundle(name: &str) -> Option<TpmQuote> {
    let bundle = crate::evidence::Bundle::read(&recorded(name)?).unwrap();
    let Some(Evidence::Tpm(quote)) = bundle.evidence.into_iter().next() else { panic!("not a quote") };
    Some(quote)
}

/// The vTPM of a virtual machine of Google's, with its firmware's event log and Linux's measurements in PCR 10.
#[test]
fn a_recorded_event_log_leads_to_the_recorded_quote() {
    let Some(quote) = bundle("tpm/gce.json") else { return };
    let report = ask(&quote, Some(&allowed())).unwrap();
    assert_eq!(report.report_data, Some(vec![0x90, 0x09]));
    assert_eq!(report.measurements.len(), 24);
    let said = report.claims["event_log"].to_string();
    assert!(said.contains("44 events"), "{said}");
    assert!(
        report.notes.iter().any(|note| note.contains("no event of the quoted PCRs 10: it says nothing")),
        "{:?}",
        report.notes
    );
    assert_eq!(ask(&quote, None).unwrap_err().code(), "simulated", "nobody vouches for the key");

    let log = quote.event_log.clone().unwrap();
    let bent = |at: usize, mask: u8| {
        let mut log = log.clone();
        log[at] ^= mask;
        ask(&TpmQuote { event_log: Some(log), ..quote.clone() }, Some(&allowed())).is_ok()
    };
    // The first event behind the head extends PCR 0: algorithm and digest of the bank.
    let head = 32 + 0x29;
    let sha256 = head + 12 + 2 + 20 + 2;
    assert_eq!(flips(sha256..sha256 + 32, true, bent), []);
    let cut = TpmQuote { event_log: Some(log[..head].to_vec()), ..quote.clone() };
    assert_eq!(ask(&cut, Some(&allowed())).unwrap_err().code(), "identity", "a log without events");
}

/// A workstation's, which began in locality 3 of the TPM. The values are those its collection gives beside it.
#[test]
fn a_recorded_event_log_with_a_startup_locality_is_replayed() {
    let Some(log) = recorded("tpm/glinux_log.bin") else { return };
    let values = [
        "0e5ea849d7647a1ac1becc096fee4df98f00f8015f934afadaab0b8aa20b38a5",
        "9750400838980c9419764b9cf19c975c0e159c18ebe21cb897c6e834a8d8d433",
        "970096d49105b0404999173e49c3f6b8597b9c4c5ff6a9e364b55ce01037578e",
        "3d458cfe55cc03ea1f443f1562beec8df51c75e14a9fcf9a7234a13f198e7969",
        "ddb124ca9013f1e42f98537f7f381e47c5e6caa988cf2b4088f452c5a8dd912d",
        "fb58603615cfec59c0428e71913d30d45f38e4280380cc814135a7659c246b13",
        "3d458cfe55cc03ea1f443f1562beec8df51c75e14a9fcf9a7234a13f198e7969",
        "9d1be46302bc4f5055c90a0376d9142e397ca8744f387c9824170f1bc855fde5",
    ];
    let pcrs = values.iter().zip(0..).map(|(value, number)| (number, hex::decode(value).unwrap())).collect();
    let replayed = event_log::replay(&log, Hash::Sha256, &pcrs).unwrap();
    assert_eq!(replayed, Replayed { events: 28, untold: vec![] });
}

#[test]
fn a_recorded_quote_of_azures_vtpm_is_read() {
    let Some(quote) = bundle("azure/quote.json") else { return };
    let report = ask(&quote, Some(&allowed())).unwrap();
    assert_eq!(report.report_data.as_deref(), Some(&b"challenge"[..]));
    assert_eq!(report.measurements.len(), 24);
    let question = Question { nonce: Some(b"challengf"), simulated: Some(&allowed()), ..Question::default() };
    let refusal = verify_evidence(&Evidence::Tpm(quote), &Collateral::default(), &question).unwrap_err();
    assert_eq!(refusal.code(), "nonce");
}
