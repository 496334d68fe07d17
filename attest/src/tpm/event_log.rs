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

/// PCRs that the firmware itself extends; a log that is whole says what is in them.
const FIRMWARES: std::ops::RangeInclusive<u8> = 0..=7;

/// What a log showed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Replayed {
    /// How many events it has.
    pub(super) events: usize,
    /// The quoted PCRs that it has no event of. Software may have extended them later (Linux's integrity measurements, for one), or
    /// somebody took all of their events out of the log: that cannot be told apart.
    pub(super) untold: Vec<u8>,
}

/// Replays a log, and checks that it leads to these PCR values: to all of the firmware's, and to all others that it has an
/// event of. A firmware's PCR that no event extends has to hold zeros.
pub(super) fn replay(log: &[u8], bank: Hash, quoted: &BTreeMap<u8, Vec<u8>>) -> Result<Replayed, Refusal> {
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
                // Later it would take back what the events before it say.
                if pcrs.insert(0, start).is_some() {
                    return Err(wrong("a startup locality after an event of PCR 0"));
                }
            }
            continue;
        }
        let digest = digest.ok_or_else(|| wrong("an event without a digest of the quoted bank"))?;
        let value = pcrs.entry(pcr).or_insert_with(|| vec![0; bank.len()]);
        *value = bank.digest(&[value.as_slice(), digest].concat());
    }
    let mut untold = Vec::new();
    for (number, value) in quoted {
        // Those of a dynamic launch hold ones until there is one.
        let untouched = if (17..=22).contains(number) { 0xff } else { 0 };
        match pcrs.get(&u32::from(*number)) {
            Some(replayed) if replayed == value => {}
            None if value.iter().all(|byte| *byte == untouched) => {}
            None if !FIRMWARES.contains(number) => untold.push(*number),
            _ => {
                return Err(Refusal::Identity(format!(
                    "the event log does not lead to the quoted value of PCR {number}"
                )));
            }
        }
    }
    Ok(Replayed { events, untold })
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
