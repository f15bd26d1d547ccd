//! The tar stream inside an archive, whichever program compressed it.
//!
//! Archives of our own consist of blocks, which are unpacked on all cores; other archives are unpacked as one stream. The first
//! bytes decide on the format, never the file's name. A block whose checksum does not match is noted, and zeros take its place in
//! the stream, so that one flipped bit does not hide other damage. At the end `members` refuses such an archive in any case.

use std::{
    fs::File,
    io::{self, BufRead, Read},
    ops::Range,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use super::{
    Compression,
    block::{BadBlock, CompressedUnit, Decoder, GZIP_HEADER_BYTES, MAX_PACKED_BYTES, gzip_unit, zstd_unit},
    flaw::{Damage, Flaw, MAX_DAMAGES, ReadError},
    pipeline::{Closed, PipelineInput, PipelineOutput, pipeline, workers},
};
use vitalsign_base::{
    files,
    value::{Digest, Hasher},
};

/// Read ahead: room for any block, so that its end can be found.
const AHEAD_BYTES: usize = 2 * MAX_PACKED_BYTES;

/// Read ahead of an archive of which only the first member is wanted, and what its format is told by.
const HEAD_BYTES: usize = 16 * 1024;

/// What every SQLite database begins with.
pub const DATABASE_MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// An archive opened for reading: the tar stream in it.
pub struct ArchiveReader {
    stream: Stream,
    compression: Compression,
    /// The first bytes, when somebody looked at them ahead of the reader.
    peeked: Vec<u8>,
    position: u64,
    damages: Vec<Range<u64>>,
    tally: Arc<Mutex<ReadTally>>,
}

enum Stream {
    Blocks { drain: PipelineOutput<Decoded>, current: Vec<u8>, at: usize },
    Whole(Box<dyn Read + Send>),
}

/// A block on its way to be unpacked.
struct CompressedBlock {
    bytes: Vec<u8>,
    data: usize,
}

enum Decoded {
    Data(Vec<u8>),
    /// The block's checksum does not hold; its data would have had this length.
    Bad(usize),
    /// Nothing comes after this.
    Ended(ReadError),
}

/// What was read of the archive itself.
#[derive(Default)]
struct ReadTally {
    hasher: Option<Hasher>,
    bytes: u64,
    failed: Option<io::Error>,
}

/// Tells how far an archive was read.
#[derive(Clone)]
pub struct Counter(Arc<Mutex<ReadTally>>);

impl Counter {
    /// Bytes of the archive itself that were read so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        lock(&self.0).bytes
    }
}

/// Reads the archive and keeps count.
struct CountingFile {
    file: File,
    tally: Arc<Mutex<ReadTally>>,
}

impl Read for CountingFile {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(room);
        let mut tally = lock(&self.tally);
        match read {
            Ok(count) => {
                tally.bytes += count as u64;
                if let (Some(hasher), Some(bytes)) = (&mut tally.hasher, room.get(..count)) {
                    hasher.update(bytes);
                }
                Ok(count)
            }
            Err(error) => {
                let kind = error.kind();
                tally.failed = Some(error);
                Err(kind.into())
            }
        }
    }
}

/// The largest window of a zstd stream that was made elsewhere, as a power of two: 32 MiB of memory. Up to level 19 it is 8.
const MAX_WINDOW_LOG: u32 = 25;

/// Reads ahead, so that it can be seen what comes.
struct ReadAhead {
    input: CountingFile,
    buffer: Vec<u8>,
    at: usize,
    /// How far, in bytes.
    most: usize,
}

impl ReadAhead {
    fn open(path: &Path, hashed: bool, most: usize) -> io::Result<Self> {
        let file = files::open_regular(path)?;
        let tally = Arc::new(Mutex::new(ReadTally { hasher: hashed.then(Hasher::default), ..ReadTally::default() }));
        Ok(Self { input: CountingFile { file, tally }, buffer: Vec::with_capacity(most), at: 0, most })
    }

    fn tally(&self) -> Arc<Mutex<ReadTally>> {
        Arc::clone(&self.input.tally)
    }

    /// At least the next `want` bytes, or all that are left.
    fn fill(&mut self, want: usize) -> io::Result<&[u8]> {
        if self.buffer.len() - self.at < want {
            self.buffer.drain(..self.at);
            self.at = 0;
            let room = (self.most - self.buffer.len()) as u64;
            (&mut self.input).take(room).read_to_end(&mut self.buffer)?;
        }
        Ok(self.buffer.get(self.at..).unwrap_or_default())
    }
}

impl Read for ReadAhead {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let ahead = self.fill_buf()?;
        let count = ahead.len().min(room.len());
        room.iter_mut().zip(ahead).for_each(|(to, from)| *to = *from);
        self.consume(count);
        Ok(count)
    }
}

impl BufRead for ReadAhead {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.fill(1)
    }

    fn consume(&mut self, count: usize) {
        self.at = (self.at + count).min(self.buffer.len());
    }
}

