//! The file system: bounded reads, durable private writes.
//!
//! The one room that opens files. It never opens a database: closing a descriptor on one drops every lock this process holds on it.

#![expect(clippy::disallowed_methods, reason = "this room is where files are touched")]

mod stat;

pub use stat::{FileId, Kind, Stat, free_bytes, may_read, read_at, stat};

use std::{
    fs::{self, DirBuilder, File},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::Path,
};

/// Reads a regular file of at most `max_bytes`.
///
/// # Errors
/// The system's error; `IsADirectory`, or `InvalidInput` for a pipe or device, which could block for ever; `FileTooLarge`.
/// The error does not name the file.
pub fn read_bytes(path: &Path, max_bytes: u64) -> io::Result<Vec<u8>> {
    let kind = fs::metadata(path)?.file_type();
    if kind.is_dir() {
        return Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a directory"));
    }
    if !kind.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is a pipe or a device, not a file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(max_bytes.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max_bytes {
        let limit = crate::value::bytes(max_bytes);
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it is larger than {limit}")));
    }
    Ok(bytes)
}

/// Reads a regular file of at most `max_bytes` as UTF-8 text.
///
/// # Errors
/// As [`read_bytes`]; `InvalidData` for what is not UTF-8.
pub fn read_text(path: &Path, max_bytes: u64) -> io::Result<String> {
    String::from_utf8(read_bytes(path, max_bytes)?).map_err(|why| {
        let at = why.utf8_error().valid_up_to();
        io::Error::new(io::ErrorKind::InvalidData, format!("it is not UTF-8 text: byte {at} begins no character"))
    })
}

/// Opens a file for reading, for whoever needs the very same file twice.
///
/// # Errors
/// What the system says.
pub fn open(path: &Path) -> io::Result<File> {
    File::open(path)
}

/// Writes `text` to a new file and syncs it; a file that exists is left alone.
///
/// # Errors
/// `AlreadyExists`, or the system's error; nothing new stays behind then.
pub fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let mut file = File::create_new(path)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).inspect_err(|_| {
        // The first error is the one to tell; the half-written file is ours to remove.
        let _ = fs::remove_file(path);
    })
}

/// Writes a file that others may read, whole or not at all: a temporary file, synced, renamed, its folder synced.
///
/// # Errors
/// What the system says; the old file, if any, is then untouched.
pub fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_with_mode(path, bytes, 0o644)
}

/// Like [`write_whole`], for this user's eyes only.
///
/// # Errors
/// What the system says; the old file, if any, is then untouched.
pub fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_with_mode(path, bytes, 0o600)
}

fn write_with_mode(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().set_permissions(fs::Permissions::from_mode(mode))?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    File::open(folder)?.sync_all()
}

/// Makes a folder with its parents, or accepts the one that is there.
///
/// # Errors
/// What the system says.
pub fn folder(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)
}

/// Makes a folder of mode 0700 with its parents, or accepts one that is this user's alone.
///
/// # Errors
/// What the system says; `PermissionDenied` when others may write or read there.
pub fn private_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    let facts = fs::symlink_metadata(path)?;
    let ours = facts.uid() == rustix::process::geteuid().as_raw();
    if !facts.is_dir() || !ours || facts.mode() & 0o077 != 0 {
        let why = format!("{} must be a folder of this user with mode 0700", path.display());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
    }
    Ok(())
}

/// The 32 random bytes in a private file, made at first use.
///
/// # Errors
/// What the system says; `InvalidData` when the file holds anything but 32 bytes.
pub fn private_key(path: &Path) -> io::Result<[u8; 32]> {
    if !path.exists() {
        let mut key = [0; 32];
        rustix::rand::getrandom(&mut key, rustix::rand::GetRandomFlags::empty())?;
        let folder = path.parent().unwrap_or(Path::new("."));
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(&key)?;
        file.as_file().sync_all()?;
        match file.persist_noclobber(path) {
            // Another process made it first: its key counts.
            Err(error) if error.error.kind() != io::ErrorKind::AlreadyExists => return Err(error.error),
            _ => {}
        }
    }
    read_bytes(path, 32)?.try_into().map_err(|_| io::ErrorKind::InvalidData.into())
}

/// Removes the oldest files with this ending until `count` are left.
///
/// # Errors
/// What the system says; a file that somebody else removed meanwhile is not an error.
pub fn keep_newest(folder: &Path, ending: &str, count: usize) -> io::Result<()> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.path().extension().is_some_and(|found| found == ending) {
            files.push((entry.metadata()?.modified()?, entry.path()));
        }
    }
    files.sort();
    for (_, path) in files.iter().take(files.len().saturating_sub(count)) {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn a_key_is_made_once_and_a_shared_folder_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let private = folder.path().join("a/b");
        private_folder(&private).unwrap();
        let key = private_key(&private.join("key")).unwrap();
        assert_eq!(private_key(&private.join("key")).unwrap(), key);
        assert_ne!(key, [0; 32]);
        fs::set_permissions(&private, fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(private_folder(&private).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    }

    #[test]
    fn only_the_newest_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a.x", "b.x", "c.x", "c.y"] {
            write_private(&folder.path().join(name), b"1").unwrap();
        }
        keep_newest(folder.path(), "x", 1).unwrap();
        let left = fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(left, 2);
        assert!(folder.path().join("c.y").exists());
    }
}
