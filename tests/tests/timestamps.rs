//! Timestamps by a real TSA, OpenSSL's: every kind of key that counts, and others' opinion of the same tokens.

use std::process::Command;

use colophon_receipt::merkle::sha256;
use colophon_receipt::receipt::Anchor;
use colophon_signer::rfc3161::{Request, Roots, Token, token_of};
use colophon_tests::client::{Client, post_bytes, send};
use colophon_tests::colophon::{Colophon, run};
use colophon_tests::receipts::Fetched;
use colophon_tests::tsa::{Kind, Mood, P256, Tsa, TsaServer};
use colophon_tests::upstream::Upstream;
use colophon_tests::wire::Message;
use colophon_tests::{PATIENCE, client, openmetrics, paths, process, wait_for};

fn roots(tsa: &Tsa) -> Roots {
    Roots::from_pem(&std::fs::read_to_string(tsa.path("root.pem")).unwrap()).unwrap()
}

#[test]
fn tokens_of_every_kind_of_key_are_verified_by_us_and_by_openssl() {
    let rsa: &[&str] = &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"];
    let p384 = &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"];
    let pss = &["-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:digest"];
    for kind in [
        P256,
        Kind { names_by: "sha1", between: true, ..P256 },
        Kind { key: p384, digest: "sha384", names_by: "sha384", ..P256 },
        Kind { key: p384, digest: "sha256", ..P256 },
        Kind { digest: "sha512", names_by: "sha512", ..P256 },
        Kind { key: rsa, ..P256 },
        Kind { key: rsa, digest: "sha512", between: true, ..P256 },
        Kind { key: rsa, digest: "sha384", signing: pss, ..P256 },
    ] {
        let tsa = Tsa::new(kind);
        let request = Request { imprint: sha256(b"something"), nonce: [0xfe; 16] };
        let answer = tsa.reply(&request.to_der());
        let der = token_of(&answer).unwrap_or_else(|error| panic!("{kind:?}: {error}"));
        let token = Token::parse(der).unwrap_or_else(|error| panic!("{kind:?}: {error}"));
        token.check_request(&request).unwrap();
        let chain = token.chain(&roots(&tsa)).unwrap_or_else(|error| panic!("{kind:?}: {error}"));
        assert_eq!(
            (chain.tsa.as_str(), chain.crl_checked.len()),
            ("OpenSSL TSA", 1 + usize::from(kind.between))
        );
        assert_eq!((token.info().accuracy, token.info().policy.as_str()), (Some(1_500_000), "1.2.3.4.1"));
        let file = tsa.path("token.tst");
        std::fs::write(&file, der).unwrap();
        tsa.verifies(&file, &request.imprint).unwrap_or_else(|said| panic!("{kind:?}: {said}"));
        assert!(tsa.verifies(&file, &[0; 32]).is_err());
        assert!(token.chain(&roots(&Tsa::new(P256))).is_err(), "another root");
    }
}

#[test]
fn weak_keys_and_hashes_are_refused() {
    let short: &[&str] = &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024"];
    let p521 = &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-521"];
    for (kind, why) in [
        (Kind { key: short, ..P256 }, "2048"),
        (Kind { key: p521, ..P256 }, "curve"),
        (Kind { digest: "sha1", ..P256 }, "SHA-256"),
    ] {
        let tsa = Tsa::new(kind);
        let request = Request { imprint: [1; 32], nonce: [1; 16] };
        let answer = tsa.reply(&request.to_der());
        let error = Token::parse(token_of(&answer).unwrap()).unwrap_err().to_string();
        assert!(error.contains(why), "{kind:?}: {error}");
    }
}

