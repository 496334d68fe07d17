//! Several replicas on one store, and sidecars that are honest, slow, cloned or lying.

use colophon_receipt::statement::payload_hash;
use colophon_signer::cose::sign_statement;
use std::collections::HashSet;
use std::time::Duration;

use colophon_receipt::statement::{
    CLOSE_TYPE, Counters as StatementCounters, Predecessor, STATEMENT_TYPE, ShardClose, Statement,
};
use colophon_signer::Ed25519Key;
use object_store::ObjectStore;

use super::*;
use crate::log::LogConfig;
use crate::log::tests::support::{config, key, memory};

/// A replica on `store`.
async fn replica(store: &Arc<dyn ObjectStore>) -> (LogService, ServiceTask) {
    let config = LogConfig { several_writers: true, ..config(None) };
    let log = Log::open(store.clone(), config).await.unwrap();
    LogService::start(log, key(), None, None).await.unwrap()
}

/// A sidecar's shard: its key, and where its chain stands.
#[derive(Clone)]
struct Sidecar {
    key: Arc<Ed25519Key>,
    origin: String,
    name: String,
    previous: colophon_receipt::Hash,
    next: u64,
    announced: u64,
    payload: Vec<u8>,
}

impl Sidecar {
    fn new(origin: &str, name: &str, predecessor: Option<Predecessor>) -> Sidecar {
        Sidecar::with(origin, name, |announcement| announcement.predecessor = predecessor)
    }

    fn with(origin: &str, name: &str, change: impl FnOnce(&mut Announcement)) -> Sidecar {
        let key = Arc::new(Ed25519Key::generate().unwrap());
        let mut announcement = Announcement {
            shard: name.to_owned(),
            public_key: key.public_key().0,
            not_before: now(),
            not_after: now() + 3_600_000_000,
            origin: origin.to_owned(),
            predecessor: None,
            proof: [0; 64],
            attestation: None,
        };
        change(&mut announcement);
        announcement.proof = key.sign(&announcement.proof_message());
        let payload = announcement.encode();
        let (origin, name) = (origin.to_owned(), name.to_owned());
        Sidecar { key, origin, name, previous: payload_hash(&payload), next: 0, announced: 0, payload }
    }

    async fn announced(mut self, service: &LogService) -> Sidecar {
        self.announced = service.announce(&self.payload, None).await.unwrap().index;
        self
    }

    /// The next statement, whose batch has `root`.
    fn statement(&mut self, root: u8) -> Vec<u8> {
        let statement = Statement {
            shard: self.name.clone(),
            seq: self.next,
            count: 0,
            root: [root; 32],
            previous: self.previous,
            from: now(),
            to: now(),
            beacon: None,
            cumulative_exchanges: 0,
            cumulative_evidence: 0,
            bypasses: Vec::new(),
            rules: Default::default(),
            policy: [0; 32],
            counters: StatementCounters::default(),
        };
        let payload = statement.encode();
        (self.next, self.previous) = (self.next + 1, payload_hash(&payload));
        sign_statement(&payload, STATEMENT_TYPE, &self.origin, &self.name, &*self.key).unwrap()
    }

    fn close(&self) -> Vec<u8> {
        let close = ShardClose {
            shard: self.name.clone(),
            seq: self.next.saturating_sub(1),
            payload_hash: self.previous,
            at: now(),
        };
        sign_statement(&close.encode(), CLOSE_TYPE, &self.origin, &self.name, &*self.key).unwrap()
    }

    fn as_predecessor(&self) -> Predecessor {
        Predecessor { shard: self.name.clone(), seq: self.next - 1, payload_hash: self.previous }
    }
}

/// All leaves under the newest head of a replica opened for this.
async fn leaves(store: &Arc<dyn ObjectStore>) -> Vec<Vec<u8>> {
    let log = Log::open(store.clone(), config(None)).await.unwrap();
    let head = log.head();
    log.reader().entries(0..head.size(), &head.checkpoint).await.unwrap()
}

