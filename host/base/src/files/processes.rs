//! Which processes have which files open, as far as `/proc` tells this user.
//!
//! Another user's processes show only to root. Opens nothing but `/proc`, and asks no file system for anything that it would
//! have to fetch, so a mount that hangs does not hold this up.

use std::{
    fs, io,
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    path::{Path, PathBuf},
};

use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags};

use super::{FileId, read_text};
use crate::value::printable;

/// Descriptors of one process that are looked at: as many as Linux lets a process have, unless it is told otherwise.
const MAX_DESCRIPTORS: usize = 1024 * 1024;

/// What the kernel tells of one descriptor has a few lines, and one more for each lock.
const MAX_INFO_BYTES: u64 = 1024 * 1024;

/// What the kernel writes behind the path of a file that has lost its name.
const DELETED: &[u8] = b" (deleted)";

/// A process that has a file open.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// What it calls itself.
    pub name: String,
}

/// A file that a process has open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenFile {
    /// The process's number for it.
    pub descriptor: u32,
    /// Where it lies, or lay, in the sight of that process.
    pub path: PathBuf,
    /// Which file it is.
    pub id: FileId,
    /// Whether the path no longer leads to it, because the name was removed or given to another file.
    pub deleted: bool,
    /// Whether it is mounted by itself, as a single file; older kernels than Linux 5.8 do not tell.
    pub mounted_alone: bool,
    /// Whether the process may write through this descriptor.
    pub writable: bool,
}

/// The processes that have one of these files open, this one left out, in order of their numbers.
#[must_use]
pub fn processes_using(files: &[FileId]) -> Vec<Process> {
    let has_one = |pid: &u32| !open_files(*pid, |_, id, _| files.contains(&id)).is_empty();
    process_ids().into_iter().filter(has_one).map(|pid| Process { pid, name: process_name(pid) }).collect()
}

/// The numbers of all processes but this one, in order.
#[must_use]
pub fn process_ids() -> Vec<u32> {
    let own = std::process::id();
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut numbers: Vec<u32> = all.filter_map(|process| process.file_name().to_str()?.parse().ok()).collect();
    numbers.retain(|pid| *pid != own);
    numbers.sort_unstable();
    numbers
}

/// Those files that a process has open which are `wanted`, by their path, their identity, and whether they are mounted by
/// themselves; none of a process that this user may
/// not look at.
pub fn open_files(pid: u32, wanted: impl Fn(&Path, FileId, bool) -> bool) -> Vec<OpenFile> {
    let all = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten().take(MAX_DESCRIPTORS);
    let mut out = Vec::new();
    for number in all.filter_map(|descriptor| descriptor.file_name().to_str()?.parse().ok()) {
        match open_file(pid, number, &wanted) {
            Ok(found) => out.extend(found),
            // Who may not see where one of them leads may not see it of the others either.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => break,
            // A process that ends meanwhile has nothing open any more.
            Err(_) => {}
        }
    }
    out
}

/// Whether a mount begins at this path, so that no other file can be put in its place; older kernels than Linux 5.8 do not tell.
#[must_use]
pub fn is_mounted_alone(path: &Path) -> bool {
    facts(path).is_ok_and(|(_, begins_mount)| begins_mount)
}

/// What a process calls itself; empty when it has ended.
#[must_use]
pub fn process_name(pid: u32) -> String {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    printable(name.trim(), 64)
}

/// The folder at `path` in the sight of a process, which may lie in another mount namespace.
///
/// # Errors
/// What the system says, such as `PermissionDenied` for another user's process.
pub fn folder_seen_by(pid: u32, path: &Path) -> io::Result<FileId> {
    // The kernel gives paths in our own mounts as we see them, and others from the root of theirs.
    if fs::read_link(format!("/proc/{pid}/ns/mnt"))? == fs::read_link("/proc/self/ns/mnt")? {
        return identity(path);
    }
    let below = path.strip_prefix("/").unwrap_or(path);
    identity(&Path::new(&format!("/proc/{pid}/root")).join(below))
}

