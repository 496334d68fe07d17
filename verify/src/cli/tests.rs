use std::fs;

use clap::Parser;

use super::*;
use crate::testing::{Made, NOW, Plan};

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    verify: VerifyArgs,
}

struct Files {
    dir: tempfile::TempDir,
    made: Made,
}

impl Files {
    fn new() -> Files {
        let (dir, made) = (tempfile::tempdir().unwrap(), Plan::default().make());
        let files = Files { dir, made };
        fs::write(files.path("receipt"), files.made.file()).unwrap();
        fs::write(files.path("trust"), files.made.trust_file("{}")).unwrap();
        fs::write(files.path("request"), &files.made.request).unwrap();
        fs::write(files.path("response"), &files.made.response).unwrap();
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Runs with words in which `@name` stands for a file; gives exit code, output and errors.
    fn run(&self, words: &str) -> (u8, String, String) {
        let words =
            words.split(' ').filter(|word| !word.is_empty()).map(|word| match word.strip_prefix('@') {
                Some(name) => self.path(name).into_os_string(),
                None => word.into(),
            });
        let cli = Cli::try_parse_from(std::iter::once("verify".into()).chain(words)).unwrap();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let code = run_to(&cli.verify, false, &mut out, &mut err);
        (code, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
    }
}

#[test]
fn exit_codes_say_the_result() {
    let files = Files::new();
    let mut bad = files.made.file();
    bad[700] ^= 1;
    fs::write(files.path("bad"), bad).unwrap();
    fs::write(files.path("empty"), b"").unwrap();
    for (words, code) in [
        ("@receipt --trust @trust", 0),
        ("@receipt --trust @trust --request @request --response @response --at 2026-11-15T00:00:00Z", 0),
        ("@receipt --trust @trust --response @request", 1),
        ("@receipt --trust @trust --at 1700000000", 1),
        ("@bad --trust @trust", 1),
        ("@empty --trust @trust", 1),
        ("@trust --trust @trust", 2),
        ("@trust --trust @receipt", 2),
        ("@receipt --trust @receipt", 2),
        ("@receipt --trust @empty", 2),
        ("@missing --trust @trust", 2),
        ("@receipt --trust @missing", 2),
        ("@receipt --trust @trust --response @missing", 2),
        (". --trust @trust", 2),
        ("- --trust -", 2),
        ("@receipt", 3),
    ] {
        let (found, out, err) = files.run(words);
        assert_eq!(found, code, "{words}\n{out}{err}");
        assert_eq!(err.starts_with("error: "), code == 1 || code == 2, "{words}: {err}");
        assert_eq!(out.is_empty(), code == 2, "{words}: {out}");
    }
}

#[test]
fn errors_say_what_where_and_what_to_do() {
    let files = Files::new();
    let (_, _, err) = files.run("@missing");
    assert!(
        err.contains("cannot read the receipt") && err.contains("missing") && err.contains("check the path"),
        "{err}"
    );
    let (_, _, err) = files.run("@receipt --trust @request");
    assert!(err.contains("trust file") && err.contains("request") && err.contains("/.well-known/"), "{err}");
    let (_, _, err) = files.run("@trust");
    assert!(err.contains("is a trust file; the receipt comes first"), "{err}");
}

#[test]
fn what_is_no_receipt_is_told_by_what_it_is() {
    let files = Files::new();
    let marked = [b"\xef\xbb\xbf", &files.made.file()[..]].concat();
    let long = vec![b' '; MAX_BYTES + 10];
    for (file, hint) in [
        (&b""[..], "202"),
        (br#"{"status":"pending"}"#, "202"),
        (&marked, "byte order mark"),
        (b"\xff\xfe{\0", "byte order mark"),
        (&long, ""),
        (b"{}", ""),
    ] {
        fs::write(files.path("file"), file).unwrap();
        let (code, _, err) = files.run("@file --trust @trust");
        assert!(code == 1 && err.contains("receipt-form failed"), "{err}");
        assert_eq!(err.contains("hint: "), !hint.is_empty(), "{err}");
        assert!(err.contains(hint), "{err}");
    }
}

/// An output that ends with this error.
struct Broken(io::ErrorKind);

impl Write for Broken {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(self.0.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Err(self.0.into())
    }
}

#[test]
fn a_report_that_is_lost_is_no_good_one() {
    let files = Files::new();
    let export = tempfile::tempdir().unwrap();
    let manifest = r#"{"format":"colophon-export-v1","origin":"o","generation":1,"from":0,"to":1,"shard":null,"first":0,"end":0,"receipts":false}"#;
    fs::write(export.path().join("export.json"), manifest).unwrap();
    let trust = files.path("trust").into_os_string();
    for (what, verdict) in [(files.path("receipt"), 0), (export.path().to_owned(), 1)] {
        let words = ["verify".into(), what.into_os_string(), "--trust".into(), trust.clone()];
        let cli = Cli::try_parse_from(words).unwrap();
        for (kind, code) in [(io::ErrorKind::StorageFull, 2), (io::ErrorKind::BrokenPipe, verdict)] {
            let mut err = Vec::new();
            assert_eq!(run_to(&cli.verify, false, &mut Broken(kind), &mut err), code, "{kind}");
            let told = String::from_utf8(err).unwrap().contains("error: cannot write the report: ");
            assert_eq!(told, code == 2, "{kind}");
        }
    }
}

/// The first line does not say more than was done.
#[test]
fn the_headline_says_whether_the_answer_was_compared() {
    let files = Files::new();
    let head = |words: &str| files.run(words).1.lines().next().unwrap_or_default().to_owned();
    let compared = "TRUSTED: every check that could be made passed against your trust file";
    assert_eq!(head("@receipt --trust @trust --response @response"), compared);
    for words in ["@receipt --trust @trust", "@receipt --trust @trust --request @request"] {
        assert_eq!(head(words), format!("{compared}; your copy of the answer was not compared"));
    }
}

#[test]
fn options_without_effect_are_named() {
    let files = Files::new();
    let words = "@receipt --trust @trust --prover-cmd true --model-cert @request";
    let (code, _, err) = files.run(words);
    assert_eq!(code, 0, "{err}");
    for option in ["--prover-cmd had no effect: this receipt has no proof", "--model-cert had no effect"] {
        assert!(err.contains(&format!("note: {option}")), "{err}");
    }
    assert_eq!(files.run("@receipt --trust @trust").2, "");
}

#[test]
fn an_export_without_receipts_is_not_called_more_than_an_account() {
    let mut report = crate::folder::FolderReport { result: Verdict::Trusted, ..Default::default() };
    let told = folder::human(&report, false);
    assert!(told.starts_with("TRUSTED: the account in this export holds"), "{told}");
    assert!(
        told.contains("no receipt is in it") && told.contains("anything about a single record"),
        "{told}"
    );
    report.receipts.verified = 1;
    let told = folder::human(&report, false);
    assert!(told.starts_with("TRUSTED: everything in this export") && !told.contains("no receipt"), "{told}");
}

#[test]
fn json_is_for_scripts() {
    let files = Files::new();
    let (code, out, _) = files.run("@receipt --trust @trust --response @response --json");
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &report["result"]), (0, &"trusted".into()));
    assert_eq!(report["verified_level"], "sign");
    assert_eq!(report["binding"], "bytes-only");
    assert_eq!(report["log"]["size"], 6);
    assert_eq!(report["checks"][0]["name"], "receipt-form");
    assert_eq!(report["checks"][0]["status"], "passed");
    assert_eq!(report["time"]["operator_completed"], NOW + 1003);
}

#[test]
fn the_text_for_people_is_the_one_in_the_golden_file() {
    let files = Files::new();
    let (_, out, _) = files.run("@receipt --trust @trust --response @response");
    let golden = include_str!("golden/trusted.txt");
    assert_eq!(out, golden, "if this is meant, replace golden/trusted.txt by:\n{out}");
    let (_, out, _) = files.run("@receipt --trust @trust --response @request");
    let golden = include_str!("golden/bad.txt");
    assert_eq!(out, golden, "if this is meant, replace golden/bad.txt by:\n{out}");
}

#[test]
fn timestamps_are_told_as_in_the_golden_file() {
    use base64::Engine as _;
    let files = Files::new();
    let tsa = colophon_signer::rfc3161::testing::Tsa::new(1, NOW);
    let root = base64::prelude::BASE64_STANDARD.encode(&tsa.root.certificate);
    let anchors = vec![(tsa.clone(), NOW + 30_000_000)];
    let made = Plan { anchors, beacon: Some((tsa, NOW - 400_000_000)), ..Plan::default() }.make();
    fs::write(files.path("receipt"), made.file()).unwrap();
    let trust = made.trust_file(r#"{"timestamps":1}"#);
    fs::write(files.path("trust"), trust.replace("\"tsa_roots\":[]", &format!("\"tsa_roots\":[\"{root}\"]")))
        .unwrap();
    let (code, out, _) = files.run("@receipt --trust @trust --response @response");
    let golden = include_str!("golden/dated.txt");
    assert_eq!((code, out.as_str()), (0, golden), "if this is meant, replace golden/dated.txt by:\n{out}");
    let (_, out, _) = files.run("@receipt --trust @trust --json");
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (&report["time"]["lower"], &report["time"]["upper"]),
        (&(NOW - 400_000_000).into(), &(NOW + 30_000_000).into())
    );
    assert_eq!(
        (&report["timestamps"][0]["of"], &report["timestamps"][0]["tsa"]),
        (&"anchor".into(), &"Test TSA 1".into())
    );
    // A bad receipt has no bounds.
    let (code, out, _) = files.run("@receipt --trust @trust --response @request --json");
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (code, &report["time"]["lower"], &report["time"]["upper"]),
        (1, &serde_json::Value::Null, &serde_json::Value::Null)
    );
}

