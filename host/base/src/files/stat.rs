//! What `stat` says of a path, and short reads at a place.
//!
//! Knows no database. A caller must not read a file here that SQLite may have open in this process, because closing any
//! descriptor of a file releases the locks of the process on it.

use std::{
    fs, io,
    os::unix::fs::{FileExt as _, MetadataExt as _},
    path::Path,
};

/// Names a file for as long as it exists, whatever it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileId {
    /// The device that holds it.
    pub device: u64,
    /// Its inode there.
    pub inode: u64,
}

/// What a path leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Folder,
    /// A device, a pipe or a socket.
    Other,
}

/// What `stat` says of a file; symbolic links are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Which file it is.
    pub id: FileId,
    /// What it is.
    pub kind: FileKind,
    /// Its size in bytes.
    pub bytes: u64,
    /// When its content last changed, in nanoseconds since 1970.
    pub modified_ns: i128,
    /// Its permission bits.
    pub mode: u32,
    /// The user who owns it.
    pub uid: u32,
    /// The group that owns it.
    pub gid: u32,
    /// How many names (hard links) it has.
    pub links: u64,
}

impl Stat {
    /// What the system said.
    pub(super) fn of(found: &fs::Metadata) -> Self {
        let kind = match found.file_type() {
            kind if kind.is_file() => FileKind::File,
            kind if kind.is_dir() => FileKind::Folder,
            _ => FileKind::Other,
        };
        Self {
            id: FileId { device: found.dev(), inode: found.ino() },
            kind,
            bytes: found.len(),
            modified_ns: i128::from(found.mtime()) * 1_000_000_000 + i128::from(found.mtime_nsec()),
            mode: found.mode() & 0o7777,
            uid: found.uid(),
            gid: found.gid(),
            links: found.nlink(),
        }
    }

    /// When it was last written, in whole seconds since 1970.
    #[must_use]
    pub fn modified_seconds(&self) -> u64 {
        u64::try_from(self.modified_ns / 1_000_000_000).unwrap_or(0)
    }

    /// Whether both are the same file with the same content, as far as `stat` can tell.
    #[must_use]
    pub fn same_content(&self, other: &Self) -> bool {
        (self.id, self.bytes, self.modified_ns) == (other.id, other.bytes, other.modified_ns)
    }
}

/// What `path` leads to; `None` when there is nothing.
///
/// # Errors
/// When the system will not say, such as in a folder that may not be searched.
pub fn stat(path: &Path) -> io::Result<Option<Stat>> {
    let found = match fs::metadata(path) {
        Ok(found) => found,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    Ok(Some(Stat::of(&found)))
}

/// Whether this process may read `path`.
#[must_use]
pub fn may_read(path: &Path) -> bool {
    rustix::fs::access(path, rustix::fs::Access::READ_OK).is_ok()
}

/// Whether the system refuses every write to `path` because its file system is read-only.
#[must_use]
pub fn is_read_only(path: &Path) -> bool {
    rustix::fs::access(path, rustix::fs::Access::WRITE_OK) == Err(rustix::io::Errno::ROFS)
}

/// Up to `limit` bytes of the file from `offset`; fewer where it ends.
///
/// # Errors
/// When the file cannot be opened or read.
#[expect(clippy::disallowed_methods, reason = "this room is where files are opened")]
pub fn read_at(path: &Path, offset: u64, limit: usize) -> io::Result<Vec<u8>> {
    let file = fs::File::open(path)?;
    let mut bytes = vec![0; limit];
    let mut filled = 0;
    while filled < limit {
        let room = bytes.get_mut(filled..).unwrap_or_default();
        match file.read_at(room, offset + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test makes its own files")]
    fn stat_and_reads_say_what_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        assert_eq!(stat(&path).unwrap(), None);
        assert_eq!(stat(folder.path()).unwrap().unwrap().kind, FileKind::Folder);
        fs::write(&path, b"hello").unwrap();
        assert_eq!(stat(&path.join("below-a-file")).unwrap(), None);
        let found = stat(&path).unwrap().unwrap();
        assert_eq!((found.kind, found.bytes, found.links), (FileKind::File, 5, 1));
        assert!(!is_read_only(&path));
        assert_eq!(read_at(&path, 1, 3).unwrap(), b"ell");
        assert_eq!(read_at(&path, 3, 10).unwrap(), b"lo");
    }
}
