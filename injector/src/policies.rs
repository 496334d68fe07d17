//! Objects of kind `ProvenancePolicy`: each becomes the ConfigMap that Pods name, and its status says what was wrong with it,
//! or which sidecars have it in force.
//!
//! Several may run at once, without electing one: what is written follows from what is read, a ConfigMap and a status are
//! replaced only if they are still the ones that were read, and who was slower looks again at its next round. Everything is
//! looked at in every round, so that nothing depends on an event that was missed.
//!
//! ConfigMaps come first: sidecars that do not answer hold up what statuses say of them, and no policy.

mod api;
mod document;
mod sidecars;
mod status;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::value::{items, text};
use api::{Api, ApiError, ApiOptions};
use document::{Accepted, FILE, Wrong};
use sidecars::Sidecar;
use status::Written;

pub(crate) use document::judge;

/// What an object's `apiVersion` says,
const GROUP: &str = "colophon.dev/v1alpha1";
/// and its `kind`.
pub(crate) const KIND: &str = "ProvenancePolicy";
const PLURAL: &str = "provenancepolicies";

/// Pods that ask for a sidecar and run.
const PODS: &str = "&labelSelector=colophon.dev%2Finject&fieldSelector=status.phase%3DRunning";

/// After rounds that failed, the next one waits for this long at most.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// Whether policies are looked after, and how.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// With --listen: make a ConfigMap of each ProvenancePolicy, and say in its status which sidecars have it in force
    #[arg(long, requires = "listen")]
    pub policies: bool,
    /// Only those in these namespaces [default: in all]
    #[arg(long, value_name = "NAME", value_delimiter = ',', requires = "policies")]
    pub policies_namespace: Vec<String>,
    /// How often they and their sidecars are looked at, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub policies_every: u64,
    /// Where the API server is.
    #[command(flatten)]
    pub api: ApiOptions,
}

/// Looks after policies until `stop`.
///
/// # Errors
/// It is not known where the API server is, or its CA cannot be read. What fails later is logged, and tried again.
pub async fn follow(options: &Options, stop: CancellationToken) -> anyhow::Result<()> {
    let api = Api::new(&options.api)?;
    tracing::info!(namespaces = ?options.policies_namespace, every = options.policies_every, "policies are looked after");
    tokio::select! {
        () = stop.cancelled() => {}
        () = look_after(&api, options) => {}
    }
    Ok(())
}

async fn look_after(api: &Api, options: &Options) {
    let (newest, seen) = watch::channel(Arc::default());
    tokio::join!(write_all(api, options, newest), tell_all(api, seen));
}

/// A policy whose ConfigMap was seen to.
struct Looked {
    /// The object without its spec, and with what of its metadata a server asks for to replace a status.
    object: Value,
    name: String,
    wrong: Option<Wrong>,
    written: Written,
    /// Of the policy in the ConfigMap.
    digest: Option<String>,
}

/// Policies by their namespaces.
type Policies = BTreeMap<String, Vec<Looked>>;

/// Sees to all ConfigMaps, again and again.
async fn write_all(api: &Api, options: &Options, newest: watch::Sender<Arc<Policies>>) {
    let every = Duration::from_secs(options.policies_every);
    let mut wait = Duration::ZERO;
    loop {
        tokio::time::sleep(wait).await;
        wait = match round(api, &options.policies_namespace).await {
            Ok(policies) => {
                newest.send_replace(Arc::new(policies));
                every
            }
            Err(error) => {
                let longer = (wait.max(every) * 2).min(LONGEST_WAIT.max(every));
                tracing::warn!(%error, wait = longer.as_secs(), "policies could not be looked at");
                longer
            }
        };
    }
}

