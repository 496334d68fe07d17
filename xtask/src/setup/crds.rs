//! Other projects' CustomResourceDefinitions, by which a Kubernetes API server judges `examples/kubernetes`: files of their Go
//! modules, from the module proxy.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::shell::{Stamped, answers, run_quietly};

/// A module's version, its `h1:` sum as in a go.sum, and the files.
struct Source {
    module: &'static str,
    version: &'static str,
    sum: &'static str,
    files: &'static [&'static str],
}

const SOURCES: [Source; 3] = [
    Source {
        module: "sigs.k8s.io/gateway-api-inference-extension",
        version: "v1.2.0",
        sum: "h1:7H+ijrUImnW2ubcTakNgV723xDIdQx1Umv4vDVB+tTk=",
        files: &["config/crd/bases/inference.networking.k8s.io_inferencepools.yaml"],
    },
    Source {
        module: "sigs.k8s.io/gateway-api",
        version: "v1.3.0",
        sum: "h1:q6okN+/UKDATola4JY7zXzx40WO4VISk7i9DIfOvr9M=",
        files: &["config/crd/standard/gateway.networking.k8s.io_httproutes.yaml"],
    },
    Source {
        module: "github.com/kserve/kserve",
        version: "v0.16.0",
        sum: "h1:kDkcAU5VMiZf4zhdDXH+UdAIgzXhs10GMv0d9r4qvTs=",
        files: &[
            "config/crd/full/serving.kserve.io_inferenceservices.yaml",
            "config/crd/full/serving.kserve.io_servingruntimes.yaml",
        ],
    },
];

/// Copies them to `target/setup/crds`.
///
/// # Errors
/// When there is no Go, the module proxy cannot be reached, or gives something else than what is pinned here.
pub(super) fn ensure() -> Result<()> {
    if !answers("go", "version") {
        bail!("no `go` on the PATH to fetch modules with. On Debian: apt-get install golang-go");
    }
    let key: String = SOURCES
        .iter()
        .map(|source| format!("{} {} {} {:?}\n", source.module, source.version, source.sum, source.files))
        .collect();
    Stamped::new("crds", key).ensure("CustomResourceDefinitions from the Go module proxy", |dir| {
        SOURCES.iter().try_for_each(|source| fetch(source, dir))
    })
}

fn fetch(source: &Source, into: &Path) -> Result<()> {
    let wanted = format!("{}@{}", source.module, source.version);
    // Outside of any module, whose requirements it would be measured by.
    let said = run_quietly(Command::new("go").args(["mod", "download", "-json", &wanted]).current_dir(into))?;
    let said: Value = serde_json::from_str(&said).context("go mod download")?;
    let text = |name: &str| said.get(name).and_then(Value::as_str).unwrap_or_default();
    ensure!(text("Sum") == source.sum, "{wanted} has the sum {}, not {}", text("Sum"), source.sum);
    for file in source.files {
        let from = Path::new(text("Dir")).join(file);
        let name = from.file_name().context("a file's name")?;
        fs::write(into.join(name), fs::read(&from).with_context(|| from.display().to_string())?)?;
    }
    Ok(())
}
