//! Simulated reports of AMD and NVIDIA, and Nitro documents.

use super::der::{Certificate, Curve, oid, tlv};
use super::{Faults, Simulation};
use crate::Evidence;
use sha2::{Digest, Sha384};

/// The chip of all simulated SEV-SNP machines; a Turin's id has eight bytes of it.
const CHIP: [u8; 64] = [0xc7; 64];
/// Bootloader, TEE, SNP, microcode; a Turin's FMC before them.
const TCB: [u8; 4] = [4, 0, 24, 219];
const FMC: u8 = 2;

pub(super) fn snp(simulation: &Simulation, report_data: [u8; 64], faults: Faults) -> Evidence {
    let [bootloader, tee, snp, microcode] = TCB;
    let tcb = [bootloader, tee, 0, 0, 0, 0, snp - u8::from(faults.outdated), microcode];
    report(simulation, ["ARK-Milan", "SEV-Milan", "Milan-B1"], &[], &CHIP, tcb, &report_data, faults, |put| {
        put(0, &[2]);
    })
}

pub(super) fn turin(simulation: &Simulation, report_data: [u8; 64], faults: Faults) -> Evidence {
    let [bootloader, tee, snp, microcode] = TCB;
    let tcb = [FMC, bootloader, tee, snp - u8::from(faults.outdated), 0, 0, 0, microcode];
    let fmc = [("1.3.6.1.4.1.3704.1.3.9", vec![2, 1, FMC])];
    report(
        simulation,
        ["ARK-Turin", "SEV-Turin", "Turin"],
        &fmc,
        &CHIP[..8],
        tcb,
        &report_data,
        faults,
        |put| {
            put(0, &[5]);
            // CPUID family and model, and the mitigations of version 5.
            put(0x188, &[0x1a, 0x02, 1]);
            put(0x1f8, &[1]);
        },
    )
}

/// A report by a VCEK of this root, authority and line, with what `more` puts where its version has it.
#[allow(clippy::too_many_arguments)] // of two lines, right above
fn report(
    simulation: &Simulation,
    [root, between, line]: [&str; 3],
    fmc: &[(&str, Vec<u8>)],
    chip: &[u8],
    tcb: [u8; 8],
    report_data: &[u8; 64],
    faults: Faults,
    more: impl Fn(&mut dyn FnMut(usize, &[u8])),
) -> Evidence {
    let root = simulation.amd_root(root);
    let between = simulation.identity(between, Curve::P384, Certificate::authority(), Some(&root));
    let svn = |value: u8| if value < 0x80 { vec![2, 1, value] } else { vec![2, 2, 0, value] };
    let mut extensions = vec![
        ("1.3.6.1.4.1.3704.1.2", tlv(0x16, line.as_bytes())),
        ("1.3.6.1.4.1.3704.1.3.1", svn(TCB[0])),
        ("1.3.6.1.4.1.3704.1.3.2", svn(TCB[1])),
        ("1.3.6.1.4.1.3704.1.3.3", svn(TCB[2])),
        ("1.3.6.1.4.1.3704.1.3.8", svn(TCB[3])),
        ("1.3.6.1.4.1.3704.1.4", chip.to_vec()),
    ];
    extensions.extend_from_slice(fmc);
    let key = simulation.identity("SEV-VCEK", Curve::P384, Certificate::leaf(&extensions), Some(&between));
    let policy = 0x30000 | u64::from(faults.migration) << 18 | u64::from(faults.debug) << 19;
    let mut report = vec![0; crate::snp::REPORT_LEN];
    let mut put = |at: usize, bytes: &[u8]| report[at..at + bytes.len()].copy_from_slice(bytes);
    put(0x08, &policy.to_le_bytes());
    put(0x34, &[1]);
    put(0x38, &tcb);
    put(0x40, &[1]);
    put(0x50, report_data);
    put(0x90, &Sha384::digest(b"measurement"));
    put(0x180, &tcb);
    put(0x1a0, chip);
    put(0x1a0, &[chip[0] ^ u8::from(faults.other_device)]);
    put(0x1e0, &tcb);
    put(0x1f0, &tcb);
    more(&mut put);
    let signature = key.sign(&report[..0x2a0]);
    for (number, half) in signature.chunks(48).enumerate() {
        let at = 0x2a0 + 72 * number;
        report[at..at + 48].iter_mut().zip(half.iter().rev()).for_each(|(to, from)| *to = *from);
    }
    Evidence::SnpReport { report, certificates: vec![key.certificate, between.certificate] }
}

