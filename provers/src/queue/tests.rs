use super::*;
use colophon_receipt::proof::Statement;
use std::collections::HashMap;

const SECOND: u64 = 1_000_000;
pub(crate) const NOW: u64 = 1_790_000_000 * SECOND;

pub(crate) fn request(number: u32) -> Request {
    let mut record = [0; 32];
    record[28..].copy_from_slice(&number.to_be_bytes());
    Request {
        record: format!("record-{number}"),
        statement: Statement::about(&record, &"cd".repeat(32), "none"),
        backend: "ezkl".into(),
        rule: None,
        deadline: None,
        priority: 0,
        limits: crate::Limits::default(),
        webhook: None,
        evidence: None,
    }
}

fn artefact() -> Artefact {
    let digest = "ee".repeat(32);
    Artefact { digest, bytes: 3072, cpu_seconds: 1.5, prover: "p".into(), hides: false, setup: None }
}

fn failure(code: &str) -> Failure {
    Failure { code: code.into(), message: String::new() }
}

struct Here {
    folder: tempfile::TempDir,
    queue: Option<Queue>,
    config: QueueConfig,
}

impl Here {
    fn new(config: QueueConfig) -> Here {
        let mut here = Here { folder: tempfile::tempdir().unwrap(), queue: None, config };
        here.open().unwrap();
        here
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("proofs.redb")
    }

    fn open(&mut self) -> Result<(), QueueError> {
        self.queue = None;
        self.queue = Some(Queue::open(&self.path(), self.config.clone())?);
        Ok(())
    }
}

impl std::ops::Deref for Here {
    type Target = Queue;

    fn deref(&self) -> &Queue {
        self.queue.as_ref().unwrap()
    }
}

#[test]
fn the_same_question_is_one_job_and_survives_a_restart() {
    let mut queue = Here::new(QueueConfig::default());
    let first = queue.submit(request(1), NOW).unwrap();
    assert!(!first.existed);
    queue.open().unwrap();
    let again = queue.submit(request(1), NOW + 5).unwrap();
    assert!(again.existed);
    assert_eq!(again.job, first.job);
    let other = Request { backend: "other".into(), ..request(1) };
    assert!(!queue.submit(other, NOW).unwrap().existed, "another backend is another job");
    assert_eq!(queue.counts().unwrap(), Counts { ready: 2, ..Counts::default() });
}

#[test]
fn priority_goes_before_age_and_a_leased_job_is_nobody_elses() {
    let queue = Here::new(QueueConfig::default());
    queue.submit(request(1), NOW).unwrap();
    queue.submit(request(2), NOW + 1).unwrap();
    queue.submit(Request { priority: 9, ..request(3) }, NOW + 2).unwrap();
    let mut order = Vec::new();
    while let Some(leased) = queue.lease("w", &["ezkl"], NOW + 3).unwrap() {
        order.push(leased.job.request.record);
    }
    assert_eq!(order, ["record-3", "record-1", "record-2"]);
    assert_eq!(queue.lease("w", &["other"], NOW + 3).unwrap(), None, "a job for another backend");
}

#[test]
fn a_lease_that_runs_out_goes_to_another_and_the_first_worker_is_told() {
    let queue = Here::new(QueueConfig::default());
    let id = queue.submit(request(1), NOW).unwrap().job.id;
    let lease = queue.lease("a", &["ezkl"], NOW).unwrap().unwrap();
    let progress = Progress { stage: "witness".into(), percent: 10, seconds_left: None };
    let until = queue.renew(id, "a", progress, NOW + 30 * SECOND).unwrap();
    assert_eq!((lease.until, until), (NOW + 60 * SECOND, NOW + 90 * SECOND));
    assert_eq!(queue.lease("b", &["ezkl"], NOW + 89 * SECOND).unwrap(), None);
    // It ran out, and waits for its second try.
    queue.tidy(NOW + 91 * SECOND).unwrap();
    let second = queue.lease("b", &["ezkl"], NOW + 102 * SECOND).unwrap().unwrap();
    assert_eq!((second.job.id, second.job.tries), (id, 2));
    assert_eq!(
        second.job.last_failure,
        Some(Failure { code: "lease".into(), message: "its worker let the lease run out".into() })
    );
    let late = queue.proven(id, "a", artefact(), NOW + 103 * SECOND);
    assert!(
        matches!(late, Err(QueueError::NotLeased(_))),
        "one artefact in the end, and not the first worker's"
    );
    assert_eq!(
        queue.proven(id, "b", artefact(), NOW + 104 * SECOND).unwrap().state,
        State::Proven(artefact())
    );
    assert!(queue.proven(id, "b", artefact(), NOW + 105 * SECOND).is_err(), "it has ended");
}

