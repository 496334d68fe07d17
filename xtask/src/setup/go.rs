//! Programs that Go builds from the modules that are pinned below `tests/`, a minute or two each, once.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::shell::{Stamped, answers, root, run_quietly};

/// A module below `tests/`, and what of it is built into the folder of the same name under `target/setup`.
pub(super) struct Module {
    folder: &'static str,
    /// As in `setup: … from the Go module proxy`.
    what: &'static str,
    packages: &'static [&'static str],
    /// Programs of our own in it.
    sources: &'static [&'static str],
    /// For the linker, as in `-ldflags`.
    linked: &'static str,
}

/// h2spec, the HTTP/2 conformance suite.
pub(super) const H2SPEC: Module = Module {
    folder: "h2spec",
    what: "h2spec",
    packages: &["github.com/summerwind/h2spec/cmd/h2spec"],
    sources: &[],
    linked: "",
};

/// versitygw, an S3 server.
pub(super) const VERSITYGW: Module = Module {
    folder: "versitygw",
    what: "versitygw",
    packages: &["github.com/versity/versitygw/cmd/versitygw"],
    sources: &[],
    linked: "",
};

/// fake-gcs-server, with the part of Google's XML interface that it lacks.
pub(super) const FAKE_GCS_SERVER: Module = Module {
    folder: "fake-gcs-server",
    what: "fake-gcs-server",
    packages: &["."],
    sources: &["main.go"],
    linked: "",
};

/// Other people's transparency-log programs: torchwood's witness, tessera's checker of log folders, and two small
/// programs on their libraries.
pub(super) const TLOG: Module = Module {
    folder: "tlog",
    what: "litewitness and fsck",
    packages: &[
        "filippo.io/torchwood/cmd/litewitness",
        "github.com/transparency-dev/tessera/cmd/fsck",
        "./checkproof",
        "./logged",
    ],
    sources: &["checkproof/main.go", "logged/main.go"],
    linked: "",
};

/// Sigstore's time stamping authority.
pub(super) const TIMESTAMP_SERVER: Module = Module {
    folder: "timestamp-server",
    what: "Sigstore's timestamp-server",
    packages: &["github.com/sigstore/timestamp-authority/v2/cmd/timestamp-server"],
    sources: &[],
    linked: "",
};

/// Kubernetes' API server with the etcd that it needs (`server`), and Helm. Without its version the API server would call
/// itself v0.0.0, and charts ask for it.
pub(super) const KUBERNETES: Module = Module {
    folder: "kubernetes",
    what: "Kubernetes' API server, etcd and Helm (some ten minutes)",
    packages: &[
        "helm.sh/helm/v3/cmd/helm",
        "k8s.io/kubernetes/cmd/kube-apiserver",
        "go.etcd.io/etcd/server/v3",
    ],
    sources: &[],
    linked: "-s -w -X k8s.io/component-base/version.gitVersion=v1.34.4 \
             -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=34",
};

/// helm-unittest, which runs the chart's own tests. A module apart: it wants another Helm than Kubernetes' fits.
pub(super) const HELM_UNITTEST: Module = Module {
    folder: "helm-unittest",
    what: "helm-unittest",
    packages: &["github.com/helm-unittest/helm-unittest/cmd/helm-unittest"],
    sources: &[],
    linked: "-s -w",
};

/// An OpenTelemetry collector.
pub(super) const OTELCOL: Module = Module {
    folder: "otelcol",
    what: "an OpenTelemetry collector",
    packages: &["."],
    sources: &["main.go"],
    linked: "-s -w",
};

/// Builds what is missing or out of date.
///
/// # Errors
/// When there is no Go, the module proxy cannot be reached, or a build fails.
pub(super) fn ensure(module: &Module) -> Result<()> {
    if !answers("go", "version") {
        bail!("no `go` on the PATH to build it with. On Debian: apt-get install golang-go");
    }
    let folder = root().join("tests").join(module.folder);
    let mut key = module.linked.to_owned();
    for name in ["go.mod", "go.sum"].iter().chain(module.sources) {
        let path = folder.join(name);
        key.push_str(&fs::read_to_string(&path).with_context(|| path.display().to_string())?);
    }
    let step = format!("{} from the Go module proxy", module.what);
    Stamped::new(module.folder, key).ensure(&step, |dir| {
        let mut go = Command::new("go");
        go.args(["build", "-mod=readonly", "-ldflags", module.linked, "-o"]).arg(dir);
        go.args(module.packages).current_dir(&folder);
        run_quietly(&mut go).map(|_| ())
    })
}
