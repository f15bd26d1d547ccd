//! The file system: bounded reads, durable private writes.
//!
//! The one room that opens files. It never opens a database: closing a descriptor on one drops every lock this process holds on it.

#![expect(clippy::disallowed_methods, reason = "this room is where files are touched")]

mod attributes;
mod draft;
mod flusher;
mod identity;
mod lease;
mod lock;
mod locks;
mod marker;
mod mounts;
mod occupants;
mod place;
mod quota;
mod rights;
mod space;
mod stat;
mod tree;

pub use attributes::{copy_attributes, hand_over, has_default_list, heir};
pub use draft::Draft;
pub use flusher::Flusher;
pub use identity::{identity, is_identity};
pub use lock::Lock;
pub use locks::{HeldLock, locks_on};
pub use marker::{MARKER_BYTES, Marked, Marker};
pub use mounts::{Mount, Reach, mount_of, mounted_below, place_in_file_system};
pub use occupants::{
    Occupant, OpenFile, folder_seen_by, is_mounted_alone, occupants, open_files, process_name, processes,
};
pub use place::{
    WholeFileLock, append_line, beside, create_private, folder, found_in, keep_as, keep_copy, move_to,
    new_private_folder, remove, remove_empty_folder, remove_folder, replace_by, sync_folder,
};
pub use quota::{QuotaLeft, quota_left};
pub use rights::{Refusal, Right, refusal};
pub use space::{Space, free_bytes, space};
pub use stat::{FileId, Kind, Stat, is_read_only, may_read, read_at, stat};
pub use tree::{
    Node, files_below, finish_folder, is_changed_since, is_open_beneath, make_folders, make_link, names_in, node,
    open_beneath, set_modified, stat_of,
};

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

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
    lease::is_open_elsewhere(&open_regular(path).ok()?, lease::Others::Writers)
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
/// Symbolic links are followed. A file that is replaced hands on its mode, and its owner where the system allows it.
/// A device or a pipe is written into, since replacing it would take it away from everybody else.
///
/// # Errors
/// What the system says, `IsADirectory`, or `NotFound` for a link that leads nowhere; the old file, if any, is then
/// untouched. The error does not name a file.
pub fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    match stat(path)? {
        None if fs::symlink_metadata(path).is_ok() => {
            Err(io::Error::new(io::ErrorKind::NotFound, "it is a symbolic link to a file that does not exist"))
        }
        None => replace(path, bytes, 0o644, None),
        Some(old) => match old.kind {
            Kind::Directory => Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a directory")),
            Kind::Other => OpenOptions::new().write(true).open(path)?.write_all(bytes),
            Kind::File => replace(&fs::canonicalize(path)?, bytes, old.mode & 0o777, Some((old.uid, old.gid))),
        },
    }
}

/// Writes a new file of this mode, which gets its name when it is whole and synced, and belongs to `owner` when root makes it.
///
/// # Errors
/// `AlreadyExists`, or what the system says; there is no new file then.
pub fn write_at_once(path: &Path, bytes: &[u8], mode: u32, owner: Option<(u32, u32)>) -> io::Result<()> {
    let draft = Draft::new(folder_of(path))?;
    draft.belong_to(owner);
    draft.file().write_all(bytes)?;
    draft.file().set_permissions(fs::Permissions::from_mode(mode))?;
    draft.sync()?;
    draft.publish(path)
}

/// Writes a file for this user's eyes only, whole or not at all, in the place of whatever has that name.
///
/// # Errors
/// What the system says; the old file, if any, is then untouched.
pub fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace(path, bytes, 0o600, None)
}

fn replace(path: &Path, bytes: &[u8], mode: u32, owner: Option<(u32, u32)>) -> io::Result<()> {
    let folder = folder_of(path);
    // The library's own error names a temporary file, which means nothing to a user.
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(|error| io::Error::from(error.kind()))?;
    file.as_file_mut().write_all(bytes)?;
    if let Some((uid, gid)) = owner {
        // Only root may give files away; a report that belongs to its writer is better than none.
        let _best_effort = std::os::unix::fs::fchown(file.as_file(), Some(uid), Some(gid));
    }
    file.as_file().set_permissions(fs::Permissions::from_mode(mode))?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    File::open(folder)?.sync_all()
}

