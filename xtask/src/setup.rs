//! What the tests need besides cargo, installed under `target/setup` from the ordinary package registries, once for
//! each set of pinned versions.

mod containers;
mod crds;
pub(crate) mod debian;
mod go;
mod nats;
mod npm;
mod prometheus;
pub(crate) mod python;
mod softhsm;
mod swtpm;
pub(crate) mod vllm;

use anyhow::Result;

/// Installs whatever is missing or out of date. Returns what had to be left out, and why.
///
/// # Errors
/// When a tool is missing or an installation fails; with `full`, also when something optional cannot be had.
pub(crate) fn run(full: bool) -> Result<Vec<String>> {
    python::ensure()?;
    npm::ensure("npm")?;
    npm::ensure("evm")?;
    let mut skipped = Vec::new();
    if let Err(error) = go::ensure(&go::H2SPEC) {
        if full {
            return Err(error);
        }
        skipped.push(format!("h2spec, the HTTP/2 conformance suite: {error:#}"));
    }
    if let Err(error) = softhsm::ensure() {
        if full {
            return Err(error);
        }
        skipped.push(format!("keys in a PKCS#11 token (SoftHSM2): {error:#}"));
    }
    if let Err(error) = nats::ensure() {
        if full {
            return Err(error);
        }
        skipped.push(format!("jobs through a NATS server (nats-server): {error:#}"));
    }
    if let Err(error) = swtpm::ensure() {
        if full {
            return Err(error);
        }
        skipped.push(format!("quotes of a TPM 2.0 in software (swtpm): {error:#}"));
    }
    if let Err(error) = prometheus::ensure() {
        if full {
            return Err(error);
        }
        skipped.push(format!("alert rules and dashboard in a Prometheus: {error:#}"));
    }
    if full {
        for module in [
            go::VERSITYGW,
            go::FAKE_GCS_SERVER,
            go::TLOG,
            go::TIMESTAMP_SERVER,
            go::KUBERNETES,
            go::HELM_UNITTEST,
            go::OTELCOL,
        ] {
            go::ensure(&module)?;
        }
        npm::ensure("azurite")?;
        containers::ensure()?;
        crds::ensure()?;
        return Ok(skipped);
    }
    let others = [
        "with Sigstore's timestamp-server",
        "with an OpenTelemetry collector",
        "with others' witness and log checker (litewitness, fsck)",
        "on a real S3 server (versitygw)",
        "on Azure's and Google's interfaces (Azurite, fake-gcs-server)",
        "of the image, and of a Pod that runs in containers (umoci, runc; root)",
        "on a Kubernetes API server, and of the chart by Helm (kube-apiserver, etcd, helm, helm-unittest)",
    ];
    skipped
        .extend(others.map(|what| format!("the tests {what}: they are part of `cargo xtask test --full`")));
    Ok(skipped)
}
