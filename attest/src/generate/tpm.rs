//! Quotes of this machine's TPM 2.0, by its own commands (TCG TPM 2.0 Library, part 3) over `/dev/tpmrm0`: no library is
//! linked, and a handful of commands is enough.
//!
//! The key is a restricted signing key of the null hierarchy: it needs no password, leaves nothing behind in the TPM, and is
//! another one after each start. Nothing leads from it to a manufacturer, so the evidence counts for `sign` at most, as that of
//! any software TPM does.

pub mod azure;

use super::{GenerateError, open_device};
use crate::bytes::Bytes;
use crate::evidence::TpmQuote;
use crate::{Collateral, Evidence, Question, Refusal, SimulatedRoots, verify};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::path::Path;
use std::time::Duration;

/// The kernel's resource manager: it keeps users of the TPM apart.
pub const DEVICE: &str = "/dev/tpmrm0";
/// The firmware's log of what it measured.
const EVENT_LOG: &str = "/sys/kernel/security/tpm0/binary_bios_measurements";
const MAX_LOG: u64 = 1 << 20;
/// A command's answer is never longer (`TPM_BUFFER_MAX`).
const MAX_ANSWER: usize = 4096;
/// Tries before PCRs that change between quote and reading are an error.
const TRIES: usize = 3;
/// A TPM that is testing itself, or has something else to do, says so and is asked again (`TPM_RC_RETRY`, `_TESTING`,
/// `_YIELDED`).
const AGAIN: [u32; 3] = [0x922, 0x90a, 0x908];
const RETRIES: usize = 40;
const PAUSE: Duration = Duration::from_millis(50);
/// What firmware and boot loader measure: 0 to 9.
const PCRS: [u8; 3] = [0xff, 0x03, 0x00];

const NO_SESSIONS: u16 = 0x8001;
const SESSIONS: u16 = 0x8002;
const CREATE_PRIMARY: u32 = 0x131;
const QUOTE: u32 = 0x158;
const FLUSH_CONTEXT: u32 = 0x165;
const PCR_READ: u32 = 0x17e;
const NULL_HIERARCHY: u32 = 0x4000_0007;
const ECC: u16 = 0x0023;
const SHA256: u16 = 0x000b;
const NULL: u16 = 0x0010;
const ECDSA: u16 = 0x0018;
const P256: u16 = 0x0003;
/// fixedTPM, fixedParent, sensitiveDataOrigin, userWithAuth, restricted, sign.
const RESTRICTED_SIGNING: u32 = 0x0005_0072;
/// An empty password as the only session.
const PASSWORD: [u8; 13] = [0, 0, 0, 9, 0x40, 0, 0, 9, 0, 0, 0, 0, 0];
/// DER in front of an uncompressed point of P-256.
const SPKI: [u8; 27] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04,
];

/// A quote of this machine's TPM over this report data, as its qualifying data.
///
/// # Errors
/// [`GenerateError`]: no TPM, no permission, or it refused.
pub fn generate(report_data: &[u8]) -> Result<Evidence, GenerateError> {
    let quote = quote(&mut open(Path::new(DEVICE))?, report_data)?;
    Ok(Evidence::Tpm(with_log(quote)))
}

/// The same of whatever answers as a TPM does, without this machine's event log: the socket of a software TPM, for example.
///
/// # Errors
/// As [`generate`].
pub fn generate_by(tpm: &mut (impl Read + Write), report_data: &[u8]) -> Result<Evidence, GenerateError> {
    quote(tpm, report_data).map(Evidence::Tpm)
}

/// The same with the firmware's event log. One that does not lead to these PCRs, of another bank for example, shows nothing.
fn with_log(quote: TpmQuote) -> TpmQuote {
    let log = File::open(EVENT_LOG).and_then(|file| {
        let mut log = Vec::new();
        file.take(MAX_LOG).read_to_end(&mut log).map(|_| log)
    });
    let logged = TpmQuote { event_log: log.ok(), ..quote.clone() };
    if judge(&Evidence::Tpm(logged.clone())).is_ok() { logged } else { quote }
}

/// Whether there is a TPM that may be asked.
///
/// # Errors
/// Says why not.
pub fn look() -> Result<(), GenerateError> {
    open(Path::new(DEVICE)).map(drop)
}

fn open(device: &Path) -> Result<File, GenerateError> {
    let missing = "no TPM 2.0, or none passed through to here";
    open_device(device, missing, Some("it usually takes the group tss"))
}

