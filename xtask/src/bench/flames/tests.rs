use super::draw::svg;
use super::fold::{Kind, Node, fold};
use super::groups::{self, Group};
use super::names::{label, shown};

/// Two threads' samples as perf prints them: one unwound to the thread's start, one cut off in the middle of tokio.
const SCRIPT: &str = "\
tokio-rt-worker\x20
\tffffffff81e497a2 tcp_sendmsg
\tffffffff81000130 entry_SYSCALL_64_after_hwframe
\t           fde9d __GI___writev
\t          cc54dc hyper::proto::h1::io::Buffered<T,B>::poll_flush
\t         1220183 <core::pin::Pin<P> as core::future::future::Future>::poll
\t          b3e329 colophon::exchange::exchange::{{closure}}::h0123456789abcdef
\t          b3e320 colophon::exchange::exchange
\t          f8daf0 tokio::runtime::task::raw::poll
\t           891f5 start_thread

tokio-rt-worker\x20
\t         296b2e7 sha2::sha256::x86_sha::compress
\t          b3e329 colophon::exchange::exchange::{{closure}}
\t          cd18ba tokio::runtime::task::core::Core<T,S>::poll
\tffffffffffffffff [unknown]
";

fn only<'a>(node: &'a Node, name: &str) -> (&'a Node, Kind) {
    let (frame, node) = node.calls.iter().find(|(frame, _)| frame.name == name).unwrap();
    (node, frame.kind)
}

#[test]
fn samples_become_one_tree_of_calls_without_those_that_only_pass_on() {
    let profile = fold("commit", 30.0, SCRIPT);
    assert_eq!((profile.samples, profile.root.samples, profile.root.calls.len()), (2, 2, 1));
    let (exchange, kind) = only(&profile.root, "colophon::exchange::exchange");
    assert_eq!((exchange.samples, kind, exchange.calls.len()), (2, Kind::Own, 2));
    let (flush, kind) = only(exchange, "hyper::proto::h1::io::Buffered::poll_flush");
    assert_eq!((flush.samples, kind), (1, Kind::Other));
    let (writev, _) = only(flush, "__GI___writev");
    let (send, kind) = only(writev, "tcp_sendmsg");
    assert_eq!((send.samples, kind, send.calls.len()), (1, Kind::Kernel, 0));
    assert_eq!(only(exchange, "sha2::sha256::x86_sha::compress").0.samples, 1);
}

#[test]
fn a_sample_is_in_the_group_of_what_was_asked_of_the_kernel_or_of_its_innermost_call() {
    let profile = fold("commit", 30.0, SCRIPT);
    let groups: Vec<_> = profile.groups.iter().map(|(group, samples)| (*group, *samples)).collect();
    assert_eq!(groups, [(Group::Sockets, 1), (Group::Hashing, 1)]);
    let table = groups::table("a machine", 5, false, &[profile]);
    assert!(table.contains("| SHA-256 | 15.0 |") && table.contains("| in all | 30.0 |"), "{table}");
    assert!(table.contains("| Colophon's own code | 0.0 |"), "{table}");
}

#[test]
fn what_is_written_to_tells_files_from_sockets_and_from_wake_ups() {
    let group_of = |calls: &[&str]| {
        let calls: String = calls.iter().map(|call| format!("\tffffffff81000130 {call}\n")).collect();
        let profile = fold("sign", 40.0, &format!("t\n{calls}\t1 colophon::all\n\n"));
        profile.groups.into_keys().next().unwrap()
    };
    assert_eq!(group_of(&["do_iter_readv_writev", "vfs_writev", "do_writev"]), Group::Sockets);
    assert_eq!(group_of(&["fdget_pos", "vfs_write", "ksys_write"]), Group::Files);
    assert_eq!(group_of(&["ext4_buffered_write_iter", "vfs_write", "ksys_write"]), Group::Files);
    assert_eq!(group_of(&["eventfd_write", "vfs_write", "ksys_write"]), Group::Waiting);
}

#[test]
fn names_lose_what_compilers_append() {
    for (symbol, name) in [
        ("colophon::exchange::exchange::{{closure}}::h0123456789abcdef", "colophon::exchange::exchange"),
        ("colophon[1f2e3d4c5b6a7988]::exchange::run::{closure#0}", "colophon::exchange::run"),
        ("<hyper::rt::TokioIo<T> as hyper::rt::Read>::poll_read", "hyper::rt::TokioIo::poll_read"),
        ("a::batches::<impl b::Worker>::publish::{{closure}}", "a::batches::publish"),
        ("a::Map<fn(u8) -> Vec<u8>,B>::next", "a::Map::next"),
        ("tcp_v4_rcv", "tcp_v4_rcv"),
    ] {
        assert_eq!(shown(symbol).as_deref(), Some(name), "{symbol}");
    }
    for symbol in ["[unknown]", "<core::pin::Pin<P> as core::future::future::Future>::poll", "start_thread"] {
        assert_eq!(shown(symbol), None, "{symbol}");
    }
    assert_eq!(label("hyper::proto::h1::io::Buffered::poll_flush"), "Buffered::poll_flush");
    assert_eq!(label("a::b"), "a::b");
    assert_eq!(label("writev"), "writev");
}

#[test]
fn a_box_is_as_wide_as_its_share_and_small_ones_are_left_out() {
    let sample = |call: &str| format!("t\n\t1 {call}\n\t2 colophon::all\n\n");
    let script = sample("most").repeat(300) + &sample("a<b>&c").repeat(99) + &sample("seldom");
    let text = svg("title", &fold("commit", 30.0, &script).root);
    let boxes: Vec<(&str, f64)> = text
        .split("<g><title>")
        .skip(1)
        .filter_map(|text| {
            let name = text.split("</title>").next()?;
            Some((name, text.split("width=\"").nth(1)?.split('"').next()?.parse().ok()?))
        })
        .collect();
    assert_eq!(
        boxes,
        [("colophon::all, 100.0 %", 1200.0), ("most, 75.0 %", 900.0), ("a&amp;c, 24.8 %", 297.0)]
    );
    assert!(text.contains(">colophon::all</text>"), "{text}");
    assert!(text.contains("prefers-color-scheme:dark"));
}

#[test]
fn a_graph_of_very_many_calls_loses_the_smallest_ones() {
    // Half of the samples in one call; fifty others with a hundredth each, sixty calls deep.
    let mut script = "t\n\t1 large\n\n".repeat(50);
    for call in 0..50 {
        script.push_str("t\n");
        for depth in 0..60 {
            script.push_str(&format!("\t1 a_crate_with_a_name::module::Type::<T>::method_{call}_{depth}\n"));
        }
        script.push('\n');
    }
    let text = svg("title", &fold("sign", 40.0, &script).root);
    assert!(text.len() <= 150 << 10, "{} bytes", text.len());
    assert!(text.contains("<title>large, 50.0 %") && !text.contains("method_"));
}
