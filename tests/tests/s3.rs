//! The main job on a real S3 server: log, batches and index in a bucket, openings in another.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use colophon_tests::colophon::{self, Colophon, Options};
use colophon_tests::faults::{Fault, Faults};
use colophon_tests::fleet::{Fleet, ask, exchange, upstream, url, verify};
use colophon_tests::s3::{KEY, S3, SECRET};
use colophon_tests::{PATIENCE, pause};

/// `colophon log check` of a store: its exit code, and what it said.
fn check(server: &S3, url: &str) -> (i32, String) {
    check_within(PATIENCE, server, url)
}

/// The same of a log of some length.
fn check_within(limit: Duration, server: &S3, url: &str) -> (i32, String) {
    let mut options = Options::default();
    server.keep_in(url, &mut options);
    colophon::run_within(limit, &["log", "check", url], &options.env)
}

#[test]
fn the_main_job_on_s3() {
    let Some(server) = S3::start("the_main_job_on_s3") else { return };
    server.make_bucket("records", false);
    server.make_bucket("openings", false);
    let upstream = upstream();
    let mut colophon = Colophon::start(&upstream.url(), |options| {
        server.keep_in("s3://records/clinic", options);
        options.arg(&["--private", "s3://openings/clinic"]);
    });
    exchange(&colophon);
    // Nothing of it is on the local disk but WAL and keys.
    for part in ["log", "shard", "index"] {
        assert!(!colophon.data().join(part).exists(), "{part}");
    }
    assert!(server.bucket_folder("records").join("clinic/log/1/checkpoint").exists());
    assert!(server.bucket_folder("openings").join("clinic").is_dir());

    // A crash, and a clean end.
    colophon.kill();
    colophon.restart();
    exchange(&colophon);
    assert!(colophon.stop().success(), "{}", colophon.process().log());
    let (code, said) = check(&server, "s3://records/clinic");
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("records     2 in 2 batches"), "{said}");
    colophon.restart();
    exchange(&colophon);
}

#[test]
fn wrong_credentials_and_missing_buckets_are_told() {
    let Some(server) = S3::start("wrong_credentials_and_missing_buckets_are_told") else { return };
    server.make_bucket("records", false);
    let refused = |url: &str, key: &str, secret: &str| {
        let (status, said) = Colophon::refused("http://127.0.0.1:1", |options| {
            server.keep_in(url, options);
            options.env.push(("AWS_ACCESS_KEY_ID".into(), key.into()));
            options.env.push(("AWS_SECRET_ACCESS_KEY".into(), secret.into()));
        });
        assert_eq!(status.code(), Some(1), "{said}");
        assert!(!said.contains(SECRET), "{said}");
        said
    };
    let said = refused("s3://records/a", KEY, "wrong");
    assert!(said.contains("refuses these credentials"), "{said}");
    // versitygw says 404 to a key that it does not know.
    let said = refused("s3://records/a", "wrong", SECRET);
    assert!(said.contains("no such bucket or account"), "{said}");
    let said = refused("s3://nowhere/a", KEY, SECRET);
    assert!(said.contains("no such bucket or account") && said.contains("NoSuchBucket"), "{said}");
}

/// Copies a bucket with what the server knows of its objects.
fn copy(from: &Path, to: &Path) {
    let _ = std::fs::remove_dir_all(to);
    let status = Command::new("cp").arg("-a").args([from, to]).status();
    assert!(status.is_ok_and(|status| status.success()), "cp -a {} {}", from.display(), to.display());
}

