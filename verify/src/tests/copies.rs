//! The reader's copies: raw, saved as messages, swapped, cut, someone else's.

use colophon_receipt::canonical;
use colophon_receipt::fields::Semantic;

use super::*;
use crate::checks::{MESSAGE, REQUEST_MESSAGE};

fn with(made: &Made, request: Option<&[u8]>, response: Option<&[u8]>, nonce: Option<&str>) -> Report {
    let bodies = Bodies {
        request: request.map(|bytes| Body::from_bytes(Side::Request, bytes)),
        response: response.map(|bytes| Body::from_bytes(Side::Response, bytes)),
        nonce: nonce.map(|nonce| nonce.as_bytes().to_vec()),
        ..Bodies::default()
    };
    verify(&made.file(), Some(&made.trust()), &bodies, None)
}

#[test]
fn raw_copies_tie_bytes_only() {
    let made = Plan::default().make();
    let report = with(&made, Some(&made.request), Some(&made.response), None);
    assert_eq!((report.result, report.binding), (Verdict::Trusted, Binding::BytesOnly));
    assert!(report.proven.iter().any(|line| line.starts_with("Your request")));
    assert!(report.proven.iter().any(|line| line.starts_with("Your response")));
}

#[test]
fn other_copies_are_refused() {
    let made = Plan::default().make();
    let (request, response) = (&made.request[..], &made.response[..]);
    let mut flipped = response.to_vec();
    flipped[3] ^= 1;
    refused_by(
        &with(&made, Some(response), Some(request), None),
        &[checks::REQUEST_BODY, checks::RESPONSE_BODY],
    );
    refused_by(&with(&made, Some(request), Some(&flipped), None), &[checks::RESPONSE_BODY]);
    refused_by(&with(&made, None, Some(b""), None), &[checks::RESPONSE_BODY]);
    refused_by(&with(&made, None, Some(&response[1..]), None), &[checks::RESPONSE_BODY]);
    refused_by(&with(&made, None, None, Some("mine")), &[checks::NONCE]);
}

/// What is compared is the body, so it is the body's size and digest that are told.
#[test]
fn another_body_is_told_without_its_head() {
    let made = Plan::default().make();
    let mut flipped = made.response.clone();
    flipped[3] ^= 1;
    let digest = hex::encode(colophon_receipt::merkle::sha256(&flipped));
    for (copy, what) in [(flipped.clone(), "your copy"), (saved(&made, &flipped), "your copy's body")] {
        let report = with(&made, None, Some(&copy), None);
        let detail = &report.check(checks::RESPONSE_BODY).unwrap().detail;
        let told = format!("{what} (46 bytes, SHA-256 {digest}) is not the recorded one (46 bytes, SHA-256 ");
        assert!(detail.starts_with(&told), "{detail}");
    }
}

#[test]
fn a_withheld_digest_compares_with_nothing() {
    let plan = Plan {
        withheld: vec![fields::REQUEST_BODY, fields::RESPONSE_BODY],
        signing: Signing::Unsigned,
        ..Plan::default()
    };
    let made = plan.make();
    let report = with(&made, None, Some(&made.response), None);
    assert_eq!((report.result, report.binding), (Verdict::ConsistentNotTrusted, Binding::None));
}

#[test]
fn a_nonce_ties_best() {
    let made = Plan { nonce: Some("n-42".into()), ..Plan::default() }.make();
    let report = with(&made, None, Some(&made.response), Some("n-42"));
    assert_eq!((report.result, report.binding), (Verdict::Trusted, Binding::Nonce));
    refused_by(&with(&made, None, None, Some("n-43")), &[checks::NONCE]);
    let empty = Plan { nonce: Some(String::new()), ..Plan::default() }.make();
    refused_by(&with(&empty, None, None, Some("")), &[checks::NONCE]);
    let hidden =
        Plan { withheld: vec![fields::CONTEXT], ..Plan { nonce: Some("n".into()), ..Plan::default() } };
    // The signature covers it all the same.
    assert_eq!(with(&hidden.make(), None, None, Some("n")).binding, Binding::Nonce);
    let unsigned = Plan { signing: Signing::Unsigned, ..hidden };
    let report = with(&unsigned.make(), None, None, Some("n"));
    assert_eq!(report.result, Verdict::ConsistentNotTrusted);
}

