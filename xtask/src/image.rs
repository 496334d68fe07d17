//! `cargo xtask image`: an OCI image without a daemon, from nothing but the programs and what they load, by Debian's umoci.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::{Value, json};

use crate::setup::debian;
use crate::shell::{answers, cargo, root, run, run_quietly, target};

const PROGRAMS: [&str; 3] = ["colophon", "colophon-verify", "colophon-injector"];
/// The system's CAs, for stores and authorities on the Internet.
const CAS: &str = "/etc/ssl/certs/ca-certificates.crt";
/// Nobody's: the user of distroless images, and of the chart.
const USER: &str = "65532:65532";
/// An image that is larger is a mistake.
const MOST_BYTES: u64 = 40_000_000;

/// What the image is made of.
#[derive(Args)]
pub(crate) struct ImageArgs {
    /// Take the programs from this folder, built before, instead of a release build
    #[arg(long, value_name = "DIR")]
    programs: Option<PathBuf>,
}

/// Writes `target/image/oci` (an OCI image layout, tag `colophon`) and `target/image/sbom.cdx.json`.
///
/// # Errors
/// When a build or umoci fails, the image is larger than 40 MB, or a program in it does not start.
pub(crate) fn image(args: &ImageArgs) -> Result<()> {
    if !answers("umoci", "--version") {
        debian::install(&["umoci", "ca-certificates"])?;
    }
    let programs = match &args.programs {
        Some(folder) => folder.clone(),
        None => {
            let packages = PROGRAMS.iter().flat_map(|name| ["--package", name]);
            run(cargo().args(["build", "--release", "--locked", "--bins"]).args(packages))?;
            target().join("release")
        }
    };
    let out = target().join("image");
    if out.exists() {
        fs::remove_dir_all(&out)?;
    }
    let files = out.join("root");
    for name in PROGRAMS {
        copy(&programs.join(name), &files, &format!("/usr/local/bin/{name}"))?;
    }
    for library in libraries(&programs)? {
        copy(Path::new(&library), &files, &library)?;
    }
    copy(Path::new(CAS), &files, CAS)?;
    fs::write(out.join("sbom.cdx.json"), serde_json::to_string_pretty(&sbom()?)?)?;
    let layout = out.join("oci");
    let tagged = format!("{}:colophon", layout.display());
    umoci(&["init", "--layout", &layout.display().to_string()])?;
    umoci(&["new", "--image", &tagged])?;
    umoci(&["insert", "--rootless", "--image", &tagged, &files.display().to_string(), "/"])?;
    umoci(&[
        "config",
        "--image",
        &tagged,
        "--config.entrypoint",
        "/usr/local/bin/colophon",
        "--config.user",
        USER,
        "--config.label",
        concat!("org.opencontainers.image.version=", env!("CARGO_PKG_VERSION")),
        "--config.label",
        "org.opencontainers.image.licenses=Apache-2.0",
    ])?;
    // Blobs of the steps between are no longer named.
    umoci(&["gc", "--layout", &layout.display().to_string()])?;
    let bytes = size(&layout)?;
    ensure!(bytes <= MOST_BYTES, "the image has {bytes} bytes, and may have {MOST_BYTES}");
    starts(&out, &tagged)?;
    eprintln!("image: {} ({:.1} MB)", layout.display(), bytes as f64 / 1e6);
    Ok(())
}

/// Unpacks the image and has each program say its version with nothing else around it.
fn starts(out: &Path, tagged: &str) -> Result<()> {
    let bundle = out.join("unpacked");
    umoci(&["unpack", "--rootless", "--image", tagged, &bundle.display().to_string()])?;
    for name in PROGRAMS {
        let mut program = Command::new("chroot");
        program.arg(bundle.join("rootfs")).arg(format!("/usr/local/bin/{name}")).arg("--version");
        let said =
            run_quietly(&mut program).context("a program of the image does not start (chroot needs root)")?;
        ensure!(said.starts_with(name), "{name} says {said}");
    }
    fs::remove_dir_all(bundle)?;
    Ok(())
}

fn umoci(args: &[&str]) -> Result<()> {
    run_quietly(Command::new("umoci").args(args)).map(|_| ())
}

fn copy(from: &Path, files: &Path, to: &str) -> Result<()> {
    let to = files.join(to.trim_start_matches('/'));
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::copy(from, &to).with_context(|| from.display().to_string())?;
    Ok(())
}

/// The shared libraries that the programs load, the loader among them, by their own paths.
fn libraries(programs: &Path) -> Result<BTreeSet<String>> {
    let mut all = BTreeSet::new();
    for name in PROGRAMS {
        let said = run_quietly(Command::new("ldd").arg(programs.join(name)))?;
        for word in said.split_whitespace().filter(|word| word.starts_with('/')) {
            all.insert(word.to_owned());
        }
    }
    ensure!(!all.is_empty(), "ldd names no library");
    Ok(all)
}

/// Bytes of all blobs: what a registry keeps and a node fetches.
fn size(layout: &Path) -> Result<u64> {
    let mut bytes = 0;
    for blob in fs::read_dir(layout.join("blobs/sha256"))? {
        bytes += blob?.metadata()?.len();
    }
    Ok(bytes)
}

/// CycloneDX 1.5 of the crates that the lock file has for the programs on this platform.
fn sbom() -> Result<Value> {
    let mut components = BTreeSet::new();
    for name in PROGRAMS {
        let tree =
            ["tree", "--locked", "--edges", "normal,build", "--prefix", "none", "--format", "{p}\t{l}"];
        let said = run_quietly(cargo().args(tree).args(["--package", name]).current_dir(root()))?;
        for line in said.lines() {
            let (package, license) = line.split_once('\t').unwrap_or((line, ""));
            let mut words = package.split_whitespace();
            if let (Some(crate_name), Some(version)) = (words.next(), words.next()) {
                let license = license.trim_end_matches(" (*)");
                let version = version.trim_start_matches('v');
                components.insert((crate_name.to_owned(), version.to_owned(), license.to_owned()));
            }
        }
    }
    let components: Vec<_> =
        components.iter().map(|(name, version, license)| component(name, version, license)).collect();
    let version = env!("CARGO_PKG_VERSION");
    Ok(json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": {"type": "container", "name": "colophon", "version": version}},
        "components": components,
    }))
}

fn component(name: &str, version: &str, license: &str) -> Value {
    let mut one = json!({
        "type": "library", "name": name, "version": version, "purl": format!("pkg:cargo/{name}@{version}"),
    });
    if !license.is_empty() {
        one["licenses"] = json!([{"expression": license.replace('/', " OR ")}]);
    }
    one
}
