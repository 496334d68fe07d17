//! A circuit directory (`examples/provers/ezkl/circuit.py` makes them): what it says of itself, and what its files are.

use crate::files;
use crate::model::digests::{self, Digesting};
use crate::model::folder;
use crate::model::{counts, read_certificate};
use anyhow::Context as _;
use bytes::Bytes;
use colophon_chat::{MAX_FILE, Model};
use colophon_provers::backend::certified::{Judge, Names};
use colophon_receipt::Hash;
use colophon_signer::model::Circuit as Certified;
use serde::Deserialize;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// A description is never longer.
const MAX_BYTES: usize = 1 << 20;
/// The format of a circuit's description that is known.
const FORMAT: &str = "colophon-ezkl-circuit-v1";
/// The files that a certificate names: verifying key, settings, structured reference string.
const NAMED: [&str; 3] = ["vk", "settings.json", "srs"];

/// A circuit's description.
#[derive(Clone, Debug, Deserialize)]
pub struct Circuit {
    format: String,
    /// What its maker calls it.
    #[serde(default)]
    name: Option<String>,
    /// SHA-256 of the verifying key: the commitment to the model.
    pub circuit: String,
    /// SHA-256 of the model's file.
    #[serde(default)]
    pub model: Option<String>,
    #[serde(default)]
    settings: Option<String>,
    #[serde(default)]
    srs: Option<String>,
    #[serde(default)]
    setup: Option<String>,
    /// How the circuit differs from the model.
    pub quantisation: String,
    /// What a classifier is shown, by name and in order. A language model has none.
    #[serde(default)]
    pub features: Vec<String>,
    /// SHA-256 of a language model's `tokenizer.json`.
    #[serde(default)]
    pub tokenizer: Option<String>,
    /// Digest of its chat template (docs/PROVERS.md).
    #[serde(default)]
    pub template: Option<String>,
    /// How its token ids follow from its scores.
    #[serde(default)]
    pub decode: Option<String>,
    /// Tokens of prompt and answer that a language model's circuit is shown, at most; where it does not say, its prover knows.
    #[serde(default)]
    pub context: Option<usize>,
    /// SHA-256 of the model certificate that names it.
    #[serde(skip)]
    pub certificate: Option<String>,
}

/// A certificate that names a circuit.
#[derive(Clone)]
pub struct Certificate {
    /// Its digest.
    pub digest: Hash,
    /// Its file.
    pub file: Bytes,
    /// What proofs have to be under.
    pub names: Names,
    /// Whether it counts, whenever that is asked.
    pub judge: Judge,
}

impl Circuit {
    /// Reads the description in a circuit directory.
    ///
    /// # Errors
    /// There is none, or its format is not known.
    pub fn read(directory: &Path) -> anyhow::Result<Circuit> {
        let path = directory.join("circuit.json");
        let circuit: Circuit = serde_json::from_slice(&files::read(&path, MAX_BYTES)?)
            .with_context(|| format!("{} is no circuit's description", path.display()))?;
        anyhow::ensure!(
            circuit.format == FORMAT,
            "{}: the format `{}` is not known; it has to be {FORMAT}",
            path.display(),
            circuit.format
        );
        let language = [&circuit.tokenizer, &circuit.template, &circuit.decode];
        let is_language = language.iter().all(|member| member.is_some());
        anyhow::ensure!(
            is_language != language.iter().all(|member| member.is_none())
                && is_language == circuit.features.is_empty(),
            "{}: a circuit is shown `features`, or has `tokenizer`, `template` and `decode`",
            path.display()
        );
        Ok(circuit)
    }

