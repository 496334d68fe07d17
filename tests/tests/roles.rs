//! Two roles of one program: sidecars that post their statements, and replicas of the log that put them in order on one
//! store.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use colophon_tests::certs::Authority;
use colophon_tests::client::get;
use colophon_tests::colophon::{self, Colophon};
use colophon_tests::faults::{Fault, Faults};
use colophon_tests::fleet::{Fleet, ask, exchange, upstream, url, verify};
use colophon_tests::process::Process;
use colophon_tests::receipts::Fetched;
use colophon_tests::session::Session;
use colophon_tests::tsa::{P256, Tsa, TsaServer};
use colophon_tests::wire::Message;
use colophon_tests::{PATIENCE, client, pause, wait_for};
use http::Version;

const KEYS: &str = "/.well-known/colophon/keys";

/// The store of a fleet in a folder.
fn store(folder: &Path) -> String {
    format!("file://{}", folder.join("store").display())
}

/// A replica on the fleet's store that has its heads dated.
fn dated_log(fleet: &Fleet<'_>, tsa: &TsaServer, every: &str) -> Colophon {
    fleet.replica(|options| {
        options.arg(&["--store", &store(fleet.0), "--tsa-every", every, "--tsa", &tsa.url()]);
        options.arg(&["--tsa-root", &tsa.tsa().path("root.pem").display().to_string()]);
    })
}

/// `colophon log check` of the fleet's log, which holds no batches.
fn assert_sound(folder: &Path) -> String {
    let (code, said) = colophon::run(&["log", "check", "--public-only", &store(folder)]);
    assert_eq!(code, 0, "{said}");
    said
}

fn records(folder: &Path) -> usize {
    let (code, shown) = colophon::run(&["log", "show", &store(folder)]);
    assert_eq!(code, 0, "{shown}");
    let counts = shown.lines().filter(|line| line.contains("statement  "));
    counts
        .map(|line| line.split("count=").nth(1).unwrap().split(' ').next().unwrap().parse::<usize>().unwrap())
        .sum()
}

#[test]
fn two_replicas_keep_one_log_for_two_sidecars_of_one_name() {
    let folder = tempfile::tempdir().unwrap();
    let fleet = Fleet::new(folder.path());
    let mut one = fleet.replica(|options| {
        options.arg(&["--store", &store(folder.path())]);
    });
    // It joins a log that its own state does not know.
    let mut two = fleet.replica(|options| {
        options.arg(&["--store", &store(folder.path()), "--adopt"]);
    });
    let upstream = upstream();
    let name = |options: &mut colophon::Options| {
        options.arg(&["--name", "twin"]);
    };
    let mut left = fleet.sidecar(&upstream.url(), &[url(&one), url(&two)], name);
    let mut right = fleet.sidecar(&upstream.url(), &[url(&two), url(&one)], name);
    for _ in 0..3 {
        exchange(&left);
        exchange(&right);
    }
    // The log's files come through either; its key is the log's.
    let served = get(left.listen(), "/v1/colophon/log/1/checkpoint");
    assert_eq!(served.status(), 200);
    assert!(served.text().starts_with("log.example/fleet/1\n"), "{}", served.text());
    assert!(!left.data().join("log").exists());

    // One replica dies: its sidecar goes on with the other.
    one.kill();
    exchange(&left);
    exchange(&right);
    for sidecar in [&mut left, &mut right] {
        assert!(sidecar.stop().success(), "{}", sidecar.process().log());
    }
    two.stop();
    let said = assert_sound(folder.path());
    assert!(said.contains("2 shards") && said.contains("2 closes"), "{said}");
    assert_eq!(records(folder.path()), 8);
}

#[test]
fn a_sidecar_goes_on_without_its_log_and_catches_up() {
    let folder = tempfile::tempdir().unwrap();
    let fleet = Fleet::new(folder.path());
    let mut log = fleet.replica(|options| {
        options.arg(&["--store", &store(folder.path())]);
    });
    let way = Faults::before(log.listen());
    let upstream = upstream();
    let mut sidecar = fleet.sidecar(&upstream.url(), &[way.url()], |_| ());
    exchange(&sidecar);
    log.kill();
    way.set(Fault::Away);
    let waiting: Vec<_> = (0..20).map(|_| ask(&sidecar)).collect();
    let path = waiting[0].header("colophon-receipt").unwrap().trim_matches('"').to_owned();
    assert_eq!(get(sidecar.listen(), &path).status(), 202);

    // Killed while the log is away: what it has said is on disk.
    sidecar.kill();
    log.restart();
    way.point_to(log.listen());
    way.set(Fault::None);
    sidecar.restart();
    for response in &waiting {
        verify(&sidecar, response);
    }
    exchange(&sidecar);
    assert!(sidecar.stop().success(), "{}", sidecar.process().log());
    assert_sound(folder.path());
    assert_eq!(records(folder.path()), 22);
}

