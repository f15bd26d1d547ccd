//! Renames, links and writes that either happen completely or not at all, and are synced to the disk when they return.
//!
//! Does not know what the files are.

use std::{
    ffi::OsStr,
    fs::{self, File, OpenOptions},
    io::{self, Seek as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, FileExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{CWD, FlockOperation, OFlags, RenameFlags},
    io::Errno,
};

use super::{attributes::give, folder_of, lease, lease::Others};

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
            Err(error) if knows_no_second_names(&error) => rename_if_free(from, to)?,
            Err(error) => return Err(error),
        },
        Err(error) => return Err(error.into()),
    }
    sync_both(from, to)
}

/// Whether a file system refuses a second name because it knows none, or none across the disks that it is made of.
fn knows_no_second_names(error: &io::Error) -> bool {
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
pub fn keep_as(file: &Path, name: &Path) -> io::Result<()> {
    keep(file, name, || copy_to(file, name))
}

/// The same with another way to copy it.
fn keep(file: &Path, name: &Path, copy: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    match fs::hard_link(file, name) {
        Err(error) if knows_no_second_names(&error) => {
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
/// As [`keep_as`].
pub fn keep_copy(file: &Path, name: &Path) -> io::Result<()> {
    copy_to(file, name)?;
    like(file, name)
}

fn like(file: &Path, name: &Path) -> io::Result<()> {
    let old = fs::metadata(file)?;
    let owner = super::is_root().then(|| (old.uid(), old.gid()));
    super::hand_over(name, owner, old.mode() & 0o777)?;
    super::copy_attributes(file, name).map(drop)
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

/// Removes a folder with everything in it; one that is gone already is no error.
///
/// # Errors
/// What the system says.
pub fn remove_folder(path: &Path) -> io::Result<()> {
    let removed = match fs::remove_dir_all(path) {
        // A folder in it may be one that not even its owner writes to, as one that was restored with its mode.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            super::tree::make_writable(path);
            fs::remove_dir_all(path)
        }
        removed => removed,
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Makes one folder of mode 0700 that does not exist yet, for `owner` when root makes it, and syncs its name.
///
/// # Errors
/// `AlreadyExists`, or what the system says.
pub fn new_private_folder(path: &Path, owner: Option<(u32, u32)>) -> io::Result<()> {
    fs::DirBuilder::new().mode(0o700).create(path)?;
    give_folder(path, owner)?;
    sync_folder(folder_of(path))
}

/// Makes a folder with its parents, or accepts the one that is there. What root makes is for `owner`. It is synced: a name that a
/// power loss takes away would take everything in the folder with it.
///
/// # Errors
/// What the system says.
pub fn folder(path: &Path, owner: Option<(u32, u32)>) -> io::Result<()> {
    let missing: Vec<_> =
        path.ancestors().take_while(|above| !above.as_os_str().is_empty() && !above.exists()).collect();
    fs::create_dir_all(path)?;
    missing.into_iter().rev().try_for_each(|new| {
        give_folder(new, owner)?;
        sync_folder(folder_of(new))
    })
}

/// Gives a folder away when root has made it.
///
/// # Errors
/// What the system says.
fn give_folder(path: &Path, owner: Option<(u32, u32)>) -> io::Result<()> {
    if owner.is_some() {
        // Through a descriptor that no link leads to: whoever owns the folder above may have put another in its place.
        let flags = (OFlags::NOFOLLOW | OFlags::DIRECTORY).bits().cast_signed();
        give(&OpenOptions::new().read(true).custom_flags(flags).open(path)?, owner);
    }
    Ok(())
}

/// Removes a folder in which nothing is; one that is gone already is no error.
///
/// # Errors
/// What the system says.
pub fn remove_empty_folder(path: &Path) -> io::Result<()> {
    match fs::remove_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// What `wanted` finds in the names in a folder, whatever else is there, in its order.
///
/// # Errors
/// What the system says; `FileTooLarge` beyond `most` of them.
pub fn found_in<T: Ord>(folder: &Path, most: usize, wanted: impl Fn(&OsStr) -> Option<T>) -> io::Result<Vec<T>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        found.extend(wanted(&entry?.file_name()));
        if found.len() > most {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("it contains more than {most} such files"),
            ));
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// Adds one line to a file that only grows, in one write, and syncs it. A new one is for its owner alone: `owner`, when root makes it.
/// Where a power loss has cut the last line off, the new one still begins a line of its own.
///
/// # Errors
/// What the system says.
pub fn append_line(path: &Path, line: &str, owner: Option<(u32, u32)>) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.read(true).append(true).mode(0o600).custom_flags(no_follow());
    let mut file = match options.clone().create_new(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => options.create(true).open(path)?,
        made => {
            let made = made?;
            give(&made, owner);
            made
        }
    };
    let bytes = file.metadata()?.len();
    let mut last = [b'\n'];
    if bytes > 0 {
        file.read_exact_at(&mut last, bytes - 1)?;
    }
    let start = if last == [b'\n'] { "" } else { "\n" };
    file.write_all(format!("{start}{line}\n").as_bytes())?;
    file.sync_all()?;
    if bytes == 0 { sync_folder(folder_of(path)) } else { Ok(()) }
}

pub(super) fn no_follow() -> i32 {
    OFlags::NOFOLLOW.bits().cast_signed()
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

/// A new file of mode 0600 for writing.
///
/// # Errors
/// `AlreadyExists`, or what the system says.
pub fn create_private(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)
}

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
        lease::is_open_elsewhere(&self.0, Others::All)
    }

    /// As [`keep_as`] for the file that is locked, whose path is `file`: it is not opened again, which would end the lock.
    ///
    /// # Errors
    /// As [`keep_as`].
    pub fn keep_as(&self, file: &Path, name: &Path) -> io::Result<()> {
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

/// The path of a file beside `path` whose name goes on with `suffix`.
#[must_use]
pub fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_second_names_a_file_is_asked_for_or_copied() {
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
        assert!(knows_no_second_names(&Errno::PERM.into()) && !knows_no_second_names(&Errno::EXIST.into()));

        let lock = WholeFileLock::take(&at("c")).unwrap().unwrap();
        lock.copy_to(&at("d")).unwrap();
        like(&at("c"), &at("d")).unwrap();
        assert_eq!(fs::read_to_string(at("d")).unwrap(), "a");
        assert_eq!(fs::metadata(at("d")).unwrap().mode(), fs::metadata(at("c")).unwrap().mode());
        // The lock is there still: whoever opens a file again and closes it loses it.
        let holder = std::process::id();
        let locks = super::super::locks_on(lock.id().unwrap().inode, &devices(&at("c"))).unwrap();
        assert!(locks.iter().any(|held| held.pid == Some(holder) && held.exclusive), "{locks:?}");
    }

    #[test]
    fn a_line_begins_after_one_that_was_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lines");
        append_line(&path, "one", None).unwrap();
        append_line(&path, "two", None).unwrap();
        fs::write(&path, &fs::read(&path).unwrap()[..6]).unwrap();
        append_line(&path, "three", None).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "one\ntw\nthree\n");
    }

    /// What the system calls the device of a file, in both of its words.
    fn devices(path: &Path) -> Vec<u64> {
        let own = fs::metadata(path).unwrap().dev();
        let mount = super::super::mount_of(path).unwrap().map(|mount| mount.device);
        [Some(own), mount].into_iter().flatten().collect()
    }
}
