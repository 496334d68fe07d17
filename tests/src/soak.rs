//! A proxy that is killed under load of every kind, again and again, and started again on the same folder.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use colophon_receipt::level::Outcome;
use colophon_receipt::merkle::sha256;

use crate::client::{get, post_bytes};
use crate::colophon::{self, Colophon};
use crate::elsewhere::{Elsewhere, lose_the_machine};
use crate::log::{self, Head};
use crate::power::Disk;
use crate::process::resident;
use crate::receipts::Fetched;
use crate::upstream::Upstream;
use crate::wire::{End, Message};
use crate::{PATIENCE, pause, wait_for};

mod pulse;

use pulse::{Asker, Pulse, assert_no_hang};

const CHAT: &str = "/v1/chat/completions";
const STREAM_HEAD: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

/// How long `log check` may take for each statement in the log, besides [`PATIENCE`].
const CHECK_PER_LEAF: Duration = Duration::from_millis(20);

/// How often memory is looked at during a life.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What each client waits between two answers where lives are long: each answer is fetched and compared in the end.
const PACE: Duration = Duration::from_millis(20);

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Soak {
    /// As in `--durability`; with `node` the machine is lost at each kill, with its disk.
    pub durability: String,
    /// The power fails at each kill: what was not synced is forgotten ([`crate::power`]). Not with `node`.
    pub power_loss: bool,
    /// Kill at least this often.
    pub kills: u64,
    /// Go on at least this long.
    pub time: Duration,
    /// How long each life lasts under load, besides the moments that it takes to get going.
    pub life: Duration,
    /// Kills after which the whole log is read again.
    pub check_every: u64,
}

impl Default for Soak {
    fn default() -> Soak {
        Soak {
            durability: "process".to_owned(),
            power_loss: false,
            kills: 0,
            time: Duration::ZERO,
            life: Duration::ZERO,
            check_every: 10,
        }
    }
}

/// What was done, all of it found to be right.
#[derive(Clone, Debug, Default)]
pub struct Done {
    /// SIGKILLs.
    pub kills: u64,
    /// Answers that clients got whole.
    pub whole: usize,
    /// Answers that were cut: by the kill, by the upstream, or since the client left.
    pub cut: usize,
    /// Different tree heads that were seen.
    pub heads: usize,
    /// Records in the log, at the end.
    pub records: usize,
    /// Resident memory at the end of the first life, KiB.
    pub memory_first: u64,
    /// The same of the last life.
    pub memory_last: u64,
    /// The most that was seen.
    pub memory_most: u64,
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Done { kills, whole, cut, heads, records, .. } = self;
        let [first, last, most] =
            [self.memory_first, self.memory_last, self.memory_most].map(|kib| kib.div_ceil(1024));
        write!(
            f,
            "{kills} kills, {whole} whole answers, {cut} cut ones, {heads} tree heads, {records} records, memory \
             {first} MiB in the first life, {last} MiB in the last, at most {most} MiB"
        )
    }
}

/// Small answers at once, a stream of three events, an endless one, or one that breaks off.
pub fn upstream() -> Upstream {
    Upstream::serve(|conn| {
        while let Some(request) = conn.request() {
            let text = request.text();
            if text.contains("broken") {
                conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2000000\r\n\r\n");
                conn.send(&[b'x'; 9000]);
                return;
            } else if text.contains("endless") {
                conn.send(STREAM_HEAD);
                while conn.send(b"b\r\ndata: one\n\n\r\n") {
                    pause(Duration::from_millis(20));
                }
            } else if text.contains("stream") {
                conn.send(STREAM_HEAD);
                let event = b"b\r\ndata: one\n\n\r\n";
                conn.send_slowly(&[event, event, event, b"0\r\n\r\n"], Duration::from_millis(5));
            } else {
                conn.send(
                    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len()).as_bytes(),
                );
            }
        }
    })
}

/// What a client got: the request's body, the response, whole or cut.
type Got = (String, Message);

