//! Replaces a database by a new one. At every moment the path holds all of the old one or all of the new one.
//!
//! The old database is kept in `<database>.replaced-<n>/` beside the new one: as `database`, with its `-wal`, `-shm` or
//! `-journal` where SQLite could not fold them in, and with the export as `provenance.jsonl`. [`undo`] brings the newest back.
//!
//! The order of the steps makes it safe:
//! 1. The log of the old database is folded into it, since SQLite would replay a log beside the new database into that.
//! 2. The old database is locked as SQLite locks it, so that no other process uses it meanwhile.
//! 3. It gets a second name (a hard link) in the folder.
//! 4. One `rename` puts the new database in its place.
//!
//! When a folder's `database` is still the same file as the database, the swap was interrupted before step 4: [`clean`] undoes
//! it, and puts the export back too.

use std::{
    path::{Path, PathBuf},
    thread::park_timeout,
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::{Failure, create::lock, failure::stat};
use crate::{
    clock::{Clock, Deadline},
    files::{self, FileId, Kind, Occupant, Stat, WholeFileLock, beside},
    sqlite::{self, Trouble},
};

/// How long processes that have the database open are waited for: a health check has it open for a tenth of a second.
const OPEN_PATIENCE: Duration = Duration::from_secs(1);
const OPEN_STEP: Duration = Duration::from_millis(50);

/// The highest number of such a folder: each is a restore that somebody started by hand.
const MAX_KEPT: u32 = 10_000;

/// Names in a folder that are looked through for them.
const MAX_NAMES: usize = 100_000;

const DATABASE: &str = "database";
const LOG: &str = "provenance.jsonl";
const NOTE: &str = "replaced.json";
const MAX_NOTE_BYTES: u64 = 64 * 1024;

/// The files that SQLite keeps beside a database.
const SIDES: [&str; 3] = ["-wal", "-shm", "-journal"];

/// What is put where.
pub(super) struct Swap<'a> {
    /// The database's path, links resolved; it may not exist.
    pub(super) real: &'a Path,
    /// The new database, in the same file system; without one the old one stays.
    pub(super) new: Option<&'a Path>,
    /// Where the export is, and the new one in the same file system; without a new one the old one is only moved aside.
    pub(super) log: Option<(Option<&'a Path>, &'a Path)>,
    /// What is written down of it.
    pub(super) note: Note,
}

/// What is written beside a database that was replaced.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Note {
    /// When, in UTC.
    pub(super) at: String,
    /// By what.
    pub(super) by: String,
    /// Where the export lay.
    pub(super) log: Option<PathBuf>,
    /// What the database was, before anything beside it was moved.
    #[serde(default)]
    pub(super) was: Option<String>,
}

/// The folder for what is replaced, made when first needed.
struct Kept<'a> {
    swap: &'a Swap<'a>,
    folder: Option<PathBuf>,
}

impl Kept<'_> {
    fn folder(&mut self) -> Result<&Path, Failure> {
        let folder = match self.folder.take() {
            Some(folder) => folder,
            None => self.made()?,
        };
        Ok(self.folder.insert(folder))
    }

    fn made(&self) -> Result<PathBuf, Failure> {
        let newest = kept(self.swap.real)?.last().map_or(0, |(number, _)| *number);
        let folder = folder_of(self.swap.real, newest + 1);
        files::new_private_folder(&folder).map_err(|error| Failure::io("create the folder", &folder, error))?;
        let note = folder.join(NOTE);
        // A struct of text always serialises.
        let was = stat(self.swap.real)?.map(|found| was(&found));
        let noted = Note { was, ..self.swap.note.clone() };
        let text = serde_json::to_string_pretty(&noted).unwrap_or_default() + "\n";
        files::write_new(&note, &text).map_err(|error| Failure::io("write", &note, error))?;
        Ok(folder)
    }
}

fn folder_of(real: &Path, number: u32) -> PathBuf {
    beside(real, &format!(".replaced-{number}"))
}

/// The folders with what was replaced here, oldest first.
fn kept(real: &Path) -> Result<Vec<(u32, PathBuf)>, Failure> {
    let parent = real.parent().unwrap_or(Path::new("/"));
    let failed = |error| Failure::io("list the folder", parent, error);
    if files::stat(parent).map_err(failed)?.is_none() {
        return Ok(Vec::new());
    }
    let own = format!("{}.replaced-", real.file_name().unwrap_or_default().to_string_lossy());
    let names = files::names(parent, MAX_NAMES).map_err(failed)?;
    let numbers = names.iter().filter_map(|name| name.strip_prefix(&own)?.parse::<u32>().ok());
    let mut found: Vec<_> =
        numbers.filter(|number| *number <= MAX_KEPT).map(|number| (number, folder_of(real, number))).collect();
    found.sort_unstable();
    Ok(found)
}