/// Sees to all ConfigMaps. A namespace that cannot be listed, deleted perhaps, takes nothing from the others.
///
/// # Errors
/// None can be listed.
async fn round(api: &Api, namespaces: &[String]) -> Result<Policies, ApiError> {
    let all = [format!("/apis/{GROUP}/{PLURAL}")];
    let of_namespaces =
        namespaces.iter().map(|namespace| format!("/apis/{GROUP}/namespaces/{namespace}/{PLURAL}"));
    let paths: Vec<String> = if namespaces.is_empty() { all.into() } else { of_namespaces.collect() };
    let mut policies = Policies::new();
    let (mut listed, mut failed) = (0, None);
    for path in paths {
        match write_listed(api, path.clone(), &mut policies).await {
            Ok(()) => listed += 1,
            Err(error) => {
                tracing::warn!(path, %error, "policies could not be listed");
                failed = Some(error);
            }
        }
    }
    match failed {
        Some(error) if listed == 0 => Err(error),
        _ => Ok(policies),
    }
}

async fn write_listed(api: &Api, path: String, policies: &mut Policies) -> Result<(), ApiError> {
    let mut pages = api.list(path, "");
    while let Some(page) = pages.next().await? {
        for mut object in page {
            // A list says once what all of it is.
            object["apiVersion"] = json!(GROUP);
            object["kind"] = json!(KIND);
            let metadata = object["metadata"].clone();
            let (Some(namespace), Some(name)) = (text(&metadata, "namespace"), text(&metadata, "name"))
            else {
                continue;
            };
            if metadata.get("deletionTimestamp").is_some() {
                continue;
            }
            let judged = judge(&object);
            match configure(api, &object, namespace, name, judged.as_ref().ok()).await {
                Ok((written, digest)) => policies.entry(namespace.to_owned()).or_default().push(Looked {
                    object: without_spec(&object),
                    name: name.to_owned(),
                    wrong: judged.err(),
                    written,
                    digest,
                }),
                Err(error) => log_failure(namespace, name, &error),
            }
        }
    }
    Ok(())
}

fn log_failure(namespace: &str, name: &str, error: &ApiError) {
    if error.is_conflict() {
        tracing::debug!(namespace, name, "somebody was faster");
    } else {
        tracing::warn!(namespace, name, %error, "a policy could not be looked after");
    }
}

/// What a server takes of an object whose status is replaced; the rest stays as it has it. Many objects are held at once,
/// and a spec or an annotation may have a megabyte.
fn without_spec(object: &Value) -> Value {
    let mut slim = json!({"apiVersion": GROUP, "kind": KIND, "metadata": {}});
    for key in ["name", "namespace", "uid", "resourceVersion", "generation"] {
        if let Some(value) = object["metadata"].get(key) {
            slim["metadata"][key] = value.clone();
        }
    }
    if let Some(status) = object.get("status") {
        slim["status"] = status.clone();
    }
    slim
}

/// Says in the statuses how it stands, of the newest policies each time.
async fn tell_all(api: &Api, mut seen: watch::Receiver<Arc<Policies>>) {
    while seen.changed().await.is_ok() {
        let policies = seen.borrow_and_update().clone();
        for (namespace, policies) in policies.iter() {
            if let Err(error) = tell(api, namespace, policies).await {
                tracing::warn!(namespace, %error, "the sidecars of policies could not be looked at");
            }
        }
    }
}

/// Asks all sidecars of a namespace, once for all its policies, and replaces the statuses that change.
async fn tell(api: &Api, namespace: &str, policies: &[Looked]) -> Result<(), ApiError> {
    let places: HashMap<&str, usize> =
        policies.iter().enumerate().map(|(place, looked)| (looked.name.as_str(), place)).collect();
    let mut sidecars: Vec<Vec<Sidecar>> = vec![Vec::new(); policies.len()];
    let mut pods = api.list(format!("/api/v1/namespaces/{namespace}/pods"), PODS);
    while let Some(page) = pods.next().await? {
        for (policy, of_pod) in page.iter().filter_map(sidecars::of_pod) {
            if let Some(&place) = places.get(policy.as_str()) {
                sidecars[place].extend(of_pod);
            }
        }
    }
    let mut said = sidecars::ask_all(api.client(), &sidecars.concat()).await.into_iter();
    for (looked, sidecars) in policies.iter().zip(&sidecars) {
        let Looked { object, name, wrong, written, digest } = looked;
        let said: Vec<_> = said.by_ref().take(sidecars.len()).collect();
        let now = jiff::Timestamp::now();
        let status = status::of(object, wrong.as_ref(), written, digest.as_deref(), sidecars, &said, now);
        if object.get("status") == Some(&status) {
            continue;
        }
        tracing::info!(namespace, name, status = %status["sidecars"], ?wrong, "a policy's status");
        let mut object = object.clone();
        object["status"] = status;
        let path = format!("/apis/{GROUP}/namespaces/{namespace}/{PLURAL}/{name}/status");
        if let Err(error) = api.replace(&path, &object).await {
            log_failure(namespace, name, &error);
        }
    }
    Ok(())
}