#[test]
fn a_job_is_tried_three_times_with_growing_pauses() {
    let queue = Here::new(QueueConfig::default());
    let id = queue.submit(request(1), NOW).unwrap().job.id;
    let mut now = NOW;
    let mut pauses = Vec::new();
    for _ in 0..TRIES {
        queue.lease("w", &["ezkl"], now).unwrap().unwrap();
        let job = queue.failed(id, "w", failure("ended"), true, 0.0, now).unwrap();
        if let State::Queued { not_before } = job.state {
            pauses.push((not_before - now) / SECOND);
            assert_eq!(queue.lease("w", &["ezkl"], not_before - 1).unwrap(), None, "not before its time");
            now = not_before;
        }
    }
    assert_eq!(pauses, [10, 40]);
    assert_eq!(queue.get(id).unwrap().unwrap().state, State::Failed(failure("ended")));
    // Asked for again, it is a new one.
    let again = queue.submit(request(1), now).unwrap();
    assert!(!again.existed);
    assert_eq!(again.job.tries, 0);
}

#[test]
fn a_failure_that_no_retry_mends_is_the_end() {
    let queue = Here::new(QueueConfig::default());
    let id = queue.submit(request(1), NOW).unwrap().job.id;
    queue.lease("w", &["ezkl"], NOW).unwrap();
    let job = queue.failed(id, "w", failure("refused"), false, 0.0, NOW).unwrap();
    assert_eq!(job.state, State::Failed(failure("refused")));
    assert_eq!(queue.counts().unwrap(), Counts { ended: 1, ..Counts::default() });
}

#[test]
fn deadlines_are_kept_wherever_the_job_stands() {
    let queue = Here::new(QueueConfig::default());
    let late = Request { deadline: Some(NOW), ..request(1) };
    assert!(matches!(queue.submit(late, NOW), Err(QueueError::Late)));
    let waiting = Request { deadline: Some(NOW + SECOND), ..request(2) };
    let running = Request { deadline: Some(NOW + 2 * SECOND), priority: 1, ..request(3) };
    let (waiting, running) =
        (queue.submit(waiting, NOW).unwrap().job.id, queue.submit(running, NOW).unwrap().job.id);
    assert_eq!(queue.lease("w", &["ezkl"], NOW).unwrap().unwrap().job.id, running);
    let ended: Vec<_> = queue.tidy(NOW + 3 * SECOND).unwrap().iter().map(|job| job.id).collect();
    assert_eq!(ended, [waiting, running]);
    assert_eq!(queue.get(running).unwrap().unwrap().state, State::Missed);
    assert!(matches!(
        queue.renew(running, "w", Progress::default(), NOW + 3 * SECOND),
        Err(QueueError::NotLeased(_))
    ));
    // A retry that could only begin after the deadline is not waited for.
    let short = Request { deadline: Some(NOW + 5 * SECOND), ..request(4) };
    let id = queue.submit(short, NOW).unwrap().job.id;
    queue.lease("w", &["ezkl"], NOW).unwrap().unwrap();
    assert_eq!(queue.failed(id, "w", failure("ended"), true, 0.0, NOW).unwrap().state, State::Missed);
}

#[test]
fn a_withdrawn_job_is_not_run() {
    let queue = Here::new(QueueConfig::default());
    let id = queue.submit(request(1), NOW).unwrap().job.id;
    assert_eq!(queue.cancel(id, NOW).unwrap().state, State::Cancelled);
    assert_eq!(queue.lease("w", &["ezkl"], NOW).unwrap(), None);
    assert!(matches!(queue.cancel(JobId([0; 16]), NOW), Err(QueueError::Unknown(_))));
    let id = queue.submit(request(2), NOW).unwrap().job.id;
    queue.lease("w", &["ezkl"], NOW).unwrap().unwrap();
    queue.cancel(id, NOW).unwrap();
    assert!(matches!(queue.proven(id, "w", artefact(), NOW), Err(QueueError::NotLeased(_))));
}

