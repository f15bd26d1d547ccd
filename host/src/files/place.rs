//! Renames, links and writes that either happen completely or not at all, and are synced to the disk when they return.
//!
//! Does not know what the files are.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use rustix::fs::{CWD, FlockOperation, RenameFlags};

use super::{folder_of, lease, lease::Others};

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
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
            fs::hard_link(from, to)?;
            fs::remove_file(from)?;
        }
        Err(error) => return Err(error.into()),
    }
    sync_both(from, to)
}

/// Gives `file` a second name.
///
/// # Errors
/// `AlreadyExists`, or what the system says, such as that this file system knows no second names.
pub fn second_name(file: &Path, name: &Path) -> io::Result<()> {
    fs::hard_link(file, name)?;
    sync_folder(folder_of(name))
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
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Makes one folder of mode 0700 that does not exist yet.
///
/// # Errors
/// `AlreadyExists`, or what the system says.
pub fn new_private_folder(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().mode(0o700).create(path)
}

/// The names in a folder, as far as they are UTF-8, in their order.
///
/// # Errors
/// What the system says; `FileTooLarge` beyond `most` of them.
pub fn names(folder: &Path, most: usize) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        names.extend(entry?.file_name().into_string());
        if names.len() > most {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it contains more than {most} files")));
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Adds one line to a file that only grows, in one write, and syncs it. The file is this user's alone when it is made.
///
/// # Errors
/// What the system says.
pub fn append_line(path: &Path, line: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().append(true).create(true).mode(0o600).custom_flags(no_follow()).open(path)?;
    file.write_all(format!("{line}\n").as_bytes())?;
    file.sync_all()
}

fn no_follow() -> i32 {
    rustix::fs::OFlags::NOFOLLOW.bits().cast_signed()
}

/// Copies a file to a new one of mode 0600, where a second name cannot be had because it is another file system.
///
/// # Errors
/// `AlreadyExists`, or what the system says; nothing new stays behind then.
pub fn copy_to(from: &Path, to: &Path) -> io::Result<()> {
    let mut source = File::open(from)?;
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

/// Gives a file that is not in use yet its owner and its mode.
///
/// # Errors
/// What the system says; only root may give files away.
pub fn hand_over(file: &Path, owner: Option<(u32, u32)>, mode: u32) -> io::Result<()> {
    // Through the descriptor, and never through a link: the owner of the folder may have put anything under this name.
    let file = OpenOptions::new().read(true).custom_flags(no_follow()).open(file)?;
    let found = file.metadata()?;
    if !found.is_file() || found.nlink() != 1 {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "another file has taken its place"));
    }
    if let Some((uid, gid)) = owner {
        std::os::unix::fs::fchown(&file, Some(uid), Some(gid))?;
    }
    // After the owner: a change of owner takes bits away.
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    file.sync_all()
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
            Err(rustix::io::Errno::ACCESS | rustix::io::Errno::AGAIN) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether anybody else has the file open, in this process or in another; `None` where the system does not say.
    #[must_use]
    pub fn is_open_elsewhere(&self) -> Option<bool> {
        lease::is_open_elsewhere(&self.0, Others::All)
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