/// Undoes swaps that were interrupted before the database was replaced.
pub(super) fn clean(real: &Path) -> Result<(), Failure> {
    let Some(now) = stat(real)? else { return Ok(()) };
    for (_, folder) in kept(real)? {
        if stat(&folder.join(DATABASE))?.is_some_and(|found| found.id == now.id) {
            take_back(real, &folder)?;
        }
    }
    Ok(())
}

/// Undoes a swap that has not replaced the database: the files beside it and the export are put back, and the folder, which only
/// holds a hard link to the database, is removed. Where the folder holds another file, the swap was finished, and nothing changes.
fn take_back(real: &Path, folder: &Path) -> Result<(), Failure> {
    let (now, held) = (stat(real)?, stat(&folder.join(DATABASE))?);
    if held.is_some() && held.map(|held| held.id) != now.map(|now| now.id) {
        return Ok(());
    }
    let note = note_in(folder);
    // A log may only go back beside the unchanged database that it was moved away from.
    let is_unchanged = note.as_ref().and_then(|note| note.was.clone()) == now.map(|now| was(&now));
    let mut is_left = false;
    for side in SIDES {
        let (from, to) = (beside(&folder.join(DATABASE), side), beside(real, side));
        if stat(&from)?.is_none() {
            continue;
        }
        if (is_unchanged || held.is_none()) && stat(&to)?.is_none() {
            files::move_to(&from, &to).map_err(|error| Failure::io("move back", &from, error))?;
        } else {
            is_left = true;
        }
    }
    let old_log = folder.join(LOG);
    if stat(&old_log)?.is_some() {
        match note.and_then(|note| note.log) {
            Some(log) => put(&old_log, &log).map_err(|error| Failure::io("put back", &log, error))?,
            None => is_left = true,
        }
    }
    if is_left {
        let second = folder.join(DATABASE);
        tracing::warn!(
            "{} holds files that an interrupted restore moved there, and they may not belong to the current database; check them, then remove the folder",
            folder.display()
        );
        return files::remove(&second).map_err(|error| Failure::io("remove", &second, error));
    }
    files::remove_folder(folder).map_err(|error| Failure::io("remove", folder, error))
}

/// The size and time stamp of a database, which show later whether anything has written to it.
fn was(found: &Stat) -> String {
    format!("{} bytes, modified {}", found.bytes, found.modified_ns)
}

/// Puts `from` in the place of `to`, on another file system too.
fn put(from: &Path, to: &Path) -> std::io::Result<()> {
    match files::replace_by(from, to) {
        Err(error) if error.kind() == std::io::ErrorKind::CrossesDevices => {
            let near = beside(to, ".vitalsign-restoring");
            files::remove(&near)?;
            files::copy_to(from, &near)?;
            files::replace_by(&near, to)?;
            files::remove(from)
        }
        done => done,
    }
}

/// The note in a folder of replaced files.
fn note_in(folder: &Path) -> Option<Note> {
    let text = files::read_text(&folder.join(NOTE), MAX_NOTE_BYTES).ok()?;
    serde_json::from_str(&text).ok()
}

/// Refuses while any process has the database open, as far as locks and `/proc` tell.
pub(super) fn refuse_if_open(real: &Path) -> Result<(), Failure> {
    if stat(real)?.is_none() {
        return Ok(());
    }
    unoccupied(real)?;
    refuse_if_open_unseen(real, &locked(real)?)
}

/// Refuses while a process has the database open that shows neither in locks nor in `/proc`: an idle one in another container.
fn refuse_if_open_unseen(real: &Path, lock: &WholeFileLock) -> Result<(), Failure> {
    let until = Deadline::after(OPEN_PATIENCE);
    while lock.is_open_elsewhere() == Some(true) {
        if until.has_passed() {
            return Err(open_in(real, &[]));
        }
        park_timeout(OPEN_STEP);
    }
    Ok(())
}

fn unoccupied(real: &Path) -> Result<(), Failure> {
    let there = those_who_stay(|| {
        let mut ids: Vec<FileId> = stat(real)?.into_iter().map(|found| found.id).collect();
        for side in SIDES {
            ids.extend(stat(&beside(real, side))?.map(|found| found.id));
        }
        Ok(ids)
    })?;
    if there.is_empty() { Ok(()) } else { Err(open_in(real, &there)) }
}

/// The processes that still have one of these files open after [`OPEN_PATIENCE`].
fn those_who_stay(ids: impl Fn() -> Result<Vec<FileId>, Failure>) -> Result<Vec<Occupant>, Failure> {
    let until = Deadline::after(OPEN_PATIENCE);
    loop {
        let there = files::occupants(&ids()?);
        if there.is_empty() || until.has_passed() {
            return Ok(there);
        }
        park_timeout(OPEN_STEP);
    }
}

