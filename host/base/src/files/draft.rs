//! A file that gets its name only when it is complete.
//!
//! Until then it has no name at all (`O_TMPFILE`), so that a process that is killed leaves nothing behind. On file systems
//! without `O_TMPFILE` it has a hidden name in its folder. Does not know what is in the file.

use std::{
    fs::File,
    io,
    os::fd::AsRawFd as _,
    path::{Path, PathBuf},
};

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use tempfile::TempPath;

use super::{attributes::give, sync_folder};

/// The prefix of the hidden name.
const HIDDEN_PREFIX: &str = ".vitalsign-unfinished-";

/// An unfinished file with mode 0600.
#[derive(Debug)]
pub struct Draft {
    file: File,
    hidden: Option<TempPath>,
}

impl Draft {
    /// A new empty file in `folder`.
    ///
    /// # Errors
    /// What the system says.
    pub fn new(folder: &Path) -> io::Result<Self> {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        match rustix::fs::open(folder, flags, Mode::RUSR | Mode::WUSR) {
            Ok(file) => {
                let draft = Self { file: file.into(), hidden: None };
                // Without `/proc` it could never be given a name.
                if draft.path().exists() { Ok(draft) } else { Self::hidden(folder) }
            }
            // The file system does not support it: NFS, FUSE and old kernels each give another error.
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::ISDIR | rustix::io::Errno::INVAL) => {
                Self::hidden(folder)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn hidden(folder: &Path) -> io::Result<Self> {
        let made = tempfile::Builder::new().prefix(HIDDEN_PREFIX).tempfile_in(folder);
        // The library's own error names a temporary file, which means nothing to a user.
        let (file, path) = made.map_err(|error| io::Error::from(error.kind()))?.into_parts();
        Ok(Self { file, hidden: Some(path) })
    }

    /// The file, for writing.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// A path that leads to it for as long as this lives, in this process.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        match &self.hidden {
            Some(path) => path.to_path_buf(),
            None => PathBuf::from(format!("/proc/self/fd/{}", self.file.as_raw_fd())),
        }
    }

    /// Gives it away when root has made it.
    pub fn set_owner(&self, owner: Option<(u32, u32)>) {
        give(&self.file, owner);
    }

    /// Syncs it.
    ///
    /// # Errors
    /// What the system says; the content may then be anything.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    /// Drops its pages from the page cache, so that the next reader reads the disk. Pages that are not synced stay.
    pub fn forget(&self) {
        // A hint to the system. Without it the next reader may read memory instead of the disk.
        let _ = rustix::fs::fadvise(&self.file, 0, None, rustix::fs::Advice::DontNeed);
    }

    /// Gives it its name and syncs the folder.
    ///
    /// # Errors
    /// `AlreadyExists` when the name is taken: nothing is ever overwritten. What the system says otherwise; unless it was the
    /// last sync that failed, there is then no file of this name.
    pub fn publish(&self, path: &Path) -> io::Result<()> {
        match &self.hidden {
            Some(hidden) => super::move_to(hidden, path)?,
            None => rustix::fs::linkat(CWD, self.path(), CWD, path, AtFlags::SYMLINK_FOLLOW)?,
        }
        sync_folder(super::folder_of(path))
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write as _};

    use super::*;

    #[test]
    fn a_draft_shows_only_once_it_is_published_and_overwrites_nothing() {
        for hidden in [false, true] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("whole");
            let draft = if hidden { Draft::hidden(folder.path()).unwrap() } else { Draft::new(folder.path()).unwrap() };
            draft.file().write_all(b"whole").unwrap();
            draft.sync().unwrap();
            assert_eq!(fs::read(draft.path()).unwrap(), b"whole");
            assert!(!path.exists());
            draft.publish(&path).unwrap();
            drop(draft);
            let other = if hidden { Draft::hidden(folder.path()).unwrap() } else { Draft::new(folder.path()).unwrap() };
            assert_eq!(other.publish(&path).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
            drop(other);
            assert_eq!(fs::read(&path).unwrap(), b"whole");
            let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
            assert_eq!(left, [path]);
        }
    }
}