#[test]
fn answers_that_are_lost_double_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let fleet = Fleet::new(folder.path());
    let log = fleet.replica(|options| {
        options.arg(&["--store", &store(folder.path())]);
    });
    let way = Faults::before(log.listen());
    let upstream = upstream();
    let mut sidecar = fleet.sidecar(&upstream.url(), &[way.url()], |options| {
        options.batch_every = "50ms".into();
    });
    let mut responses = Vec::new();
    for fault in
        [Fault::LostAnswers, Fault::Unavailable, Fault::Slow(Duration::from_millis(100)), Fault::Mixed]
    {
        way.set(fault);
        for _ in 0..5 {
            responses.push(ask(&sidecar));
            pause(Duration::from_millis(60));
        }
    }
    way.set(Fault::None);
    responses.iter().for_each(|response| verify(&sidecar, response));
    assert!(sidecar.stop().success(), "{}", sidecar.process().log());
    assert_sound(folder.path());
    assert_eq!(records(folder.path()), responses.len());
}

#[test]
fn posts_without_a_token_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let fleet = Fleet::new(folder.path());
    let log = fleet.replica(|options| {
        options.arg(&["--store", &store(folder.path())]);
    });
    for target in ["/v1/colophon/log/shards", "/v1/colophon/log/entries?announced=0"] {
        for authorization in ["", "Authorization: Bearer another-token-of-the-tests\r\n"] {
            let request =
                format!("POST {target} HTTP/1.1\r\nHost: x\r\n{authorization}Content-Length: 1\r\n\r\nx");
            let answer = client::send(log.listen(), request.as_bytes());
            assert_eq!(answer.status(), 401, "{}", answer.text());
        }
    }
    let token = format!("Authorization: Bearer {}\r\n", colophon_tests::fleet::TOKEN);
    for (target, status) in [("shards", 400), ("entries?announced=0", 400), ("entries", 400)] {
        let request = format!(
            "POST /v1/colophon/log/{target} HTTP/1.1\r\nHost: x\r\n{token}Content-Length: 1\r\n\r\nx"
        );
        let answer = client::send(log.listen(), request.as_bytes());
        assert_eq!(answer.status(), status, "{}", answer.text());
        assert!(answer.text().contains("\"code\":\"unfit\""), "{}", answer.text());
    }
    assert_eq!(get(log.listen(), "/v1/colophon/log/1/seq/000000000/000").status(), 404);
    assert_eq!(get(log.admin(), "/readyz").status(), 200);
    let metrics = get(log.admin(), "/metrics").text();
    assert!(metrics.contains("colophon_log_size 1\n"), "{metrics}");
    colophon_tests::openmetrics::parse(&metrics).unwrap();

    // And a log that anybody could post to does not start.
    let (status, said) = Colophon::refused("http://127.0.0.1:1", |options| {
        options.arg(&["--role", "log"]);
    });
    assert!(!status.success() && said.contains("--log-token-file"), "{said}");
}

#[test]
fn sidecars_that_share_a_store_answer_for_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let fleet = Fleet::new(folder.path());
    let log = fleet.replica(|options| {
        options.arg(&["--store", &store(folder.path())]);
    });
    let private = format!("file://{}", folder.path().join("private").display());
    let kek = folder.path().join("kek");
    std::fs::write(&kek, "11".repeat(32)).unwrap();
    std::fs::set_permissions(&kek, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let token = folder.path().join("receipts");
    std::fs::write(&token, [7; 32]).unwrap();
    let shared = |options: &mut colophon::Options| {
        options.arg(&["--store", &store(folder.path()), "--private", &private]);
        options.arg(&["--private-key", &format!("file:{}", kek.display())]);
        options.arg(&["--token-key", &token.display().to_string()]);
    };
    let upstream = upstream();
    let one = fleet.sidecar(&upstream.url(), &[url(&log)], shared);
    let mut two = fleet.sidecar(&upstream.url(), &[url(&log)], shared);
    let response = ask(&two);
    let path = response.header("colophon-receipt").unwrap().trim_matches('"').to_owned();
    verify(&two, &response);
    two.kill();
    // Asked of the other, whose head learns of the log with its own next statement.
    let found = wait_for(PATIENCE, || {
        let answer = get(one.listen(), &path);
        if answer.status() != 200 {
            exchange(&one);
        }
        (answer.status() == 200).then_some(answer)
    });
    let receipt = Fetched::parse(found.expect("the other sidecar's receipt").body);
    let (code, said) = receipt.verify(one.listen(), None, None);
    assert_eq!(code, 0, "{said}");
    let (code, said) = colophon::run(&["log", "check", &store(folder.path())]);
    assert_eq!(code, 0, "{said}");
}