/// What the clients of one life share.
struct Life<'a> {
    colophon: &'a Colophon,
    /// The proxy is to be killed, or has been.
    stop: AtomicBool,
    /// Answers that were whole.
    answers: AtomicUsize,
    pulse: Pulse,
    /// What each client waits between two answers.
    pace: Duration,
}

impl Life<'_> {
    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// A new connection, if the proxy is still there.
    fn connect(&self) -> Option<Asker<'_>> {
        Asker::connect(self.colophon.listen(), &self.pulse)
    }
}

/// What `read` reads of the answer to a request with this body; nothing once the proxy is gone.
fn answer<'a>(
    client: &mut Asker<'a>,
    body: &str,
    read: impl FnOnce(&mut Asker<'a>) -> Message,
) -> Option<Message> {
    client.send(&post_bytes(CHAT, "", body));
    let response = read(client);
    assert_no_hang(&response, body);
    if response.start.is_empty() {
        return None;
    }
    assert_eq!(response.status(), 200, "{}", response.text());
    Some(response)
}

/// Asks again and again until the proxy is gone, counting the answers that are whole.
fn load(life: &Life<'_>, kind: &'static str) -> Vec<Got> {
    let mut got = Vec::new();
    let Some(mut client) = life.connect() else { return got };
    for number in 0.. {
        if life.stopped() {
            break;
        }
        let body = format!("{{\"{kind}\":{number}}}");
        let Some(response) = answer(&mut client, &body, |client| client.wire.response("POST")) else { break };
        let whole = response.end == End::Complete;
        got.push((body, response));
        if !whole && kind == "broken" {
            // The upstream's fault, not the end of the proxy.
            pause(Duration::from_millis(20));
            let Some(again) = life.connect() else { break };
            client = again;
            continue;
        }
        if !whole {
            break;
        }
        life.answers.fetch_add(1, Ordering::Relaxed);
        if !life.pace.is_zero() {
            pause(life.pace);
        }
    }
    got
}

/// Asks for a small answer on a new connection each time, so that others that are silent meanwhile are known to hang.
fn beat(life: &Life<'_>) -> Vec<Got> {
    let mut got = Vec::new();
    for number in 0.. {
        if life.stopped() {
            break;
        }
        let Some(mut client) = life.connect() else { break };
        let body = format!("{{\"beat\":{number}}}");
        let Some(response) = answer(&mut client, &body, |client| client.wire.response("POST")) else { break };
        if response.end == End::Complete {
            life.pulse.beat();
        }
        got.push((body, response));
        wait_for(pulse::EVERY, || life.stopped().then_some(()));
    }
    got
}

/// Asks for endless streams and leaves them, each somewhere else, until the proxy is gone.
fn leave(life: &Life<'_>) -> Vec<Got> {
    let mut got = Vec::new();
    for number in 0.. {
        let Some(mut client) = life.connect() else { break };
        let body = format!("{{\"endless\":\"left {number}\"}}");
        let head = answer(&mut client, &body, |client| client.wire.response_head());
        let Some(mut response) = head else { break };
        // After no event, in the middle of one, or later.
        client.wire.response_prefix(&mut response, number * 7 % 60);
        assert_no_hang(&response, &body);
        // It may have ended with the proxy; in any case it is no whole answer.
        response.end = End::Truncated;
        got.push((body, response));
        drop(client);
        if life.stopped() {
            break;
        }
        pause(PACE);
    }
    got
}

