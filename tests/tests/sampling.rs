//! `draw: PostCommit`: what may be drawn is in the record's leaf, and whoever has the round re-computes the draw.

use std::fs;
use std::process::Command;

use colophon_receipt::draw::DELAY;
use colophon_receipt::level::Level;
use colophon_receipt::statement::Statement;
use colophon_signer::cose::Sign1;
use colophon_tests::client::{get, post};
use colophon_tests::colophon::Colophon;
use colophon_tests::receipts::Fetched;
use colophon_tests::upstream::Upstream;
use colophon_tests::{PATIENCE, paths, process};

const OK: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n{\"id\":\"x\"}";
const POLICY: &str = "\
apiVersion: colophon.dev/v1alpha1
kind: ProvenancePolicy
metadata: {name: sampling}
spec:
  defaults: {level: commit, failurePolicy: Ignore}
  rules:
  - name: chat
    matches: [{apis: [chat]}]
    level: sign
    sample: {percent: 100, to: zk, draw: PostCommit}
";
/// Round 123 of quicknet, as published.
const ROUND: &str = r#"{"round":123,"signature":"b75c69d0b72a5d906e854e808ba7e2accb1542ac355ae486d591aa9d43765482e26cd02df835d3546d23c4b13e0dfc92"}"#;
const KEY: &str = "83cf0f2896adee7eb8b5f01fcad3912212c437e0073e911fb90022d3e760183c8c4b450b6a0a6c3ac6a5776a2d1064510d1fec758c921cc22b0e17e63aaf4bcb5ed66304de9cf809bd274ca73bab4af5a6e9c76a4bc09e76eae8991ef5ece45a";

#[test]
fn a_sampled_record_says_so_and_its_draw_is_recomputed() {
    let upstream = Upstream::answering(OK);
    let colophon = Colophon::start(&upstream.url(), |options| options.policy = Some(POLICY.to_owned()));
    let receipt = Fetched::of(&post(colophon.listen(), "/v1/chat/completions", "{}"), colophon.listen());
    assert_eq!(receipt.leaf.draw, Some((u64::MAX, Level::Zk)));
    let other = Fetched::of(&post(colophon.listen(), "/v1/embeddings", "{}"), colophon.listen());
    assert_eq!(other.leaf.draw, None);

    let folder = colophon.folder();
    let save = |name: &str, bytes: &[u8]| {
        fs::write(folder.join(name), bytes).unwrap();
        folder.join(name)
    };
    let trust = save("trust.json", &get(colophon.listen(), "/.well-known/colophon/keys").body);
    let file = save("receipt.json", &receipt.json);
    // A chain of quicknet's key by whose schedule the published round is the one that the statement names.
    let signed = Sign1::parse(&receipt.receipt().statement.0).unwrap();
    let to = Statement::decode(signed.payload()).unwrap().to.div_ceil(1_000_000);
    let info = format!(
        r#"{{"public_key":"{KEY}","period":3,"genesis_time":{},"schemeID":"bls-unchained-g1-rfc9380"}}"#,
        to + DELAY - 3 * 122
    );
    let (round, chain) = (save("round.json", ROUND.as_bytes()), save("info.json", info.as_bytes()));
    let verify = |more: &[&std::ffi::OsStr]| {
        let mut command = Command::new(paths::program("colophon-verify"));
        command.arg(&file).arg("--trust").arg(&trust).args(more);
        let output = process::run(&mut command, PATIENCE);
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stdout).replace("\n                            ", " "),
        )
    };
    let (code, said) = verify(&[]);
    assert!(code == Some(0) && said.contains("may be drawn for zk by round"), "{said}");
    let given = ["--round".as_ref(), round.as_os_str(), "--drand-chain".as_ref(), chain.as_os_str()];
    let (code, said) = verify(&given);
    assert!(code == Some(0) && said.contains("drawn for zk by round 123 at 100 %"), "{said}");
    assert!(said.contains("operator-influenced"), "no timestamp shows otherwise: {said}");
    // Of quicknet itself it is another round.
    assert_eq!(verify(&given[..2]).0, Some(1));
}
