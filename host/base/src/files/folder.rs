//! Folders: made, listed, given away and removed.
//!
//! Does not know what is in them.

use std::{
    ffi::OsStr,
    fs::{self, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::Path,
};

use rustix::fs::OFlags;

use super::{attributes::give, path::folder_of, rename::sync_folder};

/// Makes one folder of mode 0700 that does not exist yet, for `owner` when root makes it, and syncs its name.
///
/// # Errors
/// `AlreadyExists`, or what the system says.
pub fn new_private_folder(path: &Path, owner: Option<(u32, u32)>) -> io::Result<()> {
    fs::DirBuilder::new().mode(0o700).create(path)?;
    set_folder_owner(path, owner)?;
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
        set_folder_owner(new, owner)?;
        sync_folder(folder_of(new))
    })
}

/// Gives a folder away when root has made it.
///
/// # Errors
/// What the system says.
fn set_folder_owner(path: &Path, owner: Option<(u32, u32)>) -> io::Result<()> {
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
