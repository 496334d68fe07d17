mod canonical;
mod decisions;
mod errors;
mod language;
mod reference;
mod schema;
mod spellings;

use crate::{Body, Content, Decision, Head, Policy, Route, Value, identify};
use http::{HeaderMap, HeaderName, HeaderValue, Method};

/// A request head that owns its parts.
#[derive(Debug)]
struct Request {
    method: Method,
    path: String,
    headers: HeaderMap,
    query: Option<String>,
    tenant: Option<&'static str>,
    caller: Option<&'static str>,
    /// The body is known where the model is.
    model: Option<String>,
    stream: bool,
    values: Vec<Value<'static>>,
    route: Route,
}

impl Request {
    fn new(method: &str, path: &str) -> Request {
        let method: Method = method.parse().unwrap();
        let route = identify(&method, path);
        Request {
            method,
            path: path.to_owned(),
            headers: HeaderMap::new(),
            query: None,
            tenant: None,
            caller: None,
            model: None,
            stream: false,
            values: Vec::new(),
            route,
        }
    }

    fn header(mut self, name: &str, value: &str) -> Request {
        self.headers.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap());
        self
    }

    fn model(mut self, model: &str) -> Request {
        self.model = Some(model.to_owned());
        self
    }

    fn head(&self) -> Head<'_> {
        let body = match &self.model {
            Some(model) => {
                Body::Read(Content { model: Some(model), stream: Some(self.stream), values: &self.values })
            }
            None if self.method == Method::GET || self.method == Method::HEAD => Body::Empty,
            None => Body::Unread,
        };
        Head {
            method: &self.method,
            path: &self.path,
            query: self.query.as_deref(),
            headers: &self.headers,
            route: &self.route,
            tenant: self.tenant,
            caller: self.caller,
            body,
        }
    }

    fn decide(&self, policy: &Policy) -> Decision {
        policy.decide(&self.head())
    }
}

/// A policy with these lines under `spec`.
fn policy(spec: &str) -> Policy {
    Policy::parse(&file(spec), "test.yaml").unwrap_or_else(|error| panic!("{error}"))
}

pub(crate) fn file(spec: &str) -> String {
    let indented: String = spec.lines().map(|line| format!("  {line}\n")).collect();
    format!(
        "apiVersion: colophon.dev/v1alpha1\nkind: ProvenancePolicy\nmetadata: {{name: test}}\nspec:\n{indented}"
    )
}
