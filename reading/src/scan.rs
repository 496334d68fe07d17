//! A JSON text (RFC 8259), pulled member by member: one pass, no copy, no allocation for what is not looked at.
//!
//! It accepts and refuses what `serde_json` does (`scan/tests.rs` compares them), but for two things: a number may have
//! any size, since it is handed out as written, and what is skipped may nest as deep as it likes, since that recurses
//! nowhere.

use std::borrow::Cow;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

/// Why a text is not JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It ends too early.
    CutShort,
    /// It breaks the grammar.
    Syntax,
    /// A member that the reader knows came twice.
    DuplicateKey,
    /// A value of another kind than the reader asked for.
    Kind,
}

/// A place in a text, before a value, a member or the end. What meets a fault keeps the first one and gives `None`.
#[cfg_attr(feature = "testing", derive(Clone))]
pub(crate) struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
    /// The string taken last has escapes.
    escaped: bool,
    fault: Option<Fault>,
    skipped: Skipped,
}

/// How many of the texts that were skipped have their places noted.
pub(crate) const SKIPPED_TEXTS: usize = 4;

/// Where the texts lie that [`Scanner::skip`] took, without their quotes, from and to; keys are none of them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Skipped {
    places: [(usize, usize); SKIPPED_TEXTS],
    count: usize,
}

impl Skipped {
    /// How many there are; only the places of the first [`SKIPPED_TEXTS`] are known.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// The places of the first ones, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, usize)> {
        self.places.iter().take(self.count).copied()
    }

    fn note(&mut self, from: usize, to: usize) {
        if let Some(place) = self.places.get_mut(self.count) {
            *place = (from, to);
        }
        self.count += 1;
    }
}

/// The members of an object or the elements of an array that are still to come.
pub(crate) struct Within {
    first: bool,
}

