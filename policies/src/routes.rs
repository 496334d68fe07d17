//! What a request is, by the routes of the servers in `profiles/`.

use crate::api::Api;
use crate::error::Fault;
use crate::path::normalise;
use crate::read::words::flag;
use crate::yaml::{self, Node};
use http::Method;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::{Arc, LazyLock};

/// The profiles; where two name the same method and path, they have to say the same.
const PROFILES: [(&str, &str); 5] = [
    ("vllm.yaml", include_str!("../profiles/vllm.yaml")),
    ("tgi.yaml", include_str!("../profiles/tgi.yaml")),
    ("llama-cpp.yaml", include_str!("../profiles/llama-cpp.yaml")),
    ("sglang.yaml", include_str!("../profiles/sglang.yaml")),
    ("openai.yaml", include_str!("../profiles/openai.yaml")),
];

/// What a request is, whatever its spelling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The API.
    pub api: Api,
    /// What is asked of it, as in `chat.completions`; `unknown` where no profile names the route.
    pub operation: Arc<str>,
    /// The answer carries what a model computed. A path that generates under one method counts as generating under
    /// every method that no profile names for it.
    pub generating: bool,
    /// The answer is a stream, whatever the request says.
    pub streams: bool,
    /// The path is not written plainly, so that servers may read it differently: `pass` does not apply.
    pub normalised_differs: bool,
    normalised: Option<Box<str>>,
}

impl Route {
    /// The path that rules are matched against; `raw` is the one that this route was identified by.
    pub fn matched_path<'a>(&'a self, raw: &'a str) -> &'a str {
        self.normalised.as_deref().unwrap_or(raw)
    }
}

/// Says what `method` on `raw_path` is. `raw_path` is the path as received, without the query; of a request in
/// absolute form, its path.
///
/// The look-up ignores case, and a prefix that a gateway put before the last `/v1/`.
pub fn identify(method: &Method, raw_path: &str) -> Route {
    let normalised = normalise(raw_path);
    let mut differs = matches!(normalised, std::borrow::Cow::Owned(_));
    let Some((path, prefix)) = TABLE.find(&normalised) else {
        return Route {
            api: Api::Unknown,
            operation: TABLE.unknown.clone(),
            generating: false,
            streams: false,
            normalised_differs: differs,
            normalised: differs.then(|| normalised.into()),
        };
    };
    let mut canonical = normalised;
    if let Some(respelled) = path.respell(&canonical, prefix) {
        canonical = respelled.into();
        differs = true;
    }
    let call = path.call(method);
    Route {
        api: call.api,
        operation: call.operation.clone(),
        generating: call.generating,
        streams: call.streams,
        normalised_differs: differs,
        normalised: differs.then(|| canonical.into()),
    }
}

/// SHA-256-able text of the whole table: part of what a policy means.
pub(crate) fn table_text() -> &'static str {
    &TABLE.text
}

#[expect(clippy::expect_used, reason = "the profiles are part of the program, and a test reads them")]
static TABLE: LazyLock<Table> =
    LazyLock::new(|| Table::read(&PROFILES).expect("the profiles are well-formed"));

struct Table {
    literal: HashMap<String, KnownPath>,
    templates: Vec<KnownPath>,
    unknown: Arc<str>,
    text: String,
}

/// One path template and what the methods on it mean.
struct KnownPath {
    segments: Vec<Segment>,
    calls: Vec<(Method, Call)>,
}

#[derive(PartialEq, Eq)]
enum Segment {
    Literal(String),
    Any,
}

#[derive(Clone, PartialEq, Eq)]
struct Call {
    api: Api,
    operation: Arc<str>,
    generating: bool,
    streams: bool,
}

/// A route of a server, as its profile names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownRoute {
    /// The profile's file, without its ending: `vllm`, `tgi`, `llama-cpp`, `sglang`, `openai`.
    pub server: &'static str,
    /// The method.
    pub method: Method,
    /// The path; `{name}` stands for one segment.
    pub path: String,
    /// What it is.
    pub api: Api,
    /// The answer carries what a model computed.
    pub generating: bool,
}

/// The routes of all profiles, in their order.
pub fn known_routes() -> Vec<KnownRoute> {
    let mut all = Vec::new();
    for (name, text) in &PROFILES {
        let server = name.trim_end_matches(".yaml");
        // The table could not have been read otherwise.
        let Ok(root) = yaml::read(text) else { continue };
        let routes = root.map("profile", &["server", "routes"]).and_then(|root| root.required("routes"));
        for node in routes.and_then(|routes| routes.items("routes")).unwrap_or_default() {
            if let Ok((path, method, call)) = route(node) {
                let (path, api, generating) = (path.to_owned(), call.api, call.generating);
                all.push(KnownRoute { server, method, path, api, generating });
            }
        }
    }
    all
}

impl Table {
    fn read(profiles: &[(&str, &str)]) -> Result<Table, String> {
        let mut paths: Vec<(String, KnownPath)> = Vec::new();
        for (name, text) in profiles {
            let place =
                |fault: Fault| format!("{name}:{}:{}: {}", fault.at.line, fault.at.column, fault.message);
            let root = yaml::read(text).map_err(place)?;
            let root = root.map("profile", &["server", "routes"]).map_err(place)?;
            for node in root.required("routes").and_then(|routes| routes.items("routes")).map_err(place)? {
                add(&mut paths, node).map_err(place)?;
            }
        }
        paths.sort_by(|a, b| a.0.cmp(&b.0));
        let text = describe(&paths);
        let (literal, templates): (Vec<_>, Vec<_>) =
            paths.into_iter().partition(|(_, path)| path.is_literal());
        Ok(Table {
            literal: literal.into_iter().collect(),
            templates: templates.into_iter().map(|(_, path)| path).collect(),
            unknown: Arc::from("unknown"),
            text,
        })
    }

