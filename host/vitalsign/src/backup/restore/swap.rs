//! Replaces a database by a new one, together with its export. At every moment the path holds all of the old database or all of
//! the new one.
//!
//! What is replaced is kept in a folder beside the database (`replaced_folder`), and [`undo`](super::undo()) brings the newest back. The order makes it safe:
//! 1. The log of the old database is folded into it, since SQLite would replay a log beside the new database into that.
//! 2. The old database is locked as SQLite locks it, so that no other process uses it meanwhile.
//! 3. The steps that follow are written down and synced (`journal`).
//! 4. The old export and the old database are kept by a second name, and the new export is put in its place.
//! 5. One `rename` puts the new database in its place. This decides: before it everything is taken back, after it nothing.
//!
//! [`recover`] ends a swap that was interrupted, either way.

use crate::backup::in_use::{
    is_database, locked, open_in, processes_still_open, refuse_if_export_open, refuse_if_in_use, refuse_if_open,
    refuse_if_open_unseen, unoccupied,
};
use std::path::{Path, PathBuf};

use crate::backup::{
    Error, beside::journal, beside::journal::Journal, beside::journal::Step, beside::relative_path::RelativePath,
    beside::replaced_folder, beside::replaced_folder::DATABASE, beside::replaced_folder::EXPORT,
    beside::replaced_folder::ReplacedNote, error::stat, side_files::SIDES,
};
use vitalsign_base::files::{self, WholeFileLock, beside};

/// What is put where.
pub(crate) struct Swap<'a> {
    /// The database's path, links resolved; it may not exist.
    pub(crate) real: &'a Path,
    /// The new database, in the same file system; without one the old one stays.
    pub(crate) new: Option<&'a Path>,
    /// Where the export is, and the new one in the same file system; without a new one the old one is only moved aside.
    pub(crate) log: Option<(Option<&'a Path>, &'a Path)>,
    pub(crate) kind: journal::SwapKind,
    /// When it is done, in UTC, and by what.
    pub(crate) at: &'a str,
    pub(crate) by: &'a str,
    /// The folder that the new files come from, when they were kept there; it is used up.
    pub(crate) from: Option<&'a Path>,
    /// What changes place with the database.
    pub(crate) include: &'a [Exchange<'a>],
}

/// A file or a folder that belongs to the registry and is replaced with its database.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exchange<'a> {
    /// The new one; without one the old one is only moved aside.
    pub(crate) new: Option<&'a Path>,
    /// Where it goes; links resolved.
    pub(crate) place: &'a Path,
    /// Whether one of the two is a database, beside which SQLite keeps files.
    has_sides: bool,
}

impl<'a> Exchange<'a> {
    /// Looks at both, which is done before anything is locked: closing a file drops the locks of this process on it.
    pub(crate) fn new(new: Option<&'a Path>, place: &'a Path) -> Self {
        Self { new, place, has_sides: is_database(place) || new.is_some_and(is_database) }
    }
}

/// How a swap that was interrupted ended at last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Recovered {
    /// The old files are in place.
    TakenBack(journal::SwapKind),
    /// The new files are in place.
    Completed(journal::SwapKind),
}

/// Ends a swap that was interrupted, so that the database and the export belong together again.
///
/// # Errors
/// [`Error::Refused`] while a process has one of them open, or when the journal cannot be used.
pub(crate) fn recover(real: &Path) -> Result<Option<Recovered>, Error> {
    let Some(journal) = Journal::left(real)? else { return Ok(None) };
    refuse_if_open(real)?;
    if let Some(log) = journal.export() {
        refuse_if_export_open(&log)?;
    }
    journal.exchanged().iter().try_for_each(|place| refuse_if_in_use(place))?;
    if journal.is_decided()? {
        journal.complete()?;
        return Ok(Some(Recovered::Completed(journal.kind)));
    }
    journal.take_back()?;
    Ok(Some(Recovered::TakenBack(journal.kind)))
}

