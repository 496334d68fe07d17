//! `colophon model`: certificates over models, checked in both directions with OpenSSF's own `model-signing`.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use colophon_tests::models::Bench;
use colophon_tests::{colophon, paths, process};
use serde_json::Value;

/// OpenSSF's program.
fn model_signing(command: &str, folder: &Path, file: &Path, key: &Path) {
    let mut python = Command::new(paths::python());
    python.arg(paths::tests("checkers/model_signing.py")).arg(command).args([folder, file, key]);
    let output = process::run(&mut python, Duration::from_secs(120));
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success() && said.contains("ok - "), "{command}: {said}");
}

#[test]
fn our_certificates_are_signatures_of_openssf_model_signing() {
    let bench = Bench::new();
    bench.certify(&[]);
    let (model, certificate, key) = (bench.path("model"), bench.path("cert.json"), bench.public_key());
    model_signing("verify", &model, &certificate, &key);
    // Inside the folder it is no part of the model.
    bench.does(
        &[
            "certify",
            "model",
            "--name",
            "t",
            "--version",
            "1",
            "--key",
            "key.pem",
            "-o",
            "model/tokenizer/own.json",
        ],
        0,
    );
    model_signing("verify", &model, &model.join("tokenizer/own.json"), &key);
    fs::remove_file(model.join("tokenizer/own.json")).unwrap();
    // Each of these they refuse as well as we do.
    let weights = model.join("model-1.safetensors");
    let whole = fs::read(&weights).unwrap();
    fs::write(&weights, &whole[1..]).unwrap();
    model_signing("refuse", &model, &certificate, &key);
    fs::write(&weights, whole).unwrap();
    fs::write(model.join("more"), "x").unwrap();
    model_signing("refuse", &model, &certificate, &key);
    fs::remove_file(model.join("more")).unwrap();
    model_signing("verify", &model, &certificate, &key);
}

#[test]
fn signatures_of_openssf_model_signing_are_checked_by_us() {
    let bench = Bench::new();
    let (model, signature, key) = (bench.path("model"), bench.path("theirs.json"), bench.public_key());
    model_signing("sign", &model, &signature, &bench.path("key.pem"));
    let check = ["check", "model", "--cert", "theirs.json", "--authority"];
    let said = bench.does(&[&check[..], &["authority.json"]].concat(), 0);
    assert!(said.contains("CERTIFIED") && said.contains("never expires"), "{said}");
    bench.does(&[&check[..], &[key.to_str().unwrap()]].concat(), 0);
    fs::write(model.join("config.json"), "{ }").unwrap();
    let said = bench.does(&[&check[..], &["authority.json"]].concat(), 1);
    assert!(said.contains("\"config.json\" has other content"), "{said}");
}

#[test]
fn files_that_are_not_those_certified_are_named() {
    let bench = Bench::new();
    let said = bench.certify(&[]);
    assert!(said.contains("certified 7 files") && said.contains("Model Lab"), "{said}");
    let said = bench.check(&[], 0);
    assert!(said.contains("CERTIFIED") && said.contains("left out    .git, .gitattributes"), "{said}");
    let said = bench.does(&["check", "model", "--cert", "cert.json"], 3);
    assert!(said.contains("CONSISTENT, NOT TRUSTED"), "{said}");
    // What Git left is no part of the model.
    fs::write(bench.path("model/.gitattributes"), "other").unwrap();
    bench.check(&[], 0);

    fs::write(bench.path("model/empty"), "not").unwrap();
    fs::write(bench.path("model/added"), "").unwrap();
    fs::remove_file(bench.path("model/tokenizer/vocab.json")).unwrap();
    let said = bench.check(&[], 1);
    for difference in [
        "\"empty\" has other content",
        "\"added\" is not in the certificate",
        "\"tokenizer/vocab.json\" is missing",
    ] {
        assert!(said.contains(difference), "{difference}: {said}");
    }
    let report: Value = serde_json::from_str(&bench.check(&["--json"], 1)).unwrap();
    assert_eq!((&report["verdict"], report["differences"].as_array().unwrap().len()), (&"bad".into(), 3));
}

