//! Tests of a policy: a YAML file of requests beside it, and what is expected of each.

use crate::actions::{FailurePolicy, Refusal};
use crate::decide::Decision;
use crate::error::{Fault, Place, PolicyError, shown};
use crate::explain::Explanation;
use crate::head::{Body, Content, Head, Value};
use crate::matching::body::Pointer;
use crate::policy::{MAX_POLICY_BYTES, Policy};
use crate::read::words::{failure_policy, flag, level, name, word};
use crate::routes::identify;
use crate::yaml::{self, Node};
use colophon_receipt::Level;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use std::borrow::Cow;

/// A file of cases, read.
#[derive(Debug)]
pub struct Cases {
    cases: Vec<Case>,
}

#[derive(Debug)]
struct Case {
    name: String,
    place: Place,
    method: Method,
    path: String,
    query: Option<String>,
    headers: HeaderMap,
    tenant: Option<String>,
    caller: Option<String>,
    body: CaseBody,
    expect: Expect,
}

#[derive(Debug)]
enum CaseBody {
    Empty,
    Unread,
    Read(Node),
}

#[derive(Debug, Default)]
struct Expect {
    rule: Option<String>,
    level: Option<Level>,
    asked: Option<Level>,
    failure_policy: Option<FailurePolicy>,
    refused: Option<Refused>,
    /// What the rule draws: `0.5 % for zk, PostCommit`, or `No`.
    sampled: Option<String>,
}

/// Whether a case expects a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refused {
    No,
    Denied,
    Unavailable,
}

/// How a case went.
#[derive(Debug)]
pub struct CaseResult {
    /// The case's name.
    pub name: String,
    /// Where it stands.
    pub place: Place,
    /// What is not as expected: `level: expected sign, got commit`. None: it passed.
    pub wrong: Vec<String>,
    /// Why the policy decides so.
    pub explanation: Explanation,
}

impl Cases {
    /// Reads a file of cases: `cases`, a list of `name`, `request` (`method`, `path`, and if need be `headers`, `tenant`,
    /// `caller`, and `body` as YAML or `bodyUnread: true`) and `expect` (any of `rule`, `level`, `asked`, `failurePolicy`,
    /// `refused`: `No`, `Denied` or `Unavailable`; `sampled`: `No`, or as in `1 % for zk, PostCommit`).
    ///
    /// A request without `body` has none, if its method is GET, HEAD, OPTIONS or DELETE; else its body is not known.
    ///
    /// # Errors
    /// The first thing that is wrong, with its place.
    pub fn parse(yaml: &str, source_name: &str) -> Result<Cases, PolicyError> {
        read(yaml, source_name).map_err(|fault| PolicyError::new(source_name, fault))
    }
}

impl Policy {
    /// Decides about every case.
    pub fn test(&self, cases: &Cases) -> Vec<CaseResult> {
        cases.cases.iter().map(|case| self.case(case)).collect()
    }

    fn case(&self, case: &Case) -> CaseResult {
        let route = identify(&case.method, &case.path);
        let values: Vec<Value<'_>>;
        let body = match &case.body {
            CaseBody::Empty => Body::Empty,
            CaseBody::Unread => Body::Unread,
            CaseBody::Read(node) => {
                values = self.pointers().iter().map(|pointer| value_at(node, pointer)).collect();
                let model = match member(node, "model") {
                    None | Some(Value::Null) => Some(""),
                    Some(Value::Text(Cow::Borrowed(model))) => Some(model),
                    Some(_) => None,
                };
                let stream = match member(node, "stream") {
                    None | Some(Value::Null) => Some(false),
                    Some(Value::Bool(stream)) => Some(stream),
                    Some(_) => None,
                };
                Body::Read(Content { model, stream, values: &values })
            }
        };
        let head = Head {
            method: &case.method,
            path: &case.path,
            query: case.query.as_deref(),
            headers: &case.headers,
            route: &route,
            tenant: case.tenant.as_deref(),
            caller: case.caller.as_deref(),
            body,
        };
        let explanation = self.explain(&head);
        let wrong = case.expect.wrong(&explanation.decision);
        CaseResult { name: case.name.clone(), place: case.place.clone(), wrong, explanation }
    }
}

impl Expect {
    fn wrong(&self, decision: &Decision) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut compare = |what: &str, expected: Option<&str>, got: &str| {
            if let Some(expected) = expected.filter(|expected| *expected != got) {
                wrong.push(format!("{what}: expected {expected}, got {got}"));
            }
        };
        let refused = match decision.refusal {
            None => Refused::No,
            Some(Refusal::Denied(_)) => Refused::Denied,
            Some(Refusal::Unavailable(_)) => Refused::Unavailable,
        };
        compare("rule", self.rule.as_deref(), &decision.rule);
        compare("level", self.level.map(Level::as_str), decision.level.as_str());
        compare("asked", self.asked.map(Level::as_str), decision.asked.as_str());
        let failure_policy = decision.failure_policy.as_str();
        compare("failurePolicy", self.failure_policy.map(FailurePolicy::as_str), failure_policy);
        compare("refused", self.refused.map(Refused::as_str), refused.as_str());
        let sampled = decision.actions.sample.map_or("No".to_owned(), |sample| sample.to_string());
        compare("sampled", self.sampled.as_deref(), &sampled);
        wrong
    }
}

impl Refused {
    const ALL: [Refused; 3] = [Refused::No, Refused::Denied, Refused::Unavailable];

