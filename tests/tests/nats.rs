//! Jobs for a fleet of workers through a NATS server's JetStream: Debian's `nats-server`, as it is.

use std::env;
use std::fs;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use colophon_receipt::evidence::Verdict;
use colophon_tests::colophon::{self, Colophon};
use colophon_tests::process::Process;
use colophon_tests::provers::{
    SCRIPT, Scripted, chat, command, policy, record, settled, start, upstream, verdict,
};
use colophon_tests::wire::Message;
use colophon_tests::{PATIENCE, pause, wait_for};
use serde_json::Value;

/// Bytes of a message that the server takes, at most.
const MOST: usize = 65_536;

/// A server with a folder of its own.
struct Server {
    folder: tempfile::TempDir,
    address: SocketAddr,
    process: Process,
}

impl Server {
    /// `None` where it is not installed, which only a full test run does not allow.
    fn start() -> Option<Server> {
        if Command::new("nats-server").arg("--version").output().is_err() {
            assert!(env::var_os("COLOPHON_TEST_FULL").is_none(), "nats-server is not installed");
            eprintln!("skipped: nats-server is not installed (Debian: apt-get install nats-server)");
            return None;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let process = Server::run(&folder, -1);
        let mut server = Server { folder, address: ([127, 0, 0, 1], 0).into(), process };
        server.find();
        Some(server)
    }

    fn run(folder: &tempfile::TempDir, port: i32) -> Process {
        let file = folder.path().join("nats.conf");
        fs::write(&file, format!("max_payload: {MOST}\n")).expect("its settings");
        let mut command = Command::new("nats-server");
        command.arg("-c").arg(file);
        command.args(["-a", "127.0.0.1", "-p", &port.to_string(), "--auth", "a token", "-js", "-sd"]);
        command.arg(folder.path().join("jetstream")).arg("--ports_file_dir").arg(folder.path());
        Process::start(&mut command, &folder.path().join("log"))
    }

    /// Where it listens, which it writes down.
    fn find(&mut self) {
        let file = self.folder.path().join(format!("nats-server_{}.ports", self.process.pid()));
        let found = wait_for(PATIENCE, || {
            let ports: Value = serde_json::from_slice(&fs::read(&file).ok()?).ok()?;
            let address: SocketAddr = ports["nats"][0].as_str()?.strip_prefix("nats://")?.parse().ok()?;
            TcpStream::connect(address).is_ok().then_some(address)
        });
        self.address = found.unwrap_or_else(|| panic!("{}", self.process.log()));
    }

    /// The next life, on the same port and with the same files.
    fn restart(&mut self) {
        self.process = Server::run(&self.folder, self.address.port().into());
        self.find();
    }

    /// YAML of the provers' file.
    fn part(&self, token: &str) -> String {
        self.part_at(self.address, token)
    }

    /// The same, through something else at an address.
    fn part_at(&self, address: SocketAddr, token: &str) -> String {
        let file = self.folder.path().join(token);
        fs::write(&file, format!("{token}\n")).expect("the token");
        format!(
            "workers: 0\nnats: {{url: 'nats://{}', name: clinic, tokenFile: '{}'}}\n",
            address,
            file.display()
        )
    }
}

/// A way to the server that can be cut.
struct Way {
    address: SocketAddr,
    cut: Arc<AtomicBool>,
    open: Arc<Mutex<Vec<TcpStream>>>,
}

impl Way {
    fn to(server: SocketAddr) -> Way {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let way = Way { address, cut: Arc::default(), open: Arc::default() };
        let (cut, open) = (way.cut.clone(), way.open.clone());
        thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                let mut open = open.lock().expect("a lock");
                // Who comes while it is cut is hung up on.
                if cut.load(Ordering::Relaxed) {
                    continue;
                }
                let Ok(far) = TcpStream::connect(server) else { continue };
                for (from, to) in [(&near, &far), (&far, &near)] {
                    let mut from = from.try_clone().expect("a socket");
                    let mut to = to.try_clone().expect("a socket");
                    thread::spawn(move || io::copy(&mut from, &mut to));
                }
                open.extend([near, far]);
            }
        });
        way
    }

    fn cut(&self, cut: bool) {
        let mut open = self.open.lock().expect("a lock");
        self.cut.store(cut, Ordering::Relaxed);
        open.drain(..).for_each(|socket| drop(socket.shutdown(Shutdown::Both)));
    }
}

/// A worker of the fleet.
fn worker(colophon: &Colophon, scripted: &Scripted, name: &str) -> Process {
    let file = scripted.file().display().to_string();
    let log = colophon.folder().join(format!("{name}.log"));
    Process::start(&mut colophon::command(&["prover", "--provers", &file, "--nats", "--name", name]), &log)
}

/// The job about a record; nothing while there is none.
fn job(colophon: &Colophon, answer: &Message) -> Value {
    let (code, said) = command(colophon, &["proof", "show", &record(answer), "--json"]);
    if code == 0 { serde_json::from_str(&said).expect("a job") } else { Value::Null }
}