impl Soak {
    /// Runs until there are enough kills and enough time has passed, or `stop` says so. `tell` is called after each kill.
    ///
    /// # Panics
    /// When anything is not as it should be.
    pub fn run(&self, stop: &dyn Fn() -> bool, tell: &dyn Fn(&Done)) -> Done {
        let (upstream, elsewhere) = (upstream(), Elsewhere::new());
        let node = self.durability == "node";
        let disk = self.power_loss.then(|| Disk::new().expect("a C compiler"));
        let mut colophon = Colophon::start(&upstream.url(), |options| {
            options.sign_all().batch_every = "60ms".to_owned();
            match node {
                true => elsewhere.set(options),
                false => drop(options.arg(&["--durability", &self.durability])),
            }
            if let Some(disk) = &disk {
                disk.set(options);
            }
        });
        let folder = if node { elsewhere.store() } else { colophon.data() };
        let trust = get(colophon.listen(), "/.well-known/colophon/keys").body;
        let (mut ids, mut heads, mut lives) = (BTreeSet::new(), Vec::new(), Vec::new());
        let (mut done, begun) = (Done::default(), Instant::now());
        while !stop() && (done.kills < self.kills || begun.elapsed() < self.time) {
            let (got, sizes) = self.load_and_kill(&mut colophon, done.kills);
            assert_flat(&sizes);
            lives.extend(sizes.last().copied());
            done.kills += 1;
            done.memory_first = lives.first().copied().unwrap_or(0);
            done.memory_last = lives.last().copied().unwrap_or(0);
            done.memory_most = done.memory_most.max(sizes.iter().copied().max().unwrap_or(0));
            if let Some(disk) = &disk {
                disk.lose_power(&[colophon.data(), colophon.state()]);
            }
            heads.extend(got.iter().map(|(_, response)| Head::of_response(response)));
            heads.push(Head::of_folder(&folder));
            heads.sort();
            heads.dedup();
            if node {
                lose_the_machine(&colophon);
            }
            colophon.restart();
            let (whole, cut) = on_record(&colophon, &trust, &got, &mut ids);
            (done.whole, done.cut, done.heads) = (done.whole + whole, done.cut + cut, heads.len());
            log::assert_one_log(&folder, &heads);
            assert_none_hang(&colophon);
            if done.kills.is_multiple_of(self.check_every) {
                let recorded: BTreeSet<[u8; 16]> = log::recorded_ids(&folder).into_iter().collect();
                assert!(ids.is_subset(&recorded), "after {} kills a record is missing", done.kills);
                assert_sound(&folder);
                done.records = recorded.len();
            }
            tell(&done);
        }
        assert_eq!(get(colophon.listen(), "/.well-known/colophon/keys").body, trust, "it is another log");
        assert_flat(&lives);
        assert!(colophon.stop().success());
        let recorded = log::recorded_ids(&folder);
        let distinct: BTreeSet<[u8; 16]> = recorded.iter().copied().collect();
        assert_eq!(recorded.len(), distinct.len(), "a record is there twice");
        assert!(ids.is_subset(&distinct), "a record is missing");
        log::assert_one_log(&folder, &heads);
        assert_sound(&folder);
        done.records = recorded.len();
        done
    }

    /// Clients of every kind, and SIGKILL while they are at it. Gives what they got, and what memory it took: every
    /// second, and at the end.
    fn load_and_kill(&self, colophon: &mut Colophon, number: u64) -> (Vec<Got>, Vec<u64>) {
        let mut sizes = Vec::new();
        let life = Life {
            colophon,
            stop: AtomicBool::new(false),
            answers: AtomicUsize::new(0),
            pulse: Pulse::default(),
            pace: if self.life.is_zero() { Duration::ZERO } else { PACE },
        };
        let got = thread::scope(|scope| {
            let life = &life;
            let of = |kind: &'static str| scope.spawn(move || load(life, kind));
            let mut clients = vec![of("plain"), of("plain"), of("stream"), of("endless"), of("broken")];
            clients.push(scope.spawn(|| leave(life)));
            clients.push(scope.spawn(|| beat(life)));
            // A busy machine takes longer to get going.
            wait_for(PATIENCE, || (life.answers.load(Ordering::Relaxed) > 10).then_some(()));
            let begun = Instant::now();
            while begun.elapsed() < self.life {
                pause(LOOK_EVERY.min(self.life - begun.elapsed().min(self.life)));
                sizes.extend(resident(life.colophon.process_id()));
            }
            // At moments that are spread over what a batch takes.
            pause(Duration::from_millis(40 + (number * 37) % 130));
            sizes.extend(resident(life.colophon.process_id()));
            life.colophon.signal("KILL");
            life.stop.store(true, Ordering::Relaxed);
            clients.into_iter().flat_map(|client| client.join().expect("a client")).collect()
        });
        colophon.process().wait(PATIENCE);
        (got, sizes)
    }
}

