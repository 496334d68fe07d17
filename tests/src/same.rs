//! The same question, asked directly and through the proxy: the same bytes come back, but for what also differs when it is
//! asked twice directly.

use std::net::SocketAddr;
use std::time::Duration;

use colophon_receipt::level::Outcome;

use crate::client::post;
use crate::colophon::Colophon;
use crate::pause;
use crate::receipts::Fetched;
use crate::text::Template;
use crate::wire::{End, Message};

/// Asks `server` directly and through `colophon`, compares, and checks each receipt.
///
/// `requests` are paths and bodies; only the values of `may_differ` (JSON keys) may differ between direct answers.
///
/// # Panics
/// When an answer through the proxy is another one, is cut short, or its receipt does not verify.
pub fn assert_same(
    server: SocketAddr,
    colophon: &Colophon,
    requests: &[(&str, String)],
    may_differ: &[&str],
) {
    let ask_all = |to: SocketAddr| -> Vec<Message> {
        let ask = |(path, body): &(&str, String)| {
            let response = post(to, path, body);
            assert_eq!(response.end, End::Complete, "{path} {body}: {}", response.text());
            response
        };
        requests.iter().map(ask).collect()
    };
    // Asked directly before and after the proxy, more than a second apart, so that whatever a clock shows is masked.
    let first = ask_all(server);
    let second = ask_all(server);
    let through = ask_all(colophon.listen());
    pause(Duration::from_millis(1100));
    let third = ask_all(server);
    let fourth = ask_all(server);
    for (at, (path, body)) in requests.iter().enumerate() {
        let what = format!("{path} {body}");
        let direct = [&first[at], &second[at], &third[at], &fourth[at]].map(|answer| answer.body.clone());
        let template =
            Template::of(&direct).unwrap_or_else(|why| panic!("{what}: direct answers differ: {why}"));
        for key in template.keys() {
            assert!(may_differ.contains(&key.as_str()), "{what}: {key:?} differs between direct answers");
        }
        let through = &through[at];
        assert_eq!(through.status(), first[at].status(), "{what}");
        assert_eq!(through.header("content-type"), first[at].header("content-type"), "{what}");
        assert!(!through.body.is_empty(), "{what}");
        template.check(&through.body).unwrap_or_else(|why| panic!("{what}: through the proxy: {why}"));

        let receipt = Fetched::of(through, colophon.listen());
        let outcome = if first[at].status() < 400 { Outcome::Complete } else { Outcome::UpstreamError };
        assert_eq!(receipt.outcome(), outcome, "{what}");
        receipt.assert_verifies(colophon.listen(), body.as_bytes(), &through.body);
    }
}
