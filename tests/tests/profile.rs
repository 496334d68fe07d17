//! `/debug/pprof/profile`: a CPU profile while requests are served, read by Go's own reader, and given to nobody else.

use std::fs;
use std::process::Command;
use std::thread;

use colophon_receipt::level::Outcome;
use colophon_tests::client::{get, post};
use colophon_tests::colophon::Colophon;
use colophon_tests::process;
use colophon_tests::upstream::Upstream;
use colophon_tests::{PATIENCE, wait_for};

const OK: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n{\"id\":\"x\"}";
const PROFILE: &str = "/debug/pprof/profile?seconds=2";

#[test]
fn a_profile_under_load_is_read_by_go_and_costs_no_answer() {
    let upstream = Upstream::answering(OK);
    let mut colophon = Colophon::start(&upstream.url(), |options| {
        options.sign_all().arg(&["--health", "127.0.0.1:0"]);
    });
    let ready: serde_json::Value =
        serde_json::from_slice(&fs::read(colophon.folder().join("ready")).unwrap()).unwrap();
    let health = ready["health"].as_str().unwrap().parse().unwrap();
    assert_eq!(get(health, PROFILE).status(), 404, "whoever may probe may not profile");
    assert_eq!(post(colophon.admin(), PROFILE, "").status(), 405);
    assert_eq!(get(colophon.admin(), "/debug/pprof/profile?seconds=61").status(), 400);
    assert!(!colophon.data().join("profile").exists(), "something is there before the first profile");
    let admin = colophon.admin();
    let profiling = thread::spawn(move || get(admin, PROFILE));
    let begun = wait_for(PATIENCE, || colophon.log().contains("a CPU profile is taken").then_some(()));
    assert!(begun.is_some(), "{}", colophon.log());
    let mut asked: u64 = 0;
    while !profiling.is_finished() {
        assert_eq!(post(colophon.listen(), "/v1/chat/completions", "{}").status(), 200);
        asked += 1;
        if asked == 5 {
            let both = wait_for(PATIENCE, || match get(admin, PROFILE).status() {
                409 => Some(true),
                _ => profiling.is_finished().then_some(false),
            });
            assert_eq!(both, Some(true), "two at a time");
        }
    }
    let profile = profiling.join().unwrap();
    assert_eq!((profile.status(), &profile.body[..2]), (200, &[0x1f, 0x8b][..]), "{}", profile.text());
    colophon.until_ended_as(Outcome::Complete, asked);
    assert_eq!(colophon.metric("colophon_ledger_lost_total"), Some(0.0));
    let file = colophon.folder().join("profile.pb.gz");
    fs::write(&file, &profile.body).unwrap();
    // It goes on as before, and leaves nothing.
    assert_eq!(post(colophon.listen(), "/v1/chat/completions", "{}").status(), 200);
    assert!(colophon.stop().success());
    assert!(!colophon.data().join("profile").exists());
    let mut pprof = Command::new("go");
    pprof.args(["tool", "pprof", "-top", "-cum", "-nodecount=5000"]).arg(&file);
    if Command::new("go").arg("version").output().is_err() {
        eprintln!("skipped: Go is not installed, whose pprof reads the profile");
        return;
    }
    let output = process::run(&mut pprof, PATIENCE * 4);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("Type: cpu") && said.contains("Duration: 2"), "{said}");
    // Which functions of ours are met in a second or two is chance; that none is would be none.
    for name in ["tokio::runtime", "colophon::"] {
        assert!(said.contains(name), "no {name} in {said}");
    }
    assert!(!said.contains("perf_signal_handler"), "the sampler itself is in {said}");
}