    /// The entry of a normalised path, and how many bytes of prefix precede it.
    fn find(&self, path: &str) -> Option<(&KnownPath, usize)> {
        if let Some(known) = self.find_whole(path) {
            return Some((known, 0));
        }
        let prefix = path.rfind("/v1/").or_else(|| path.rfind("/V1/")).filter(|at| *at > 0)?;
        self.find_whole(path.get(prefix..)?).map(|known| (known, prefix))
    }

    fn find_whole(&self, path: &str) -> Option<&KnownPath> {
        let literal = if path.bytes().any(|b| b.is_ascii_uppercase()) {
            self.literal.get(&path.to_ascii_lowercase())
        } else {
            self.literal.get(path)
        };
        literal.or_else(|| self.templates.iter().find(|known| known.fits(path)))
    }
}

impl KnownPath {
    fn is_literal(&self) -> bool {
        self.segments.iter().all(|segment| *segment != Segment::Any)
    }

    fn fits(&self, path: &str) -> bool {
        let mut parts = path.split('/').skip(1);
        for segment in &self.segments {
            match (segment, parts.next()) {
                (Segment::Literal(text), Some(part)) if text.eq_ignore_ascii_case(part) => {}
                (Segment::Any, Some(part)) if !part.is_empty() => {}
                _ => return false,
            }
        }
        parts.next().is_none()
    }

    /// `path` with the literal segments in the profile's case, if that changes it.
    fn respell(&self, path: &str, prefix: usize) -> Option<String> {
        let (before, known) = path.split_at_checked(prefix)?;
        let parts = known.split('/').skip(1);
        let plain = |(segment, part): (&Segment, &str)| match segment {
            Segment::Literal(text) => text == part,
            Segment::Any => true,
        };
        if self.segments.iter().zip(parts.clone()).all(plain) {
            return None;
        }
        let mut respelled = before.to_owned();
        for (segment, part) in self.segments.iter().zip(parts) {
            respelled.push('/');
            match segment {
                Segment::Literal(text) => respelled.push_str(text),
                Segment::Any => respelled.push_str(part),
            }
        }
        Some(respelled)
    }

    /// What `method` means here. A method that no profile names gets the reading that asks for most care.
    fn call(&self, method: &Method) -> &Call {
        let of = |method: &Method| self.calls.iter().find(|(m, _)| m == method).map(|(_, call)| call);
        let as_get = if *method == Method::HEAD { of(&Method::GET) } else { None };
        let with = |test: fn(&Call) -> bool| self.calls.iter().map(|(_, call)| call).find(|call| test(call));
        of(method)
            .or(as_get)
            .or_else(|| with(|call| call.generating))
            .or_else(|| with(|call| call.api == Api::ModelChange))
            .unwrap_or(&self.calls[0].1)
    }
}

fn add(paths: &mut Vec<(String, KnownPath)>, node: &Node) -> Result<(), Fault> {
    let (path, method, call) = route(node)?;
    let index = match paths.iter().position(|(known, _)| known == path) {
        Some(index) => index,
        None => {
            paths.push((path.to_owned(), KnownPath { segments: segments(path), calls: Vec::new() }));
            paths.len() - 1
        }
    };
    let calls = &mut paths[index].1.calls;
    match calls.iter().find(|(known, _)| *known == method) {
        Some((_, known)) if *known == call => {}
        Some(_) => return Err(node.fault(format!("{method} {path} means something else elsewhere"))),
        None => calls.push((method, call)),
    }
    Ok(())
}

/// A route as a profile names it.
fn route(node: &Node) -> Result<(&str, Method, Call), Fault> {
    let route = node.map("route", &["method", "path", "api", "operation", "generating", "streams"])?;
    let path_node = route.required("path")?;
    let path = path_node.text("path")?;
    if normalise(path) != path || path.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err(path_node.fault("a profile's paths are plain and in lower case"));
    }
    let api_node = route.required("api")?;
    let is = |key| route.get(key).map_or(Ok(false), |node| flag(node, key));
    let call = Call {
        api: api_node.text("api")?.parse().map_err(|e| api_node.fault(format!("{e}")))?,
        operation: Arc::from(route.required("operation")?.text("operation")?),
        generating: is("generating")?,
        streams: is("streams")?,
    };
    let method_node = route.required("method")?;
    let method = Method::from_bytes(method_node.text("method")?.as_bytes())
        .map_err(|_| method_node.fault("not an HTTP method"))?;
    Ok((path, method, call))
}

fn segments(path: &str) -> Vec<Segment> {
    let is_name = |part: &str| part.starts_with('{') && part.ends_with('}');
    let segment = |part: &str| if is_name(part) { Segment::Any } else { Segment::Literal(part.to_owned()) };
    path.split('/').skip(1).map(segment).collect()
}

fn describe(paths: &[(String, KnownPath)]) -> String {
    let mut lines: Vec<String> = Vec::new();
    for (path, known) in paths {
        for (method, call) in &known.calls {
            lines.push(format!("{path} {method} {} {} {}", call.api, call.operation, call.generating));
        }
    }
    lines.sort();
    lines.iter().fold(String::new(), |mut text, line| {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{line}");
        text
    })
}

#[cfg(test)]
mod tests;
