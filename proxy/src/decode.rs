//! Undoing a content encoding beside the stream, for the decoded digest and for reading: bounded, never in the way.

use crate::rolling::Rolling;
use colophon_reading::ResponseReader;
use colophon_receipt::fields::BodyDigest;
use std::io::{self, Write};

/// Decoded bytes past this are not looked at: the decoded digest is then absent. Decoding runs where the stream passes,
/// so a bomb must cost little time, too: 64 MiB take about as many milliseconds.
const MAX_DECODED: u64 = 64 << 20;

/// The largest window of the content coding `zstd`, 8 MiB (RFC 9659 section 3); the library's own limit is 128 MiB a body.
const ZSTD_WINDOW_LOG: u32 = 23;

/// A decoder for one body.
pub enum Decoder {
    /// `gzip`, `x-gzip`.
    Gzip(Box<flate2::write::MultiGzDecoder<Sink>>),
    /// `deflate` (zlib format).
    Deflate(Box<flate2::write::ZlibDecoder<Sink>>),
    /// `br`.
    Brotli(Box<brotli::DecompressorWriter<Sink>>),
    /// `zstd`.
    Zstd(Box<zstd::stream::write::Decoder<'static, Sink>>),
    /// Broke on its input.
    Failed,
}

/// Where decoded bytes go: a hash, and a reader or a bounded copy.
#[derive(Default)]
pub struct Sink {
    seen: Rolling,
    /// Learns the meaning of a response.
    pub reader: Option<ResponseReader>,
    /// Copy of a request, or of a response that is kept, up to a limit.
    pub copy: Option<crate::observe::Copy>,
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.seen.size() + bytes.len() as u64 > MAX_DECODED {
            return Err(io::Error::other("decoded body too large"));
        }
        self.seen.push(bytes);
        if let Some(reader) = &mut self.reader {
            reader.push(bytes);
        }
        if let Some(copy) = &mut self.copy {
            copy.push_slice(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink {
    /// A sink that also feeds a response's reader.
    pub fn reading(reader: Option<ResponseReader>) -> Sink {
        Sink { reader, ..Sink::default() }
    }

    /// A sink that also keeps a request's copy.
    pub fn copying(copy: Option<crate::observe::Copy>) -> Sink {
        Sink { copy, ..Sink::default() }
    }

    /// Digest and size of what was decoded.
    pub fn digest(&self) -> BodyDigest {
        self.seen.digest()
    }
}

impl Decoder {
    /// A decoder for a single content coding. Several codings at once are left undecoded.
    pub fn new(encoding: &[u8], sink: Sink) -> Option<Decoder> {
        Some(match encoding.to_ascii_lowercase().as_slice() {
            b"gzip" | b"x-gzip" => Decoder::Gzip(Box::new(flate2::write::MultiGzDecoder::new(sink))),
            b"deflate" => Decoder::Deflate(Box::new(flate2::write::ZlibDecoder::new(sink))),
            b"br" => Decoder::Brotli(Box::new(brotli::DecompressorWriter::new(sink, 4096))),
            b"zstd" => match zstd::stream::write::Decoder::new(sink) {
                Ok(mut decoder) => match decoder.window_log_max(ZSTD_WINDOW_LOG) {
                    Ok(()) => Decoder::Zstd(Box::new(decoder)),
                    Err(_) => Decoder::Failed,
                },
                Err(_) => Decoder::Failed,
            },
            _ => return None,
        })
    }

    /// Feeds encoded bytes and flushes what they decode to, so that a reader sees each event when it passes.
    pub fn push(&mut self, bytes: &[u8]) {
        let fed = match self {
            Decoder::Gzip(d) => d.write_all(bytes).and_then(|()| d.flush()),
            Decoder::Deflate(d) => d.write_all(bytes).and_then(|()| d.flush()),
            Decoder::Brotli(d) => d.write_all(bytes).and_then(|()| d.flush()),
            Decoder::Zstd(d) => d.write_all(bytes).and_then(|()| d.flush()),
            Decoder::Failed => Ok(()),
        };
        if fed.is_err() {
            *self = Decoder::Failed;
        }
    }

    /// What was decoded so far; `None` once the input was not what its header said.
    pub fn sink(&self) -> Option<&Sink> {
        match self {
            Decoder::Gzip(d) => Some(d.get_ref()),
            Decoder::Deflate(d) => Some(d.get_ref()),
            Decoder::Brotli(d) => Some(d.get_ref()),
            Decoder::Zstd(d) => Some(d.get_ref()),
            Decoder::Failed => None,
        }
    }

    /// The same, to take the reader out.
    pub fn sink_mut(&mut self) -> Option<&mut Sink> {
        match self {
            Decoder::Gzip(d) => Some(d.get_mut()),
            Decoder::Deflate(d) => Some(d.get_mut()),
            Decoder::Brotli(d) => Some(d.get_mut()),
            Decoder::Zstd(d) => Some(d.get_mut()),
            Decoder::Failed => None,
        }
    }
}

#[cfg(test)]
mod tests;
