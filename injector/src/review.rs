//! AdmissionReview v1: the API server's question about one object, and the answer.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::inject::{Injection, When, inject};
use crate::patch;
use crate::policies;
use crate::settings::Settings;

const API: &str = "admission.k8s.io/v1";
const KIND: &str = "AdmissionReview";
/// The API server cuts warnings off that are longer.
const MAX_WARNING: usize = 250;
/// An object's name and its namespace's.
const MAX_UID: usize = 253;

/// What happens to a Pod that asks for Colophon and cannot have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It is refused.
    Required,
    /// It runs without, and whoever made it is warned.
    Enabled,
}

/// Why a review has no answer.
#[derive(Debug, thiserror::Error)]
pub enum Malformed {
    /// Not JSON, or not of a review's form.
    #[error("no AdmissionReview: {0}")]
    Form(#[from] serde_json::Error),
    /// JSON of something else.
    #[error("this is {0} of {1}, and has to be {KIND} of {API}")]
    Other(String, String),
    /// A review with nothing in it.
    #[error("the review has no request")]
    Empty,
    /// An id that cannot be one.
    #[error("the request's uid is empty or longer than {MAX_UID} bytes")]
    Uid,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Review {
    api_version: String,
    kind: String,
    request: Option<Request>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    uid: String,
    kind: GroupVersionKind,
    #[serde(default)]
    sub_resource: Option<String>,
    operation: String,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    object: Value,
    #[serde(default)]
    old_object: Value,
}

#[derive(Deserialize)]
struct GroupVersionKind {
    group: String,
    version: String,
    kind: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    api_version: &'static str,
    kind: &'static str,
    response: Response<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Response<'a> {
    uid: &'a str,
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status>,
}

#[derive(Serialize)]
struct Status {
    code: u16,
    message: String,
}

impl<'a> Response<'a> {
    /// It may be as it is.
    fn allowed(request: &'a Request) -> Response<'a> {
        let uid = &request.uid;
        Response { uid, allowed: true, patch_type: None, patch: None, warnings: Vec::new(), status: None }
    }

    fn refuse(&mut self, code: u16, why: &dyn std::fmt::Display) {
        self.allowed = false;
        self.status = Some(Status { code, message: format!("colophon: {why}") });
    }
}

/// Answers a review of a Pod. It changes nothing anywhere, so that a dry run is like any other.
///
/// # Errors
/// What was sent is no review.
pub fn answer(review: &[u8], settings: &Settings, mode: Mode) -> Result<Vec<u8>, Malformed> {
    answered(review, |request| inject_into(request, settings, mode))
}

/// Answers a review of a `ProvenancePolicy`: a wrong one is refused, with what is wrong.
///
/// # Errors
/// What was sent is no review.
pub fn answer_policy(review: &[u8]) -> Result<Vec<u8>, Malformed> {
    answered(review, judge)
}

fn answered(
    review: &[u8],
    decide: impl for<'a> FnOnce(&'a Request) -> Response<'a>,
) -> Result<Vec<u8>, Malformed> {
    let review: Review = serde_json::from_slice(review)?;
    if review.api_version != API || review.kind != KIND {
        return Err(Malformed::Other(shown(&review.kind), shown(&review.api_version)));
    }
    let request = review.request.ok_or(Malformed::Empty)?;
    if request.uid.is_empty() || request.uid.len() > MAX_UID {
        return Err(Malformed::Uid);
    }
    let response = decide(&request);
    Ok(serde_json::to_vec(&Answer { api_version: API, kind: KIND, response })?)
}

fn judge(request: &Request) -> Response<'_> {
    let mut response = Response::allowed(request);
    let written =
        matches!(request.operation.as_str(), "CREATE" | "UPDATE") && request.kind.kind == policies::KIND;
    // Labels and finalizers of one that is wrong can be changed.
    let unchanged =
        request.operation == "UPDATE" && request.object.get("spec") == request.old_object.get("spec");
    if written
        && !unchanged
        && let Err(wrong) = policies::judge(&request.object)
    {
        tracing::warn!(namespace = shown(&request.namespace), %wrong, "a policy is refused");
        response.refuse(422, &wrong);
    }
    response
}

fn inject_into<'a>(request: &'a Request, settings: &Settings, mode: Mode) -> Response<'a> {
    let mut response = Response::allowed(request);
    let GroupVersionKind { group, version, kind } = &request.kind;
    let is_pod = (group.as_str(), version.as_str(), kind.as_str()) == ("", "v1", "Pod");
    let whole = request.sub_resource.as_deref().is_none_or(str::is_empty);
    if !is_pod || !whole || request.operation != "CREATE" {
        return response;
    }
    let namespace = shown(&request.namespace);
    match inject(&request.object, settings, When::Labelled) {
        Ok(Injection::Unchanged(why)) => tracing::debug!(namespace, why, "a Pod stays as it is"),
        Ok(Injection::Done { pod, warnings }) => {
            tracing::info!(namespace, "a Pod has Colophon");
            let patch = serde_json::to_vec(&patch::between(&request.object, &pod)).unwrap_or_default();
            response.patch_type = Some("JSONPatch");
            response.patch = Some(BASE64_STANDARD.encode(patch));
            response.warnings = warnings.iter().map(|text| warning(text)).collect();
        }
        Err(refusal) => {
            tracing::warn!(namespace, why = %refusal, ?mode, "a Pod asks for Colophon and cannot have it");
            match mode {
                Mode::Required => response.refuse(403, &refusal),
                Mode::Enabled => {
                    let first = "this Pod asks for Colophon and runs without it; the next warning says why";
                    response.warnings = vec![warning(first), warning(&refusal.to_string())];
                }
            }
        }
    }
    response
}

/// A warning as the API server passes it on whole: one line, not too long.
fn warning(text: &str) -> String {
    let line: String = text.chars().filter(|c| !c.is_control()).collect();
    let mut cut = format!("colophon: {line}");
    if cut.len() > MAX_WARNING {
        let end = (0..=MAX_WARNING - 4).rev().find(|at| cut.is_char_boundary(*at)).unwrap_or(0);
        cut.truncate(end);
        cut.push('…');
    }
    cut
}

/// Text from outside, for a line of a log or a message.
fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(64).collect()
}

#[cfg(test)]
mod tests;
