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

use std::{
    path::{Path, PathBuf},
    thread::park_timeout,
    time::Duration,
};

use super::{
    Error,
    error::stat,
    journal::{self, Journal, Step},
    relative_path::RelativePath,
    replaced_folder::{self, DATABASE, EXPORT, ReplacedNote, SIDES},
};
use vitalsign_archive::DATABASE_MAGIC;
use vitalsign_base::{
    clock::Deadline,
    files::{self, FileId, FolderEntry, Process, WholeFileLock, beside},
};

/// How long processes that have the database open are waited for: a health check has it open for a tenth of a second.
const OPEN_PATIENCE: Duration = Duration::from_secs(1);
const OPEN_STEP: Duration = Duration::from_millis(50);

/// Files that are in a place, which may be many more than an archive holds: some 200 MB of memory.
pub(super) const MAX_IN_PLACE: usize = 1_000_000;

/// What is put where.
pub(super) struct Swap<'a> {
    /// The database's path, links resolved; it may not exist.
    pub(super) real: &'a Path,
    /// The new database, in the same file system; without one the old one stays.
    pub(super) new: Option<&'a Path>,
    /// Where the export is, and the new one in the same file system; without a new one the old one is only moved aside.
    pub(super) log: Option<(Option<&'a Path>, &'a Path)>,
    pub(super) kind: journal::SwapKind,
    /// When it is done, in UTC, and by what.
    pub(super) at: &'a str,
    pub(super) by: &'a str,
    /// The folder that the new files come from, when they were kept there; it is used up.
    pub(super) from: Option<&'a Path>,
    /// What changes place with the database.
    pub(super) include: &'a [Exchange<'a>],
}

/// A file or a folder that belongs to the registry and is replaced with its database.
#[derive(Clone, Copy, Debug)]
pub(super) struct Exchange<'a> {
    /// The new one; without one the old one is only moved aside.
    pub(super) new: Option<&'a Path>,
    /// Where it goes; links resolved.
    pub(super) place: &'a Path,
    /// Whether one of the two is a database, beside which SQLite keeps files.
    has_sides: bool,
}

impl<'a> Exchange<'a> {
    /// Looks at both, which is done before anything is locked: closing a file drops the locks of this process on it.
    pub(super) fn new(new: Option<&'a Path>, place: &'a Path) -> Self {
        Self { new, place, has_sides: is_database(place) || new.is_some_and(is_database) }
    }
}

/// How a swap that was interrupted ended at last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Recovered {
    /// The old files are in place.
    TakenBack(journal::SwapKind),
    /// The new files are in place.
    Completed(journal::SwapKind),
}

/// Ends a swap that was interrupted, so that the database and the export belong together again.
///
/// # Errors
/// [`Error::Refused`] while a process has one of them open, or when the journal cannot be used.
pub(super) fn recover(real: &Path) -> Result<Option<Recovered>, Error> {
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

/// Refuses while any process has the database open, as far as locks and `/proc` tell.
pub(super) fn refuse_if_open(real: &Path) -> Result<(), Error> {
    if stat(real)?.is_none() {
        return Ok(());
    }
    unoccupied(real)?;
    refuse_if_open_unseen(real, &locked(real)?)
}

/// Refuses while a process has the database open that shows neither in locks nor in `/proc`: an idle one in another container.
fn refuse_if_open_unseen(real: &Path, lock: &WholeFileLock) -> Result<(), Error> {
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
pub(super) fn refuse_mount_point(path: &Path) -> Result<(), Error> {
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
pub(super) fn refuse_if_export_open(log: &Path) -> Result<(), Error> {
    let there = processes_still_open(|| Ok(stat(log)?.into_iter().map(|found| found.id).collect()))?;
    if there.is_empty() { Ok(()) } else { Err(open_in(log, &there)) }
}

/// Refuses while any process has a file at or below `path` open.
pub(super) fn refuse_if_in_use(path: &Path) -> Result<(), Error> {
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
fn is_database(path: &Path) -> bool {
    let is_file = matches!(files::node(path), Ok(Some(FolderEntry::File(_))));
    is_file && files::read_at(path, 0, DATABASE_MAGIC.len()).is_ok_and(|head| head == DATABASE_MAGIC)
}

fn unoccupied(real: &Path) -> Result<(), Error> {
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
fn processes_still_open(ids: impl Fn() -> Result<Vec<FileId>, Error>) -> Result<Vec<Process>, Error> {
    let until = Deadline::after(OPEN_PATIENCE);
    loop {
        let there = files::processes_using(&ids()?);
        if there.is_empty() || until.has_passed() {
            return Ok(there);
        }
        park_timeout(OPEN_STEP);
    }
}

fn locked(real: &Path) -> Result<WholeFileLock, Error> {
    let taken = WholeFileLock::take(real).map_err(|error| Error::io("lock", real, error))?;
    taken.ok_or_else(|| open_in(real, &[]))
}

fn open_in(real: &Path, there: &[Process]) -> Error {
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

/// Does the swap. Gives the folder with what was replaced, if anything was.
///
/// # Errors
/// [`Error`]; nothing has changed then, unless it was the very last sync that failed.
pub(super) fn swap(swap: &Swap<'_>) -> Result<Option<PathBuf>, Error> {
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
pub(super) fn plan(swap: &Swap<'_>) -> Result<Option<Journal>, Error> {
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