/// The folder that holds `path`, as it is written.
#[must_use]
pub fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Where `path` leads when every link is followed; for a file that is not there, where it would be made.
///
/// # Errors
/// What the system says, such as for a folder that is not there.
pub fn resolved(path: &Path) -> io::Result<PathBuf> {
    match (fs::canonicalize(path), path.file_name()) {
        (Err(error), Some(name)) if error.kind() == io::ErrorKind::NotFound => {
            Ok(fs::canonicalize(folder_of(path))?.join(name))
        }
        (found, _) => found,
    }
}

/// The same, also for a link to a file that is not there: the place where it leads.
///
/// # Errors
/// What the system says, such as for a folder that is not there, or when there are more links than the system follows.
pub fn led_to(path: &Path) -> io::Result<PathBuf> {
    /// As many as Linux itself follows.
    const MAX_LINKS: u32 = 40;
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        match fs::read_link(&path) {
            Ok(target) => path = folder_of(&path).join(target),
            Err(_) => return resolved(&path),
        }
    }
    Err(io::Error::other("it leads through too many symbolic links"))
}

/// Whether `path` itself is a symbolic link.
#[must_use]
pub fn is_link(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink())
}

/// Whether both lead to one file, by any name, or would if they were made.
#[must_use]
pub fn are_same(a: &Path, b: &Path) -> bool {
    match (stat(a), stat(b)) {
        (Ok(Some(a)), Ok(Some(b))) => a.id == b.id,
        _ => matches!((resolved(a), resolved(b)), (Ok(a), Ok(b)) if a == b),
    }
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

/// The name of this machine, or of this container; empty where the system does not tell it.
#[must_use]
pub fn host_name() -> String {
    const MAX_HOST_NAME_BYTES: u64 = 256;
    let text = read_text(Path::new("/proc/sys/kernel/hostname"), MAX_HOST_NAME_BYTES).unwrap_or_default();
    text.trim().to_owned()
}

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
    fn what_is_written_replaces_a_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        write_new(&at("real"), "old").unwrap();
        fs::set_permissions(at("real"), fs::Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink("real", at("link")).unwrap();
        write_whole(&at("link"), b"new").unwrap();
        assert!(fs::symlink_metadata(at("link")).unwrap().is_symlink());
        assert_eq!(read_text(&at("real"), 9).unwrap(), "new");
        assert_eq!(stat(&at("real")).unwrap().unwrap().mode, 0o640);
        write_whole(&at("fresh"), b"1").unwrap();
        assert_eq!(stat(&at("fresh")).unwrap().unwrap().mode, 0o644);

        std::os::unix::fs::symlink("/dev/null", at("null")).unwrap();
        write_whole(&at("null"), b"lost").unwrap();
        assert_eq!(stat(&at("null")).unwrap().unwrap().kind, Kind::Other);
        std::os::unix::fs::symlink("nowhere", at("dangling")).unwrap();
        for (name, kind) in [
            ("dangling", io::ErrorKind::NotFound),
            (".", io::ErrorKind::IsADirectory),
            ("no/such/folder", io::ErrorKind::NotFound),
        ] {
            let error = write_whole(&at(name), b"x").unwrap_err();
            assert_eq!(error.kind(), kind, "{name}");
            assert!(!error.to_string().contains(".tmp"), "{error}");
        }
    }

    #[test]
    fn one_file_is_known_by_every_name() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        write_new(&at("a"), "").unwrap();
        fs::hard_link(at("a"), at("hard")).unwrap();
        std::os::unix::fs::symlink(".", at("loop")).unwrap();
        assert!(are_same(&at("a"), &at("hard")) && are_same(&at("a"), &at("loop/a")));
        assert!(are_same(&at("made-later"), &at("loop/made-later")));
        assert!(!are_same(&at("a"), &at("b")) && !are_same(&at("b"), &at("c")));
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