/// Does the swap. Gives the folder with what was replaced, if anything was.
///
/// # Errors
/// [`Error`]; nothing has changed then, unless it was the very last sync that failed.
pub(crate) fn swap(swap: &Swap<'_>) -> Result<Option<PathBuf>, Error> {
    let locks = match swap.new {
        Some(new) if stat(swap.real)?.is_some() => Some(SwapLocks::take(swap.real, new)?),
        _ => None,
    };
    let included = lock_included(swap.include)?;
    let Some(journal) = plan(swap)? else { return Ok(None) };
    let places = swap.include.iter().map(|one| one.place);
    let note = ReplacedNote::new(swap.at, swap.by, swap.log.map(|(_, log)| log), files::folder_of(swap.real))
        .including(places);
    journal.write()?;
    let run = journal.run(&note, locks.as_ref().map(|locks| &locks.old));
    let done = run.and_then(|()| locks.as_ref().map_or(Ok(()), |locks| decide(swap.real, &journal, locks, &included)));
    drop((locks, included));
    let ended = match &done {
        Ok(()) => journal.complete(),
        // The last sync has failed, or a process has the old database open: the new one is in place all the same.
        Err(_) if journal.is_decided().unwrap_or(true) => Ok(()),
        Err(_) => journal.take_back(),
    };
    if let Err(failure) = ended {
        tracing::warn!("{failure}; the next `vitalsign restore` or `vitalsign restore --undo` finishes this");
    }
    done.map(|()| journal.kept_folder())
}