#[test]
fn a_certificate_by_the_right_authority_is_enough() {
    let folder = tempfile::tempdir().unwrap();
    Fleet::new(folder.path());
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (ours, strangers) = (Authority::new(), Authority::new());
    ours.write(&folder.path().join("ca.pem"));
    for (name, authority) in [("server", &ours), ("sidecar", &ours), ("stranger", &strangers)] {
        let key = folder.path().join(format!("{name}.key"));
        authority.issue(name).write(&folder.path().join(format!("{name}.pem")), &key);
    }
    let mut log = Colophon::start("http://127.0.0.1:1", |options| {
        options.arg(&["--role", "log", "--log-key", &path("log.pem"), "--store", &store(folder.path())]);
        options.arg(&["--tls-cert", &path("server.pem"), "--tls-key", &path("server.key")]);
        options.arg(&["--log-client-ca", &path("ca.pem")]);
    });
    let url = format!("https://{}", log.listen());
    let upstream = upstream();
    let mut sidecar = Colophon::start(&upstream.url(), |options| {
        options.arg(&["--log-url", &url, "--log-ca", &path("ca.pem")]);
        options.arg(&["--log-client-cert", &path("sidecar.pem"), "--log-client-key", &path("sidecar.key")]);
    });
    exchange(&sidecar);
    assert!(sidecar.stop().success(), "{}", sidecar.process().log());

    // The log speaks HTTP/1.1, and does not let a client agree on anything else.
    let reader = ours.issue("reader");
    let mut reader = Session::tls(log.listen(), ours.client_as(&reader, &["h2", "http/1.1"])).unwrap();
    assert_eq!(
        (reader.version(), reader.get("/.well-known/colophon/keys").status()),
        (Version::HTTP_11, 200)
    );
    assert!(Session::tls(log.listen(), ours.client(&["h2"])).is_err(), "no protocol in common");

    // With a certificate of others, with none, and without knowing the log's authority.
    let stranger = [
        "--log-ca",
        &path("ca.pem"),
        "--log-client-cert",
        &path("stranger.pem"),
        "--log-client-key",
        &path("stranger.key"),
    ]
    .map(str::to_owned);
    let none = ["--log-ca".to_owned(), path("ca.pem")];
    let cases: [&[String]; 3] = [&stranger, &none, &[]];
    for (n, case) in cases.into_iter().enumerate() {
        let data = path(&format!("data-{n}"));
        let mut command = colophon::command(&["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
        command.args(["--log-url", &url, "--data", &data, "--state", &path("state")]).args(case);
        let mut process = Process::start(&mut command, &folder.path().join(format!("log-{n}")));
        let told = wait_for(PATIENCE, || process.log().contains("the log does not answer").then_some(()));
        assert!(told.is_some() && process.ended().is_none(), "{}", process.log());
        process.kill();
    }
    assert!(log.stop().success());
    assert_sound(folder.path());
    assert_eq!(records(folder.path()), 1);
}

#[test]
fn a_shard_revoked_at_the_running_log_is_refused_and_its_sidecar_goes_on_with_another() {
    let folder = tempfile::tempdir().unwrap();
    let fleet = Fleet::new(folder.path());
    let mut log = fleet.replica(|options| {
        options.arg(&["--store", &store(folder.path())]);
    });
    let upstream = upstream();
    let mut sidecar = fleet.sidecar(&upstream.url(), &[url(&log)], |_| ());
    let shard = |response: &colophon_tests::wire::Message| {
        let record = response.header("colophon-record").expect("a record").to_owned();
        record.split("shard=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a shard").to_owned()
    };
    let before = ask(&sidecar);
    verify(&sidecar, &before);
    let stolen = shard(&before);
    // Whoever reaches the admin side and lacks the token may not.
    let body = format!("{{\"shard\":\"{stolen}\",\"reason\":\"key-compromise\",\"from\":null}}");
    let refused = client::post(log.admin(), "/revoke", &body);
    assert_eq!(refused.status(), 401, "{}", refused.text());
    let data = log.data().display().to_string();
    let revoke = ["key", "revoke", "--data", &data, "--shard", &stolen, "--reason", "key-compromise"];
    let (code, said) = colophon::run(&revoke);
    assert!(code == 0 && said.contains("revoked, by leaf"), "{said}");
    let (code, said) = colophon::run(&revoke);
    assert!(code == 1 && said.contains("is revoked, by leaf"), "{said}");

    let after = ask(&sidecar);
    verify(&sidecar, &after);
    let next = wait_for(PATIENCE, || Some(ask(&sidecar)).filter(|response| shard(response) != stolen));
    verify(&sidecar, &next.expect("another shard"));
    verify(&sidecar, &before);
    assert!(sidecar.stop().success(), "{}", sidecar.process().log());
    assert!(sidecar.process().log().contains("revoked"), "{}", sidecar.process().log());
    log.stop();
    assert_sound(folder.path());
    // Stopped, the log is opened in its place.
    let key = folder.path().join("log.pem").display().to_string();
    let (store, state) = (store(folder.path()), log.state().display().to_string());
    let more = ["--store", &store, "--state", &state, "--log-key", &key];
    let (code, said) = colophon::run(&[&revoke[..], &more].concat());
    assert!(code == 1 && said.contains("revoked already"), "{said}");
}

#[test]
fn a_sidecar_starts_without_its_log_serves_and_catches_up() {
    let folder = tempfile::tempdir().unwrap();
    let fleet = Fleet::new(folder.path());
    let log = fleet.replica(|options| {
        options.arg(&["--store", &store(folder.path())]);
    });
    let keys: serde_json::Value =
        serde_json::from_slice(&get(log.listen(), "/v1/colophon/keys").body).unwrap();
    let vkey = keys["logs"][0]["vkey"].as_str().unwrap().to_owned();
    let way = Faults::before(log.listen());
    way.set(Fault::Away);
    let upstream = upstream();
    let mut sidecar = fleet.sidecar(&upstream.url(), &[way.url()], |options| {
        options.arg(&["--log-vkey", &vkey]);
    });
    let mut waiting: Vec<_> = (0..5).map(|_| ask(&sidecar)).collect();
    let path = waiting[0].header("colophon-receipt").unwrap().trim_matches('"').to_owned();
    assert_eq!(get(sidecar.listen(), &path).status(), 202);
    // No head of the log is known, so none is vouched for.
    assert!(waiting[0].header("colophon-log").is_none() && waiting[0].header("signature").is_none());
    // Killed, and again without the log.
    sidecar.kill();
    sidecar.restart();
    waiting.extend((0..5).map(|_| ask(&sidecar)));
    assert_eq!(get(sidecar.listen(), &path).status(), 202);
    way.set(Fault::None);
    waiting.iter().for_each(|response| verify(&sidecar, response));
    let after = ask(&sidecar);
    assert!(after.header("colophon-log").is_some() && after.header("signature").is_some());
    verify(&sidecar, &after);
    assert!(sidecar.stop().success(), "{}", sidecar.process().log());
    assert_sound(folder.path());
    assert_eq!(records(folder.path()), 11);
}

/// The log role's key is rotated: sidecars go on, still give out what was recorded before, and whoever asks for the keys gets those of
/// both generations.
#[test]
fn receipts_outlive_a_rotation_of_the_log_roles_key() {
    let (folder, fresh) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let fleet = Fleet::new(folder.path());
    let mut log = fleet.replica_on_disk();
    let (way, upstream) = (Faults::before(log.listen()), upstream());
    let mut sidecar = fleet.sidecar(&upstream.url(), &[way.url()], |_| ());
    let old = ask(&sidecar);
    verify(&sidecar, &old);
    assert!(sidecar.stop().success() && log.stop().success());
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (data, state, store) = (log.data(), log.state(), store(folder.path()));
    let (data, state) = (data.to_str().unwrap(), state.to_str().unwrap());
    assert_eq!(colophon::run(&["key", "generate", &path("new.pem")]).0, 0);
    let rotate = ["key", "rotate", "--data", data, "--state", state, "--store", &store];
    let (code, said) = colophon::run(
        &[&rotate[..], &["--log-key", &path("log.pem"), "--new-key", &path("new.pem")]].concat(),
    );
    assert_eq!(code, 0, "{said}");
    std::fs::rename(path("new.pem"), path("log.pem")).unwrap();
    log.restart();
    way.point_to(log.listen());
    sidecar.restart();
    verify(&sidecar, &ask(&sidecar));
    verify(&sidecar, &old);
    for (who, keys) in [("log", get(log.listen(), KEYS)), ("sidecar", get(sidecar.listen(), KEYS))] {
        let keys = keys.text();
        assert!(
            keys.contains("log.example/fleet/1\"") && keys.contains("log.example/fleet/2\""),
            "{who}: {keys}"
        );
    }
    // A sidecar that never knew the first generation learns of it, too.
    let newcomer = fleet.sidecar(&upstream.url(), &[way.url()], |options| {
        options.data = Some(fresh.path().join("data"));
    });
    assert!(get(newcomer.listen(), KEYS).text().contains("log.example/fleet/1\""));
    // And what the first generation holds can be erased: its batches are found.
    let id = &old.header("colophon-record").unwrap()[1..37];
    let data = sidecar.data().display().to_string();
    let (code, said) = colophon::run(&["erase", "--data", &data, "--record", id]);
    assert!(code == 0, "{said}");
}

/// What the log role's operator sees: witnesses and TSAs are its own, not the sidecars'.
#[test]
fn the_log_role_says_who_vouches_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let (fleet, tsa) = (Fleet::new(folder.path()), Tsa::new(P256).serve());
    let log = dated_log(&fleet, &tsa, "1h");
    let dated = client::post(log.admin(), "/timestamp", "");
    assert!(dated.status() == 200 && dated.text().contains("\"dated\":[\""), "{}", dated.text());
    for name in ["colophon_anchor_age_seconds", "colophon_log_size"] {
        assert!(log.metric(name).is_some(), "{name}");
    }
    let metrics = get(log.admin(), "/metrics").text();
    assert!(metrics.contains("\ncolophon_tsa_tokens_total{tsa=\""), "{metrics}");
    let page: serde_json::Value = serde_json::from_slice(&get(log.admin(), "/statusz").body).unwrap();
    assert_eq!(
        (&page["role"], &page["log"]["origin"]),
        (&"log".into(), &"log.example/fleet/1".into()),
        "{page:#}"
    );
    assert!(page["dated"].is_string() && page["witnesses_agree_on"].is_null(), "{page:#}");
    // Without a TSA there is nothing to ask for.
    let other = fleet.replica(|options| {
        options.arg(&["--store", &format!("file://{}", folder.path().join("other").display())]);
    });
    assert_eq!(client::post(other.admin(), "/timestamp", "").status(), 409);
}

/// The µs of now.
fn now() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros()).unwrap()
}