const A: &str = "a/0123456789abcdef";
const B: &str = "b/0123456789abcdef";

#[tokio::test]
async fn a_chain_is_logged_in_order_and_once() {
    let store = memory();
    let (service, _task) = replica(&store).await;
    let mut a = Sidecar::new(service.origin(), A, None).announced(&service).await;
    assert_eq!(a.announced, 1);
    assert_eq!(service.announce(&a.payload, None).await.unwrap().index, 1, "the same key again");
    let first = a.statement(1);
    let logged = service.append(&first, a.announced).await.unwrap();
    assert_eq!((logged.index, logged.head.size()), (2, 3));
    assert_eq!(service.append(&first, a.announced).await.unwrap().index, 2, "the same statement again");
    let (second, third) = (a.statement(2), a.statement(3));
    assert_eq!(service.append(&third, a.announced).await.unwrap_err(), Refusal::Gap { next: 1 });
    service.append(&second, a.announced).await.unwrap();
    service.append(&third, a.announced).await.unwrap();
    // Long past, and known all the same.
    assert_eq!(service.append(&first, a.announced).await.unwrap().index, 2);
    let close = a.close();
    let end = service.append(&close, a.announced).await.unwrap().index;
    assert_eq!(service.append(&close, a.announced).await.unwrap().index, end);
    assert_eq!(service.append(&a.statement(4), a.announced).await.unwrap_err(), Refusal::Closed);
    assert_eq!(leaves(&store).await.len(), 6);
    let counts = service.counts();
    assert_eq!((counts.refused, counts.busy, counts.forks), (2, 0, 0));
}

#[tokio::test]
async fn a_replica_that_has_just_started_knows_what_was_logged() {
    let store = memory();
    let (one, _task) = replica(&store).await;
    let mut a = Sidecar::new(one.origin(), A, None).announced(&one).await;
    let mut b = Sidecar::new(one.origin(), B, None).announced(&one).await;
    // More than a bundle lies between a shard's statements.
    let newest = a.statement(1);
    let index = one.append(&newest, a.announced).await.unwrap().index;
    for n in 0..300 {
        one.append(&b.statement(n as u8), b.announced).await.unwrap();
    }
    let (two, _task) = replica(&store).await;
    assert_eq!(two.announce(&a.payload, None).await.unwrap().index, a.announced);
    assert_eq!(two.append(&newest, a.announced).await.unwrap().index, index);
    two.append(&a.statement(2), a.announced).await.unwrap();
    let (three, _task) = replica(&store).await;
    let mut clone = b.clone();
    clone.next -= 1;
    // It forgot its last statement: another is no continuation.
    assert!(matches!(
        three.append(&clone.statement(7), b.announced).await.unwrap_err(),
        Refusal::Fork { .. }
    ));
    three.append(&b.statement(8), b.announced).await.unwrap();
    // What a sidecar says of its announcement is checked.
    for wrong in [0, 2, 10_000] {
        let refused = replica(&store).await.0.append(&a.clone().statement(9), wrong).await.unwrap_err();
        assert_eq!(refused, Refusal::Unknown, "{wrong}");
    }
}