#[test]
fn a_rule_spends_no_more_than_its_budget() {
    let budget = Budget { jobs_per_hour: Some(2), cpu_seconds_per_hour: Some(2.0) };
    let config = QueueConfig {
        budgets: BTreeMap::from([("few".to_owned(), budget), ("*".to_owned(), budget)]),
        ..QueueConfig::default()
    };
    let queue = Here::new(config);
    let of = |rule: &str, number| Request { rule: Some(rule.into()), ..request(number) };
    queue.submit(of("few", 1), NOW).unwrap();
    queue.submit(of("few", 2), NOW).unwrap();
    assert!(queue.submit(of("few", 1), NOW).unwrap().existed, "asking for a job that is there costs nothing");
    let refused = queue.submit(of("few", 3), NOW).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the rule `few` has spent its 2 jobs an hour; try again in the next hour"
    );
    queue.submit(of("few", 3), NOW + 3_600 * SECOND).unwrap();
    // CPU time: the try that goes over it is not cut short, the next job is refused.
    let id = queue.submit(of("other", 4), NOW).unwrap().job.id;
    while queue.lease("w", &["ezkl"], NOW).unwrap().unwrap().job.id != id {}
    queue.proven(id, "w", Artefact { cpu_seconds: 2.5, ..artefact() }, NOW).unwrap();
    assert_eq!(queue.spent("other", NOW).unwrap(), Spent { jobs: 1, cpu_seconds: 2.5 });
    assert!(matches!(queue.submit(of("other", 5), NOW), Err(QueueError::Budget { .. })));
}

#[test]
fn a_flood_of_jobs_is_refused_and_old_ones_are_forgotten() {
    let queue = Here::new(QueueConfig { max_live: 50, keep: SECOND, ..QueueConfig::default() });
    let accepted = (0..200).filter(|number| queue.submit(request(*number), NOW).is_ok()).count();
    assert_eq!(accepted, 50);
    assert!(matches!(queue.submit(request(999), NOW), Err(QueueError::Full(50))));
    for number in 0..50 {
        queue.cancel(queue.submit(request(number), NOW).unwrap().job.id, NOW).unwrap();
    }
    assert_eq!(queue.counts().unwrap(), Counts { ended: 50, ..Counts::default() });
    queue.tidy(NOW + 2 * SECOND).unwrap();
    assert_eq!(queue.counts().unwrap(), Counts::default());
    let long = Request { webhook: Some("h".repeat(1000)), ..request(1) };
    assert!(matches!(queue.submit(long, NOW), Err(QueueError::TooLong("webhook"))));
}

#[test]
fn what_the_log_is_to_say_is_kept_until_it_says_it() {
    let mut queue = Here::new(QueueConfig { keep: SECOND, ..QueueConfig::default() });
    let wanted = |number| Request { evidence: Some("0".repeat(32)), ..request(number) };
    let ids: Vec<JobId> = (1..=3).map(|number| queue.submit(wanted(number), NOW).unwrap().job.id).collect();
    let other = queue.submit(request(4), NOW).unwrap().job.id;
    assert_eq!(queue.unlogged(Mark::default(), 9).unwrap(), []);
    queue.cancel(ids[2], NOW).unwrap();
    queue.cancel(other, NOW).unwrap();
    let leased = queue.lease("w", &["ezkl"], NOW).unwrap().unwrap().job.id;
    assert_eq!(leased, ids[0]);
    queue.proven(leased, "w", artefact(), NOW + 1).unwrap();
    queue.open().unwrap();
    let unlogged: Vec<JobId> =
        queue.unlogged(Mark::default(), 9).unwrap().iter().map(|mark| mark.1).collect();
    assert_eq!(unlogged, [ids[2], ids[0]]);
    // Long after: what was said is forgotten, what was not is kept.
    queue.logged(&[ids[2], other]).unwrap();
    queue.tidy(NOW + 9 * SECOND).unwrap();
    assert!(queue.get(ids[2]).unwrap().is_none() && queue.get(other).unwrap().is_none());
    assert_eq!(queue.unlogged(Mark::default(), 9).unwrap().len(), 1);
    assert!(queue.get(ids[0]).unwrap().is_some());
    queue.logged(&[ids[0]]).unwrap();
    assert_eq!(queue.unlogged(Mark::default(), 9).unwrap(), []);
    assert!(queue.get(ids[0]).unwrap().unwrap().logged);
    queue.forget(ids[0]).unwrap();
    assert!(queue.get(ids[0]).unwrap().is_none());
}

