//! A Pod that runs: what kubelet and a container engine do with a Pod's spec, on Debian's runc. Network namespace with an
//! address of its own, volumes, start order, probes, and the end.
//!
//! Only what the tests' Pods use; anything else in a spec is a panic where it would matter.

mod container;
mod network;
mod seccomp;

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

pub use container::Container;
use network::Network;

use crate::{client, pause, wait_for};

/// A container image, unpacked.
pub struct Image {
    /// Its root folder.
    pub root: PathBuf,
    /// What it starts where the Pod has no `command`.
    pub entrypoint: Vec<String>,
    /// Folders of this machine that are part of it, read-only.
    pub of_machine: Vec<PathBuf>,
}

/// What a Pod needs from around it.
#[derive(Default)]
pub struct Around {
    /// Images by the names that the Pod has for them.
    pub images: BTreeMap<String, Image>,
    /// PersistentVolumeClaims, as folders.
    pub claims: BTreeMap<String, PathBuf>,
    /// ConfigMaps, as files' texts.
    pub config_maps: BTreeMap<String, BTreeMap<String, String>>,
}

/// A Pod. Dropping it kills what runs.
pub struct Pod {
    // In the order in which they end.
    containers: BTreeMap<String, Container>,
    network: Network,
    pod: Value,
    around: Around,
    folder: TempDir,
}

/// Whether Pods can run here. If not, this says so and the test ends.
///
/// # Panics
/// When they are to run (`cargo xtask test --full`) and cannot.
pub fn can_run(test: &str) -> bool {
    let missing = if !is_root() {
        Some("root")
    } else if !["/usr/sbin/runc", "/usr/bin/runc"].iter().any(|path| Path::new(path).exists()) {
        Some("runc")
    } else if !Path::new(seccomp::PROFILE).exists() {
        Some(seccomp::PROFILE)
    } else {
        None
    };
    let Some(missing) = missing else { return true };
    assert!(std::env::var_os("COLOPHON_TEST_FULL").is_none(), "a Pod needs {missing}");
    eprintln!("skipped: {test}: it needs {missing} (cargo xtask test --full, as root)");
    false
}

fn is_root() -> bool {
    fs::read_to_string("/proc/self/status").is_ok_and(|status| status.contains("Uid:\t0\t0\t"))
}

