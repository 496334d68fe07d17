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
    assert_eq!(event_log::replay(&log, Hash::Sha256, &pcrs), Ok(4));
    pcrs.insert(7, zero);
    assert_eq!(event_log::replay(&log, Hash::Sha256, &pcrs).unwrap_err().code(), "identity");
    assert_eq!(event_log::replay(&log[1..], Hash::Sha256, &pcrs).unwrap_err().code(), "malformed");
}
