//! What the one who runs the injector says, for all Pods: a YAML file.

use std::path::Path;

use anyhow::{Context as _, ensure};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::quantity;

/// A settings file is never longer.
const MAX_BYTES: usize = 1 << 20;

/// The file.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Settings {
    /// The sidecar's image, best by digest.
    pub image: String,
    /// `Always`, `IfNotPresent` or `Never`; Kubernetes' own default where absent.
    pub image_pull_policy: Option<String>,
    /// Names of Secrets in the Pod's namespace with credentials for the image.
    #[serde(default)]
    pub image_pull_secrets: Vec<String>,
    /// The sidecar's requests and limits.
    #[serde(default)]
    pub resources: Resources,
    /// The log that sidecars post to. Without one each keeps its own, in its data folder.
    pub log: Option<Log>,
    /// `--store`: where records go.
    pub store: Option<String>,
    /// `--private`: where their openings go.
    pub private: Option<String>,
    /// A Secret in the Pod's namespace whose members become the sidecar's environment: credentials of the stores.
    pub credentials_secret: Option<String>,
    /// A Secret in the Pod's namespace with `private-key` (64 hexadecimal digits) and `token-key` (32 bytes), the same for
    /// all sidecars that share the stores.
    pub keys_secret: Option<String>,
    /// A ConfigMap in the Pod's namespace: the policy, followed while the sidecar runs. The built-in one where absent.
    pub policy_config_map: Option<String>,
    /// Where the write-ahead log and the keys live.
    #[serde(default)]
    pub data: Data,
    /// What is known of the cluster.
    #[serde(default)]
    pub kubernetes: Cluster,
    /// On which addresses the sidecar listens: `0.0.0.0`, or `[::]` where Pods have IPv6 addresses only.
    #[serde(default = "any_v4")]
    pub bind: String,
    /// More arguments of `colophon serve`, at the end.
    #[serde(default)]
    pub extra_args: Vec<String>,
}

/// A log of its own program (`colophon serve --role log`).
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Log {
    /// Where its replicas answer.
    pub urls: Vec<String>,
    /// Its verifier key. Without it a sidecar takes the log's own word at each start.
    pub vkey: Option<String>,
    /// PEM of the CAs that may sign its certificate. Travels in an annotation: ConfigMaps of another namespace cannot be
    /// mounted.
    pub ca: Option<String>,
    /// The audience of the ServiceAccount tokens that sidecars show it.
    #[serde(default = "audience")]
    pub audience: String,
}

/// `resources` of a container, of CPU and memory.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Resources {
    /// What is set aside.
    #[serde(default)]
    pub requests: Map<String, Value>,
    /// What is the most.
    #[serde(default)]
    pub limits: Map<String, Value>,
}

/// The data folder's volume.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Data {
    /// Size of the emptyDir, e.g. `8Gi`; that of the node's disk where absent.
    pub size_limit: Option<String>,
    /// A claim in the Pod's namespace instead: a folder in it for each Pod.
    pub claim: Option<String>,
}

/// Versions, where they are told.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Cluster {
    /// The API server's, e.g. `1.34` or `v1.34.2-eks`.
    pub server: Option<String>,
    /// That of the oldest kubelet.
    pub oldest_kubelet: Option<String>,
}

impl Default for Resources {
    fn default() -> Resources {
        let amounts = |list: &[(&str, &str)]| {
            list.iter().map(|(name, amount)| ((*name).to_owned(), Value::from(*amount))).collect()
        };
        Resources {
            requests: amounts(&[("cpu", "250m"), ("memory", "256Mi")]),
            limits: amounts(&[("memory", "1Gi")]),
        }
    }
}

fn any_v4() -> String {
    "0.0.0.0".into()
}

fn audience() -> String {
    "colophon-log".into()
}

impl Settings {
    /// Reads a file.
    ///
    /// # Errors
    /// It cannot be read, is longer than 1 MiB, or says something that is not known or cannot be.
    pub fn load(path: &Path) -> anyhow::Result<Settings> {
        let bytes = crate::manifest::read_bounded(path, MAX_BYTES)?;
        let text = std::str::from_utf8(&bytes).with_context(|| format!("{}: not UTF-8", path.display()))?;
        Settings::parse(text).with_context(|| format!("the settings {}", path.display()))
    }

    /// As [`load`](Settings::load), of text.
    ///
    /// # Errors
    /// As there.
    pub fn parse(text: &str) -> anyhow::Result<Settings> {
        let settings: Settings = serde_saphyr::from_str(text)?;
        ensure!(!settings.image.trim().is_empty(), "`image` is empty");
        let policies = ["Always", "IfNotPresent", "Never"];
        if let Some(policy) = &settings.image_pull_policy {
            ensure!(
                policies.contains(&policy.as_str()),
                "`imagePullPolicy` is one of {}",
                policies.join(", ")
            );
        }
        ensure!(["0.0.0.0", "[::]"].contains(&settings.bind.as_str()), "`bind` is 0.0.0.0 or [::]");
        if let Some(log) = &settings.log {
            ensure!(!log.urls.is_empty(), "`log` has no `urls`");
        }
        ensure!(
            settings.store.is_some() == settings.private.is_some(),
            "`store` and `private` go together: openings would stay in the Pod, and be lost with it"
        );
        ensure!(
            settings.store.is_none() || settings.keys_secret.is_some(),
            "with `store`, `keysSecret` is needed: keys made in the Pod are lost with it, and nothing could be opened"
        );
        let amounts = settings.resources.requests.iter().chain(&settings.resources.limits);
        for (name, amount) in amounts.map(|(name, amount)| (name.as_str(), amount)) {
            ensure!(["cpu", "memory"].contains(&name), "`resources`: `{name}` is neither cpu nor memory");
            ensure!(quantity::is_one(amount), "`resources`: {amount} is no quantity");
        }
        ensure!(
            settings.data.claim.is_none() || settings.data.size_limit.is_none(),
            "`data`: `sizeLimit` is of an emptyDir, and `claim` none"
        );
        for version in
            [&settings.kubernetes.server, &settings.kubernetes.oldest_kubelet].into_iter().flatten()
        {
            ensure!(minor(version).is_some(), "`kubernetes`: `{version}` is no version such as 1.34");
        }
        Ok(settings)
    }

    /// Whether sidecars may be init containers that stay: only where both are known to be 1.33 or newer. An older server
    /// drops the field, and the init container would never end; an older kubelet does not find its named ports.
    pub(crate) fn native(&self) -> bool {
        let new =
            |version: &Option<String>| version.as_deref().and_then(minor).is_some_and(|at| at >= (1, 33));
        new(&self.kubernetes.server) && new(&self.kubernetes.oldest_kubelet)
    }
}

/// Major and minor of a version.
fn minor(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.trim_start_matches('v').splitn(3, '.');
    let major = parts.next()?.parse().ok()?;
    // Some clouds write `1.33+`.
    let minor = parts.next()?.trim_end_matches('+').parse().ok()?;
    Some((major, minor))
}

#[cfg(test)]
mod tests;
