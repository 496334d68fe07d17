use super::*;
use crate::httpsig::{Component, Params, signature_base};
use proptest::prelude::*;

const REQ: Hash = [1; 32];
const RES: Hash = [2; 32];
const KEY_ID: Hash = [0xab; 32];
const RECORD_LEAF: Hash = [3; 32];
const RECORD_ID: &str = "01a20707-1db5-7000-8c5f-6c1b5cd28982";

fn known() -> Known<'static> {
    Known { request: Some(&REQ), response: Some(&RES), id: RECORD_ID, leaf: &RECORD_LEAF }
}

fn record() -> Value {
    let mut value = Value::with_capacity(10);
    value.push("\"");
    value.push_id(RECORD_ID);
    value.push("\";level=sign;leaf=:");
    value.push_leaf(&RECORD_LEAF);
    value.push(":");
    value
}

fn log() -> Value {
    let mut value = Value::default();
    value.push("\"logs.example/1\";size=7;sig=:");
    value.push_base64(&[9; 64]);
    value.push(":");
    value
}

fn whole(path: &str) -> Result<(SignatureBase, Vec<u8>), HttpSigError> {
    let mut base = Writer::default();
    base.text(Line::Status, "200")?;
    base.value(Line::ContentDigest, &Value::response_digest(&RES))?;
    base.value(Line::RequestDigest, &Value::request_digest(&REQ))?;
    base.value(Line::Record, &record())?;
    base.value(Line::Log, &log())?;
    base.text(Line::Path, path)?;
    Ok(base.finish(1_795_414_236, &KEY_ID, "colophon-v1"))
}

/// Whatever another server signs: in the order of its own, with lines that nobody here writes.
#[test]
fn a_base_that_was_made_elsewhere_is_kept_without_its_digests_and_opens_to_what_was_signed() {
    let (request, response) = (digest_text(&REQ), digest_text(&RES));
    let line = |name, req, value| Component { name, req, tr: false, value };
    let all = [
        line("x-other", false, "a"),
        line("@status", false, "200"),
        line("colophon-request-digest", false, &request),
        line("@path", true, "/x?\"@status\": "),
        Component { tr: true, ..line("content-digest", false, &response) },
    ];
    let params = Params { created: 1, keyid: "k", tag: "colophon-v1-close" };
    for components in [&all[..], &all[1..], &all[2..4], &[]] {
        let base = signature_base(components, &params).unwrap();
        let kept = shorten(base.as_str(), &REQ, &RES);
        assert_eq!(expand(&kept, &known()).unwrap(), base.as_str());
        let says = |digest: &str| kept.windows(digest.len()).any(|part| part == digest.as_bytes());
        assert!(!says(&request) && !says(&response));
        assert!(kept.len() <= base.as_str().len());
    }
    assert_eq!(expand(&shorten("\n\na", &REQ, &RES), &known()).unwrap(), "\n\na");
}

proptest! {
    #[test]
    fn any_text_opens_to_itself(text in "[ -~\n]{0,60}", at in 0usize..4) {
        let part = ["\n\"@status\": ", "\"@status\": ", "\n\"@signature-params\": ();created=", "sha-256=:"][at];
        let text = [part, &text, part, &digest_text(&REQ), part].concat();
        prop_assert_eq!(expand(&shorten(&text, &REQ, &RES), &known()).unwrap(), text);
    }
}

proptest! {
    /// What is written line by line is what RFC 9421 makes of the components, and what is kept opens to the same text.
    #[test]
    fn a_kept_base_opens_to_what_was_signed(path in "/[ -~]{0,40}") {
        let (base, kept) = whole(&path).unwrap();
        let (record, log) = (record(), log());
        let (request, response) = (digest_text(&REQ), digest_text(&RES));
        let line = |name, req, value| Component { name, req, tr: false, value };
        let components = [
            line("@status", false, "200"),
            line("content-digest", false, &response),
            line("colophon-request-digest", false, &request),
            line("colophon-record", false, record.text()),
            line("colophon-log", false, log.text()),
            line("@path", true, &path),
        ];
        let params = Params { created: 1_795_414_236, keyid: &hex::encode(KEY_ID), tag: "colophon-v1" };
        let plain = signature_base(&components, &params).unwrap();
        prop_assert_eq!(&base, &plain);
        prop_assert_eq!(base.signature_input("a"), plain.signature_input("a"));
        prop_assert_eq!(expand(&kept, &known()).unwrap(), plain.as_str());
        prop_assert!(kept.len() < plain.as_str().len() / 2, "{} of {}", kept.len(), plain.as_str().len());
    }

    /// Bytes that are no kept base: an error or a text, never a panic, and never much text from few bytes.
    #[test]
    fn any_bytes_are_read(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        if let Ok(text) = expand(&bytes, &known()) {
            prop_assert!(text.len() <= MAX_TEXT);
        }
    }
}

#[test]
fn a_base_as_text_is_its_own_kept_form() {
    let text = "\"@status\": 200\n\"@signature-params\": ();created=1";
    assert_eq!(expand(text.as_bytes(), &known()).unwrap(), text);
}

#[test]
fn every_line_has_its_name() {
    for (n, name) in LINES.iter().enumerate() {
        assert_eq!(expand(&[LINE + n as u8], &known()).unwrap(), format!("{name}: "));
    }
    assert_eq!(name(Line::Status), "\"@status\"");
    assert_eq!(name(Line::ClientNonce), "\"colophon-client-nonce\";req");
    assert_eq!(name(Line::TrailerRecord), "\"colophon-record\";tr");
}

#[test]
fn what_it_needs_has_to_be_known() {
    let (_, kept) = whole("/").unwrap();
    for missing in [Known { request: None, ..known() }, Known { response: None, ..known() }] {
        assert!(expand(&kept, &missing).unwrap_err().to_string().contains("digest"));
    }
}

#[test]
fn a_cut_or_newer_one_is_refused() {
    for kept in [&[BASE64, 5, 1][..], &[BASE64], &[KEY, 1, 2], &[0x9f], &[0xff]] {
        assert!(expand(kept, &known()).is_err(), "{kept:02x?}");
    }
    let bomb = [PARAMS; 4096];
    let named: Vec<u8> = [LINE + 4].repeat(60_000).into_iter().chain(bomb).collect();
    assert_eq!(expand(&named, &known()), Err(KeptError("is too long")));
}

#[test]
fn no_value_can_pose_as_a_line() {
    for bad in ["/\n\"@status\": 500", "/\u{7f}", "/é", "/\r"] {
        assert!(matches!(whole(bad), Err(HttpSigError::Value(_))), "{bad:?}");
    }
    let mut value = Value::default();
    value.push("a\nb");
    assert!(Writer::default().value(Line::Record, &value).is_err());
}
