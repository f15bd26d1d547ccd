//! The steps of a swap, written to `<database>.vitalsign-restore` and synced before the first of them, and removed after the last.
//!
//! One step decides: the rename that puts the new database in its place. Whoever finds a journal finishes what it says: when that
//! rename has happened, the steps after it are done, else those before it are taken back. Each step shows by the files that are
//! there whether it has happened, so this can itself be interrupted and begun again. All paths are seen from the folder of the
//! database. Does not know why files are replaced, or who has them open.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::backup::{
    Error, beside::relative_path::RelativePath, beside::replaced_folder, beside::replaced_folder::ReplacedNote,
    error::stat, side_files::SIDES,
};
use vitalsign_base::files::{self, FolderEntry, ProcessLock, Stat, WholeFileLock, beside, owner_for_new_file};

/// More than any journal has, which names some hundred paths at the most, and an end.
const MAX_JOURNAL_BYTES: u64 = 8 << 20;

/// Which command the swap belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum SwapKind {
    Restore,
    Undo,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Step {
    /// A file is kept under a second name, or as a copy.
    Keep { file: RelativePath, name: RelativePath },
    /// A file takes a place; what was there is kept by an earlier step, if anything was.
    Put { from: RelativePath, to: RelativePath },
    /// A file that SQLite keeps beside a database is moved away from that database, or back to it. Beside a database that was
    /// written to since, SQLite could mix it in.
    Move { from: RelativePath, to: RelativePath },
    /// A file or a folder that belongs to the registry is moved away, if one was there, and a new one takes its place, if there is
    /// one. For a moment nothing is there, which the journal tells.
    Exchange { from: Option<RelativePath>, place: RelativePath, kept: Option<RelativePath> },
    /// What was kept is not needed any more.
    Remove { folder: RelativePath },
}

/// What a swap does, in order.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Journal {
    pub(crate) kind: SwapKind,
    /// When it was begun, in UTC.
    at: String,
    /// By what.
    by: String,
    /// The folder of the database.
    folder: RelativePath,
    /// The new folder for what is replaced, if anything is.
    pub(crate) kept: Option<RelativePath>,
    /// Size and time stamp of the old database, and of the new one.
    old: Option<String>,
    new: Option<String>,
    pub(crate) before: Vec<Step>,
    pub(crate) decisive: Step,
    pub(crate) after: Vec<Step>,
    #[serde(skip)]
    real: PathBuf,
}

/// The path of the journal of a database.
fn path_of(real: &Path) -> PathBuf {
    beside(real, ".vitalsign-restore")
}

/// The journal of a swap of `db` that was interrupted, if there is one. Changes nothing.
pub(crate) fn interrupted(db: &Path) -> Option<PathBuf> {
    let path = path_of(&files::resolved(db).ok()?);
    let is_there = || files::stat(&path).is_ok_and(|found| found.is_some());
    let is_under_way = || ProcessLock::is_held(&beside(&files::resolved(db).unwrap_or_default(), ".vitalsign-lock"));
    // Asked twice: a restore that ends well removes it before it releases the lock.
    (is_there() && !is_under_way() && is_there()).then_some(path)
}

/// Whether a swap of a database has not ended: the files that it puts in place are still needed.
pub(crate) fn is_there(real: &Path) -> bool {
    files::stat(&path_of(real)).map_or(true, |found| found.is_some())
}

/// The size and time stamp of a file, which show later whether anything has written to it.
fn stamp(found: &Stat) -> String {
    format!("{} bytes, modified {}", found.bytes, found.modified_ns)
}

impl Journal {
    /// A journal with no steps yet but the one that decides.
    pub(crate) fn new(
        kind: SwapKind,
        note: (&str, &str),
        real: &Path,
        new: Option<&Path>,
        decisive: Step,
    ) -> Result<Self, Error> {
        let stamped = |path: &Path| Ok(stat(path)?.map(|found| stamp(&found)));
        Ok(Self {
            kind,
            at: note.0.to_owned(),
            by: note.1.to_owned(),
            folder: RelativePath::whole(files::folder_of(real)),
            kept: None,
            old: stamped(real)?,
            new: new.map_or(Ok(None), stamped)?,
            before: Vec::new(),
            decisive,
            after: Vec::new(),
            real: real.to_owned(),
        })
    }

