//! Showing what strangers wrote: bounded, one line, nothing that a terminal or a reader's eye could be fooled by.

/// At most this many bytes of foreign text are shown.
const MAX_SHOWN: usize = 160;

/// At most about this many bytes of a sentence.
const MAX_LINE: usize = 1000;

/// Printable ASCII as it is; everything else (controls, bidirectional marks, look-alikes) escaped; cut when long.
pub(crate) fn shown(text: impl AsRef<[u8]>) -> String {
    let bytes = text.as_ref();
    let cut = &bytes[..bytes.len().min(MAX_SHOWN)];
    let mut out = String::with_capacity(cut.len() + 8);
    for chunk in cut.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '"' | '\\' => out.extend(['\\', c]),
                ' '..='~' => out.push(c),
                _ => out.extend(c.escape_unicode()),
            }
        }
        // A character that was cut in two is not the writer's fault, but "\x.." says what is there all the same.
        for byte in chunk.invalid() {
            out.push_str(&format!("\\x{byte:02x}"));
        }
    }
    if cut.len() < bytes.len() {
        out.push_str(&format!("… ({} bytes)", bytes.len()));
    }
    out
}

/// A sentence of our own that may quote a library's error, and with it foreign text: one line, bounded.
pub(crate) fn line(text: &str) -> String {
    let mut out = String::with_capacity(text.len().min(MAX_LINE) + 8);
    for c in text.chars() {
        if out.len() > MAX_LINE {
            out.push('…');
            break;
        }
        match c {
            ' '..='~' | 'µ' | '…' => out.push(c),
            _ => out.extend(c.escape_unicode()),
        }
    }
    out
}

/// [`shown`] in quotation marks.
pub(crate) fn quoted(text: impl AsRef<[u8]>) -> String {
    format!("\"{}\"", shown(text))
}

/// µs since the epoch as RFC 3339 in UTC.
pub fn time(micros: u64) -> String {
    i64::try_from(micros)
        .ok()
        .and_then(|micros| jiff::Timestamp::from_microsecond(micros).ok())
        .map_or_else(|| format!("{micros} µs since 1970"), |time| format!("{time:.3}"))
}

/// The same of an interval's edge, which may be open.
pub fn edge(micros: u64) -> String {
    match micros {
        0 => "the beginning".into(),
        u64::MAX => "the end".into(),
        _ => time(micros),
    }
}

#[cfg(test)]
mod tests;
