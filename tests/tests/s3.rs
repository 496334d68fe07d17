//! The main job on a real S3 server: log, batches and index in a bucket, openings in another.

use colophon_tests::colophon::{self, Colophon, Options};
use colophon_tests::fleet::{exchange, upstream};
use colophon_tests::s3::{KEY, S3, SECRET};

/// `colophon log check` of a store: its exit code, and what it said.
fn check(server: &S3, url: &str) -> (i32, String) {
    let mut options = Options::default();
    server.keep_in(url, &mut options);
    colophon::run_with(&["log", "check", url], &options.env)
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
