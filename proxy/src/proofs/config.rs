//! The file of `--provers`: who proves, what, and what may be spent on it.

use super::asker::Asker;
use super::circuit::{Certificate, Circuit};
use super::http::Http;
use super::nats::{FromNats, Nats, NatsPart};
use super::webhook::{WebhookPart, Webhooks};
use crate::files;
use anyhow::Context as _;
use bytes::Bytes;
use clap::Args;
use colophon_chat::Model;
use colophon_provers::backend::certified::Certified;
use colophon_provers::backend::exec::Exec;
use colophon_provers::sandbox::Sandbox;
use colophon_provers::{Backend, Budget, Limits};
use colophon_receipt::Hash;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::task::TaskTracker;

/// A file is never longer.
const MAX_BYTES: usize = 1 << 20;
/// A token's file is never longer.
const MAX_TOKEN: usize = 4096;
/// What provers elsewhere are still told has so long when the process ends.
const FAREWELL: Duration = Duration::from_secs(3);
/// Workers of one process, at most.
const MAX_WORKERS: usize = 64;
/// The hidden word by which this program becomes a prover's sandbox.
pub const SANDBOX: &str = "prover-sandbox";

/// Who proves.
#[derive(Clone, Debug, Args)]
pub struct ProofOptions {
    /// YAML file of the provers that rules may name (docs/PROVERS.md); without it no rule gets `zk`
    #[arg(long = "provers", env = "COLOPHON_PROVERS", value_name = "FILE")]
    pub provers: Option<PathBuf>,
}

/// The provers of one process.
#[derive(Clone)]
pub struct Provers {
    pub(super) all: Vec<Prover>,
    pub(super) workers: usize,
    pub(super) budgets: BTreeMap<String, Budget>,
    pub(super) webhooks: Option<Webhooks>,
    pub(super) nats: Option<Nats>,
    /// Bytes of bodies that may be kept in memory for a language model's proof.
    pub(super) keep_bodies: Option<usize>,
    /// What provers elsewhere are still to be told.
    farewells: TaskTracker,
}

