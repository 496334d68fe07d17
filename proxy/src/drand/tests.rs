use super::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

/// Round 123 of quicknet.
const ROUND: &str = r#"{"round":123,"randomness":"00","signature":"b75c69d0b72a5d906e854e808ba7e2accb1542ac355ae486d591aa9d43765482e26cd02df835d3546d23c4b13e0dfc92"}"#;

/// A server that answers one request with this, and gives the request's first line.
async fn answering(status: &str, body: String) -> (String, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v2/", listener.local_addr().unwrap());
    let answer =
        format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
    let served = TaskTracker::new().spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut seen = Vec::new();
        while !seen.windows(4).any(|end| end == b"\r\n\r\n") {
            let mut some = [0; 1024];
            let n = stream.read(&mut some).await.unwrap();
            assert!(n > 0, "no whole request");
            seen.extend(&some[..n]);
        }
        // A client that has seen enough leaves before the end.
        let _ = stream.write_all(answer.as_bytes()).await;
        String::from_utf8(seen).unwrap().lines().next().unwrap().to_owned()
    });
    (url, served)
}

async fn fetch(status: &str, body: String) -> (Result<Option<Vec<u8>>, String>, String) {
    let (url, served) = answering(status, body).await;
    let server = RoundServer::new(&url, Chain::quicknet(), None).unwrap();
    (server.fetch(123).await, served.await.unwrap())
}

#[tokio::test]
async fn a_round_is_fetched_by_chain_and_number() {
    let (got, line) = fetch("200 OK", ROUND.into()).await;
    assert_eq!(got.unwrap().unwrap(), ROUND.as_bytes());
    let chain = "52db9ba70e0cc0f6eaf7803dd07447a1f5477735fd3f661792ba94600c84e971";
    assert_eq!(line, format!("GET /v2/{chain}/public/123 HTTP/1.1"));
}

#[tokio::test]
async fn what_is_not_there_yet_is_no_error_and_the_rest_is() {
    assert_eq!(fetch("404 Not Found", String::new()).await.0, Ok(None));
    assert_eq!(fetch("425 Too Early", String::new()).await.0, Ok(None));
    assert!(fetch("500 Internal Server Error", String::new()).await.0.unwrap_err().contains("500"));
    assert!(fetch("200 OK", "x".repeat(MAX_ROUND + 1)).await.0.is_err());
    // Nobody listens there; and before its time nobody is asked.
    let server = RoundServer::new("http://127.0.0.1:9", Chain::quicknet(), None).unwrap();
    assert!(server.fetch(123).await.unwrap_err().contains("127.0.0.1:9"));
    assert_eq!(server.fetch(u64::MAX / 8).await, Ok(None));
}

#[test]
fn what_is_no_server_is_refused() {
    for url in ["", "https://", "http://host/?query", "/folder"] {
        assert!(RoundServer::new(url, Chain::quicknet(), None).is_err(), "{url}");
    }
}
