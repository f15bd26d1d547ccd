//! A lock that one process at a time holds. The kernel releases it when the process ends, also by a kill.
//!
//! It is a lock on a file of its own, so a file that a killed process left behind locks nothing. Releasing the lock removes
//! the file; so after taking a lock, the file is compared with the one that has the name now.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use fs4::{FileExt, TryLockError};

use super::{attributes::give, owner_for_new_file};

/// How often a lock file may vanish while it is being locked: each time its holder has just ended.
const MAX_TRIES: u32 = 100;

/// A lock that is held until it is dropped.
#[derive(Debug)]
pub struct ProcessLock {
    path: PathBuf,
    // Closed last, and the lock ends with it.
    _file: File,
}

impl ProcessLock {
    /// Takes the lock whose file is `path`; `None` while another process, or this one, holds it.
    ///
    /// # Errors
    /// What the system says, such as in a folder that may not be written.
    pub fn take(path: &Path) -> io::Result<Option<Self>> {
        for _ in 0..MAX_TRIES {
            // Links are not followed and nothing is truncated: another user may have put anything under this name.
            let flags = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
            let mut options = OpenOptions::new();
            options.read(true).custom_flags(flags);
            // A lock needs read permission only, so the lock file of another user can be locked; a missing file is created.
            let file = match options.open(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    let made = options.write(true).create_new(true).mode(0o644).open(path);
                    match made {
                        // Another process has made it at the same moment.
                        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                        made => made.inspect(|file| give(file, owner_for_new_file(path, None)))?,
                    }
                }
                found => found?,
            };
            match FileExt::try_lock(&file) {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) => return Err(error),
            }
            let ours = file.metadata()?;
            if fs::symlink_metadata(path).is_ok_and(|now| (now.dev(), now.ino()) == (ours.dev(), ours.ino())) {
                return Ok(Some(Self { path: path.to_owned(), _file: file }));
            }
        }
        Ok(None)
    }

    /// Whether a process holds the lock whose file is `path`, as far as this one may see. Changes nothing.
    #[must_use]
    pub fn is_held(path: &Path) -> bool {
        let flags = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
        let file = OpenOptions::new().read(true).custom_flags(flags).open(path);
        file.is_ok_and(|file| matches!(FileExt::try_lock_shared(&file), Err(TryLockError::WouldBlock)))
    }
}

impl Drop for ProcessLock {
    fn drop(&mut self) {
        // A file that stays behind locks nothing.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holds_it_and_a_stale_file_holds_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        fs::write(&path, "left behind by a process that was killed").unwrap();
        let held = ProcessLock::take(&path).unwrap().unwrap();
        assert!(ProcessLock::take(&path).unwrap().is_none() && ProcessLock::is_held(&path));
        drop(held);
        assert!(!path.exists() && !ProcessLock::is_held(&path));
        assert!(ProcessLock::take(&path).unwrap().is_some());
        std::os::unix::fs::symlink("elsewhere", &path).unwrap();
        assert!(ProcessLock::take(&path).is_err());
    }
}