impl<'a> Scanner<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, escaped: false, fault: None, skipped: Skipped::default() }
    }

    /// Notes a fault.
    #[cold]
    pub(crate) fn fail<T>(&mut self, fault: Fault) -> Option<T> {
        self.fault.get_or_insert(fault);
        None
    }

    /// The first byte of what comes next, which tells what it is. Nothing is taken but white space.
    #[inline]
    pub(crate) fn peek(&mut self) -> Option<u8> {
        match self.bytes.get(self.at) {
            Some(byte) if *byte > b' ' => Some(*byte),
            _ => self.peek_beyond_space(),
        }
    }

    /// Enters an object; its members are then taken by [`Scanner::member`].
    pub(crate) fn object(&mut self) -> Option<Within> {
        self.enter(b'{')
    }

    /// Enters an array; its elements are then taken by [`Scanner::element`].
    pub(crate) fn array(&mut self) -> Option<Within> {
        self.enter(b'[')
    }

    /// The next member's key as written; its value has to be taken then. `None` at the object's end, and at a fault:
    /// [`Scanner::sound`] tells them apart.
    pub(crate) fn member(&mut self, within: &mut Within) -> Option<&'a [u8]> {
        if !self.next(within, b'}')? {
            return None;
        }
        if self.peek()? != b'"' {
            return self.fail(Fault::Syntax);
        }
        let key = self.quoted()?;
        self.colon()?;
        Some(key)
    }

    /// What the key that was taken last says, if it is not what it looks like: if it has escapes.
    #[inline]
    pub(crate) fn unescaped(&mut self, key: &[u8]) -> Option<Cow<'a, [u8]>> {
        if self.escaped { self.unescape(key) } else { None }
    }

    /// Whether another element comes; it has to be taken then. Not at a fault.
    pub(crate) fn element(&mut self, within: &mut Within) -> bool {
        self.next(within, b']').unwrap_or_default()
    }

    /// `None` if a fault was met.
    pub(crate) fn sound(&self) -> Option<()> {
        self.fault.is_none().then_some(())
    }

    /// Takes a string, its escapes undone. It may be no UTF-8.
    pub(crate) fn string(&mut self) -> Option<Cow<'a, [u8]>> {
        if self.peek()? != b'"' {
            return self.fail(Fault::Kind);
        }
        let inside = self.quoted()?;
        if self.escaped { self.unescape(inside) } else { Some(Cow::Borrowed(inside)) }
    }

    /// Takes a number: itself if it is a `u64` and written as one.
    pub(crate) fn number(&mut self) -> Option<Option<u64>> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let (mut number, mut length) = (0_u64, 0);
        while let Some(byte @ b'0'..=b'9') = rest.get(length) {
            number = number.wrapping_mul(10).wrapping_add(u64::from(byte - b'0'));
            length += 1;
        }
        // Plain, and too short to overflow.
        let plain = matches!(rest.get(length), Some(b',' | b'}' | b']'));
        if plain && (length == 1 || (1..20).contains(&length) && rest.first() != Some(&b'0')) {
            self.at += length;
            return Some(Some(number));
        }
        let start = self.at;
        self.skip_number()?;
        let number = self.bytes.get(start..self.at).map(std::str::from_utf8);
        Some(number.and_then(|digits| digits.ok()?.parse().ok()))
    }

    /// Takes a value of any kind and hands it out as written.
    pub(crate) fn raw(&mut self) -> Option<&'a [u8]> {
        self.peek()?;
        let start = self.at;
        self.skip()?;
        self.bytes.get(start..self.at)
    }

    /// Where the next value begins.
    pub(crate) fn place(&mut self) -> Option<usize> {
        self.peek()?;
        Some(self.at)
    }

    /// What was taken since that place, as written.
    pub(crate) fn since(&self, place: usize) -> Option<&'a [u8]> {
        self.bytes.get(place..self.at).map(<[u8]>::trim_ascii_end)
    }

    /// Takes a value of any kind, and looks only at whether it is JSON.
    pub(crate) fn skip(&mut self) -> Option<()> {
        let mut open = Open::default();
        loop {
            match self.peek()? {
                b'"' => {
                    let length = self.quoted()?.len();
                    let end = self.at - 1;
                    self.skipped.note(end - length, end);
                }
                b'-' | b'0'..=b'9' => self.skip_number()?,
                b't' => self.literal(b"true")?,
                b'f' => self.literal(b"false")?,
                b'n' => self.literal(b"null")?,
                b'{' => {
                    self.at += 1;
                    if self.peek()? != b'}' {
                        open.push(true);
                        self.skip_key()?;
                        continue;
                    }
                    self.at += 1;
                }
                b'[' => {
                    self.at += 1;
                    if self.peek()? != b']' {
                        open.push(false);
                        continue;
                    }
                    self.at += 1;
                }
                _ => return self.fail(Fault::Syntax),
            }
            // A value has ended, and with it perhaps what it was the last of.
            while let Some(object) = open.last() {
                match self.peek()? {
                    b',' => {
                        self.at += 1;
                        if object {
                            self.skip_key()?;
                        }
                        break;
                    }
                    b'}' if object => {}
                    b']' if !object => {}
                    _ => return self.fail(Fault::Syntax),
                }
                self.at += 1;
                open.pop();
            }
            if open.depth == 0 {
                return Some(());
            }
        }
    }

    /// Nothing but white space may follow. Any fault met before is told now.
    pub(crate) fn end(&mut self) -> Result<(), Fault> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        match self.fault {
            Some(fault) => Err(fault),
            None if rest.iter().all(|byte| matches!(byte, b' ' | b'\n' | b'\t' | b'\r')) => Ok(()),
            None => Err(Fault::Syntax),
        }
    }

    /// The texts skipped so far.
    pub(crate) fn skipped(&self) -> Skipped {
        self.skipped
    }

    fn enter(&mut self, bracket: u8) -> Option<Within> {
        if self.peek()? != bracket {
            return self.fail(Fault::Kind);
        }
        self.at += 1;
        Some(Within { first: true })
    }

    #[inline]
    fn next(&mut self, within: &mut Within, end: u8) -> Option<bool> {
        let mut byte = self.peek()?;
        if byte == end {
            self.at += 1;
            return Some(false);
        }
        if !within.first {
            if byte != b',' {
                return self.fail(Fault::Syntax);
            }
            self.at += 1;
            byte = self.peek()?;
            // A comma is followed by something.
            if byte == end {
                return self.fail(Fault::Syntax);
            }
        }
        within.first = false;
        Some(true)
    }

    #[cold]
    fn peek_beyond_space(&mut self) -> Option<u8> {
        loop {
            match self.bytes.get(self.at) {
                None => return self.fail(Fault::CutShort),
                Some(b' ' | b'\n' | b'\t' | b'\r') => self.at += 1,
                Some(byte) => return Some(*byte),
            }
        }
    }

    #[inline]
    fn colon(&mut self) -> Option<()> {
        match self.peek()? {
            b':' => self.at += 1,
            _ => return self.fail(Fault::Syntax),
        }
        Some(())
    }

    fn skip_key(&mut self) -> Option<()> {
        if self.peek()? != b'"' {
            return self.fail(Fault::Syntax);
        }
        self.quoted()?;
        self.colon()
    }

    /// Takes a string from its opening quote on, and gives it as written, without its quotes. Most are short and have no
    /// escapes.
    #[inline(always)]
    fn quoted(&mut self) -> Option<&'a [u8]> {
        self.escaped = false;
        let rest = self.bytes.get(self.at + 1..).unwrap_or_default();
        for word_at in [0, 8] {
            let Some(word) = rest.get(word_at..).and_then(<[u8]>::first_chunk) else { break };
            let marks = special(u64::from_le_bytes(*word));
            if marks == 0 {
                continue;
            }
            let end = word_at + marks.trailing_zeros() as usize / 8;
            if rest.get(end) == Some(&b'"') {
                self.at += end + 2;
                return rest.get(..end);
            }
            break;
        }
        self.quoted_at_length()
    }

    /// The same for any string.
    #[inline(never)]
    fn quoted_at_length(&mut self) -> Option<&'a [u8]> {
        let rest = self.bytes.get(self.at + 1..).unwrap_or_default();
        match text_length(rest) {
            Ok((end, escaped)) => {
                self.escaped = escaped;
                self.at += end + 2;
                rest.get(..end)
            }
            Err(fault) => self.fail(fault),
        }
    }

    /// What the inside of a string that has escapes says; a fault if one of them is only half of a surrogate pair. What is
    /// no UTF-8 is replaced.
    #[cold]
    fn unescape(&mut self, inside: &[u8]) -> Option<Cow<'a, [u8]>> {
        let quoted = format!("\"{}\"", String::from_utf8_lossy(inside));
        match serde_json::from_str::<String>(&quoted) {
            Ok(text) => Some(Cow::Owned(text.into_bytes())),
            Err(_) => self.fail(Fault::Syntax),
        }
    }

    fn skip_number(&mut self) -> Option<()> {
        let bytes = self.bytes.get(self.at..).unwrap_or_default();
        match number_length(bytes) {
            Ok(length) => self.at += length,
            Err(fault) => return self.fail(fault),
        }
        Some(())
    }

    fn literal(&mut self, word: &[u8]) -> Option<()> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        if rest.get(..word.len()) != Some(word) {
            return self.fail(if word.starts_with(rest) { Fault::CutShort } else { Fault::Syntax });
        }
        self.at += word.len();
        Some(())
    }
}

