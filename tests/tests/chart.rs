//! The chart: Helm's lint, what it renders against files, what its schema and checks refuse, and whether Kubernetes' own
//! schemas take it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use colophon_tests::colophon;
use colophon_tests::kubernetes::{Helm, chart, installed};
use colophon_tests::{PATIENCE, paths, process};

fn values() -> Vec<(String, PathBuf)> {
    let mut all: Vec<_> = fs::read_dir(chart().join("ci"))
        .expect("ci/")
        .map(|entry| entry.expect("an entry").path())
        .map(|path| (path.file_stem().expect("a name").to_string_lossy().into_owned(), path))
        .collect();
    all.sort();
    assert!(all.len() >= 7, "{all:?}");
    all
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

fn rendered(helm: &Helm, values: &Path, version: &str) -> String {
    let chart = chart();
    helm.output(&[
        "template",
        "rel",
        text(&chart),
        "--namespace",
        "colophon",
        "--values",
        text(values),
        "--kube-version",
        version,
    ])
}

/// Certificates are made anew each time, and what is derived from them.
fn masked(text: &str) -> String {
    let mut lines = Vec::new();
    let mut in_pem = false;
    for line in text.lines() {
        let key = line.trim_start().split(": ").next().unwrap_or_default();
        let secret = ["ca.crt", "tls.crt", "tls.key", "caBundle", "checksum/settings", "checksum/monitor"]
            .contains(&key);
        if line.contains("BEGIN CERTIFICATE") {
            in_pem = true;
            lines.push("(a certificate)".to_owned());
        } else if line.contains("END CERTIFICATE") {
            in_pem = false;
        } else if secret && line.len() > 60 {
            lines.push(format!("{}{key}: (made)", &line[..line.len() - line.trim_start().len()]));
        } else if !in_pem {
            lines.push(line.to_owned());
        }
    }
    lines.join("\n") + "\n"
}

#[test]
fn every_example_passes_lint_and_renders_to_its_file() {
    let Some(helm) = Helm::new("the chart") else { return };
    let chart = chart();
    for (name, path) in values() {
        helm.output(&["lint", "--strict", text(&chart), "--values", text(&path)]);
        let text = masked(&rendered(&helm, &path, "1.34.0"));
        let golden = paths::tests("helm").join(format!("{name}.yaml"));
        if std::env::var_os("COLOPHON_GOLDEN").is_some_and(|what| what == "write") {
            fs::write(&golden, &text).expect("a golden file");
        }
        let expected = fs::read_to_string(&golden).unwrap_or_default();
        let differs = text.lines().zip(expected.lines()).find(|(now, then)| now != then);
        assert!(text == expected, "{name}: not as in {}: {differs:?}", golden.display());
    }
}

#[test]
fn wrong_values_are_refused() {
    let Some(helm) = Helm::new("the chart's schema") else { return };
    let chart = chart();
    let log = "log.enabled=true,log.origin=o,log.keySecret=k";
    for (set, why) in [
        ("mode=both", "one of 'sidecar', 'gateway'"),
        ("replicas=3", "additional properties 'replicas' not allowed"),
        ("injector.replica=3", "additional properties 'replica' not allowed"),
        ("log.serviceAccounts.jwk=x", "additional properties 'jwk' not allowed"),
        ("image.digest=latest", "does not match pattern"),
        ("image.repository=", "there is no published image"),
        ("image.pullPolicy=Often", "'IfNotPresent'"),
        ("injector.replicas=0", "minimum"),
        ("sidecar.bind=10.0.0.1", "'0.0.0.0'"),
        ("sidecar.store=/tmp/x", "does not match pattern"),
        ("sidecar.resources.limits.gpu=1", "additional properties 'gpu' not allowed"),
        ("log.enabled=true", "log.origin"),
        (log, "exactly one of store and storeClaim"),
        (&format!("{log},log.store=s3://a/b,log.storeClaim=c"), "exactly one of store and storeClaim"),
        (&format!("{log},log.store=s3://a/b"), "anybody could append"),
        (&format!("{log},log.store=s3://a/b,log.tokensSecret=t"), "give serviceAccounts.jwks and allowed"),
        ("mode=gateway", "gateway.upstream"),
        ("mode=gateway,gateway.upstream=vllm:8000", "does not match pattern"),
        ("mode=gateway,gateway.upstream=http://v", "gateway.origin"),
        (
            "mode=gateway,gateway.upstream=http://v,gateway.replicas=2,gateway.origin=o",
            "several need one log",
        ),
        ("policies.namespace=clinic", "additional properties 'namespace' not allowed"),
        ("policies.everySeconds=0", "minimum"),
        ("provers.enabled=true", "provers.image"),
        ("provers.enabled=true,provers.image=i", "provers.config"),
        ("provers.enabled=true,provers.image=i,provers.config=[", "provers.config"),
        ("provers.seccompProfile.type=None", "'Unconfined'"),
        ("provers.seccompProfile.type=RuntimeDefault", "'Unconfined'"),
        ("networkPolicy.apiServerPorts={https}", "networkPolicy/apiServerPorts"),
        ("monitor.enabled=true", "monitor.logs"),
        ("monitor.every=often", "does not match pattern"),
        ("certificates.kind=certManager", "certificates.issuerRef"),
        ("certificates.kind=secret,certificates.secretName=s", "certificates.ca"),
    ] {
        let out = helm.run(&[
            "template",
            text(&chart),
            "--kube-version",
            "1.34.0",
            "--set",
            "image.repository=r",
            "--set",
            set,
        ]);
        let error = String::from_utf8_lossy(&out.stderr);
        assert!(!out.status.success(), "{set} is taken");
        assert!(error.contains(why), "{set}: {error}");
    }
}

#[test]
fn kubernetes_own_schemas_take_what_is_rendered() {
    let Some(helm) = Helm::new("the chart by Kubernetes' schemas") else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    for version in ["1.29", "1.34"] {
        for (name, path) in values() {
            let file = folder.path().join(format!("{name}-{version}.yaml"));
            fs::write(&file, rendered(&helm, &path, &format!("{version}.0"))).expect("a file");
            assert_eq!(validate(&file, version), (Some(0), String::new()), "{name} {version}");
        }
    }
    // That it would find something.
    let wrong = folder.path().join("wrong.yaml");
    fs::write(&wrong, "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {port: 80}\n")
        .expect("a file");
    let (code, said) = validate(&wrong, "1.34");
    assert!(code == Some(1) && said.contains("port"), "{code:?} {said}");
}

fn validate(file: &Path, version: &str) -> (Option<i32>, String) {
    let mut command = Command::new(paths::python());
    command.arg(paths::tests("checkers/kubernetes_schemas.py")).arg(version).arg(file);
    let out = process::run(&mut command, PATIENCE);
    (out.status.code(), String::from_utf8_lossy(&out.stdout).into_owned())
}

#[test]
fn its_own_tests_pass() {
    let Some(program) = installed("the chart's own tests", "helm-unittest/helm-unittest") else { return };
    let out = process::run(Command::new(program).args(["--strict", text(&chart())]), PATIENCE);
    let said = String::from_utf8_lossy(&out.stdout);
    // It makes a folder for snapshots beside them.
    let entries = fs::read_dir(chart().join("tests")).expect("its tests").flatten();
    let suites = entries.filter(|entry| entry.file_name().to_string_lossy().ends_with("_test.yaml")).count();
    let all = format!("Test Suites: {suites} passed, {suites} total");
    assert!(out.status.success() && said.contains(&all), "{said}");
}

#[test]
fn grafana_gets_the_dashboard_as_it_is() {
    let Some(helm) = Helm::new("the chart's dashboard") else { return };
    let chart = chart();
    let values = chart.join("ci/sidecar-values.yaml");
    let args = [
        "template",
        "rel",
        text(&chart),
        "--values",
        text(&values),
        "--set",
        "monitoring.dashboards=true",
        "--kube-version",
        "1.34.0",
    ];
    let rendered = helm.output(&[&args[..], &["--show-only", "templates/watching.yaml"]].concat());
    assert!(rendered.contains("grafana_dashboard: \"1\""), "{rendered}");
    let (_, data) = rendered.split_once("colophon.json: |\n").expect("the file's name");
    let unindented: String =
        data.lines().map(|line| format!("{}\n", line.strip_prefix("    ").unwrap_or(line))).collect();
    let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).expect("JSON");
    let file = fs::read_to_string(chart.join("dashboards/colophon.json")).expect("the dashboard");
    assert_eq!(read(&unindented), read(&file));
}

/// Lists of the same flags, the chart's and the injector's, and programs that have them or do not start.
#[test]
fn every_flag_that_is_rendered_exists() {
    for (file, command) in [
        ("helm/colophon/templates/gateway.yaml", "serve"),
        ("helm/colophon/templates/log.yaml", "serve"),
        ("helm/colophon/templates/provers.yaml", "prover"),
        ("helm/colophon/templates/monitor.yaml", "monitor"),
        ("injector/src/sidecar.rs", "serve"),
    ] {
        let (code, help) = colophon::run(&[command, "--help"]);
        assert_eq!(code, 0, "{help}");
        let known: Vec<&str> = help.split_whitespace().filter(|word| word.starts_with("--")).collect();
        let text = fs::read_to_string(paths::root().join(file)).expect("a file of the repository");
        let flags = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
        let flags: Vec<&str> = flags.filter(|word| word.starts_with("--") && word.len() > 3).collect();
        assert!(flags.len() >= 5, "{file}: {flags:?}");
        for flag in flags {
            assert!(known.contains(&flag), "{file}: colophon {command} has no {flag}");
        }
    }
}
