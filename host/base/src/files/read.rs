//! Bounded reads of regular files: opening anything else could block for ever.
//!
//! Opens no database: closing a descriptor on one drops every lock that this process holds on it.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    path::Path,
};

use rustix::fs::OFlags;

use super::lease;

/// Reads a regular file of at most `max_bytes`.
///
/// # Errors
/// The system's error; `IsADirectory`, or `InvalidInput` for a pipe or device, which could block for ever; `FileTooLarge`.
/// The error does not name the file.
pub fn read_bytes(path: &Path, max_bytes: u64) -> io::Result<Vec<u8>> {
    let facts = regular(path)?;
    let likely = usize::try_from(facts.len().min(max_bytes)).unwrap_or_default();
    let mut bytes = Vec::with_capacity(likely.saturating_add(1));
    File::open(path)?.take(max_bytes.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max_bytes {
        let limit = crate::value::bytes(max_bytes);
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it is larger than {limit}")));
    }
    Ok(bytes)
}

/// What `stat` says of a regular file. Opening anything else could block for ever.
fn regular(path: &Path) -> io::Result<fs::Metadata> {
    let facts = fs::metadata(path)?;
    let kind = facts.file_type();
    if kind.is_dir() {
        return Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a directory"));
    }
    if !kind.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is a pipe or a device, not a file"));
    }
    Ok(facts)
}

/// Opens a regular file for reading.
///
/// # Errors
/// The system's error; `IsADirectory`, or `InvalidInput` for a pipe or device.
pub fn open_regular(path: &Path) -> io::Result<File> {
    regular(path)?;
    File::open(path)
}

/// Reads a regular file of at most `max_bytes` as UTF-8 text.
///
/// # Errors
/// As [`read_bytes`]; `InvalidData` for what is not UTF-8.
pub fn read_text(path: &Path, max_bytes: u64) -> io::Result<String> {
    String::from_utf8(read_bytes(path, max_bytes)?).map_err(|why| {
        let at = why.utf8_error().valid_up_to();
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("it is not UTF-8 text: the bytes from byte {at} on are not a valid character"),
        )
    })
}

/// Opens a file for reading.
///
/// # Errors
/// What the system says.
pub fn open(path: &Path) -> io::Result<File> {
    File::open(path)
}

/// Whether anybody has the file open who may write to it, in whatever container; `None` where the system does not say.
///
/// The file must not be a database that this process has open: closing the file releases all locks of this process on it.
#[must_use]
pub fn is_written_elsewhere(path: &Path) -> Option<bool> {
    lease::is_open_elsewhere(&open_regular(path).ok()?, lease::LeaseScope::Writers)
}

/// The flag for opening a file that no symbolic link leads to.
pub(super) fn no_follow() -> i32 {
    OFlags::NOFOLLOW.bits().cast_signed()
}

#[cfg(test)]
mod tests {
    use super::{super::write_new, *};

    #[test]
    fn reads_are_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        write_new(&path, "12345").unwrap();
        assert_eq!(read_bytes(&path, 5).unwrap(), b"12345");
        assert_eq!(read_bytes(&path, 4).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        assert_eq!(read_bytes(folder.path(), 4).unwrap_err().kind(), io::ErrorKind::IsADirectory);
        assert_eq!(read_bytes(Path::new("/dev/zero"), 3).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert_eq!(write_new(&path, "x").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(read_text(&path, 5).unwrap(), "12345");
    }
}
