//! Renames and links that either happen completely or not at all, and are synced to the disk when they return.
//!
//! Does not know what the files are.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::Path,
};

use rustix::{
    fs::{CWD, FlockOperation, RenameFlags},
    io::Errno,
};

use super::{
    attributes::{copy_attributes, set_owner_and_mode},
    path::folder_of,
    private::{create_private, is_root},
    read::no_follow,
};

/// Syncs what a folder holds, names only.
///
/// # Errors
/// What the system says.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Puts `from` in the place of `to`, which may exist: at every moment `to` is wholly one or the other.
///
/// # Errors
/// What the system says; unless it was the last sync that failed, nothing has changed then.
pub fn replace_by(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    sync_both(from, to)
}

/// Moves `from` to `to`, which does not exist.
///
/// # Errors
/// `AlreadyExists`, or what the system says.
pub fn move_to(from: &Path, to: &Path) -> io::Result<()> {
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Ok(()) => {}
        // Where the file system cannot, a second name that is then the only one does the same.
        Err(Errno::INVAL | Errno::NOSYS) => match fs::hard_link(from, to) {
            Ok(()) => fs::remove_file(from)?,
            Err(error) if hard_links_unsupported(&error) => rename_if_free(from, to)?,
            Err(error) => return Err(error),
        },
        Err(error) => return Err(error.into()),
    }
    sync_both(from, to)
}

/// Whether a file system refuses a second name because it knows none, or none across the disks that it is made of.
fn hard_links_unsupported(error: &io::Error) -> bool {
    let refusals = [Errno::PERM, Errno::OPNOTSUPP, Errno::NOSYS, Errno::XDEV, Errno::MLINK];
    error.raw_os_error().is_some_and(|code| refusals.iter().any(|refusal| refusal.raw_os_error() == code))
}

/// The same where the file system can neither refuse to replace nor give second names, as on exFAT: asks first. The lock on the
/// folder keeps other processes of this program from taking the name in between.
fn rename_if_free(from: &Path, to: &Path) -> io::Result<()> {
    let folder = File::open(folder_of(to))?;
    // A file system without locks has no other way either.
    let _ = rustix::fs::flock(&folder, FlockOperation::LockExclusive);
    match fs::symlink_metadata(to) {
        Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => fs::rename(from, to),
        Err(error) => Err(error),
    }
}

/// Keeps the content of `file` under a second name, or in a copy with the same attributes where there can be no second name.
///
/// # Errors
/// `AlreadyExists`, or what the system says; `name` may be an incomplete copy then.
pub fn hard_link_or_copy(file: &Path, name: &Path) -> io::Result<()> {
    keep(file, name, || copy_to(file, name))
}

/// The same with another way to copy it.
pub(super) fn keep(file: &Path, name: &Path, copy: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    match fs::hard_link(file, name) {
        Err(error) if hard_links_unsupported(&error) => {
            copy()?;
            like(file, name)?;
        }
        kept => kept?,
    }
    sync_folder(folder_of(name))
}

/// Keeps the content of `file` in a copy with the same attributes.
///
/// # Errors
/// As [`hard_link_or_copy`].
pub fn copy_with_attributes(file: &Path, name: &Path) -> io::Result<()> {
    copy_to(file, name)?;
    like(file, name)
}

/// Gives `name` the owner, the mode and the attributes of `file`.
pub(super) fn like(file: &Path, name: &Path) -> io::Result<()> {
    let old = fs::metadata(file)?;
    let owner = is_root().then(|| (old.uid(), old.gid()));
    set_owner_and_mode(name, owner, old.mode() & 0o777)?;
    copy_attributes(file, name).map(drop)
}

fn sync_both(from: &Path, to: &Path) -> io::Result<()> {
    let (from, to) = (folder_of(from), folder_of(to));
    sync_folder(to)?;
    if from == to { Ok(()) } else { sync_folder(from) }
}

/// Removes a file; one that is gone already is no error.
///
/// # Errors
/// What the system says.
pub fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Copies a file to a new one of mode 0600, where a second name cannot be had because it is another file system.
///
/// # Errors
/// `AlreadyExists`, or what the system says; nothing new stays behind then.
fn copy_to(from: &Path, to: &Path) -> io::Result<()> {
    let mut source = OpenOptions::new().read(true).custom_flags(no_follow()).open(from)?;
    let mut file = create_private(to)?;
    let copied = io::copy(&mut source, &mut file).and_then(|_| file.sync_all());
    copied.and_then(|()| sync_folder(folder_of(to))).inspect_err(|_| {
        // The first error is the one to report.
        let _ = fs::remove_file(to);
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_hard_links_a_file_is_asked_for_or_copied() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for (name, text) in [("a", "a"), ("b", "b")] {
            fs::write(at(name), text).unwrap();
        }
        assert_eq!(rename_if_free(&at("a"), &at("b")).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        rename_if_free(&at("a"), &at("c")).unwrap();
        assert_eq!(
            (fs::read_to_string(at("b")).unwrap(), fs::read_to_string(at("c")).unwrap()),
            ("b".into(), "a".into())
        );
        assert!(hard_links_unsupported(&Errno::PERM.into()) && !hard_links_unsupported(&Errno::EXIST.into()));
    }
}
