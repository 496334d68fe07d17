//! What a Pod asks for: its label and annotations.

use serde_json::Value;

use crate::inject::Refusal;
use crate::value::meta;
use crate::{INJECTED, LABEL};

const ENGINE_CONTAINER: &str = "colophon.dev/engine-container";
const PORT: &str = "colophon.dev/port";
const ENGINE_PORT: &str = "colophon.dev/engine-port";
const RANKS: &str = "colophon.dev/ranks";
const POLICY: &str = "colophon.dev/policy";
const DATA_CLAIM: &str = "colophon.dev/data-claim";
/// The CA of the log, for the sidecar to read. Not for people.
pub(crate) const LOG_CA: &str = "colophon.dev/log-ca";

const KNOWN: [&str; 8] = [ENGINE_CONTAINER, PORT, ENGINE_PORT, RANKS, POLICY, DATA_CLAIM, LOG_CA, INJECTED];

/// No node has more accelerators by far.
pub(crate) const MOST_RANKS: u16 = 64;

/// The label's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Label {
    Absent,
    Enabled,
    Disabled,
}

/// The annotations.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    /// The container that the engine is.
    pub(crate) engine_container: Option<String>,
    /// The port that clients use: a number, or the name of a port of that container.
    pub(crate) port: Option<String>,
    /// Where the engine listens already, so that its arguments are left alone.
    pub(crate) engine_port: Option<u16>,
    /// How many ports one after the other it has: one for each rank. `None` where nobody says.
    pub(crate) ranks: Option<u16>,
    /// The ConfigMap of the policy.
    pub(crate) policy: Option<String>,
    /// The claim of the data folder.
    pub(crate) data_claim: Option<String>,
    /// Annotations with our prefix that mean nothing.
    pub(crate) unknown: Vec<String>,
}

/// Reads the label.
pub(crate) fn label(pod: &Value) -> Result<Label, Refusal> {
    match meta(pod, "labels", LABEL) {
        None | Some(Value::Null) => Ok(Label::Absent),
        Some(Value::String(value)) if value == "enabled" || value == "true" => Ok(Label::Enabled),
        Some(Value::String(value)) if value == "disabled" || value == "false" => Ok(Label::Disabled),
        Some(other) => Err(Refusal(format!("the label {LABEL} is {other}: it may be enabled or disabled"))),
    }
}

/// Reads the annotations.
pub(crate) fn annotations(pod: &Value) -> Result<Asked, Refusal> {
    let text = |key: &str| match meta(pod, "annotations", key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if !text.trim().is_empty() => Ok(Some(text.trim().to_owned())),
        Some(other) => Err(Refusal(format!("the annotation {key} is {other}, and has to be text"))),
    };
    let engine_port = match text(ENGINE_PORT)? {
        None => None,
        Some(port) => Some(number(ENGINE_PORT, &port)?),
    };
    let ranks = match text(RANKS)? {
        None => None,
        Some(ranks) => Some(number(RANKS, &ranks)?),
    };
    if let Some(ranks) = ranks.filter(|ranks| *ranks > MOST_RANKS) {
        return Err(Refusal(format!("the annotation {RANKS} is {ranks}, and may be {MOST_RANKS} at most")));
    }
    let all = pod.get("metadata").and_then(|meta| meta.get("annotations")).and_then(Value::as_object);
    let ours = all.into_iter().flatten().map(|(key, _)| key).filter(|key| key.starts_with("colophon.dev/"));
    let unknown = ours.filter(|key| !KNOWN.contains(&key.as_str())).take(5).cloned().collect();
    Ok(Asked {
        engine_container: text(ENGINE_CONTAINER)?,
        port: text(PORT)?,
        engine_port,
        ranks,
        policy: text(POLICY)?,
        data_claim: text(DATA_CLAIM)?,
        unknown,
    })
}

fn number(key: &str, text: &str) -> Result<u16, Refusal> {
    let parsed = text.parse::<u16>().ok().filter(|number| *number > 0);
    parsed.ok_or_else(|| {
        Refusal(format!("the annotation {key} is \"{text}\", and has to be a number from 1 to 65535"))
    })
}
