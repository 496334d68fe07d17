use super::*;
use colophon_signer::Ed25519Key;
use colophon_signer::httpsig::{Component, Known, Params, expand, signature_base, signature_value};
use http::Request;

/// In seconds since the epoch.
const NOW: u64 = 1_800_000_000;

fn recorded() -> Recorded {
    Recorded {
        request: [1; 32],
        response: [2; 32],
        received: NOW * 1_000_000,
        completed: (NOW + 60) * 1_000_000,
    }
}

/// A head as another Colophon stamps it.
fn stamped(key: &Ed25519Key, tag: &str, label: &str, more: &[(&str, &str)]) -> HeaderMap {
    let tr = tag.ends_with("close");
    let field = |name, value| Component { name, req: false, tr, value };
    let request = |name, value| Component { name, req: true, tr: false, value };
    let (digest, asked) = (Value::response_digest(&[2; 32]), Value::request_digest(&[1; 32]));
    let mut components = vec![
        Component { name: "@status", req: false, tr: false, value: "200" },
        field("content-digest", digest.text()),
        Component { tr: false, ..field("colophon-request-digest", asked.text()) },
        request("@method", "POST"),
        request("@path", "/base/v1/chat/completions"),
        request("@query", "?a=b"),
    ];
    components.extend(more.iter().map(|(name, value)| request(name, value)));
    let keyid = key.public_key().key_id_hex();
    let base = signature_base(&components, &Params { created: NOW, keyid: &keyid, tag }).unwrap();
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_DIGEST, digest.text().parse().unwrap());
    headers.insert(REQUEST_DIGEST, asked.text().parse().unwrap());
    headers.insert(SIGNATURE_INPUT, base.signature_input(label).parse().unwrap());
    headers.insert(SIGNATURE, signature_value(label, &key.sign(base.as_bytes())).parse().unwrap());
    headers
}

fn signing(keys: &[&Ed25519Key], nonce: Option<&str>) -> Signing {
    let mut request = Request::post("/base/v1/chat/completions?a=b");
    if let Some(nonce) = nonce {
        request = request.header(CLIENT_NONCE, nonce);
    }
    let (parts, ()) = request.body(()).unwrap().into_parts();
    let keys = keys.iter().map(|key| key.public_key().0).collect();
    Signing::new(Arc::new(Session::of_keys(keys)), SentHead::of(&parts))
}

/// The base as it was signed.
fn text(signed: &Signed) -> String {
    let known = Known { request: Some(&[1; 32]), response: Some(&[2; 32]), id: "", leaf: &[0; 32] };
    expand(&signed.base, &known).unwrap()
}

fn key(number: u8) -> Ed25519Key {
    Ed25519Key::from_seed(&[number; 32]).unwrap()
}

#[test]
fn a_signature_over_a_head_or_at_a_streams_end_is_found() {
    let mut whole = signing(&[&key(2), &key(1)], None);
    whole.answered(200, &stamped(&key(1), "colophon-v1", "colophon", &[]));
    let found = whole.found(&recorded()).unwrap();
    assert!(key(1).public_key().verify(text(&found).as_bytes(), &found.signature).is_ok());
    let mut stream = signing(&[&key(1)], None);
    let mut trailers = stamped(&key(1), "colophon-v1-close", "colophon-close", &[]);
    let request_digest = trailers.remove(REQUEST_DIGEST).unwrap();
    stream.answered(200, &HeaderMap::from_iter([(REQUEST_DIGEST, request_digest)]));
    assert_eq!(stream.found(&recorded()), None);
    stream.ended(&trailers);
    assert!(text(&stream.found(&recorded()).unwrap()).contains("\"content-digest\";tr: "));
    let mut with_nonce = signing(&[&key(1)], Some("mine"));
    with_nonce
        .answered(200, &stamped(&key(1), "colophon-v1", "colophon", &[("colophon-client-nonce", "mine")]));
    assert!(with_nonce.found(&recorded()).is_some());
}

#[test]
fn what_another_key_signed_or_for_another_exchange_is_not() {
    let good = stamped(&key(1), "colophon-v1", "colophon", &[]);
    let found = |keys: &[&Ed25519Key], status: u16, headers: &HeaderMap| {
        let mut signing = signing(keys, None);
        signing.answered(status, headers);
        signing.found(&recorded())
    };
    assert!(found(&[&key(1)], 200, &good).is_some());
    assert_eq!(found(&[&key(2)], 200, &good), None, "not a key of the evidence");
    assert_eq!(found(&[], 200, &good), None);
    assert_eq!(found(&[&key(1)], 201, &good), None, "another status");
    let mut other = good.clone();
    other.insert(CONTENT_DIGEST, "sha-256=:AB==:".parse().unwrap());
    assert_eq!(found(&[&key(1)], 200, &other), None, "another body");
    assert_eq!(
        found(&[&key(1)], 200, &stamped(&key(1), "colophon-v1-open", "colophon", &[])),
        None,
        "a head only"
    );
    let nonce = stamped(&key(1), "colophon-v1", "colophon", &[("colophon-client-nonce", "another's")]);
    assert_eq!(found(&[&key(1)], 200, &nonce), None);
    for (name, value) in
        [("signature", "colophon=1"), ("signature-input", "colophon=(\"@status\")"), ("signature", "x")]
    {
        let mut bent = good.clone();
        bent.insert(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        assert_eq!(found(&[&key(1)], 200, &bent), None, "{name}: {value}");
    }
}

/// A reader compares all of these, and would take a record with such a signature for a forged one.
#[test]
fn what_differs_from_the_record_is_not_kept() {
    let mut signing = signing(&[&key(1)], None);
    signing.answered(200, &stamped(&key(1), "colophon-v1", "colophon", &[]));
    let (minutes, good) = (300_000_000, recorded());
    assert!(signing.found(&good).is_some());
    assert_eq!(signing.found(&Recorded { response: [3; 32], ..good }), None, "an answer that was cut");
    assert_eq!(signing.found(&Recorded { request: [3; 32], ..good }), None);
    let at = |received, completed| signing.found(&Recorded { received, completed, ..good });
    let now = NOW * 1_000_000;
    assert!(at(now + minutes, now + minutes).is_some() && at(now - minutes, now - minutes).is_some());
    assert_eq!(at(now + minutes + 1, now + minutes + 1), None, "by a clock that is behind");
    assert_eq!(at(now - minutes - 1, now - minutes - 1), None, "by a clock that is ahead");
}
