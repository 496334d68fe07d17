//! Which policy the sidecars of a namespace have in force: each says so at its `colophon-health` port, in its metrics.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use colophon_listen::ask::{KeptClient, ask};
use futures_util::StreamExt as _;
use http::Request;
use http_body_util::Full;
use serde_json::Value;

use crate::sidecar::{HEALTH, NAME, POLICY_VOLUME};
use crate::value::{items, text};

/// Sidecars asked at once: a thousand that do not answer are over within a minute.
const AT_ONCE: usize = 64;
/// One that does not answer within this time is not known.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Metrics are never longer.
const MAX_METRICS: usize = 1 << 20;
/// Longest text of a sidecar's that is shown.
const MAX_TEXT: usize = 64;

const IN_FORCE: &str = "colophon_policy_in_force{";
const REFUSES: &str = "colophon_policy_reload_failed 1";

/// A sidecar that should have the policy in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sidecar {
    /// Its Pod's name.
    pub(crate) pod: String,
    /// Its container's.
    pub(crate) container: String,
    /// Where it says what it has.
    pub(crate) health: Option<SocketAddr>,
}

/// What a sidecar says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Said {
    /// The digest of the policy in force; none where nothing was heard.
    pub(crate) digest: Option<String>,
    /// Its version.
    pub(crate) version: Option<String>,
    /// Why it is not known, or not the newest.
    pub(crate) why: Option<String>,
}

/// The sidecars of a Pod that runs and mounts a ConfigMap as their policy, with that one's name.
pub(crate) fn of_pod(pod: &Value) -> Option<(String, Vec<Sidecar>)> {
    let (metadata, spec) = (&pod["metadata"], &pod["spec"]);
    let runs = pod.pointer("/status/phase").and_then(Value::as_str) == Some("Running");
    if !runs || metadata.get("deletionTimestamp").is_some() {
        return None;
    }
    let volume = items(spec, "volumes").iter().find(|volume| text(volume, "name") == Some(POLICY_VOLUME))?;
    let policy = volume.pointer("/configMap/name").and_then(Value::as_str)?;
    // A Pod on its node's network has the node's address, where anything may listen. The injector refuses such Pods.
    let on_node = spec.get("hostNetwork").and_then(Value::as_bool) == Some(true);
    let address =
        pod.pointer("/status/podIP").and_then(Value::as_str).and_then(|ip| ip.parse::<IpAddr>().ok());
    let address = address.filter(|_| !on_node);
    let containers = items(spec, "initContainers").iter().chain(items(spec, "containers"));
    let sidecars = containers.filter_map(|container| {
        let name = text(container, "name")?;
        let number = name.strip_prefix(NAME)?;
        if !number.is_empty() && number.strip_prefix('-').is_none_or(|number| number.parse::<u16>().is_err())
        {
            return None;
        }
        let port = items(container, "ports").iter().find(|port| text(port, "name") == Some(HEALTH));
        let port = port
            .and_then(|port| port.get("containerPort")?.as_u64())
            .and_then(|port| u16::try_from(port).ok());
        Some(Sidecar {
            pod: text(metadata, "name").unwrap_or_default().to_owned(),
            container: name.to_owned(),
            health: address.zip(port).map(SocketAddr::from),
        })
    });
    Some((policy.to_owned(), sidecars.collect()))
}

/// Asks them all, in their order.
pub(crate) async fn ask_all(client: &KeptClient, sidecars: &[Sidecar]) -> Vec<Said> {
    let all: Vec<_> = sidecars.iter().map(|sidecar| (client.clone(), sidecar.health)).collect();
    let asked = futures_util::stream::iter(all).map(|(client, health)| ask_one(client, health));
    asked.buffered(AT_ONCE).collect().await
}

async fn ask_one(client: KeptClient, health: Option<SocketAddr>) -> Said {
    let unknown = |why: String| Said { why: Some(shown(&why)), ..Said::default() };
    let Some(health) = health else {
        return unknown(format!("no address, or no port {HEALTH}"));
    };
    let Ok(request) = Request::get(format!("http://{health}/metrics")).body(Full::<Bytes>::default()) else {
        return unknown(format!("{health} is no address"));
    };
    match ask(&client, request, TIMEOUT, MAX_METRICS).await {
        Ok(answer) if answer.status().is_success() => said(&String::from_utf8_lossy(answer.body())),
        Ok(answer) => unknown(format!("its metrics: status {}", answer.status().as_u16())),
        Err(error) => unknown(format!("its metrics: {error}")),
    }
}

/// What metrics say of the policy.
fn said(metrics: &str) -> Said {
    let line = metrics.lines().find_map(|line| line.strip_prefix(IN_FORCE));
    // Quotes within a value are escaped: what looks like a label is one.
    let label = |name: &str| {
        let (_, rest) = line?.split_once(&format!("{name}=\""))?;
        let (value, _) = rest.split_once('"')?;
        Some(value.to_owned())
    };
    let digest =
        label("digest").filter(|text| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()));
    let refuses = metrics.lines().any(|line| line == REFUSES);
    let why = match (&digest, refuses) {
        (None, _) => Some("its metrics do not say which policy is in force"),
        (Some(_), true) => Some("it refuses the file: its log says why"),
        (Some(_), false) => None,
    };
    Said { digest, version: label("version").map(|version| shown(&version)), why: why.map(str::to_owned) }
}

fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(MAX_TEXT).collect()
}

#[cfg(test)]
mod tests;
