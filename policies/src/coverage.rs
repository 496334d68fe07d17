//! Which routes of a server fall to which rule.

use crate::api::Api;
use crate::decide::Decision;
use crate::head::{Body, Head};
use crate::matching::Fit;
use crate::policy::Policy;
use crate::routes::identify;
use colophon_receipt::Level;
use http::{HeaderMap, Method};
use serde::Serialize;
use std::sync::Arc;

/// A route of a server, and what a policy says of it where nothing else is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Covered {
    /// The method.
    pub method: Method,
    /// The path; `{name}` stands for one segment.
    pub path: String,
    /// What it is.
    pub api: Api,
    /// The same, finer.
    pub operation: Arc<str>,
    /// The answer carries what a model computed.
    pub generating: bool,
    /// What is decided if the body is not known.
    pub decision: Decision,
    /// The rules that may match, by the body; then the one that matches if none of these does.
    pub rules: Vec<Arc<str>>,
    /// Whether one of these rules passes: then some bodies leave no record.
    pub may_pass: bool,
}

/// A route as a server documents it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct ServerRoute {
    /// The method, in capitals.
    pub method: String,
    /// The path; `{name}` stands for one segment.
    pub path: String,
}

/// Reads the routes out of an OpenAPI document.
///
/// # Errors
/// It is no JSON, or has no `paths`.
pub fn openapi_routes(document: &[u8]) -> Result<Vec<ServerRoute>, String> {
    let document: serde_json::Value =
        serde_json::from_slice(document).map_err(|error| format!("not JSON: {error}"))?;
    let paths = document.get("paths").and_then(|paths| paths.as_object());
    let paths = paths.ok_or("no OpenAPI document: it has no `paths`")?;
    let methods = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];
    let mut routes = Vec::new();
    for (path, operations) in paths {
        let named = methods.iter().filter(|method| operations.get(method).is_some());
        routes.extend(
            named.map(|method| ServerRoute { method: method.to_ascii_uppercase(), path: path.clone() }),
        );
    }
    routes.sort();
    Ok(routes)
}

impl Policy {
    /// What is said of each route, without any header and with a body that is not known. Methods that are none are left out.
    pub fn coverage(&self, routes: &[ServerRoute]) -> Vec<Covered> {
        routes.iter().filter_map(|route| self.covered(route)).collect()
    }

    fn covered(&self, server_route: &ServerRoute) -> Option<Covered> {
        let method: Method = server_route.method.parse().ok()?;
        let segments = server_route.path.split('/');
        let plain =
            |segment: &str| if segment.starts_with('{') { "_".to_owned() } else { segment.to_owned() };
        let path = segments.map(plain).collect::<Vec<String>>().join("/");
        let route = identify(&method, &path);
        let bodiless = matches!(method, Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE);
        let headers = HeaderMap::new();
        let head = Head {
            method: &method,
            path: &path,
            query: None,
            headers: &headers,
            route: &route,
            tenant: None,
            caller: None,
            body: if bodiless { Body::Empty } else { Body::Unread },
        };
        let explanation = self.explain(&head);
        let mut rules: Vec<Arc<str>> = explanation
            .steps
            .iter()
            .filter(|step| step.fit != Fit::No)
            .map(|step| Arc::from(&*step.rule))
            .collect();
        if explanation.steps.last().is_none_or(|step| step.fit != Fit::Yes) {
            rules.push(Arc::from(crate::decide::DEFAULT_RULE));
        }
        let decision = explanation.decision;
        let mut all = self.rules.iter().chain([&self.default]);
        let may_pass = all.any(|rule| rule.level == Level::Pass && rules.contains(&rule.name));
        Some(Covered {
            method: method.clone(),
            path: server_route.path.clone(),
            api: route.api,
            operation: route.operation.clone(),
            generating: route.generating,
            decision,
            rules,
            may_pass,
        })
    }
}

impl Covered {
    /// Whether this wants a look: a generating route that passes, if only with some bodies, or a route that no profile names.
    pub fn doubtful(&self) -> bool {
        self.api == Api::Unknown || (self.generating && self.may_pass)
    }
}

#[cfg(test)]
mod tests;
