//! `--prover-cmd`: the reader's own program looks at a proof, by the prover protocol (docs/PROVERS.md).

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use colophon_receipt::proof::Statement;
use serde_json::{Value, json};

use crate::proof::{Accepted, NotProven, ProofVerifier};

/// Longest time that the program may take.
const PATIENCE: Duration = Duration::from_secs(300);
/// How often it is looked whether it has ended.
const POLL: Duration = Duration::from_millis(10);
/// Most bytes that it may say.
const MAX_SAID: u64 = 4 << 20;
/// How many folders are tried before it is given up.
const TRIES: u32 = 100;

/// A command line, in words.
#[derive(Clone, Debug)]
pub(super) struct ProverCommand(Vec<String>);

impl ProverCommand {
    /// Splits at spaces. A word that names a file or folder here is made absolute, since the program runs in a folder of its
    /// own. The program itself is looked for in `PATH` unless it has a `/`: what lies here may have come with the receipt.
    pub(super) fn new(text: &str) -> Result<ProverCommand, String> {
        let word =
            |(at, word): (usize, &str)| match (at > 0 || word.contains('/')) && Path::new(word).exists() {
                true => std::path::absolute(word)
                    .map_or_else(|_| word.to_owned(), |path| path.display().to_string()),
                false => word.to_owned(),
            };
        let words: Vec<String> = text.split_whitespace().enumerate().map(word).collect();
        match words.is_empty() {
            true => Err("--prover-cmd names no program".into()),
            false => Ok(ProverCommand(words)),
        }
    }

    fn run(&self, folder: &Path, call: &[u8]) -> Result<Vec<u8>, String> {
        let (program, arguments) = self.0.split_first().ok_or("no program")?;
        let mut command = Command::new(program);
        command.args(arguments).current_dir(folder).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(|error| format!("{program}: {error}"))?;
        let (Some(mut stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("no pipes".into());
        };
        let call = call.to_vec();
        // A program that does not read must not hold us up.
        thread::spawn(move || drop(stdin.write_all(&call)));
        let (told, said) = mpsc::channel();
        thread::spawn(move || {
            let mut bytes = Vec::new();
            let read = stdout.take(MAX_SAID + 1).read_to_end(&mut bytes);
            // Nobody waits for it any more where this fails.
            let _ = told.send(read.map(|_| bytes));
        });
        let said = said.recv_timeout(PATIENCE);
        if said.is_err()
            || said.as_ref().is_ok_and(|said| said.as_ref().is_ok_and(|b| b.len() as u64 > MAX_SAID))
        {
            // It goes on, or floods.
            let _ = child.kill();
        }
        // Whoever has closed its output may still run on.
        let ended = within(&mut child, PATIENCE).map_err(|error| error.to_string())?;
        match said {
            Err(_) => Err(format!("it did not end within {} s", PATIENCE.as_secs())),
            Ok(Err(error)) => Err(error.to_string()),
            Ok(Ok(bytes)) if bytes.len() as u64 > MAX_SAID => {
                Err(format!("it says more than {MAX_SAID} bytes"))
            }
            Ok(Ok(_)) if !ended.success() => Err(format!("it ended with {ended}")),
            Ok(Ok(bytes)) => Ok(bytes),
        }
    }
}

/// Waits for the end of a program, and makes an end of it when it takes too long.
#[allow(clippy::disallowed_methods, reason = "there is no runtime here")]
fn within(child: &mut Child, patience: Duration) -> std::io::Result<ExitStatus> {
    let begun = Instant::now();
    while begun.elapsed() < patience {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        thread::sleep(POLL);
    }
    child.kill()?;
    child.wait()
}

impl ProofVerifier for ProverCommand {
    fn verify(&self, statement: &Statement, artefact: &[u8]) -> Result<Accepted, NotProven> {
        let folder =
            Folder::new().map_err(|error| NotProven::Unknown(format!("no folder for it: {error}")))?;
        let call = json!({"protocol": "colophon-prover-v1", "op": "verify", "statement": statement});
        fs::write(folder.0.join("artefact"), artefact)
            .map_err(|error| NotProven::Unknown(format!("its folder: {error}")))?;
        let said = self.run(&folder.0, format!("{call}\n").as_bytes()).map_err(NotProven::Unknown)?;
        judge(&said)
    }
}

/// What the last line says.
fn judge(said: &[u8]) -> Result<Accepted, NotProven> {
    let unknown = |why: &str| Err(NotProven::Unknown(why.to_owned()));
    let mut last = None;
    for line in said.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        match serde_json::from_slice::<Value>(line) {
            Ok(value) => last = Some(value),
            Err(_) => return unknown("it does not speak the prover protocol"),
        }
    }
    let Some(last) = last else { return unknown("it says nothing") };
    if let Some(error) = last.get("error") {
        let message = error.get("message").and_then(Value::as_str).unwrap_or("no reason given").to_owned();
        return Err(match error.get("refused") {
            // Not having the circuit is no judgement.
            Some(Value::Bool(true)) if error.get("unknown") != Some(&Value::Bool(true)) => {
                NotProven::Refused(message)
            }
            _ => NotProven::Unknown(message),
        });
    }
    let result = last.get("result");
    match result.and_then(|result| result.get("accepted")) {
        Some(Value::Bool(true)) => {
            let text = |name| result.and_then(|result| result.get(name)?.as_str()).map(str::to_owned);
            let claims = result.and_then(|result| result.get("claims")).cloned();
            Ok(Accepted { setup: text("setup"), srs: text("srs"), settings: text("settings"), claims })
        }
        Some(Value::Bool(false)) => Err(NotProven::Refused("not accepted".into())),
        _ => unknown("it ended without a result"),
    }
}

/// A folder of its own, gone afterwards.
struct Folder(PathBuf);

impl Folder {
    fn new() -> std::io::Result<Folder> {
        let base = std::env::temp_dir();
        let mut number = 0;
        loop {
            let path = base.join(format!("colophon-proof-{}-{number}", std::process::id()));
            let mut builder = fs::DirBuilder::new();
            #[cfg(unix)]
            std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
            match builder.create(&path) {
                Ok(()) => return Ok(Folder(path)),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && number < TRIES => {
                    number += 1
                }
                Err(error) => return Err(error),
            }
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

#[cfg(test)]
mod tests;