#[tokio::test]
async fn two_statements_for_one_place_are_proof_and_only_one_is_logged() {
    let store = memory();
    let (one, _task) = replica(&store).await;
    let (two, _task) = replica(&store).await;
    let mut a = Sidecar::new(one.origin(), A, None).announced(&one).await;
    let mut clone = a.clone();
    let (mine, other) = (a.statement(1), clone.statement(2));
    // At once, to two replicas.
    let (left, right) = tokio::join!(one.append(&mine, a.announced), two.append(&other, a.announced));
    let mut results = [(left, mine, &one), (right, other, &two)];
    results.sort_by_key(|(result, ..)| result.is_err());
    let [(logged, logged_leaf, _), (refused, refused_leaf, service)] = results;
    let index = logged.unwrap().index;
    let refused = match refused.unwrap_err() {
        // It was judged before, and lost the race: asked again, it is told.
        Refusal::Busy(_) => service.append(&refused_leaf, a.announced).await.unwrap_err(),
        refusal => refusal,
    };
    assert_eq!(refused, Refusal::Fork { index });
    assert_eq!(service.counts().forks, 1);
    let log = Store::new(store.clone(), "log/1".into());
    let kept = async |name: &str| log.get(&format!("fork/{A}/0/{name}"), 1 << 16).await.unwrap().unwrap();
    assert_eq!(kept("logged").await, logged_leaf);
    assert_eq!(kept("other").await, refused_leaf);
    assert_eq!(leaves(&store).await.len(), 3);
}

#[tokio::test]
async fn a_later_life_ends_the_one_before() {
    let store = memory();
    let (service, _task) = replica(&store).await;
    let mut a = Sidecar::new(service.origin(), A, None).announced(&service).await;
    let first = a.statement(1);
    service.append(&first, a.announced).await.unwrap();
    let early = a.as_predecessor();
    let on_its_way = a.statement(2);
    let index = service.append(&on_its_way, a.announced).await.unwrap().index;
    // It did not hear of its second statement.
    let stale = Sidecar::new(service.origin(), "a/1111111111111111", Some(early));
    let refused = service.announce(&stale.payload, None).await.unwrap_err();
    assert_eq!(refused, Refusal::Predecessor { seq: 1, index });
    let next = Sidecar::new(service.origin(), "a/2222222222222222", Some(a.as_predecessor()));
    let mut next = next.announced(&service).await;
    // What was still on its way does not come any more; what is logged is.
    assert_eq!(service.append(&a.statement(3), a.announced).await.unwrap_err(), Refusal::Superseded);
    assert_eq!(service.append(&on_its_way, a.announced).await.unwrap().index, index);
    service.append(&next.statement(4), next.announced).await.unwrap();
}

/// A rotation announces the next shard first: the close that follows says where that one begins.
#[tokio::test]
async fn a_shard_closes_also_after_its_successor_is_announced() {
    let store = memory();
    let (service, _task) = replica(&store).await;
    let mut a = Sidecar::new(service.origin(), A, None).announced(&service).await;
    service.append(&a.statement(1), a.announced).await.unwrap();
    let too_early = a.close();
    service.append(&a.statement(2), a.announced).await.unwrap();
    let close = a.close();
    let next = Sidecar::new(service.origin(), "a/2222222222222222", Some(a.as_predecessor()));
    next.announced(&service).await;
    assert_eq!(service.append(&too_early, a.announced).await.unwrap_err(), Refusal::Gap { next: 2 });
    let index = service.append(&close, a.announced).await.unwrap().index;
    assert_eq!(service.append(&close, a.announced).await.unwrap().index, index);
    assert!(service.append(&a.statement(3), a.announced).await.is_err());
}