/// Nothing in the log says that a record is older than the log itself can: what comes late is dated late, though its own
/// clock says otherwise and others were dated meanwhile.
#[test]
fn a_statement_that_comes_late_is_dated_when_it_came() {
    let folder = tempfile::tempdir().unwrap();
    let (fleet, tsa) = (Fleet::new(folder.path()), Tsa::new(P256).serve());
    let log = dated_log(&fleet, &tsa, "1s");
    let (way, upstream) = (Faults::before(log.listen()), upstream());
    let mut sidecar = fleet.sidecar(&upstream.url(), &[way.url()], |options| {
        options.arg(&["--store", &store(folder.path())]);
    });
    let early = ask(&sidecar);
    verify(&sidecar, &early);
    way.set(Fault::Away);
    let late = ask(&sidecar);
    let asked = now();
    // The TSA's clock vouches for 1.5 s: what is before this is told from what is after.
    pause(Duration::from_secs(5));
    let back = now();
    way.set(Fault::None);
    verify(&sidecar, &late);
    // Both dated by the log; a sidecar finds that at its start, and from time to time.
    let trust = get(log.listen(), "/v1/colophon/keys").body;
    let mut times = |response: &Message| {
        let dated = wait_for(PATIENCE, || {
            sidecar.stop();
            sidecar.restart();
            let fetched = Fetched::of(response, sidecar.listen());
            (!fetched.receipt().anchors.is_empty()).then_some(fetched)
        });
        let fetched = dated.expect("a dated receipt");
        let (code, report) = fetched.report(&trust, &[]);
        assert_eq!((code, &report["result"]), (0, &"trusted".into()), "{report:#}");
        (fetched.leaf.completed_at, report["time"]["upper"].as_u64().unwrap())
    };
    let (of_early, of_late) = (times(&early), times(&late));
    assert!(of_early.0 <= of_early.1 && of_early.1 < back, "{of_early:?}, back at {back}");
    assert!(of_late.0 <= asked && of_late.1 >= back, "{of_late:?}, asked at {asked}, back at {back}");
}