#[test]
fn a_bucket_rolled_back_or_copied_is_refused() {
    let Some(server) = S3::start("a_bucket_rolled_back_or_copied_is_refused") else { return };
    server.make_bucket("records", false);
    let upstream = upstream();
    let mut colophon = Colophon::start(&upstream.url(), |options| server.keep_in("s3://records/a", options));
    exchange(&colophon);
    assert!(colophon.stop().success());
    let (bucket, yesterday) = (server.bucket_folder("records"), server.bucket_folder("yesterday"));
    copy(&bucket, &yesterday);
    colophon.restart();
    exchange(&colophon);
    assert!(colophon.stop().success());

    // Another machine with the log's key, and a copy of the bucket.
    let key = colophon.data().join("keys/log.pem");
    let (status, said) = Colophon::refused(&upstream.url(), |options| {
        server.keep_in("s3://yesterday/a", options);
        options.arg(&["--log-key", &key.display().to_string()]);
    });
    assert!(!status.success() && said.contains("not known to this machine"), "{said}");

    copy(&yesterday, &bucket);
    let (status, said) = colophon.try_start();
    assert!(status.is_some_and(|status| !status.success()) && said.contains("rolled back"), "{said}");

    // And a log whose key is gone is not taken for a new one.
    let (status, said) =
        Colophon::refused(&upstream.url(), |options| server.keep_in("s3://records/a", options));
    assert!(!status.success() && said.contains("its key"), "{said}");
}

#[test]
fn a_server_that_stops_and_starts_costs_no_record() {
    let Some(mut server) = S3::start("a_server_that_stops_and_starts_costs_no_record") else { return };
    server.make_bucket("records", false);
    let upstream = upstream();
    let mut colophon = Colophon::start(&upstream.url(), |options| server.keep_in("s3://records/a", options));
    let mut responses = vec![ask(&colophon)];
    for _ in 0..2 {
        server.kill();
        responses.extend((0..10).map(|_| ask(&colophon)));
        pause(Duration::from_secs(1));
        server.restart();
        responses.push(ask(&colophon));
    }
    responses.iter().for_each(|response| verify(&colophon, response));
    // Away at the end too: what is not logged is logged at the next start.
    server.kill();
    responses.push(ask(&colophon));
    let status = colophon.stop();
    assert!(!status.success(), "{}", colophon.process().log());
    server.restart();
    colophon.restart();
    assert!(colophon.stop().success());
    let (code, said) = check(&server, "s3://records/a");
    assert_eq!(code, 0, "{said}");
    assert!(said.contains(&format!("records     {} in", responses.len())), "{said}");
}

#[test]
fn slow_and_erring_answers_double_and_lose_nothing() {
    let Some(server) = S3::start("slow_and_erring_answers_double_and_lose_nothing") else { return };
    server.make_bucket("records", false);
    let way = Faults::before(server.address());
    let upstream = upstream();
    let mut colophon = Colophon::start(&upstream.url(), |options| {
        server.keep_behind("s3://records/a", way.address(), options);
    });
    let mut responses = Vec::new();
    let faults = [Fault::Mixed, Fault::LostAnswers, Fault::Unavailable, Fault::Away, Fault::Mixed];
    for fault in faults {
        way.set(fault);
        for _ in 0..4 {
            responses.push(ask(&colophon));
            pause(Duration::from_millis(250));
        }
    }
    way.set(Fault::None);
    responses.iter().for_each(|response| verify(&colophon, response));
    assert!(colophon.stop().success(), "{}", colophon.process().log());
    let (code, said) = check(&server, "s3://records/a");
    assert_eq!(code, 0, "{said}");
    assert!(said.contains(&format!("records     {} in", responses.len())), "{said}");
}

#[test]
fn two_replicas_race_for_half_a_minute() {
    let Some(server) = S3::start("two_replicas_race_for_half_a_minute") else { return };
    server.make_bucket("fleet", false);
    let folder = tempfile::tempdir().unwrap();
    let fleet = Fleet::new(folder.path());
    let keep = |options: &mut Options| server.keep_in("s3://fleet/log", options);
    let mut replicas = vec![fleet.replica(keep)];
    replicas.push(fleet.replica(|options| {
        keep(options);
        options.arg(&["--adopt"]);
    }));
    let urls: Vec<String> = replicas.iter().map(url).collect();
    let upstream = upstream();
    let mut sidecars: Vec<Colophon> = (0..4)
        .map(|n| {
            // Half of them ask the other replica first.
            let urls: Vec<String> = urls.iter().cycle().skip(n).take(2).cloned().collect();
            fleet.sidecar(&upstream.url(), &urls, |options| {
                server.keep_in("s3://fleet/log", options);
                options.batch_every = "50ms".into();
            })
        })
        .collect();
    let (start, mut asked) = (Instant::now(), 0);
    let mut last = Vec::new();
    while start.elapsed() < Duration::from_secs(30) {
        last = sidecars.iter().map(ask).collect();
        asked += last.len();
        pause(Duration::from_millis(20));
    }
    sidecars.iter().zip(&last).for_each(|(sidecar, response)| verify(sidecar, response));
    for process in sidecars.iter_mut().chain(&mut replicas) {
        assert!(process.stop().success(), "{}", process.process().log());
    }
    // Each may be a batch of its own, with an object in the log and one beside it to read.
    let limit = PATIENCE + Duration::from_millis(50) * asked as u32;
    let (code, said) = check_within(limit, &server, "s3://fleet/log");
    assert_eq!(code, 0, "{said}");
    assert!(said.contains(&format!("records     {asked} in")), "{asked} asked:\n{said}");
    eprintln!("{asked} exchanges:\n{said}");
}