impl ArchiveReader {
    /// Opens an archive. With `hashed`, the walk through it gives the digest of the archive itself in the end.
    ///
    /// # Errors
    /// The system's error, or a [`Flaw`] when the file is no archive.
    pub fn open(path: &Path, hashed: bool) -> Result<Self, ReadError> {
        let mut input = ReadAhead::open(path, hashed, AHEAD_BYTES)?;
        let tally = input.tally();
        let head = input.fill(MAX_PACKED_BYTES)?;
        let compression = sniff(head)?;
        let unit = match compression {
            Compression::Gzip => gzip_unit(head),
            Compression::Zstd => zstd_unit(head),
            Compression::None => None,
        };
        let stream = match unit {
            // A frame without data is not one of our blocks, so the frames after it may not be either.
            Some(CompressedUnit { data: 1.., .. }) => blocks(input, compression)?,
            _ => whole(input, compression)?,
        };
        Ok(Self::new(stream, compression, tally))
    }

    /// Opens an archive of which only the beginning is read: on this thread, and not far ahead.
    ///
    /// # Errors
    /// As [`ArchiveReader::open`].
    pub fn open_head(path: &Path) -> Result<Self, ReadError> {
        let mut input = ReadAhead::open(path, false, HEAD_BYTES)?;
        let tally = input.tally();
        let compression = sniff(input.fill(HEAD_BYTES)?)?;
        Ok(Self::new(whole(input, compression)?, compression, tally))
    }

    fn new(stream: Stream, compression: Compression, tally: Arc<Mutex<ReadTally>>) -> Self {
        Self { stream, compression, peeked: Vec::new(), position: 0, damages: Vec::new(), tally }
    }

    /// Whether this is no archive but a database, which may be compressed. To be asked before anything is read.
    ///
    /// # Errors
    /// As for reading.
    pub fn is_database(&mut self) -> Result<bool, ReadError> {
        let mut head = Vec::with_capacity(DATABASE_MAGIC.len());
        (&mut *self).take(DATABASE_MAGIC.len() as u64).read_to_end(&mut head)?;
        let is_database = head == DATABASE_MAGIC;
        (self.peeked, self.position) = (head, 0);
        Ok(is_database)
    }

    /// What a reader of a whole stream that is not walked through learns at its end: the digest, if it was asked for.
    ///
    /// # Errors
    /// The places that are damaged.
    pub fn finish(self) -> Result<Option<Digest>, Flaw> {
        match self.damages.is_empty() {
            true => Ok(self.digest()),
            false => Err(Flaw::Damaged(self.damages.into_iter().map(|range| Damage { member: None, range }).collect())),
        }
    }

    /// How the archive is compressed.
    #[must_use]
    pub fn compression(&self) -> Compression {
        self.compression
    }

    /// Where in the unpacked stream the next read begins.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// Gives a counter of the bytes that were read, for use while the archive is being read.
    #[must_use]
    pub fn counter(&self) -> Counter {
        Counter(Arc::clone(&self.tally))
    }

    /// The places of the unpacked stream that stand as zeros because their block is damaged.
    pub(super) fn damages(&self) -> &[Range<u64>] {
        &self.damages
    }

    /// The digest of the archive's own bytes, if it was asked for; all of it once the stream has ended.
    pub(super) fn digest(&self) -> Option<Digest> {
        lock(&self.tally).hasher.clone().map(Hasher::finish)
    }

    fn next_block(&mut self) -> io::Result<bool> {
        let Stream::Blocks { drain, current, at } = &mut self.stream else { return Ok(false) };
        let block = match drain.next() {
            None => return Ok(false),
            Some(Err(Closed)) => {
                return Err(io::Error::other("a thread that unpacks the archive stopped unexpectedly"));
            }
            Some(Ok(Decoded::Data(data))) => data,
            Some(Ok(Decoded::Bad(length))) => {
                let range = self.position..self.position + length as u64;
                let full = self.damages.len() >= MAX_DAMAGES;
                match self.damages.last_mut() {
                    Some(last) if last.end == range.start => last.end = range.end,
                    // The list is full; more places would not change the result.
                    Some(_) if full => {}
                    _ => self.damages.push(range),
                }
                vec![0; length]
            }
            Some(Ok(Decoded::Ended(ReadError::Flaw(flaw)))) => return Err(flaw.into()),
            Some(Ok(Decoded::Ended(ReadError::Io(error)))) => return Err(error),
        };
        (*current, *at) = (block, 0);
        Ok(true)
    }

    /// The cause of a decoder's error: the system's error, or the archive's flaw.
    fn flaw(&self, error: &io::Error) -> io::Error {
        let mut tally = lock(&self.tally);
        match tally.failed.take() {
            Some(failed) => failed,
            None if error.kind() == io::ErrorKind::UnexpectedEof => Flaw::CutOff(tally.bytes).into(),
            None if error.to_string().contains("too much memory") => {
                let most = vitalsign_base::value::bytes(1 << MAX_WINDOW_LOG);
                Flaw::Refused(format!("its zstd window is larger than {most}; compress it again without `--long`"))
                    .into()
            }
            None => {
                Flaw::Broken { at: self.position, why: format!("{error} (counted in the unpacked archive)") }.into()
            }
        }
    }
}