fn saved(made: &Made, body: &[u8]) -> Vec<u8> {
    [made.head.as_bytes(), body].concat()
}

fn chunked(made: &Made) -> Vec<u8> {
    let mut out = Vec::new();
    for piece in made.response.chunks(7) {
        out.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        out.extend_from_slice(piece);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"0\r\n");
    out.extend_from_slice(made.trailers.as_bytes());
    out.extend_from_slice(b"\r\n");
    out
}

#[test]
fn a_saved_answer_with_its_signature_ties_by_signature() {
    for nonce in [None, Some("n".to_owned())] {
        let made = Plan { nonce, ..Plan::default() }.make();
        let report = with(&made, None, Some(&saved(&made, &made.response)), None);
        assert_eq!(
            (report.result, report.binding),
            (Verdict::Trusted, Binding::Signature),
            "{:#?}",
            report.checks
        );
    }
    let made = Plan::default().make();
    // Also when the receipt has dropped its own copy of the signature, given that the query is known.
    let request = b"POST /v1/chat/completions?beta=true HTTP/1.1\r\nHost: llm.example\r\n\r\n";
    let message = [&request[..], &made.request].concat();
    let report = with(&made, Some(&message), Some(&saved(&made, &made.response)), None);
    assert_eq!(report.result, Verdict::Trusted, "{:#?}", report.checks);
}

#[test]
fn a_saved_stream_is_read_with_chunks_trailers_and_comment() {
    let made = Plan { signing: Signing::Stream, ..Plan::default() }.make();
    let curl_with_trailers = [&made.response[..], made.trailers.as_bytes(), b"\r\n"].concat();
    for body in [chunked(&made), curl_with_trailers] {
        let report = with(&made, None, Some(&saved(&made, &body)), None);
        assert_eq!(
            (report.result, report.binding),
            (Verdict::Trusted, Binding::Signature),
            "{:#?}",
            report.checks
        );
        let detail = &report.check(checks::SAVED_HEAD).unwrap().detail;
        assert!(detail.contains(" 2 of the key's signatures"), "{detail}");
    }
    let sse = Plan {
        signing: Signing::Stream,
        response: b"data: {}\n\ndata: [DONE]\n\n".to_vec(),
        ..Plan::default()
    };
    let made = sse.make();
    let comment = comment(&made);
    let tail = [&made.response[..], comment.as_bytes()].concat();
    for copy in [tail.clone(), saved(&made, &tail)] {
        let report = with(&made, None, Some(&copy), None);
        assert_eq!(
            (report.result, report.binding),
            (Verdict::Trusted, Binding::Signature),
            "{:#?}",
            report.checks
        );
    }
    for (from, to) in [
        ("00000003", "00000004"),
        ("sha-256=:", "sha-256=:AA"),
        ("colophon-close=:", "colophon-close=:AA"),
        ("created=1", "created=2"),
        ("{", "{\"note\":\"trust me\","),
        ("{", "{\"signature\":\"trust me\","),
        ("{", "{ "),
        ("{", ""),
    ] {
        let changed = comment.replacen(from, to, 1);
        assert_ne!(changed, comment, "{from}");
        let copy = [&made.response[..], changed.as_bytes()].concat();
        refused_by(&with(&made, None, Some(&copy), None), &[checks::SAVED_HEAD]);
    }
    // A signature that the receipt no longer has is not compared, and not taken on trust.
    let mut bare = sse.make();
    bare.receipt.http_signatures.clear();
    let report = with(&bare, None, Some(&tail), None);
    assert_eq!(report.result, Verdict::ConsistentNotTrusted, "{:#?}", report.checks);
    let tail = [&made.response[..], b": colophon a\n\ndata: more\n\n"].concat();
    refused_by(&with(&made, None, Some(&tail), None), &[checks::RESPONSE_BODY]);
}

