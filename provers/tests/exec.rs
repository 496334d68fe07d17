//! Programs as backends: an honest one, and those that lie, hang, fork, fill the disk, eat memory or say garbage.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test, which may fail loudly")]

use async_trait::async_trait;
use colophon_provers::backend::exec::Exec;
use colophon_provers::backend::{Backend as _, BackendError, Estimate, Task};
use colophon_provers::sandbox::Sandbox;
use colophon_provers::worker::{Ended, Source, SourceError, Worker};
use colophon_provers::{
    Artefact, Failure, Job, JobId, Leased, Limits, Progress, Queue, QueueConfig, QueueError, Request, State,
    Statement,
};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What a good prover says, whatever it is asked.
const HONEST: &str = r#"
read -r call
case $call in
*'"op":"prove"'*)
    echo '{"progress":{"stage":"witness","percent":40}}'
    printf 'proof of %s' "$(expr "$call" : '.*"record":"\([0-9a-f]*\)"')" > artefact
    echo '{"result":{}}' ;;
*'"op":"verify"'*)
    if [ "$(cat artefact)" = "proof of $(expr "$call" : '.*"record":"\([0-9a-f]*\)"')" ]
    then echo '{"result":{"accepted":true}}'; else echo '{"result":{"accepted":false}}'; fi ;;
*'"op":"estimate"'*) echo '{"result":{"cpu_seconds":0.5,"memory":1000000}}' ;;
*) echo '{"result":{"prover":"sh 1","circuits":[],"hides":false}}' ;;
esac
"#;

fn script(text: &str) -> Exec {
    Exec {
        name: "sh".into(),
        program: vec!["/bin/sh".into(), "-c".into(), text.into()],
        sandbox: Sandbox { shim: vec![env!("CARGO_BIN_EXE_prover-sandbox").into()], network: false },
    }
}

fn statement(number: u8) -> Statement {
    let mut record = [0; 32];
    record[31] = number;
    Statement::about(&record, &"cd".repeat(32), "none")
}

fn limits() -> Limits {
    Limits { cpu_seconds: 20, seconds: 20, memory: 512 << 20, disk: 64 << 20, artefact: 1 << 20 }
}

fn task(folder: &Path, limits: Limits) -> Task {
    Task { statement: statement(1), limits, folder: folder.to_owned() }
}

/// Runs the script as a prover and returns how it failed, and the seconds that it took.
async fn fails(text: &str, limits: Limits) -> (BackendError, Duration) {
    let folder = tempfile::tempdir().unwrap();
    let begun = Instant::now();
    let mut running = script(text).submit(&task(folder.path(), limits)).await.unwrap();
    loop {
        match running.poll().await {
            Ok(colophon_provers::backend::Poll::Running(_)) => {}
            Ok(_) => match running.fetch().await {
                Ok(bytes) => panic!("it made {} bytes", bytes.len()),
                Err(error) => return (error, begun.elapsed()),
            },
            Err(error) => return (error, begun.elapsed()),
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "it was not ended");
    }
}

/// A queue in this process, whose times are its own.
struct Local {
    queue: Queue,
    worker: String,
    now: AtomicU64,
    renewals: AtomicU64,
}

impl Local {
    fn open(folder: &Path) -> Arc<Local> {
        let queue = Queue::open(&folder.join("queue"), QueueConfig::default()).unwrap();
        Arc::new(Local { queue, worker: "w".into(), now: AtomicU64::new(1), renewals: AtomicU64::new(0) })
    }

    fn now(&self) -> u64 {
        self.now.load(Ordering::Relaxed)
    }
}

fn told<T>(result: Result<T, QueueError>) -> Result<T, SourceError> {
    result.map_err(|error| match error {
        QueueError::NotLeased(_) => SourceError::Gone,
        other => SourceError::Away(other.to_string()),
    })
}

#[async_trait]
impl Source for Local {
    async fn lease(&self, backends: &[&str]) -> Result<Option<Leased>, SourceError> {
        told(self.queue.lease(&self.worker, backends, self.now()))
    }

    async fn renew(&self, id: JobId, progress: Progress) -> Result<(), SourceError> {
        self.renewals.fetch_add(1, Ordering::Relaxed);
        told(self.queue.renew(id, &self.worker, progress, self.now()).map(drop))
    }

