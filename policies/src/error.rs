//! What is wrong with a policy file, and where.

use std::fmt;

/// As much of a line is shown with an error, in characters.
const SNIPPET: usize = 100;

/// The first thing wrong with a policy: `clinic.yaml:12:7: unknown key `levle`, did you mean `level`?`
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {message}")]
pub struct PolicyError {
    place: Place,
    message: String,
}

impl PolicyError {
    pub(crate) fn new(source_name: &str, fault: Fault) -> PolicyError {
        PolicyError { place: Place::new(source_name, fault.at), message: fault.message }
    }

    pub(crate) fn at(place: Place, message: String) -> PolicyError {
        PolicyError { place, message }
    }

    /// The name given to `Policy::parse`, usually the file's.
    pub fn source_name(&self) -> &str {
        &self.place.source_name
    }

    /// The line, from 1.
    pub fn line(&self) -> u64 {
        self.place.line
    }

    /// The column in characters, from 1.
    pub fn column(&self) -> u64 {
        self.place.column
    }

    /// What is wrong, without the place.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The line it is about, with a caret under the place; `text` is the file's. Tabs become spaces, long lines are cut.
    pub fn snippet(&self, text: &str) -> Option<String> {
        let number = self.place.line.to_string();
        let line = text.lines().nth(usize::try_from(self.place.line).ok()?.checked_sub(1)?)?;
        let column = usize::try_from(self.place.column).ok()?.saturating_sub(1).min(line.chars().count());
        let start = column.saturating_sub(SNIPPET / 2);
        let shown: String =
            line.chars().skip(start).take(SNIPPET).map(|c| if c.is_control() { ' ' } else { c }).collect();
        let (margin, indent) = (" ".repeat(number.len()), " ".repeat(column - start));
        Some(format!(" {margin} |\n {number} | {shown}\n {margin} | {indent}^"))
    }
}

/// Something in a policy that may not be meant so, or that this program cannot do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Where.
    pub place: Place,
    /// What.
    pub message: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

/// A place in a file of a policy.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Place {
    /// The file, as it was named to `Policy::parse`.
    #[serde(rename = "file")]
    pub source_name: String,
    /// The line, from 1.
    pub line: u64,
    /// The column in characters, from 1.
    pub column: u64,
}

impl Place {
    pub(crate) fn new(source_name: &str, at: At) -> Place {
        Place { source_name: source_name.to_owned(), line: at.line.max(1), column: at.column.max(1) }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.source_name, self.line, self.column)
    }
}

/// A place in a file; 0 is unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct At {
    pub(crate) line: u64,
    pub(crate) column: u64,
}

/// A `PolicyError` that does not know its file yet.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) at: At,
    pub(crate) message: String,
}

impl Fault {
    pub(crate) fn new(at: At, message: impl Into<String>) -> Fault {
        Fault { at, message: message.into() }
    }
}

/// A text of the file as an error may quote it: no control characters, no novel.
pub(crate) fn shown(text: &str) -> String {
    let mut shown = text.chars().take(60).collect::<String>().escape_debug().to_string();
    if text.chars().nth(60).is_some() {
        shown.push('…');
    }
    shown
}

/// `, did you mean `level`?` if one of `known` is close to `word`, else nothing.
pub(crate) fn suggestion<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    if word.len() > 64 {
        return String::new();
    }
    let lower = word.to_ascii_lowercase();
    let nearest = known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&lower, &candidate.to_ascii_lowercase()), candidate))
        .min_by_key(|(distance, _)| *distance);
    match nearest {
        Some((distance, candidate)) if distance <= 1 + candidate.len() / 5 => {
            format!(", did you mean `{candidate}`?")
        }
        _ => String::new(),
    }
}
