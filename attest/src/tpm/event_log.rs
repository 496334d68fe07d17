//! The firmware's crypto-agile event log (TCG PC Client Platform Firmware Profile, section 10), replayed.

use super::Hash;
use crate::Refusal;
use crate::bytes::Bytes;
use std::collections::BTreeMap;

const WHAT: &str = "TPM event log";
/// Firmware writes a few hundred.
const MAX_EVENTS: usize = 20_000;
/// `EV_NO_ACTION`: extends nothing.
const NO_ACTION: u32 = 3;
/// A log of this kind begins with an event of the old format that holds this.
const SPECIFICATION: &[u8] = b"Spec ID Event03\0";
/// PCR 0 may begin with the locality of startup instead of zeros.
const STARTUP_LOCALITY: &[u8] = b"StartupLocality\0";

/// Replays a log, and checks that it leads to these PCR values. Returns how many events it has. PCRs that were quoted
/// and that no event extends have to hold zeros, or ones for 17 to 22, which have not been reset.
pub(super) fn replay(log: &[u8], bank: Hash, quoted: &BTreeMap<u8, Vec<u8>>) -> Result<usize, Refusal> {
    let wrong = |why: &str| Refusal::malformed(WHAT, why);
    let mut bytes = Bytes::new(log, WHAT);
    let sizes = header(&mut bytes)?;
    let mut pcrs: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
    let mut events = 0;
    while !bytes.is_empty() && bytes.rest().iter().any(|byte| *byte != 0xff) {
        if events == MAX_EVENTS {
            return Err(wrong("more than 20000 events"));
        }
        let (pcr, kind, digests) = (bytes.u32_le()?, bytes.u32_le()?, bytes.u32_le()?);
        let mut digest = None;
        for _ in 0..digests {
            let algorithm = bytes.u16_le()?;
            let len =
                sizes.get(&algorithm).ok_or_else(|| wrong("an algorithm that its head does not name"))?;
            let value = bytes.take(usize::from(*len))?;
            if Hash::of(algorithm).ok() == Some(bank) {
                digest = Some(value);
            }
        }
        let len = bytes.u32_le()?;
        let data = bytes.take(len as usize)?;
        events += 1;
        if kind == NO_ACTION {
            if pcr == 0
                && let Some([locality]) = data.strip_prefix(STARTUP_LOCALITY)
            {
                let mut start = vec![0; bank.len()];
                start[bank.len() - 1] = *locality;
                pcrs.insert(0, start);
            }
            continue;
        }
        let digest = digest.ok_or_else(|| wrong("an event without a digest of the quoted bank"))?;
        let value = pcrs.entry(pcr).or_insert_with(|| vec![0; bank.len()]);
        *value = bank.digest(&[value.as_slice(), digest].concat());
    }
    for (number, value) in quoted {
        let untouched = || match number {
            17..=22 => vec![0xff; bank.len()],
            _ => vec![0; bank.len()],
        };
        let replayed = pcrs.get(&u32::from(*number)).cloned().unwrap_or_else(untouched);
        if replayed != *value {
            return Err(Refusal::Identity(format!(
                "the event log does not lead to the quoted value of PCR {number}"
            )));
        }
    }
    Ok(events)
}

/// The first event, and the sizes of digests by algorithm that it names.
fn header(bytes: &mut Bytes<'_>) -> Result<BTreeMap<u16, u16>, Refusal> {
    let wrong = |why: &str| Refusal::malformed(WHAT, why);
    let (_pcr, kind) = (bytes.u32_le()?, bytes.u32_le()?);
    let _digest = bytes.take(20)?;
    let len = bytes.u32_le()?;
    let data = bytes.take(len as usize)?;
    if kind != NO_ACTION || !data.starts_with(SPECIFICATION) {
        return Err(wrong("it is not crypto-agile (Spec ID Event03)"));
    }
    let mut data = Bytes::new(&data[SPECIFICATION.len()..], WHAT);
    let _class_and_version = data.take(8)?;
    let count = data.u32_le()?;
    let mut sizes = BTreeMap::new();
    for _ in 0..count.min(16) {
        let (algorithm, len) = (data.u16_le()?, data.u16_le()?);
        sizes.insert(algorithm, len);
    }
    Ok(sizes)
}
