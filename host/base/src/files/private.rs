//! Folders and files that belong to the current user alone.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
};

use super::read::read_bytes;

/// Whether this process may give files away and read everybody's.
#[must_use]
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
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
        let why = format!("{} must be a folder that belongs to the current user and has mode 0700", path.display());
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

/// A new folder of mode 0700 in `folder`. Dropping the result removes the folder and everything in it.
///
/// # Errors
/// What the system says.
pub fn temporary_folder(folder: &Path) -> io::Result<tempfile::TempDir> {
    // The library's own error names a temporary folder, which means nothing to a user.
    let private = fs::Permissions::from_mode(0o700);
    tempfile::Builder::new()
        .prefix(".vitalsign-")
        .permissions(private)
        .tempdir_in(folder)
        .map_err(|error| io::Error::from(error.kind()))
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

/// A new file of mode 0600 for writing.
///
/// # Errors
/// `AlreadyExists`, or what the system says.
pub fn create_private(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use super::{super::write_private, *};

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