#[test]
fn a_fleet_proves_what_is_handed_out_and_a_worker_that_dies_loses_its_job_to_another() {
    let Some(server) = Server::start() else { return };
    let (upstream, scripted) = (upstream(), Scripted::new(SCRIPT, &server.part("a token")));
    let colophon = start(&upstream, &scripted, "    deadline: 1h");
    let (mut one, mut two) = (worker(&colophon, &scripted, "one"), worker(&colophon, &scripted, "two"));
    let answers: Vec<Message> = (0..8).map(|_| chat(&colophon)).collect();
    for answer in &answers {
        let receipt = settled(&colophon, answer).receipt();
        assert_eq!((verdict(&receipt), receipt.evidence.len()), (Verdict::Holds, 1));
        let job = job(&colophon, answer);
        assert_eq!((&job["tries"], &job["state"]["prover"]), (&1.into(), &"script 1".into()), "{job:#}");
    }
    one.kill();
    two.kill();

    // In the middle of a proof: the server gives the job to the next one, and the queue here need not know.
    fs::write(scripted.script(), "#!/bin/sh\nsleep 600").expect("the script");
    let mut dies = worker(&colophon, &scripted, "dies");
    let answer = chat(&colophon);
    let begun = wait_for(PATIENCE, || {
        (job(&colophon, &answer)["state"]["progress"]["stage"]
            .as_str()
            .is_some_and(|stage| !stage.is_empty()))
        .then_some(())
    });
    assert!(begun.is_some(), "{}\n{}", dies.log(), colophon.log());
    dies.kill();
    fs::write(scripted.script(), format!("#!/bin/sh\n{SCRIPT}")).expect("the script");
    let mut heir = worker(&colophon, &scripted, "heir");
    let proven = wait_for(Duration::from_secs(120), || heir.log().contains("proven").then_some(()));
    assert!(proven.is_some(), "{}\n{}", heir.log(), colophon.log());
    let receipt = settled(&colophon, &answer).receipt();
    assert_eq!((verdict(&receipt), receipt.evidence.len()), (Verdict::Holds, 1));
    assert_eq!(job(&colophon, &answer)["tries"], 1);
    heir.kill();
}

#[test]
fn a_server_that_goes_away_and_lives_that_end_lose_no_job() {
    let Some(mut server) = Server::start() else { return };
    let (upstream, scripted) = (upstream(), Scripted::new(SCRIPT, &server.part("a token")));
    let mut colophon = start(&upstream, &scripted, "    deadline: 1h");
    let before = chat(&colophon);
    let handed = wait_for(PATIENCE, || (job(&colophon, &before)["state"]["state"] == "leased").then_some(()));
    assert!(handed.is_some(), "{}", colophon.log());
    // The server's life, and then that of the proxy: one has its streams on disk, the other its queue.
    server.process.kill();
    let during = chat(&colophon);
    pause(Duration::from_secs(3));
    server.restart();
    colophon.kill();
    colophon.restart();
    let mut worker = worker(&colophon, &scripted, "one");
    for answer in [&before, &during] {
        let receipt = settled(&colophon, answer).receipt();
        assert_eq!((verdict(&receipt), receipt.evidence.len()), (Verdict::Holds, 1), "{}", worker.log());
    }
    worker.kill();

    // Who has not its token is no worker.
    let stranger = Scripted::new(SCRIPT, &server.part("another"));
    let file = stranger.file().display().to_string();
    let (code, said) =
        colophon::run_within(PATIENCE * 2, &["prover", "--provers", &file, "--nats", "--once"], &[]);
    assert!(code == 1 && said.contains("nats://"), "{said}");
}

#[test]
fn what_no_worker_takes_holds_up_no_others_and_what_the_server_loses_is_handed_out_again() {
    let Some(mut server) = Server::start() else { return };
    let part = server.part("a token");
    let idle = "- name: idle\n  program: [/bin/false]\n  circuit: circuit\n";
    let scripted = Scripted::new(SCRIPT, &format!("{idle}{part}"));
    let upstream = upstream();
    let colophon = Colophon::start(&upstream.url(), |options| {
        options.policy = Some(policy("idle", "    deadline: 1h"));
        options.arg(&["--provers", &scripted.file().display().to_string()]);
    });
    // More than are handed out at once, of a prover that nobody has.
    let answers: Vec<Message> = (0..66).map(|_| chat(&colophon)).collect();
    let stand = |state: &str| colophon.metric(&format!("colophon_proof_jobs{{state=\"{state}\"}}"));
    let full = wait_for(PATIENCE * 2, || {
        (stand("leased") == Some(64.0) && stand("ready") == Some(2.0)).then_some(())
    });
    assert!(full.is_some(), "{}", colophon.log());
    let asked = |answer: &Message| {
        let id = record(answer);
        let (code, said) = command(&colophon, &["proof", "submit", &id, "--prover", "script", "--json"]);
        assert_eq!(code, 0, "{said}");
    };
    asked(&answers[0]);
    let handed = wait_for(PATIENCE, || (stand("leased") == Some(65.0)).then_some(()));
    assert!(handed.is_some(), "{}", colophon.log());

    // The server's disk is another one: what lay there is gone.
    server.process.kill();
    fs::remove_dir_all(server.folder.path().join("jetstream")).expect("its files");
    server.restart();
    let only = Scripted::new(SCRIPT, &part);
    let mut worker = worker(&colophon, &only, "one");
    let proven = wait_for(Duration::from_secs(180), || worker.log().contains("proven").then_some(()));
    assert!(proven.is_some(), "{}\n{}", worker.log(), colophon.log());
    assert_eq!(verdict(&settled(&colophon, &answers[0]).receipt()), Verdict::Holds);
    assert!(colophon.log().contains("was lost from the NATS server"), "{}", colophon.log());
    asked(&answers[1]);
    assert_eq!(verdict(&settled(&colophon, &answers[1]).receipt()), Verdict::Holds);
    worker.kill();
}