/// Folds the logs of the included databases in and locks these as SQLite locks them, while nobody has any of it open.
fn lock_included(include: &[Exchange<'_>]) -> Result<Vec<WholeFileLock>, Error> {
    let mut locks = Vec::new();
    for Exchange { place, .. } in include {
        refuse_if_in_use(place)?;
        if is_database(place) {
            checkpoint_old(place)?;
            let lock = locked(place)?;
            refuse_if_open_unseen(place, &lock)?;
            locks.push(lock);
        }
    }
    Ok(locks)
}

/// The steps of a swap; `None` when there is nothing to do.
pub(crate) fn plan(swap: &Swap<'_>) -> Result<Option<Journal>, Error> {
    let real = swap.real;
    let folder = replaced_folder::next(real)?;
    let seen = |path: &Path| RelativePath::of(path, files::folder_of(real));
    let kept = |name: &str| seen(&folder.join(name));
    let mut steps = Vec::new();
    for (index, Exchange { new, place, has_sides }) in swap.include.iter().enumerate() {
        let own = replaced_folder::included(index);
        let mut exchange = |new: Option<&Path>, place: &Path, name: &str| -> Result<(), Error> {
            let new = new.filter(|new| matches!(files::node(new), Ok(Some(_))));
            let is_over = files::node(place).map_err(|error| Error::io("access", place, error))?.is_some();
            if is_over || new.is_some() {
                let (from, kept) = (new.map(seen), is_over.then(|| kept(name)));
                steps.push(Step::Exchange { from, place: seen(place), kept });
            }
            Ok(())
        };
        if *has_sides {
            for side in SIDES {
                let new = new.map(|new| beside(new, side));
                exchange(new.as_deref(), &beside(place, side), &format!("{own}{side}"))?;
            }
        }
        exchange(*new, place, &own)?;
    }
    match swap.log {
        Some((Some(new), log)) => {
            if stat(log)?.is_some() {
                steps.push(Step::Keep { file: seen(log), name: kept(EXPORT) });
            }
            steps.push(Step::Put { from: seen(new), to: seen(log) });
        }
        Some((None, log)) if stat(log)?.is_some() => steps.push(Step::Put { from: seen(log), to: kept(EXPORT) }),
        _ => {}
    }
    if let Some(new) = swap.new {
        let is_over = stat(real)?.is_some();
        if is_over {
            steps.push(Step::Keep { file: seen(real), name: kept(DATABASE) });
        }
        for side in SIDES {
            let from = beside(real, side);
            if stat(&from)?.is_some() {
                steps.push(Step::Move { from: seen(&from), to: kept(&format!("{DATABASE}{side}")) });
            }
        }
        let (from, to) = (seen(new), seen(real));
        steps.push(if is_over { Step::Put { from, to } } else { Step::Move { from, to } });
    }
    let Some(decisive) = steps.pop() else { return Ok(None) };
    let mut journal = Journal::new(swap.kind, (swap.at, swap.by), real, swap.new, decisive)?;
    journal.before = steps;
    journal.keeps_in(&folder);
    if let Some(from) = swap.from {
        // A log that SQLite could not fold in goes back beside its own database; beside another one SQLite would replay it.
        for side in swap.new.map_or(&[] as &[_], |_| &SIDES) {
            let kept = from.join(format!("{DATABASE}{side}"));
            if stat(&kept)?.is_some() {
                journal.after.push(Step::Move { from: seen(&kept), to: seen(&beside(real, side)) });
            }
        }
        journal.after.push(Step::Remove { folder: seen(from) });
    }
    Ok(Some(journal))
}

/// Both databases, locked as SQLite locks them.
struct SwapLocks {
    old: WholeFileLock,
    /// A process that opens the new file has to wait until it is decided which file stays.
    new: WholeFileLock,
}

impl SwapLocks {
    /// Locks a database that nobody has open and whose log is folded in, as far as it can be, and the one that replaces it.
    fn take(real: &Path, new: &Path) -> Result<Self, Error> {
        let is_one_file = checkpoint_old(real)?;
        let locks = Self { old: locked(real)?, new: locked(new)? };
        unoccupied(real)?;
        refuse_if_open_unseen(real, &locks.old)?;
        if is_one_file && has_log(real)? {
            // A process opened and closed the database since then: its log belongs to the database, and the next restore folds it in.
            return Err(open_in(real, &[]));
        }
        let id = locks.old.id().map_err(|error| Error::io("access", real, error))?;
        if stat(real)?.is_none_or(|found| found.id != id) {
            let what = format!("another process replaced {} just now; this restore changed nothing", real.display());
            return Err(Error::refused(what, "find out which process replaced it, then try again"));
        }
        Ok(locks)
    }
}

/// A process that opened the old file while it was locked has read nothing yet, but would go on using it. Then the old file is put
/// back, unless a process already has the new one open.
fn decide(real: &Path, journal: &Journal, locks: &SwapLocks, included: &[WholeFileLock]) -> Result<(), Error> {
    let id = |lock: &WholeFileLock| lock.id().map_err(|error| Error::io("access", real, error));
    let (old, new) = (id(&locks.old)?, id(&locks.new)?);
    let olds = included.iter().map(id).chain([Ok(old)]).collect::<Result<Vec<_>, _>>()?;
    let late = processes_still_open(|| Ok(olds.clone()))?;
    let Some(kept) = journal.kept_folder().filter(|_| !late.is_empty()) else { return Ok(()) };
    // A copy is another file than the one that the process has open.
    let is_kept = stat(&kept.join(DATABASE))?.is_some_and(|found| found.id == old);
    if !is_kept || !files::processes_using(&[new]).is_empty() {
        let why = std::io::Error::other(
            "the new database is in place, but a process still has the old file open; stop every process that uses the database now",
        );
        return Err(Error::io("finish the restore of", real, why));
    }
    journal.give_back()?;
    Err(open_in(real, &late))
}

/// Whether a log or journal lies beside the database that belongs to it. An application may keep the file of a journal that it
/// does not need any more: that one is empty or begins with a zero, as SQLite has it.
fn has_log(real: &Path) -> Result<bool, Error> {
    let journal = beside(real, "-journal");
    let is_filled = |path: &Path| Ok(stat(path)?.is_some_and(|found| found.bytes > 0));
    if is_filled(&beside(real, "-wal"))? {
        return Ok(true);
    }
    let first = || files::read_at(&journal, 0, 1).map_err(|error| Error::io("read", &journal, error));
    Ok(is_filled(&journal)? && first()?.first().is_some_and(|byte| *byte != 0))
}

/// Folds the log or journal beside the old database into it; gives whether the database is now one file.
///
/// Where SQLite cannot read the database, a log could not complete it, so its files are kept as they are. The same holds for an
/// empty database, whose log SQLite would delete.
fn checkpoint_old(real: &Path) -> Result<bool, Error> {
    if !has_log(real)? {
        return Ok(true);
    }
    if stat(real)?.is_some_and(|found| found.bytes == 0) {
        return Ok(false);
    }
    match vitalsign_sqlite::checkpoint(real) {
        Ok(()) => Ok(true),
        Err(vitalsign_sqlite::Error::Locked { .. }) => Err(open_in(real, &[])),
        Err(error) if error.is_damage() => Ok(false),
        Err(error) => Err(Error::Database(error)),
    }
}