#[tokio::test]
async fn what_is_not_fit_is_refused() {
    let store = memory();
    let (service, _task) = replica(&store).await;
    let origin = service.origin().to_owned();
    let unfit = async |sidecar: Sidecar, name: Option<&str>| {
        let refused = service.announce(&sidecar.payload, name).await.unwrap_err();
        assert!(matches!(refused, Refusal::Unfit(_)), "{refused}");
    };
    unfit(Sidecar::new("log.example/other/1", A, None), None).await;
    unfit(Sidecar::new(&origin, "a", None), None).await;
    unfit(Sidecar::new(&origin, "a/0123", None), None).await;
    unfit(Sidecar::new(&origin, "../../0123456789abcdef", None), None).await;
    unfit(Sidecar::new(&origin, A, None), Some("b")).await;
    unfit(Sidecar::with(&origin, A, |new| new.not_after = new.not_before + 86_401_000_000), None).await;
    unfit(Sidecar::with(&origin, A, |new| new.not_after = new.not_before), None).await;
    unfit(Sidecar::with(&origin, A, |new| new.not_before += 3_600_000_000), None).await;
    let expired = Sidecar::with(&origin, A, |new| {
        (new.not_before, new.not_after) = (new.not_before - 7_200_000_000, new.not_before - 3_600_000_000);
    });
    assert_eq!(service.announce(&expired.payload, None).await.unwrap_err(), Refusal::Expired);
    // One that has waited for the log is not too late while its key counts.
    let waited = Sidecar::with(&origin, "waited/00000000000000aa", |new| new.not_before -= 7_200_000_000);
    service.announce(&waited.payload, None).await.unwrap();
    unfit(Sidecar::with(&origin, A, |new| new.public_key = key().public_key().0), None).await;
    for bytes in [&b""[..], &[0xff; 100], &[0; 70_000]] {
        assert!(matches!(service.announce(bytes, None).await.unwrap_err(), Refusal::Unfit(_)));
        assert!(matches!(service.append(bytes, 0).await.unwrap_err(), Refusal::Unfit(_)));
    }
    let mut a = Sidecar::new(&origin, A, None).announced(&service).await;
    let thief = Sidecar::new(&origin, A, None);
    assert_eq!(service.announce(&thief.payload, None).await.unwrap_err(), Refusal::Taken);
    let mut forger = Sidecar { key: thief.key, ..a.clone() };
    let forged = service.append(&forger.statement(1), a.announced).await.unwrap_err();
    assert!(matches!(forged, Refusal::Unfit(_)), "{forged}");
    // Nor an announcement where statements are taken, nor one that nobody has announced.
    let (mut b, first) = (Sidecar::new(&origin, B, None), a.statement(1));
    assert_eq!(service.append(&b.statement(1), 0).await.unwrap_err(), Refusal::Unknown);
    service.append(&first, a.announced).await.unwrap();
    let all = leaves(&store).await;
    assert!(matches!(service.append(&all[1], a.announced).await.unwrap_err(), Refusal::Unfit(_)));
    assert_eq!(all.len(), 4);
}

