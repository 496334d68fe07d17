//! The stages before a prover's program, on their own.

use std::ffi::OsString;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    match colophon_provers::sandbox::enter(&arguments) {
        Ok(code) => code.into(),
        Err(error) => {
            eprintln!("prover-sandbox: {error}");
            ExitCode::from(125)
        }
    }
}
