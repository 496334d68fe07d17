//! Real clients: the SDKs for Python and Node and curl, against llama.cpp through the proxy, checked by the scripts in
//! `tests/clients` with the helpers of `examples/clients`.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use colophon_tests::colophon::Colophon;
use colophon_tests::llama::{Llama, MODEL};
use colophon_tests::{client, paths, process};

fn check(program: &Path, script: &str) {
    let llama = Llama::start();
    let colophon = Colophon::start(&llama.url(), |options| {
        options.sign_all().arg(&["--message-digests"]);
    });
    let trust = colophon.folder().join("trust.json");
    std::fs::write(&trust, client::get(colophon.listen(), "/.well-known/colophon/keys").body).unwrap();
    let mut command = Command::new(program);
    command.arg(paths::tests("clients").join(script));
    command.env("BASE_URL", format!("http://{}", colophon.listen())).env("DIRECT_URL", llama.url());
    command.env("TRUST", trust).env("VERIFY", paths::program("colophon-verify")).env("MODEL", MODEL);
    if let Some(modules) = paths::installed("npm/node_modules") {
        command.env("NODE_MODULES", modules);
    }
    let output = process::run(&mut command, Duration::from_secs(240));
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{script}: {}\n{said}", output.status);
    assert!(said.contains("ok - "), "{script} checked nothing:\n{said}");
}

#[test]
fn openai_for_python() {
    check(&paths::python(), "openai_py.py");
}

#[test]
fn anthropic_for_python() {
    check(&paths::python(), "anthropic_py.py");
}

#[test]
fn openai_for_node() {
    check(Path::new("node"), "openai_node.mjs");
}

#[test]
fn curl() {
    check(Path::new("sh"), "curl.sh");
}
