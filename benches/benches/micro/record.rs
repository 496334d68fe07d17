//! The record of one exchange, and the signature that leaves with it.

use std::hint::black_box;

use colophon_benches::exchange::fields;
use colophon_receipt::merkle;
use colophon_receipt::record::{Record, seal};
use colophon_receipt::statement::{RuleCount, Rules};
use colophon_receipt::{Level, Outcome};
use colophon_signer::Ed25519Key;
use colophon_signer::httpsig::{Component, Params, signature_base};
use criterion::Criterion;
use ed25519_dalek::Signer as _;

fn sealed(seed: [u8; 32]) -> Record {
    seal([7; 16], 1_790_000_000_300_000, Level::Sign, Outcome::Complete, seed, fields(1))
}

/// What the signature of a buffered answer covers, as long as real ones.
fn base(leaf: &[u8; 32]) -> String {
    let digest = "sha-256=:n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg=:";
    let record = format!(
        "\"01997a4d-3c00-7b3e-8a51-0123456789ab\";level=sign;shard=\"host/0123456789abcdef\";leaf=:{}:;durability=process;mmd=86400",
        leaf.iter()
            .map(|byte| char::from(b'A' + byte % 26))
            .chain("AAAAAAAAAAA=".chars())
            .collect::<String>()
    );
    let log = format!("\"host/2026\";size=12345;root=:{}:;sig=:{}:", "A".repeat(44), "A".repeat(88));
    let field = |name, value| Component { name, req: false, tr: false, value };
    let request = |name, value| Component { name, req: true, tr: false, value };
    let components = [
        field("@status", "200"),
        field("content-type", "application/json"),
        field("content-digest", digest),
        field("colophon-request-digest", digest),
        field("colophon-record", &record),
        field("colophon-log", &log),
        request("@method", "POST"),
        request("@path", "/v1/chat/completions"),
        request("@query", "?"),
    ];
    let keyid = "0".repeat(64);
    let params = Params { created: 1_790_000_000, keyid: &keyid, tag: "colophon-v1" };
    signature_base(&components, &params).expect("values that can be covered").as_str().to_owned()
}

pub(crate) fn record(c: &mut Criterion) {
    let set = fields(1);
    let seed = [9; 32];
    let key = Ed25519Key::from_seed(&[1; 32]).expect("every seed is a key");
    let portable = ed25519_dalek::SigningKey::from_bytes(&[1; 32]);
    let mut group = c.benchmark_group("record");
    group.bench_function("field-tree-12", |b| {
        b.iter(|| merkle::root(&black_box(&set).hashes(black_box(&seed))))
    });
    group.bench_function("fields-and-seal", |b| b.iter(|| sealed(black_box(seed))));
    group.bench_function("record-and-sign", |b| {
        b.iter(|| {
            let record = sealed(black_box(seed));
            key.sign(base(&record.leaf_hash).as_bytes())
        });
    });
    group.bench_function("record-and-sign-dalek", |b| {
        b.iter(|| {
            let record = sealed(black_box(seed));
            portable.sign(base(&record.leaf_hash).as_bytes()).to_bytes()
        });
    });
    group.finish();
}

/// Counting an exchange by its rule, of 64 that have counted before: for `pass` with the exchange, for all others beside it.
pub(crate) fn rules(c: &mut Criterion) {
    let names: Vec<String> = (0..64).map(|number| format!("department-{number}")).collect();
    let mut rules = Rules::default();
    let one = RuleCount { passed: 1, ..RuleCount::default() };
    names.iter().for_each(|name| rules.add(name.as_bytes(), &one));
    let mut next = names.iter().cycle();
    c.bench_function("record/count-by-64-rules", |b| {
        b.iter(|| rules.add(next.next().expect("it goes round").as_bytes(), black_box(&one)))
    });
}

pub(crate) fn signatures(c: &mut Criterion) {
    let message = base(&[3; 32]);
    let key = Ed25519Key::from_seed(&[1; 32]).expect("every seed is a key");
    let portable = ed25519_dalek::SigningKey::from_bytes(&[1; 32]);
    let signature = key.sign(message.as_bytes());
    let public = key.public_key();
    let portable_signature = ed25519_dalek::Signature::from_bytes(&signature);
    let mut group = c.benchmark_group("ed25519");
    group.bench_function("sign", |b| b.iter(|| key.sign(black_box(message.as_bytes()))));
    group.bench_function("sign-dalek", |b| b.iter(|| portable.sign(black_box(message.as_bytes()))));
    group.bench_function("verify", |b| {
        b.iter(|| public.verify(black_box(message.as_bytes()), &signature).expect("the key's own signature"));
    });
    group.bench_function("verify-dalek", |b| {
        let public = portable.verifying_key();
        b.iter(|| {
            let message = black_box(message.as_bytes());
            public.verify_strict(message, &portable_signature).expect("the key's own signature")
        });
    });
    group.finish();
}