    /// The journal that an interrupted swap has left beside a database.
    ///
    /// # Errors
    /// [`Error::Refused`] for one that cannot be understood, or that may be about the files of another registry.
    pub(crate) fn left(real: &Path) -> Result<Option<Self>, Error> {
        let path = path_of(real);
        let Some(found) = stat(&path)? else { return Ok(None) };
        if files::is_root() && found.uid != 0 {
            let what = format!(
                "a restore was interrupted that the user {} had begun, as {} shows, and root does not do what another user wrote down",
                found.uid,
                path.display()
            );
            let hint = "run `vitalsign restore --undo` as that user first: it puts back what was there before";
            return Err(Error::refused(format!("{what}; nothing was changed"), hint));
        }
        let text = files::read_text(&path, MAX_JOURNAL_BYTES).map_err(|error| Error::io("read", &path, error))?;
        let mut journal: Self = serde_json::from_str(&text).map_err(|error| {
            let what = format!("a restore was interrupted, and its journal {} cannot be read: {error}", path.display());
            Error::refused(
                format!("{what}; nothing was changed"),
                "look whether the database and the provenance export belong together, then remove the journal",
            )
        })?;
        real.clone_into(&mut journal.real);
        let folder = files::folder_of(real);
        if !journal.folder.is(folder) && journal.paths().any(RelativePath::leads_out) {
            let what = format!(
                "a restore was interrupted before {} was copied or moved to here, and its journal {} names files of another folder; nothing was changed",
                folder.display(),
                path.display()
            );
            return Err(Error::refused(what, "finish the restore in the original folder, or remove the journal"));
        }
        Ok(Some(journal))
    }

    /// Names the folder for what is replaced, if any step keeps anything there.
    pub(crate) fn keeps_in(&mut self, folder: &Path) {
        let folder = RelativePath::of(folder, files::folder_of(&self.real));
        let mut steps = self.before.iter().chain([&self.decisive]);
        let is_used = steps.any(|step| match step {
            Step::Keep { name: to, .. } | Step::Put { to, .. } | Step::Move { to, .. } => to.is_in(&folder),
            Step::Exchange { kept, .. } => kept.as_ref().is_some_and(|kept| kept.is_in(&folder)),
            Step::Remove { .. } => false,
        });
        self.kept = is_used.then_some(folder);
    }

    fn paths(&self) -> impl Iterator<Item = &RelativePath> {
        let steps = self.before.iter().chain([&self.decisive]).chain(&self.after);
        steps.flat_map(|step| match step {
            Step::Keep { file: one, name: other }
            | Step::Put { from: one, to: other }
            | Step::Move { from: one, to: other } => {
                vec![one, other]
            }
            Step::Exchange { from, place, kept } => from.iter().chain([place]).chain(kept).collect(),
            Step::Remove { folder } => vec![folder],
        })
    }

    /// The places of what belongs to the registry beside its database and the export.
    pub(crate) fn exchanged(&self) -> Vec<PathBuf> {
        let steps = self.before.iter().chain([&self.decisive]);
        let place = |step: &Step| match step {
            Step::Exchange { place, .. } => Some(self.at(place)),
            _ => None,
        };
        steps.filter_map(place).collect()
    }

    /// The export that is replaced or moved aside.
    pub(crate) fn export(&self) -> Option<PathBuf> {
        self.before.iter().chain([&self.decisive]).find_map(|step| match step {
            Step::Put { from, to } if self.kept.as_ref().is_some_and(|kept| to.is_in(kept)) => Some(self.at(from)),
            Step::Put { to, .. } => Some(self.at(to)).filter(|to| *to != self.real),
            _ => None,
        })
    }

    fn at(&self, path: &RelativePath) -> PathBuf {
        path.at(files::folder_of(&self.real))
    }

    pub(crate) fn kept_folder(&self) -> Option<PathBuf> {
        self.kept.as_ref().map(|kept| self.at(kept))
    }

    /// Whose the files are that are made beside the database.
    fn owner(&self) -> Option<(u32, u32)> {
        let old = files::stat(&self.real).ok().flatten().map(|found| (found.uid, found.gid));
        old.filter(|(uid, _)| files::is_root() && *uid != 0).or_else(|| owner_for_new_file(&self.real, None))
    }

