//! What can still be written to a file system: bytes and files.
//!
//! Asks and writes nothing.

use std::{io, path::Path};

use rustix::fs::StatVfsMountFlags;

/// What `statvfs` says of a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Bytes that an unprivileged user can still write.
    pub free_bytes: u64,
    /// Files that an unprivileged user can still make; `None` where the file system sets no limit.
    pub free_inodes: Option<u64>,
    /// Whether nothing can be written through this mount.
    pub read_only: bool,
}

/// What `statvfs` says of the file system that `path` lies on.
///
/// # Errors
/// When the system will not say.
pub fn space(path: &Path) -> io::Result<Space> {
    let found = rustix::fs::statvfs(path)?;
    Ok(Space {
        free_bytes: found.f_bavail.saturating_mul(found.f_frsize),
        // Some file systems, such as btrfs, have no fixed number of inodes and say zero to both.
        free_inodes: (found.f_files > 0).then_some(found.f_favail),
        read_only: found.f_flag.contains(StatVfsMountFlags::RDONLY),
    })
}

/// Bytes that an unprivileged user can still write to the file system of `folder`.
///
/// # Errors
/// When the system will not say.
pub fn free_bytes(folder: &Path) -> io::Result<u64> {
    space(folder).map(|space| space.free_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_here() {
        let folder = tempfile::tempdir().unwrap();
        let found = space(folder.path()).unwrap();
        assert!(found.free_bytes > 0 && found.free_inodes != Some(0) && !found.read_only);
        space(&folder.path().join("nothing")).unwrap_err();
    }
}
