//! Writes an archive in one pass: tar headers and data go in, compressed blocks reach the file in order.
//!
//! A member whose size is not known beforehand gets a slot for its header, which is written again at the end. Does not
//! sync or name the file: the caller does.

use std::{
    fs::File,
    io::{self, Write as _},
    os::unix::fs::FileExt as _,
    thread::JoinHandle,
};

use super::{
    Checksums, Compression, SUMS,
    block::{BLOCK_BYTES, Encoder, NotEncoded, SLOT_BYTES},
    pipeline::{Closed, PipelineInput, PipelineOutput, pipeline, workers},
};
use vitalsign_base::{
    files::Flusher,
    value::{Digest, Hasher},
};

/// The longest name that a tar header holds by itself.
const MAX_SHORT_NAME_BYTES: usize = 100;

/// What a member's tar header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Its name. One of more than 100 bytes is stored as GNU tar does, and the size has to be known then.
    pub name: String,
    /// Its size in bytes; `None` when only its end will tell.
    pub bytes: Option<u64>,
    /// Its permission bits.
    pub mode: u32,
    /// The user who owned it.
    pub uid: u32,
    /// The group that owned it.
    pub gid: u32,
    /// When it was made, in seconds since 1970.
    pub modified: u64,
}

/// A member as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrittenMember {
    /// Its name.
    pub name: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// The digest of its content.
    pub digest: Digest,
}

/// An archive that is complete, but not synced.
#[derive(Debug)]
pub struct Written {
    /// The file.
    pub file: File,
    /// Its size in bytes.
    pub bytes: u64,
    /// The members in their order, the sums included.
    pub members: Vec<WrittenMember>,
}

/// What a worker hands on.
struct EncodedBlock {
    bytes: Result<Vec<u8>, NotEncoded>,
    is_slot: bool,
}

/// The file with everything in it but the sizes that were not known.
struct Sunk {
    file: File,
    bytes: u64,
    slots: Vec<u64>,
}

struct OpenMember {
    header: Header,
    bytes: u64,
    hasher: Hasher,
}

/// An archive that is being written.
pub struct Writer {
    feed: Option<PipelineInput<Vec<u8>, EncodedBlock>>,
    sink: Option<JoinHandle<io::Result<Sunk>>>,
    encoder: Encoder,
    block: Vec<u8>,
    open: Option<OpenMember>,
    members: Vec<WrittenMember>,
    /// Headers to be written again, in the order of their slots.
    late: Vec<Header>,
}

impl Writer {
    /// Begins an archive in an empty file. `level` is brought into the range of the format.
    ///
    /// # Errors
    /// When the system gives no threads or no memory.
    pub fn new(file: File, compression: Compression, level: u8) -> io::Result<Self> {
        let encoder = || Encoder::new(compression, level);
        let own = encoder().map_err(io::Error::other)?;
        let (feed, drain) = pipeline(workers(), || {
            let mut encoder = encoder();
            move |data| {
                let bytes = match &mut encoder {
                    Ok(encoder) => encoder.encode(data),
                    Err(error) => Err(NotEncoded::clone(error)),
                };
                EncodedBlock { bytes, is_slot: false }
            }
        })?;
        let sink = std::thread::Builder::new().name("archive-sink".to_owned()).spawn(move || sink(file, &drain))?;
        Ok(Self {
            feed: Some(feed),
            sink: Some(sink),
            encoder: own,
            block: Vec::with_capacity(BLOCK_BYTES),
            open: None,
            members: Vec::new(),
            late: Vec::new(),
        })
    }

    /// Begins a member; [`Writer::end`] ends it.
    ///
    /// # Errors
    /// What the system says of the blocks before, or `InvalidInput` for a name that fits no header.
    pub fn begin(&mut self, header: Header) -> io::Result<()> {
        let block = tar_header(&header, header.bytes.unwrap_or(0))?;
        // Headers stand in blocks of their own, so that damage to a member's data leaves its name.
        self.flush()?;
        if header.bytes.is_some() {
            if header.name.len() > MAX_SHORT_NAME_BYTES {
                self.put(&long_name(&header.name))?;
            }
            self.put(&block)?;
            self.flush()?;
        } else {
            let bytes = self.encoder.slot(&block).map_err(io::Error::other)?;
            let pushed =
                self.feed.as_ref().map(|feed| feed.push_done(EncodedBlock { bytes: Ok(bytes), is_slot: true }));
            self.unless_closed(pushed.as_ref())?;
            self.late.push(header.clone());
        }
        self.open = Some(OpenMember { header, bytes: 0, hasher: Hasher::default() });
        Ok(())
    }

