//! Ports of a Pod: which are taken, and those of the engine, which the sidecar takes over.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::inject::Refusal;
use crate::value::{items, name, text};

/// The engine moves to the first ports from here on that nobody has declared: below the range from which Linux takes ports
/// for outgoing connections (32768), which vLLM and SGLang also choose from for themselves.
const ENGINE_FROM: u16 = 4200;
/// Likewise `--health`, and then `--admin`.
const HEALTH_FROM: u16 = 4190;
const ADMIN_FROM: u16 = 4181;

/// A declared port's number.
fn number(port: &Value) -> Option<u16> {
    port.get("containerPort").and_then(Value::as_u64).and_then(|number| u16::try_from(number).ok())
}

fn is_tcp(port: &Value) -> bool {
    text(port, "protocol").is_none_or(|protocol| protocol == "TCP")
}

/// The TCP ports that a container declares.
pub(crate) fn declared(container: &Value) -> Vec<u16> {
    items(container, "ports").iter().filter(|port| is_tcp(port)).filter_map(number).collect()
}

/// The number of a container's port by that name or number.
pub(crate) fn resolve(container: &Value, port: &Value) -> Option<u16> {
    let by_name = |wanted: &str| {
        let found = items(container, "ports").iter().find(|port| text(port, "name") == Some(wanted));
        found.and_then(number)
    };
    match port {
        Value::Number(number) => number.as_u64().and_then(|number| u16::try_from(number).ok()),
        // Kubernetes takes digits in a text for a number only where the API says so; people write them.
        Value::String(wanted) => by_name(wanted).or_else(|| wanted.parse().ok()),
        _ => None,
    }
}

/// Takes the ports in `range` out of the engine container's list.
pub(crate) fn take(engine: &mut Value, range: std::ops::Range<u16>) -> Vec<Value> {
    let Some(ports) = engine.get_mut("ports").and_then(Value::as_array_mut) else { return Vec::new() };
    let ours = |port: &Value| is_tcp(port) && number(port).is_some_and(|number| range.contains(&number));
    let taken = ports.iter().filter(|port| ours(port)).cloned().collect();
    ports.retain(|port| !ours(port));
    if ports.is_empty()
        && let Some(engine) = engine.as_object_mut()
    {
        engine.remove("ports");
    }
    taken
}

/// Who has which port, and which are given out here.
pub(crate) struct Taken(BTreeSet<u16>);

impl Taken {
    /// All that the Pod's containers declare, besides the engine's own client ports, which must be nobody else's.
    pub(crate) fn of(pod: &Value, engine: &str, clients: std::ops::Range<u16>) -> Result<Taken, Refusal> {
        let mut taken: BTreeSet<u16> = clients.clone().collect();
        let spec = pod.get("spec").unwrap_or(&Value::Null);
        for container in items(spec, "containers").iter().chain(items(spec, "initContainers")) {
            for port in declared(container) {
                if name(container) != engine && clients.contains(&port) {
                    return Err(Refusal(format!(
                        "port {port} of the engine `{engine}` is also declared by the container `{}`",
                        name(container)
                    )));
                }
                taken.insert(port);
            }
        }
        Ok(Taken(taken))
    }

    /// Takes the first `count` ports in a row that are free, from `from` on.
    fn row(&mut self, from: u16, count: u16) -> Result<u16, Refusal> {
        let fits = |first: &u16| (*first..first.saturating_add(count)).all(|port| !self.0.contains(&port));
        let first = (from..u16::MAX - count).find(fits);
        let first = first.ok_or_else(|| Refusal(format!("no {count} free ports from {from} on")))?;
        self.0.extend(first..first + count);
        Ok(first)
    }

    pub(crate) fn engine(&mut self, count: u16) -> Result<u16, Refusal> {
        self.row(ENGINE_FROM, count)
    }

    pub(crate) fn health(&mut self) -> Result<u16, Refusal> {
        self.row(HEALTH_FROM, 1)
    }

    pub(crate) fn admin(&mut self) -> Result<u16, Refusal> {
        self.row(ADMIN_FROM, 1)
    }

    /// Marks ports as somebody's.
    pub(crate) fn add(&mut self, ports: std::ops::Range<u16>) {
        self.0.extend(ports);
    }
}
