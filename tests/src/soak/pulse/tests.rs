use std::io::Write as _;
use std::net::TcpListener;
use std::thread;
use std::time::Duration;

use super::{Asker, BEATS, LOOK, Pulse};
use crate::pause;
use crate::wire::{End, Message};

const HALF: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab";

/// Reads an answer whose second half comes after `late`, or never, with `beats` meanwhile.
fn read(late: Option<Duration>, beats: u64) -> Message {
    let (pulse, listener) = (Pulse::default(), TcpListener::bind("127.0.0.1:0").expect("a port"));
    let to = listener.local_addr().expect("its address");
    thread::scope(|scope| {
        let mut asker = Asker::connect(to, &pulse).expect("a listener");
        let (mut stream, _) = listener.accept().expect("a connection");
        stream.write_all(HALF).expect("the first half");
        let reading = scope.spawn(move || asker.wire.response("POST"));
        // It waits by now: what was before it waited does not count.
        pause(Duration::from_millis(300));
        (0..beats).for_each(|_| pulse.beat());
        if let Some(late) = late {
            pause(late);
            stream.write_all(b"cd").expect("the second half");
        }
        reading.join().expect("an end")
    })
}

#[test]
fn a_connection_hangs_if_it_is_silent_while_others_are_answered() {
    let answer = read(None, BEATS);
    assert_eq!((answer.end, answer.body), (End::TimedOut, b"ab".to_vec()));
}

#[test]
fn while_nobody_is_answered_none_hangs() {
    for beats in [0, BEATS - 1] {
        let answer = read(Some(LOOK * 3), beats);
        assert_eq!((answer.end, answer.body), (End::Complete, b"abcd".to_vec()), "{beats}");
    }
}

#[test]
fn bytes_that_are_there_are_read_though_it_is_time() {
    let answer = read(Some(Duration::ZERO), BEATS);
    assert_eq!((answer.end, answer.body), (End::Complete, b"abcd".to_vec()));
}
