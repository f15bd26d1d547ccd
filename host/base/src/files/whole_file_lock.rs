//! A lock over all of a file, as SQLite's own locks are made.
//!
//! Does not know what is in the file.

use std::{
    fs::{File, OpenOptions},
    io::{self, Seek as _},
    os::unix::fs::MetadataExt as _,
    path::Path,
};

use rustix::{fs::FlockOperation, io::Errno};

use super::{lease, lease::LeaseScope, private::create_private, rename::keep};

/// A lock over all of a file, as SQLite's own locks are made, until it is dropped.
///
/// The file must not be a database that this process has open: closing the file releases all locks of this process on it.
#[derive(Debug)]
pub struct WholeFileLock(File);

impl WholeFileLock {
    /// Locks `path`; `None` while another process holds any lock on it.
    ///
    /// # Errors
    /// What the system says.
    pub fn take(path: &Path) -> io::Result<Option<Self>> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        match rustix::fs::fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self(file))),
            Err(Errno::ACCESS | Errno::AGAIN) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether anybody else has the file open, in this process or in another; `None` where the system does not say.
    #[must_use]
    pub fn is_open_elsewhere(&self) -> Option<bool> {
        lease::is_open_elsewhere(&self.0, LeaseScope::All)
    }

    /// As [`super::hard_link_or_copy`] for the file that is locked, whose path is `file`: it is not opened again, which would end the lock.
    ///
    /// # Errors
    /// As [`super::hard_link_or_copy`].
    pub fn hard_link_or_copy(&self, file: &Path, name: &Path) -> io::Result<()> {
        keep(file, name, || self.copy_to(name))
    }

    fn copy_to(&self, name: &Path) -> io::Result<()> {
        let mut to = create_private(name)?;
        let mut from = &self.0;
        from.rewind()?;
        io::copy(&mut from, &mut to)?;
        to.sync_all()
    }

    /// Which file is locked, whatever it is called by now.
    ///
    /// # Errors
    /// What the system says.
    pub fn id(&self) -> io::Result<super::FileId> {
        let found = self.0.metadata()?;
        Ok(super::FileId { device: found.dev(), inode: found.ino() })
    }
}

#[cfg(test)]
mod tests {
    use super::{super::rename::like, *};

    #[test]
    fn a_copy_is_made_without_giving_up_the_lock() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("c"), "a").unwrap();
        let lock = WholeFileLock::take(&at("c")).unwrap().unwrap();
        lock.copy_to(&at("d")).unwrap();
        like(&at("c"), &at("d")).unwrap();
        assert_eq!(std::fs::read_to_string(at("d")).unwrap(), "a");
        assert_eq!(std::fs::metadata(at("d")).unwrap().mode(), std::fs::metadata(at("c")).unwrap().mode());
        // The lock is there still: whoever opens a file again and closes it loses it.
        let holder = std::process::id();
        let locks = super::super::locks_on(lock.id().unwrap().inode, &devices(&at("c"))).unwrap();
        assert!(locks.iter().any(|held| held.pid == Some(holder) && held.exclusive), "{locks:?}");
    }

    /// What the system calls the device of a file, in both of its words.
    fn devices(path: &Path) -> Vec<u64> {
        let own = std::fs::metadata(path).unwrap().dev();
        let mount = super::super::mount_of(path).unwrap().map(|mount| mount.device);
        [Some(own), mount].into_iter().flatten().collect()
    }
}