#[test]
fn certificates_that_do_not_count_say_why() {
    let bench = Bench::new();
    bench.certify(&["--from", "2026-01-01", "--days", "10"]);
    let at = |time: &str, code| bench.check(&["--at", time], code);
    at("2026-01-05", 0);
    assert!(at("2026-01-12", 1).contains("expired at 2026-01-11"));
    assert!(at("2025-12-31", 1).contains("valid only from 2026-01-01"));
    // Another's key, under the same name.
    bench.does(&["authority", "other.json", "--name", "Model Lab", "--key", "other.pem"], 0);
    let said = bench.does(&["check", "model", "--cert", "cert.json", "--authority", "other.json"], 1);
    assert!(said.contains("no key of \"Model Lab\" signed this certificate"), "{said}");
    let revoke = |authority: &str, key: &str, code| {
        let reason = ["--reason", "key-compromise", "--from", "2026-01-03"];
        bench.does(
            &[&["revoke", "cert.json", "--authority", authority, "--key", key], &reason[..]].concat(),
            code,
        )
    };
    assert!(revoke("other.json", "other.pem", 1).contains("no key of"));
    assert!(revoke("authority.json", "other.pem", 1).contains("no key of this authority signed it"));
    revoke("authority.json", "key.pem", 0);
    at("2026-01-02", 0);
    assert!(at("2026-01-05", 1).contains("revoked (key-compromise) from 2026-01-03"));
    let authority = fs::read_to_string(bench.path("authority.json")).unwrap();
    fs::write(bench.path("authority.json"), authority.replacen("Model Lab", "Other Lab", 1)).unwrap();
    assert!(at("2026-01-02", 1).contains("it says that \"Model Lab\" issued it"));
}

#[test]
fn what_cannot_be_certified_or_read_is_refused() {
    let bench = Bench::new();
    bench.certify(&[]);
    let certify = |folder: &str, key: &str, more: &[&str]| {
        let args = ["certify", folder, "--name", "n", "--version", "v", "--key", key, "-o", "no.json"];
        let said = bench.does(&[&args[..], more].concat(), 1);
        assert!(!bench.path("no.json").exists());
        said
    };
    fs::create_dir(bench.path("nothing")).unwrap();
    assert!(certify("nothing", "key.pem", &[]).contains("there is no file in it"));
    assert!(certify("none", "key.pem", &[]).contains("none"));
    symlink("/etc/hostname", bench.path("model/out")).unwrap();
    assert!(certify("model", "key.pem", &[]).contains("symbolic link"));
    assert!(certify("model", "key.pem", &["--allow-symlinks"]).contains("out of the folder"));
    assert!(bench.check(&[], 1).contains("symbolic link"));
    fs::remove_file(bench.path("model/out")).unwrap();
    assert!(certify("model", "key.pem", &["--ignore", "../x"]).contains("within the model's folder"));
    assert!(certify("model", "none.pem", &[]).contains("none.pem"));
    fs::set_permissions(bench.path("key.pem"), fs::Permissions::from_mode(0o644)).unwrap();
    assert!(certify("model", "key.pem", &[]).contains("chmod 600"));
    fs::set_permissions(bench.path("key.pem"), fs::Permissions::from_mode(0o600)).unwrap();
    let (code, _) = colophon::run(&["key", "generate", bench.path("ed25519.pem").to_str().unwrap()]);
    assert_eq!(code, 0);
    assert!(certify("model", "ed25519.pem", &[]).contains("ECDSA key on P-256"));

    let whole = fs::read(bench.path("cert.json")).unwrap();
    for (bytes, said) in [
        (Vec::new(), "the file is empty"),
        (whole[..whole.len() / 2].to_vec(), "not a model certificate"),
        (b"{}".to_vec(), "not a model certificate"),
        (vec![b' '; (32 << 20) + 1], "longer than"),
    ] {
        fs::write(bench.path("cert.json"), bytes).unwrap();
        let answer = bench.check(&[], 1);
        assert!(answer.contains(said), "{said}: {answer}");
    }
    fs::write(bench.path("cert.json"), whole).unwrap();
    bench.check(&[], 0);
}