fn locked(real: &Path) -> Result<WholeFileLock, Failure> {
    let taken = WholeFileLock::take(real).map_err(|error| Failure::io("lock", real, error))?;
    taken.ok_or_else(|| open_in(real, &[]))
}

fn open_in(real: &Path, there: &[Occupant]) -> Failure {
    let names: Vec<_> = there.iter().map(|one| format!("{} (process {})", one.name, one.pid)).collect();
    let who = if names.is_empty() {
        "another process, which may run in another container".to_owned()
    } else {
        names.join(", ")
    };
    Failure::refused(
        format!("{} is open in {who}; nothing was changed", real.display()),
        "stop that process first: it would go on using the old database, and could write into the log of the new one",
    )
}

/// Does the swap. Gives the folder with what was replaced, if anything was.
///
/// The export is replaced first, since it is only a copy of rows of the database; it is put back when the database cannot be replaced.
pub(super) fn swap(swap: &Swap<'_>) -> Result<Option<PathBuf>, Failure> {
    let mut kept = Kept { swap, folder: None };
    let new_id = match swap.new {
        Some(new) => stat(new)?.map(|found| found.id),
        None => None,
    };
    let is_new_log = match swap.log {
        Some((_, log)) => stat(log)?.is_none(),
        None => false,
    };
    let swapped = place_log(swap, &mut kept).and_then(|()| place_database(swap, &mut kept));
    let Err(failure) = swapped else { return Ok(kept.folder) };
    // The last sync may have failed after the new database was in place: then nothing is undone.
    if new_id.is_some() && stat(swap.real)?.map(|now| now.id) == new_id {
        return Err(failure);
    }
    let mut is_back = true;
    if let Some(folder) = &kept.folder
        && stat(folder)?.is_some()
    {
        take_back(swap.real, folder)?;
        is_back = stat(folder)?.is_none();
    }
    if let (true, true, Some((_, log))) = (is_new_log, is_back, swap.log) {
        files::remove(log).map_err(|error| Failure::io("remove", log, error))?;
    }
    Err(failure)
}

fn place_database(swap: &Swap<'_>, kept: &mut Kept<'_>) -> Result<(), Failure> {
    let Some(new) = swap.new else { return Ok(()) };
    if stat(swap.real)?.is_some() {
        return over(swap, new, kept);
    }
    move_sides(swap.real, kept)?;
    files::move_to(new, swap.real).map_err(|error| Failure::io("move the new file to", swap.real, error))
}

fn place_log(swap: &Swap<'_>, kept: &mut Kept<'_>) -> Result<(), Failure> {
    let Some((new, log)) = swap.log else { return Ok(()) };
    let placed = match (stat(log)?, new) {
        (Some(_), Some(new)) => {
            let name = kept.folder()?.join(LOG);
            let held = match files::second_name(log, &name) {
                Err(error) if error.kind() == std::io::ErrorKind::CrossesDevices => files::copy_to(log, &name),
                held => held,
            };
            held.and_then(|()| put(new, log))
        }
        (Some(_), None) => put(log, &kept.folder()?.join(LOG)),
        (None, Some(new)) => put(new, log),
        (None, None) => Ok(()),
    };
    placed.map_err(|error| Failure::io("move the new file to", log, error))
}

fn over(swap: &Swap<'_>, new: &Path, kept: &mut Kept<'_>) -> Result<(), Failure> {
    let real = swap.real;
    let is_one_file = settle(real)?;
    let lock = locked(real)?;
    unoccupied(real)?;
    refuse_if_open_unseen(real, &lock)?;
    if is_one_file && (filled(real, "-wal")? || filled(real, "-journal")?) {
        // A process opened and closed the database since then: its log belongs to the database, and the next restore folds it in.
        return Err(open_in(real, &[]));
    }
    // A process that opens the new file has to wait until it is decided which file stays.
    let new_lock = locked(new)?;
    let new_id = new_lock.id().map_err(|error| Failure::io("access", new, error))?;
    let id = lock.id().map_err(|error| Failure::io("access", real, error))?;
    if stat(real)?.is_none_or(|found| found.id != id) {
        let what = format!("another process replaced {} just now; this restore changed nothing", real.display());
        return Err(Failure::refused(what, "find out which process replaced it, then try again"));
    }
    let replaced = (|| {
        let name = kept.folder()?.join(DATABASE);
        files::second_name(real, &name).map_err(|error| Failure::io("make a hard link to", real, error))?;
        move_sides(real, kept)?;
        files::replace_by(new, real).map_err(|error| Failure::io("move the new file to", real, error))
    })();
    replaced?;
    let decided = decide(real, kept, id, new_id);
    drop((lock, new_lock));
    decided
}