#[tokio::test]
async fn an_expired_key_says_nothing_more() {
    let store = memory();
    let (service, _task) = replica(&store).await;
    let short = |new: &mut Announcement| new.not_after = new.not_before + 300_000;
    let mut a = Sidecar::with(service.origin(), A, short).announced(&service).await;
    let (mut clone, first, second) = (a.clone(), a.statement(1), a.statement(2));
    service.append(&first, a.announced).await.unwrap();
    let index = service.append(&second, a.announced).await.unwrap().index;
    let close = a.close();
    let end = service.append(&close, a.announced).await.unwrap().index;
    tokio::time::sleep(Duration::from_millis(350)).await;
    assert_eq!(service.append(&a.statement(3), a.announced).await.unwrap_err(), Refusal::Expired);
    // Nor another in the place of one that is logged, which is no fork any more.
    assert_eq!(service.append(&clone.statement(4), a.announced).await.unwrap_err(), Refusal::Expired);
    assert_eq!(service.counts().forks, 0);
    // What it said in time is logged; the answer may have been lost.
    let (late, _task) = replica(&store).await;
    for service in [&service, &late] {
        assert_eq!(service.append(&first, a.announced).await.unwrap().index, index - 1);
        assert_eq!(service.append(&second, a.announced).await.unwrap().index, index);
        assert_eq!(service.append(&close, a.announced).await.unwrap().index, end);
    }
    assert_eq!(leaves(&store).await.len() as u64, end + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_race_without_loss_or_fork() {
    let store = memory();
    let mut replicas = Vec::new();
    for _ in 0..3 {
        replicas.push(replica(&store).await);
    }
    let mut sidecars = JoinSet::new();
    for n in 0..12u64 {
        let services: Vec<_> = replicas.iter().map(|(service, _)| service.clone()).collect();
        sidecars.spawn(async move {
            let name = format!("s{n}/0123456789abcdef");
            let at = |turn: u64| &services[((n + turn) % 3) as usize];
            let mut sidecar = Sidecar::new(at(0).origin(), &name, None).announced(at(0)).await;
            let mut placed = Vec::new();
            for turn in 0..20 {
                let leaf = sidecar.statement(turn as u8);
                // Each to another replica, and twice.
                let index = loop {
                    match at(turn).append(&leaf, sidecar.announced).await {
                        Ok(logged) => break logged.index,
                        Err(Refusal::Busy(_)) => tokio::task::yield_now().await,
                        Err(refusal) => panic!("{refusal}"),
                    }
                };
                let again = at(turn + 1).append(&leaf, sidecar.announced).await.unwrap();
                assert_eq!(again.index, index);
                placed.push((index, leaf));
            }
            placed
        });
    }
    let mut told = Vec::new();
    while let Some(placed) = sidecars.join_next().await {
        told.extend(placed.unwrap());
    }
    let all = leaves(&store).await;
    assert_eq!(all.len(), 1 + 12 + 240);
    assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len());
    for (index, leaf) in told {
        assert_eq!(all[index as usize], leaf);
    }
}

#[tokio::test]
async fn a_revoked_shard_is_refused_by_name_by_every_replica() {
    let store = memory();
    let (service, _task) = replica(&store).await;
    let name = |n: u64| format!("host/{n:016x}");
    let mut stolen = Sidecar::new(service.origin(), &name(1), None).announced(&service).await;
    let mut other = Sidecar::new(service.origin(), &name(2), None).announced(&service).await;
    let (first, before) = (stolen.statement(1), stolen.clone());
    service.append(&first, stolen.announced).await.unwrap();
    assert_eq!(service.revoke(&name(9), Reason::KeyCompromise, None).await.unwrap_err(), Refusal::Unknown);
    let later = service.revoke(&name(1), Reason::KeyCompromise, Some(now() + 60_000_000)).await;
    assert!(matches!(later, Err(Refusal::Unfit(_))), "{later:?}");
    let index = service.revoke(&name(1), Reason::KeyCompromise, Some(5)).await.unwrap().index;
    let refused = Refusal::Revoked { index };
    assert_eq!((refused.code(), refused.status()), ("revoked", 403));
    assert_eq!(service.revoke(&name(1), Reason::Unspecified, None).await.unwrap_err(), refused);

    let second = stolen.statement(1);
    assert_eq!(service.append(&second, stolen.announced).await.unwrap_err(), refused);
    let close = ShardClose { shard: name(1), seq: 0, payload_hash: before.previous, at: now() };
    let close =
        sign_statement(&close.encode(), CLOSE_TYPE, service.origin(), &name(1), &*stolen.key).unwrap();
    assert_eq!(service.append(&close, stolen.announced).await.unwrap_err(), refused);
    // What was logged before that stays so.
    assert_eq!(service.append(&first, stolen.announced).await.unwrap().index + 1, index);
    // The others go on.
    let fine = other.statement(1);
    service.append(&fine, other.announced).await.unwrap();
    // So says a replica that was there, and one that reads the log afterwards.
    let (late, _task) = replica(&store).await;
    assert_eq!(late.append(&second, stolen.announced).await.unwrap_err(), refused);
    assert_eq!(late.revoke(&name(1), Reason::Unspecified, None).await.unwrap_err(), refused);

    let said = crate::revoke::revocations(store.clone(), 1, 0).await.unwrap();
    assert_eq!(said.len(), 1);
    let revocation = &said[0].revocation;
    assert_eq!(revocation.key_id, stolen.key.public_key().key_id());
    assert_eq!((revocation.shard.as_deref(), revocation.invalid_from), (Some(name(1).as_str()), Some(5)));
}