#[test]
fn a_bucket_under_object_lock_keeps_everything() {
    let Some(server) = S3::start("a_bucket_under_object_lock_keeps_everything") else { return };
    server.make_bucket("records", true);
    let rule = b"<ObjectLockConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
        <ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule><DefaultRetention><Mode>COMPLIANCE</Mode><Days>1</Days>\
        </DefaultRetention></Rule></ObjectLockConfiguration>";
    let answer = server.request("PUT", "records", "", &[("object-lock", "")], rule);
    assert_eq!(answer.status(), 200, "{}", answer.text());
    let upstream = upstream();
    let folder = tempfile::tempdir().unwrap();
    let private = format!("file://{}", folder.path().join("openings").display());
    let mut colophon = Colophon::start(&upstream.url(), |options| {
        server.keep_in("s3://records/a", options);
        options.arg(&["--private", &private]);
        options.batch_every = "30ms".into();
    });
    for _ in 0..10 {
        exchange(&colophon);
    }
    assert!(colophon.stop().success());
    let (code, said) = check(&server, "s3://records/a");
    assert_eq!(code, 0, "{said}");

    // Nothing but the checkpoint was ever written with other bytes.
    let versions = server.versions("records");
    let mut by_key: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for version in &versions {
        by_key.entry(&version.key).or_default().push(&version.e_tag);
    }
    assert!(by_key.keys().any(|key| key.contains("/shard/")) && by_key.len() > 30, "{by_key:?}");
    for (key, tags) in &mut by_key {
        tags.sort_unstable();
        tags.dedup();
        assert!(tags.len() == 1 || key.ends_with("log/1/checkpoint"), "{key}: {tags:?}");
    }
    // And nobody can delete any of it, whoever has the credentials.
    for version in &versions {
        let query = [("versionId", version.id.as_str())];
        let refused = server.request("DELETE", "records", &version.key, &query, b"");
        assert_eq!(refused.status(), 403, "{version:?}: {}", refused.text());
        let kept = server.request("GET", "records", &version.key, &query, b"");
        assert_eq!(kept.status(), 200, "{version:?}");
    }
}

#[test]
fn a_bucket_that_is_full_costs_no_record() {
    let server = S3::start_small("a_bucket_that_is_full_costs_no_record", 400_000);
    let Some(server) = server else { return };
    server.make_bucket("records", false);
    let upstream = upstream();
    let mut colophon = Colophon::start(&upstream.url(), |options| {
        server.keep_in("s3://records/a", options);
        options.batch_every = "30ms".into();
    });
    let mut responses = Vec::new();
    let full = "logging failed";
    while !colophon.process().log().contains(full) {
        responses.push(ask(&colophon));
        pause(Duration::from_millis(20));
        assert!(responses.len() < 2000, "400 kB hold {} records?", responses.len());
    }
    responses.extend((0..20).map(|_| ask(&colophon)));
    server.grow(50 << 20);
    verify(&colophon, &responses[responses.len() - 1]);
    assert!(colophon.stop().success(), "{}", colophon.process().log());
    let (code, said) = check(&server, "s3://records/a");
    assert_eq!(code, 0, "{said}");
    assert!(said.contains(&format!("records     {} in", responses.len())), "{said}");
}