/// A model server that answers `{"id":"x"}`.
fn model() -> Upstream {
    Upstream::answering(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n{\"id\":\"x\"}",
    )
}

/// A proxy whose checkpoints these TSAs date, when it is told to.
fn proxy(upstream: &Upstream, tsas: &[&TsaServer]) -> Colophon {
    Colophon::start(&upstream.url(), |options| {
        options.sign_all().arg(&["--tsa-every", "1h"]);
        for tsa in tsas {
            options.arg(&["--tsa", &tsa.url(), "--tsa-root", tsa.tsa().path("root.pem").to_str().unwrap()]);
        }
    })
}

fn ask(colophon: &Colophon) -> Message {
    let response = send(colophon.listen(), &post_bytes("/v1/completions", "Connection: close\r\n", "{}"));
    assert_eq!(response.status(), 200, "{}", response.text());
    response
}

/// Has the newest checkpoint dated: the status and what was said.
fn date_now(colophon: &Colophon) -> (u16, serde_json::Value) {
    let request = b"POST /timestamp HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    let answer = send(colophon.admin(), request);
    (answer.status(), serde_json::from_slice(&answer.body).unwrap_or_default())
}

/// The trust file, with a requirement.
fn trust(colophon: &Colophon, timestamps: usize) -> Vec<u8> {
    let keys = client::get(colophon.listen(), "/.well-known/colophon/keys");
    keys.text().replace("\"timestamps\": 0", &format!("\"timestamps\": {timestamps}")).into_bytes()
}

#[test]
fn a_receipt_of_a_running_proxy_says_after_when_and_before_when() {
    let upstream = model();
    let (one, two) = (Tsa::new(P256).serve(), Tsa::new(P256).serve());
    let mut colophon = proxy(&upstream, &[&one, &two]);
    // The first token comes by itself; from then on statements name one.
    let beacon = wait_for(PATIENCE, || {
        let answer = ask(&colophon);
        let fetched = Fetched::of(&answer, colophon.listen());
        fetched.receipt().beacon.is_some().then_some((answer, fetched))
    });
    let (answer, early) = beacon.expect("no statement names a timestamp");
    let (code, found) = early.report(&trust(&colophon, 2), &[]);
    assert_eq!((code, &found["time"]["upper"]), (3, &serde_json::Value::Null), "{found:#}");

    let (status, said) = date_now(&colophon);
    assert_eq!((status, said["dated"].as_array().map(Vec::len)), (200, Some(2)), "{said}");
    let dated = Fetched::of(&answer, colophon.listen());
    let (code, found) = dated.report(&trust(&colophon, 2), &[]);
    assert_eq!((code, &found["result"]), (0, &"trusted".into()), "{found:#}");
    let (lower, upper) = (found["time"]["lower"].as_u64().unwrap(), found["time"]["upper"].as_u64().unwrap());
    assert!(lower <= upper && upper - lower < 120_000_000, "{lower} {upper}");
    let (code, said) = dated.verify_by(&trust(&colophon, 2), Some(b"{}"), Some(&answer.body));
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(code == 0 && said.contains("(timestamp by \"OpenSSL TSA\"); unchanged since"), "{said}");
    assert!(said.contains("unique none: the operator could keep a second log"), "{said}");

    // Others agree on the same tokens: `openssl ts -verify`, and Python's rfc3161-client.
    let receipt = dated.receipt();
    let checkpoint = receipt.log_proof.split_once("\n\n").unwrap().1;
    let imprint = sha256(checkpoint.as_bytes());
    for anchor in &receipt.anchors {
        let Anchor::Rfc3161(token) = anchor;
        let file = colophon.folder().join("token.tst");
        std::fs::write(&file, &token.0).unwrap();
        let verdicts = [&one, &two].map(|server| server.tsa().verifies(&file, &imprint));
        assert!(verdicts.iter().filter(|verdict| verdict.is_ok()).count() == 1, "{verdicts:?}");
    }
    let (file, roots) = (colophon.folder().join("dated.receipt"), colophon.folder().join("keys"));
    std::fs::write(&file, &dated.json).unwrap();
    std::fs::write(&roots, trust(&colophon, 0)).unwrap();
    let mut checker = Command::new(paths::python());
    checker.arg(paths::tests("checkers").join("timestamps.py")).arg(&file).arg("--trust").arg(&roots);
    let output = process::run(&mut checker, PATIENCE);
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(output.status.success() && said.contains("ok - "), "{said}");

    // `log check` goes through all that is stored, by the same trust file.
    assert!(colophon.stop().success());
    let data = colophon.data();
    let check =
        || run(&["log", "check", data.to_str().unwrap(), "--trust", roots.to_str().unwrap(), "--json"]);
    let (code, said) = check();
    let found: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(
        (code, &found["sound"], &found["trusted_timestamps"]),
        (0, &true.into(), &4.into()),
        "{found:#}"
    );
    assert!(found["beacons"].as_u64() > Some(0) && found["newest_timestamp"]["tsa"] == "OpenSSL TSA");
    // Of all, since statements name some of them only.
    for beacon in std::fs::read_dir(data.join("log/1/beacon")).unwrap().map_while(Result::ok) {
        std::fs::write(beacon.path(), "garbage").unwrap();
    }
    let (code, said) = check();
    assert!(code == 1 && said.contains("\"anchor\""), "{said}");
}

#[test]
fn a_tsa_that_is_wrong_slow_or_down_is_counted_and_disturbs_nobody() {
    let upstream = model();
    let (good, bad) = (Tsa::new(P256).serve(), Tsa::new(P256).serve());
    bad.mood(Mood::Down);
    let colophon = proxy(&upstream, &[&good, &bad]);
    let answer = ask(&colophon);
    Fetched::of(&answer, colophon.listen());
    let expired = Tsa::new(P256);
    let other = Request { imprint: [0; 32], nonce: [1; 16] };
    for (mood, why) in [
        (Mood::Says(200, b"<html>no</html>".to_vec()), "no RFC 3161 response"),
        (Mood::Says(200, vec![0x30; 5 << 20]), "more than 65536 bytes"),
        (Mood::Says(200, expired.reply(&other.to_der())), "something else"),
        (Mood::Mistaken, "something else"),
        (Mood::Says(503, vec![]), "answered 503"),
        (Mood::Down, ""),
    ] {
        bad.mood(mood.clone());
        let (status, said) = date_now(&colophon);
        assert_eq!((status, said["dated"].as_array().map(Vec::len)), (200, Some(1)), "{said}");
        assert!(said["failed"][0]["why"].as_str().unwrap().contains(why), "{why}: {said}");
    }
    let fetched = Fetched::of(&answer, colophon.listen());
    assert_eq!(fetched.receipt().anchors.len(), 1);
    assert_eq!(fetched.report(&trust(&colophon, 1), &[]).0, 0);
    assert_eq!(fetched.report(&trust(&colophon, 2), &[]).0, 3);
    // While one hangs, answers and receipts come as ever.
    bad.mood(Mood::Slow);
    let admin = colophon.admin();
    std::thread::spawn(move || {
        let request =
            b"POST /timestamp HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
        Client::connect(admin).send(request);
    });
    let answer = ask(&colophon);
    assert!(Fetched::of(&answer, colophon.listen()).receipt().beacon.is_some());
    let metrics = client::get(colophon.admin(), "/metrics");
    let metrics = openmetrics::parse(&metrics.text()).unwrap();
    let sum = |name: &str| metrics[name].samples.values().sum::<f64>();
    assert!(sum("colophon_tsa_failed") >= 6.0 && sum("colophon_tsa_tokens") >= 1.0, "{metrics:?}");
    assert!((0.0..120.0).contains(&sum("colophon_anchor_age_seconds")));
}

#[test]
fn without_a_tsa_there_is_no_time_and_settings_are_judged_at_the_start() {
    let upstream = model();
    let colophon = Colophon::signing(&upstream.url());
    assert_eq!(date_now(&colophon).0, 409);
    let fetched = Fetched::of(&ask(&colophon), colophon.listen());
    assert!(fetched.receipt().beacon.is_none() && fetched.receipt().anchors.is_empty());
    let (_, found) = fetched.report(&trust(&colophon, 0), &[]);
    assert_eq!(found["time"]["source"], "No independent time.");
    let tsa = Tsa::new(P256);
    let (root, key) = (tsa.path("root.pem"), tsa.path("root.key"));
    let (root, key) = (root.to_str().unwrap(), key.to_str().unwrap());
    for (args, why) in [
        (vec!["--tsa", "http://127.0.0.1:1"], "--tsa-root"),
        (vec!["--tsa", "ftp://x", "--tsa-root", root], "http://host/path"),
        (vec!["--tsa", "http://127.0.0.1:1", "--tsa-root", key], "no certificate"),
        (vec!["--tsa", "http://127.0.0.1:1", "--tsa-root", "/nowhere"], "/nowhere"),
    ] {
        let (status, said) = Colophon::refused(&upstream.url(), |options| {
            options.arg(&args);
        });
        assert!(!status.success() && said.contains(why), "{args:?}: {said}");
    }
}
