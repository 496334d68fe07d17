//! The splitter of event streams: the same events however the stream is cut, and those of a splitter written straight from
//! the specification (WHATWG HTML, 9.2.6).
#![no_main]

use colophon_reading::testing::events;
use libfuzzer_sys::fuzz_target;

type Events = Vec<Option<(Vec<u8>, Vec<u8>)>>;

/// Line by line, all of it at once.
fn plainly(stream: &[u8]) -> Events {
    let stream = stream.strip_prefix(b"\xef\xbb\xbf").unwrap_or(stream);
    let (mut lines, mut line, mut at) = (Vec::new(), Vec::new(), 0);
    while let Some(byte) = stream.get(at) {
        at += 1;
        match byte {
            b'\r' | b'\n' => {
                at += usize::from(*byte == b'\r' && stream.get(at) == Some(&b'\n'));
                lines.push(std::mem::take(&mut line));
            }
            _ => line.push(*byte),
        }
    }
    let (mut events, mut name, mut data, mut has_data) = (Vec::new(), Vec::new(), Vec::new(), false);
    for line in lines {
        let colon = line.iter().position(|byte| *byte == b':');
        let (field, value) = match colon {
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (&line[..], &[][..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            _ if line.is_empty() => {
                if has_data {
                    events.push(Some((name.clone(), data.clone())));
                }
                (name, data, has_data) = (Vec::new(), Vec::new(), false);
            }
            b"data" => {
                if has_data {
                    data.push(b'\n');
                }
                data.extend_from_slice(value);
                has_data = true;
            }
            // Names are only compared with known ones, so their start is enough.
            b"event" => name = value.iter().copied().take(64).collect(),
            _ => {}
        }
    }
    events
}

fuzz_target!(|data: &[u8]| {
    let Some((step, stream)) = data.split_first() else { return };
    let whole = events([stream]);
    assert_eq!(whole.0, plainly(stream));
    assert_eq!(events(stream.chunks(1)), whole, "byte by byte");
    assert_eq!(events(stream.chunks(usize::from(*step) + 1)), whole, "cut every {step} + 1 bytes");
    let (start, end) = stream.split_at(usize::from(*step).min(stream.len()));
    assert_eq!(events([start, end]), whole, "cut at {step}");
});