/// Every answer, whole or cut, is on record once, as it was. Gives how many of each there were.
fn on_record(colophon: &Colophon, trust: &[u8], got: &[Got], ids: &mut BTreeSet<[u8; 16]>) -> (usize, usize) {
    let before = ids.len();
    // What was cut in the middle has no end, and is on record all the same.
    let (whole, cut): (Vec<&Got>, Vec<&Got>) =
        got.iter().partition(|(_, response)| response.end == End::Complete);
    // The verifier is a process each time: a sample.
    let sample = (whole.len() / 3).max(1);
    for (number, (body, response)) in whole.iter().enumerate() {
        let receipt = Fetched::of(response, colophon.listen());
        assert_eq!(receipt.outcome(), Outcome::Complete);
        assert_eq!(receipt.request_body().map(|b| b.digest), Some(sha256(body.as_bytes())));
        assert_eq!(receipt.response_body().map(|b| b.digest), Some(sha256(&response.body)));
        ids.insert(receipt.leaf.id);
        if number % sample == 0 {
            let (code, said) = receipt.verify_by(trust, Some(body.as_bytes()), Some(&response.body));
            assert_eq!(code, 0, "{said}");
        }
    }
    let sample = (cut.len() / 12).max(4);
    for (number, (body, response)) in cut.iter().enumerate() {
        let receipt = Fetched::of(response, colophon.listen());
        // A stream's end may have been recorded and not have come out any more.
        let endless = !response.body.starts_with(b"{") && response.body.len() > 33;
        match receipt.outcome() {
            Outcome::Recovered => {}
            Outcome::UpstreamFailed => assert!(body.contains("broken"), "{body}"),
            Outcome::ClientAborted => assert!(body.contains("left"), "{body}"),
            Outcome::Complete => assert!(!endless),
            other => panic!("{other:?}"),
        }
        ids.insert(receipt.leaf.id);
        if number % sample == 0 {
            let (code, said) = receipt.verify_by(trust, None, None);
            assert_eq!(code, 0, "{said}");
        }
    }
    assert_eq!(ids.len() - before, got.len(), "two answers have one record");
    (whole.len(), cut.len())
}

/// The last ones take no more memory than the first ones, though the log has grown.
fn assert_flat(sizes: &[u64]) {
    let quarter = (sizes.len() / 4).max(1);
    let most = |part: &[u64]| part.iter().copied().max().unwrap_or(0);
    let (first, last) = (most(&sizes[..quarter]), most(&sizes[sizes.len() - quarter..]));
    assert!(last < first + first / 2 + 16 * 1024, "memory grew from {first} to {last} KiB: {sizes:?}");
}

fn assert_sound(folder: &Path) {
    let leaves = u32::try_from(Head::of_folder(folder).size).unwrap_or(u32::MAX);
    let limit = PATIENCE + CHECK_PER_LEAF * leaves;
    let folder = folder.display().to_string();
    let (code, said) = colophon::run_within(limit, &["log", "check", &folder], &[]);
    assert_eq!(code, 0, "{said}");
}

/// Every client has gone: so has every connection, but the one that asks.
fn assert_none_hang(colophon: &Colophon) {
    let open = || {
        let metrics = get(colophon.admin(), "/metrics");
        metrics.text().lines().any(|line| line == "colophon_connections 0").then_some(())
    };
    assert!(
        wait_for(PATIENCE, open).is_some(),
        "connections hang: {}",
        get(colophon.admin(), "/metrics").text()
    );
}
