//! Who a new file belongs to and who may use it: owner, mode, access control list, extended attributes.
//!
//! They are read from other files by path, and no other file is opened for it, since it may be a database. Knows no database.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
};

use rustix::{
    fs::{AtFlags, StatxFlags, XattrFlags},
    io::Errno,
};

use super::{folder_of, is_root, stat};

/// Where Linux keeps the access control list of a file, and the list that new files in a folder get.
const ACCESS_LIST: &str = "system.posix_acl_access";
const DEFAULT_LIST: &str = "system.posix_acl_default";

/// The largest list of names and the largest value that Linux knows (`XATTR_LIST_MAX`, `XATTR_SIZE_MAX`).
const MAX_ATTRIBUTE_BYTES: usize = 64 * 1024;

/// Attributes that say something of a file's content, so that they would be wrong for another one.
const OF_CONTENT: [&str; 2] = ["security.ima", "security.evm"];

/// Gives a file that is not in use yet its owner and its mode, and takes away the access control list that its folder gave it.
///
/// # Errors
/// What the system says; only root may give files away.
pub fn set_owner_and_mode(file: &Path, owner: Option<(u32, u32)>, mode: u32) -> io::Result<()> {
    let (file, found) = opened(file)?;
    if let Some((uid, gid)) = owner.filter(|owner| *owner != (found.uid(), found.gid())) {
        std::os::unix::fs::fchown(&file, Some(uid), Some(gid))?;
    }
    // Without such a list there is nothing to remove, and some file systems know none.
    let had_list = rustix::fs::fremovexattr(&file, ACCESS_LIST).is_ok();
    // After the owner, a change of which takes bits away. File systems without modes refuse a change only.
    if had_list || file.metadata()?.mode() & 0o7777 != mode {
        file.set_permissions(fs::Permissions::from_mode(mode))?;
    }
    file.sync_all()
}

/// Gives `new`, which is not in use yet, the access control list and the extended attributes of `old`, as far as they are not about
/// its content. Gives the names of those of users that could not be set.
///
/// # Errors
/// What the system says of the access control list, which decides who may use the file.
pub fn copy_attributes(old: &Path, new: &Path) -> io::Result<Vec<String>> {
    let (file, _) = opened(new)?;
    let mut lost = Vec::new();
    for name in attributes(old) {
        let is_wanted =
            (name.starts_with("user.") || name.starts_with("security.")) && !OF_CONTENT.contains(&name.as_str());
        // Only a privileged user may set most of the attributes of the system, and the system sets them by itself.
        let is_set = || set(old, &file, &name).is_ok() || !name.starts_with("user.");
        if is_wanted && !is_set() {
            lost.push(name);
        }
    }
    // Last, since it decides on the mode as well.
    match set(old, &file, ACCESS_LIST) {
        Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::NOSYS) | Ok(()) => {}
        Err(error) => return Err(error.into()),
    }
    file.sync_all()?;
    Ok(lost)
}

fn set(old: &Path, new: &File, name: &str) -> Result<(), Errno> {
    let mut value = vec![0; MAX_ATTRIBUTE_BYTES];
    let filled = rustix::fs::getxattr(old, name, &mut value)?;
    rustix::fs::fsetxattr(new, name, value.get(..filled).unwrap_or_default(), XattrFlags::empty())
}

/// The names of a file's extended attributes; none where the file system knows none.
fn attributes(path: &Path) -> Vec<String> {
    let mut list = vec![0_u8; MAX_ATTRIBUTE_BYTES];
    let filled = rustix::fs::listxattr(path, &mut list).unwrap_or(0);
    let names = list.get(..filled).unwrap_or_default().split(|byte| *byte == 0);
    names.filter(|name| !name.is_empty()).map(|name| String::from_utf8_lossy(name).into_owned()).collect()
}

/// Whether a folder has a list of who may use the files that are made in it.
#[must_use]
pub fn has_default_list(folder: &Path) -> bool {
    rustix::fs::getxattr(folder, DEFAULT_LIST, &mut vec![0; MAX_ATTRIBUTE_BYTES]).is_ok_and(|filled| filled > 0)
}

/// Opened without following links, and nothing but a file with one name: the owner of the folder may have put anything there.
fn opened(path: &Path) -> io::Result<(File, fs::Metadata)> {
    let file = OpenOptions::new().read(true).custom_flags(super::read::no_follow()).open(path)?;
    let found = file.metadata()?;
    if !found.is_file() || names_of(&file)? != 1 {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "another file has taken its place"));
    }
    Ok((file, found))
}

/// How many names a file has now: some file systems remember for a while how many it had.
fn names_of(file: &File) -> io::Result<u32> {
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_FORCE_SYNC;
    Ok(rustix::fs::statx(file, "", flags, StatxFlags::NLINK)?.stx_nlink)
}