/// Makes a key, has it quote the PCRs, reads them, and lets go of the key.
fn quote(tpm: &mut (impl Read + Write), report_data: &[u8]) -> Result<TpmQuote, GenerateError> {
    let mut tpm = Commands(tpm);
    let (handle, key) = tpm.key()?;
    let made = tpm.settled(handle, &key, report_data);
    let flushed = tpm.command(NO_SESSIONS, FLUSH_CONTEXT, &handle.to_be_bytes());
    made.and_then(|quote| flushed.map(|_| quote))
}

fn judge(evidence: &Evidence) -> Result<(), Refusal> {
    let simulated = SimulatedRoots::default();
    let question = Question { simulated: Some(&simulated), ..Question::default() };
    verify(evidence, &Collateral::default(), &question).map(drop)
}

struct Commands<'a, T>(&'a mut T);

impl<T: Read + Write> Commands<'_, T> {
    /// Sends one command, again where the TPM asks for that; gives the answer behind its header.
    fn command(&mut self, tag: u16, code: u32, parameters: &[u8]) -> Result<Vec<u8>, GenerateError> {
        let mut command = tag.to_be_bytes().to_vec();
        command.extend((10 + parameters.len() as u32).to_be_bytes());
        command.extend(code.to_be_bytes());
        command.extend(parameters);
        let refused = |error| GenerateError::Refused { what: format!("the TPM, command {code:#x}"), error };
        for _ in 0..RETRIES {
            let mut answer = self.exchange(&command).map_err(|error| refused(error.to_string()))?;
            match u32::from_be_bytes([answer[6], answer[7], answer[8], answer[9]]) {
                0 => return Ok(answer.split_off(10)),
                code if AGAIN.contains(&code) => pause(),
                code => return Err(refused(format!("it refuses, code {code:#x}"))),
            }
        }
        Err(GenerateError::Busy("the TPM"))
    }

    /// The device takes a command in one write and gives its answer in one read; a socket may give it in pieces.
    fn exchange(&mut self, command: &[u8]) -> std::io::Result<Vec<u8>> {
        self.0.write_all(command)?;
        let mut answer = vec![0; MAX_ANSWER];
        let mut have = 0;
        loop {
            let read = self.0.read(&mut answer[have..])?;
            have += read;
            let whole = answer.get(2..6).filter(|_| have >= 10);
            let whole = whole.map(|len| u32::from_be_bytes([len[0], len[1], len[2], len[3]]) as usize);
            if whole == Some(have) {
                answer.truncate(have);
                return Ok(answer);
            }
            if read == 0 || have == MAX_ANSWER {
                return Err(std::io::Error::new(ErrorKind::InvalidData, "it answers in no known form"));
            }
        }
    }

    /// Makes a key: its handle, and its SubjectPublicKeyInfo.
    fn key(&mut self) -> Result<(u32, Vec<u8>), GenerateError> {
        let mut public = Vec::new();
        for word in [ECC, SHA256] {
            public.extend(word.to_be_bytes());
        }
        public.extend(RESTRICTED_SIGNING.to_be_bytes());
        // No policy; no symmetric cipher; ECDSA with SHA-256 on P-256; no key derivation; any point.
        for word in [0, NULL, ECDSA, SHA256, P256, NULL, 0, 0] {
            public.extend(word.to_be_bytes());
        }
        let mut parameters = NULL_HIERARCHY.to_be_bytes().to_vec();
        parameters.extend(PASSWORD);
        // No password and no data of ours.
        parameters.extend([0, 4, 0, 0, 0, 0]);
        parameters.extend((public.len() as u16).to_be_bytes());
        parameters.extend(public);
        // No outside information, no creation PCRs.
        parameters.extend([0; 6]);
        let answer = self.command(SESSIONS, CREATE_PRIMARY, &parameters)?;
        let read = || {
            let mut bytes = Bytes::new(&answer, "TPM key");
            let handle = bytes.u32_be()?;
            let _parameters = bytes.u32_be()?;
            let mut public = Bytes::new(bytes.sized_be()?, "TPM key");
            let (kind, _name, _attributes) = (public.u16_be()?, public.u16_be()?, public.u32_be()?);
            let _policy = public.sized_be()?;
            let scheme =
                (public.u16_be()?, public.u16_be()?, public.u16_be()?, public.u16_be()?, public.u16_be()?);
            if (kind, scheme) != (ECC, (NULL, ECDSA, SHA256, P256, NULL)) {
                return Err(Refusal::malformed("TPM key", "it is another key than the one asked for"));
            }
            let mut spki = SPKI.to_vec();
            for _ in 0..2 {
                let number = public.sized_be()?;
                let zeros = 32usize.checked_sub(number.len());
                let zeros = zeros.ok_or_else(|| Refusal::malformed("TPM key", "its point is too long"))?;
                spki.extend(std::iter::repeat_n(0, zeros));
                spki.extend(number);
            }
            Ok((handle, spki))
        };
        read().map_err(unreadable)
    }

    /// A quote by this key with the PCRs that it is over.
    fn settled(&mut self, handle: u32, key: &[u8], report_data: &[u8]) -> Result<TpmQuote, GenerateError> {
        for _ in 0..TRIES {
            let (message, signature) = self.quoted(handle, report_data)?;
            let quote =
                TpmQuote { message, signature, key: key.to_vec(), pcrs: self.pcrs()?, event_log: None };
            // What was extended between the two would not fit.
            if judge(&Evidence::Tpm(quote.clone())).is_ok() {
                return Ok(quote);
            }
        }
        Err(GenerateError::Busy("the TPM, whose PCRs change, or are signed by another key,"))
    }

    /// What the key signs: the quote and its signature.
    fn quoted(&mut self, handle: u32, report_data: &[u8]) -> Result<(Vec<u8>, Vec<u8>), GenerateError> {
        let mut parameters = handle.to_be_bytes().to_vec();
        parameters.extend(PASSWORD);
        parameters.extend((report_data.len() as u16).to_be_bytes());
        parameters.extend(report_data);
        parameters.extend(NULL.to_be_bytes());
        parameters.extend(selection(PCRS));
        let answer = self.command(SESSIONS, QUOTE, &parameters)?;
        let read = || {
            let mut bytes = Bytes::new(&answer, "TPM quote");
            let len = bytes.u32_be()? as usize;
            let mut parameters = Bytes::new(bytes.take(len)?, "TPM quote");
            let message = parameters.sized_be()?.to_vec();
            Ok((message, parameters.rest().to_vec()))
        };
        read().map_err(unreadable)
    }

    /// The PCRs, of which one answer holds eight.
    fn pcrs(&mut self) -> Result<BTreeMap<u8, String>, GenerateError> {
        let mut found = BTreeMap::new();
        let mut left = PCRS;
        while left != [0; 3] {
            let answer = self.command(NO_SESSIONS, PCR_READ, &selection(left))?;
            let read = || {
                let mut bytes = Bytes::new(&answer, "TPM PCRs");
                let _updates = bytes.u32_be()?;
                let (banks, bank, size) = (bytes.u32_be()?, bytes.u16_be()?, bytes.u8()?);
                if (banks, bank, size) != (1, SHA256, 3) {
                    return Err(Refusal::malformed(
                        "TPM PCRs",
                        "they are of another bank; is SHA-256 allocated?",
                    ));
                }
                let selected: [u8; 3] = bytes.array()?;
                let mut digests = Vec::new();
                for _ in 0..bytes.u32_be()? {
                    digests.push(hex::encode(bytes.sized_be()?));
                }
                Ok((selected, digests))
            };
            let (selected, digests) = read().map_err(unreadable)?;
            let numbers = (0..24u8).filter(|n| selected[usize::from(n / 8)] >> (n % 8) & 1 == 1);
            let before = found.len();
            found.extend(numbers.zip(digests));
            if found.len() == before {
                return Err(unreadable(Refusal::malformed("TPM PCRs", "it gives none of them")));
            }
            left.iter_mut().zip(selected).for_each(|(left, selected)| *left &= !selected);
        }
        Ok(found)
    }
}

#[allow(clippy::disallowed_methods, reason = "all of this blocks, and says so")]
fn pause() {
    std::thread::sleep(PAUSE);
}

/// One SHA-256 bank.
fn selection(pcrs: [u8; 3]) -> Vec<u8> {
    let mut selection = vec![0, 0, 0, 1];
    selection.extend(SHA256.to_be_bytes());
    selection.push(3);
    selection.extend(pcrs);
    selection
}

fn unreadable(refusal: Refusal) -> GenerateError {
    GenerateError::Refused { what: "the TPM's answer".into(), error: refusal.to_string() }
}

#[cfg(test)]
mod tests;
