//! What a TPM answers, whatever it is asked: a quote, its PCRs, a key, an HCL report. Whatever comes of that is no evidence of
//! hardware.
#![no_main]

use std::io::{Read, Write};

use colophon_attest::generate::tpm;
use colophon_attest::{Collateral, Question, verify};
use libfuzzer_sys::fuzz_target;

/// Gives one answer for each command.
struct Machine<'a> {
    left: &'a [u8],
    answer: Vec<u8>,
}

impl Write for Machine<'_> {
    /// The next answer: two bytes say how long it is. Its header is a good one but where the longest length is said.
    fn write(&mut self, command: &[u8]) -> std::io::Result<usize> {
        self.answer.clear();
        let Some((len, left)) = self.left.split_first_chunk::<2>() else { return Ok(command.len()) };
        let len = u16::from_le_bytes(*len);
        let (body, left) = left.split_at(left.len().min(len.into()));
        self.left = left;
        if len != u16::MAX {
            self.answer.extend([0x80, 0x01]);
            self.answer.extend((body.len() as u32 + 10).to_be_bytes());
            self.answer.extend([0; 4]);
        }
        self.answer.extend(body);
        // Codes that ask for another try only take time.
        if matches!(self.answer.get(8), Some(0x09)) {
            self.answer[8] = 0x01;
        }
        Ok(command.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Read for Machine<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        (&self.answer[..]).read(into).inspect(|read| drop(self.answer.drain(..*read)))
    }
}

fuzz_target!(|data: &[u8]| {
    let [kind, answers @ ..] = data else { return };
    let mut machine = Machine { left: answers, answer: Vec::new() };
    let made = match kind % 2 {
        0 => tpm::generate_by(&mut machine, &[7; 64]),
        _ => tpm::azure::generate_by(&mut machine, &[7; 64]),
    };
    if let Ok(evidence) = made {
        let question = Question { at: 1_795_651_200, ..Question::default() };
        assert!(verify(&evidence, &Collateral::default(), &question).is_err(), "it counts as hardware");
    }
});