/// Sees to the ConfigMap: what came of it, and the digest of the policy that it has then.
async fn configure(
    api: &Api,
    object: &Value,
    namespace: &str,
    name: &str,
    accepted: Option<&Accepted>,
) -> Result<(Written, Option<String>), ApiError> {
    let all = format!("/api/v1/namespaces/{namespace}/configmaps");
    let path = format!("{all}/{name}");
    let there = api.get(&path).await?;
    let before = match &there {
        Some(there) if !is_ours(there, name) => return Ok((Written::Foreign, None)),
        Some(there) => there.pointer(&format!("/data/{FILE}")).and_then(Value::as_str),
        None => None,
    };
    let kept = before.and_then(document::digest);
    let Some(accepted) = accepted else {
        let written = match (&there, &kept) {
            (None, _) => Written::Nothing,
            (Some(_), None) => Written::Unreadable,
            (Some(_), Some(_)) => Written::Kept,
        };
        return Ok((written, kept));
    };
    let done = match &there {
        Some(there) if has_only(there, object, &accepted.text) => Ok(()),
        Some(there) => {
            let mut fresh = there.clone();
            fill(&mut fresh, object, &accepted.text);
            api.replace(&path, &fresh).await
        }
        None => {
            let mut fresh = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {
                "name": name, "namespace": namespace, "labels": {"app.kubernetes.io/managed-by": "colophon-injector"}}});
            fill(&mut fresh, object, &accepted.text);
            api.create(&all, &fresh).await
        }
    };
    match done {
        Ok(()) => Ok((Written::Done, Some(accepted.digest.clone()))),
        // It may be too large, immutable, or against somebody's rules: for people to see.
        Err(ApiError::Refused { status, message }) if status != 409 => {
            Ok((Written::Refused(format!("{status}: {message}")), kept))
        }
        Err(error) => Err(error),
    }
}

/// Those owners of a ConfigMap that are the policy of this name, this one or one before it.
fn owners<'a>(config_map: &'a Value, name: &'a str) -> impl Iterator<Item = &'a Value> {
    items(&config_map["metadata"], "ownerReferences").iter().filter(move |owner| {
        text(owner, "apiVersion") == Some(GROUP)
            && text(owner, "kind") == Some(KIND)
            && text(owner, "name") == Some(name)
    })
}

fn is_ours(config_map: &Value, name: &str) -> bool {
    owners(config_map, name).next().is_some()
}

/// Whether the file is in it and nothing else, since sidecars read every file of their folder; and whether it is this object's:
/// one of a deleted object of the same name is on its way out.
fn has_only(config_map: &Value, object: &Value, file: &str) -> bool {
    let metadata = &object["metadata"];
    let name = text(metadata, "name").unwrap_or_default();
    config_map.get("data") == Some(&json!({FILE: file}))
        && config_map.get("binaryData").is_none()
        && owners(config_map, name).any(|owner| owner.get("uid") == metadata.get("uid"))
}

fn fill(config_map: &mut Value, object: &Value, file: &str) {
    config_map["data"] = json!({FILE: file});
    if let Some(members) = config_map.as_object_mut() {
        members.remove("binaryData");
    }
    // It goes when the object goes.
    config_map["metadata"]["ownerReferences"] = json!([{
        "apiVersion": GROUP, "kind": KIND, "name": object["metadata"]["name"], "uid": object["metadata"]["uid"],
        "controller": true, "blockOwnerDeletion": false,
    }]);
}

#[cfg(test)]
mod tests;
