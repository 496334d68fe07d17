//! The main job on Azure's and Google's interfaces: log, batches and index in a bucket, openings in another.

use std::time::{Duration, Instant};

use colophon_tests::clouds::{Cloud, Preconditions, TOKEN, azure_key};
use colophon_tests::colophon::{self, Colophon, Options};
use colophon_tests::fleet::{Fleet, ask, exchange, upstream, url, verify};
use colophon_tests::{PATIENCE, pause};

/// What the only writer of a log says where the second create of an object was not refused.
const ALONE: &str = "THE STORE HAS NO CONDITIONAL CREATE";

/// `colophon log check`: its exit code, and what it said.
fn check(cloud: &Cloud, place: &str, limit: Duration) -> (i32, String) {
    colophon::run_within(limit, &["log", "check", &cloud.url(place)], &cloud.env)
}

/// Exchanges before and after a crash and a clean end.
fn main_job(cloud: &Cloud) {
    let upstream = upstream();
    let mut colophon = Colophon::start(&upstream.url(), |options| {
        cloud.keep_in("records/clinic", options);
        options.arg(&["--private", &cloud.url("openings/clinic")]);
    });
    exchange(&colophon);
    // Nothing of it is on the local disk but WAL and keys.
    for part in ["log", "shard", "index"] {
        assert!(!colophon.data().join(part).exists(), "{part}");
    }
    colophon.kill();
    colophon.restart();
    exchange(&colophon);
    assert!(colophon.stop().success(), "{}", colophon.process().log());
    assert!(!colophon.process().log().contains(ALONE), "{}", colophon.process().log());
    let (code, said) = check(cloud, "records/clinic", PATIENCE);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("records     2 in 2 batches"), "{said}");
    colophon.restart();
    exchange(&colophon);
}

#[test]
fn the_main_job_on_azure() {
    let Some(azure) = Cloud::azure("the_main_job_on_azure", &["records", "openings"]) else { return };
    main_job(&azure);
}

#[test]
fn the_main_job_on_google() {
    let buckets = ["records", "openings"];
    let google = Cloud::google("the_main_job_on_google", &buckets, Preconditions::Honoured);
    let Some(google) = google else { return };
    main_job(&google);
}

/// Two replicas of a log in one bucket, each asked first by one of two sidecars: no fork, no lost statement.
fn race(cloud: &Cloud) {
    let folder = tempfile::tempdir().unwrap();
    let fleet = Fleet::new(folder.path());
    let keep = |options: &mut Options| cloud.keep_in("records/fleet", options);
    let mut replicas = vec![fleet.replica(keep)];
    replicas.push(fleet.replica(|options| {
        keep(options);
        options.arg(&["--adopt"]);
    }));
    let urls: Vec<String> = replicas.iter().map(url).collect();
    let upstream = upstream();
    let mut sidecars: Vec<Colophon> = (0..2)
        .map(|n| {
            let urls: Vec<String> = urls.iter().cycle().skip(n).take(2).cloned().collect();
            fleet.sidecar(&upstream.url(), &urls, |options| {
                keep(options);
                options.batch_every = "50ms".into();
            })
        })
        .collect();
    let (start, mut asked) = (Instant::now(), 0);
    let mut last = Vec::new();
    while start.elapsed() < Duration::from_secs(8) {
        last = sidecars.iter().map(ask).collect();
        asked += last.len();
        pause(Duration::from_millis(20));
    }
    sidecars.iter().zip(&last).for_each(|(sidecar, response)| verify(sidecar, response));
    for process in sidecars.iter_mut().chain(&mut replicas) {
        assert!(process.stop().success(), "{}", process.process().log());
    }
    // Each may be a batch of its own, with an object in the log and one beside it to read.
    let limit = PATIENCE + Duration::from_millis(100) * asked as u32;
    let (code, said) = check(cloud, "records/fleet", limit);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains(&format!("records     {asked} in")), "{asked} asked:\n{said}");
    eprintln!("{asked} exchanges:\n{said}");
}

#[test]
fn two_replicas_race_on_azure() {
    let Some(azure) = Cloud::azure("two_replicas_race_on_azure", &["records"]) else { return };
    race(&azure);
}

#[test]
fn two_replicas_race_on_google() {
    let google = Cloud::google("two_replicas_race_on_google", &["records"], Preconditions::Honoured);
    let Some(google) = google else { return };
    race(&google);
}

/// What a start says that has to be refused, with other variables than the server's own.
fn refused(cloud: &Cloud, place: &str, other: &[(&str, &str)]) -> String {
    let (status, said) = Colophon::refused("http://127.0.0.1:1", |options| {
        cloud.keep_in(place, options);
        options.env.extend(other.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    });
    assert_eq!(status.code(), Some(1), "{said}");
    said
}

#[test]
fn azure_refuses_wrong_credentials_and_missing_containers() {
    let test = "azure_refuses_wrong_credentials_and_missing_containers";
    let Some(azure) = Cloud::azure(test, &["records"]) else { return };
    let said = refused(&azure, "records/a", &[("AZURE_STORAGE_ACCOUNT_KEY", "d3Jvbmc=")]);
    assert!(said.contains("refuses these credentials"), "{said}");
    assert!(!said.contains("d3Jvbmc="), "{said}");
    let said = refused(&azure, "nowhere/a", &[]);
    assert!(said.contains("no such bucket or account") && said.contains("ContainerNotFound"), "{said}");
    assert!(!said.contains(&azure_key()), "{said}");
    let said = refused(&azure, "records/a", &[("AZURE_STORAGE_ACCOUNT_KEY", "not base64!")]);
    assert!(said.contains("cannot be opened") && !said.contains("not base64!"), "{said}");
}

#[test]
fn google_refuses_wrong_credentials_and_missing_buckets() {
    let test = "google_refuses_wrong_credentials_and_missing_buckets";
    let Some(google) = Cloud::google(test, &["records"], Preconditions::Honoured) else { return };
    let said = refused(&google, "records/a", &[("GOOGLE_BEARER_TOKEN", "ya29.wrong")]);
    assert!(said.contains("refuses these credentials") && !said.contains("ya29.wrong"), "{said}");
    let said = refused(&google, "nowhere/a", &[]);
    assert!(said.contains("no such bucket or account") && said.contains("NoSuchBucket"), "{said}");
    assert!(!said.contains(TOKEN), "{said}");
}

/// A store that overwrites what it is told not to is found out at the start: several writers are refused, one goes on
/// and says so.
#[test]
fn a_store_that_ignores_preconditions_is_found_out() {
    let test = "a_store_that_ignores_preconditions_is_found_out";
    let Some(google) = Cloud::google(test, &["records"], Preconditions::Ignored) else { return };
    let folder = tempfile::tempdir().unwrap();
    let fleet = Fleet::new(folder.path());
    let (status, said) = Colophon::refused("http://127.0.0.1:1", |options| {
        fleet.keep_log(options);
        google.keep_in("records/fleet", options);
    });
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("does not support conditional create"), "{said}");

    let upstream = upstream();
    let mut colophon = Colophon::start(&upstream.url(), |options| google.keep_in("records/alone", options));
    exchange(&colophon);
    assert!(colophon.stop().success(), "{}", colophon.process().log());
    assert!(colophon.process().log().contains(ALONE), "{}", colophon.process().log());
}
