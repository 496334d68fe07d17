//! Every recorded exchange of vLLM and TGI, read, and compared with what `recordings.txt` says it means.
//!
//! `COLOPHON_BLESS=1 cargo test -p colophon-reading recordings` writes the file anew; read the difference before keeping it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::{RequestMeaning, ResponseMeaning, ResponseReader, read_request, read_token_headers};

const SETS: [&str; 3] = ["vllm-0.32.0", "vllm-0.32.0-flags", "tgi-3.3.6"];

#[test]
fn recordings_mean_what_the_golden_file_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (text, read) = described(&root.join("../tests/captures"));
    assert!(read > 100, "only {read} recordings have a meaning");
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/testdata/recordings.txt");
    if std::env::var_os("COLOPHON_BLESS").is_some() {
        std::fs::write(&golden, &text).unwrap();
    }
    let expected = std::fs::read_to_string(&golden).unwrap();
    for (line, (got, expected)) in text.lines().zip(expected.lines()).enumerate() {
        assert_eq!(got, expected, "{}, line {}", golden.display(), line + 1);
    }
    assert_eq!(text.lines().count(), expected.lines().count());
    let shared = root.join("../../shared/captures");
    if shared.is_dir() {
        assert_eq!(described(&shared).0, text, "{} says something else", shared.display());
    } else {
        eprintln!(
            "skipped: {} is not here, so only the copies in tests/captures were read",
            shared.display()
        );
    }
}

/// What every recording below this folder means, and how many mean something.
fn described(root: &Path) -> (String, usize) {
    let mut text = String::new();
    let mut read = 0;
    for set in SETS {
        for recording in recordings(&root.join(set)) {
            read += usize::from(describe(set, &recording, &mut text));
        }
    }
    (text, read)
}

/// The recordings of one server, in order of their names.
fn recordings(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path().with_extension("")).collect();
    paths.sort();
    paths.dedup();
    paths.retain(|path| with(path, "req").exists());
    paths
}

/// `path.ext`; `with_extension` would take the name's own dots for one.
fn with(path: &Path, extension: &str) -> PathBuf {
    PathBuf::from(format!("{}.{extension}", path.display()))
}

/// Writes what the exchange means; whether it is of an API that has a meaning.
fn describe(set: &str, recording: &Path, out: &mut String) -> bool {
    let name = recording.file_name().unwrap().to_string_lossy();
    let (request, response) = (message(recording, "req"), message(recording, "resp"));
    let Some(request) = request else { return false };
    let mut start = request.start.split(' ');
    let (method, target) = (start.next().unwrap_or_default(), start.next().unwrap_or_default());
    let Ok(method) = method.parse::<http::Method>() else { return false };
    let path = target.split('?').next().unwrap_or_default();
    let api = colophon_policies::identify(&method, path).api;
    let asked = read_request(api, request.header("content-type"), &request.body.concat());
    let Some(response) = response else {
        writeln!(out, "{set}/{name}  {api}\n{}  no response", request_text(&asked)).unwrap();
        return false;
    };
    let status: u16 = response.start.split(' ').nth(1).unwrap().parse().unwrap();
    let whole = response.body.concat();
    let read = |pieces: &mut dyn Iterator<Item = &[u8]>| {
        let mut reader = ResponseReader::new(api, status, response.header("content-type")).assembling();
        pieces.for_each(|piece| reader.push(piece));
        let mut meaning = reader.finish();
        let count = |name: &str| response.header(name).map(str::as_bytes);
        read_token_headers(count("x-prompt-tokens"), count("x-generated-tokens"), &mut meaning);
        meaning
    };
    let meaning = read(&mut [&whole[..]].into_iter());
    assert_eq!(read(&mut whole.chunks(1)), meaning, "{name} byte by byte");
    assert_eq!(read(&mut response.body.iter().map(Vec::as_slice)), meaning, "{name} in its own chunks");
    if asked == RequestMeaning::default() && meaning == ResponseMeaning::default() {
        return false;
    }
    writeln!(out, "{set}/{name}  {api}\n{}{}", request_text(&asked), response_text(status, &meaning))
        .unwrap();
    true
}

