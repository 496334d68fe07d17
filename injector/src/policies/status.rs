//! An object's status: what came of it, and which sidecars have which policy in force.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::document::Wrong;
use super::sidecars::{Said, Sidecar};
use crate::value::{items, text};

/// So many sidecars are listed; all are counted. Those that have not the newest policy come first.
const LISTED: usize = 100;

/// This program's version: digests of others' cover other tables of routes.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What came of the ConfigMap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// It has this policy.
    Done,
    /// The policy is wrong: it has the last one that was right.
    Kept,
    /// The policy is wrong, and none was right before.
    Nothing,
    /// The policy is wrong, and so is the ConfigMap: somebody changed it, or an older version took what this one refuses.
    Unreadable,
    /// One of this name is somebody else's.
    Foreign,
    /// The API server says no.
    Refused(String),
}

impl Written {
    fn condition(&self) -> (&'static str, &'static str, String) {
        let (status, reason, message) = match self {
            Written::Done => ("True", "Written", ""),
            Written::Kept => ("False", "Kept", "the ConfigMap has the last policy that was accepted"),
            Written::Nothing => {
                ("False", "NothingAccepted", "there is no ConfigMap: no policy has been accepted yet")
            }
            Written::Unreadable => {
                let message = "what the ConfigMap has is no policy, and none has been accepted to replace it";
                ("False", "Unreadable", message)
            }
            Written::Foreign => {
                let message =
                    "a ConfigMap of this name is not this object's: delete it, or name the object otherwise";
                ("False", "NotOurs", message)
            }
            Written::Refused(why) => return ("False", "Refused", why.clone()),
        };
        (status, reason, message.to_owned())
    }
}

/// How a sidecar stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    Unknown,
    Old,
    Current,
}

impl State {
    fn as_str(self) -> &'static str {
        match self {
            State::Unknown => "unknown",
            State::Old => "old",
            State::Current => "current",
        }
    }
}

/// Judges what a sidecar says, with why it is not the newest where that is known. `digest` is the newest policy's, if there is one.
fn state(said: &Said, digest: Option<&str>) -> (State, Option<String>) {
    let (state, why) = match (&said.digest, digest) {
        (None, _) => (State::Unknown, None),
        (Some(_), None) => {
            (State::Unknown, Some("there is no accepted policy to compare with: see Written".to_owned()))
        }
        (Some(known), Some(digest)) if known == digest => (State::Current, None),
        (Some(_), Some(_)) if said.version.as_deref() == Some(VERSION) => (State::Old, None),
        (Some(_), Some(_)) => {
            let version = said.version.as_deref().unwrap_or("?");
            let why = format!(
                "it is Colophon {version}: digests of another version than {VERSION} cannot be compared"
            );
            (State::Unknown, Some(why))
        }
    };
    let whys: Vec<String> = said.why.iter().cloned().chain(why).collect();
    (state, Some(whys.join("; ")).filter(|why| !why.is_empty()))
}

/// The status of an object, whose old one it has: conditions keep the time of their last change.
pub(super) fn of(
    object: &Value,
    wrong: Option<&Wrong>,
    written: &Written,
    digest: Option<&str>,
    sidecars: &[Sidecar],
    said: &[Said],
    now: Timestamp,
) -> Value {
    let generation = object.pointer("/metadata/generation").cloned().unwrap_or_else(|| json!(0));
    let before = object.get("status").map_or(&[][..], |status| items(status, "conditions"));
    let condition = |kind: &str, (status, reason, message): (&str, &str, String)| {
        let same = |old: &&Value| text(old, "type") == Some(kind) && text(old, "status") == Some(status);
        let since = before.iter().find(same).and_then(|old| text(old, "lastTransitionTime"));
        let since = since.map_or_else(|| format!("{now:.0}"), str::to_owned);
        json!({"type": kind, "status": status, "reason": reason, "message": message, "observedGeneration": generation,
            "lastTransitionTime": since})
    };
    let accepted = match wrong {
        None => ("True", "Valid", String::new()),
        Some(wrong) => ("False", "Invalid", wrong.to_string()),
    };
    let mut all: Vec<_> = sidecars
        .iter()
        .zip(said)
        .map(|(sidecar, said)| {
            let (state, why) = state(said, digest);
            (state, sidecar, said, why)
        })
        .collect();
    let count = |wanted: State| all.iter().filter(|(state, ..)| *state == wanted).count();
    let (current, old, unknown) = (count(State::Current), count(State::Old), count(State::Unknown));
    all.sort_by_key(|(state, sidecar, ..)| (*state, &sidecar.pod, &sidecar.container));
    let listed: Vec<Value> = all
        .iter()
        .take(LISTED)
        .map(|(state, sidecar, said, why)| {
            let mut one =
                json!({"pod": sidecar.pod, "container": sidecar.container, "state": state.as_str()});
            for (key, value) in [("digest", &said.digest), ("version", &said.version), ("why", why)] {
                if let Some(value) = value {
                    one[key] = json!(value);
                }
            }
            one
        })
        .collect();
    let mut status = json!({
        "observedGeneration": generation,
        "conditions": [condition("Accepted", accepted), condition("Written", written.condition())],
        "sidecars": {"current": current, "old": old, "unknown": unknown},
        "pods": listed,
    });
    if let Some(digest) = digest {
        status["digest"] = json!(digest);
    }
    status
}

#[cfg(test)]
mod tests;