#[test]
fn a_file_that_was_damaged_is_named_and_a_second_process_is_refused() {
    let mut queue = Here::new(QueueConfig::default());
    for number in 0..200 {
        queue.submit(request(number), NOW).unwrap();
    }
    let second = Queue::open(&queue.path(), QueueConfig::default()).unwrap_err();
    assert!(second.to_string().contains("proofs.redb"), "{second}");
    let path = queue.path();
    queue.queue = None;
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() / 3]).unwrap();
    let torn = queue.open().and_then(|()| queue.counts());
    // Never a queue that opens with part of its jobs.
    assert!(torn.is_err() || torn.unwrap().ready == 200);
    std::fs::write(&path, b"not a queue at all, but long enough to look at").unwrap();
    assert!(matches!(queue.open(), Err(QueueError::File { .. })));
    std::fs::write(&path, &whole).unwrap();
    queue.open().unwrap();
    assert_eq!(queue.counts().unwrap().ready, 200);
}

/// A model of the queue that keeps everything in a map.
#[derive(Default)]
struct Model {
    jobs: HashMap<JobId, Job>,
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(24))]
    /// Whatever happens in whatever order, every accepted job is in one place, and none is with two workers.
    #[test]
    fn every_job_is_in_exactly_one_place(steps in proptest::collection::vec((0u8..8, 0u32..6, 0u64..40), 1..60)) {
        let mut queue = Here::new(QueueConfig::default());
        let mut model = Model::default();
        let mut now = NOW;
        for (step, number, seconds) in steps {
            now += seconds * SECOND;
            let id = JobId::of(&request(number).statement.digest().unwrap(), "ezkl");
            let worker = if number % 2 == 0 { "a" } else { "b" };
            match step {
                0 | 1 => drop(queue.submit(request(number), now).unwrap()),
                2 | 3 => {
                    let before = queue.counts().unwrap().leased;
                    let leased = queue.lease(worker, &["ezkl"], now).unwrap();
                    proptest::prop_assert!(leased.is_none() || queue.counts().unwrap().leased <= before + 1);
                }
                4 => drop(queue.proven(id, worker, artefact(), now)),
                5 => drop(queue.failed(id, worker, failure("x"), true, 0.1, now)),
                6 => drop(queue.cancel(id, now)),
                _ => queue.open().unwrap(),
            }
            model.jobs = (0..6)
                .map(|n| JobId::of(&request(n).statement.digest().unwrap(), "ezkl"))
                .filter_map(|id| Some((id, queue.get(id).unwrap()?)))
                .collect();
            let counts = queue.counts().unwrap();
            let live = model.jobs.values().filter(|job| !job.state.has_ended()).count() as u64;
            proptest::prop_assert_eq!(counts.ready + counts.delayed + counts.leased, live);
            proptest::prop_assert_eq!(counts.ended, model.jobs.len() as u64 - live);
            proptest::prop_assert!(model.jobs.values().all(|job| job.tries <= TRIES));
        }
    }
}

