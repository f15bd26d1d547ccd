//! A small file that says what a process is doing, and is locked by that process for as long as it does it.
//!
//! The kernel ends the lock with its process, however that ends, so whoever reads the file learns whether the process still
//! runs. Knows nothing of what the file says.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use fs4::{FileExt, TryLockError};

use super::{Draft, folder_of, owner_for_new_file, remove, sync_folder};

/// The size of every marker, whatever it says: one block of most file systems, which is written again in place where there is no
/// room for another.
pub const MARKER_BYTES: usize = 4096;

/// How often a marker may vanish while it is read, or be held by a reader while it is taken over: each time for a moment.
const MAX_TRIES: u32 = 10;

/// A marker of this process. Dropping it ends the lock and leaves the file.
#[derive(Debug)]
pub struct Marker {
    path: PathBuf,
    file: File,
}

/// What a marker says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marked {
    /// Its text.
    pub text: String,
    /// Whether the process that wrote it is still at work.
    pub is_held: bool,
}

impl Marker {
    /// Puts a marker at `path`, in the place of any other; a new one is locked and whole from its first moment on.
    ///
    /// Others may read it. When root makes it, it belongs to the owner of its folder.
    ///
    /// # Errors
    /// What the system says; `FileTooLarge` for a text that does not fit into [`MARKER_BYTES`].
    pub fn put(path: &Path, text: &str) -> io::Result<Self> {
        let block = block(text)?;
        let file = match Self::there(path) {
            Some(file) => {
                file.write_all_at(&block, 0)?;
                file.sync_all()?;
                file
            }
            None => {
                remove(path)?;
                new(path, &block)?
            }
        };
        Ok(Self { path: path.to_owned(), file })
    }

    /// The marker that is there, locked, when it can be written.
    fn there(path: &Path) -> Option<File> {
        let file = OpenOptions::new().read(true).write(true).custom_flags(careful()).open(path).ok()?;
        // Whoever owns the folder may have put anything under this name, a second name of another file too.
        let found = file.metadata().ok().filter(|found| found.is_file() && found.nlink() == 1)?;
        for _ in 0..MAX_TRIES {
            // Only a reader can be in the way, for a moment. Without a lock it looks like one whose process has ended.
            match FileExt::try_lock(&file) {
                Err(TryLockError::WouldBlock) => std::thread::yield_now(),
                _ => break,
            }
        }
        is_still(path, &found).then_some(file)
    }

    /// Has it say something else.
    ///
    /// # Errors
    /// As [`Marker::put`].
    pub fn write(&self, text: &str) -> io::Result<()> {
        self.file.write_all_at(&block(text)?, 0)?;
        self.file.sync_all()
    }

    /// Removes the file, and then ends the lock.
    ///
    /// # Errors
    /// What the system says.
    pub fn remove(self) -> io::Result<()> {
        remove(&self.path)?;
        sync_folder(folder_of(&self.path))
    }

    /// What the marker at `path` says; `None` when there is none. Changes nothing.
    ///
    /// # Errors
    /// What the system says; `InvalidInput` for what is no file, `InvalidData` for what is not UTF-8.
    pub fn read(path: &Path) -> io::Result<Option<Marked>> {
        for _ in 0..MAX_TRIES {
            let file = match OpenOptions::new().read(true).custom_flags(careful()).open(path) {
                Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                    return Ok(None);
                }
                opened => opened?,
            };
            let found = file.metadata()?;
            if !found.is_file() {
                return Err(io::ErrorKind::InvalidInput.into());
            }
            let is_held = matches!(FileExt::try_lock_shared(&file), Err(TryLockError::WouldBlock));
            let mut text = String::new();
            let most = MARKER_BYTES as u64;
            (&file).take(most).read_to_string(&mut text)?;
            // A process that has ended well removed its marker before its lock.
            if is_still(path, &found) {
                return Ok(Some(Marked { text, is_held }));
            }
        }
        Err(io::ErrorKind::ResourceBusy.into())
    }
}

/// A new marker, which gets its name when it is whole and locked.
fn new(path: &Path, block: &[u8]) -> io::Result<File> {
    let folder = folder_of(path);
    let draft = Draft::new(folder)?;
    let file = draft.file().try_clone()?;
    // Nobody else knows it yet, so only a file system without locks can refuse.
    let _ = FileExt::try_lock(&file);
    file.write_all_at(block, 0)?;
    draft.set_owner(owner_for_new_file(path, None));
    file.set_permissions(fs::Permissions::from_mode(0o644))?;
    draft.sync()?;
    draft.publish(path)?;
    Ok(file)
}

/// Links are not followed, and a pipe does not block.
fn careful() -> i32 {
    (rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK).bits().cast_signed()
}

fn is_still(path: &Path, found: &fs::Metadata) -> bool {
    fs::symlink_metadata(path).is_ok_and(|now| (now.dev(), now.ino()) == (found.dev(), found.ino()))
}

/// The text, filled up with blanks to the size of every marker.
fn block(text: &str) -> io::Result<Vec<u8>> {
    let mut block = text.as_bytes().to_vec();
    if block.len() >= MARKER_BYTES {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    block.resize(MARKER_BYTES - 1, b' ');
    block.push(b'\n');
    Ok(block)
}

#[cfg(test)]
mod tests {
    use super::{super::stat, *};

    #[test]
    fn a_marker_is_held_for_as_long_as_its_process_works_and_stays_when_it_does_not_end_well() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("marker");
        let says = || Marker::read(&path).unwrap().map(|found| (found.text.trim_end().to_owned(), found.is_held));
        assert_eq!(says(), None);
        let marker = Marker::put(&path, "at work").unwrap();
        assert_eq!(says(), Some(("at work".to_owned(), true)));
        drop(marker);
        assert_eq!(says(), Some(("at work".to_owned(), false)));
        let again = Marker::put(&path, "at work again").unwrap();
        assert_eq!(says(), Some(("at work again".to_owned(), true)));
        again.write("done").unwrap();
        assert_eq!(says(), Some(("done".to_owned(), true)));
        assert_eq!(stat(&path).unwrap().unwrap().bytes, MARKER_BYTES as u64);
        again.remove().unwrap();
        assert_eq!(says(), None);
    }

    #[test]
    fn what_is_no_marker_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("marker");
        std::os::unix::fs::symlink("elsewhere", &path).unwrap();
        assert!(Marker::read(&path).is_err());
        assert_eq!(Marker::read(folder.path()).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert_eq!(Marker::read(&path).ok(), None);
        drop(Marker::put(&path, "in the place of a link").unwrap());
        assert_eq!(Marker::read(&path).unwrap().map(|found| found.is_held), Some(false));
        fs::hard_link(&path, folder.path().join("second name")).unwrap();
        drop(Marker::put(&path, "another file").unwrap());
        assert!(fs::read_to_string(folder.path().join("second name")).unwrap().starts_with("in the place of a link"));
        let error = Marker::put(&path, &"x".repeat(MARKER_BYTES)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
    }
}
