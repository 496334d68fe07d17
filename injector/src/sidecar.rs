//! The sidecar: its container and volumes.

use serde_json::{Value, json};

use crate::asked::{Asked, LOG_CA};
use crate::probes::Rank;
use crate::quantity;
use crate::settings::Settings;
use crate::value::items;

/// Its name; of further ranks, with their number.
pub(crate) const NAME: &str = "colophon";

/// The port at which probes, scrapers and the policies' controller find it.
pub(crate) const HEALTH: &str = "colophon-health";
/// The volume of its policy's ConfigMap.
pub(crate) const POLICY_VOLUME: &str = "colophon-policy";

/// The user it runs as: nobody's, the one of distroless images.
const USER: u32 = 65_532;

const DATA: &str = "/var/lib/colophon/data";
const STATE: &str = "/var/lib/colophon/state";
const POLICY: &str = "/etc/colophon/policy";
const LOG: &str = "/var/run/colophon/log";
const KEYS: &str = "/var/run/colophon/keys";
/// Its own, so that no flag reads it by its name.
const PRIVATE_KEY: &str = "COLOPHON_SIDECAR_PRIVATE_KEY";
/// CPU of a sidecar in a Guaranteed Pod, where the settings have no limit.
const GUARANTEED_CPU: &str = "1";
/// A projected token lives so long; kubelet replaces it before.
const TOKEN_SECONDS: u32 = 3600;

/// What one sidecar is made of.
pub(crate) struct Sidecar<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) asked: &'a Asked,
    pub(crate) rank: Rank,
    pub(crate) number: usize,
    /// Entries of the engine's `ports` that are its own now.
    pub(crate) ports: Vec<Value>,
    /// Paths of the engine that probes ask for.
    pub(crate) probe_paths: Vec<String>,
    /// How long it waits for exchanges under way, in seconds.
    pub(crate) drain: u64,
    /// Whether all containers have limits that are their requests.
    pub(crate) guaranteed: bool,
}

/// The name of a rank's container.
pub(crate) fn container_name(number: usize) -> String {
    if number == 0 { NAME.to_owned() } else { format!("{NAME}-{number}") }
}