    /// Writes it down, whole or not at all.
    pub(crate) fn write(&self) -> Result<(), Error> {
        let path = path_of(&self.real);
        // A struct of text always serialises.
        let text = serde_json::to_string_pretty(self).unwrap_or_default() + "\n";
        // What root does after an interruption it must have written itself: it stays root's, and others may read it.
        files::create_atomically(&path, text.as_bytes(), 0o644, None).map_err(|error| Error::io("write", &path, error))
    }

    /// Does every step up to the one that decides. The old database is copied through its lock where it gets no second name.
    pub(crate) fn run(&self, note: &ReplacedNote, lock: Option<&WholeFileLock>) -> Result<(), Error> {
        self.begin(note)?;
        self.before.iter().chain([&self.decisive]).try_for_each(|step| self.step(step, lock))
    }

    /// Makes the folder for what is replaced.
    pub(crate) fn begin(&self, note: &ReplacedNote) -> Result<(), Error> {
        let Some(kept) = self.kept_folder() else { return Ok(()) };
        files::new_private_folder(&kept, self.owner()).map_err(|error| Error::io("create the folder", &kept, error))?;
        note.write(&kept, self.owner())
    }

    pub(crate) fn step(&self, step: &Step, lock: Option<&WholeFileLock>) -> Result<(), Error> {
        match step {
            Step::Keep { file, name } => {
                let (file, name) = (self.at(file), self.at(name));
                let kept = match lock {
                    Some(lock) if file == self.real => lock.hard_link_or_copy(&file, &name),
                    _ => files::hard_link_or_copy(&file, &name),
                };
                kept.map_err(|error| Error::io("keep the old file", &file, error))
            }
            Step::Put { from, to } => put(&self.at(from), &self.at(to)),
            Step::Move { from, to } => moved(&self.at(from), &self.at(to)),
            Step::Exchange { from, place, kept } => {
                if let Some(kept) = kept {
                    shifted(&self.at(place), &self.at(kept))?;
                }
                from.as_ref().map_or(Ok(()), |from| shifted(&self.at(from), &self.at(place)))
            }
            Step::Remove { folder } => {
                let folder = self.at(folder);
                files::remove_folder(&folder).map_err(|error| Error::io("remove", &folder, error))
            }
        }
    }

    /// Whether the new files are in place.
    pub(crate) fn is_decided(&self) -> Result<bool, Error> {
        if let Step::Exchange { from, place, kept } = &self.decisive {
            let is_there = |path: &RelativePath| exists(&self.at(path));
            return match (from, kept) {
                (Some(from), _) => Ok(!is_there(from)?),
                (None, Some(kept)) => Ok(is_there(kept)? && !is_there(place)?),
                (None, None) => Ok(false),
            };
        }
        let (Step::Put { from, to } | Step::Move { from, to }) = &self.decisive else { return Ok(false) };
        // A rename takes the name away from where the file was.
        if stat(&self.at(from))?.is_some() {
            return Ok(false);
        }
        // Somebody may have removed the new file by hand: then the old one still has its two names.
        let old = self.kept_as(to).map_or(Ok(None), |kept| stat(&kept))?;
        Ok(old.is_none_or(|old| stat(&self.at(to)).is_ok_and(|now| now.is_none_or(|now| now.id != old.id))))
    }

    /// Where a file is kept that an earlier step keeps.
    fn kept_as(&self, place: &RelativePath) -> Option<PathBuf> {
        self.before.iter().find_map(|step| match step {
            Step::Keep { file, name } if file == place => Some(self.at(name)),
            _ => None,
        })
    }

    /// Does the steps after the one that decides, and removes the journal.
    pub(crate) fn complete(&self) -> Result<(), Error> {
        let is_unchanged = stat(&self.real)?.map(|found| stamp(&found)) == self.new;
        for step in &self.after {
            match step {
                Step::Move { from, .. } if stat(&self.at(from))?.is_none() => {}
                Step::Move { to, .. } if !is_unchanged || stat(&self.at(to))?.is_some() => return self.left_over(),
                step => self.step(step, None)?,
            }
        }
        self.remove()
    }