pub(super) fn nvidia(
    simulation: &Simulation,
    device: &str,
    oid_of_fwid: &str,
    nonce: [u8; 32],
    faults: Faults,
) -> Evidence {
    let root = simulation.nvidia_root();
    let between = simulation.identity("GSP BROM", Curve::P384, Certificate::authority(), Some(&root));
    let fwid = Sha384::digest(b"firmware");
    let algorithm = [oid("2.16.840.1.101.3.4.2.2"), tlv(0x04, &fwid)].concat();
    let extensions = [(oid_of_fwid, tlv(0x30, &tlv(0x30, &algorithm)))];
    let key = simulation.identity(device, Curve::P384, Certificate::leaf(&extensions), Some(&between));
    let mut reported = fwid.to_vec();
    reported[0] ^= u8::from(faults.other_device);
    let fields: [(u16, &[u8]); 5] = [
        (3, b"999.00\0"),
        (6, &[0, 0x9f, 0, 0x96, 1, 0, 0, 0]),
        (20, &reported),
        (21, &[0x55]),
        (36, &[0, 0]),
    ];
    let opaque: Vec<u8> = fields
        .iter()
        .filter(|(number, _)| *number != 20 || !faults.no_fwid)
        .flat_map(|(number, value)| {
            [&number.to_le_bytes(), &(value.len() as u16).to_le_bytes()[..], value].concat()
        })
        .collect();
    let record: Vec<u8> = (1..=3u8)
        .flat_map(|index| [&[index, 1, 51, 0, 1, 48, 0][..], &Sha384::digest([index])].concat())
        .collect();
    let mut report = vec![0x11, 0xe0, 1, 0xff];
    report.extend(nonce);
    report.extend([0, 0x11, 0x60, 0, 0, 3]);
    report.extend(&(record.len() as u32).to_le_bytes()[..3]);
    report.extend(record);
    report.extend([9; 32]);
    report.extend((opaque.len() as u16).to_le_bytes());
    report.extend(opaque);
    report.extend(key.sign(&report));
    Evidence::Nvidia { report, certificates: vec![key.certificate, between.certificate] }
}

pub(super) fn nitro(
    simulation: &Simulation,
    user_data: &[u8],
    nonce: &[u8],
    at: u64,
    faults: Faults,
) -> Evidence {
    let root = simulation.nitro_root();
    let key = simulation.identity("i-0.us-east-1.aws", Curve::P384, Certificate::leaf(&[]), Some(&root));
    let mut payload = vec![0xa9];
    text(&mut payload, "module_id");
    text(&mut payload, "i-0-simulated");
    text(&mut payload, "digest");
    text(&mut payload, "SHA384");
    text(&mut payload, "timestamp");
    payload.push(0x1b);
    payload.extend((at * 1000).to_be_bytes());
    text(&mut payload, "pcrs");
    payload.push(0xa3);
    for number in 0..3u8 {
        payload.push(number);
        let pcr = if faults.debug { vec![0; 48] } else { Sha384::digest([number]).to_vec() };
        bytes(&mut payload, &pcr);
    }
    text(&mut payload, "certificate");
    bytes(&mut payload, &key.certificate);
    text(&mut payload, "cabundle");
    payload.push(0x81);
    bytes(&mut payload, &root.certificate);
    text(&mut payload, "public_key");
    payload.push(0xf6);
    text(&mut payload, "user_data");
    bytes(&mut payload, user_data);
    text(&mut payload, "nonce");
    bytes(&mut payload, nonce);
    let protected = [0xa1, 1, 0x38, 0x22];
    let mut signed = vec![0x84];
    text(&mut signed, "Signature1");
    bytes(&mut signed, &protected);
    bytes(&mut signed, &[]);
    bytes(&mut signed, &payload);
    let mut document = vec![0x84];
    bytes(&mut document, &protected);
    document.push(0xa0);
    bytes(&mut document, &payload);
    bytes(&mut document, &key.sign(&signed));
    Evidence::Nitro { document }
}

fn text(out: &mut Vec<u8>, text: &str) {
    head(out, 0x60, text.len());
    out.extend(text.as_bytes());
}

fn bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    head(out, 0x40, bytes.len());
    out.extend(bytes);
}

/// A CBOR head in its shortest form, up to 65535.
fn head(out: &mut Vec<u8>, major: u8, len: usize) {
    match len {
        0..24 => out.push(major | len as u8),
        24..256 => out.extend([major | 24, len as u8]),
        _ => {
            out.push(major | 25);
            out.extend((len as u16).to_be_bytes());
        }
    }
}
