//! The folders `<database>.replaced-<n>` beside a database, in which restores keep what they replaced.
//!
//! Each holds the old database as `database`, with its `-wal`, `-shm` or `-journal` where SQLite could not fold them in, the old
//! export as `provenance.jsonl`, and `replaced.json`. Does not know how files are replaced.

use std::{
    ffi::OsStr,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::backup::{
    Error, Include, beside::destination::Destination, beside::relative_path::RelativePath, error::stat,
};
use vitalsign_archive::MAX_INCLUDED;
use vitalsign_base::files::{self, beside};

/// How many such folders there may be. Their numbers go on from the newest one, so they may be far higher.
pub(crate) const MAX_KEPT: u32 = 10_000;

pub(crate) const DATABASE: &str = "database";
pub(crate) const EXPORT: &str = "provenance.jsonl";
const NOTE: &str = "replaced.json";
/// What a process that is killed leaves of an export that it copies here from another file system.
const HALF_COPIED_LOG: &str = "provenance.jsonl.vitalsign-restoring";
/// A few hundred bytes, and a path for each that is included.
const MAX_NOTE_BYTES: u64 = 1 << 20;

/// What the names of what was included begin with.
const INCLUDED: &str = "include-";

/// What is written beside a database that was replaced.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ReplacedNote {
    /// When, in UTC.
    pub(crate) at: String,
    /// By what.
    pub(crate) by: String,
    /// Where the export lay, seen from the folder of the database.
    log: Option<RelativePath>,
    /// That folder, since a path that leads out of it only counts there.
    #[serde(default)]
    folder: Option<RelativePath>,
    /// Where what was included lay, in the order of their names here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    include: Vec<RelativePath>,
}

/// The name of what was included and replaced.
pub(crate) fn included(index: usize) -> String {
    format!("{INCLUDED}{index}")
}

impl ReplacedNote {
    pub(crate) fn new(at: &str, by: &str, log: Option<&Path>, folder: &Path) -> Self {
        let log = log.map(|log| RelativePath::of(log, folder));
        Self {
            at: at.to_owned(),
            by: by.to_owned(),
            log,
            folder: Some(RelativePath::whole(folder)),
            include: Vec::new(),
        }
    }

    /// The same with what was included.
    pub(crate) fn including<'a>(self, places: impl Iterator<Item = &'a Path>) -> Self {
        let Some(folder) = &self.folder else { return self };
        let include = places.map(|place| RelativePath::of(place, folder.path())).collect();
        Self { include, ..self }
    }

    /// The note in a folder of replaced files.
    pub(crate) fn read(kept: &Path) -> Option<Self> {
        let text = files::read_text(&kept.join(NOTE), MAX_NOTE_BYTES).ok()?;
        serde_json::from_str(&text).ok()
    }

    pub(crate) fn write(&self, kept: &Path, owner: Option<(u32, u32)>) -> Result<(), Error> {
        let note = kept.join(NOTE);
        // A struct of text always serialises.
        let text = serde_json::to_string_pretty(self).unwrap_or_default() + "\n";
        files::create_atomically(&note, text.as_bytes(), 0o600, owner).map_err(|error| Error::io("write", &note, error))
    }

    /// Where the export belongs to, beside a database in `folder`, as the note in the folder `kept` says.
    ///
    /// # Errors
    /// [`Error::Refused`] where it may be that of another registry, of which this is a copy, or where another user could have root
    /// replace a file of which he only wrote the name.
    pub(crate) fn log(kept: &Path, folder: &Path) -> Result<Option<PathBuf>, Error> {
        let Some(note) = Self::read(kept) else { return Ok(None) };
        let Some(log) = &note.log else { return Ok(None) };
        note.trusted(log, kept, folder)?.map(Some).map_err(|(path, why)| {
            let what = format!("{why}, so the provenance export {} may belong to another registry", path.display());
            let what = format!("{what}; nothing was changed");
            Error::refused(what, "say with --log which provenance export to put back")
        })
    }

    /// Where what was included belongs to, and its name in the folder `kept`.
    ///
    /// # Errors
    /// As [`ReplacedNote::log`].
    pub(crate) fn included(kept: &Path, folder: &Path, known: &[Include]) -> Result<Vec<(PathBuf, PathBuf)>, Error> {
        let is_known =
            |path: &Path| known.iter().any(|one| Destination::of(&one.path).is_ok_and(|place| place.real == *path));
        let note = Self::read(kept);
        let count = note.as_ref().map_or(0, |note| note.include.len());
        // The folder is removed in the end, and with it whatever nobody knows the place of.
        let is_unknown = |name: &OsStr| {
            let digits = name.to_str()?.strip_prefix(INCLUDED)?.split(|one: char| !one.is_ascii_digit()).next()?;
            digits.parse::<usize>().ok().filter(|index| *index >= count).map(|_| name.to_owned())
        };
        let found = files::found_in(kept, MAX_INCLUDED, is_unknown);
        if let Some(name) = found.map_err(|error| Error::io("list the folder", kept, error))?.first() {
            let what = format!(
                "{} was included when it was replaced, but {NOTE} beside it does not say where it belongs; nothing was changed",
                kept.join(name).display()
            );
            return Err(Error::refused(what, "move it to where it belongs, then try again"));
        }
        let Some(note) = note else { return Ok(Vec::new()) };
        let place = |(index, place): (usize, &RelativePath)| {
            let place = match note.trusted(place, kept, folder)? {
                Ok(path) => path,
                Err((path, _)) if is_known(&path) => path,
                Err((path, why)) => {
                    let what =
                        format!("{why}, so {} may belong to another registry; nothing was changed", path.display());
                    return Err(Error::refused(
                        what,
                        "name it in `backup.include`, which says that it belongs to this one",
                    ));
                }
            };
            Ok((place, kept.join(included(index))))
        };
        note.include.iter().enumerate().map(place).collect()
    }

    /// The path that was written down here, beside a database in `folder`; or that path and why it may be another's.
    fn trusted(
        &self,
        written: &RelativePath,
        kept: &Path,
        folder: &Path,
    ) -> Result<Result<PathBuf, (PathBuf, String)>, Error> {
        let path = written.at(folder);
        let is_beside = path.parent() == Some(folder);
        let is_here = self.folder.as_ref().is_some_and(|written| written.is(folder)) || !written.leads_out();
        let is_trusted = !files::is_root() || stat(&kept.join(NOTE))?.is_some_and(|found| found.uid == 0);
        let why = match (is_here, is_trusted) {
            _ if is_beside => return Ok(Ok(path)),
            (true, true) => return Ok(Ok(path)),
            (false, _) => format!("{} was copied or moved to here since the restore", folder.display()),
            (true, false) => format!("another user than root could have changed the note in {}", kept.display()),
        };
        Ok(Err((path, why)))
    }
}