    /// Takes the steps before the one that decides back, the last first, and removes the journal.
    pub(crate) fn take_back(&self) -> Result<(), Error> {
        self.take_back_decisive()?;
        let is_unchanged = stat(&self.real)?.map(|found| stamp(&found)) == self.old;
        let mut is_left = matches!(&self.decisive, Step::Exchange { .. }) && self.exchange_back(&self.decisive)?;
        for step in self.before.iter().rev() {
            match step {
                Step::Exchange { .. } => is_left |= self.exchange_back(step)?,
                Step::Keep { name, .. } => {
                    let name = self.at(name);
                    files::remove(&name).map_err(|error| Error::io("remove", &name, error))?;
                }
                Step::Put { from, to } => {
                    let (from, place) = (self.at(from), self.at(to));
                    match self.kept_as(to) {
                        _ if stat(&from)?.is_some() => {}
                        Some(kept) if stat(&kept)?.is_some() => put(&kept, &place)?,
                        None if stat(&place)?.is_some() => moved(&place, &from)?,
                        _ => {}
                    }
                }
                Step::Move { from, to } => {
                    let (from, to) = (self.at(from), self.at(to));
                    match (stat(&from)?, stat(&to)?) {
                        (_, None) => {}
                        (None, Some(_)) if is_unchanged => moved(&to, &from)?,
                        _ => is_left = true,
                    }
                }
                Step::Remove { .. } => {}
            }
        }
        if is_left {
            return self.left_over();
        }
        if let Some(kept) = self.kept_folder() {
            replaced_folder::remove_emptied(&kept)?;
        }
        self.remove()
    }

    /// Takes an exchange back. Gives whether something else was in the place meanwhile, which is kept then: a program that was
    /// started after an interruption may have put it there.
    fn exchange_back(&self, step: &Step) -> Result<bool, Error> {
        let Step::Exchange { from, place, kept } = step else { return Ok(false) };
        let (place, mut is_left) = (self.at(place), false);
        // A power loss may leave a file under the name that it was given and under the one that it had.
        for other in from.iter().chain(kept).map(|other| self.at(other)) {
            if let (Some(FolderEntry::File(one)), Some(FolderEntry::File(two))) = (node(&place)?, node(&other)?)
                && one.id == two.id
            {
                let second = if kept.as_ref().is_some_and(|kept| self.at(kept) == other) { &other } else { &place };
                files::remove(second).map_err(|error| Error::io("remove", second, error))?;
            }
        }
        // Where the old one is not kept any more, it is in its place again.
        let is_new = kept.as_ref().map_or(Ok(true), |kept| exists(&self.at(kept)))?;
        if let Some(from) = from.as_ref().map(|from| self.at(from))
            && is_new
            && !exists(&from)?
            && exists(&place)?
        {
            if self.is_used_since(&place)? {
                is_left = true;
                if kept.is_none() {
                    tracing::warn!(
                        "{} was written to after a restore was interrupted; it stays there",
                        place.display()
                    );
                }
            } else {
                shifted(&place, &from)?;
                move_side_files(&place, &from)?;
            }
        }
        if let Some(kept) = kept.as_ref().map(|kept| self.at(kept))
            && exists(&kept)?
        {
            if exists(&place)? {
                let found = beside(&kept, FOUND);
                shifted(&place, &found)?;
                move_side_files(&place, &found)?;
                is_left = true;
            }
            shifted(&kept, &place)?;
        }
        Ok(is_left)
    }

    /// Whether a program has written to what a restore put in a place: the next restore removes what is put back into its staging
    /// folder. What an undo puts back goes to where it was kept.
    fn is_used_since(&self, place: &Path) -> Result<bool, Error> {
        let begun = stat(&path_of(&self.real))?.map(|found| found.modified_ns);
        let Some(begun) = begun.filter(|_| self.kind == SwapKind::Restore) else { return Ok(false) };
        files::is_changed_since(place, begun).map_err(|error| Error::io("access", place, error))
    }

