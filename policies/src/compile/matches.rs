//! Entries of `matches`: an entry that cannot match anything is an error.

use super::{Compiler, MAX_POINTERS};
use crate::ast::{self, PathKind, Placed, TextKind};
use crate::error::{Fault, shown};
use crate::matching::body::{BodyMatch, BodyOp, Pointer};
use crate::matching::pattern::{Globs, Pattern, TextMatch};
use crate::matching::query::QueryMatch;
use crate::matching::{ApiSet, HeaderMatch, Match, PathMatch, Test};
use crate::routes::identify;
use http::{HeaderName, HeaderValue, Method};

impl Compiler {
    pub(super) fn entry(&mut self, entry: &ast::Match) -> Result<Match, Fault> {
        let mut tests = Vec::new();
        if let Some(given) = &entry.method {
            tests.push(Test::Method(method(given)?));
        }
        if let Some(apis) = &entry.apis {
            let mut set = ApiSet::default();
            apis.iter().for_each(|api| set.insert(*api));
            tests.push(Test::Apis(set));
        }
        tests.extend(entry.stream.map(Test::Stream));
        for (globs, test) in
            [(&entry.tenants, Test::Tenants as fn(Globs) -> Test), (&entry.callers, Test::Callers)]
        {
            tests.extend(self.globs(globs)?.map(test));
        }
        if let Some((kind, value)) = &entry.path {
            tests.push(Test::Path(self.path(*kind, value)?));
        }
        for given in &entry.headers {
            tests.push(Test::Header(self.header(given)?));
        }
        for given in &entry.query {
            let value = self.text(given)?;
            tests.push(Test::Query(QueryMatch { name: given.name.value.clone(), value }));
        }
        tests.extend(self.globs(&entry.models)?.map(Test::Models));
        for given in &entry.body {
            tests.push(Test::Body(self.body(given)?));
        }
        Ok(Match { tests })
    }

    fn globs(&mut self, globs: &[Placed<String>]) -> Result<Option<Globs>, Fault> {
        let mut texts = Vec::with_capacity(globs.len());
        for glob in globs {
            texts.push(self.pattern(glob)?);
        }
        let Some(first) = globs.first() else { return Ok(None) };
        let compiled = Globs::new(texts);
        compiled.map(Some).map_err(|(index, reason)| Fault::new(globs.get(index).unwrap_or(first).at, reason))
    }

    fn path(&mut self, kind: PathKind, value: &Placed<String>) -> Result<PathMatch, Fault> {
        let text = self.pattern(value)?;
        if kind == PathKind::RegularExpression {
            return expression(value).map(PathMatch::Regex);
        }
        // A trailing slash means nothing in a prefix, as in HTTPRoute.
        let wanted = if kind == PathKind::PathPrefix { text.strip_suffix('/').unwrap_or(text) } else { text };
        let route = identify(&Method::GET, text);
        let normalised = route.matched_path(text);
        let can_match = text == "/" || normalised == wanted && wanted != "/";
        if !can_match {
            return Err(Fault::new(
                value.at,
                format!(
                    "`{}` never matches: paths are normalised first, did you mean `{}`?",
                    shown(text),
                    shown(normalised)
                ),
            ));
        }
        Ok(match kind {
            PathKind::Exact => PathMatch::Exact(text.to_owned()),
            _ => PathMatch::Prefix(wanted.to_owned()),
        })
    }

    fn header(&mut self, given: &ast::Named) -> Result<HeaderMatch, Fault> {
        let name = HeaderName::from_bytes(given.name.value.as_bytes())
            .map_err(|_| Fault::new(given.name.at, "not a header name"))?;
        let value = &given.value.value;
        if given.kind == TextKind::Exact && (HeaderValue::from_str(value).is_err() || value.trim() != value) {
            return Err(Fault::new(given.value.at, "no header has this value"));
        }
        Ok(HeaderMatch { name, value: self.text(given)? })
    }

    fn text(&mut self, given: &ast::Named) -> Result<TextMatch, Fault> {
        let text = self.pattern(&given.value)?;
        match given.kind {
            TextKind::Exact => Ok(TextMatch::Exact(text.to_owned())),
            TextKind::RegularExpression => expression(&given.value).map(TextMatch::Regex),
        }
    }

    fn body(&mut self, given: &ast::Body) -> Result<BodyMatch, Fault> {
        let at = given.pointer.at;
        let pointer = Pointer::new(&given.pointer.value).map_err(|reason| Fault::new(at, reason))?;
        let pointers = &mut self.compiled.pointers;
        let pointer = match pointers.iter().position(|known| *known == pointer) {
            Some(index) => index,
            None if pointers.len() == MAX_POINTERS => {
                return Err(Fault::new(
                    at,
                    format!("more than {MAX_POINTERS} different pointers in one policy"),
                ));
            }
            None => {
                pointers.push(pointer);
                pointers.len() - 1
            }
        };
        let op = match &given.op {
            ast::Op::Exists => BodyOp::Exists,
            ast::Op::Equals(value) => BodyOp::In(vec![value.clone()]),
            ast::Op::In(values) => BodyOp::In(values.clone()),
            ast::Op::Matches(value) => {
                self.pattern(value)?;
                BodyOp::Matches(expression(value)?)
            }
        };
        Ok(BodyMatch { pointer, op })
    }
}

fn method(given: &Placed<String>) -> Result<Method, Fault> {
    let upper = given.value.to_ascii_uppercase();
    match Method::from_bytes(given.value.as_bytes()) {
        Ok(_) if upper != given.value => Err(Fault::new(
            given.at,
            format!("methods are case-sensitive, did you mean `{}`?", shown(&upper)),
        )),
        Ok(method) => Ok(method),
        Err(_) => Err(Fault::new(given.at, "not an HTTP method")),
    }
}

fn expression(given: &Placed<String>) -> Result<Pattern, Fault> {
    Pattern::new(&given.value).map_err(|reason| Fault::new(given.at, reason))
}
