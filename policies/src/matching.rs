//! The matchers of a rule, as compiled: each says whether it fits a request.

pub(crate) mod body;
pub(crate) mod pattern;
pub(crate) mod query;

use crate::api::Api;
use crate::head::{Model, View};
use body::BodyMatch;
use http::{HeaderName, Method};
use pattern::{Globs, Pattern, TextMatch};
use query::QueryMatch;

pub(crate) use pattern::MAX_PATTERN_BYTES;

/// Whether a rule or a part of it fits a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Fit {
    /// It does not.
    No,
    /// It depends on what is not known of the body.
    Maybe,
    /// It does.
    Yes,
}

impl From<bool> for Fit {
    fn from(fits: bool) -> Fit {
        if fits { Fit::Yes } else { Fit::No }
    }
}

/// One entry of `matches`: every test has to fit. The cheap ones come first, those about the body last.
#[derive(Debug, Default)]
pub(crate) struct Match {
    pub(crate) tests: Vec<Test>,
}

impl Match {
    pub(crate) fn fit(&self, view: &View<'_>) -> Fit {
        let mut worst = Fit::Yes;
        for test in &self.tests {
            worst = worst.min(test.fit(view));
            if worst == Fit::No {
                break;
            }
        }
        worst
    }
}

/// One thing that an entry names.
#[derive(Debug)]
pub(crate) enum Test {
    Method(Method),
    Apis(ApiSet),
    Stream(bool),
    Tenants(Globs),
    Callers(Globs),
    Path(PathMatch),
    Header(HeaderMatch),
    Query(QueryMatch),
    Models(Globs),
    Body(BodyMatch),
}

impl Test {
    pub(crate) fn fit(&self, view: &View<'_>) -> Fit {
        let head = view.head;
        match self {
            Test::Method(method) => (method == head.method).into(),
            Test::Apis(apis) => apis.contains(head.route.api).into(),
            Test::Stream(wanted) => view.stream.map_or(Fit::Maybe, |stream| (stream == *wanted).into()),
            Test::Tenants(globs) => head.tenant.is_some_and(|tenant| globs.fit(tenant)).into(),
            Test::Callers(globs) => head.caller.is_some_and(|caller| globs.fit(caller)).into(),
            Test::Path(path) => path.fits(view.path).into(),
            Test::Header(header) => header.fits(view).into(),
            Test::Query(query) => query.fits(head.query.unwrap_or_default()).into(),
            Test::Models(globs) => match view.model {
                Model::Impossible => Fit::No,
                Model::Unknown => Fit::Maybe,
                Model::Known(model) => globs.fit(model).into(),
            },
            Test::Body(body) => body.fit(view.value(body.pointer)),
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

    pub(crate) fn iter(self) -> impl Iterator<Item = Api> {
        Api::ALL.into_iter().filter(move |api| self.contains(*api))
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
    pub(crate) value: TextMatch,
}

impl HeaderMatch {
    fn fits(&self, view: &View<'_>) -> bool {
        view.head.headers.get_all(&self.name).iter().any(|value| self.value.fits(value.as_bytes()))
    }
}

#[cfg(test)]
mod tests;