#[test]
fn a_job_that_the_server_does_not_take_fails_alone() {
    let Some(server) = Server::start() else { return };
    let upstream = upstream();
    // Two provers: what is to be proven by one of them has no room in a message.
    let scripted = Scripted::new(SCRIPT, "");
    let wide = scripted.circuit().with_file_name("wide");
    fs::create_dir(&wide).expect("a folder");
    for file in ["vk", "srs", "settings.json"] {
        fs::copy(scripted.circuit().join(file), wide.join(file)).expect("a file of the circuit");
    }
    let text = fs::read_to_string(scripted.circuit().join("circuit.json")).expect("the circuit");
    let mut circuit: Value = serde_json::from_str(&text).expect("JSON");
    circuit["quantisation"] = "q".repeat(MOST).into();
    fs::write(wide.join("circuit.json"), circuit.to_string()).expect("the circuit");
    let provers = fs::read_to_string(scripted.file()).expect("the provers");
    let more = "- name: wide\n  program: [/bin/false]\n  circuit: wide\n";
    fs::write(scripted.file(), format!("{provers}{more}{}", server.part("a token"))).expect("the provers");

    let colophon = start(&upstream, &scripted, "    deadline: 1h");
    let answers: Vec<Message> = (0..2).map(|_| chat(&colophon)).collect();
    let leased = || colophon.metric("colophon_proof_jobs{state=\"leased\"}");
    assert!(wait_for(PATIENCE, || (leased() == Some(2.0)).then_some(())).is_some(), "{}", colophon.log());
    for answer in &answers {
        let ask = ["proof", "submit", &record(answer), "--prover", "wide", "--wait", "--json"];
        let (code, said) = command(&colophon, &ask);
        let job: Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"));
        assert_eq!((code, &job["state"]["code"]), (1, &"limit".into()), "{said}\n{}", colophon.log());
        assert_eq!(job["tries"], 1);
    }
    let mut worker = worker(&colophon, &scripted, "one");
    let after = chat(&colophon);
    assert_eq!(verdict(&settled(&colophon, &after).receipt()), Verdict::Holds, "{}", worker.log());
    assert!(!colophon.log().contains("is away"), "{}", colophon.log());
    worker.kill();
}

#[test]
fn what_was_proven_while_the_server_could_not_be_reached_is_not_proven_again() {
    let Some(server) = Server::start() else { return };
    let way = Way::to(server.address);
    let (upstream, scripted) = (upstream(), Scripted::new(SCRIPT, &server.part_at(way.address, "a token")));
    let colophon = start(&upstream, &scripted, "    deadline: 1h");
    let answers: Vec<Message> = (0..4).map(|_| chat(&colophon)).collect();
    let leased = || colophon.metric("colophon_proof_jobs{state=\"leased\"}");
    assert!(wait_for(PATIENCE, || (leased() == Some(4.0)).then_some(())).is_some(), "{}", colophon.log());
    pause(Duration::from_secs(2));
    way.cut(true);
    // It is near the server, and says how they went.
    let near = Scripted::new(SCRIPT, &server.part("a token"));
    let mut worker = worker(&colophon, &near, "near");
    let proven = || (worker.log().matches("proven").count() >= 4).then_some(());
    assert!(wait_for(PATIENCE, proven).is_some(), "{}", worker.log());
    let away = || colophon.log().contains("is away").then_some(());
    assert!(wait_for(PATIENCE * 4, away).is_some(), "{}", colophon.log());
    way.cut(false);
    for answer in &answers {
        assert_eq!(verdict(&settled(&colophon, answer).receipt()), Verdict::Holds, "{}", colophon.log());
        assert_eq!(job(&colophon, answer)["tries"], 1);
    }
    assert!(!colophon.log().contains("was lost"), "{}", colophon.log());
    worker.kill();
}