/// What a saved message has beside its body is the key's, or the record's, or the copy is refused.
#[test]
fn a_saved_answer_cannot_say_more_than_the_recorded_one() {
    const WRONG: &[u8] = b"Correction: the right dose is 500 mg\r\n";
    let made = Plan::default().make();
    let announced = made.head.replace("\r\n\r\n", "\r\nTrailer: correction\r\n\r\n");
    let after = [announced.as_bytes(), &made.response, WRONG].concat();
    let report = with(&made, None, Some(&after), None);
    refused_by(&report, &[checks::RESPONSE_BODY]);
    let detail = &report.check(checks::RESPONSE_BODY).unwrap().detail;
    assert!(detail.contains("trailers (correction)"), "{detail}");

    let made = Plan { signing: Signing::Stream, ..Plan::default() }.make();
    let good = chunked(&made);
    let report = with(&made, None, Some(&saved(&made, &good)), None);
    let detail = &report.check(checks::RESPONSE_BODY).unwrap().detail;
    let told = "without its trailers (content-digest, colophon-record, signature-input, signature)";
    assert!(detail.contains(told), "{detail}");
    let text = String::from_utf8(good).unwrap();
    for (from, to) in [
        ("\r\n0\r\n", "\r\n0\r\nData: {\"dose\":500}\r\n"),
        ("\r\n0\r\n", "\r\n0\r\nContent-Digest: the right dose is 500 mg\r\n"),
        ("\r\n0\r\n", "\r\n0\r\nSignature: note=:AAAA:\r\n"),
        ("7\r\n", "7;note=500mg\r\n"),
    ] {
        let changed = text.replacen(from, to, 1);
        assert_ne!(changed, text, "{from}");
        let report = with(&made, None, Some(&saved(&made, changed.as_bytes())), None);
        assert_eq!(report.result, Verdict::Bad, "{to}: {:#?}", report.checks);
        assert!(report.failed().any(|check| check.name == checks::RESPONSE_BODY), "{to}");
    }
    for (from, to) in [
        ("content-digest: sha-256=:", "content-digest: sha-256=:AA"),
        (":\r\n\r\n", ":, note=:AAAA:\r\n\r\n"),
    ] {
        let changed = text.replacen(from, to, 1);
        assert_ne!(changed, text, "{from}");
        let report = with(&made, None, Some(&saved(&made, changed.as_bytes())), None);
        refused_by(&report, &[checks::SAVED_HEAD]);
    }
}

/// Trailers of the upstream's own are under the record's trailer digest.
#[test]
fn trailers_of_the_upstream_are_those_recorded() {
    let committed = Some(colophon_receipt::merkle::sha256(b"x-sum: 1\n"));
    for (trailers, withheld, result) in [
        (committed, vec![], Verdict::Trusted),
        (None, vec![], Verdict::Bad),
        (committed, vec![fields::RESPONSE_HEAD], Verdict::ConsistentNotTrusted),
    ] {
        let made = Plan { signing: Signing::Stream, trailers, withheld, ..Plan::default() }.make();
        let mut copy = chunked(&made);
        copy.truncate(copy.len() - 2);
        copy.extend_from_slice(b"X-Sum: 1\r\n\r\n");
        let report = with(&made, None, Some(&saved(&made, &copy)), None);
        assert_eq!(report.result, result, "{:#?}", report.checks);
    }
}

/// The closing comment as the proxy writes it.
fn comment(made: &Made) -> String {
    let lines = made.trailers.lines().filter_map(|line| line.split_once(": "));
    let fields: Vec<String> = lines
        .filter(|(name, _)| *name != "colophon-request-digest")
        .map(|(name, value)| format!("\"{}\":{}", name.to_lowercase(), serde_json::Value::from(value)))
        .collect();
    format!(": colophon {{{}}}\n\n", fields.join(","))
}

#[test]
fn a_saved_head_is_refused_when_it_is_not_the_signed_one() {
    let made = Plan::default().make();
    for (from, to) in [
        ("200 OK", "201 OK"),
        ("application/json", "text/plain"),
        ("level=sign", "level=tee"),
        ("Signature: colophon=:", "Signature: colophon=:AA"),
        ("size=1", "size=2"),
    ] {
        let head = made.head.replacen(from, to, 1);
        assert_ne!(head, made.head, "{from}");
        let message = [head.as_bytes(), &made.response].concat();
        refused_by(&with(&made, None, Some(&message), None), &[checks::SAVED_HEAD]);
    }
    // Another answer of the same server with the same bytes: its own record.
    let other = Plan { index: 1, ..Plan::default() }.make();
    let message = [other.head.as_bytes(), &made.response].concat();
    refused_by(&with(&made, None, Some(&message), None), &[checks::SAVED_HEAD]);
    // Headers that nothing signed may change.
    let message = [made.head.replace("vllm", "nginx").as_bytes(), &made.response].concat();
    assert_eq!(with(&made, None, Some(&message), None).result, Verdict::Trusted);
}