    fn as_str(self) -> &'static str {
        match self {
            Refused::No => "No",
            Refused::Denied => "Denied",
            Refused::Unavailable => "Unavailable",
        }
    }
}

fn read(text: &str, source_name: &str) -> Result<Cases, Fault> {
    if text.len() > MAX_POLICY_BYTES {
        return Err(Fault::new(Default::default(), format!("larger than {} KiB", MAX_POLICY_BYTES >> 10)));
    }
    let root = yaml::read(text)?;
    let nodes = root.map("tests", &["cases"])?.required("cases")?.items("cases")?;
    let cases = nodes.iter().map(|node| case(node, source_name)).collect::<Result<_, _>>()?;
    Ok(Cases { cases })
}

fn case(node: &Node, source_name: &str) -> Result<Case, Fault> {
    let map = node.map("case", &["name", "request", "expect"])?;
    let request_keys = ["method", "path", "headers", "tenant", "caller", "body", "bodyUnread"];
    let request = map.required("request")?.map("request", &request_keys)?;
    let method_node = request.required("method")?;
    let method: Method =
        method_node.text("method")?.parse().map_err(|_| method_node.fault("not an HTTP method"))?;
    let target = request.required("path")?.text("path")?;
    let (path, query) =
        target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query.to_owned())));
    let optional = |key| request.get(key).map(|node| node.text(key).map(str::to_owned)).transpose();
    let bodiless = matches!(method, Method::GET | Method::HEAD | Method::OPTIONS | Method::DELETE);
    let unread = request.get("bodyUnread").map(|node| flag(node, "bodyUnread")).transpose()?;
    let body = match (request.get("body"), unread) {
        (Some(node), Some(true)) => return Err(node.fault("a body is not both known and unread")),
        (Some(node), _) => CaseBody::Read(node.clone()),
        (None, Some(true)) => CaseBody::Unread,
        (None, None) if !bodiless => CaseBody::Unread,
        (None, _) => CaseBody::Empty,
    };
    let expect = map.required("expect")?;
    let expect_node = expect;
    let expect = expect.map("expect", &["rule", "level", "asked", "failurePolicy", "refused", "sampled"])?;
    if expect.is_empty() {
        return Err(expect_node.fault("`expect` is empty: nothing would be tested"));
    }
    let refused = Refused::ALL.map(|refused| (refused.as_str(), refused));
    let wanted = |key| expect.get(key).map(|node| level(node, key)).transpose();
    Ok(Case {
        name: name(map.required("name")?, "name")?.value,
        place: Place::new(source_name, node.at),
        method,
        path: path.to_owned(),
        query,
        headers: request.get("headers").map_or(Ok(HeaderMap::new()), headers)?,
        tenant: optional("tenant")?,
        caller: optional("caller")?,
        body,
        expect: Expect {
            rule: expect.get("rule").map(|node| node.text("rule").map(str::to_owned)).transpose()?,
            level: wanted("level")?.map(|level| level.value),
            asked: wanted("asked")?.map(|level| level.value),
            failure_policy: expect.get("failurePolicy").map(failure_policy).transpose()?,
            refused: expect
                .get("refused")
                .map(|node| word(node, "refused", "refusal", refused))
                .transpose()?,
            sampled: expect.get("sampled").map(|node| node.text("sampled").map(str::to_owned)).transpose()?,
        },
    })
}

/// A mapping of names to a value or a list of values.
fn headers(node: &Node) -> Result<HeaderMap, Fault> {
    let yaml::Value::Map(entries) = &node.value else {
        return Err(node.fault("`headers` is a mapping of names to values"));
    };
    let mut headers = HeaderMap::new();
    for (key, node) in entries {
        let name = HeaderName::from_bytes(key.name.as_bytes())
            .map_err(|_| Fault::new(key.at, format!("`{}` is no header name", shown(&key.name))))?;
        let values = match &node.value {
            yaml::Value::List(items) => items.as_slice(),
            _ => std::slice::from_ref(node),
        };
        for value in values {
            let text = HeaderValue::from_str(value.text("headers")?);
            headers.append(name.clone(), text.map_err(|_| value.fault("no header has this value"))?);
        }
    }
    Ok(headers)
}

fn value_at<'a>(node: &'a Node, pointer: &Pointer) -> Value<'a> {
    let mut at = node;
    for token in pointer.tokens() {
        let below = match &at.value {
            yaml::Value::Map(entries) => {
                entries.iter().find(|(key, _)| key.name == *token).map(|(_, node)| node)
            }
            yaml::Value::List(items) => {
                items.iter().enumerate().find(|(place, _)| place.to_string() == *token).map(|(_, node)| node)
            }
            _ => None,
        };
        match below {
            Some(below) => at = below,
            None => return Value::Absent,
        }
    }
    value(at)
}

fn member<'a>(node: &'a Node, key: &str) -> Option<Value<'a>> {
    let yaml::Value::Map(entries) = &node.value else { return None };
    entries.iter().find(|(name, _)| name.name == key).map(|(_, node)| value(node))
}

fn value(node: &Node) -> Value<'_> {
    match &node.value {
        yaml::Value::Null => Value::Null,
        yaml::Value::Bool(flag) => Value::Bool(*flag),
        yaml::Value::Number(number) => Value::Number(Cow::Borrowed(number)),
        yaml::Value::Text(text) => Value::Text(Cow::Borrowed(text)),
        yaml::Value::List(_) | yaml::Value::Map(_) => Value::Container,
    }
}

#[cfg(test)]
mod tests;
