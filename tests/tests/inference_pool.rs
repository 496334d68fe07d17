//! Colophon on the port of an InferencePool: an endpoint picker scrapes and probes that port, and has to see the engine's own
//! answers. Recorded vLLM traffic, with the policy that `colophon serve` has by itself.

use colophon_tests::captures::{Capture, end_to_end, replay};
use colophon_tests::client::Client;
use colophon_tests::colophon::Colophon;
use colophon_tests::{PATIENCE, wait_for};

/// What a picker asks for; the names of recordings of vLLM 0.32.
const ASKED: [&str; 8] = [
    "vllm-0.32.0/get-metrics",
    "vllm-0.32.0/metrics-openmetrics",
    "vllm-0.32.0/metrics-acceptgzip",
    "vllm-0.32.0/metrics-after-disconnect",
    "vllm-0.32.0/get-health",
    "vllm-0.32.0/get-models",
    "vllm-0.32.0/get-models-query",
    "vllm-0.32.0-flags/noauth-metrics",
];

/// What the picker of the Gateway API Inference Extension reads there (its metrics protocol, the names for vLLM).
const READ: [&str; 3] = ["vllm:num_requests_waiting", "vllm:kv_cache_usage_perc", "vllm:cache_config_info"];

#[test]
fn a_picker_sees_the_engines_own_answers() {
    let (upstream, playing) = replay();
    let colophon = Colophon::before(&upstream.url());
    let mut scraped = 0;
    for name in ASKED {
        let capture = Capture::load(name);
        let responses = capture.responses();
        let (recorded, _) = &responses[0];
        let play = playing.play(&capture);
        let mut client = Client::connect(colophon.listen());
        assert!(client.send(&capture.request), "{name}");
        let answer = client.response("GET");
        assert_eq!((answer.status(), &answer.end), (recorded.status(), &recorded.end), "{name}");
        assert!(answer.body == recorded.body, "{name}: another body");
        // Nothing is added: these answers are not recorded.
        assert_eq!(end_to_end(&answer, &[]), end_to_end(recorded, &[]), "{name}");
        let received = play.received();
        assert_eq!(received.len(), 1, "{name}");
        assert_eq!(received[0].target(), capture.requests()[0].target(), "{name}");
        if name.ends_with("metrics") && answer.header("content-encoding").is_none() {
            scraped += 1;
            for metric in READ {
                assert!(answer.text().contains(metric), "{name} has no {metric}");
            }
            assert!(!answer.text().contains("colophon"), "{name} has metrics of the proxy's own");
        }
    }
    assert!(scraped >= 2, "{scraped} scrapes were looked into");
    // They are counted all the same, and nothing was recorded.
    let count = f64::from(u32::try_from(ASKED.len()).expect("a few"));
    let passed =
        wait_for(PATIENCE, || colophon.metric("colophon_ledger_passed_total").filter(|n| *n == count));
    assert!(passed.is_some(), "{:?}", colophon.metric("colophon_ledger_passed_total"));
    assert_eq!(colophon.metric("colophon_ledger_recorded_total"), Some(0.0));
}
