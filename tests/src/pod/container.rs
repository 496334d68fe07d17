//! One container of a Pod: its OCI configuration, made of the Pod's spec as a container engine does, and its process.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use serde_json::{Value, json};

use super::{Image, Pod, seccomp};
use crate::process::{self, Process};
use crate::{PATIENCE, wait_for};

/// What a container has where its Pod does not say: the list of Docker, containerd and CRI-O.
const CAPABILITIES: [&str; 11] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_NET_BIND_SERVICE",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

/// A container that was started. Dropping it kills what runs in it.
pub struct Container {
    runc: Process,
    id: String,
    state: PathBuf,
    bundle: PathBuf,
}

impl Container {
    /// Starts it in the Pod's network, with its volumes.
    pub(super) fn start(pod: &Pod, spec: &Value) -> Self {
        let name = spec["name"].as_str().expect("a container's name");
        let bundle = pod.folder.path().join("containers").join(name);
        fs::create_dir_all(&bundle).expect("its folder");
        let configuration = configuration(pod, spec, &bundle);
        fs::write(bundle.join("config.json"), configuration.to_string()).expect("its configuration");
        let state = pod.folder.path().join("runc");
        let folder = pod.folder.path().file_name().expect("a name").to_string_lossy().into_owned();
        let id = format!("{folder}-{name}");
        let mut runc = Command::new("runc");
        runc.arg("--root").arg(&state).args(["run", "--bundle"]).arg(&bundle);
        runc.arg("--pid-file").arg(bundle.join("pid")).arg(&id);
        let runc = Process::start(&mut runc, &bundle.join("log"));
        Self { runc, id, state, bundle }
    }

    /// The id of its first process, out here.
    ///
    /// # Panics
    /// When it does not start.
    pub fn pid(&mut self) -> u32 {
        let pid = wait_for(PATIENCE, || {
            assert!(self.ended().is_none(), "it has ended:\n{}", self.log());
            fs::read_to_string(self.bundle.join("pid")).ok()?.trim().parse().ok()
        });
        pid.unwrap_or_else(|| panic!("{} does not start:\n{}", self.id, self.log()))
    }

    /// What it has written.
    pub fn log(&self) -> String {
        self.runc.log()
    }

    /// Its exit status, if it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.runc.ended()
    }

    /// Asks it to end, as kubelet does first.
    ///
    /// # Panics
    /// When runc cannot.
    pub fn terminate(&self) {
        let mut runc = self.runc_command();
        let out = process::run(runc.args(["kill", &self.id, "TERM"]), PATIENCE);
        assert!(out.status.success(), "runc kill: {}", String::from_utf8_lossy(&out.stderr));
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it does not end in time.
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        self.runc.wait(limit)
    }

    /// What it was started with.
    ///
    /// # Panics
    /// When the file is gone.
    pub fn configuration(&self) -> Value {
        let text = fs::read(self.bundle.join("config.json")).expect("its configuration");
        serde_json::from_slice(&text).expect("JSON")
    }

    fn runc_command(&self) -> Command {
        let mut runc = Command::new("runc");
        runc.arg("--root").arg(&self.state);
        runc
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = self.runc_command().args(["delete", "--force", &self.id]).output();
    }
}

