//! One block of an archive: up to 1 MiB of the tar stream, compressed by itself.
//!
//! Gzip: a member with an extra field `VS` of 8 bytes: the member's whole length, then the length of its data, both
//! little-endian `u32`. A reader that does not know the field skips it (RFC 1952). A reader that knows it finds the next member
//! without unpacking this one, and so can unpack on all cores. The data is raw deflate, then CRC-32 and length as in any member.
//!
//! Zstd: a frame with its content size and checksum; its length is found by walking its block headers.
//!
//! A *slot* is a block of 512 bytes whose compressed length does not depend on its content, so that a tar header can be
//! written again once the size of its member is known. Gzip stores it; zstd pads the frame with a skippable one.

use flate2::{Decompress, FlushDecompress, Status};
use libdeflater::{CompressionLvl, Compressor};
use zstd::zstd_safe;

use super::Compression;

/// The data of a full block.
pub(super) const BLOCK_BYTES: usize = 1 << 20;

/// The data of a slot: one tar header.
pub(super) const SLOT_BYTES: usize = 512;

/// The header of a gzip member as it is written here.
pub(super) const GZIP_HEADER_BYTES: usize = 24;
const GZIP_TRAILER_BYTES: usize = 8;
/// Magic, deflate, FEXTRA, no time, no hints, unknown system, 12 bytes of extra field: `VS`, 8 bytes.
const GZIP_START: [u8; 16] = [0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 255, 12, 0, b'V', b'S', 8, 0];

/// What incompressible data grows by at most: 5 bytes for each stored piece of 64 KiB, or a little more in zstd, and headers.
const MAX_GROWTH_BYTES: usize = 8192;
/// The largest compressed block.
pub(super) const MAX_PACKED_BYTES: usize = BLOCK_BYTES + MAX_GROWTH_BYTES;

/// The length of a zstd slot: a compressed tar header has 100 to 530 bytes.
const ZSTD_SLOT_BYTES: usize = 1024;
const SKIPPABLE_MAGIC: u32 = 0x184d_2a50;
const SKIPPABLE_HEADER_BYTES: usize = 8;

/// Compresses blocks; makes one for each worker.
pub(super) enum Encoder {
    Gzip(Compressor),
    Zstd(Box<zstd::bulk::Compressor<'static>>),
    None,
}

/// The compression library failed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("a block could not be compressed: {0}")]
pub(super) struct NotEncoded(String);

impl Encoder {
    /// An encoder for `level`, which is brought into the range of the format.
    pub(super) fn new(compression: Compression, level: u8) -> Result<Self, NotEncoded> {
        let level = i32::from(level.clamp(1, compression.highest_level().max(1)));
        Ok(match compression {
            Compression::Gzip => {
                let level = CompressionLvl::new(level).map_err(|error| NotEncoded(format!("{error:?}")))?;
                Self::Gzip(Compressor::new(level))
            }
            Compression::Zstd => {
                let bad = |error: std::io::Error| NotEncoded(error.to_string());
                let mut made = zstd::bulk::Compressor::new(level).map_err(bad)?;
                made.include_checksum(true).map_err(bad)?;
                made.include_contentsize(true).map_err(bad)?;
                Self::Zstd(Box::new(made))
            }
            Compression::None => Self::None,
        })
    }

    /// Compresses one block.
    pub(super) fn encode(&mut self, data: Vec<u8>) -> Result<Vec<u8>, NotEncoded> {
        match self {
            Self::None => Ok(data),
            Self::Zstd(encoder) => encoder.compress(&data).map_err(|error| NotEncoded(error.to_string())),
            Self::Gzip(encoder) => {
                let bound = encoder.deflate_compress_bound(data.len());
                let mut out = vec![0; GZIP_HEADER_BYTES + bound + GZIP_TRAILER_BYTES];
                let room = out.get_mut(GZIP_HEADER_BYTES..GZIP_HEADER_BYTES + bound).unwrap_or_default();
                let packed = encoder.deflate_compress(&data, room).map_err(|error| NotEncoded(format!("{error:?}")))?;
                out.truncate(GZIP_HEADER_BYTES + packed);
                Ok(wrap(out, &data))
            }
        }
    }