#[test]
fn colour_is_only_added() {
    let made = Plan::default().make();
    let report = crate::verify(&made.file(), None, &Bodies::default(), None);
    let (plain, coloured) = (print::human(&report, false), print::human(&report, true));
    assert!(!plain.contains('\x1b') && coloured.contains("\x1b[33;1mCONSISTENT"));
    let mut stripped = coloured;
    for style in ["0", "1", "32", "33", "32;1", "33;1", "31;1"] {
        stripped = stripped.replace(&format!("\x1b[{style}m"), "");
    }
    assert_eq!(stripped, plain);
}

#[test]
fn times_are_read() {
    assert_eq!(parse_time("1794652800"), Ok(1_794_652_800_000_000));
    assert_eq!(parse_time("2026-11-14T10:40:00Z"), Ok(1_794_652_800_000_000));
    assert_eq!(parse_time("2026-11-14T11:40:00.5+01:00"), Ok(1_794_652_800_500_000));
    assert_eq!(parse_time("2026-11-14"), Ok(1_794_614_400_000_000));
    assert!(parse_time("now").is_ok_and(|now| now > NOW - 100_000_000_000_000));
    for wrong in
        ["", "-1", "yesterday", "99999999999999999999", "18446744073709551615", "1969-01-01T00:00:00Z"]
    {
        assert!(parse_time(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_nonce_says_nothing_of_a_copy_that_was_not_given() {
    let files = Files::new();
    let made = Plan { nonce: Some("n-42".into()), ..Plan::default() }.make();
    fs::write(files.path("receipt"), made.file()).unwrap();
    fs::write(files.path("trust"), made.trust_file("{}")).unwrap();
    let (code, out, _) = files.run("@receipt --trust @trust --nonce n-42");
    assert_eq!(code, 0);
    assert!(out.contains("your copy  none was compared; the record holds your nonce"), "{out}");
    let (_, out, _) = files.run("@receipt --trust @trust --nonce n-42 --response @response");
    assert!(out.contains("your copy  tied to the record by: nonce"), "{out}");
}

#[test]
fn a_hostile_file_cannot_act_on_the_terminal() {
    let files = Files::new();
    fs::write(files.path("evil"), "{\"\\u001b[2J\\nTRUSTED\u{202e}\": 1}").unwrap();
    for words in ["@evil --trust @trust", "@receipt --trust @evil"] {
        let (_, out, err) = files.run(words);
        assert!(!format!("{out}{err}").contains(['\u{1b}', '\u{202e}']), "{out}{err}");
        assert!(!format!("{out}{err}").contains("\nTRUSTED"), "{out}{err}");
    }
}
