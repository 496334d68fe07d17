//! Bounded reading of fixed layouts.

use crate::Refusal;

/// Bytes read from the front, or a refusal that names what they are of.
#[derive(Clone, Copy)]
pub(crate) struct Bytes<'a> {
    rest: &'a [u8],
    what: &'static str,
}

impl<'a> Bytes<'a> {
    pub(crate) fn new(bytes: &'a [u8], what: &'static str) -> Bytes<'a> {
        Bytes { rest: bytes, what }
    }

    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], Refusal> {
        match self.rest.split_at_checked(len) {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(taken)
            }
            None => Err(Refusal::malformed(self.what, "it ends too early")),
        }
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Refusal> {
        let what = self.what;
        self.take(N)?.try_into().map_err(|_| Refusal::malformed(what, "it ends too early"))
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Refusal> {
        Ok(self.array::<1>()?[0])
    }

    pub(crate) fn u16_le(&mut self) -> Result<u16, Refusal> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub(crate) fn u16_be(&mut self) -> Result<u16, Refusal> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    pub(crate) fn u32_le(&mut self) -> Result<u32, Refusal> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(crate) fn u32_be(&mut self) -> Result<u32, Refusal> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    pub(crate) fn u64_be(&mut self) -> Result<u64, Refusal> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    /// Big-endian length of 16 bits, then so many bytes (`TPM2B`).
    pub(crate) fn sized_be(&mut self) -> Result<&'a [u8], Refusal> {
        let len = self.u16_be()?;
        self.take(usize::from(len))
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn end(self) -> Result<(), Refusal> {
        if self.is_empty() { Ok(()) } else { Err(Refusal::malformed(self.what, "bytes behind its end")) }
    }
}

/// Printable ASCII as it is, everything else escaped, at most 120 characters: vendors' words in reports.
pub(crate) fn shown(bytes: &[u8]) -> String {
    bytes.iter().take(120).flat_map(|byte| std::ascii::escape_default(*byte)).map(char::from).collect()
}