    /// Compresses a tar header to a length that does not depend on what is in it.
    pub(super) fn slot(&mut self, header: &[u8; SLOT_BYTES]) -> Result<Vec<u8>, NotEncoded> {
        match self {
            Self::None => Ok(header.to_vec()),
            Self::Gzip(_) => {
                let mut out = vec![0; GZIP_HEADER_BYTES];
                // One stored block, the last: its length, the length's complement, the bytes.
                let length = 512_u16;
                out.push(1);
                out.extend(length.to_le_bytes());
                out.extend((!length).to_le_bytes());
                out.extend(header);
                Ok(wrap(out, header))
            }
            Self::Zstd(_) => {
                let mut out = self.encode(header.to_vec())?;
                let padding = ZSTD_SLOT_BYTES
                    .checked_sub(out.len() + SKIPPABLE_HEADER_BYTES)
                    .and_then(|padding| u32::try_from(padding).ok())
                    .ok_or_else(|| NotEncoded("a tar header does not fit into its slot".to_owned()))?;
                out.extend(SKIPPABLE_MAGIC.to_le_bytes());
                out.extend(padding.to_le_bytes());
                out.resize(ZSTD_SLOT_BYTES, 0);
                Ok(out)
            }
        }
    }
}

/// Fills the header in front of `packed` raw deflate in and puts the trailer behind it.
fn wrap(mut packed: Vec<u8>, data: &[u8]) -> Vec<u8> {
    let total = low32(packed.len() + GZIP_TRAILER_BYTES);
    for (byte, value) in packed.iter_mut().zip(GZIP_START.into_iter().chain(total).chain(low32(data.len()))) {
        *byte = value;
    }
    packed.extend(libdeflater::crc32(data).to_le_bytes());
    packed.extend(low32(data.len()));
    packed
}

/// A length below 4 GiB, which every block is, as four bytes.
fn low32(length: usize) -> [u8; 4] {
    u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes()
}

/// A compressed block that was found in an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CompressedUnit {
    /// Its length in the archive.
    pub(super) packed: usize,
    /// The length of its data.
    pub(super) data: usize,
}

/// The gzip member that begins with `head`, if it is one of ours. Needs [`GZIP_HEADER_BYTES`].
pub(super) fn gzip_unit(head: &[u8]) -> Option<CompressedUnit> {
    let number = |at: usize| {
        let bytes = head.get(at..at + 4)?.try_into().ok()?;
        usize::try_from(u32::from_le_bytes(bytes)).ok()
    };
    let unit = CompressedUnit { packed: number(16)?, data: number(20)? };
    let least = GZIP_HEADER_BYTES + GZIP_TRAILER_BYTES + 1;
    let fits = (least..=MAX_PACKED_BYTES).contains(&unit.packed) && unit.data <= BLOCK_BYTES;
    (head.starts_with(&GZIP_START) && fits).then_some(unit)
}

/// The zstd frame at the start of `ahead`, if all of it is there and its data is no more than a block's.
pub(super) fn zstd_unit(ahead: &[u8]) -> Option<CompressedUnit> {
    let packed = zstd_safe::find_frame_compressed_size(ahead).ok()?;
    let data = usize::try_from(zstd_safe::get_frame_content_size(ahead).ok()??).ok()?;
    (packed <= MAX_PACKED_BYTES && data <= BLOCK_BYTES).then_some(CompressedUnit { packed, data })
}

/// Why a block is not what was written.
#[derive(Debug)]
pub(super) struct BadBlock;

/// Decompresses blocks of either format; makes one for each worker.
///
/// A block is exactly one member or frame, to its last byte. Where one could hold more, other readers would see what is not
/// seen here. Libdeflate, which is faster, does not say where a stream ends.
pub(super) struct Decoder {
    gzip: Decompress,
    zstd: Option<zstd::bulk::Decompressor<'static>>,
}

impl Decoder {
    pub(super) fn new() -> Self {
        Self { gzip: Decompress::new(false), zstd: zstd::bulk::Decompressor::new().ok() }
    }

    /// The data of one block, whose length has to be `data`.
    pub(super) fn decode(&mut self, compression: Compression, packed: &[u8], data: usize) -> Result<Vec<u8>, BadBlock> {
        match compression {
            Compression::Gzip => self.inflate(packed, data).ok_or(BadBlock),
            Compression::Zstd if is_skippable(packed) => Ok(Vec::new()),
            Compression::Zstd => {
                let out = self.zstd.as_mut().and_then(|decoder| decoder.decompress(packed, data).ok());
                out.filter(|out| out.len() == data).ok_or(BadBlock)
            }
            Compression::None => Ok(packed.to_vec()),
        }
    }

    fn inflate(&mut self, packed: &[u8], data: usize) -> Option<Vec<u8>> {
        let (packed, trailer) = packed.split_at_checked(packed.len().checked_sub(GZIP_TRAILER_BYTES)?)?;
        let packed = packed.get(GZIP_HEADER_BYTES..)?;
        let mut out = vec![0; data];
        self.gzip.reset(false);
        let ended = self.gzip.decompress(packed, &mut out, FlushDecompress::Finish).ok()?;
        let whole = (packed.len() as u64, data as u64) == (self.gzip.total_in(), self.gzip.total_out());
        let sum = [libdeflater::crc32(&out).to_le_bytes(), low32(data)].concat();
        (ended == Status::StreamEnd && whole && sum == trailer).then_some(out)
    }
}

fn is_skippable(frame: &[u8]) -> bool {
    frame.first_chunk().is_some_and(|magic| u32::from_le_bytes(*magic) & !0xf == SKIPPABLE_MAGIC)
}