/// Without a signature in it a head is compared line by line, and no more is said than that.
#[test]
fn a_saved_head_without_its_signature_says_what_the_record_does() {
    let made = Plan::default().make();
    let lines = made.head.split_inclusive("\r\n").filter(|line| !line.starts_with("Signature"));
    let promised =
        lines.collect::<String>().replace("=:\r\ncolophon-log", "=:;durability=node;mmd=60\r\ncolophon-log");
    let head = promised.replace("\r\n\r\n", "\r\nNote: dose 500\r\n\r\n");
    assert!(head.contains("mmd=60"), "{head}");
    let run = |head: &str| with(&made, None, Some(&[head.as_bytes(), &made.response].concat()), None);
    let report = run(&head);
    assert_eq!((report.result, report.binding), (Verdict::Trusted, Binding::BytesOnly));
    let detail = &report.check(checks::SAVED_HEAD).unwrap().detail;
    let compared = "no more was compared: status, Content-Type, Content-Digest, Colophon-Request-Digest, Colophon-Record";
    assert!(detail.ends_with(compared), "{detail}");
    // After a crash another shard of the sidecar logs it; only a signature shows which promised it.
    let detail = run(&head.replace("5d1f0c9a", "00000000")).check(checks::SAVED_HEAD).unwrap().detail.clone();
    assert!(detail.ends_with("Colophon-Record but for its shard"), "{detail}");
    for (from, to) in [
        ("200 OK", "404 Not Found"),
        ("application/json", "text/html"),
        ("Server", "Content-Encoding: gzip\r\nServer"),
        ("content-digest: sha-256=:", "content-digest: sha-256=:AAAA"),
        ("colophon-request-digest: sha-256=:", "colophon-request-digest: sha-256=:AAAA"),
        ("level=sign", "level=tee"),
        ("clinic/", "bank/"),
        (";leaf=:", ";leaf=:AAAA"),
        ("durability=node", "durability=for-ever"),
        ("mmd=60", "mmd=soon"),
        (";mmd", ";dose=500;mmd"),
    ] {
        let changed = head.replacen(from, to, 1);
        assert_ne!(changed, head, "{from}");
        refused_by(&run(&changed), &[checks::SAVED_HEAD]);
    }
    // What the receipt withholds is not compared.
    let plan = Plan { withheld: vec![fields::RESPONSE_HEAD], signing: Signing::Unsigned, ..Plan::default() };
    let hidden = plan.make();
    let report = with(&hidden, None, Some(&saved(&hidden, &hidden.response)), None);
    let check = report.check(checks::SAVED_HEAD).unwrap();
    assert_eq!((report.result, check.status), (Verdict::Trusted, Status::NotChecked), "{check:?}");
}

#[test]
fn a_saved_request_is_the_recorded_one_with_its_head() {
    let made = Plan { nonce: Some("n-42".into()), ..Plan::default() }.make();
    let run = |start: &str, lines: &str| {
        let copy = [format!("{start} HTTP/1.1\r\nHost: a\r\n{lines}\r\n").as_bytes(), &made.request].concat();
        with(&made, Some(&copy), None, None)
    };
    let nonce = "Colophon-Client-Nonce: n-42\r\n";
    for start in
        ["POST /v1/chat/completions?beta=true", "POST HTTPS://llm.example/v1/chat/completions?beta=true"]
    {
        let report = run(start, nonce);
        assert_eq!(report.result, Verdict::Trusted, "{:#?}", report.checks);
        let detail = &report.check(checks::REQUEST_BODY).unwrap().detail;
        assert!(detail.ends_with("as recorded: method, path, query, nonce"), "{detail}");
    }
    assert_eq!(run("POST /v1/chat/completions?beta=true", "").result, Verdict::Trusted);
    for (start, lines) in [
        ("PUT /v1/chat/completions?beta=true", nonce),
        ("POST /v1/completions?beta=true", nonce),
        ("POST /v1/chat/completions?beta=false", nonce),
        ("POST /v1/chat/completions", nonce),
        ("POST /v1/chat/completions?beta=true", "Colophon-Client-Nonce: n-43\r\n"),
    ] {
        refused_by(&run(start, lines), &[checks::REQUEST_BODY]);
    }
    let plain = Plan::default().make();
    let copy = [
        &b"POST /v1/chat/completions?beta=true HTTP/1.1\r\nColophon-Client-Nonce: n\r\n\r\n"[..],
        &plain.request,
    ];
    refused_by(&with(&plain, Some(&copy.concat()), None, None), &[checks::REQUEST_BODY]);
}