/// How long the text is, up to its closing quote, whose opening quote has been taken; and whether it has escapes.
pub(crate) fn text_length(bytes: &[u8]) -> Result<(usize, bool), Fault> {
    let (mut end, mut escaped) = (plain(bytes), false);
    while bytes.get(end) != Some(&b'"') {
        match bytes.get(end) {
            None => return Err(Fault::CutShort),
            Some(b'\\') => {
                escaped = true;
                end += escape(bytes.get(end + 1..).unwrap_or_default())?;
                end += plain(bytes.get(end..).unwrap_or_default());
            }
            // A control character.
            Some(_) => return Err(Fault::Syntax),
        }
    }
    Ok((end, escaped))
}

/// How long the number is that begins here.
fn number_length(bytes: &[u8]) -> Result<usize, Fault> {
    let digits = |mut at: usize| {
        while bytes.get(at).is_some_and(u8::is_ascii_digit) {
            at += 1;
        }
        at
    };
    // At least one digit, and the text may not end before it.
    let some_digits = |at: usize| match digits(at) {
        end if end > at => Ok(end),
        _ if at >= bytes.len() => Err(Fault::CutShort),
        _ => Err(Fault::Syntax),
    };
    let start = usize::from(bytes.first() == Some(&b'-'));
    let mut at = some_digits(start)?;
    // No digit follows a leading zero.
    if bytes.get(start) == Some(&b'0') && at > start + 1 {
        return Err(Fault::Syntax);
    }
    if bytes.get(at) == Some(&b'.') {
        at = some_digits(at + 1)?;
    }
    if matches!(bytes.get(at), Some(b'e' | b'E')) {
        at += 1;
        at = some_digits(at + usize::from(matches!(bytes.get(at), Some(b'+' | b'-'))))?;
    }
    Ok(at)
}