    async fn proven(&self, id: JobId, artefact: &Artefact, bytes: Vec<u8>) -> Result<(), SourceError> {
        assert_eq!(artefact.digest, hex::encode(colophon_receipt::merkle::sha256(&bytes)));
        told(self.queue.proven(id, &self.worker, artefact.clone(), self.now()).map(drop))
    }

    async fn failed(&self, id: JobId, failure: Failure, again: bool, cpu: f64) -> Result<(), SourceError> {
        told(self.queue.failed(id, &self.worker, failure, again, cpu, self.now()).map(drop))
    }
}

fn request(number: u8) -> Request {
    Request {
        record: "r".into(),
        statement: statement(number),
        backend: "sh".into(),
        rule: Some("few".into()),
        deadline: None,
        priority: 0,
        limits: limits(),
        webhook: None,
        evidence: None,
    }
}

fn ignore(_: &Job, _: &Progress) {}

#[tokio::test]
async fn an_honest_prover_is_believed_after_its_verifier_has_looked() {
    let folder = tempfile::tempdir().unwrap();
    let source = Local::open(folder.path());
    let id = source.queue.submit(request(7), 1).unwrap().job.id;
    // It thinks that it takes 100 seconds.
    let slow = HONEST.replace("\"cpu_seconds\":0.5", "\"cpu_seconds\":100");
    let worker = Worker::new(source.clone(), vec![Arc::new(script(&slow))], folder.path().join("work"));
    let mut stages = Vec::new();
    let mut left = Vec::new();
    let mut watch = |_: &Job, progress: &Progress| {
        stages.push((progress.stage.clone(), progress.percent));
        left.extend(progress.seconds_left);
    };
    let (job, ended) = worker.once(&mut watch).await.unwrap().unwrap();
    assert_eq!(job.id, id);
    let Ended::Proven(artefact) = ended else { panic!("{ended:?}") };
    assert_eq!(artefact.bytes, 9 + 64);
    assert_eq!(source.queue.get(id).unwrap().unwrap().state, State::Proven(artefact));
    assert!(
        stages.contains(&("witness".into(), 40)) && stages.contains(&("verifying".into(), 99)),
        "{stages:?}"
    );
    assert!(left.iter().any(|left| (90..100).contains(left)), "{left:?}");
    assert!(source.renewals.load(Ordering::Relaxed) > 0);
    assert!(!folder.path().join("work").join(id.to_string()).exists(), "its folder is gone");
    assert!(worker.once(&mut ignore).await.unwrap().is_none(), "there is no other job");
}

#[tokio::test]
async fn it_says_what_it_is_and_what_a_task_costs() {
    let folder = tempfile::tempdir().unwrap();
    let prover = script(HONEST);
    let capabilities = prover.capabilities(folder.path().to_owned()).await.unwrap();
    assert_eq!((capabilities.prover.as_str(), capabilities.hides), ("sh 1", false));
    let estimate = prover.estimate(&task(folder.path(), limits())).await.unwrap();
    assert_eq!(estimate, Estimate { cpu_seconds: 0.5, memory: 1_000_000 });
}

#[tokio::test]
async fn a_prover_that_lies_is_found_out_and_not_asked_again() {
    let folder = tempfile::tempdir().unwrap();
    let source = Local::open(folder.path());
    let lying = HONEST.replace("'proof of %s'", "'trust me, %s'");
    let id = source.queue.submit(request(1), 1).unwrap().job.id;
    let worker = Worker::new(source.clone(), vec![Arc::new(script(&lying))], folder.path().join("work"));
    let (_, ended) = worker.once(&mut ignore).await.unwrap().unwrap();
    let Ended::Failed(failure) = ended else { panic!("{ended:?}") };
    assert_eq!(failure.code, "lied");
    assert_eq!(source.queue.get(id).unwrap().unwrap().state, State::Failed(failure));
}

#[tokio::test]
async fn a_proof_of_another_record_is_not_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let other = Task { statement: statement(2), ..task(folder.path(), limits()) };
    let proof = format!("proof of {:064x}", 1);
    let prover = script(HONEST);
    prover.verify(&task(folder.path(), limits()), proof.as_bytes()).await.unwrap();
    assert!(matches!(prover.verify(&other, proof.as_bytes()).await, Err(BackendError::Lied(_))));
}

#[tokio::test]
async fn a_prover_that_hangs_is_ended() {
    let short = Limits { seconds: 1, ..limits() };
    let (error, took) = fails("sleep 1000", short).await;
    assert_eq!(error, BackendError::Limit("1 seconds".into()));
    assert!(took < Duration::from_secs(10), "{took:?}");
    let (error, _) = fails("exec >&-; sleep 1000", short).await;
    assert_eq!(error, BackendError::Limit("1 seconds".into()), "closing its output is no end");
}

