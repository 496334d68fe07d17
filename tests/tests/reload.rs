//! Another policy without a restart: a file edited, replaced behind a symlink, spoilt and mended, while traffic goes on and
//! at any moment of a kill. Every record names the policy that decided it, and its text can be shown.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use colophon_receipt::cbor::Value;
use colophon_receipt::fields;
use colophon_receipt::merkle::sha256;
use colophon_tests::client::{get, post};
use colophon_tests::colophon::{self, Colophon};
use colophon_tests::receipts::Fetched;
use colophon_tests::upstream::Upstream;
use colophon_tests::wire::Message;
use colophon_tests::{PATIENCE, log, paths, pause, process, wait_for};

const CHAT: &str = "/v1/chat/completions";
const OK: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n{\"id\":\"x\"}";

/// A policy whose only rule has this name and level.
fn policy(rule: &str, level: &str) -> String {
    format!(
        "apiVersion: colophon.dev/v1alpha1\nkind: ProvenancePolicy\nmetadata: {{name: of-{rule}}}\nspec:\n  defaults: \
         {{level: commit, failurePolicy: Ignore}}\n  rules:\n  - name: {rule}\n    matches: [{{apis: [chat]}}]\n    \
         level: {level}\n"
    )
}

/// The digest of a policy's canonical text.
fn digest(colophon: &Colophon, policy: &str) -> [u8; 32] {
    let file = colophon.folder().join("canonical.yaml");
    fs::write(&file, policy).expect("a policy file");
    let output = process::run(colophon::command(&["policy", "show"]).arg(&file), PATIENCE);
    sha256(output.stdout.strip_suffix(b"\n").expect("a line"))
}

/// Rule, policy digest and level granted, as a receipt says.
fn decision(receipt: &Fetched) -> (String, [u8; 32], u64) {
    let Some(Value::Map(entries)) = receipt.field(fields::DECISION) else { panic!("no decision") };
    let get = |key: u64| entries.iter().find(|(k, _)| *k == key).map(|(_, value)| value).expect("a key");
    let rule = String::from_utf8(get(1).as_bytes("rule").unwrap().to_vec()).unwrap();
    (rule, get(2).as_array("policy").unwrap(), get(4).as_uint("level").unwrap())
}

fn decided(colophon: &Colophon) -> (String, [u8; 32], u64) {
    decision(&Fetched::of(&post(colophon.listen(), CHAT, "{}"), colophon.listen()))
}

fn until_rule(colophon: &Colophon, rule: &str) {
    let seen = wait_for(PATIENCE, || {
        let about = get(colophon.listen(), "/.well-known/colophon/about").text();
        about.contains(&format!("\"of-{rule}\"")).then_some(())
    });
    assert!(seen.is_some(), "the policy of {rule} does not come into force");
}

/// `colophon log check --json`, which has to succeed.
fn checked(colophon: &Colophon) -> serde_json::Value {
    let (code, said) = colophon::run(&["log", "check", "--json", &colophon.data().display().to_string()]);
    assert_eq!(code, 0, "{said}");
    serde_json::from_str(&said).expect("a report")
}

fn with_policy(upstream: &Upstream, text: &str) -> Colophon {
    Colophon::start(&upstream.url(), |options| options.policy = Some(text.to_owned()))
}

#[test]
fn an_edited_file_comes_into_force_and_a_bad_one_does_not() {
    let upstream = Upstream::answering(OK);
    let mut colophon = with_policy(&upstream, &policy("one", "sign"));
    let file = colophon.folder().join("policy.yaml");
    assert_eq!(decided(&colophon), ("one".into(), digest(&colophon, &policy("one", "sign")), 2));
    fs::write(&file, policy("two", "commit")).unwrap();
    until_rule(&colophon, "two");
    assert_eq!(decided(&colophon), ("two".into(), digest(&colophon, &policy("two", "commit")), 1));
    assert_eq!(colophon.metric("colophon_policy_reloads_total"), Some(1.0));
    // Who watches many asks each which one it has.
    let in_force = |name: &str, policy: &str| {
        let digest = hex::encode(digest(&colophon, policy));
        let version = env!("CARGO_PKG_VERSION");
        colophon.metric(&format!(
            "colophon_policy_in_force{{name=\"{name}\",digest=\"{digest}\",version=\"{version}\"}}"
        ))
    };
    assert_eq!(in_force("of-two", &policy("two", "commit")), Some(1.0));
    assert_eq!(in_force("of-one", &policy("one", "sign")), None);

    // Bad: the old one stays, and says so until it is mended.
    fs::write(&file, policy("three", "sing")).unwrap();
    colophon.signal("HUP");
    let failed = || (colophon.metric("colophon_policy_reload_failed") == Some(1.0)).then_some(());
    assert!(wait_for(PATIENCE, failed).is_some(), "no alarm");
    let said = wait_for(PATIENCE, || {
        let log = colophon.process().log();
        log.contains("policy.yaml:9:12: ").then_some(log)
    });
    assert!(said.is_some_and(|log| log.contains("old policy stays in force")), "no place in the log");
    assert_eq!(decided(&colophon).0, "two");
    pause(Duration::from_secs(3));
    assert_eq!(colophon.metric("colophon_policy_reload_failed"), Some(1.0), "it stays up");
    assert_eq!(decided(&colophon).0, "two");
    fs::remove_file(&file).unwrap();
    colophon.signal("HUP");
    pause(Duration::from_millis(200));
    assert_eq!(
        (decided(&colophon).0.as_str(), colophon.metric("colophon_policy_reload_failed")),
        ("two", Some(1.0))
    );
    fs::write(&file, policy("two", "commit")).unwrap();
    let mended = || (colophon.metric("colophon_policy_reload_failed") == Some(0.0)).then_some(());
    assert!(wait_for(PATIENCE, mended).is_some(), "mended, and the alarm stays");
    assert_eq!(colophon.metric("colophon_policy_reloads_total"), Some(1.0), "the same policy is no change");
    assert!(colophon.stop().success());
    let report = checked(&colophon);
    assert_eq!((&report["policy_changes"], &report["policies"]), (&1.into(), &2.into()), "{report}");
}

/// A Kubernetes ConfigMap: the file is a link into `..data`, which is replaced as a whole.
#[test]
fn a_replaced_symlink_is_seen() {
    let upstream = Upstream::answering(OK);
    let folder = tempfile::tempdir().unwrap();
    let version = |name: &str, text: &str| {
        fs::create_dir(folder.path().join(name)).unwrap();
        fs::write(folder.path().join(name).join("policy.yaml"), text).unwrap();
    };
    version("..1", &policy("one", "sign"));
    symlink("..1", folder.path().join("..data")).unwrap();
    symlink("..data/policy.yaml", folder.path().join("policy.yaml")).unwrap();
    let path = folder.path().join("policy.yaml").display().to_string();
    let colophon = Colophon::start(&upstream.url(), |options| {
        options.arg(&["--policy", &path]);
    });
    assert_eq!(decided(&colophon).0, "one");
    version("..2", &policy("two", "sign"));
    symlink("..2", folder.path().join("..data_tmp")).unwrap();
    fs::rename(folder.path().join("..data_tmp"), folder.path().join("..data")).unwrap();
    fs::remove_dir_all(folder.path().join("..1")).unwrap();
    until_rule(&colophon, "two");
    assert_eq!(decided(&colophon).0, "two");
}

/// Every record's rule, level and digest are of one of the two policies, whatever is going on.
fn agrees(receipt: &Fetched, policies: &[(String, [u8; 32], u64); 2]) {
    let said = decision(receipt);
    assert!(policies.contains(&said), "{said:?}");
    assert_eq!(receipt.leaf.level.code(), said.2);
}

#[test]
fn reloads_race_with_traffic_and_with_kills() {
    let upstream = Upstream::answering(OK);
    let texts = [policy("one", "sign"), policy("two", "commit")];
    let mut colophon = with_policy(&upstream, &texts[0]);
    let policies = [
        ("one".to_owned(), digest(&colophon, &texts[0]), 2),
        ("two".to_owned(), digest(&colophon, &texts[1]), 1),
    ];
    let file = colophon.folder().join("policy.yaml");
    let mut swapped = 0.0;
    for life in 0..3 {
        let (over, listen) = (AtomicBool::new(false), colophon.listen());
        let answers: Vec<Message> = thread::scope(|scope| {
            let ask = || {
                let mut answers = Vec::new();
                while !over.load(Ordering::Relaxed) {
                    answers.push(post(listen, CHAT, "{}"));
                }
                answers
            };
            let clients: Vec<_> = (0..3).map(|_| scope.spawn(ask)).collect();
            for round in 0..6 + life {
                let new = file.with_extension("new");
                fs::write(&new, &texts[(round + 1) % 2]).unwrap();
                fs::rename(&new, &file).unwrap();
                colophon.signal("HUP");
                pause(Duration::from_millis(150));
            }
            over.store(true, Ordering::Relaxed);
            clients.into_iter().flat_map(|client| client.join().expect("a client")).collect()
        });
        swapped += colophon.metric("colophon_policy_reloads_total").expect("a counter");
        // Killed right after one more.
        fs::write(&file, &texts[life % 2]).unwrap();
        colophon.signal("HUP");
        pause(Duration::from_millis(7 * life as u64));
        colophon.kill();
        colophon.options().policy = Some(texts[life % 2].clone());
        colophon.restart();
        assert!(!answers.is_empty());
        for answer in &answers {
            agrees(&Fetched::of(answer, colophon.listen()), &policies);
        }
    }
    assert!(swapped >= 6.0, "the race needs reloads: {swapped}");
    assert!(colophon.stop().success());
    let report = checked(&colophon);
    assert!(report["policy_changes"].as_u64().is_some_and(|changes| changes as f64 >= swapped), "{report}");
    assert_eq!(report["policies"], 2, "{report}");
}

/// The text is shown by the export and by `--policy`; one that is altered or gone is found.
#[test]
fn the_rule_that_decided_can_be_shown() {
    let upstream = Upstream::answering(OK);
    let mut colophon = with_policy(&upstream, &policy("one", "sign"));
    let receipt = Fetched::of(&post(colophon.listen(), CHAT, "{}"), colophon.listen());
    let digest: String = decision(&receipt).1.iter().map(|byte| format!("{byte:02x}")).collect();
    let trust = colophon.folder().join("trust.json");
    fs::write(&trust, get(colophon.listen(), "/.well-known/colophon/keys").body).unwrap();
    assert!(colophon.stop().success());
    let export = colophon.folder().join("export");
    let (data, to) = (colophon.data().display().to_string(), export.display().to_string());
    let (code, said) =
        colophon::run(&["receipt", "export", &data, "-o", &to, "--trust", &trust.display().to_string()]);
    assert_eq!(code, 0, "{said}");
    let text = export.join(format!("policy/{digest}.json"));

    let file = colophon.folder().join("receipt.json");
    fs::write(&file, &receipt.json).unwrap();
    let verify = |what: &Path, policy: Option<&Path>| {
        let mut command = Command::new(paths::program("colophon-verify"));
        command.arg(what).arg("--trust").arg(&trust);
        if let Some(policy) = policy {
            command.arg("--policy").arg(policy);
        }
        let output = process::run(&mut command, PATIENCE);
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (code, said) = verify(&file, None);
    assert!(code == Some(0) && said.contains(&format!("\"one\" of policy {digest}")), "{said}");
    assert!(said.contains("sign asked, sign granted") && !said.contains("\"matches\""), "{said}");
    let (code, said) = verify(&file, Some(&text));
    assert!(code == Some(0) && said.contains("\"matches\"") && said.contains("\"name\":\"one\""), "{said}");
    let other = colophon.folder().join("other.json");
    fs::write(&other, fs::read_to_string(&text).unwrap().replace("sign", "pass")).unwrap();
    let (code, said) = verify(&file, Some(&other));
    assert!(code == Some(1) && said.contains("another policy"), "{said}");
    assert_eq!(verify(&export, None).0, Some(0));

    // Altered in the export; gone from it; altered in the store, and gone from there.
    let kept = fs::read(&text).unwrap();
    fs::write(&text, fs::read(&other).unwrap()).unwrap();
    assert_eq!(verify(&export, None).0, Some(1));
    fs::remove_file(&text).unwrap();
    let (code, said) = verify(&export, None);
    assert!(code == Some(0) && said.contains("policies' texts are not here"), "{said}");
    let stored = colophon.data().join(format!("policy/{digest}.json"));
    assert_eq!(fs::read(&stored).unwrap(), kept);
    for spoil in [|path: &Path| fs::write(path, "{}").unwrap(), |path: &Path| fs::remove_file(path).unwrap()]
    {
        spoil(&stored);
        let (code, said) = colophon::run(&["log", "check", &data]);
        assert!(code == 1 && said.contains(&format!("policy/{digest}.json")), "{code} {said}");
    }
    assert!(!log::files(&colophon.data()).is_empty());
}
