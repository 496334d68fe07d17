//! What the bodies of an exchange say: our reader, and what others take for the same body.

use std::hint::black_box;

use colophon_benches::{LAST_CHUNK, answer_body, chunk, request_body};
use colophon_policies::Api;
use colophon_reading::{ResponseReader, read_request};
use criterion::{Criterion, Throughput};
use serde::Deserialize;
use serde::de::IgnoredAny;

const JSON: Option<&str> = Some("application/json");
const CHUNKS: usize = 200;

pub(crate) fn reading(c: &mut Criterion) {
    let (request, answer) = (request_body(), answer_body());
    let mut chunks: Vec<String> = (0..CHUNKS).map(chunk).collect();
    chunks.push(LAST_CHUNK.into());
    let whole = |body: &str| {
        let mut reader = ResponseReader::new(Api::Chat, 200, JSON);
        reader.push_last(body.as_bytes());
        reader.finish()
    };
    let stream = |chunks: &[String]| {
        let mut reader = ResponseReader::new(Api::Chat, 200, Some("text/event-stream"));
        chunks.iter().for_each(|chunk| reader.push(chunk.as_bytes()));
        reader.finish()
    };
    assert_eq!(whole(&answer).usage.total, Some(566), "the answer is read");
    assert!(stream(&chunks).terminated && stream(&chunks).unreadable.is_none(), "the stream is read");
    let mut group = c.benchmark_group("reading");
    group.bench_function("request-1.5KB", |b| {
        b.iter(|| read_request(Api::Chat, JSON, black_box(&request).as_bytes()))
    });
    group.bench_function("answer-1.5KB", |b| b.iter(|| whole(black_box(&answer))));
    group.throughput(Throughput::Elements(CHUNKS as u64));
    group.bench_function("stream-of-200", |b| b.iter(|| stream(black_box(&chunks))));
    group.finish();
}

/// A few of the members that our reader finds, for a parser that fills structs.
#[derive(Deserialize)]
struct Answer<'a> {
    id: &'a str,
    object: &'a str,
    model: &'a str,
    choices: Vec<Choice<'a>>,
    usage: Usage,
}

#[derive(Deserialize)]
struct Choice<'a> {
    index: u64,
    finish_reason: Option<&'a str>,
}

#[derive(Deserialize)]
struct Usage {
    prompt_tokens: u64,
    completion_tokens: u64,
    total_tokens: u64,
}

/// Our scanner and the alternatives over the same answer. Only ours notices that a key came twice.
pub(crate) fn scanners(c: &mut Criterion) {
    let answer = answer_body();
    let bytes = answer.as_bytes();
    let paths: [&[&str]; 8] = [
        &["id"],
        &["object"],
        &["model"],
        &["usage", "prompt_tokens"],
        &["usage", "completion_tokens"],
        &["usage", "total_tokens"],
        &["system_fingerprint"],
        &["error"],
    ];
    let mut tree = sonic_rs::PointerTree::new();
    paths.iter().for_each(|path| tree.add_path(*path));
    let mut group = c.benchmark_group("scanners-answer-1.5KB");
    group.bench_function("ours-skip", |b| b.iter(|| colophon_reading::testing::is_json(black_box(bytes))));
    group.bench_function("ours-read", |b| {
        b.iter(|| {
            let mut reader = ResponseReader::new(Api::Chat, 200, JSON);
            reader.push_last(black_box(bytes));
            reader.finish()
        });
    });
    group.bench_function("serde_json-skip", |b| {
        b.iter(|| serde_json::from_slice::<IgnoredAny>(black_box(bytes)))
    });
    group.bench_function("serde_json-fill", |b| {
        b.iter(|| {
            let answer: Answer<'_> = serde_json::from_slice(black_box(bytes)).expect("an answer");
            let ends: usize =
                answer.choices.iter().filter_map(|choice| choice.finish_reason).map(str::len).sum();
            let index: u64 = answer.choices.iter().map(|choice| choice.index).sum();
            let usage =
                answer.usage.prompt_tokens + answer.usage.completion_tokens + answer.usage.total_tokens;
            (answer.id.len() + answer.object.len() + answer.model.len() + ends, index + usage)
        });
    });
    group.bench_function("sonic-rs-get-many", |b| {
        b.iter(|| sonic_rs::get_many(black_box(bytes), &tree).is_ok())
    });
    group.bench_function("simd-json-tape", |b| {
        b.iter(|| {
            // It writes into what it reads, so it needs a copy.
            let mut copy = black_box(bytes).to_vec();
            simd_json::to_tape(&mut copy).map(|tape| tape.0.len()).ok()
        });
    });
    group.finish();
}