#[tokio::test]
async fn what_it_forks_goes_with_it_also_what_hides_in_a_session_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let alive = folder.path().join("alive");
    // The mark is touched for as long as the hidden process lives.
    let text = format!(
        "(setsid sh -c 'while :; do date +%s%N > {}; sleep 0.1; done' >/dev/null 2>&1 &) ; sleep 1; echo nonsense",
        alive.display()
    );
    let (error, _) = fails(&text, limits()).await;
    assert!(matches!(error, BackendError::Malformed(_)), "{error:?}");
    let mark = std::fs::read(&alive).unwrap();
    assert!(!mark.is_empty(), "it did run");
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(std::fs::read(&alive).unwrap(), mark, "it lives on");
    let (error, _) = fails("for i in $(seq 100); do sleep 1000 & done; wait", limits()).await;
    assert_eq!(error, BackendError::Limit("64 processes".into()));
}

/// What ties it to its worker is not its own to undo.
#[cfg(target_arch = "x86_64")]
#[tokio::test]
async fn a_prover_that_wants_to_outlive_its_worker_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let alive = folder.path().join("alive");
    // prctl(PR_SET_PDEATHSIG, 0), by the process that the worker's stages become or start.
    let text = format!(
        "exec perl -e 'syscall(157, 1, 0, 0, 0, 0); $SIG{{TERM}} = \"IGNORE\"; while (1) {{ open(F, \">>\", \"{}\"); print F \"x\"; close(F); select(undef, undef, undef, 0.05) }}'",
        alive.display()
    );
    let (error, _) = fails(&text, Limits { seconds: 2, ..limits() }).await;
    assert_eq!(error, BackendError::Limit("2 seconds".into()));
    let mark = std::fs::metadata(&alive).unwrap().len();
    assert!(mark > 0, "it did run");
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(std::fs::metadata(&alive).unwrap().len(), mark, "it lives on");
}

/// Its complaints are read from the file that it was given, not from whatever it puts there.
#[tokio::test]
async fn a_pipe_in_the_place_of_its_complaints_holds_nobody_up() {
    let (error, took) = fails("echo so much for that >&2; rm stderr; mkfifo stderr; exit 1", limits()).await;
    assert!(matches!(&error, BackendError::Failed(why) if why.contains("so much for that")), "{error:?}");
    assert!(took < Duration::from_secs(10), "{took:?}");
}

#[tokio::test]
async fn memory_disk_and_cpu_time_are_bounded() {
    let (error, _) = fails("tail /dev/zero", Limits { memory: 64 << 20, ..limits() }).await;
    // Its allocation fails, or it is ended: whichever comes first.
    assert!(matches!(error, BackendError::Limit(_) | BackendError::Failed(_)), "{error:?}");
    let small = Limits { disk: 1 << 20, ..limits() };
    let (error, _) = fails("head -c 100000000 /dev/zero > big; sleep 1000", small).await;
    assert!(matches!(error, BackendError::Limit(_) | BackendError::Failed(_)), "{error:?}");
    let many = "i=0; while :; do head -c 500000 /dev/zero > f$i; i=$((i+1)); sleep 0.05; done";
    assert_eq!(fails(many, small).await.0, BackendError::Limit("1048576 bytes of disk".into()));
    let (error, _) = fails("while :; do :; done", Limits { cpu_seconds: 1, ..limits() }).await;
    assert!(matches!(error, BackendError::Limit(_) | BackendError::Failed(_)), "{error:?}");
    let (error, _) = fails("while :; do echo what went wrong >&2; done", small).await;
    assert!(matches!(error, BackendError::Limit(_) | BackendError::Failed(_)), "{error:?}");
}