/// To whom root gives a new file at `path`: to the owner of its folder, or where that is root, to `otherwise`. Nobody but root
/// gives files away.
#[must_use]
pub fn owner_for_new_file(path: &Path, otherwise: Option<(u32, u32)>) -> Option<(u32, u32)> {
    if !is_root() {
        return None;
    }
    let folder = stat(folder_of(path)).ok().flatten().map(|found| (found.uid, found.gid));
    [folder, otherwise].into_iter().flatten().find(|(uid, _)| *uid != 0)
}

/// Gives a new file or folder away. It stays root's where a file system refuses that, which is better than none.
pub(super) fn give(file: &File, owner: Option<(u32, u32)>) {
    if let Some((uid, gid)) = owner {
        let _best_effort = std::os::unix::fs::fchown(file, Some(uid), Some(gid));
    }
}

#[cfg(test)]
mod tests {
    #![expect(
        clippy::disallowed_methods,
        clippy::print_stderr,
        reason = "a test makes its own files, and says what it skips"
    )]

    use super::*;

    /// A list for its owner (rw), one more user (rw), the group (r), nobody else.
    fn list(tags: &[(u16, u16, u32)]) -> Vec<u8> {
        let mut bytes = vec![2, 0, 0, 0];
        for (tag, rights, id) in tags {
            bytes.extend(tag.to_le_bytes());
            bytes.extend(rights.to_le_bytes());
            bytes.extend(id.to_le_bytes());
        }
        bytes
    }

    fn access_list(path: &Path) -> Option<Vec<u8>> {
        let mut value = vec![0; MAX_ATTRIBUTE_BYTES];
        let filled = rustix::fs::getxattr(path, ACCESS_LIST, &mut value).ok()?;
        value.truncate(filled);
        Some(value)
    }

    #[test]
    fn a_new_file_gets_what_the_old_one_has_and_nothing_of_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let nobody = u32::MAX;
        let default = list(&[(1, 6, nobody), (2, 6, 4711), (4, 6, nobody), (0x10, 6, nobody), (0x20, 6, nobody)]);
        if rustix::fs::setxattr(folder.path(), DEFAULT_LIST, &default, XattrFlags::empty()).is_err() {
            eprintln!("SKIPPED: no access control lists on this file system");
            return;
        }
        assert!(has_default_list(folder.path()));
        for name in ["old", "plain", "new", "bare"] {
            fs::write(at(name), "").unwrap();
        }
        set_owner_and_mode(&at("plain"), None, 0o640).unwrap();
        assert_eq!(access_list(&at("plain")), None);
        let own = list(&[(1, 6, nobody), (2, 6, 1234), (4, 4, nobody), (0x10, 6, nobody), (0x20, 0, nobody)]);
        rustix::fs::setxattr(at("old"), ACCESS_LIST, &own, XattrFlags::empty()).unwrap();
        rustix::fs::setxattr(at("old"), "user.origin", b"vault", XattrFlags::empty()).unwrap();
        for (from, to, expected) in [("old", "new", Some(own)), ("plain", "bare", None)] {
            let mode = stat(&at(from)).unwrap().unwrap().mode;
            set_owner_and_mode(&at(to), None, mode).unwrap();
            assert_eq!(copy_attributes(&at(from), &at(to)).unwrap(), Vec::<String>::new());
            assert_eq!((access_list(&at(to)), stat(&at(to)).unwrap().unwrap().mode), (expected, mode));
        }
        let mut value = [0; 8];
        assert_eq!(rustix::fs::getxattr(at("new"), "user.origin", &mut value), Ok(5));
        assert_eq!(rustix::fs::getxattr(at("bare"), "user.origin", &mut value), Err(Errno::NODATA));
    }

    #[test]
    fn root_leaves_nothing_of_its_own_in_the_folder_of_another() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        if !is_root() {
            assert_eq!(owner_for_new_file(&path, Some((4711, 4711))), None, "only root gives files away");
            return;
        }
        assert_eq!((owner_for_new_file(&path, None), owner_for_new_file(&path, Some((0, 0)))), (None, None));
        assert_eq!(owner_for_new_file(&path, Some((4711, 4712))), Some((4711, 4712)));
        std::os::unix::fs::chown(folder.path(), Some(1234), Some(1235)).unwrap();
        assert_eq!(owner_for_new_file(&path, Some((4711, 4712))), Some((1234, 1235)));
        give(&File::create(&path).unwrap(), owner_for_new_file(&path, None));
        let found = stat(&path).unwrap().unwrap();
        assert_eq!((found.uid, found.gid), (1234, 1235));
    }
}