    /// The folder of the language model that the circuit was made of; `None` of a classifier's.
    ///
    /// # Errors
    /// It is missing, or has another tokenizer or template.
    pub fn language(&self, folder: Option<&Path>) -> anyhow::Result<Option<Arc<Model>>> {
        let folder = match (self.tokenizer.is_some(), folder) {
            (true, Some(folder)) => folder,
            (true, None) => anyhow::bail!("its circuit is a language model's: `model` has to say its folder"),
            (false, Some(_)) => anyhow::bail!("its circuit is a classifier's, which has no `model` folder"),
            (false, None) => return Ok(None),
        };
        let model = Model::read(|name| {
            let path = folder.join(name);
            path.try_exists()?.then(|| files::read(&path, MAX_FILE)).transpose()
        })
        .with_context(|| format!("the model's folder {}", folder.display()))?;
        anyhow::ensure!(
            self.tokenizer.as_ref() == Some(&model.tokenizer_digest)
                && self.template.as_ref() == Some(&model.template_digest),
            "the circuit was made with another tokenizer or chat template than {} has",
            folder.display()
        );
        Ok(Some(Arc::new(model)))
    }

    /// What a certificate says of it. The directory's files are read, and have to be those of its description.
    ///
    /// # Errors
    /// One is missing or another, or the description does not say all that a certificate does.
    pub fn described(&self, directory: &Path) -> anyhow::Result<Certified> {
        let of = |member: &str, said: &Option<String>| {
            said.clone().with_context(|| format!("{}: circuit.json says no `{member}`", directory.display()))
        };
        let certified = Certified {
            name: of("name", &self.name)?,
            circuit: self.circuit.clone(),
            model: of("model", &self.model)?,
            settings: of("settings", &self.settings)?,
            srs: of("srs", &self.srs)?,
            setup: of("setup", &self.setup)?,
            quantisation: self.quantisation.clone(),
        };
        let mut found = folder::list(directory, &[], false)?;
        found.retain(|file| NAMED.contains(&file.name.as_str()));
        let how = Digesting { cache: None, progress: &|_| {}, stop: &AtomicBool::new(false) };
        let digests = digests::digest(&found, &how)?;
        for (name, said) in NAMED.iter().zip([&certified.circuit, &certified.settings, &certified.srs]) {
            let file = digests.iter().find(|(file, _)| file == name);
            let (_, digest) =
                file.with_context(|| format!("{}: the file `{name}` is missing", directory.display()))?;
            let digest = hex::encode(digest);
            anyhow::ensure!(
                digest == *said,
                "{}: the file `{name}` is {digest}, and circuit.json says {said}",
                directory.display()
            );
        }
        Ok(certified)
    }

    /// The certificate in a file, if it names this circuit with these files and counts now: by the authority, if one is given.
    ///
    /// # Errors
    /// What of it is another, or why the certificate does not count.
    pub fn certified(
        &mut self,
        directory: &Path,
        file: &Path,
        authority: Option<&Path>,
    ) -> anyhow::Result<Certificate> {
        let (bytes, certificate) = read_certificate(file)?;
        let judge: Judge = match authority {
            Some(path) => {
                let (path, certificate) = (path.to_owned(), certificate.clone());
                Arc::new(move || counts(&path, &certificate).map_err(|error| format!("{error:#}")))
            }
            None => Arc::new(|| Ok(None)),
        };
        if let Some(why) = judge().map_err(anyhow::Error::msg)? {
            anyhow::bail!("{}: {why}", file.display());
        }
        let own = self.described(directory)?;
        let Some(named) = certificate.circuit(&own.circuit) else {
            anyhow::bail!(
                "another verifying key: the certificate {} does not name the circuit {}",
                file.display(),
                own.circuit
            );
        };
        if let Some(what) = named.differs_from(&own) {
            anyhow::bail!(
                "{what}: the circuit in {} is not as the certificate {} names it",
                directory.display(),
                file.display()
            );
        }
        let digest = certificate.digest();
        let certificate = hex::encode(digest);
        self.certificate = Some(certificate.clone());
        let names = Names {
            certificate,
            circuit: own.circuit,
            model: own.model,
            settings: own.settings,
            srs: own.srs,
        };
        Ok(Certificate { digest, file: bytes.into(), names, judge })
    }
}