    /// Adds to the member that was begun.
    ///
    /// # Errors
    /// What the system says of this or an earlier block.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Some(open) = &mut self.open {
            open.bytes += bytes.len() as u64;
            open.hasher.update(bytes);
        }
        self.put(bytes)
    }

    /// Ends the member that was begun.
    ///
    /// # Errors
    /// What the system says of this or an earlier block; `InvalidData` when the member has another size than its header.
    pub fn end(&mut self) -> io::Result<WrittenMember> {
        let open = self.open.take().ok_or_else(|| io::Error::other("no member was started"))?;
        if open.header.bytes.is_some_and(|bytes| bytes != open.bytes) {
            let named = open.header.bytes.unwrap_or_default();
            let why = format!("the member {} has {} bytes, but its header says {named}", open.header.name, open.bytes);
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        if open.header.bytes.is_none()
            && let Some(late) = self.late.last_mut()
        {
            late.bytes = Some(open.bytes);
        }
        self.pad(open.bytes)?;
        let member = WrittenMember { name: open.header.name, bytes: open.bytes, digest: open.hasher.finish() };
        self.members.push(member.clone());
        Ok(member)
    }

    /// Adds the sums of all members and the end of the archive. `like` gives what the header of the sums says.
    ///
    /// # Errors
    /// What the system says of this or an earlier block.
    pub fn finish(mut self, like: &Header) -> io::Result<Written> {
        let sums = Checksums(self.members.iter().map(|member| (member.name.clone(), member.digest)).collect()).render();
        self.begin(Header { name: SUMS.to_owned(), bytes: Some(sums.len() as u64), ..like.clone() })?;
        self.write(sums.as_bytes())?;
        self.end()?;
        self.put(&[0; 2 * SLOT_BYTES])?;
        self.flush()?;
        drop(self.feed.take());
        let sunk = self.sunk()?;
        for (header, at) in self.late.iter().zip(&sunk.slots) {
            let block = tar_header(header, header.bytes.unwrap_or(0))?;
            let bytes = self.encoder.slot(&block).map_err(io::Error::other)?;
            sunk.file.write_all_at(&bytes, *at)?;
        }
        Ok(Written { file: sunk.file, bytes: sunk.bytes, members: std::mem::take(&mut self.members) })
    }

    /// Adds to the tar stream.
    fn put(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(BLOCK_BYTES - self.block.len()));
            self.block.extend_from_slice(now);
            bytes = later;
            if self.block.len() == BLOCK_BYTES {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// Fills up to whole tar blocks.
    fn pad(&mut self, bytes: u64) -> io::Result<()> {
        let over = usize::try_from(bytes % SLOT_BYTES as u64).unwrap_or(0);
        if over == 0 { Ok(()) } else { self.put(&[0; SLOT_BYTES][over..]) }
    }

    /// Hands the block on as it is.
    fn flush(&mut self) -> io::Result<()> {
        if self.block.is_empty() {
            return Ok(());
        }
        let block = std::mem::replace(&mut self.block, Vec::with_capacity(BLOCK_BYTES));
        let pushed = self.feed.as_ref().map(|feed| feed.push(block));
        self.unless_closed(pushed.as_ref())
    }

    /// The pipeline closes early only when the sink has failed; the sink has the error.
    fn unless_closed(&mut self, pushed: Option<&Result<(), Closed>>) -> io::Result<()> {
        match pushed {
            Some(Ok(())) => Ok(()),
            _ => self.sunk().map(drop).and_then(|()| Err(io::Error::other("the archive is already finished"))),
        }
    }

    fn sunk(&mut self) -> io::Result<Sunk> {
        self.feed = None;
        let ended = self.sink.take().map(JoinHandle::join);
        ended
            .and_then(Result::ok)
            .unwrap_or_else(|| Err(io::Error::other("the thread that writes the archive stopped unexpectedly")))
    }
}

impl Drop for Writer {
    /// Waits for the sink: the next writer of the same file must be the only one.
    fn drop(&mut self) {
        if self.sink.is_some() {
            // Its result does not matter any more.
            let _ = self.sunk();
        }
    }
}

/// Writes blocks to the file as they come.
fn sink(mut file: File, drain: &PipelineOutput<EncodedBlock>) -> io::Result<Sunk> {
    let mut flusher = Flusher::new(&file)?;
    let (mut bytes, mut slots) = (0, Vec::new());
    while let Some(packed) = drain.next() {
        let packed =
            packed.map_err(|Closed| io::Error::other("a thread that compresses the archive stopped unexpectedly"))?;
        let block = packed.bytes.map_err(io::Error::other)?;
        if packed.is_slot {
            slots.push(bytes);
        }
        file.write_all(&block)?;
        flusher.wrote(block.len());
        bytes += block.len() as u64;
    }
    flusher.finish()?;
    Ok(Sunk { file, bytes, slots })
}

fn tar_header(header: &Header, bytes: u64) -> io::Result<[u8; SLOT_BYTES]> {
    let mut tar = tar::Header::new_gnu();
    tar.set_entry_type(tar::EntryType::Regular);
    match header.name.as_bytes().get(..MAX_SHORT_NAME_BYTES) {
        // The whole name stands before this header.
        Some(start) if header.name.len() > MAX_SHORT_NAME_BYTES && header.bytes.is_some() => {
            tar.as_old_mut().name.copy_from_slice(start);
        }
        _ => tar.set_path(&header.name)?,
    }
    tar.set_size(bytes);
    tar.set_mode(header.mode);
    tar.set_uid(header.uid.into());
    tar.set_gid(header.gid.into());
    tar.set_mtime(header.modified);
    tar.set_cksum();
    Ok(*tar.as_bytes())
}

/// A member of GNU tar that holds the name of the next one.
fn long_name(name: &str) -> Vec<u8> {
    let mut tar = tar::Header::new_gnu();
    tar.set_entry_type(tar::EntryType::GNULongName);
    let own = b"././@LongLink";
    tar.as_old_mut().name[..own.len()].copy_from_slice(own);
    tar.set_size(name.len() as u64 + 1);
    tar.set_mode(0o644);
    tar.set_uid(0);
    tar.set_gid(0);
    tar.set_mtime(0);
    tar.set_cksum();
    let mut bytes = tar.as_bytes().to_vec();
    bytes.extend_from_slice(name.as_bytes());
    bytes.push(0);
    bytes.resize(bytes.len().next_multiple_of(SLOT_BYTES), 0);
    bytes
}
