//! The seccomp profile `RuntimeDefault`: what Debian's containers-common ships for podman and CRI-O, made into the form that
//! runc takes. That is the same selection that those engines do.

use std::fs;

use serde_json::{Value, json};

/// Where it is.
pub(super) const PROFILE: &str = "/usr/share/containers/seccomp.json";

/// The profile for a process with these capabilities, on this machine.
///
/// # Panics
/// When there is none, or it has another form.
pub(super) fn runtime_default(capabilities: &[&str]) -> Value {
    let (machine, names) = if cfg!(target_arch = "aarch64") {
        ("SCMP_ARCH_AARCH64", ["arm64"])
    } else {
        ("SCMP_ARCH_X86_64", ["amd64"])
    };
    let profile = fs::read(PROFILE).unwrap_or_else(|e| panic!("{PROFILE}: {e}"));
    let profile: Value = serde_json::from_slice(&profile).expect("JSON");
    let map = profile["archMap"].as_array().expect("its architectures");
    let ours = map.iter().find(|one| one["architecture"] == machine).expect("this machine's");
    let mut architectures = vec![json!(machine)];
    architectures.extend(ours["subArchitectures"].as_array().into_iter().flatten().cloned());
    let applies = |rule: &&Value| {
        let any_of = |list: &Value, have: &[&str]| {
            list.as_array().is_some_and(|all| all.iter().any(|one| have.iter().any(|name| one == name)))
        };
        let said = |list: &Value| list.as_array().is_some_and(|all| !all.is_empty());
        let (only, not) = (&rule["includes"], &rule["excludes"]);
        (!said(&only["caps"]) || any_of(&only["caps"], capabilities))
            && (!said(&only["arches"]) || any_of(&only["arches"], &names))
            && !any_of(&not["caps"], capabilities)
            && !any_of(&not["arches"], &names)
    };
    let rules = profile["syscalls"].as_array().expect("its rules").iter().filter(applies);
    let rules: Vec<Value> = rules.map(rule).collect();
    assert!(rules.len() > 5, "nearly nothing of the profile applies");
    json!({
        "defaultAction": profile["defaultAction"], "defaultErrnoRet": profile["defaultErrnoRet"],
        "architectures": architectures, "syscalls": rules,
    })
}

/// The members that the OCI runtime specification knows.
fn rule(from: &Value) -> Value {
    let mut one = json!({"names": from["names"], "action": from["action"]});
    for name in ["args", "errnoRet"] {
        let value = &from[name];
        if !value.is_null() && value.as_array().is_none_or(|list| !list.is_empty()) {
            one[name] = value.clone();
        }
    }
    one
}
