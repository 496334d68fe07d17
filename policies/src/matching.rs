//! The matchers of a rule, as compiled: each knows its canonical text and whether it fits a request.

use crate::api::Api;
use crate::decide::Head;
use http::{HeaderName, Method};
use regex::bytes::{Regex, RegexBuilder};

/// A compiled expression may take this much memory.
const MAX_REGEX_BYTES: usize = 256 << 10;
/// An expression, path, value or glob may be this long.
pub(crate) const MAX_PATTERN_BYTES: usize = 4096;

/// Whether a rule or one of its entries fits a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fit {
    /// It does not.
    No,
    /// It depends on the model, which is not known.
    IfModel,
    /// It does.
    Yes,
}

/// One entry of `matches`: everything it names has to fit.
#[derive(Debug, Default)]
pub(crate) struct Match {
    pub(crate) method: Option<Method>,
    pub(crate) path: Option<PathMatch>,
    pub(crate) headers: Vec<HeaderMatch>,
    pub(crate) apis: Option<ApiSet>,
    pub(crate) models: Vec<Glob>,
}

impl Match {
    /// `path` is the request's, normalised; `model_possible` says whether an unknown model may exist at all.
    pub(crate) fn fit(&self, head: &Head<'_>, path: &str, model_possible: bool) -> Fit {
        let certain = self.method.as_ref().is_none_or(|method| method == head.method)
            && self.apis.is_none_or(|apis| apis.contains(head.route.api))
            && self.path.as_ref().is_none_or(|m| m.fits(path))
            && self.headers.iter().all(|header| header.fits(head));
        if !certain {
            return Fit::No;
        }
        match head.model {
            _ if self.models.is_empty() => Fit::Yes,
            Some(model) if self.models.iter().any(|glob| glob.fits(model)) => Fit::Yes,
            None if model_possible => Fit::IfModel,
            _ => Fit::No,
        }
    }
}

/// A set of APIs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ApiSet(u32);

impl ApiSet {
    pub(crate) fn insert(&mut self, api: Api) {
        self.0 |= 1 << api as u32;
    }

    pub(crate) fn contains(self, api: Api) -> bool {
        self.0 & (1 << api as u32) != 0
    }
}

/// Compared with the normalised path.
#[derive(Debug)]
pub(crate) enum PathMatch {
    Exact(String),
    /// Whole segments: `/v1` covers `/v1` and `/v1/models`, not `/v1beta`. No trailing slash; the root is empty.
    Prefix(String),
    Regex(Pattern),
}

impl PathMatch {
    fn fits(&self, path: &str) -> bool {
        match self {
            PathMatch::Exact(exact) => path == exact,
            PathMatch::Prefix(prefix) => path
                .strip_prefix(prefix.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
            PathMatch::Regex(pattern) => pattern.fits(path.as_bytes()),
        }
    }
}

/// Fits if any value of the header does.
#[derive(Debug)]
pub(crate) struct HeaderMatch {
    pub(crate) name: HeaderName,
    pub(crate) value: HeaderValueMatch,
}

#[derive(Debug)]
pub(crate) enum HeaderValueMatch {
    Exact(String),
    Regex(Pattern),
}

impl HeaderMatch {
    fn fits(&self, head: &Head<'_>) -> bool {
        head.headers.get_all(&self.name).iter().any(|value| match &self.value {
            HeaderValueMatch::Exact(exact) => value.as_bytes() == exact.as_bytes(),
            HeaderValueMatch::Regex(pattern) => pattern.fits(value.as_bytes()),
        })
    }
}

/// A regular expression (linear time) over the whole string. `.` stands for every character, line ends included.
#[derive(Debug)]
pub(crate) struct Pattern {
    pub(crate) text: String,
    whole: Regex,
}

impl Pattern {
    pub(crate) fn new(text: &str) -> Result<Pattern, String> {
        // On its own first: `a)|(b` would be well-formed only inside the group below.
        compile(text)?;
        Ok(Pattern { text: text.to_owned(), whole: compile(&format!(r"\A(?:{text})\z"))? })
    }

    fn fits(&self, bytes: &[u8]) -> bool {
        self.whole.is_match(bytes)
    }
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

/// A whole-string glob over model names: `*` is any run of characters, `/` included, and `?` any one character.
#[derive(Debug)]
pub(crate) struct Glob {
    pub(crate) text: String,
    whole: Option<Regex>,
}

impl Glob {
    pub(crate) fn new(text: &str) -> Result<Glob, String> {
        if let Some(special) = text.chars().find(|c| "[]{}\\".contains(*c)) {
            return Err(format!(
                "`{special}` in a glob: only `*` and `?` are special, and no model is named so"
            ));
        }
        if !text.contains(['*', '?']) {
            return Ok(Glob { text: text.to_owned(), whole: None });
        }
        let pattern = regex::escape(text).replace(r"\*", ".*").replace(r"\?", ".");
        Ok(Glob { text: text.to_owned(), whole: Some(compile(&format!(r"\A(?:{pattern})\z"))?) })
    }

    fn fits(&self, model: &str) -> bool {
        match &self.whole {
            None => self.text == model,
            Some(regex) => regex.is_match(model.as_bytes()),
        }
    }
}

#[cfg(test)]
mod tests;