impl Read for ArchiveReader {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let count = loop {
            if !self.peeked.is_empty() {
                let count = self.peeked.len().min(room.len());
                room.iter_mut().zip(self.peeked.drain(..count)).for_each(|(to, from)| *to = from);
                break count;
            }
            match &mut self.stream {
                Stream::Whole(stream) => match stream.read(room) {
                    Ok(count) => break count,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(self.flaw(&error)),
                },
                Stream::Blocks { current, at, .. } => {
                    let left = current.get(*at..).unwrap_or_default();
                    let count = left.len().min(room.len());
                    if count > 0 || room.is_empty() {
                        room.iter_mut().zip(left).for_each(|(to, from)| *to = *from);
                        *at += count;
                        break count;
                    }
                    if !self.next_block()? {
                        break 0;
                    }
                }
            }
        };
        self.position += count as u64;
        Ok(count)
    }
}

/// What an archive is, by its first bytes.
fn sniff(head: &[u8]) -> Result<Compression, Flaw> {
    const TAR_MAGIC_AT: usize = 257;
    let other = |what: &str| {
        Err(Flaw::Foreign(format!(
            "it is {what}; the supported formats are .tar.gz, .tar.zst, .tar, and a SQLite database by itself"
        )))
    };
    match head {
        [] => Err(Flaw::Empty),
        [0x1f, 0x8b, ..] => Ok(Compression::Gzip),
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Ok(Compression::Zstd),
        _ if head.get(TAR_MAGIC_AT..).is_some_and(|magic| magic.starts_with(b"ustar")) => Ok(Compression::None),
        [0xfd, b'7', b'z', b'X', b'Z', ..] => other("compressed with xz"),
        [b'B', b'Z', b'h', ..] => other("compressed with bzip2"),
        [b'P', b'K', 3 | 5, ..] => other("a zip file"),
        _ if head.starts_with(DATABASE_MAGIC) => Ok(Compression::None),
        _ => other("not a tar file"),
    }
}

/// Has the archive unpacked as one stream.
fn whole(input: ReadAhead, compression: Compression) -> io::Result<Stream> {
    Ok(Stream::Whole(match compression {
        Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(input)),
        Compression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(input)?;
            decoder.window_log_max(MAX_WINDOW_LOG)?;
            Box::new(decoder)
        }
        Compression::None => Box::new(input),
    }))
}

/// Has the archive split at its blocks by one thread and unpacked by the others.
fn blocks(input: ReadAhead, compression: Compression) -> io::Result<Stream> {
    let (feed, drain) = pipeline(workers(), || {
        let mut decoder = Decoder::new();
        move |packed: CompressedBlock| match decoder.decode(compression, &packed.bytes, packed.data) {
            Ok(data) => Decoded::Data(data),
            Err(BadBlock) => Decoded::Bad(packed.data),
        }
    })?;
    std::thread::Builder::new().name("archive-source".to_owned()).spawn(move || split(input, compression, &feed))?;
    Ok(Stream::Blocks { drain, current: Vec::new(), at: 0 })
}

/// Splits the archive into its blocks, until it ends or the receiver is gone.
fn split(mut input: ReadAhead, compression: Compression, feed: &PipelineInput<CompressedBlock, Decoded>) {
    let mut at = 0;
    loop {
        let pushed = match next_unit(&mut input, compression, at) {
            Ok(None) => return,
            Ok(Some((packed, length))) => {
                at += length;
                feed.push(packed)
            }
            Err(error) => {
                // The receiver may be gone already, and nothing comes after this.
                let _ = feed.push_done(Decoded::Ended(error));
                return;
            }
        };
        if pushed.is_err() {
            return;
        }
    }
}

/// The block that begins at byte `at` of the archive, and its length there.
fn next_unit(
    input: &mut ReadAhead,
    compression: Compression,
    at: u64,
) -> Result<Option<(CompressedBlock, u64)>, ReadError> {
    let ahead = input.fill(MAX_PACKED_BYTES)?;
    if ahead.is_empty() {
        return Ok(None);
    }
    let end = at + ahead.len() as u64;
    let unit = match compression {
        Compression::Zstd => zstd_unit(ahead),
        _ => gzip_unit(ahead),
    };
    let Some(CompressedUnit { packed, data }) = unit else {
        let whole_head = if compression == Compression::Zstd { MAX_PACKED_BYTES } else { GZIP_HEADER_BYTES };
        return Err(match ahead.len() < whole_head {
            true => Flaw::CutOff(end).into(),
            false => Flaw::Broken { at, why: "no valid block begins there".to_owned() }.into(),
        });
    };
    let Some(bytes) = ahead.get(..packed) else { return Err(Flaw::CutOff(end).into()) };
    let block = CompressedBlock { bytes: bytes.to_vec(), data };
    input.consume(packed);
    Ok(Some((block, packed as u64)))
}

fn lock(tally: &Mutex<ReadTally>) -> std::sync::MutexGuard<'_, ReadTally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}
