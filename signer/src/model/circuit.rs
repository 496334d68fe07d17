//! A circuit in a model certificate: what a prover's proofs about the model have to be under.

use serde::{Deserialize, Serialize};

use super::certificate::MAX_TEXT;

/// What a certificate says of one circuit. Digests are SHA-256 in lower-case hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Circuit {
    /// What its maker calls it.
    pub name: String,
    /// Of the verifying key: the commitment to the model.
    pub circuit: String,
    /// Of the model's file, one of those that the certificate lists.
    pub model: String,
    /// Of the prover's settings.
    pub settings: String,
    /// Of the structured reference string.
    pub srs: String,
    /// Where that comes from: `ceremony`, or `local` when its maker can forge proofs.
    pub setup: String,
    /// How the circuit differs from the model.
    pub quantisation: String,
}

impl Circuit {
    /// Whether it is one: no text empty or too long, every digest a digest.
    pub(super) fn is_sound(&self) -> bool {
        let texts = [&self.name, &self.setup, &self.quantisation];
        let digests = [&self.circuit, &self.model, &self.settings, &self.srs];
        texts.into_iter().all(|text| !text.is_empty() && text.len() <= MAX_TEXT)
            && digests.into_iter().all(|text| is_digest(text))
    }

    /// What of another circuit is not as here: the first thing, in words.
    pub fn differs_from(&self, other: &Circuit) -> Option<&'static str> {
        [
            (self.circuit != other.circuit, "another verifying key"),
            (self.srs != other.srs, "another SRS"),
            (self.model != other.model, "another model"),
            (self.settings != other.settings, "other settings"),
            (self.setup != other.setup, "another setup"),
            (self.quantisation != other.quantisation, "another quantisation"),
        ]
        .into_iter()
        .find_map(|(differs, what)| differs.then_some(what))
    }
}

fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}
