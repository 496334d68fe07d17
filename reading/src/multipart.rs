//! The small fields of a form (RFC 7578), as speech APIs take them, out of a body in whatever pieces it comes. Files are
//! passed over, however long; what is kept is bounded.

#[cfg(test)]
mod tests;

/// The longest boundary (RFC 2046 section 5.1.1), in bytes.
const MAX_BOUNDARY: usize = 70;
/// The longest head of a part, in bytes.
const MAX_HEAD: usize = 4 << 10;
/// The longest value of a field that is kept, in bytes.
const MAX_VALUE: usize = 4 << 10;
/// The most fields that are kept.
const MAX_FIELDS: usize = 64;

/// A form as far as it has come.
#[derive(Debug)]
pub(super) struct Form {
    /// `\r\n--boundary`.
    delimiter: Vec<u8>,
    state: State,
    /// What may still belong to a delimiter, or the head or value that is being read.
    carried: Vec<u8>,
    pub(super) fields: Vec<Field>,
    /// Something was left out, or is no form.
    pub(super) fault: Option<Fault>,
}

/// One field that is not a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) name: Vec<u8>,
    pub(super) value: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    TooLarge,
    CutShort,
    Malformed,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    /// After a delimiter: `--` at the end of all, or the rest of the line.
    Delimited,
    /// In the head of a part.
    Head,
    /// In a field of this name.
    Value(Vec<u8>),
    /// In a file, or before the first delimiter.
    Passed,
    Ended,
}

impl Form {
    /// A form with the boundary that its content type names; `None` if it names none.
    pub(super) fn new(content_type: &str) -> Option<Self> {
        let parameters =
            content_type.split(';').skip(1).filter_map(|parameter| parameter.trim().split_once('='));
        let boundary =
            parameters.into_iter().find(|(name, _)| name.trim().eq_ignore_ascii_case("boundary"))?.1.trim();
        let boundary = boundary.strip_prefix('"').map_or(boundary, |quoted| quoted.trim_end_matches('"'));
        if boundary.is_empty() || boundary.len() > MAX_BOUNDARY {
            return None;
        }
        let delimiter = format!("\r\n--{boundary}").into_bytes();
        // The first one has no line break before it.
        let carried = b"\r\n".to_vec();
        Some(Self { delimiter, state: State::Passed, carried, fields: Vec::new(), fault: None })
    }

    /// Takes the next piece of the body.
    pub(super) fn push(&mut self, piece: &[u8]) {
        let mut rest = std::mem::take(&mut self.carried);
        rest.extend_from_slice(piece);
        let mut at = 0;
        while let Some(taken) = self.step(rest.get(at..).unwrap_or_default()) {
            at += taken;
        }
        rest.drain(..at.min(rest.len()));
        self.carried = rest;
        self.carried.shrink_to(MAX_HEAD + MAX_VALUE);
    }

    /// The end of the body.
    pub(super) fn finish(&mut self) {
        if self.state != State::Ended {
            self.fault.get_or_insert(Fault::CutShort);
        }
    }

    /// Takes what can be taken from the start of `rest`; `None` if more has to come first.
    fn step(&mut self, rest: &[u8]) -> Option<usize> {
        match &self.state {
            State::Ended => (!rest.is_empty()).then_some(rest.len()),
            State::Delimited => {
                let start = rest.get(..2)?;
                if start == b"--" {
                    self.state = State::Ended;
                    return Some(2);
                }
                let line = find(rest, b"\r\n");
                if line.is_none() && rest.len() > MAX_HEAD {
                    return Some(self.malformed(rest));
                }
                self.state = State::Head;
                // The line break stays: a head without a line ends with it.
                line.or_else(|| {
                    self.state = State::Delimited;
                    None
                })
            }
            State::Head => match find(rest, b"\r\n\r\n") {
                Some(end) => {
                    let head = rest.get(..end).unwrap_or_default();
                    self.state = field_name(head).map_or(State::Passed, State::Value);
                    Some(end + 4)
                }
                None if rest.len() > MAX_HEAD => Some(self.malformed(rest)),
                None => None,
            },
            State::Value(name) => match find(rest, &self.delimiter) {
                Some(end) => {
                    let value = rest.get(..end).unwrap_or_default().to_vec();
                    let name = name.clone();
                    if value.len() > MAX_VALUE || self.fields.len() >= MAX_FIELDS {
                        self.fault.get_or_insert(Fault::TooLarge);
                    } else {
                        self.fields.push(Field { name, value });
                    }
                    self.state = State::Delimited;
                    Some(end + self.delimiter.len())
                }
                None if rest.len() > MAX_VALUE + self.delimiter.len() => {
                    self.fault.get_or_insert(Fault::TooLarge);
                    self.state = State::Passed;
                    Some(0)
                }
                None => None,
            },
            State::Passed => match find(rest, &self.delimiter) {
                Some(end) => {
                    self.state = State::Delimited;
                    Some(end + self.delimiter.len())
                }
                // All but what may be the start of a delimiter.
                None => rest.len().checked_sub(self.delimiter.len() - 1).filter(|passed| *passed > 0),
            },
        }
    }

    fn malformed(&mut self, rest: &[u8]) -> usize {
        self.fault.get_or_insert(Fault::Malformed);
        self.state = State::Ended;
        rest.len()
    }
}

/// The name of the field that a part is; `None` if it is a file.
fn field_name(head: &[u8]) -> Option<Vec<u8>> {
    let head = String::from_utf8_lossy(head);
    let disposition = head
        .split("\r\n")
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("content-disposition"))?
        .1;
    let parameter = |wanted: &str| {
        disposition.split(';').skip(1).find_map(|parameter| {
            let (name, value) = parameter.trim().split_once('=')?;
            name.eq_ignore_ascii_case(wanted).then(|| value.trim_matches('"').as_bytes().to_vec())
        })
    };
    if parameter("filename").is_some() || parameter("filename*").is_some() {
        return None;
    }
    parameter("name")
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    memchr::memmem::find(bytes, wanted)
}
