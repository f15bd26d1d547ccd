//! The members of an archive, as they were unpacked.

use crate::backup::{Error, Progress, include::contents::Contents};
use std::{
    fs::File,
    io::{self, Read, Write as _},
    path::Path,
};
use vitalsign_archive::{DATABASE_MAGIC, Member, MemberNames, Metadata, ReadError};
use vitalsign_base::{
    files::{self, Flusher},
    value::{Digest, Hasher},
};
/// The name in the archive of a database whose own name cannot be used there.
pub(crate) const PLAIN_NAME: &str = "database.sqlite";

/// The largest `SHA256SUMS` or `include.json`: a line for each of the files that are included, and room.
pub(crate) const MAX_LIST_BYTES: u64 = 32 << 20;

/// Bytes handled at a time.
pub(crate) const STEP_BYTES: usize = 256 * 1024;

/// A member that was read.
#[derive(Clone, Debug)]
pub(crate) struct UnpackedMember {
    pub(crate) found: Member,
    pub(crate) digest: Digest,
    pub(crate) is_sqlite: bool,
}

/// An archive that was read to its end.
#[derive(Debug)]
pub(crate) struct Unpacked {
    pub(crate) metadata: Metadata,
    pub(crate) pieces: Vec<UnpackedMember>,
    /// Which member is what; only those that are there.
    pub(crate) files: MemberNames,
    /// Whether it has sums, which then hold.
    pub(crate) has_sums: bool,
    /// The archive's own digest, if it was asked for.
    pub(crate) digest: Option<Digest>,
    /// Whether it is no archive but a database, which may be compressed.
    pub(crate) is_plain: bool,
    /// What of it is included beside the database.
    pub(crate) contents: Contents,
}

impl Unpacked {
    /// The member that is the database.
    pub(crate) fn database(&self) -> Option<&UnpackedMember> {
        self.piece(self.files.database.as_ref())
    }

    fn piece(&self, name: Option<&String>) -> Option<&UnpackedMember> {
        self.pieces.iter().find(|piece| Some(&piece.found.name) == name)
    }
}

/// What went wrong while a member was handled.
pub(crate) enum UnpackError {
    Read(ReadError),
    Error(Error),
}

impl UnpackError {
    /// As a failure of reading the file at `path`.
    pub(crate) fn into_failure(self, path: &Path) -> Error {
        match self {
            Self::Read(error) => Error::reading(path, error),
            Self::Error(failure) => failure,
        }
    }
}

impl From<ReadError> for UnpackError {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

/// An error of either end of a copy.
pub(crate) enum CopyError {
    Cancelled,
    From(io::Error),
    To(io::Error),
}

impl CopyError {
    pub(crate) fn into_unpack_error(self, folder: &Path, found: &Member) -> UnpackError {
        match self {
            Self::Cancelled => UnpackError::Error(Error::Interrupted),
            Self::From(error) => UnpackError::Read(error.into()),
            Self::To(error) if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => {
                let free = files::free_bytes(folder).unwrap_or(0);
                UnpackError::Error(Error::Space { folder: folder.to_owned(), free, needed: found.bytes })
            }
            Self::To(error) => UnpackError::Error(Error::io("write a file in", folder, error)),
        }
    }
}

/// Copies a file that is no member of an archive to where `place` says.
pub(crate) fn copied(
    found: &Member,
    content: &mut dyn Read,
    folder: &Path,
    place: &mut dyn FnMut(&Member) -> Result<Option<File>, Error>,
    progress: &dyn Progress,
) -> Result<UnpackedMember, UnpackError> {
    let to = place(found).map_err(UnpackError::Error)?;
    let mut done = 0;
    let mut step = || {
        done += STEP_BYTES as u64;
        progress.at(done.min(found.bytes));
        !progress.is_cancelled()
    };
    copy(found, content, to, None, &mut step).map_err(|error| error.into_unpack_error(folder, found))
}

pub(crate) fn copy(
    found: &Member,
    content: &mut dyn Read,
    mut to: Option<File>,
    mut text: Option<&mut Vec<u8>>,
    step: &mut dyn FnMut() -> bool,
) -> Result<UnpackedMember, CopyError> {
    let mut hasher = Hasher::default();
    let mut head: Vec<u8> = Vec::with_capacity(DATABASE_MAGIC.len());
    let mut flusher = to.as_ref().map(Flusher::new).transpose().map_err(CopyError::To)?;
    let mut room = vec![0; STEP_BYTES];
    loop {
        let count = content.read(&mut room).map_err(CopyError::From)?;
        let bytes = room.get(..count).unwrap_or_default();
        if bytes.is_empty() {
            break;
        }
        head.extend(bytes.iter().take(DATABASE_MAGIC.len() - head.len()));
        hasher.update(bytes);
        if let Some(text) = &mut text {
            text.extend_from_slice(bytes);
        }
        if let (Some(file), Some(flusher)) = (&mut to, &mut flusher) {
            file.write_all(bytes).map_err(CopyError::To)?;
            flusher.wrote(count);
        }
        if !step() {
            return Err(CopyError::Cancelled);
        }
    }
    if let (Some(file), Some(flusher)) = (to, flusher) {
        // What is included is synced when it gets its owner and its mode: twice would take minutes with many small files.
        let sync = || if found.is_included() { Ok(()) } else { file.sync_all() };
        flusher.finish().and_then(|()| sync()).map_err(CopyError::To)?;
    }
    Ok(UnpackedMember { found: found.clone(), digest: hasher.finish(), is_sqlite: head == DATABASE_MAGIC })
}