#[test]
fn an_object_is_compared_by_what_it_says() {
    const REQUEST: &str = r#"{"model":"m","messages":[{"role":"user","content":"é"}]}"#;
    const ANSWER: &str = r#"{"id":"c","choices":[{"message":{"content":"a","refusal":null}}]}"#;
    let semantic = Semantic {
        request: canonical::digest(REQUEST.as_bytes()).ok(),
        message: canonical::message_digest(ANSWER.as_bytes()).ok(),
        ..Semantic::default()
    };
    let made = Plan { semantic: semantic.clone(), ..Plan::default() }.make();
    let compare = |made: &Made, request: &str, answer: &str| {
        let bodies = Bodies {
            request_message: Some(request.as_bytes().to_vec()),
            message: Some(answer.as_bytes().to_vec()),
            ..Bodies::default()
        };
        let report = verify(&made.file(), Some(&made.trust()), &bodies, None);
        let status = |name| report.checks.iter().find(|check| check.name == name).map(|check| check.status);
        (report.result, status(REQUEST_MESSAGE), status(MESSAGE))
    };
    let passed = (Verdict::Trusted, Some(Status::Passed), Some(Status::Passed));
    assert_eq!(compare(&made, REQUEST, ANSWER), passed);
    // Other bytes that say the same.
    let request = r#"{ "messages" : [{"content":"\u00e9", "role":"user"}], "model":"m" }"#;
    let answer = r#"{"choices":[{"message":{"content":"a","parsed":null}}],"id":"c","usage":null}"#;
    assert_eq!(compare(&made, request, answer), passed);
    // Members that are in no digest are named, and one that contradicts what is in it is refused.
    let report = |answer: &str| {
        let bodies = Bodies { message: Some(answer.as_bytes().to_vec()), ..Bodies::default() };
        verify(&made.file(), Some(&made.trust()), &bodies, None)
    };
    let added = report(r#"{"id":"c","choices":[{"message":{"content":"a"},"obfuscation":"dose 500"}]}"#);
    let detail = &added.check(MESSAGE).unwrap().detail;
    assert!(detail.ends_with("libraries add them: choices[0].obfuscation"), "{detail}");
    assert!(added.not_proven.iter().any(|line| line.contains("says in choices[0].obfuscation")));
    const JSON: &str = r#"{"choices":[{"message":{"content":"{\"dose\":5}","parsed":{"dose":5}}}]}"#;
    let parsed = Semantic { message: canonical::message_digest(JSON.as_bytes()).ok(), ..Semantic::default() };
    let parsed = Plan { semantic: parsed, ..Plan::default() }.make();
    let bodies = |text: String| Bodies { message: Some(text.into_bytes()), ..Bodies::default() };
    let run = |text: String| verify(&parsed.file(), Some(&parsed.trust()), &bodies(text), None);
    let good = run(JSON.into());
    assert!(!good.not_proven.iter().any(|line| line.contains("libraries add")), "{:#?}", good.not_proven);
    refused_by(&run(JSON.replace("{\"dose\":5}}", "{\"dose\":500}}")), &[MESSAGE]);
    for (request, answer) in
        [(REQUEST.replace('é', "e"), ANSWER.to_owned()), (REQUEST.to_owned(), "{".to_owned())]
    {
        assert_eq!(compare(&made, &request, &answer).0, Verdict::Bad, "{request} {answer}");
    }
    let skipped = (Verdict::ConsistentNotTrusted, Some(Status::NotChecked), Some(Status::NotChecked));
    assert_eq!(compare(&Plan::default().make(), REQUEST, ANSWER), skipped);
    let why = Semantic {
        no_request: Some("too long".into()),
        no_message: Some("duplicate key".into()),
        ..Semantic::default()
    };
    assert_eq!(compare(&Plan { semantic: why, ..Plan::default() }.make(), REQUEST, ANSWER), skipped);
    let withheld =
        Plan { semantic, withheld: vec![colophon_receipt::fields::SEMANTIC], ..Plan::default() }.make();
    assert_eq!(compare(&withheld, REQUEST, ANSWER), skipped);
}