/// An error when the system does not say where the descriptor leads.
fn open_file(pid: u32, descriptor: u32, wanted: impl Fn(&Path, FileId, bool) -> bool) -> io::Result<Option<OpenFile>> {
    let handle = PathBuf::from(format!("/proc/{pid}/fd/{descriptor}"));
    let link = fs::read_link(&handle)?;
    // Sockets, pipes and the like have no path.
    if !link.is_absolute() {
        return Ok(None);
    }
    let Ok((id, mounted_alone)) = facts(&handle) else { return Ok(None) };
    let (path, marked) = named(link);
    if !wanted(&path, id, mounted_alone) {
        return Ok(None);
    }
    let flags = read_text(Path::new(&format!("/proc/{pid}/fdinfo/{descriptor}")), MAX_INFO_BYTES).unwrap_or_default();
    // A living file may carry the mark in its own name.
    let deleted = marked && !identity(&with_mark(&path)).is_ok_and(|found| found == id);
    let path = if marked && !deleted { with_mark(&path) } else { path };
    Ok(Some(OpenFile { descriptor, path, id, deleted, mounted_alone, writable: is_writable(&flags) }))
}

/// The path in the link of a descriptor, and whether the kernel marks it as deleted.
fn named(link: PathBuf) -> (PathBuf, bool) {
    match link.as_os_str().as_bytes().strip_suffix(DELETED) {
        Some(path) => (PathBuf::from(std::ffi::OsString::from_vec(path.to_vec())), true),
        None => (link, false),
    }
}

fn with_mark(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(std::ffi::OsStr::from_bytes(DELETED));
    name.into()
}

/// Whether the `flags` in the text of `/proc/PID/fdinfo/N`, an octal number, let the process write.
fn is_writable(text: &str) -> bool {
    let flags = text.lines().find_map(|line| u32::from_str_radix(line.strip_prefix("flags:")?.trim(), 8).ok());
    flags.is_some_and(|flags| flags & 0o3 != 0)
}

/// Which file `path` leads to, as far as that is known without asking a server.
fn identity(path: &Path) -> io::Result<FileId> {
    facts(path).map(|(id, _)| id)
}

/// Which file `path` leads to, and whether a mount begins there.
fn facts(path: &Path) -> io::Result<(FileId, bool)> {
    let found = rustix::fs::statx(CWD, path, AtFlags::STATX_DONT_SYNC, StatxFlags::INO)?;
    let device = rustix::fs::makedev(found.stx_dev_major, found.stx_dev_minor);
    let begins_mount = (found.stx_attributes & found.stx_attributes_mask).contains(StatxAttributes::MOUNT_ROOT);
    Ok((FileId { device, inode: found.stx_ino }, begins_mount))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_says_where_a_file_lies_or_lay() {
        let of = |text: &str| {
            let (path, deleted) = named(text.into());
            (path.to_str().unwrap().to_owned(), deleted)
        };
        assert_eq!(of("/srv/r.db"), ("/srv/r.db".to_owned(), false));
        assert_eq!(of("/srv/r.db (deleted)"), ("/srv/r.db".to_owned(), true));
        assert_eq!(of("/srv/r.db(deleted)"), ("/srv/r.db(deleted)".to_owned(), false));
    }

    #[test]
    fn the_flags_tell_readers_from_writers() {
        assert!(is_writable("pos:\t0\nflags:\t02100002\nmnt_id:\t27\n"));
        assert!(is_writable("flags:\t01\n"));
        assert!(!is_writable("pos:\t0\nflags:\t0100000\n"));
        assert!(!is_writable("flags:\tx\n"));
    }

    #[test]
    fn a_file_that_is_open_elsewhere_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let folder = fs::canonicalize(folder.path()).unwrap();
        let path = folder.join("a (deleted)");
        let mut child =
            std::process::Command::new("sleep").arg("60").stdin(fs::File::create(&path).unwrap()).spawn().unwrap();
        let id = identity(&path).unwrap();
        assert!(process_ids().contains(&child.id()) && !process_ids().contains(&std::process::id()));
        assert_eq!(processes_using(&[id]).first().map(|occupant| occupant.pid), Some(child.id()));
        let seen = || open_files(child.id(), |_, other, _| other == id).pop().unwrap();
        let expected =
            OpenFile { descriptor: 0, path: path.clone(), id, deleted: false, mounted_alone: false, writable: true };
        assert_eq!(seen(), expected);
        fs::remove_file(&path).unwrap();
        assert_eq!(seen(), OpenFile { deleted: true, ..expected });
        assert_eq!(folder_seen_by(child.id(), &folder).unwrap(), identity(&folder).unwrap());
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