fn request_text(meaning: &RequestMeaning) -> String {
    let mut text = String::from("  asked");
    option(&mut text, "model", meaning.model.as_deref());
    if let Some(stream) = meaning.stream {
        write!(text, " stream={stream}").unwrap();
    }
    if let Some(messages) = meaning.messages {
        write!(text, " messages={messages}").unwrap();
    }
    option(&mut text, "conversation", meaning.conversation.as_deref());
    option(&mut text, "parent", meaning.parent.as_deref());
    for (name, value) in &meaning.sampling {
        match name.ends_with("#sha256") {
            true => write!(text, " {name}={}", hex::encode(value)).unwrap(),
            false => write!(text, " {name}={}", String::from_utf8_lossy(value)).unwrap(),
        }
    }
    option(&mut text, "unreadable", meaning.unreadable.map(str::as_bytes));
    text + "\n"
}

fn response_text(status: u16, meaning: &ResponseMeaning) -> String {
    let mut text = format!("  {status}");
    option(&mut text, "model", meaning.model.as_deref());
    option(&mut text, "id", meaning.id.as_deref());
    option(&mut text, "fingerprint", meaning.system_fingerprint.as_deref());
    let usage = meaning.usage;
    let counts = [
        ("prompt", usage.prompt),
        ("completion", usage.completion),
        ("total", usage.total),
        ("cached", usage.cached),
        ("reasoning", usage.reasoning),
        ("cache-write", usage.cache_write),
    ];
    for (name, count) in counts {
        if let Some(count) = count {
            write!(text, " {name}={count}").unwrap();
        }
    }
    if !meaning.finish_reasons.is_empty() {
        let reasons: Vec<_> =
            meaning.finish_reasons.iter().map(|reason| String::from_utf8_lossy(reason)).collect();
        write!(text, " finish=[{}]", reasons.join(",")).unwrap();
    }
    for (name, arguments) in &meaning.tools {
        write!(text, " call={}({})", String::from_utf8_lossy(name), &hex::encode(arguments)[..8]).unwrap();
    }
    write!(text, " tools={} events={} terminated={}", meaning.tool_calls, meaning.events, meaning.terminated)
        .unwrap();
    match meaning.message {
        Some(Ok(digest)) => write!(text, " message={}", &hex::encode(digest)[..8]).unwrap(),
        Some(Err(why)) => write!(text, " message={why:?}").unwrap(),
        None => {}
    }
    option(&mut text, "unreadable", meaning.unreadable.map(str::as_bytes));
    option(&mut text, "error", meaning.error.as_deref());
    text
}

fn option(text: &mut String, name: &str, value: Option<&[u8]>) {
    if let Some(value) = value {
        write!(text, " {name}={:?}", String::from_utf8_lossy(value)).unwrap();
    }
}

/// A recorded HTTP/1 message, its body in the pieces that its framing shows.
struct Message {
    start: String,
    headers: Vec<(String, String)>,
    body: Vec<Vec<u8>>,
}

impl Message {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// The first message of a recording, interim responses skipped; `None` where the other side said nothing in HTTP/1.
fn message(recording: &Path, extension: &str) -> Option<Message> {
    let bytes = std::fs::read(with(recording, extension)).unwrap();
    let mut rest = &bytes[..];
    loop {
        let end = rest.windows(4).position(|window| window == b"\r\n\r\n")?;
        let head = String::from_utf8_lossy(&rest[..end]).into_owned();
        rest = &rest[end + 4..];
        let mut lines = head.split("\r\n");
        let start = lines.next()?.to_owned();
        if !start.contains("HTTP/1") {
            return None;
        }
        if start.starts_with("HTTP/1.1 1") {
            continue;
        }
        let headers = lines.filter_map(|line| line.split_once(':'));
        let headers =
            headers.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect();
        let mut message = Message { start, headers, body: Vec::new() };
        message.body = match (message.header("transfer-encoding"), message.header("content-length")) {
            (Some(_), _) => chunks(rest),
            (None, Some(length)) => vec![rest[..rest.len().min(length.parse().unwrap())].to_vec()],
            (None, None) => Vec::new(),
        };
        return Some(message);
    }
}

/// The chunks of a chunked body, as far as it goes.
fn chunks(mut rest: &[u8]) -> Vec<Vec<u8>> {
    let mut chunks = Vec::new();
    while let Some(end) = rest.windows(2).position(|window| window == b"\r\n") {
        let line = String::from_utf8_lossy(&rest[..end]).into_owned();
        let size = usize::from_str_radix(line.split(';').next().unwrap_or_default().trim(), 16).unwrap_or(0);
        let data = &rest[end + 2..];
        if size == 0 {
            break;
        }
        chunks.push(data[..data.len().min(size)].to_vec());
        rest = data.get(size + 2..).unwrap_or_default();
    }
    chunks
}
