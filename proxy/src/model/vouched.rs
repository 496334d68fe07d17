//! Model certificates that say what an upstream's evidence has to be.

use crate::model::{counts, read_certificate};
use colophon_attest::{Policy, Speaks};
use colophon_receipt::Hash;
use colophon_signer::model::ModelCertificate;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// An upstream's `attestation` that names a certificate instead of reference values.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct ByCertificate {
    model_certificate: String,
    #[serde(default)]
    speaks: Speaks,
}

/// What an upstream has to prove, as its policy says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Demanded {
    /// This.
    Values(Box<Policy>),
    /// What the model certificate with this digest says of machines.
    Certificate(Hash, Speaks),
}

/// A certificate that has to count each time that evidence is judged by what it says.
#[derive(Clone, Debug)]
pub(crate) struct Vouched {
    certificate: Arc<ModelCertificate>,
    authority: PathBuf,
}

impl Demanded {
    /// Reads an upstream's `attestation`; `name` is the upstream's.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub(crate) fn read(name: &str, spec: &serde_json::Value) -> Result<Demanded, String> {
        if spec.get("modelCertificate").is_none() {
            let policy = Policy::from_spec(name, spec).map_err(|error| error.to_string())?;
            return Ok(Demanded::Values(Box::new(policy)));
        }
        let named = ByCertificate::deserialize(spec).map_err(|error| error.to_string())?;
        let digest = hex::decode(&named.model_certificate).ok().and_then(|bytes| bytes.try_into().ok());
        let digest =
            digest.ok_or("modelCertificate is the digest of a certificate: 64 hexadecimal digits")?;
        Ok(Demanded::Certificate(digest, named.speaks))
    }

    /// The reference values; and the certificate that they stand in, if they do, by the files that were given.
    ///
    /// # Errors
    /// No file is that certificate; it says nothing of machines, or does not count.
    pub(crate) fn resolve(
        self,
        files: &[PathBuf],
        authority: Option<&Path>,
    ) -> anyhow::Result<(Policy, Option<Vouched>)> {
        let (digest, speaks) = match self {
            Demanded::Values(policy) => return Ok((*policy, None)),
            Demanded::Certificate(digest, speaks) => (digest, speaks),
        };
        let known = files.iter().map(|path| read_certificate(path).map(|(_, certificate)| certificate));
        let known = known.collect::<anyhow::Result<Vec<_>>>()?;
        let named = known.into_iter().find(|certificate| certificate.digest() == digest);
        let (Some(certificate), Some(authority)) = (named, authority) else {
            let digest = hex::encode(digest);
            anyhow::bail!(
                "no file of --upstream-model-cert, with --model-authority, is certificate {digest}"
            );
        };
        let spec = certificate.terms.as_ref().and_then(|terms| terms.attestation.as_ref());
        let spec = spec.ok_or_else(|| anyhow::anyhow!("the certificate says nothing of machines"))?;
        let policy = Policy::from_spec(certificate.name(), spec)?.with_speaks(speaks);
        let vouched = Vouched { certificate: certificate.into(), authority: authority.to_owned() };
        vouched.counts().map_err(anyhow::Error::msg)?;
        Ok((policy, Some(vouched)))
    }
}

impl Vouched {
    /// That the certificate counts now, by the authority's file as it is now. Blocks.
    ///
    /// # Errors
    /// Says why not.
    pub(crate) fn counts(&self) -> Result<(), String> {
        let refused =
            counts(&self.authority, &self.certificate).unwrap_or_else(|error| Some(format!("{error:#}")));
        refused.map_or(Ok(()), |why| Err(format!("the model certificate with the reference values: {why}")))
    }
}

#[cfg(test)]
mod tests;