impl Pod {
    /// Makes the Pod's place: network and volumes. Nothing runs yet.
    ///
    /// # Panics
    /// When that cannot be had.
    pub fn new(pod: Value, around: Around) -> Self {
        let folder = tempfile::Builder::new().prefix("colophon-pod-").tempdir().expect("a temporary folder");
        // Others than root come to its volumes.
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).expect("its mode");
        let made = Self { containers: BTreeMap::new(), network: Network::new(), pod, around, folder };
        for volume in made.list("volumes") {
            made.make(volume);
        }
        made
    }

    fn list(&self, name: &str) -> &[Value] {
        self.pod["spec"][name].as_array().map_or(&[], Vec::as_slice)
    }

    fn make(&self, volume: &Value) {
        if volume.get("persistentVolumeClaim").is_some() {
            return;
        }
        let path = self.volume(volume["name"].as_str().expect("a volume's name"));
        fs::create_dir_all(&path).expect("a volume");
        if let Some(map) = volume.pointer("/configMap/name").and_then(Value::as_str) {
            for (name, text) in &self.around.config_maps[map] {
                fs::write(path.join(name), text).expect("a file of a ConfigMap");
            }
        } else {
            assert!(volume.get("emptyDir").is_some(), "a volume of a kind that this cannot make: {volume}");
            fs::set_permissions(&path, Permissions::from_mode(0o777)).expect("its mode");
        }
    }

    /// A volume's folder.
    ///
    /// # Panics
    /// When its claim is not among those around.
    pub fn volume(&self, name: &str) -> PathBuf {
        let volume = self.list("volumes").iter().find(|volume| volume["name"] == name);
        let claim = volume.and_then(|volume| volume.pointer("/persistentVolumeClaim/claimName"));
        match claim.and_then(Value::as_str) {
            Some(claim) => self.around.claims[claim].clone(),
            None => self.folder.path().join("volumes").join(name),
        }
    }

    /// Its address.
    pub fn ip(&self) -> IpAddr {
        self.network.ip()
    }

    /// An address in it.
    pub fn at(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.ip(), port)
    }

    /// Whether somebody listens there.
    pub fn listens(&self, port: u16) -> bool {
        TcpStream::connect_timeout(&self.at(port), Duration::from_secs(2)).is_ok()
    }

    /// The number of a container's port by that name.
    ///
    /// # Panics
    /// When it has none.
    pub fn port(&self, container: &str, name: &str) -> u16 {
        let spec = self.spec(container);
        let found = spec["ports"].as_array().into_iter().flatten().find(|port| port["name"] == name);
        let number = found.and_then(|port| port["containerPort"].as_u64()).expect("a port of that name");
        u16::try_from(number).expect("a port")
    }

    /// A container's spec.
    fn spec(&self, name: &str) -> &Value {
        let mut all = self.list("initContainers").iter().chain(self.list("containers"));
        all.find(|container| container["name"] == name).unwrap_or_else(|| panic!("no container {name}"))
    }

    /// The names of its sidecars (init containers that stay) and of its containers, in the order of their start.
    ///
    /// # Panics
    /// When an init container would end, which these Pods have none of.
    pub fn order(&self) -> Vec<String> {
        let name = |container: &Value| container["name"].as_str().expect("a name").to_owned();
        for container in self.list("initContainers") {
            assert_eq!(container["restartPolicy"], "Always", "{container}");
        }
        self.list("initContainers").iter().chain(self.list("containers")).map(name).collect()
    }

    /// Starts one container, and comes back when its startup probe says that it has started.
    ///
    /// # Panics
    /// When it ends, or the probe gives up.
    pub fn start(&mut self, name: &str) {
        let spec = self.spec(name).clone();
        let container = Container::start(self, &spec);
        self.containers.insert(name.to_owned(), container);
        let Some(probe) = spec.get("startupProbe") else { return };
        let (period, threshold) = (seconds(probe, "periodSeconds", 10), number(probe, "failureThreshold", 3));
        pause(seconds(probe, "initialDelaySeconds", 0));
        for _ in 0..threshold {
            assert!(
                self.container(name).ended().is_none(),
                "{name} has ended:\n{}",
                self.container(name).log()
            );
            if self.answers(name, "startupProbe") {
                return;
            }
            pause(period);
        }
        panic!("{name} has not started:\n{}", self.container(name).log());
    }

    /// What a probe says now, once. A container without that probe is well.
    ///
    /// # Panics
    /// For probes other than httpGet.
    pub fn answers(&self, name: &str, probe: &str) -> bool {
        let spec = self.spec(name);
        let Some(action) = spec.get(probe) else { return true };
        let get = action.get("httpGet").unwrap_or_else(|| panic!("a probe of another kind: {action}"));
        let port = match &get["port"] {
            Value::String(port) => self.port(name, port),
            port => u16::try_from(port.as_u64().expect("a port")).expect("a port"),
        };
        // kubelet asks the Pod's address, never a container's 127.0.0.1.
        if !self.listens(port) {
            return false;
        }
        let status = client::get(self.at(port), get["path"].as_str().unwrap_or("/")).status();
        (200..400).contains(&status)
    }

    /// Waits until each container's readiness probe is content, which is when a Service sends traffic.
    ///
    /// # Panics
    /// When that does not come.
    pub fn until_ready(&self, limit: Duration) {
        let names = self.order();
        let ready =
            wait_for(limit, || names.iter().all(|name| self.answers(name, "readinessProbe")).then_some(()));
        assert!(ready.is_some(), "the Pod is not ready:\n{}", self.logs());
    }

    /// A container that was started.
    ///
    /// # Panics
    /// When it was not.
    pub fn container(&mut self, name: &str) -> &mut Container {
        self.containers.get_mut(name).unwrap_or_else(|| panic!("{name} was not started"))
    }

    /// How long it has to end, from SIGTERM on.
    ///
    /// # Panics
    /// When the spec does not say.
    pub fn grace(&self) -> Duration {
        Duration::from_secs(
            self.pod["spec"]["terminationGracePeriodSeconds"].as_u64().expect("a grace period"),
        )
    }

    fn logs(&self) -> String {
        self.containers.iter().map(|(name, one)| format!("---- {name}:\n{}", one.log())).collect()
    }
}

fn number(probe: &Value, name: &str, default: u64) -> u64 {
    probe.get(name).and_then(Value::as_u64).unwrap_or(default)
}

fn seconds(probe: &Value, name: &str, default: u64) -> Duration {
    Duration::from_secs(number(probe, name, default))
}
