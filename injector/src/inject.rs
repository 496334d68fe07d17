//! The function from a Pod to the same Pod with Colophon in it.

use serde_json::{Value, json};

use crate::asked::{self, Asked, LOG_CA, Label};
use crate::engine::{self, Kind, Options};
use crate::ports::{self, Taken};
use crate::probes::{Rank, move_probes, refuse_supervisor};
use crate::settings::Settings;
use crate::sidecar::{NAME, Sidecar, is_guaranteed};
use crate::value::{array, items, map, name, text};
use crate::{INJECTED, LABEL};

/// A Pod's time to end where it says none, in seconds.
const GRACE: u64 = 30;
/// What the sidecar has beyond the engine's: its last batch takes up to 10 s.
const GRACE_BEYOND: u64 = 15;

/// Whose wish an injection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// The Pod has the label.
    Labelled,
    /// Somebody gave us the manifest: all Pods with a known engine that do not say no.
    Asked,
}

/// Why a Pod that asks for Colophon does not get it, for whoever wrote the Pod.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refusal(pub(crate) String);

/// What became of a Pod.
#[derive(Clone, Debug, PartialEq)]
pub enum Injection {
    /// It has Colophon now.
    Done {
        /// The whole Pod.
        pod: Value,
        /// What its author should know.
        warnings: Vec<String>,
    },
    /// It stays as it is, for this reason.
    Unchanged(&'static str),
}

/// Puts Colophon into a Pod, or a template of Pods. The same for the same input, and nothing for a Pod that has it already.
///
/// # Errors
/// The Pod asks for it, and nothing safe can be done; the text says what to change.
pub fn inject(pod: &Value, settings: &Settings, when: When) -> Result<Injection, Refusal> {
    let label = asked::label(pod)?;
    match (label, when) {
        (Label::Disabled, _) => return Ok(Injection::Unchanged("it says no")),
        (Label::Absent, When::Labelled) => return Ok(Injection::Unchanged("it does not ask")),
        _ => {}
    }
    if has_colophon(pod) {
        return Ok(Injection::Unchanged("it has Colophon already"));
    }
    let asked = asked::annotations(pod)?;
    let Some(engine) = engine::find(pod, &asked)? else {
        if label == Label::Absent {
            return Ok(Injection::Unchanged("no engine is known in it"));
        }
        return Err(Refusal(
            "no container is known to be vLLM, TGI, llama.cpp or SGLang by its image or command: name it with \
             colophon.dev/engine-container, and its port with colophon.dev/engine-port"
                .into(),
        ));
    };
    refuse_pod(pod)?;
    let mut pod = pod.clone();
    let mut warnings = Vec::new();
    for key in &asked.unknown {
        warnings.push(format!("the annotation {key} means nothing here"));
    }
    put(&mut pod, engine.index, engine.kind, &asked, settings, &mut warnings)?;
    Ok(Injection::Done { pod, warnings })
}

/// Whether somebody, we or a person, has put it there.
fn has_colophon(pod: &Value) -> bool {
    let spec = pod.get("spec").unwrap_or(&Value::Null);
    let mut all = items(spec, "containers").iter().chain(items(spec, "initContainers"));
    all.any(|container| text(container, "name") == Some(NAME))
}

/// Pods of kinds that nothing can be done with.
fn refuse_pod(pod: &Value) -> Result<(), Refusal> {
    let spec = pod.get("spec").unwrap_or(&Value::Null);
    if spec.get("hostNetwork") == Some(&Value::Bool(true)) {
        return Err(Refusal(
            "with hostNetwork the engine would stay reachable from the node and its other Pods: run Colophon as a gateway"
                .into(),
        ));
    }
    let os = spec.pointer("/os/name").and_then(Value::as_str);
    let selected =
        spec.get("nodeSelector").and_then(|labels| labels.get("kubernetes.io/os")).and_then(Value::as_str);
    if [os, selected].contains(&Some("windows")) {
        return Err(Refusal("Colophon does not run on Windows".into()));
    }
    let mut ours = items(spec, "volumes").iter().filter_map(|volume| text(volume, "name"));
    if let Some(taken) = ours.find(|name| name.starts_with("colophon-")) {
        return Err(Refusal(format!("it has a volume `{taken}` already, a name that Colophon needs")));
    }
    Ok(())
}

fn put(
    pod: &mut Value,
    at: usize,
    kind: Option<Kind>,
    asked: &Asked,
    settings: &Settings,
    warnings: &mut Vec<String>,
) -> Result<(), Refusal> {
    let mut engine =
        items(pod.get("spec").unwrap_or(&Value::Null), "containers").get(at).cloned().unwrap_or_default();
    let who = name(&engine).to_owned();
    let listening = engine::listening(&engine, kind, asked)?;
    let ranks = ranks(pod, &who, &listening)?;
    let clients = listening.clients..listening.clients + listening.ranks;
    if let Some(port) = kind.and_then(|kind| kind.supervisor_port(&engine)) {
        refuse_supervisor(&engine, port)?;
    }
    let paths = move_probes(&mut engine, &ranks, warnings)?;
    let mut declared = ports::take(&mut engine, clients);
    match (listening.options, kind) {
        (Options::Moved, Some(kind)) => kind.move_to(&mut engine, ranks[0].engine),
        _ => warnings.push(format!(
            "the options of `{who}` are left as they are: it has to listen on 127.0.0.1:{}, or clients can go around \
             Colophon",
            ranks[0].engine
        )),
    }
    let guaranteed = is_guaranteed(pod);
    let grace = pod.pointer("/spec/terminationGracePeriodSeconds").and_then(Value::as_u64).unwrap_or(GRACE);
    let mut sidecars = Vec::new();
    for (number, rank) in ranks.iter().copied().enumerate() {
        let (own, others) =
            declared.into_iter().partition(|port| port.get("containerPort") == Some(&json!(rank.client)));
        declared = others;
        let probe_paths =
            paths.iter().filter(|(port, _)| *port == rank.client).map(|(_, path)| path.clone()).collect();
        sidecars.push(Sidecar {
            settings,
            asked,
            rank,
            number,
            ports: own,
            probe_paths,
            drain: grace,
            guaranteed,
        });
    }
    warn(pod, &sidecars, warnings);
    let native = settings.native();
    let volumes = sidecars.first().map(Sidecar::volumes).unwrap_or_default();
    let containers: Vec<_> = sidecars.iter().map(|sidecar| sidecar.container(native)).collect();
    write(pod, at, engine, containers, volumes, native, grace + GRACE_BEYOND, settings)
        .ok_or_else(|| Refusal("its metadata or spec are not of a Pod's form".into()))
}

/// The ports of each rank.
fn ranks(pod: &Value, engine: &str, at: &engine::Listening) -> Result<Vec<Rank>, Refusal> {
    let count = at.ranks;
    let beyond = |first: u16| first.checked_add(count).is_none();
    if beyond(at.clients) {
        return Err(Refusal(format!("{count} ports from {} on are more than there are", at.clients)));
    }
    let mut taken = Taken::of(pod, engine, at.clients..at.clients + count)?;
    let first = match at.options {
        Options::Left(port) if beyond(port) => {
            return Err(Refusal(format!("{count} ports from {port} on are more than there are")));
        }
        Options::Left(port) => port,
        Options::Moved => taken.engine(count)?,
    };
    taken.add(first..first + count);
    (0..count)
        .map(|n| {
            let (health, admin) = (taken.health()?, taken.admin()?);
            Ok(Rank { client: at.clients + n, engine: first + n, health, admin })
        })
        .collect()
}

/// What the author may not have thought of.
fn warn(pod: &Value, sidecars: &[Sidecar<'_>], warnings: &mut Vec<String>) {
    let Some(sidecar) = sidecars.first() else { return };
    if sidecar.settings.log.is_none() {
        warnings.push("no log is set: each Pod keeps its own, which is gone with the Pod's data".into());
    } else if sidecar.claim().is_none() && sidecar.settings.store.is_none() {
        warnings.push(
            "records and openings are on an emptyDir: receipts not fetched by then are gone with the Pod"
                .into(),
        );
    }
    let ends =
        matches!(pod.pointer("/spec/restartPolicy").and_then(Value::as_str), Some("Never" | "OnFailure"));
    if ends && !sidecar.settings.native() {
        warnings.push(
            "the Pod is one that ends, and will not while Colophon runs: that takes native sidecars, which `kubernetes` in \
             the settings has to allow"
                .into(),
        );
    }
    if sidecar.claim().is_some() && pod.pointer("/spec/securityContext/fsGroup").is_none() {
        warnings.push(
            "the claim has to be writable for user 65532: set fsGroup in the Pod's securityContext".into(),
        );
    }
}

#[allow(clippy::too_many_arguments)]
fn write(
    pod: &mut Value,
    at: usize,
    engine: Value,
    sidecars: Vec<Value>,
    volumes: Vec<Value>,
    native: bool,
    grace: u64,
    settings: &Settings,
) -> Option<()> {
    let annotations = map(map_value(pod, "metadata")?, "annotations")?;
    annotations.insert(INJECTED.into(), json!(env!("CARGO_PKG_VERSION")));
    if let Some(ca) = settings.log.as_ref().and_then(|log| log.ca.as_ref()) {
        annotations.insert(LOG_CA.into(), json!(ca));
    }
    map(map_value(pod, "metadata")?, "labels")?.insert(LABEL.into(), json!("enabled"));
    let spec = pod.get_mut("spec")?;
    *array(spec, "containers")?.get_mut(at)? = engine;
    array(spec, if native { "initContainers" } else { "containers" })?.extend(sidecars);
    array(spec, "volumes")?.extend(volumes);
    if !settings.image_pull_secrets.is_empty() {
        let secrets = array(spec, "imagePullSecrets")?;
        for secret in &settings.image_pull_secrets {
            let secret = json!({"name": secret});
            if !secrets.contains(&secret) {
                secrets.push(secret);
            }
        }
    }
    spec.as_object_mut()?.insert("terminationGracePeriodSeconds".into(), json!(grace));
    Some(())
}

/// A member that is a map, as a value.
fn map_value<'a>(of: &'a mut Value, name: &str) -> Option<&'a mut Value> {
    map(of, name)?;
    of.get_mut(name)
}

#[cfg(test)]
mod tests;