/// How many bytes of a string are neither its end, nor an escape, nor a control character.
///
/// Keys and short values end within a few words. What goes on is text: searched by vector instructions, then looked
/// through for control characters, by a minimum that compiles to them.
#[inline]
fn plain(bytes: &[u8]) -> usize {
    const SHORT: usize = 32;
    let (words, _) = bytes.get(..SHORT).unwrap_or(bytes).as_chunks::<8>();
    for (at, word) in words.iter().enumerate() {
        let marks = special(u64::from_le_bytes(*word));
        if marks != 0 {
            return at * 8 + marks.trailing_zeros() as usize / 8;
        }
    }
    let start = words.len() * 8;
    let rest = bytes.get(start..).unwrap_or_default();
    let end = memchr::memchr2(b'"', b'\\', rest).unwrap_or(rest.len());
    let (text, _) = rest.split_at(end);
    let least = text.iter().fold(u8::MAX, |least, byte| least.min(*byte));
    match least {
        0..0x20 => start + text.iter().position(|byte| *byte < 0x20).unwrap_or(end),
        _ => start + end,
    }
}

/// Marks those of eight bytes, the first one lowest, that are `"`, `\` or a control character, in their highest bit.
///
/// A byte that borrows from the next may mark that one wrongly, but is marked itself, so the first mark is right.
#[inline]
fn special(word: u64) -> u64 {
    const EACH: u64 = u64::MAX / 0xff;
    let quote = (word ^ (EACH * b'"' as u64)).wrapping_sub(EACH);
    let backslash = (word ^ (EACH * b'\\' as u64)).wrapping_sub(EACH);
    let control = word.wrapping_sub(EACH * 0x20);
    (quote | backslash | control) & !word & (EACH * 0x80)
}

/// The length of an escape whose backslash has been taken, that backslash included.
fn escape(after: &[u8]) -> Result<usize, Fault> {
    match after.first() {
        None => Err(Fault::CutShort),
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(2),
        Some(b'u') => match after.get(1..5) {
            None => Err(Fault::CutShort),
            Some(digits) if digits.iter().all(u8::is_ascii_hexdigit) => Ok(6),
            Some(_) => Err(Fault::Syntax),
        },
        Some(_) => Err(Fault::Syntax),
    }
}

/// Which of the containers that are open are objects: a bit each, the innermost lowest.
#[derive(Default)]
struct Open {
    depth: usize,
    inner: u64,
    /// Those further out, 64 a word.
    outer: Vec<u64>,
}

impl Open {
    fn push(&mut self, object: bool) {
        if self.depth > 0 && self.depth.is_multiple_of(64) {
            self.outer.push(self.inner);
        }
        self.inner = self.inner << 1 | u64::from(object);
        self.depth += 1;
    }

    fn last(&self) -> Option<bool> {
        (self.depth > 0).then_some(self.inner & 1 == 1)
    }

    fn pop(&mut self) {
        self.inner >>= 1;
        self.depth = self.depth.saturating_sub(1);
        if self.depth > 0 && self.depth.is_multiple_of(64) {
            self.inner = self.outer.pop().unwrap_or_default();
        }
    }
}
