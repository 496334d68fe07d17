use super::*;

const TEXT: &[u8] = b"data: {\"x\":1}\n\ndata: [DONE]\n\n";

fn decoded(encoding: &str, pieces: &[&[u8]]) -> Option<BodyDigest> {
    let mut decoder = Decoder::new(encoding.as_bytes(), Sink::default()).unwrap();
    for piece in pieces {
        decoder.push(piece);
    }
    decoder.sink().map(Sink::digest)
}

fn plain() -> BodyDigest {
    BodyDigest { digest: colophon_receipt::merkle::sha256(TEXT), size: TEXT.len() as u64 }
}

fn gzip() -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(TEXT).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn each_coding_decodes_whole_and_byte_by_byte() {
    let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    zlib.write_all(TEXT).unwrap();
    let mut br = Vec::new();
    brotli::CompressorWriter::new(&mut br, 4096, 5, 22).write_all(TEXT).unwrap();
    let zstd = zstd::encode_all(TEXT, 3).unwrap();
    for (name, bytes) in
        [("gzip", gzip()), ("GZIP", gzip()), ("deflate", zlib.finish().unwrap()), ("br", br), ("zstd", zstd)]
    {
        assert_eq!(decoded(name, &[&bytes]), Some(plain()), "{name}");
        let bits: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(decoded(name, &bits), Some(plain()), "{name}, byte by byte");
    }
}

#[test]
fn what_is_not_what_its_header_says_has_no_decoded_digest() {
    for name in ["gzip", "deflate", "br", "zstd"] {
        assert_eq!(
            decoded(name, &[b"this is neither of them, at all, whatever the header claims"]),
            None,
            "{name}"
        );
    }
}

#[test]
fn unknown_and_stacked_codings_are_left_alone() {
    for name in ["compress", "gzip, br", "aes128gcm"] {
        assert!(Decoder::new(name.as_bytes(), Sink::default()).is_none(), "{name}");
    }
}

#[test]
fn a_frame_cannot_ask_for_a_huge_window() {
    for (log, taken) in [(23, true), (24, false), (27, false)] {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(log).unwrap();
        encoder.write_all(TEXT).unwrap();
        let frame = encoder.finish().unwrap();
        assert_eq!(decoded("zstd", &[&frame]).is_some(), taken, "2^{log}");
    }
}

#[test]
fn a_bomb_costs_no_memory_and_ends_at_the_limit() {
    // 1 MiB of zeros a member, repeated: about 1 kB each.
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(&vec![0; 1 << 20]).unwrap();
    let member = encoder.finish().unwrap();
    let mut decoder = Decoder::new(b"gzip", Sink::default()).unwrap();
    let members = (MAX_DECODED >> 20) + 1;
    for _ in 0..members {
        decoder.push(&member);
    }
    assert!(decoder.sink().is_none());
}
