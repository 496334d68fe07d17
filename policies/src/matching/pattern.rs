//! Expressions and globs.

use globset::GlobBuilder;
use regex::bytes::{Regex, RegexBuilder};
use regex_syntax::hir::literal::Extractor;

/// A compiled expression may take this much memory.
const MAX_REGEX_BYTES: usize = 256 << 10;
/// An expression, path, value or glob may be this long.
pub(crate) const MAX_PATTERN_BYTES: usize = 4096;
/// With more beginnings than this, comparing them is not cheaper than the expression.
const MAX_BEGINNINGS: usize = 8;

/// A regular expression (linear time) over the whole string. `.` stands for every character, line ends included.
#[derive(Debug)]
pub(crate) struct Pattern {
    pub(crate) text: String,
    whole: Whole,
}

impl Pattern {
    pub(crate) fn new(text: &str) -> Result<Pattern, String> {
        // On its own first: `a)|(b` would be well-formed only inside the group of `Whole`.
        compile(text)?;
        Ok(Pattern { text: text.to_owned(), whole: Whole::new(text)? })
    }

    pub(crate) fn fits(&self, bytes: &[u8]) -> bool {
        self.whole.fits(bytes)
    }
}

/// An expression over the whole string. Most strings are told from those that fit by how they begin, at a fifth of what it
/// costs to run the expression.
#[derive(Debug)]
struct Whole {
    /// All that fits begins with one of these; the list is empty where that says nothing.
    beginnings: Vec<Box<[u8]>>,
    regex: Regex,
}

impl Whole {
    fn new(expression: &str) -> Result<Whole, String> {
        let whole = format!(r"\A(?:{expression})\z");
        Ok(Whole { beginnings: beginnings(&whole), regex: compile(&whole)? })
    }

    fn fits(&self, bytes: &[u8]) -> bool {
        let begins = self.beginnings.is_empty() || self.beginnings.iter().any(|b| bytes.starts_with(b));
        begins && self.regex.is_match(bytes)
    }
}

fn beginnings(expression: &str) -> Vec<Box<[u8]>> {
    // Read as `compile` has it read.
    let mut parser = regex_syntax::ParserBuilder::new().utf8(false).dot_matches_new_line(true).build();
    let Ok(parsed) = parser.parse(expression) else { return Vec::new() };
    let found = Extractor::new().extract(&parsed);
    let literals = found.literals().unwrap_or_default();
    let says_nothing = literals.len() > MAX_BEGINNINGS || literals.iter().any(|literal| literal.is_empty());
    if says_nothing { Vec::new() } else { literals.iter().map(|literal| literal.as_bytes().into()).collect() }
}

fn compile(text: &str) -> Result<Regex, String> {
    RegexBuilder::new(text).size_limit(MAX_REGEX_BYTES).dot_matches_new_line(true).build().map_err(|error| {
        match error {
            regex::Error::CompiledTooBig(limit) => {
                format!("the expression needs more than {} KiB compiled", limit >> 10)
            }
            other => {
                let message = other.to_string();
                let reason = message.rsplit("error: ").next().unwrap_or_default().trim();
                format!("not a regular expression: {reason}")
            }
        }
    })
}

/// How a header's or a parameter's value is compared.
#[derive(Debug)]
pub(crate) enum TextMatch {
    Exact(String),
    Regex(Pattern),
}

impl TextMatch {
    pub(crate) fn fits(&self, value: &[u8]) -> bool {
        match self {
            TextMatch::Exact(exact) => value == exact.as_bytes(),
            TextMatch::Regex(pattern) => pattern.fits(value),
        }
    }
}

/// Whole-string globs, of which any may fit: `*` is any run of bytes, `/` included, `?` any one byte, `[a-z]` a class,
/// `{a,b}` a choice.
#[derive(Debug)]
pub(crate) struct Globs {
    /// As written.
    pub(crate) texts: Vec<String>,
    literals: Vec<String>,
    /// All others as one expression.
    rest: Option<Whole>,
}

impl Globs {
    /// Compiles them; an error says which one is wrong.
    pub(crate) fn new<'a>(globs: impl IntoIterator<Item = &'a str>) -> Result<Globs, (usize, String)> {
        let mut compiled = Globs { texts: Vec::new(), literals: Vec::new(), rest: None };
        let mut expressions = Vec::new();
        for (index, text) in globs.into_iter().enumerate() {
            compiled.texts.push(text.to_owned());
            if text.contains(['*', '?', '[', ']', '{', '}']) {
                expressions.push(expression(text).map_err(|reason| (index, reason))?);
            } else {
                compiled.literals.push(text.to_owned());
            }
        }
        if !expressions.is_empty() {
            compiled.rest = Some(Whole::new(&expressions.join("|")).map_err(|reason| (0, reason))?);
        }
        Ok(compiled)
    }

    pub(crate) fn fit(&self, text: &str) -> bool {
        self.literals.iter().any(|literal| literal == text)
            || self.rest.as_ref().is_some_and(|rest| rest.fits(text.as_bytes()))
    }
}

fn expression(glob: &str) -> Result<String, String> {
    // In crate globset `**` is about folders, which models do not have.
    let mut text = glob.to_owned();
    while text.contains("**") {
        text = text.replace("**", "*");
    }
    let built = GlobBuilder::new(&text).literal_separator(false).backslash_escape(false).build();
    let glob = built.map_err(|error| format!("not a glob: {}", error.kind()))?;
    let expression = format!("(?:{})", glob.regex());
    compile(&expression)?;
    Ok(expression)
}
