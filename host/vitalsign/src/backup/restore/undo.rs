//! Brings back what the last restore of a database replaced. Knows no archive.

use std::path::{Path, PathBuf};

use crate::backup::{
    Error, Include, beside::destination::staged_beside, beside::journal, beside::replaced_folder,
    beside::replaced_folder::EXPORT, beside::replaced_folder::ReplacedNote, error::stat, in_use::refuse_if_export_open,
    in_use::refuse_if_in_use, in_use::refuse_if_open, in_use::refuse_mount_point, locking::lock,
    restore::swap::Exchange, restore::swap::Recovered, restore::swap::Swap, restore::swap::recover,
    restore::swap::swap,
};
use vitalsign_base::{
    clock::Clock,
    files::{self, FileKind},
};

/// What is asked for.
#[derive(Clone, Debug)]
pub struct UndoRequest<'a> {
    /// The database.
    pub db: &'a Path,
    /// Where the export goes, if not to where the restore found it.
    pub log: Option<&'a Path>,
    /// What belongs to the registry, as somebody says who may be trusted more than what is written beside the database.
    pub include: &'a [Include],
    /// Where locks lie when the database's own folder may not be written.
    pub scratch: &'a Path,
}

/// What an undo did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undone {
    /// Where what it replaced is kept.
    pub replaced: Option<PathBuf>,
    /// Whether all that there was to do was to end a restore or an undo that had been interrupted.
    pub interrupted: bool,
}

/// Brings back what the last restore replaced, and keeps what that restore had put there.
///
/// # Errors
/// [`Error::Refused`] when nothing was replaced, or while a process has the database open.
pub fn undo(request: &UndoRequest<'_>, clock: &dyn Clock) -> Result<Undone, Error> {
    let db = request.db;
    let real = files::resolved(db).map_err(|error| Error::io("find", db, error))?;
    let nothing = || {
        let what = format!("no restore has replaced {}, so there is nothing to bring back", db.display());
        Error::refused(what, "`vitalsign list` shows the archives that can be restored")
    };
    if files::is_link(&real) {
        let real = files::link_destination(&real).unwrap_or(real);
        let what = format!("{} is a symbolic link to {}, which does not exist", db.display(), real.display());
        return Err(Error::refused(
            format!("{what}; nothing was changed"),
            "name the path that the link points to with --db",
        ));
    }
    let parent = real.parent().and_then(|parent| stat(parent).ok().flatten()).ok_or_else(nothing)?;
    let there = stat(&real)?;
    let _lock = lock(&real, &there.unwrap_or(parent), request.scratch)?;
    match recover(&real)? {
        // The files from before the restore are there now, which is what an undo is for.
        Some(Recovered::TakenBack(journal::SwapKind::Restore) | Recovered::Completed(journal::SwapKind::Undo)) => {
            return Ok(Undone { replaced: None, interrupted: true });
        }
        Some(Recovered::TakenBack(journal::SwapKind::Undo) | Recovered::Completed(journal::SwapKind::Restore))
        | None => {}
    }
    if stat(&real)?.is_some_and(|found| found.kind != FileKind::File) {
        return Err(nothing());
    }
    let (from, database) = replaced_folder::newest(&real)?.ok_or_else(nothing)?;
    let log = match request.log {
        Some(log) => Some(files::resolved(log).map_err(|error| Error::io("find", log, error))?),
        None => ReplacedNote::log(&from, files::folder_of(&real))?,
    };
    let included = ReplacedNote::included(&from, files::folder_of(&real), request.include)?;
    let old_log = from.join(EXPORT);
    for path in [Some(&real), log.as_ref()].into_iter().flatten() {
        refuse_mount_point(path)?;
    }
    for (place, _) in &included {
        refuse_mount_point(place)?;
        refuse_if_in_use(place)?;
    }
    refuse_if_open(&real)?;
    match &log {
        Some(log) => refuse_if_export_open(log)?,
        None if stat(&old_log)?.is_none() => {}
        None => {
            let what = format!(
                "it is not known where the provenance export in {} belongs to; nothing was changed",
                from.display()
            );
            return Err(Error::refused(what, "say with --log where to put it"));
        }
    }
    // The old export stays where it is kept until all is done. Where the restore replaced none, the one that it made is moved away.
    let staged = match &log {
        Some(log) if stat(&old_log)?.is_some() => Some(StagedExport::of(&old_log, log, &real)?),
        _ => None,
    };
    let at = format!("{:.0}", clock.now());
    let include: Vec<_> = included.iter().map(|(place, kept)| Exchange::new(Some(kept.as_path()), place)).collect();
    let replaced = swap(&Swap {
        real: &real,
        new: database.as_deref(),
        log: log.as_deref().map(|log| (staged.as_ref().map(|staged| staged.path.as_path()), log)),
        kind: journal::SwapKind::Undo,
        at: &at,
        by: &format!("restore --undo, from {}", from.display()),
        from: Some(&from),
        include: &include,
    })?;
    Ok(Undone { replaced, interrupted: false })
}

/// A copy of an export beside the place where it goes; dropping this removes it.
struct StagedExport<'a> {
    path: PathBuf,
    real: &'a Path,
}

impl<'a> StagedExport<'a> {
    fn of(kept: &Path, log: &Path, real: &'a Path) -> Result<Self, Error> {
        let folder = files::folder_of(log);
        if stat(folder)?.is_none() {
            let what =
                format!("the folder {} of the provenance export does not exist; nothing was changed", folder.display());
            return Err(Error::refused(what, "create the folder, or say with --log where to put the export"));
        }
        let path = staged_beside(log);
        let staged = Self { path, real };
        files::remove(&staged.path).map_err(|error| Error::io("remove", &staged.path, error))?;
        files::copy_with_attributes(kept, &staged.path).map_err(|error| Error::io("write", &staged.path, error))?;
        Ok(staged)
    }
}

impl Drop for StagedExport<'_> {
    fn drop(&mut self) {
        if !journal::is_there(self.real) {
            // The next undo or restore removes it.
            let _ = files::remove(&self.path);
        }
    }
}