impl Sidecar<'_> {
    /// The container.
    pub(crate) fn container(&self, native: bool) -> Value {
        let health = json!({"httpGet": {"path": "/livez", "port": self.rank.health}});
        let probe = |more: Value| merged(&health, &more);
        let mut container = json!({
            "name": container_name(self.number),
            "image": self.settings.image,
            "args": self.args(),
            "env": self.env(),
            "ports": self.declared(),
            // Never that of the engine: a native sidecar has to have started before the engine does.
            "startupProbe": probe(json!({"periodSeconds": 1, "failureThreshold": 120})),
            "livenessProbe": probe(json!({"periodSeconds": 10, "failureThreshold": 6})),
            "readinessProbe": {"httpGet": {"path": "/readyz", "port": self.rank.health}, "periodSeconds": 5,
                "timeoutSeconds": 3},
            "resources": self.resources(),
            "securityContext": {
                "runAsNonRoot": true,
                "runAsUser": USER,
                "runAsGroup": USER,
                "readOnlyRootFilesystem": true,
                "allowPrivilegeEscalation": false,
                "capabilities": {"drop": ["ALL"]},
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "volumeMounts": self.mounts(),
        });
        if let Some(policy) = &self.settings.image_pull_policy {
            container["imagePullPolicy"] = json!(policy);
        }
        if let Some(secret) = &self.settings.credentials_secret {
            container["envFrom"] = json!([{"secretRef": {"name": secret}}]);
        }
        if native {
            container["restartPolicy"] = json!("Always");
        }
        container
    }

    fn args(&self) -> Vec<String> {
        let Settings { bind, log, store, private, .. } = self.settings;
        let Rank { client, engine, health, admin } = self.rank;
        let mut args: Vec<String> = vec!["serve".into()];
        let mut say = |flag: &str, value: String| args.push(format!("{flag}={value}"));
        say("--listen", format!("{bind}:{client}"));
        say("--upstream", format!("http://127.0.0.1:{engine}"));
        say("--health", format!("{bind}:{health}"));
        for path in &self.probe_paths {
            say("--probe-path", path.clone());
        }
        say("--admin", format!("127.0.0.1:{admin}"));
        say("--name", "$(POD_NAME)".into());
        let folder = match self.claim() {
            Some(_) => "/$(POD_NAMESPACE)/$(POD_NAME)",
            None => "",
        };
        let rank = if self.number == 0 { String::new() } else { format!("/rank-{}", self.number) };
        say("--data", format!("{DATA}{folder}{rank}"));
        say("--state", format!("{STATE}{rank}"));
        say("--drain-timeout", format!("{}s", self.drain));
        say("--log-format", "json".into());
        if self.policy().is_some() {
            say("--policy", POLICY.into());
        }
        if let Some(log) = log {
            say("--log-url", log.urls.join(","));
            say("--log-token-file", format!("{LOG}/token"));
            if let Some(vkey) = &log.vkey {
                say("--log-vkey", vkey.clone());
            }
            if log.ca.is_some() {
                say("--log-ca", format!("{LOG}/ca.pem"));
            }
        }
        for (flag, url) in [("--store", store), ("--private", private)] {
            if let Some(url) = url {
                say(flag, url.clone());
            }
        }
        if self.settings.keys_secret.is_some() {
            say("--token-key", format!("{KEYS}/token-key"));
            say("--private-key", format!("env:{PRIVATE_KEY}"));
        }
        args.extend(self.settings.extra_args.iter().cloned());
        args
    }

    fn env(&self) -> Vec<Value> {
        let field = |path: &str| json!({"fieldRef": {"fieldPath": path}});
        let mut env = vec![
            json!({"name": "POD_NAME", "valueFrom": field("metadata.name")}),
            json!({"name": "POD_NAMESPACE", "valueFrom": field("metadata.namespace")}),
        ];
        if let Some(secret) = &self.settings.keys_secret {
            env.push(json!({"name": PRIVATE_KEY, "valueFrom": {"secretKeyRef": {"name": secret, "key": "private-key"}}}));
        }
        env
    }

    fn declared(&self) -> Vec<Value> {
        let mut ports = self.ports.clone();
        if ports.is_empty() {
            ports.push(json!({"containerPort": self.rank.client, "protocol": "TCP"}));
        }
        ports.push(json!({"name": HEALTH, "containerPort": self.rank.health, "protocol": "TCP"}));
        ports
    }

    /// Where the Pod is Guaranteed, requests that are the limits, of both.
    fn resources(&self) -> Value {
        let resources = &self.settings.resources;
        if !self.guaranteed {
            return json!({"requests": resources.requests, "limits": resources.limits});
        }
        let (limits, requests) = (&resources.limits, &resources.requests);
        // The request of CPU, of an idle sidecar, is no limit: streams would wait under load.
        let least = Value::from(GUARANTEED_CPU);
        let more = requests.get("cpu").filter(|request| quantity::is_more(request, &least));
        let cpu = limits.get("cpu").or(more).cloned().unwrap_or(least);
        let memory = limits.get("memory").or(requests.get("memory")).cloned();
        let all = json!({"cpu": cpu, "memory": memory.unwrap_or_else(|| "256Mi".into())});
        json!({"requests": all, "limits": all})
    }

    fn mounts(&self) -> Vec<Value> {
        let mut mounts = vec![
            json!({"name": "colophon-data", "mountPath": DATA}),
            json!({"name": "colophon-state", "mountPath": STATE}),
        ];
        let mut read_only = |name: &str, path: &str| {
            mounts.push(json!({"name": name, "mountPath": path, "readOnly": true}));
        };
        if self.policy().is_some() {
            read_only(POLICY_VOLUME, POLICY);
        }
        if self.settings.log.is_some() {
            read_only("colophon-log", LOG);
        }
        if self.settings.keys_secret.is_some() {
            read_only("colophon-keys", KEYS);
        }
        mounts
    }

    fn policy(&self) -> Option<&String> {
        self.asked.policy.as_ref().or(self.settings.policy_config_map.as_ref())
    }

    /// The claim that the data folder is on.
    pub(crate) fn claim(&self) -> Option<&String> {
        self.asked.data_claim.as_ref().or(self.settings.data.claim.as_ref())
    }

    /// The Pod's volumes, the same for all ranks.
    pub(crate) fn volumes(&self) -> Vec<Value> {
        let empty_dir = match &self.settings.data.size_limit {
            Some(limit) => json!({"sizeLimit": limit}),
            None => json!({}),
        };
        let data = match self.claim() {
            Some(claim) => json!({"name": "colophon-data", "persistentVolumeClaim": {"claimName": claim}}),
            None => json!({"name": "colophon-data", "emptyDir": empty_dir}),
        };
        let mut volumes = vec![data, json!({"name": "colophon-state", "emptyDir": {"sizeLimit": "64Mi"}})];
        if let Some(policy) = self.policy() {
            volumes.push(json!({"name": POLICY_VOLUME, "configMap": {"name": policy}}));
        }
        if let Some(log) = &self.settings.log {
            let mut sources = vec![json!({"serviceAccountToken":
                {"path": "token", "audience": log.audience, "expirationSeconds": TOKEN_SECONDS}})];
            if log.ca.is_some() {
                let field = format!("metadata.annotations['{LOG_CA}']");
                sources.push(
                    json!({"downwardAPI": {"items": [{"path": "ca.pem", "fieldRef": {"fieldPath": field}}]}}),
                );
            }
            volumes.push(json!({"name": "colophon-log", "projected": {"sources": sources}}));
        }
        if let Some(secret) = &self.settings.keys_secret {
            let items = json!([{"key": "token-key", "path": "token-key"}]);
            volumes.push(json!({"name": "colophon-keys", "secret": {"secretName": secret, "items": items}}));
        }
        volumes
    }
}

fn merged(base: &Value, more: &Value) -> Value {
    let mut merged = base.clone();
    if let (Some(merged), Some(more)) = (merged.as_object_mut(), more.as_object()) {
        merged.extend(more.clone());
    }
    merged
}

/// Whether Kubernetes puts the Pod into the class Guaranteed: all containers have limits of CPU and memory, and requests, if
/// any, that are the same.
pub(crate) fn is_guaranteed(pod: &Value) -> bool {
    let spec = pod.get("spec").unwrap_or(&Value::Null);
    let mut all = items(spec, "containers").iter().chain(items(spec, "initContainers"));
    all.all(|container| {
        ["cpu", "memory"].iter().all(|name| {
            let amount = |kind: &str| container.pointer(&format!("/resources/{kind}/{name}"));
            match (amount("limits"), amount("requests")) {
                (Some(limit), Some(request)) => quantity::same(limit, request),
                (Some(_), None) => true,
                _ => false,
            }
        })
    })
}
