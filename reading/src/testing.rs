//! The scanner and the splitter of streams on their own, for fuzz targets and benchmarks outside of this crate.

use serde_json::{Map, Number, Value};

use super::scan::Scanner;
use super::sse::{Event, Splitter};

/// Whether the bytes are one JSON text, as the scanner sees it: nothing of it is looked at.
pub fn is_json(bytes: &[u8]) -> bool {
    let mut scan = Scanner::new(bytes);
    let _ = scan.skip();
    scan.end().is_ok()
}

/// A JSON text read member by member; `None` if it is none. The last of several members of one name counts. Numbers are
/// what [`Scanner::number`] makes of them: 0 to 2^64-1 as they are, all others as they are written, in a text.
///
/// It recurses, as the readers do not: only for texts that nest a few hundred deep.
pub fn value(bytes: &[u8]) -> Option<Value> {
    let mut scan = Scanner::new(bytes);
    let value = any(&mut scan);
    scan.end().ok()?;
    value
}

fn any(scan: &mut Scanner<'_>) -> Option<Value> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match scan.peek()? {
        b'{' => {
            let (mut members, mut within) = (Map::new(), scan.object()?);
            while let Some(key) = scan.member(&mut within) {
                let key = scan.unescaped(key).map_or_else(|| text(key), |key| text(&key));
                members.insert(key, any(scan)?);
            }
            scan.sound()?;
            Some(Value::Object(members))
        }
        b'[' => {
            let (mut elements, mut within) = (Vec::new(), scan.array()?);
            while scan.element(&mut within) {
                elements.push(any(scan)?);
            }
            scan.sound()?;
            Some(Value::Array(elements))
        }
        b'"' => scan.string().map(|string| Value::String(text(&string))),
        b'-' | b'0'..=b'9' => {
            let written = Scanner::raw(&mut scan.clone())?;
            let number = scan.number()?;
            Some(number.map_or_else(|| Value::String(text(written)), |n| Value::Number(Number::from(n))))
        }
        _ => match scan.raw()? {
            b"true" => Some(Value::Bool(true)),
            b"false" => Some(Value::Bool(false)),
            _ => Some(Value::Null),
        },
    }
}

/// One event of a stream: its name and its data; `None` if it is larger than [`super::MAX_EVENT`].
pub type StreamEvent = Option<(Vec<u8>, Vec<u8>)>;

/// The events of a stream that comes in these pieces, and whether it ends within one.
pub fn events<'p>(pieces: impl IntoIterator<Item = &'p [u8]>) -> (Vec<StreamEvent>, bool) {
    let (mut splitter, mut events) = (Splitter::default(), Vec::new());
    for piece in pieces {
        splitter.push(piece, |event| {
            events.push(match event {
                Event::Data { name, data } => Some((name.to_vec(), data.to_vec())),
                Event::TooLarge => None,
            });
        });
    }
    (events, splitter.is_open())
}