pub(crate) fn folder_of(real: &Path, number: u32) -> PathBuf {
    beside(real, &format!(".replaced-{number}"))
}

/// The folders with what was replaced here, oldest first.
pub(crate) fn all(real: &Path) -> Result<Vec<(u32, PathBuf)>, Error> {
    let parent = real.parent().unwrap_or(Path::new("/"));
    let failed = |error| Error::io("list the folder", parent, error);
    if files::stat(parent).map_err(failed)?.is_none() {
        return Ok(Vec::new());
    }
    let own = beside(real, ".replaced-");
    let own = own.file_name().unwrap_or_default().as_bytes();
    let number = |name: &OsStr| {
        let digits = std::str::from_utf8(name.as_bytes().strip_prefix(own)?).ok()?;
        // What somebody has named by hand, such as `-007`, is another folder than the one with that number.
        digits.parse::<u32>().ok().filter(|number| number.to_string() == digits)
    };
    let numbers = files::found_in(parent, MAX_KEPT as usize, number).map_err(failed)?;
    Ok(numbers.into_iter().map(|number| (number, folder_of(real, number))).collect())
}

/// The next such folder, which is not there yet.
pub(crate) fn next(real: &Path) -> Result<PathBuf, Error> {
    let newest = all(real)?.last().map_or(0, |(number, _)| *number);
    let number = newest.checked_add(1).ok_or_else(|| {
        let what = format!("{} has the highest number that there is", folder_of(real, newest).display());
        Error::refused(format!("{what}; nothing was changed"), "rename the folder, such as to one that ends with -1")
    })?;
    Ok(folder_of(real, number))
}

/// The newest folder that holds anything, with the database in it if it has one.
pub(crate) fn newest(real: &Path) -> Result<Option<(PathBuf, Option<PathBuf>)>, Error> {
    for (_, folder) in all(real)?.into_iter().rev() {
        let database = folder.join(DATABASE);
        let database = stat(&database)?.map(|_| database);
        let has_included = || {
            let count = ReplacedNote::read(&folder).map_or(0, |note| note.include.len());
            (0..count).any(|index| matches!(files::node(&folder.join(included(index))), Ok(Some(_))))
        };
        if database.is_some() || stat(&folder.join(EXPORT))?.is_some() || has_included() {
            return Ok(Some((folder, database)));
        }
    }
    Ok(None)
}

/// Removes the note and the folder, when nothing else is in it.
pub(crate) fn remove_emptied(folder: &Path) -> Result<(), Error> {
    let failed = |error| Error::io("remove", folder, error);
    for name in [NOTE, HALF_COPIED_LOG] {
        files::remove(&folder.join(name)).map_err(failed)?;
    }
    files::remove_empty_folder(folder).map_err(failed)
}