fn configuration(pod: &Pod, spec: &Value, bundle: &Path) -> Value {
    let image_name = spec["image"].as_str().expect("an image");
    let image = pod.around.images.get(image_name).unwrap_or_else(|| panic!("no image {image_name} around"));
    let env = environment(pod, spec);
    let security = &spec["securityContext"];
    let user = security["runAsUser"].as_u64().unwrap_or(0);
    // As kubelet: it does not take the image's word for it.
    assert!(security["runAsNonRoot"] != json!(true) || user != 0, "{spec} would run as root");
    let capabilities = capabilities(security);
    // Who is not root has none to use, whatever the bounds are.
    let usable: &[&str] = if user == 0 { &capabilities } else { &[] };
    let privileges = json!({"bounding": capabilities, "permitted": usable, "effective": usable});
    let seccomp = match security.pointer("/seccompProfile/type").and_then(Value::as_str) {
        Some("RuntimeDefault") => seccomp::runtime_default(&capabilities),
        None => Value::Null,
        Some(other) => panic!("a seccomp profile that this does not know: {other}"),
    };
    let mut configuration = json!({
        "ociVersion": "1.0.2",
        "hostname": pod.pod["metadata"]["name"],
        "root": {"path": image.root, "readonly": security["readOnlyRootFilesystem"] == json!(true)},
        "process": {
            "terminal": false,
            "user": {"uid": user, "gid": security["runAsGroup"].as_u64().unwrap_or(0)},
            "args": line(spec, image, &env),
            "env": env.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>(),
            "cwd": "/",
            "capabilities": privileges,
            "noNewPrivileges": security["allowPrivilegeEscalation"] == json!(false),
        },
        "mounts": mounts(pod, spec, image, bundle),
        "linux": {
            "namespaces": [
                {"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"},
                {"type": "network", "path": pod.network.path()},
            ],
            "maskedPaths": ["/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
            "resources": resources(spec),
        },
    });
    if !seccomp.is_null() {
        configuration["linux"]["seccomp"] = seccomp;
    }
    configuration
}

/// Command and arguments, with `$(NAME)` replaced by variables.
fn line(spec: &Value, image: &Image, env: &[(String, String)]) -> Vec<String> {
    let words = |name: &str| -> Vec<String> {
        let list = spec[name].as_array().into_iter().flatten();
        list.map(|word| word.as_str().expect("a word").to_owned()).collect()
    };
    let command = words("command");
    let start = if command.is_empty() { image.entrypoint.clone() } else { command };
    start.into_iter().chain(words("args")).map(|word| expanded(&word, env)).collect()
}

fn expanded(word: &str, env: &[(String, String)]) -> String {
    let mut word = word.to_owned();
    for (name, value) in env {
        word = word.replace(&format!("$({name})"), value);
    }
    word
}

fn environment(pod: &Pod, spec: &Value) -> Vec<(String, String)> {
    let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let mut env = vec![("PATH".to_owned(), path.to_owned())];
    for variable in spec["env"].as_array().into_iter().flatten() {
        let name = variable["name"].as_str().expect("a variable's name");
        let value = match variable.pointer("/valueFrom/fieldRef/fieldPath").and_then(Value::as_str) {
            Some("status.podIP") => pod.ip().to_string(),
            Some(path) => {
                let path = format!("/{}", path.replace('.', "/"));
                let field = pod.pod.pointer(&path).and_then(Value::as_str);
                field.unwrap_or_else(|| panic!("the Pod has no {path}")).to_owned()
            }
            None => expanded(variable["value"].as_str().expect("a plain value"), &env),
        };
        env.push((name.to_owned(), value));
    }
    env
}

fn capabilities(security: &Value) -> Vec<&'static str> {
    let dropped = security.pointer("/capabilities/drop").and_then(Value::as_array);
    assert!(security.pointer("/capabilities/add").is_none(), "capabilities are added: {security}");
    match dropped {
        None => CAPABILITIES.to_vec(),
        Some(list) => {
            assert_eq!(list.as_slice(), [json!("ALL")]);
            Vec::new()
        }
    }
}

fn mounts(pod: &Pod, spec: &Value, image: &Image, bundle: &Path) -> Vec<Value> {
    let system = |to: &str, kind: &str, options: &[&str]| json!({"destination": to, "type": kind, "source": kind, "options": options});
    let mut mounts = vec![
        system("/proc", "proc", &[]),
        system("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        system("/dev/shm", "tmpfs", &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
        system("/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
    ];
    let bind = |from: &Path, to: &Path, read_only: bool| {
        let access = if read_only { "ro" } else { "rw" };
        json!({"destination": to, "type": "bind", "source": from, "options": ["rbind", access]})
    };
    // What kubelet writes for each Pod.
    let hosts = bundle.join("hosts");
    fs::write(&hosts, format!("127.0.0.1 localhost\n{} pod\n", pod.ip())).expect("its hosts");
    mounts.extend(image.of_machine.iter().map(|folder| bind(folder, folder, true)));
    mounts.push(bind(&hosts, Path::new("/etc/hosts"), false));
    for mount in spec["volumeMounts"].as_array().into_iter().flatten() {
        assert!(mount.get("subPath").is_none(), "{mount}");
        let volume = pod.volume(mount["name"].as_str().expect("a volume's name"));
        let to = Path::new(mount["mountPath"].as_str().expect("a path"));
        mounts.push(bind(&volume, to, mount["readOnly"] == json!(true)));
    }
    mounts
}

/// The memory limit; how much CPU there is says the machine.
fn resources(spec: &Value) -> Value {
    let devices = json!([{"allow": false, "access": "rwm"}]);
    let memory = spec.pointer("/resources/limits/memory").and_then(Value::as_str);
    let Some(memory) = memory else { return json!({"devices": devices}) };
    let (number, unit) = memory.split_at(memory.len() - 2);
    let scale = match unit {
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        _ => panic!("a unit that this does not know: {memory}"),
    };
    let bytes = number.parse::<u64>().expect("a number") * scale;
    json!({"devices": devices, "memory": {"limit": bytes}})
}
