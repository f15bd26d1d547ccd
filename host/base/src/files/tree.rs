//! Whole folders: what is in one, links seen as links; a file in it opened without following any; and one made again.
//!
//! Decides nothing about what is wanted of a folder.

use std::{
    ffi::OsString,
    fs::{self, File},
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _},
    path::{Component, Path, PathBuf},
};

use rustix::fs::{CWD, Mode, OFlags, Timespec, Timestamps};

use super::{FileKind, Stat};

/// What is at a path, which is not followed where it is a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FolderEntry {
    /// A regular file.
    File(Stat),
    /// A folder.
    Folder(Stat),
    /// A symbolic link to this path.
    Link(PathBuf),
    /// A device, a pipe or a socket.
    Other(Stat),
}

/// What is at `path`; `None` when there is nothing.
///
/// # Errors
/// What the system says.
pub fn node(path: &Path) -> io::Result<Option<FolderEntry>> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    if found.is_symlink() {
        return fs::read_link(path).map(FolderEntry::Link).map(Some);
    }
    let stat = Stat::of(&found);
    Ok(Some(match stat.kind {
        FileKind::File => FolderEntry::File(stat),
        FileKind::Folder => FolderEntry::Folder(stat),
        FileKind::Other => FolderEntry::Other(stat),
    }))
}

/// The names in a folder, in their order.
///
/// # Errors
/// What the system says; `FileTooLarge` beyond `most` of them.
pub fn names_in(folder: &Path, most: usize) -> io::Result<Vec<OsString>> {
    super::found_in(folder, most, |name| Some(name.to_owned()))
}

