//! `cargo xtask image`: an OCI image without a daemon, from nothing but the programs and what they load, by Debian's umoci.

mod contents;
mod last_stage;
mod place;
mod provenance;
mod sbom;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::Value;

use crate::setup::debian;
use crate::shell::{answers, cargo, root, run, run_quietly, target};

const PROGRAMS: [&str; 3] = ["colophon", "colophon-verify", "colophon-injector"];
/// The image's tag in its layout.
const TAG: &str = "colophon";
/// A release that is larger is a mistake.
const MOST_BYTES: u64 = 40_000_000;

/// What the image is made of.
#[derive(Args)]
pub(crate) struct ImageArgs {
    /// Take the programs from this folder, built before, instead of a release build; the image may then be of any size
    #[arg(long, value_name = "DIR")]
    pub(crate) programs: Option<PathBuf>,
    /// Where to write it: a new or empty folder, or that of an earlier image [default: target/image]
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
}

/// Writes `oci` (an OCI image layout, tag `colophon`), `sbom.cdx.json` and `provenance.json` into `target/image`.
///
/// # Errors
/// When a build or umoci fails, a release is larger than 40 MB, or a program in the image does not start.
pub(crate) fn image(args: &ImageArgs) -> Result<()> {
    if !answers("umoci", "--version") {
        debian::install(&["umoci", "ca-certificates"])?;
    }
    let started = provenance::now()?;
    let out = args.out.clone().unwrap_or_else(|| target().join("image"));
    place::clear(&out)?;
    let (programs, source) = match &args.programs {
        Some(folder) => (folder.clone(), None),
        None => {
            let before = provenance::Source::checked_out()?;
            let packages = PROGRAMS.iter().flat_map(|name| ["--package", name]);
            run(cargo().args(["build", "--release", "--locked", "--bins"]).args(packages))?;
            (target().join("release"), Some(before.built(&provenance::Source::checked_out()?)))
        }
    };
    let layout = out.join("oci");
    let tagged = format!("{}:{TAG}", layout.display());
    // First of all: by it a later run knows what it may delete.
    umoci(&["init", "--layout", &layout.display().to_string()])?;
    let folder = out.join("root");
    let files = contents::gather(&programs, &folder)?;
    let sbom = out.join("sbom.cdx.json");
    write(&sbom, &sbom::sbom(&files, source.is_some())?)?;
    umoci(&["new", "--image", &tagged])?;
    umoci(&["insert", "--rootless", "--image", &tagged, &folder.display().to_string(), "/"])?;
    let configuration = configuration(&tagged, source.as_ref())?;
    umoci(&configuration.iter().map(String::as_str).collect::<Vec<_>>())?;
    // Blobs of the steps between are no longer named.
    umoci(&["gc", "--layout", &layout.display().to_string()])?;
    let manifest = manifest(&layout)?;
    let build = provenance::Build {
        files: &files,
        source: source.as_ref(),
        tools: provenance::tools()?,
        started,
        finished: provenance::now()?,
        sbom: &sbom,
    };
    write(&out.join("provenance.json"), &provenance::statement(&manifest, &build)?)?;
    starts(&out, &tagged)?;
    let (bytes, unpacked) = (size(&layout.join("blobs/sha256"))?, unpacked(&folder, &files)?);
    eprintln!(
        "image: {} sha256:{manifest}: {:.1} MB, {:.1} MB unpacked",
        layout.display(),
        bytes as f64 / 1e6,
        unpacked as f64 / 1e6
    );
    fs::remove_dir_all(folder)?;
    ensure!(
        args.programs.is_some() || bytes <= MOST_BYTES,
        "the image has {bytes} bytes, and may have {MOST_BYTES}"
    );
    Ok(())
}

/// umoci's arguments that say what the Containerfile's last stage does, and of which commit it is where that is known.
fn configuration(tagged: &str, source: Option<&provenance::Source>) -> Result<Vec<String>> {
    let stage = last_stage::read(&fs::read_to_string(root().join("Containerfile"))?)?;
    let mut args: Vec<String> =
        ["config", "--image", tagged, "--config.user", &stage.user].map(Into::into).into();
    args.extend(["--architecture".into(), contents::architecture()?.into(), "--os".into(), "linux".into()]);
    let mut labels = stage.labels;
    labels.push(concat!("org.opencontainers.image.version=", env!("CARGO_PKG_VERSION")).into());
    let revision = source.and_then(provenance::Source::revision);
    labels.extend(revision.map(|commit| format!("org.opencontainers.image.revision={commit}")));
    args.extend(stage.entrypoint.into_iter().flat_map(|word| ["--config.entrypoint".into(), word]));
    args.extend(labels.into_iter().flat_map(|label| ["--config.label".into(), label]));
    Ok(args)
}

/// The manifest's digest, hexadecimal: what the image is called in a registry.
fn manifest(layout: &Path) -> Result<String> {
    let index: Value = serde_json::from_str(&fs::read_to_string(layout.join("index.json"))?)?;
    let digest = index.pointer("/manifests/0/digest").and_then(Value::as_str).unwrap_or_default();
    let digest = digest.strip_prefix("sha256:").context("the layout's index names no manifest")?;
    Ok(digest.to_owned())
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

fn write(path: &Path, value: &Value) -> Result<()> {
    fs::write(path, serde_json::to_string_pretty(value)?).with_context(|| path.display().to_string())
}

/// Bytes of all blobs: what a registry keeps and a node fetches.
fn size(blobs: &Path) -> Result<u64> {
    let mut bytes = 0;
    for blob in fs::read_dir(blobs)? {
        bytes += blob?.metadata()?.len();
    }
    Ok(bytes)
}

/// Bytes of all files: what lies on a node's disk.
fn unpacked(folder: &Path, files: &[contents::File]) -> Result<u64> {
    let mut bytes = 0;
    for file in files {
        bytes += fs::metadata(folder.join(file.path.trim_start_matches('/')))?.len();
    }
    Ok(bytes)
}
