use super::*;

const VLLM: &str = "# HELP vllm:request_success_total Count of successfully processed requests.\n\
# TYPE vllm:request_success_total counter\n\
vllm:request_success_total{engine=\"0\",finished_reason=\"stop\",model_name=\"a } b\"} 40.0\n\
vllm:request_success_total{engine=\"0\",finished_reason=\"length\",model_name=\"a\"} 2.0\n\
vllm:request_success_created{engine=\"0\"} 1.7e+09\n";

#[test]
fn counters_of_known_servers_are_summed() {
    let vllm = reading(VLLM, None).unwrap();
    assert_eq!((vllm.server.as_str(), vllm.requests), ("vLLM", 42.0));
    assert_eq!(reading("tgi_request_count 7\n", None).unwrap().requests, 7.0);
    assert_eq!(reading("sglang:num_requests_total{m=\"x\"} 3 1700000000\n", None).unwrap().server, "SGLang");
    assert_eq!(
        reading("my_requests{a=\"1\"} 5\nmy_requests{a=\"2\"} 6\n", Some("my_requests")).unwrap().requests,
        11.0
    );
}

#[test]
fn what_cannot_be_compared_is_said() {
    let llama = reading("llamacpp:tokens_predicted_total 100\n", None).unwrap_err().to_string();
    assert!(llama.contains("tokens and not requests"), "{llama}");
    for text in [
        "",
        "garbage",
        "vllm:request_success_total NaN",
        "vllm:request_success_total{x",
        "tgi_request_counter 1",
    ] {
        assert!(reading(text, None).is_err(), "{text}");
    }
    assert!(reading(VLLM, Some("vllm")).is_err());
}

#[tokio::test]
async fn two_readings_are_subtracted() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let (early, late) = (file("early", "tgi_request_count 7\n"), file("late", "tgi_request_count 10\n"));
    let between = read(&[early.clone(), late.clone()], None).await.unwrap();
    assert_eq!((between.requests, between.between), (3.0, true));
    let restarted = read(&[late, early], None).await.unwrap_err().to_string();
    assert!(restarted.contains("started anew"), "{restarted}");
    assert!(read(&["/no/such/file".into()], None).await.is_err());
}
