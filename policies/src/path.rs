//! Paths, normalised for matching only: what is forwarded stays as received (DESIGN section 2).

use std::borrow::Cow;

/// Escapes hidden in escapes are undone this many times; a path that needs more stays as it then is.
const MAX_DECODES: usize = 4;

/// The path that a lenient server could take `raw` for: escapes decoded (also doubly encoded ones, and `%uXXXX`), newlines
/// at the end dropped, `\` read as `/`, `;parameters` dropped, empty and dot segments resolved, no trailing slash.
///
/// Borrowed if and only if `raw` is written plainly, that is, no server could read it in another way.
pub(crate) fn normalise(raw: &str) -> Cow<'_, str> {
    if is_plain(raw) {
        return Cow::Borrowed(raw);
    }
    let decoded = decode(raw).replace('\\', "/");
    let mut segments: Vec<&str> = Vec::new();
    for segment in decoded.split('/') {
        match segment.split(';').next().unwrap_or_default() {
            "" | "." => {}
            ".." => drop(segments.pop()),
            name => segments.push(name),
        }
    }
    let mut path = String::with_capacity(decoded.len() + 1);
    for segment in segments {
        path.push('/');
        path.push_str(segment);
    }
    if path.is_empty() {
        path.push('/');
    }
    Cow::Owned(path)
}

fn is_plain(raw: &str) -> bool {
    let Some(rest) = raw.strip_prefix('/') else { return false };
    let plain_byte = |b: u8| b.is_ascii_graphic() && !matches!(b, b'%' | b'\\' | b';' | b'?' | b'#');
    rest.is_empty()
        || (rest.bytes().all(plain_byte) && rest.split('/').all(|s| !matches!(s, "" | "." | "..")))
}

fn decode(raw: &str) -> String {
    let mut path = raw.to_owned();
    for _ in 0..MAX_DECODES {
        let decoded = percent_encoding::percent_decode_str(&path).decode_utf8_lossy();
        let decoded = decode_wide(&decoded);
        if decoded == path {
            break;
        }
        path = decoded;
    }
    // Starlette's expressions for paths end in `$`, which fits before a newline, too.
    path.truncate(path.trim_end_matches(['\r', '\n']).len());
    path
}

/// Undoes `%uXXXX`, which no RFC has and some servers (llama.cpp's) read.
fn decode_wide(path: &str) -> String {
    let mut parts = path.split("%u");
    let mut decoded = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let digits = part.get(..4).filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
        match digits.and_then(|digits| u32::from_str_radix(digits, 16).ok()).map(char::from_u32) {
            Some(c) => {
                decoded.push(c.unwrap_or(char::REPLACEMENT_CHARACTER));
                decoded.push_str(part.get(4..).unwrap_or_default());
            }
            None => {
                decoded.push_str("%u");
                decoded.push_str(part);
            }
        }
    }
    decoded
}

#[cfg(test)]
mod tests;