    /// Puts the old database back where a process opened it at the last moment: see [`Self::give_back`].
    fn take_back_decisive(&self) -> Result<(), Error> {
        let Step::Put { from, to } = &self.decisive else { return Ok(()) };
        let (from, place) = (stat(&self.at(from))?, stat(&self.at(to))?);
        match self.kept_as(to) {
            Some(kept)
                if from.is_some()
                    && from.map(|from| from.id) == place.map(|place| place.id)
                    && stat(&kept)?.is_some() =>
            {
                put(&kept, &self.at(to))
            }
            _ => Ok(()),
        }
    }

    /// Undoes the step that decides, after it. The new file gets its first name again before the old one takes its place, so that
    /// it stays visible what has happened.
    pub(crate) fn give_back(&self) -> Result<(), Error> {
        let Step::Put { from, to } = &self.decisive else { return Ok(()) };
        let (from, to) = (self.at(from), self.at(to));
        files::hard_link_or_copy(&to, &from).map_err(|error| Error::io("keep the new file", &to, error))?;
        self.take_back_decisive()
    }

    /// Ends with files that may not belong to the database any more: they stay where they are, and somebody has to look at them.
    fn left_over(&self) -> Result<(), Error> {
        let folders = self.after.iter().find_map(|step| match step {
            Step::Remove { folder } => Some(self.at(folder)),
            _ => None,
        });
        if let Some(folder) = folders.or_else(|| self.kept_folder()) {
            tracing::warn!(
                "{} holds files that an interrupted restore moved there, and they may not belong to the current database; check them, then remove the folder",
                folder.display()
            );
        }
        self.remove()
    }

    fn remove(&self) -> Result<(), Error> {
        let path = path_of(&self.real);
        let removed = files::remove(&path).and_then(|()| files::sync_folder(files::folder_of(&path)));
        removed.map_err(|error| Error::io("remove", &path, error))
    }
}

/// Moves a file or a folder. One that not even its owner may write to does not move from one folder to another.
fn shifted(from: &Path, to: &Path) -> Result<(), Error> {
    match (moved(from, to), node(from)?) {
        (Err(Error::Io { source, .. }), Some(FolderEntry::Folder(found)))
            if source.kind() == std::io::ErrorKind::PermissionDenied && found.mode & 0o200 == 0 =>
        {
            let mode = |path: &Path, mode| {
                files::finish_folder(path, None, mode, found.modified_seconds())
                    .map_err(|error| Error::io("change the mode of", path, error))
            };
            mode(from, found.mode | 0o700)?;
            moved(from, to)?;
            mode(to, found.mode)
        }
        (moved, _) => moved,
    }
}

/// What the name of something ends with that was in a place where nothing should have been.
const FOUND: &str = ".found";

fn node(path: &Path) -> Result<Option<FolderEntry>, Error> {
    files::node(path).map_err(|error| Error::io("access", path, error))
}

/// Whether anything is at a path, a link that leads nowhere included.
fn exists(path: &Path) -> Result<bool, Error> {
    node(path).map(|node| node.is_some())
}

/// Moves what SQLite keeps beside a file along with it: beside another database it would be mixed into that.
fn move_side_files(from: &Path, to: &Path) -> Result<(), Error> {
    let is_file = matches!(files::node(to), Ok(Some(FolderEntry::File(_))));
    for side in SIDES.iter().filter(|_| is_file) {
        let (from, to) = (beside(from, side), beside(to, side));
        if exists(&from)? && !exists(&to)? {
            moved(&from, &to)?;
        }
    }
    Ok(())
}

/// Puts `from` in the place of `to`, on another file system too.
fn put(from: &Path, to: &Path) -> Result<(), Error> {
    let done = match files::replace_by(from, to) {
        Err(error) if error.kind() == std::io::ErrorKind::CrossesDevices => over(from, to),
        done => done,
    };
    done.map_err(|error| Error::io("move the new file to", to, error))
}

fn over(from: &Path, to: &Path) -> std::io::Result<()> {
    let near = beside(to, ".vitalsign-restoring");
    files::remove(&near)?;
    files::hard_link_or_copy(from, &near)?;
    files::replace_by(&near, to)?;
    files::remove(from)
}

fn moved(from: &Path, to: &Path) -> Result<(), Error> {
    let done = match files::move_to(from, to) {
        Err(error) if error.kind() == std::io::ErrorKind::CrossesDevices => over(from, to),
        done => done,
    };
    done.map_err(|error| Error::io("move", from, error))
}