#[tokio::test]
async fn garbage_is_no_result() {
    for (text, why) in [
        ("echo garbage", "garbage"),
        ("yes '{\"progress\":{\"stage\":\"x\",\"percent\":1}}'", "says more than"),
        ("head -c 100000 /dev/zero", "says more than"),
        ("echo '{\"result\":{}}'; echo '{\"result\":{}}'", "goes on after its result"),
        ("echo '{\"result\":{}}'", "left no file"),
        ("ln -s /etc/passwd artefact; echo '{\"result\":{}}'", "left no file"),
        ("touch artefact; echo '{\"result\":{}}'", "empty"),
    ] {
        let (error, _) = fails(text, limits()).await;
        assert!(matches!(&error, BackendError::Malformed(said) if said.contains(why)), "{text}: {error:?}");
    }
    let (error, _) = fails("head -c 2000000 /dev/zero > artefact; echo '{\"result\":{}}'", limits()).await;
    assert_eq!(error, BackendError::Limit("1048576 bytes of artefact".into()));
    let (error, _) = fails("echo 'no circuit for this' >&2; exit 3", limits()).await;
    assert!(error.to_string().ends_with("no circuit for this"), "{error}");
    let (error, _) =
        fails("echo '{\"error\":{\"refused\":true,\"message\":\"unknown circuit\"}}'", limits()).await;
    assert_eq!(error, BackendError::Refused("unknown circuit".into()));
    assert!(!error.may_help_again());
    let (error, _) = fails("kill -9 $$", limits()).await;
    assert!(matches!(error, BackendError::Failed(_)) && error.may_help_again(), "{error:?}");
}

#[tokio::test]
async fn a_trial_says_whether_programs_can_be_held_here() {
    script("").sandbox.try_out().await.unwrap();
    for (shim, why) in [
        ("echo warning >&2; echo 'no namespaces' >&2; exit 125", "here: no namespaces"),
        ("exit 125", "exit status: 125"),
        ("head -c 100000 /dev/zero >&2; exit 1", "here: "),
    ] {
        let shim = vec!["/bin/sh".into(), "-c".into(), shim.into()];
        let error = Sandbox { shim, network: false }.try_out().await.unwrap_err().to_string();
        assert!(error.contains(why), "{why}: {error}");
    }
    let gone = Sandbox { shim: vec!["/no/such/program".into()], network: false };
    assert!(gone.try_out().await.is_err());
}

#[tokio::test]
async fn it_sees_no_network_no_other_process_and_nothing_of_the_workers_environment() {
    let look = r#"
read -r call
printf '%s|%s|%s|%s' "$(cut -d: -f1 -s /proc/net/dev | tr -d ' \n')" "$$" "$(env | grep -c CARGO)" "$HOME" > artefact
echo '{"result":{}}'
"#;
    let folder = tempfile::tempdir().unwrap();
    let mut running = script(look).submit(&task(folder.path(), limits())).await.unwrap();
    while !matches!(running.poll().await.unwrap(), colophon_provers::backend::Poll::Done) {}
    let seen = String::from_utf8(running.fetch().await.unwrap()).unwrap();
    assert_eq!(
        seen,
        format!("lo|2|0|{}", folder.path().display()),
        "loopback alone, the first process after the one that holds it, none of ours"
    );
}

#[tokio::test]
async fn a_withdrawn_job_stops_its_prover() {
    let folder = tempfile::tempdir().unwrap();
    let source = Local::open(folder.path());
    let slow =
        "read -r call; while :; do echo '{\"progress\":{\"stage\":\"on\",\"percent\":1}}'; sleep 0.2; done";
    let id = source.queue.submit(request(1), 1).unwrap().job.id;
    let worker = Worker::new(source.clone(), vec![Arc::new(script(slow))], folder.path().join("work"));
    let queue = source.clone();
    let mut watch = move |job: &Job, _: &Progress| drop(queue.queue.cancel(job.id, 2));
    let begun = Instant::now();
    let (_, ended) = worker.once(&mut watch).await.unwrap().unwrap();
    assert_eq!(ended, Ended::Gone);
    assert!(begun.elapsed() < Duration::from_secs(15));
    assert_eq!(source.queue.get(id).unwrap().unwrap().state, State::Cancelled);
}

#[tokio::test]
async fn a_verifier_that_takes_long_does_not_cost_the_lease() {
    let folder = tempfile::tempdir().unwrap();
    let source = Local::open(folder.path());
    source.queue.submit(request(1), source.now()).unwrap();
    let slow = HONEST.replace("if [ \"$(cat artefact)\"", "sleep 11; if [ \"$(cat artefact)\"");
    assert_ne!(slow, HONEST);
    let worker = Worker::new(source.clone(), vec![Arc::new(script(&slow))], folder.path().join("work"));
    let (_, ended) = worker.once(&mut |_, _| ()).await.unwrap().unwrap();
    assert!(matches!(ended, Ended::Proven(_)), "{ended:?}");
    assert!(source.renewals.load(Ordering::Relaxed) >= 3);
}