#[test]
fn what_the_log_waits_for_is_said_by_the_id_of_its_draw_and_begins_nothing_anew() {
    let here = Here::new(QueueConfig::default());
    let queue = here.queue.as_ref().unwrap();
    let with = |evidence: &str| Request { evidence: Some(evidence.into()), ..request(1) };
    // Somebody asked for it, and later it was drawn.
    let id = queue.submit(with("asked"), NOW).unwrap().job.id;
    assert!(queue.take_on(with("drawn"), NOW).unwrap().existed);
    assert_eq!(queue.get(id).unwrap().unwrap().request.evidence.as_deref(), Some("drawn"));
    // What came of it is not logged yet: no new try.
    queue.lease("w", &["ezkl"], NOW).unwrap().unwrap();
    queue.failed(id, "w", failure("refused"), false, 1.0, NOW).unwrap();
    assert!(matches!(queue.take_on(with("drawn"), NOW).unwrap().job.state, State::Failed(_)));
    assert_eq!(queue.unlogged(Mark::default(), 9).unwrap().len(), 1);
    // Once it is, there may be one.
    queue.logged(&[id]).unwrap();
    assert!(!queue.take_on(with("drawn"), NOW).unwrap().existed);
    // A proof that is logged by the id that was asked for is logged by that of the draw too.
    queue.lease("w", &["ezkl"], NOW).unwrap().unwrap();
    queue.proven(id, "w", artefact(), NOW).unwrap();
    queue.logged(&[id]).unwrap();
    queue.take_on(with("later"), NOW).unwrap();
    assert_eq!(queue.unlogged(Mark::default(), 9).unwrap(), [Mark(NOW, id)]);
    assert_eq!(queue.get(id).unwrap().unwrap().request.evidence.as_deref(), Some("later"));
}

#[test]
fn an_idle_queue_writes_nothing() {
    let here = Here::new(QueueConfig::default());
    let queue = here.queue.as_ref().unwrap();
    queue.submit(Request { evidence: Some("e".into()), ..request(1) }, NOW).unwrap();
    let id = queue.lease("w", &["ezkl"], NOW).unwrap().unwrap().job.id;
    queue.proven(id, "w", artefact(), NOW).unwrap();
    queue.logged(&[id]).unwrap();
    let before = std::fs::read(here.path()).unwrap();
    assert!(queue.tidy(NOW + SECOND).unwrap().is_empty());
    assert!(queue.unlogged(Mark::default(), 9).unwrap().is_empty());
    assert!(queue.lease("w", &["ezkl"], NOW + SECOND).unwrap().is_none());
    queue.logged(&[]).unwrap();
    assert!(std::fs::read(here.path()).unwrap() == before);
    queue.tidy(NOW + 8 * 86_400 * SECOND).unwrap();
    assert_eq!(queue.get(id).unwrap(), None);
}

/// Ends a job that the log and a webhook are to be told of.
fn ended(queue: &Here, number: u32, now: u64) -> JobId {
    let evidence = Some(format!("{number:032x}"));
    let webhook = Some("https://hooks.example/x".into());
    let id = queue.submit(Request { evidence, webhook, ..request(number) }, now).unwrap().job.id;
    queue.cancel(id, now).unwrap();
    id
}

#[test]
fn what_cannot_be_logged_holds_up_nothing_behind_it() {
    let mut queue = Here::new(QueueConfig::default());
    let ids: Vec<JobId> = (0..600).map(|number| ended(&queue, number, NOW + u64::from(number))).collect();
    // Nothing is ever logged of the first 256; those behind are seen all the same, each once in a turn.
    let (mut after, mut seen) = (Mark::default(), Vec::new());
    loop {
        let marks = queue.unlogged(after, 256).unwrap();
        let Some(last) = marks.last() else { break };
        after = *last;
        seen.extend(marks.iter().map(|mark| mark.1));
    }
    assert_eq!(seen, ids);
    queue.logged(&ids[256..]).unwrap();
    // One that ends later is behind the place where the turn has ended; the next turn begins anew.
    let late = ended(&queue, 600, NOW + 600);
    assert_eq!(queue.unlogged(after, 256).unwrap(), [Mark(NOW + 600, late)]);
    assert_eq!(queue.unlogged(Mark::default(), 999).unwrap().len(), 257);
    assert_eq!(queue.unsettled().unwrap().len(), 257);
    queue.open().unwrap();
    assert_eq!(queue.unlogged(Mark::default(), 999).unwrap().len(), 257);
}