/// A process that opened the old file while it was locked has read nothing yet, but would go on using it. Then the old file is put
/// back, unless a process already has the new one open.
fn decide(real: &Path, kept: &Kept<'_>, old: FileId, new: FileId) -> Result<(), Failure> {
    let late = those_who_stay(|| Ok(vec![old]))?;
    let (false, Some(folder)) = (late.is_empty(), &kept.folder) else { return Ok(()) };
    if !files::occupants(&[new]).is_empty() {
        let why = std::io::Error::other(
            "the new database is in place, but a process still has the old file open; stop every process that uses the database now",
        );
        return Err(Failure::io("finish the restore of", real, why));
    }
    let name = folder.join(DATABASE);
    files::replace_by(&name, real).map_err(|error| Failure::io("put back", real, error))?;
    Err(open_in(real, &late))
}

/// Whether the file beside the database under this suffix holds anything.
fn filled(real: &Path, side: &str) -> Result<bool, Failure> {
    Ok(stat(&beside(real, side))?.is_some_and(|found| found.bytes > 0))
}

/// Folds the log or journal beside the old database into it; gives whether the database is now one file.
///
/// Where SQLite cannot read the database, a log could not complete it, so its files are kept as they are. The same holds for an
/// empty database, whose log SQLite would delete.
fn settle(real: &Path) -> Result<bool, Failure> {
    if !filled(real, "-wal")? && !filled(real, "-journal")? {
        return Ok(true);
    }
    if stat(real)?.is_some_and(|found| found.bytes == 0) {
        return Ok(false);
    }
    match sqlite::settle(real) {
        Ok(()) => Ok(true),
        Err(Trouble::Locked { .. }) => Err(open_in(real, &[])),
        Err(trouble) if trouble.is_damage() => Ok(false),
        Err(trouble) => Err(Failure::Database(trouble)),
    }
}

/// Moves what lies beside the database out of the way of the new one.
fn move_sides(real: &Path, kept: &mut Kept<'_>) -> Result<(), Failure> {
    for side in SIDES {
        let from = beside(real, side);
        if stat(&from)?.is_some() {
            let to = beside(&kept.folder()?.join(DATABASE), side);
            files::move_to(&from, &to).map_err(|error| Failure::io("move aside", &from, error))?;
        }
    }
    Ok(())
}

/// Brings back what the last restore of `db` replaced, and keeps what that restore had put there. Gives the folder with the latter.
///
/// # Errors
/// [`Failure::Refused`] when nothing was replaced, or while a process has the database open.
pub fn undo(db: &Path, scratch: &Path, clock: &dyn Clock) -> Result<Option<PathBuf>, Failure> {
    let real = files::resolved(db).map_err(|error| Failure::io("find", db, error))?;
    let nothing = || {
        let what = format!("no restore has replaced {}, so there is nothing to bring back", db.display());
        Failure::refused(what, "`vitalsign list` shows the archives that can be restored")
    };
    let parent = real.parent().and_then(|parent| stat(parent).ok().flatten()).ok_or_else(nothing)?;
    let there = stat(&real)?;
    let _lock = lock(&real, &there.unwrap_or(parent), scratch)?;
    clean(&real)?;
    if there.is_some_and(|found| found.kind != Kind::File) {
        return Err(nothing());
    }
    refuse_if_open(&real)?;
    let mut newest = None;
    for (_, folder) in kept(&real)? {
        let database = folder.join(DATABASE);
        let database = stat(&database)?.map(|_| database);
        if database.is_some() || stat(&folder.join(LOG))?.is_some() {
            newest = Some((folder, database));
        }
    }
    let (folder, database) = newest.ok_or_else(nothing)?;
    // Where the restore replaced no export, the export that it made is moved away.
    let log = note_in(&folder).and_then(|note| note.log);
    let new_log = Some(folder.join(LOG)).filter(|path| files::stat(path).is_ok_and(|found| found.is_some()));
    let cut_off = |log: &&Path| new_log.as_ref().is_some_and(|new_log| files::are_same(new_log, log));
    let log = log.as_deref().filter(|log| !cut_off(log));
    let replaced = swap(&Swap {
        real: &real,
        new: database.as_deref(),
        log: log.map(|log| (new_log.as_deref(), log)),
        note: Note {
            at: format!("{:.0}", clock.now()),
            by: format!("restore --undo, from {}", folder.display()),
            log: log.map(Path::to_owned),
            was: None,
        },
    })?;
    // A log that SQLite could not fold in goes back beside its own database; beside another one SQLite would replay it.
    if database.is_some() {
        take_back(&real, &folder)?;
    }
    Ok(replaced)
}