/// One prover with what it proves.
#[derive(Clone)]
pub struct Prover {
    /// Who does it.
    pub backend: Arc<dyn Backend>,
    /// Its circuit.
    pub circuit: Circuit,
    /// The model certificate that names the circuit.
    pub certificate: Option<Certificate>,
    /// Of a language model's circuit, the model's folder: it turns bodies into token ids.
    pub model: Option<Arc<Model>>,
    /// What one try may use.
    pub limits: Limits,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct File {
    provers: Vec<ProverPart>,
    #[serde(default = "one")]
    workers: usize,
    #[serde(default)]
    budgets: BTreeMap<String, BudgetPart>,
    webhook: Option<WebhookPart>,
    nats: Option<NatsPart>,
    keep_bodies: Option<usize>,
}

fn one() -> usize {
    1
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct ProverPart {
    name: String,
    /// Proves and verifies; of a prover elsewhere: `verifier`.
    program: Option<Vec<String>>,
    url: Option<String>,
    token_file: Option<PathBuf>,
    ca: Option<PathBuf>,
    verifier: Option<Vec<String>>,
    circuit: PathBuf,
    model_cert: Option<PathBuf>,
    model_authority: Option<PathBuf>,
    model: Option<PathBuf>,
    #[serde(default)]
    limits: LimitsPart,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
struct LimitsPart {
    cpu_seconds: Option<u64>,
    seconds: Option<u64>,
    memory: Option<u64>,
    disk: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct BudgetPart {
    jobs_per_hour: Option<u64>,
    cpu_seconds_per_hour: Option<f64>,
}

impl Provers {
    /// Nobody.
    pub(super) fn none() -> Provers {
        Provers {
            all: Vec::new(),
            workers: 0,
            budgets: BTreeMap::new(),
            webhooks: None,
            nats: None,
            keep_bodies: None,
            farewells: TaskTracker::new(),
        }
    }

    /// Reads the file and the descriptions of the circuits that it names. What begins with `./` or `../` is from the file's folder.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn load(path: &Path) -> anyhow::Result<Provers> {
        let path = std::path::absolute(path)?;
        Provers::read(&path).with_context(|| format!("--provers {}", path.display()))
    }

    fn read(path: &Path) -> anyhow::Result<Provers> {
        let text = files::read_text(path, MAX_BYTES)?;
        let file: File = serde_saphyr::from_str(&text)?;
        let folder = path.parent().unwrap_or(Path::new("/"));
        anyhow::ensure!(file.workers <= MAX_WORKERS, "at most {MAX_WORKERS} workers");
        anyhow::ensure!(!file.provers.is_empty(), "it names no prover");
        let farewells = TaskTracker::new();
        let mut all: Vec<Prover> = Vec::new();
        for part in file.provers {
            anyhow::ensure!(
                !all.iter().any(|known| known.backend.name() == part.name),
                "the prover `{}` is there twice",
                part.name
            );
            let name = part.name.clone();
            all.push(part.read(folder, &farewells).with_context(|| format!("the prover `{name}`"))?);
        }
        let budget = |part: BudgetPart| Budget {
            jobs_per_hour: part.jobs_per_hour,
            cpu_seconds_per_hour: part.cpu_seconds_per_hour,
        };
        let budgets = file.budgets.into_iter().map(|(rule, part)| (rule, budget(part))).collect();
        let webhooks = file.webhook.map(|part| part.read(folder)).transpose().context("`webhook`")?;
        let nats = file.nats.map(|part| part.read(folder)).transpose().context("`nats`")?;
        let (workers, keep_bodies) = (file.workers, file.keep_bodies);
        Ok(Provers { all, workers, budgets, webhooks, nats, keep_bodies, farewells })
    }

    /// The file of a model certificate that names a circuit here.
    pub fn certificate(&self, digest: &Hash) -> Option<Bytes> {
        let all = self.all.iter().filter_map(|prover| prover.certificate.as_ref());
        all.filter(|known| known.digest == *digest).map(|known| known.file.clone()).next()
    }

    /// Where the worker of this name takes jobs from, if the file names a NATS server.
    pub fn from_nats(&self, worker: String) -> Option<FromNats> {
        self.nats.clone().map(|nats| FromNats::new(nats, worker))
    }

    /// Waits until provers elsewhere know what is needed of them no more, [`FAREWELL`] at most: one that hangs holds up no end. For
    /// whoever has dropped its worker.
    pub async fn told(&self) {
        self.farewells.close();
        if tokio::time::timeout(FAREWELL, self.farewells.wait()).await.is_err() {
            tracing::warn!(
                "a prover elsewhere does not answer: it may go on with what nobody needs any more"
            );
        }
    }

    /// All of them.
    pub fn backends(&self) -> impl Iterator<Item = Arc<dyn Backend>> {
        self.all.iter().map(|prover| prover.backend.clone())
    }

    /// The prover of this name; of a rule that names none, the only one.
    pub fn named(&self, name: Option<&str>) -> Option<&Prover> {
        match (name, self.all.as_slice()) {
            (Some(name), all) => all.iter().find(|prover| prover.backend.name() == name),
            (None, [only]) => Some(only),
            (None, _) => None,
        }
    }
}

impl ProverPart {
    /// Who proves: a program here, or somebody elsewhere with a verifier here.
    fn backend(&self, folder: &Path, farewells: &TaskTracker) -> anyhow::Result<Arc<dyn Backend>> {
        let elsewhere = self.token_file.is_some() || self.ca.is_some() || self.verifier.is_some();
        match (&self.program, &self.url, &self.verifier) {
            (Some(program), None, None) if !elsewhere => {
                Ok(Arc::new(exec(&self.name, program, folder).context("`program`")?))
            }
            (None, Some(url), Some(verifier)) => {
                let token = |path: &PathBuf| files::read_text(&folder.join(path), MAX_TOKEN);
                let token = self.token_file.as_ref().map(token).transpose().context("`tokenFile`")?;
                let ca = self.ca.as_ref().map(|path| folder.join(path));
                let server =
                    Asker::new(url, token.as_deref().map(str::trim), ca.as_deref()).context("`url`")?;
                let verifier = exec(&self.name, verifier, folder).context("`verifier`")?;
                Ok(Arc::new(Http { server, verifier, farewells: farewells.clone() }))
            }
            _ => anyhow::bail!(
                "either `program`, or `url` (with `tokenFile` and `ca` if need be) and `verifier`, a program that looks at what comes \
                 from there"
            ),
        }
    }

    fn read(self, folder: &Path, farewells: &TaskTracker) -> anyhow::Result<Prover> {
        let (mut backend, defaults) = (self.backend(folder, farewells)?, Limits::default());
        let directory = folder.join(self.circuit);
        let mut circuit = Circuit::read(&directory)?;
        let authority = self.model_authority.map(|path| folder.join(path));
        anyhow::ensure!(
            authority.is_none() || self.model_cert.is_some(),
            "`modelAuthority` without `modelCert`"
        );
        let certificate = match self.model_cert {
            Some(file) => Some(circuit.certified(&directory, &folder.join(file), authority.as_deref())?),
            None => None,
        };
        if let Some(certificate) = &certificate {
            let (names, judge) = (certificate.names.clone(), certificate.judge.clone());
            backend = Arc::new(Certified { backend, names, judge });
        }
        let model = circuit.language(self.model.map(|model| folder.join(model)).as_deref())?;
        Ok(Prover {
            backend,
            model,
            circuit,
            certificate,
            limits: Limits {
                cpu_seconds: self.limits.cpu_seconds.unwrap_or(defaults.cpu_seconds),
                seconds: self.limits.seconds.unwrap_or(defaults.seconds),
                memory: self.limits.memory.unwrap_or(defaults.memory),
                disk: self.limits.disk.unwrap_or(defaults.disk),
                artefact: defaults.artefact,
            },
        })
    }
}

/// A program in the sandbox. A word that begins with `./` or `../` is from the file's folder.
fn exec(name: &str, program: &[String], folder: &Path) -> anyhow::Result<Exec> {
    let here = |word: &String| -> OsString {
        match word.starts_with("./") || word.starts_with("../") {
            true => folder.join(word).into_os_string(),
            false => word.into(),
        }
    };
    anyhow::ensure!(!program.is_empty(), "it is empty");
    Ok(Exec { name: name.to_owned(), program: program.iter().map(here).collect(), sandbox: sandbox()? })
}

/// How every prover's program is held: by this program itself.
///
/// # Errors
/// This program's own file cannot be found.
pub fn sandbox() -> anyhow::Result<Sandbox> {
    let shim = std::env::current_exe().context("this program's own file cannot be found")?;
    Ok(Sandbox { shim: vec![shim.into_os_string(), SANDBOX.into()], network: false })
}

#[cfg(test)]
mod tests;
