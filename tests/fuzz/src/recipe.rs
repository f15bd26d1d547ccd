//! How an input becomes an archive: two bytes say how, the rest is a tar stream.
//!
//! A fuzzer does not guess checksums, and would never get past the compression without this. It makes the blocks from the
//! description of the format, not with the code under test. Judges nothing.

use std::io::Write as _;

use flate2::{Compression, GzBuilder, write::GzEncoder};

/// A tar block.
pub const SLOT_BYTES: usize = 512;

/// What the second byte of the recipe counts: the data of a block, less one.
const STEP_BYTES: usize = 64;

/// How the stream is wrapped: the first byte of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrap {
    /// Not at all: any bytes can be an archive.
    Bare,
    /// One gzip member, as `gzip` makes it.
    Gzip,
    /// Many gzip members without an index, as `cat` makes them.
    Members,
    /// Gzip blocks with their index.
    GzipBlocks,
    /// One zstd frame of unknown size, as `zstd` makes it from a pipe.
    Zstd,
    /// Zstd blocks.
    ZstdBlocks,
}

impl Wrap {
    /// All of them; the first byte of an input counts in here.
    pub const ALL: [Self; 6] = [Self::Bare, Self::Gzip, Self::Members, Self::GzipBlocks, Self::Zstd, Self::ZstdBlocks];
}

/// Set in the first byte when the headers get the checksums they should have.
pub const MENDED: u8 = 0x80;

/// The archive that an input describes.
pub fn archive(input: &[u8]) -> Vec<u8> {
    let [how, step, stream @ ..] = input else { return input.to_vec() };
    let mut stream = stream.to_vec();
    if how & MENDED != 0 {
        mend(&mut stream);
    }
    let mut blocks = stream.chunks(STEP_BYTES * (1 + usize::from(*step)));
    match Wrap::ALL[usize::from(how & !MENDED) % Wrap::ALL.len()] {
        Wrap::Bare => stream,
        Wrap::Gzip => member(&stream),
        Wrap::Members => blocks.flat_map(member).collect(),
        Wrap::GzipBlocks => blocks.flat_map(indexed).collect(),
        Wrap::Zstd => zstd::encode_all(stream.as_slice(), 1).unwrap(),
        Wrap::ZstdBlocks => blocks.try_fold(Vec::new(), frame).unwrap(),
    }
}

/// Gives every header the checksum that it should have.
fn mend(stream: &mut [u8]) {
    for block in stream.chunks_exact_mut(SLOT_BYTES).filter(|block| block[257..].starts_with(b"ustar")) {
        let mut header = tar::Header::from_byte_slice(block).clone();
        header.set_cksum();
        block.copy_from_slice(header.as_bytes());
    }
}

/// One gzip member, as any program makes it.
pub fn member(data: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

/// A member with an extra field `VS`: its whole length, then that of its data.
pub fn indexed(data: &[u8]) -> Vec<u8> {
    let mut encoder = GzBuilder::new().extra(*b"VS\x08\0........").write(Vec::new(), Compression::new(6));
    encoder.write_all(data).unwrap();
    let mut packed = encoder.finish().unwrap();
    let lengths = [packed.len(), data.len()].map(|length| u32::try_from(length).unwrap().to_le_bytes());
    packed[16..24].copy_from_slice(&lengths.concat());
    packed
}

/// `all` with a frame behind it that has its size and a checksum.
pub fn frame(mut all: Vec<u8>, data: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = zstd::bulk::Compressor::new(1)?;
    encoder.include_checksum(true)?;
    encoder.include_contentsize(true)?;
    all.extend(encoder.compress(data)?);
    Ok(all)
}
