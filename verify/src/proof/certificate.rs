//! The model certificate that a proof's statement names: under which circuit, model and structured reference string it has to be.

use colophon_receipt::proof::Statement;
use colophon_signer::model::{Circuit, ModelCertificate};

use crate::Bodies;
use crate::model;
use crate::text::shown;

use super::Reader;

/// What the reader's certificate says of the circuit.
#[derive(Default)]
pub(super) struct CertificateSide {
    /// The circuit as the certificate names it; absent where the reader has no certificate that the statement names.
    pub(super) named: Option<Circuit>,
    /// The authority of the trust file that vouches for it, escaped.
    pub(super) by: Option<String>,
    /// Why nobody does, for people.
    pub(super) why: Option<String>,
}

/// Whether the statement is about what the certificate names. `at`: when the record was made, µs; `all`: the certificates that
/// proofs of the receipt name.
///
/// # Errors
/// It is about another certificate than the reader gave for it, another circuit or another model.
pub(super) fn of(
    statement: &Statement,
    at: u64,
    reader: &Reader<'_>,
    all: &[&str],
) -> Result<CertificateSide, String> {
    let Reader { stamps, trust, bodies } = *reader;
    let without = |why: &str| Ok(CertificateSide { why: Some(why.into()), ..CertificateSide::default() });
    let Some(named) = &statement.model_certificate else {
        return match bodies.circuit {
            Some(_) => without("its statement names no model certificate, and you gave one"),
            None => Ok(CertificateSide::default()),
        };
    };
    let Some(certificate) = given(named, bodies, all)? else {
        return without(
            "its statement names a model certificate that you did not give (--circuit-cert FILE)",
        );
    };
    let other = |what: &str, said: &str| {
        let said = shown(said);
        Err(format!("{what}: the statement has {said}, which the model certificate {named} does not name"))
    };
    let Some(circuit) = certificate.circuit(&statement.circuit) else {
        return other("another verifying key", &statement.circuit);
    };
    match statement.weights.as_deref() {
        Some(model) if model == circuit.model => {}
        said => return other("another model", said.unwrap_or("none")),
    }
    if statement.quantisation != circuit.quantisation {
        return other("another quantisation", &statement.quantisation);
    }
    let mut side = CertificateSide { named: Some(circuit.clone()), ..CertificateSide::default() };
    match model::judge(&certificate, at, stamps, trust) {
        Ok((authority, _)) => side.by = Some(shown(authority.name())),
        Err((_, why, _)) => {
            side.why = Some(format!("of the model certificate that its statement names: {why}"))
        }
    }
    Ok(side)
}

/// The reader's certificate that the statement names: that for the proof, or the record's where both are one.
fn given(named: &str, bodies: &Bodies, all: &[&str]) -> Result<Option<ModelCertificate>, String> {
    if let Some(file) = &bodies.circuit {
        let certificate = ModelCertificate::parse(file)
            .map_err(|error| format!("your certificate (--circuit-cert): {error}"))?;
        let digest = hex::encode(certificate.digest());
        return match digest == *named {
            true => Ok(Some(certificate)),
            // It is for another proof of this receipt.
            false if all.contains(&digest.as_str()) => Ok(None),
            false => Err(format!(
                "another model certificate: yours is {digest}, the proof's statement names {named}"
            )),
        };
    }
    // One that is none is the check `model`'s to refuse.
    let record = bodies.model.as_ref().and_then(|file| ModelCertificate::parse(file).ok());
    Ok(record.filter(|certificate| hex::encode(certificate.digest()) == *named))
}

impl CertificateSide {
    /// Whether the reader's program looked with the SRS that the certificate names, if one does. False where it does not say.
    ///
    /// # Errors
    /// It looked with another.
    pub(super) fn has_srs(&self, said: Option<&str>) -> Result<bool, String> {
        match (&self.named, said) {
            (None, _) => Ok(true),
            (Some(_), None) => Ok(false),
            (Some(circuit), Some(said)) if circuit.srs == said => Ok(true),
            (Some(circuit), Some(said)) => Err(format!(
                "another SRS: your prover program looked with {}, the model certificate names {}",
                shown(said),
                circuit.srs
            )),
        }
    }

    /// That the reader's program did not look with other settings than the certificate names, if it says which.
    ///
    /// # Errors
    /// It did.
    pub(super) fn has_settings(&self, said: Option<&str>) -> Result<(), String> {
        match (&self.named, said) {
            (Some(circuit), Some(said)) if circuit.settings != said => Err(format!(
                "other settings: your prover program looked with {}, the model certificate names {}",
                shown(said),
                circuit.settings
            )),
            _ => Ok(()),
        }
    }

    /// Whether a ceremony may have made the parameters, by the certificate.
    pub(super) fn allows_ceremony(&self) -> bool {
        self.named.as_ref().is_none_or(|circuit| circuit.setup == "ceremony")
    }
}
