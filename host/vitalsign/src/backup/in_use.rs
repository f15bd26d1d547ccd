//! Who else uses the files that a restore would replace.

use crate::backup::{Error, error::stat, side_files::SIDES};
use std::{path::Path, thread::park_timeout, time::Duration};
use vitalsign_archive::DATABASE_MAGIC;
use vitalsign_base::{
    clock::Deadline,
    files::{self, FileId, FolderEntry, Process, WholeFileLock, beside},
};
/// Files that are in a place, which may be many more than an archive holds: some 200 MB of memory.
pub(crate) const MAX_IN_PLACE: usize = 1_000_000;

/// How long processes that have the database open are waited for: a health check has it open for a tenth of a second.
pub(crate) const OPEN_PATIENCE: Duration = Duration::from_secs(1);

pub(crate) const OPEN_STEP: Duration = Duration::from_millis(50);

/// Refuses while any process has the database open, as far as locks and `/proc` tell.
pub(crate) fn refuse_if_open(real: &Path) -> Result<(), Error> {
    if stat(real)?.is_none() {
        return Ok(());
    }
    unoccupied(real)?;
    refuse_if_open_unseen(real, &locked(real)?)
}

/// Refuses while a process has the database open that shows neither in locks nor in `/proc`: an idle one in another container.
pub(crate) fn refuse_if_open_unseen(real: &Path, lock: &WholeFileLock) -> Result<(), Error> {
    let until = Deadline::after(OPEN_PATIENCE);
    while lock.is_open_elsewhere() == Some(true) {
        if until.has_passed() {
            return Err(open_in(real, &[]));
        }
        park_timeout(OPEN_STEP);
    }
    Ok(())
}

/// Refuses a file that is mounted by itself, as a container has it: it can be written to, but not replaced.
pub(crate) fn refuse_mount_point(path: &Path) -> Result<(), Error> {
    // It would be moved away with its folder, and removed with that one day.
    let below = files::mounted_below(path).map_err(|error| Error::io("access", path, error))?;
    if let Some(below) = below {
        let what = format!(
            "{} is mounted below {}, so that folder cannot be replaced as a whole; nothing was changed",
            below.display(),
            path.display()
        );
        return Err(Error::refused(what, "unmount it first, or restore to another path with --db and --log"));
    }
    if !files::is_mounted_alone(path) {
        return Ok(());
    }
    let what =
        format!("{} is a mount point, so no other file can be put in its place; nothing was changed", path.display());
    Err(Error::refused(
        what,
        "run the command where the file is no mount, such as outside of the container; mount the folder instead of the single file",
    ))
}

/// Refuses while any process has the export open: it would go on writing to the old one, or reading it.
pub(crate) fn refuse_if_export_open(log: &Path) -> Result<(), Error> {
    let there = processes_still_open(|| Ok(stat(log)?.into_iter().map(|found| found.id).collect()))?;
    if there.is_empty() { Ok(()) } else { Err(open_in(log, &there)) }
}

/// Refuses while any process has a file at or below `path` open.
pub(crate) fn refuse_if_in_use(path: &Path) -> Result<(), Error> {
    let mut plain = Vec::new();
    let below = files::files_below(path, MAX_IN_PLACE).map_err(|_| {
        let what = format!(
            "{} contains more than {MAX_IN_PLACE} files, so it cannot be found out whether any of them is open; nothing was changed",
            path.display()
        );
        Error::refused(what, "stop every process that uses it, and move it away yourself, then try again")
    })?;
    for (file, found) in below {
        if is_database(&file) { refuse_if_open(&file)? } else { plain.push((file, found.id)) }
    }
    let ids: Vec<FileId> = plain.iter().map(|(_, id)| *id).collect();
    let there = if ids.is_empty() { Vec::new() } else { processes_still_open(|| Ok(ids.clone()))? };
    if there.is_empty() { Ok(()) } else { Err(open_in(path, &there)) }
}

/// Whether a file is a database, which then may have a log.
pub(crate) fn is_database(path: &Path) -> bool {
    let is_file = matches!(files::node(path), Ok(Some(FolderEntry::File(_))));
    is_file && files::read_at(path, 0, DATABASE_MAGIC.len()).is_ok_and(|head| head == DATABASE_MAGIC)
}

pub(crate) fn unoccupied(real: &Path) -> Result<(), Error> {
    let there = processes_still_open(|| {
        let mut ids: Vec<FileId> = stat(real)?.into_iter().map(|found| found.id).collect();
        for side in SIDES {
            ids.extend(stat(&beside(real, side))?.map(|found| found.id));
        }
        Ok(ids)
    })?;
    if there.is_empty() { Ok(()) } else { Err(open_in(real, &there)) }
}

/// The processes that still have one of these files open after [`OPEN_PATIENCE`].
pub(crate) fn processes_still_open(ids: impl Fn() -> Result<Vec<FileId>, Error>) -> Result<Vec<Process>, Error> {
    let until = Deadline::after(OPEN_PATIENCE);
    loop {
        let there = files::processes_using(&ids()?);
        if there.is_empty() || until.has_passed() {
            return Ok(there);
        }
        park_timeout(OPEN_STEP);
    }
}

pub(crate) fn locked(real: &Path) -> Result<WholeFileLock, Error> {
    let taken = WholeFileLock::take(real).map_err(|error| Error::io("lock", real, error))?;
    taken.ok_or_else(|| open_in(real, &[]))
}

pub(crate) fn open_in(real: &Path, there: &[Process]) -> Error {
    let names: Vec<_> = there.iter().map(|one| format!("{} (process {})", one.name, one.pid)).collect();
    let who = if names.is_empty() {
        "another process, which may run in another container".to_owned()
    } else {
        names.join(", ")
    };
    Error::refused(
        format!("{} is open in {who}; nothing was changed", real.display()),
        "stop that process first: it would go on using the old file, and could write into the log of a new database",
    )
}
