use super::*;
use serde_json::Value;

fn body(api: Api) -> (Value, bool) {
    let problem = Problem {
        status: StatusCode::PAYLOAD_TOO_LARGE,
        fault: "client",
        code: "body_too_large",
        message: "too long".into(),
        retry: false,
    };
    let response = problem.response(api);
    (serde_json::from_slice(response.body()).unwrap(), response.headers().contains_key("x-should-retry"))
}

#[test]
fn errors_have_the_shape_of_the_api() {
    let (openai, no_retry) = body(Api::Chat);
    assert_eq!(openai["error"]["message"], "too long");
    assert_eq!(openai["error"]["type"], "invalid_request_error");
    assert!(no_retry);
    assert_eq!(body(Api::Messages).0["type"], "error");
    assert_eq!(body(Api::Generate).0["error"], "too long");
}
