//! Fuzzes the reader of archives: whatever the bytes, it refuses them or gives members that can be trusted.
//!
//! `cargo xtask fuzz` builds this with coverage and runs it. Knows neither databases nor restores.

#![no_main]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a panic is how a fuzzer is told, and its macro opens a file"
)]

mod recipe;

use std::{
    collections::BTreeSet,
    fs::File,
    io::{Read as _, Write as _},
    os::fd::AsRawFd as _,
    path::PathBuf,
};

use vitalsign_archive::{Compression, INCLUDE, METADATA, Metadata, ReadError, SUMS, ArchiveReader, Checksums, parse_file_name, walk};
use vitalsign_base::value::Digest;

/// Content that is read in all: enough for any seed, and little enough that a bomb does not hold the fuzzer up.
const MAX_CONTENT_BYTES: u64 = 16 << 20;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let bytes = recipe::archive(input);
    let Ok(read) = read(&bytes) else { return };
    trusted(&read);
    // The reader splits an archive into blocks where other programs see one stream. Both have to see the same.
    let stream = plain(&bytes).expect("taken, although other programs find it damaged");
    let other = self::read(&recipe::member(&stream)).expect("taken in blocks, although the stream is refused");
    assert_eq!(read, other, "blocks and stream differ");
});

/// What was found in an archive.
#[derive(Debug, PartialEq, Eq)]
struct Piece {
    name: String,
    bytes: u64,
    digest: Digest,
    mode: u32,
    text: Option<Vec<u8>>,
}

/// Why an archive was not read to its end.
#[derive(Debug)]
enum FuzzError {
    Refused,
    Enough,
}

impl From<ReadError> for FuzzError {
    fn from(error: ReadError) -> Self {
        // Whatever it says has to be sayable.
        assert!(!error.to_string().is_empty());
        assert!(!matches!(error, ReadError::Io(_)), "a file in memory cannot fail: {error:?}");
        Self::Refused
    }
}

fn read(bytes: &[u8]) -> Result<Vec<Piece>, FuzzError> {
    let file = in_memory(bytes);
    let source = ArchiveReader::open(&path(&file), true).map_err(FuzzError::from)?;
    let mut pieces = Vec::new();
    let mut left = MAX_CONTENT_BYTES;
    let walked = walk::<FuzzError>(source, |found, content| {
        let mut all = Vec::new();
        content.take(left + 1).read_to_end(&mut all).map_err(ReadError::from)?;
        let bytes = all.len() as u64;
        left = left.checked_sub(bytes).ok_or(FuzzError::Enough)?;
        let (name, digest, mode) = (found.name.clone(), Digest::of(&all), found.mode);
        let text = [METADATA, SUMS].contains(&name.as_str()).then_some(all);
        pieces.push((found.clone(), Piece { name, bytes, digest, mode, text }));
        Ok(())
    })?;
    assert_eq!(walked.digest, Some(Digest::of(bytes)), "not all of the archive was read");
    let (found, pieces): (Vec<_>, Vec<_>) = pieces.into_iter().unzip();
    assert_eq!(walked.members, found);
    found.iter().zip(&pieces).for_each(|(found, piece)| assert_eq!(found.bytes, piece.bytes, "{found:?}"));
    Ok(pieces)
}

/// Holds against what `walk` promises.
fn trusted(pieces: &[Piece]) {
    let mut names = BTreeSet::new();
    for Piece { name, mode, text, .. } in pieces {
        // Only what is included has folders.
        let parts: Vec<_> = name.split('/').collect();
        let plain = parts.iter().all(|part| !["", ".", ".."].contains(part));
        let placed = parts.len() == 1 || parts.first() == Some(&INCLUDE);
        assert!(plain && placed && !name.chars().any(char::is_control), "{name:?}");
        assert!(names.insert(name), "{name:?} is there twice");
        assert!(*mode <= 0o777, "{mode:o}");
        let _ = parse_file_name(name);
        let Some(text) = text else { continue };
        if name == METADATA
            && let Ok(metadata) = Metadata::parse(text)
        {
            assert_eq!(Metadata::parse(metadata.render().as_bytes()).unwrap(), metadata);
        }
        if name == SUMS
            && let Ok(sums) = Checksums::parse(text)
        {
            assert_eq!(Checksums::parse(sums.render().as_bytes()).unwrap(), sums);
        }
        if name == SUMS
            && let Ok(sums) = Checksums::parse_included(text)
        {
            assert_eq!(Checksums::parse_included(sums.render().as_bytes()).unwrap(), sums);
        }
    }
}

/// The tar stream as any other program sees it; `None` when that finds the archive damaged.
fn plain(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut stream = Vec::new();
    let room = MAX_CONTENT_BYTES * 2;
    let file = in_memory(bytes);
    let done = match ArchiveReader::open(&path(&file), false).unwrap().compression() {
        Compression::Gzip => flate2::bufread::MultiGzDecoder::new(bytes).take(room).read_to_end(&mut stream),
        Compression::Zstd => {
            zstd::stream::read::Decoder::with_buffer(bytes).unwrap().take(room).read_to_end(&mut stream)
        }
        Compression::None => { bytes }.read_to_end(&mut stream),
    };
    done.is_ok().then_some(stream)
}

fn in_memory(bytes: &[u8]) -> File {
    let file = rustix::fs::memfd_create("archive", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    let mut file = File::from(file);
    file.write_all(bytes).unwrap();
    file
}

/// The reader takes a path, and opens the file anew.
fn path(file: &File) -> PathBuf {
    format!("/proc/self/fd/{}", file.as_raw_fd()).into()
}
