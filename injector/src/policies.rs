//! Objects of kind `ProvenancePolicy`: each becomes the ConfigMap that Pods name, and its status says what was wrong with it,
//! or which sidecars have it in force.
//!
//! Several may run at once, without electing one: what is written follows from what is read, a ConfigMap and a status are
//! replaced only if they are still the ones that were read, and who was slower looks again at its next round. Everything is
//! looked at in every round, so that nothing depends on an event that was missed.

mod api;
mod document;
mod sidecars;
mod status;

use std::time::Duration;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::value::{items, text};
use api::{Api, ApiError, ApiOptions};
use document::{Accepted, FILE};
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
    let every = Duration::from_secs(options.policies_every);
    let mut wait = Duration::ZERO;
    tracing::info!(namespaces = ?options.policies_namespace, every = options.policies_every, "policies are looked after");
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(wait) => {}
        }
        let done = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            done = round(&api, &options.policies_namespace) => done,
        };
        wait = match done {
            Ok(()) => every,
            Err(error) => {
                let longer = (wait.max(every) * 2).min(LONGEST_WAIT.max(every));
                tracing::warn!(%error, wait = longer.as_secs(), "policies could not be looked at");
                longer
            }
        };
    }
}

async fn round(api: &Api, namespaces: &[String]) -> Result<(), ApiError> {
    let all = [format!("/apis/{GROUP}/{PLURAL}")];
    let of_namespaces =
        namespaces.iter().map(|namespace| format!("/apis/{GROUP}/namespaces/{namespace}/{PLURAL}"));
    let paths: Vec<String> = if namespaces.is_empty() { all.into() } else { of_namespaces.collect() };
    for path in paths {
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
                match look_after(api, object, namespace, name).await {
                    Ok(()) => {}
                    Err(error) if error.is_conflict() => {
                        tracing::debug!(namespace, name, "somebody was faster");
                    }
                    Err(error) => {
                        tracing::warn!(namespace, name, %error, "a policy could not be looked after")
                    }
                }
            }
        }
    }
    Ok(())
}

async fn look_after(api: &Api, mut object: Value, namespace: &str, name: &str) -> Result<(), ApiError> {
    let judged = judge(&object);
    let (written, digest) = configure(api, &object, namespace, name, judged.as_ref().ok()).await?;
    let mut sidecars = Vec::new();
    let mut pods = api.list(format!("/api/v1/namespaces/{namespace}/pods"), PODS);
    while let Some(page) = pods.next().await? {
        sidecars.extend(page.iter().flat_map(|pod| sidecars::of_pod(pod, name)));
    }
    let said = sidecars::ask_all(api.client(), &sidecars).await;
    let now = jiff::Timestamp::now();
    let status =
        status::of(&object, judged.as_ref().err(), &written, digest.as_deref(), &sidecars, &said, now);
    if object.get("status") == Some(&status) {
        return Ok(());
    }
    tracing::info!(namespace, name, status = %status["sidecars"], wrong = ?judged.as_ref().err(), "a policy's status");
    object["status"] = status;
    api.replace(&format!("/apis/{GROUP}/namespaces/{namespace}/{PLURAL}/{name}/status"), &object).await
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
        return Ok((if kept.is_some() { Written::Kept } else { Written::Nothing }, kept));
    };
    let done = match &there {
        Some(there) if has_only(there, &accepted.text) => Ok(()),
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

/// Whether a ConfigMap was made for the policy of this name, this one or one before it.
fn is_ours(config_map: &Value, name: &str) -> bool {
    let owners = items(&config_map["metadata"], "ownerReferences");
    owners.iter().any(|owner| {
        text(owner, "apiVersion") == Some(GROUP)
            && text(owner, "kind") == Some(KIND)
            && text(owner, "name") == Some(name)
    })
}

/// Whether the file is in it and nothing else: sidecars read every file of their folder.
fn has_only(config_map: &Value, file: &str) -> bool {
    config_map.get("data") == Some(&json!({FILE: file})) && config_map.get("binaryData").is_none()
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