/// Opens the regular file at `inside`, seen from the folder `root`, following no link below it: whoever may write there could lead
/// out of it otherwise.
///
/// # Errors
/// What the system says; `InvalidInput` for what is no regular file, or a path that leads out.
pub fn open_beneath(root: &Path, inside: &Path) -> io::Result<(File, Stat)> {
    let mut at = rustix::fs::openat(CWD, root, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let mut parts = inside.components().peekable();
    while let Some(part) = parts.next() {
        let Component::Normal(name) = part else { return Err(io::ErrorKind::InvalidInput.into()) };
        let kind = match parts.peek() {
            Some(_) => OFlags::PATH | OFlags::DIRECTORY,
            None => OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY,
        };
        at = rustix::fs::openat(&at, name, kind | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    }
    let file = File::from(at);
    let stat = Stat::of(&file.metadata()?);
    if stat.kind == FileKind::File { Ok((file, stat)) } else { Err(io::ErrorKind::InvalidInput.into()) }
}

/// Whether this process has the file open that is at `inside`, seen from the folder `root`, where no link is followed below that.
/// The file itself is not opened, so that this drops no lock on it.
///
/// # Errors
/// What the system says.
pub fn is_open_beneath(root: &Path, inside: &Path) -> io::Result<bool> {
    let mut at = rustix::fs::openat(CWD, root, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    for part in inside.components() {
        let Component::Normal(name) = part else { return Err(io::ErrorKind::InvalidInput.into()) };
        at = rustix::fs::openat(&at, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    }
    let wanted = Stat::of(&File::from(at).metadata()?).id;
    // Without `/proc` there is no telling, and that is no reason to read nothing.
    let Ok(open) = fs::read_dir("/proc/self/fd") else { return Ok(true) };
    for entry in open {
        // Some are closed meanwhile by other threads.
        if fs::metadata(entry?.path()).is_ok_and(|found| Stat::of(&found).id == wanted) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What `stat` says of an open file now.
///
/// # Errors
/// What the system says.
pub fn stat_of(file: &File) -> io::Result<Stat> {
    file.metadata().map(|found| Stat::of(&found))
}

/// Makes a folder of mode 0700 with its parents, or accepts the one that is there. Nothing is synced.
///
/// # Errors
/// What the system says.
pub fn make_folders(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Makes a symbolic link for `owner`, when root makes it.
///
/// # Errors
/// `AlreadyExists`, or what the system says.
pub fn make_link(target: &Path, path: &Path, owner: Option<(u32, u32)>) -> io::Result<()> {
    std::os::unix::fs::symlink(target, path)?;
    owner.map_or(Ok(()), |(uid, gid)| std::os::unix::fs::lchown(path, Some(uid), Some(gid)))
}

/// Gives a file the time at which it was last written, in seconds since 1970. Nothing is synced.
///
/// # Errors
/// What the system says.
pub fn set_modified(path: &Path, seconds: u64) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let at = Timespec { tv_sec: i64::try_from(seconds).unwrap_or(i64::MAX), tv_nsec: 0 };
    Ok(rustix::fs::futimens(&file, &Timestamps { last_access: at, last_modification: at })?)
}

/// Gives a folder that is not in use yet its owner, its mode and its time, and syncs it.
///
/// # Errors
/// What the system says.
pub fn finish_folder(path: &Path, owner: Option<(u32, u32)>, mode: u32, seconds: u64) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    if let Some((uid, gid)) = owner {
        std::os::unix::fs::fchown(&folder, Some(uid), Some(gid))?;
    }
    let at = Timespec { tv_sec: i64::try_from(seconds).unwrap_or(i64::MAX), tv_nsec: 0 };
    rustix::fs::futimens(&folder, &Timestamps { last_access: at, last_modification: at })?;
    // Last: a mode may take the right to do the rest away.
    folder.set_permissions(fs::Permissions::from_mode(mode))?;
    folder.sync_all()
}

/// Gives the owner every right on a folder and those in it, as far as that can be done: they are removed next.
fn make_writable(path: &Path) {
    let Ok(Some(FolderEntry::Folder(stat))) = node(path) else { return };
    if stat.mode & 0o700 != 0o700 {
        // What cannot be changed cannot be removed either, and that is said then.
        let _ = finish_folder(path, None, stat.mode | 0o700, stat.modified_seconds());
    }
    let names = names_in(path, usize::MAX).unwrap_or_default();
    names.iter().for_each(|name| make_writable(&path.join(name)));
}

/// The files at and below `path`; links are not followed. What cannot be looked at is left out.
///
/// # Errors
/// `FileTooLarge` where there are more than `most` of them.
pub fn files_below(path: &Path, most: usize) -> io::Result<Vec<(PathBuf, Stat)>> {
    let (mut found, mut waiting) = (Vec::new(), vec![path.to_owned()]);
    while let Some(path) = waiting.pop() {
        if found.len() + waiting.len() > most {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        match node(&path) {
            Ok(Some(FolderEntry::File(stat))) => found.push((path, stat)),
            Ok(Some(FolderEntry::Folder(_))) => match names_in(&path, most) {
                Ok(names) => waiting.extend(names.iter().map(|name| path.join(name))),
                Err(error) if error.kind() == io::ErrorKind::FileTooLarge => return Err(error),
                Err(_) => {}
            },
            _ => {}
        }
    }
    Ok(found)
}

/// Whether a file, or anything in a folder, was written after that moment, in nanoseconds since 1970. A move from one folder to
/// another does not count.
///
/// # Errors
/// What the system says.
pub fn is_changed_since(path: &Path, moment_ns: i128) -> io::Result<bool> {
    let after = |seconds: i64, ns: i64| i128::from(seconds) * 1_000_000_000 + i128::from(ns) > moment_ns;
    let found = fs::symlink_metadata(path)?;
    if after(found.mtime(), found.mtime_nsec()) {
        return Ok(true);
    }
    let mut waiting = if found.is_dir() { vec![path.to_owned()] } else { Vec::new() };
    while let Some(folder) = waiting.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            let found = fs::symlink_metadata(&path)?;
            // A file that is moved here keeps the time at which it was written, but not this one.
            if after(found.ctime(), found.ctime_nsec()) {
                return Ok(true);
            }
            if found.is_dir() {
                waiting.push(path);
            }
        }
    }
    Ok(false)
}

/// Removes a folder with everything in it; one that is gone already is no error.
///
/// # Errors
/// What the system says.
pub fn remove_folder(path: &Path) -> io::Result<()> {
    let removed = match fs::remove_dir_all(path) {
        // A folder in it may be one that not even its owner writes to, as one that was restored with its mode.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            make_writable(path);
            fs::remove_dir_all(path)
        }
        removed => removed,
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
