//! Lists what restores of a database have replaced, and removes it. Knows no archive.

use std::{
    ffi::OsStr,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use serde::Serialize;

use crate::backup::{
    Error, beside::destination::STAGED, beside::destination::staged_beside, beside::journal, beside::replaced_folder,
    beside::replaced_folder::MAX_KEPT, beside::replaced_folder::ReplacedNote, error::stat, in_use::MAX_IN_PLACE,
    locking::lock,
};
use vitalsign_base::files::{self, beside};

/// What a restore has replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Replaced {
    /// Its folder.
    #[serde(serialize_with = "crate::backup::beside::relative_path::as_text")]
    pub path: PathBuf,
    /// When it was replaced, in UTC, and by what; `None` where no note says so.
    pub at: Option<String>,
    /// By what.
    pub by: Option<String>,
    /// The bytes of all its files.
    pub bytes: u64,
}

/// What restores of `db` have replaced, newest first.
///
/// # Errors
/// What the system says of the folder.
pub fn replaced(db: &Path) -> Result<Vec<Replaced>, Error> {
    let real = files::resolved(db).map_err(|error| Error::io("find", db, error))?;
    let one = |(_, path): (u32, PathBuf)| {
        let note = ReplacedNote::read(&path);
        let (at, by) = note.map_or((None, None), |note| (Some(note.at), Some(note.by)));
        let bytes =
            files::files_below(&path, MAX_IN_PLACE).unwrap_or_default().iter().map(|(_, found)| found.bytes).sum();
        Ok(Replaced { at, by, bytes, path })
    };
    replaced_folder::all(&real)?.into_iter().rev().map(one).collect()
}

/// Removes what restores have replaced, oldest first, but for the newest `last`.
///
/// # Errors
/// [`Error::Refused`] while a restore runs, or one was interrupted, which may still need them; else what the system says.
pub fn prune_replaced(db: &Path, last: usize, scratch: &Path) -> Result<(), Error> {
    let real = files::resolved(db).map_err(|error| Error::io("find", db, error))?;
    let folder = files::folder_of(&real);
    let any =
        stat(&real)?.or(stat(folder)?).ok_or_else(|| Error::io("find", folder, rustix::io::Errno::NOENT.into()))?;
    let _lock = lock(&real, &any, scratch)?;
    if journal::is_there(&real) {
        let what = format!("a restore or an undo of {} was interrupted; nothing was removed", real.display());
        return Err(Error::refused(what, "run `vitalsign restore --undo` first: it puts back what was there before"));
    }
    let failed = |error| Error::io("remove", folder, error);
    let own = staged_beside(&beside(&real, ".replaced-"));
    let half = own.file_name().unwrap_or_default().as_bytes();
    let half = half.strip_suffix(STAGED.as_bytes()).unwrap_or(half);
    // What a process that was killed here left.
    let is_half = |name: &OsStr| {
        let is_ours = name.as_bytes().starts_with(half) && name.as_bytes().ends_with(STAGED.as_bytes());
        is_ours.then(|| folder.join(name))
    };
    for left in files::found_in(folder, MAX_KEPT as usize, is_half).map_err(failed)? {
        files::remove_folder(&left).map_err(failed)?;
    }
    for one in replaced(db)?.into_iter().skip(last).rev() {
        if let Some(below) = files::mounted_below(&one.path).map_err(failed)? {
            let what = format!(
                "{} is mounted below {}, and everything in it would be removed as well; that folder was not removed",
                below.display(),
                one.path.display()
            );
            return Err(Error::refused(what, "unmount it first, then try again"));
        }
        // Out of sight at once: half of it must not be brought back.
        let hidden = staged_beside(&one.path);
        files::move_to(&one.path, &hidden).and_then(|()| files::remove_folder(&hidden)).map_err(failed)?;
    }
    files::sync_folder(folder).map_err(failed)
}
