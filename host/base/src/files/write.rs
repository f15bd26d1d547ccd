//! Writes that either happen completely or not at all, and are synced to the disk when they return.
//!
//! Does not know what the files are.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{FileExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
};

use super::{Draft, FileKind, attributes::give, path::folder_of, read::no_follow, rename::sync_folder, stat};

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
pub fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    match stat(path)? {
        None if fs::symlink_metadata(path).is_ok() => {
            Err(io::Error::new(io::ErrorKind::NotFound, "it is a symbolic link to a file that does not exist"))
        }
        None => replace(path, bytes, 0o644, None),
        Some(old) => match old.kind {
            FileKind::Folder => Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a directory")),
            FileKind::Other => OpenOptions::new().write(true).open(path)?.write_all(bytes),
            FileKind::File => replace(&fs::canonicalize(path)?, bytes, old.mode & 0o777, Some((old.uid, old.gid))),
        },
    }
}

/// Writes a new file of this mode, which gets its name when it is whole and synced, and belongs to `owner` when root makes it.
///
/// # Errors
/// `AlreadyExists`, or what the system says; there is no new file then.
pub fn create_atomically(path: &Path, bytes: &[u8], mode: u32, owner: Option<(u32, u32)>) -> io::Result<()> {
    let draft = Draft::new(folder_of(path))?;
    draft.set_owner(owner);
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

#[cfg(test)]
mod tests {
    use super::{super::read_text, *};

    #[test]
    fn what_is_written_replaces_a_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        write_new(&at("real"), "old").unwrap();
        fs::set_permissions(at("real"), fs::Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink("real", at("link")).unwrap();
        write_atomically(&at("link"), b"new").unwrap();
        assert!(fs::symlink_metadata(at("link")).unwrap().is_symlink());
        assert_eq!(read_text(&at("real"), 9).unwrap(), "new");
        assert_eq!(stat(&at("real")).unwrap().unwrap().mode, 0o640);
        write_atomically(&at("fresh"), b"1").unwrap();
        assert_eq!(stat(&at("fresh")).unwrap().unwrap().mode, 0o644);

        std::os::unix::fs::symlink("/dev/null", at("null")).unwrap();
        write_atomically(&at("null"), b"lost").unwrap();
        assert_eq!(stat(&at("null")).unwrap().unwrap().kind, FileKind::Other);
        std::os::unix::fs::symlink("nowhere", at("dangling")).unwrap();
        for (name, kind) in [
            ("dangling", io::ErrorKind::NotFound),
            (".", io::ErrorKind::IsADirectory),
            ("no/such/folder", io::ErrorKind::NotFound),
        ] {
            let error = write_atomically(&at(name), b"x").unwrap_err();
            assert_eq!(error.kind(), kind, "{name}");
            assert!(!error.to_string().contains(".tmp"), "{error}");
        }
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
}
