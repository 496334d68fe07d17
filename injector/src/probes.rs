//! The engine's probes and hooks, which can no longer reach it on the Pod's address.

mod asked;

use serde_json::{Value, json};

use crate::inject::Refusal;
use crate::ports;
use crate::value::{name, text, words};

/// Where `--health` asks the upstream: the path behind it is asked for, nothing behind it is a connection.
const THROUGH: &str = "/upstream";

/// The ports of one rank.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rank {
    /// What clients use.
    pub(crate) client: u16,
    /// Where the engine listens.
    pub(crate) engine: u16,
    /// `--health` of its sidecar.
    pub(crate) health: u16,
    /// `--admin` of its sidecar.
    pub(crate) admin: u16,
}

/// Points httpGet and tcpSocket probes at the sidecars. Returns the paths that they ask for, with the client port of each.
pub(crate) fn move_probes(
    engine: &mut Value,
    ranks: &[Rank],
    warnings: &mut Vec<String>,
) -> Result<Vec<(u16, String)>, Refusal> {
    let mut paths = Vec::new();
    let who = name(engine).to_owned();
    for kind in ["startupProbe", "livenessProbe", "readinessProbe"] {
        let before = engine.clone();
        let Some(probe) = engine.get_mut(kind) else { continue };
        let rank = |action: &Value| {
            let port = ports::resolve(&before, action.get("port")?)?;
            ranks.iter().find(|rank| rank.client == port)
        };
        if let Some((rank, path)) = probe.get("exec").and_then(|exec| {
            let (port, path) = asked::by(&words(exec, "command"))?;
            Some((ranks.iter().find(|rank| rank.client == port)?, path))
        }) {
            warnings.push(format!(
                "the {kind} of `{who}` ran a program that asks for {path} on port {}: it is an httpGet of the same now",
                rank.client
            ));
            if let Some(probe) = probe.as_object_mut() {
                probe.remove("exec");
                probe.insert(
                    "httpGet".into(),
                    json!({"path": format!("{THROUGH}{path}"), "port": rank.health}),
                );
            }
            paths.push((rank.client, path));
        } else if probe.get("exec").is_some_and(|action| !action.is_null()) {
            warnings.push(format!(
                "the {kind} of `{who}` runs a program, which is left as it is: what it asks of 127.0.0.1 on the port of \
                 clients goes through Colophon"
            ));
        } else if let Some(rank) = probe.get("grpc").and_then(rank) {
            return Err(Refusal(format!(
                "the {kind} of `{who}` asks port {} over gRPC, which cannot be passed on: make it an httpGet",
                rank.client
            )));
        } else if let Some((rank, get)) = probe.get("httpGet").and_then(|get| Some((rank(get)?, get.clone())))
        {
            if text(&get, "host").is_some_and(|host| !host.is_empty()) {
                warnings.push(format!("the {kind} of `{who}` asks another host, and is left as it is"));
                continue;
            }
            if text(&get, "scheme") == Some("HTTPS") {
                return Err(Refusal(format!("the {kind} of `{who}` uses HTTPS, and the engine will not")));
            }
            let path = text(&get, "path").filter(|path| !path.is_empty()).unwrap_or("/");
            let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
            // A comma would end the value of --probe-path.
            let path = path.replace(',', "%2C");
            probe["httpGet"]["port"] = json!(rank.health);
            probe["httpGet"]["path"] = json!(format!("{THROUGH}{path}"));
            paths.push((rank.client, path));
        } else if let Some(rank) = probe.get("tcpSocket").and_then(rank)
            && let Some(probe) = probe.as_object_mut()
        {
            probe.remove("tcpSocket");
            probe.insert("httpGet".into(), json!({"path": THROUGH, "port": rank.health}));
        }
    }
    name_hooks(engine, ranks);
    paths.sort();
    paths.dedup();
    Ok(paths)
}

/// Probes that ask the supervisor of ranks, which moves to 127.0.0.1 with them and which no sidecar is in front of.
pub(crate) fn refuse_supervisor(engine: &Value, supervisor: u16) -> Result<(), Refusal> {
    for kind in ["startupProbe", "livenessProbe", "readinessProbe"] {
        let asks = |action: &str| {
            let port = engine.pointer(&format!("/{kind}/{action}/port"))?;
            ports::resolve(engine, port).filter(|port| *port == supervisor)
        };
        if asks("httpGet").or(asks("tcpSocket")).is_some() {
            return Err(Refusal(format!(
                "the {kind} of `{}` asks vLLM's supervisor (port {supervisor}), which will listen on 127.0.0.1 as the ranks do: \
                 let it ask a rank's port",
                name(engine)
            )));
        }
    }
    Ok(())
}

/// Hooks that ask the port of clients go through Colophon as clients do. A name of that port is no longer the engine's.
fn name_hooks(engine: &mut Value, ranks: &[Rank]) {
    let before = engine.clone();
    for hook in ["postStart", "preStop"] {
        for action in ["httpGet", "tcpSocket"] {
            let port = engine.pointer_mut(&format!("/lifecycle/{hook}/{action}/port"));
            let Some(port) = port.filter(|port| port.is_string()) else { continue };
            if let Some(number) =
                ports::resolve(&before, port).filter(|at| ranks.iter().any(|r| r.client == *at))
            {
                *port = json!(number);
            }
        }
    }
}