#[test]
fn a_webhook_is_told_once_or_a_bounded_number_of_times_in_vain() {
    let mut queue = Here::new(QueueConfig::default());
    let (heard, deaf) = (ended(&queue, 1, NOW), ended(&queue, 2, NOW));
    // Of a job without a webhook, or one that has not ended, nobody is told.
    queue.submit(request(3), NOW).unwrap();
    queue.cancel(queue.submit(request(4), NOW).unwrap().job.id, NOW).unwrap();
    let due = |queue: &Here, now| -> Vec<JobId> {
        queue.untold(now, Mark::default(), 9).unwrap().iter().map(|waiting| waiting.mark.1).collect()
    };
    assert_eq!(due(&queue, NOW).len(), 2);
    assert_eq!(queue.told(heard, true, NOW).unwrap(), None);
    queue.open().unwrap();
    let mut now = NOW;
    for pause in [5, 20, 80, 320, 1280] {
        assert_eq!(due(&queue, now), [deaf]);
        assert_eq!(queue.told(deaf, false, now).unwrap(), None);
        assert_eq!(due(&queue, now + pause * SECOND - 1), []);
        now += pause * SECOND;
    }
    assert_eq!(queue.told(deaf, false, now).unwrap().map(|job| job.id), Some(deaf), "the last try");
    assert_eq!(due(&queue, u64::MAX), []);
    assert_eq!(queue.told(deaf, false, now).unwrap(), None);
    // Nothing of it touches what the log is to be told.
    assert_eq!(queue.unlogged(Mark::default(), 9).unwrap().len(), 2);
}

#[test]
fn what_is_said_from_outside_is_kept_to_a_bounded_length() {
    let queue = Here::new(QueueConfig::default());
    let id = queue.submit(Request { rule: Some("r".into()), ..request(1) }, NOW).unwrap().job.id;
    queue.lease("w", &["ezkl"], NOW).unwrap().unwrap();
    // Letters of two bytes, one off: the cut is between letters.
    let long = format!("x{}", "é".repeat(1 << 20));
    let progress = Progress { stage: long.clone(), percent: 255, seconds_left: None };
    queue.renew(id, "w", progress, NOW).unwrap();
    let State::Leased { progress, .. } = queue.get(id).unwrap().unwrap().state else { panic!("leased") };
    assert_eq!((progress.stage.len(), progress.percent), (511, 100));
    let failure = Failure { code: long.clone(), message: long };
    let job = queue.failed(id, "w", failure, false, f64::INFINITY, NOW).unwrap();
    let State::Failed(failure) = job.state else { panic!("failed") };
    assert_eq!((failure.code.len(), failure.message.len()), (511, 511));
    assert_eq!(job.last_failure, Some(failure));
    // Nor does a rule pay more than the try may take.
    assert_eq!(queue.spent("r", NOW).unwrap().cpu_seconds, 600.0);
    queue.submit(Request { rule: Some("n".into()), ..request(2) }, NOW).unwrap();
    let id = queue.lease("w", &["ezkl"], NOW).unwrap().unwrap().job.id;
    let artefact = Artefact { cpu_seconds: f64::NAN, ..artefact() };
    let State::Proven(kept) = queue.proven(id, "w", artefact.clone(), NOW).unwrap().state else {
        panic!("proven")
    };
    assert_eq!(kept.cpu_seconds, 0.0);
    queue.submit(request(3), NOW).unwrap();
    let id = queue.lease("w", &["ezkl"], NOW).unwrap().unwrap().job.id;
    let (prover, setup) = ("é".repeat(1 << 20), Some("é".repeat(1 << 20)));
    let long = Artefact { prover, setup, ..artefact };
    let State::Proven(kept) = queue.proven(id, "w", long, NOW).unwrap().state else { panic!("proven") };
    assert_eq!((kept.prover.len(), kept.setup.map(|setup| setup.len())), (512, Some(512)));
}

