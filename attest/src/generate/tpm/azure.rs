//! The vTPM of an Azure confidential VM: its HCL report, from the TPM's non-volatile memory, and a quote by the key that this names.
//!
//! Of the two kinds of such machines, SEV-SNP's hardware report is in the HCL report. TDX's quote over it is made by a service of
//! the host, which is not asked here.

use super::{Commands, DEVICE, NO_SESSIONS, PASSWORD, SESSIONS, open, unreadable, with_log};
use crate::bytes::Bytes;
use crate::evidence::TpmQuote;
use crate::generate::GenerateError;
use crate::tpm::azure::{Hcl, TDX};
use crate::{Evidence, Refusal};
use std::io::{Read, Write};
use std::path::Path;

/// Where Azure keeps the HCL report.
const INDEX: u32 = 0x0140_0001;
/// And the attestation key that it names.
const KEY: u32 = 0x8100_0003;
/// So much is read at once: every TPM gives that.
const CHUNK: u16 = 512;
/// A report is never longer; Azure's have 2,600 bytes.
const MAX_REPORT: u16 = 16 << 10;

const OWNER: u32 = 0x4000_0001;
const NV_READ: u32 = 0x14e;
const NV_READ_PUBLIC: u32 = 0x169;

/// The HCL report of this machine, and a quote of its vTPM over this report data.
///
/// # Errors
/// [`GenerateError`]: no TPM, none of Azure's, one of a TDX machine, or it refused.
pub fn generate(report_data: &[u8]) -> Result<Evidence, GenerateError> {
    let (hcl, quote) = quote(&mut open(Path::new(DEVICE))?, report_data)?;
    Ok(Evidence::AzureVtpm { hcl, td_quote: None, tpm: with_log(quote) })
}

/// The same of whatever answers as such a vTPM does, without this machine's event log.
///
/// # Errors
/// As [`generate`].
pub fn generate_by(tpm: &mut (impl Read + Write), report_data: &[u8]) -> Result<Evidence, GenerateError> {
    let (hcl, tpm) = quote(tpm, report_data)?;
    Ok(Evidence::AzureVtpm { hcl, td_quote: None, tpm })
}

/// Whether this machine's TPM has an HCL report.
///
/// # Errors
/// Says why not.
pub fn look() -> Result<(), GenerateError> {
    Commands(&mut open(Path::new(DEVICE))?).report_len().map(drop)
}

fn quote(tpm: &mut (impl Read + Write), report_data: &[u8]) -> Result<(Vec<u8>, TpmQuote), GenerateError> {
    let mut tpm = Commands(tpm);
    let report = tpm.report()?;
    let hcl = Hcl::parse(&report).map_err(unreadable)?;
    if hcl.kind == TDX {
        return Err(GenerateError::Unavailable(
            "its HCL report is of a TDX machine, whose quote Azure's own service makes: it is not asked"
                .into(),
        ));
    }
    let key = hcl.spki().map_err(unreadable)?;
    let quote = tpm.settled(KEY, &key, report_data)?;
    Ok((report, quote))
}

impl<T: Read + Write> Commands<'_, T> {
    /// How long the HCL report is, by the index's public area.
    fn report_len(&mut self) -> Result<u16, GenerateError> {
        let answer = self.command(NO_SESSIONS, NV_READ_PUBLIC, &INDEX.to_be_bytes()).map_err(|error| {
            GenerateError::Unavailable(format!(
                "no HCL report in it: no confidential VM of Azure's ({error})"
            ))
        })?;
        let read = || {
            let mut bytes = Bytes::new(&answer, "TPM index");
            let mut public = Bytes::new(bytes.sized_be()?, "TPM index");
            let (index, _hash, _attributes) = (public.u32_be()?, public.u16_be()?, public.u32_be()?);
            let _policy = public.sized_be()?;
            let len = public.u16_be()?;
            match index == INDEX && len <= MAX_REPORT {
                true => Ok(len),
                false => Err(Refusal::malformed("TPM index", "of another index, or too long")),
            }
        };
        read().map_err(unreadable)
    }

    fn report(&mut self) -> Result<Vec<u8>, GenerateError> {
        let len = self.report_len()?;
        let mut report = Vec::new();
        while report.len() < usize::from(len) {
            let at = report.len() as u16;
            let size = CHUNK.min(len - at);
            let mut parameters = OWNER.to_be_bytes().to_vec();
            parameters.extend(INDEX.to_be_bytes());
            parameters.extend(PASSWORD);
            parameters.extend(size.to_be_bytes());
            parameters.extend(at.to_be_bytes());
            let answer = self.command(SESSIONS, NV_READ, &parameters)?;
            let read = || {
                let mut bytes = Bytes::new(&answer, "TPM index");
                let _parameters = bytes.u32_be()?;
                let part = bytes.sized_be()?;
                match part.len() == usize::from(size) {
                    true => Ok(part.to_vec()),
                    false => Err(Refusal::malformed("TPM index", "it gives more or less than was asked for")),
                }
            };
            report.extend(read().map_err(unreadable)?);
        }
        Ok(report)
    }
}

#[cfg(test)]
mod tests;