#[test]
fn what_may_still_become_evidence_is_known_by_its_id_until_the_log_has_it() {
    let queue = Here::new(QueueConfig::default());
    let about = |number, evidence: &str| Request { evidence: Some(evidence.into()), ..request(number) };
    queue.submit(about(1, "aa"), NOW).unwrap();
    queue.submit(about(2, "aa"), NOW).unwrap();
    queue.submit(about(3, "aaaaaaaaaaaaaaaaaaaa"), NOW).unwrap();
    let awaited = |evidence| queue.is_awaited(evidence).unwrap();
    assert!(awaited("aa") && !awaited("a") && !awaited("ab"));
    let lease = || queue.lease("w", &["ezkl"], NOW).unwrap().unwrap().job.id;
    let (first, second) = (lease(), lease());
    queue.failed(first, "w", failure("no"), false, 0.0, NOW).unwrap();
    assert!(awaited("aa"), "the second one is leased");
    queue.proven(second, "w", artefact(), NOW).unwrap();
    assert!(awaited("aa"), "the log does not say so yet");
    queue.logged(&[second]).unwrap();
    assert!(!awaited("aa") && awaited("aaaaaaaaaaaaaaaaaaaa"));
    // The log says it by another id now.
    queue.take_on(about(3, "bb"), NOW).unwrap();
    assert!(awaited("bb") && !awaited("aaaaaaaaaaaaaaaaaaaa"));
    queue.cancel(lease(), NOW).unwrap();
    assert!(!awaited("bb"));
}

#[test]
fn who_is_to_be_told_is_seen_piece_by_piece_without_a_write() {
    let queue = Here::new(QueueConfig::default());
    let ids: Vec<JobId> = (0..20).map(|number| ended(&queue, number, NOW + u64::from(number))).collect();
    let before = std::fs::read(queue.path()).unwrap();
    let (mut after, mut seen) = (Mark::default(), Vec::new());
    loop {
        let some = queue.untold(NOW + 14, after, 6).unwrap();
        let Some(last) = some.last() else { break };
        assert!(some.iter().all(|waiting| waiting.webhook == "https://hooks.example/x"));
        after = last.mark;
        seen.extend(some.iter().map(|waiting| waiting.mark.1));
    }
    assert_eq!(seen, ids[..15]);
    assert_eq!(queue.untold(NOW, after, 6).unwrap(), [], "a clock that went back");
    assert!(std::fs::read(queue.path()).unwrap() == before);
    let job = queue.get(ids[0]).unwrap().unwrap();
    assert_eq!(job.for_a_worker().request.webhook, None);
}

#[test]
fn how_far_jobs_are_is_known_without_reading_them() {
    let mut queue = Here::new(QueueConfig::default());
    let ids: Vec<JobId> = (1..=2).map(|number| queue.submit(request(number), NOW).unwrap().job.id).collect();
    for (at, percent) in [(1, 40), (2, 70)] {
        let id = queue.lease("w", &["ezkl"], NOW + at).unwrap().unwrap().job.id;
        queue.renew(id, "w", Progress { percent, ..Progress::default() }, NOW + at).unwrap();
    }
    queue.open().unwrap();
    assert_eq!(queue.progress(9).unwrap(), [40, 70]);
    assert_eq!(queue.progress(1).unwrap(), [40]);
    // One that cannot be read.
    let writing = queue.database.begin_write().unwrap();
    writing.open_table(JOBS).unwrap().insert(&ids[0].0[..], &b"{"[..]).unwrap();
    writing.commit().unwrap();
    assert!(matches!(queue.get(ids[0]), Err(QueueError::Damaged(..))));
    assert_eq!(queue.progress(9).unwrap(), [40, 70]);
    queue.cancel(ids[1], NOW).unwrap();
    assert_eq!(queue.progress(9).unwrap(), [40]);
}

#[test]
fn what_may_become_evidence_is_known_of_jobs_in_a_file_of_an_earlier_version_too() {
    let mut queue = Here::new(QueueConfig::default());
    for (number, evidence) in [(1, "waits"), (2, "ended")] {
        let request = Request { evidence: Some(evidence.into()), ..request(number) };
        let id = queue.submit(request, NOW).unwrap().job.id;
        if evidence == "ended" {
            queue.cancel(id, NOW).unwrap();
        }
    }
    let writing = queue.database.begin_write().unwrap();
    assert!(writing.delete_table(tables::AWAITED).unwrap());
    writing.commit().unwrap();
    queue.open().unwrap();
    assert!(queue.is_awaited("waits").unwrap());
    assert!(!queue.is_awaited("ended").unwrap());
}
