//! Remembers that a backup failed, until one of the same database into the same folder succeeds.
//!
//! Before a backup reads anything it puts a marker into the folder for its archive; success removes it. So a failure is
//! remembered however it comes about: a backup that was killed leaves its marker, which no process holds any more. Where the
//! folder cannot be written, which may be why backups fail, the marker lies beside the database.
//!
//! | where | name |
//! |---|---|
//! | in the folder of the archives | `registry-backup-failed-<digest of the database's path>.json` |
//! | else beside the database | `<database>.vitalsign-backup-failed-<digest of the folder's path>` |
//!
//! The digests are the last 16 digits of a SHA-256: a folder may hold the archives of several databases.

use std::{
    io,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::backup::{Error, ErrorKind};
use vitalsign_base::{
    clock::Clock,
    files::{self, Marker, beside},
    value::{Digest, printable},
};

/// Digits of a digest in a marker's name: two databases of one folder never share them by chance.
const DIGEST_DIGITS: usize = 16;

/// The longest text that goes into a marker, in bytes; three of them and the rest of the JSON fit into one even when each
/// character is escaped.
const MAX_TEXT_BYTES: usize = 600;

/// A backup that is being made.
pub(crate) struct Attempt {
    places: MarkerPaths,
    marker: Option<Marker>,
    /// What failed before, which counts until this one succeeds.
    before: Option<FailedAttempt>,
    begun_at: String,
}

/// The last backup that failed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct FailedAttempt {
    /// When it was begun, in UTC.
    pub(crate) begun_at: String,
    /// Why it failed; `None` when it was ended before it could say so.
    pub(crate) why: Option<String>,
    /// What to do now; empty when nobody knows.
    pub(crate) hint: String,
}

/// What a marker says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct AttemptNote {
    /// The database, for people.
    source: String,
    /// When the last backup was begun, in UTC.
    begun_at: String,
    /// Whether that one has not ended; when no process holds the marker, it never will.
    is_under_way: bool,
    /// The last one that failed.
    failed: Option<FailedAttempt>,
}

/// Where a marker may lie, the first choice first.
struct MarkerPaths {
    source: PathBuf,
    paths: [PathBuf; 2],
}

impl MarkerPaths {
    fn of(db: &Path, folder: &Path) -> Self {
        let source = real(db);
        let digits = |path: &Path| Digest::of(path.as_os_str().as_bytes()).to_string().split_off(64 - DIGEST_DIGITS);
        let inside = folder.join(format!("registry-backup-failed-{}.json", digits(&source)));
        let outside = beside(&source, &format!(".vitalsign-backup-failed-{}", digits(&real(folder))));
        Self { source, paths: [inside, outside] }
    }

    /// Puts the marker where one can be put; nowhere when neither the database nor the folder is there, which is a slip of the
    /// pen and no failure of a registry.
    fn put(&self, note: &str) -> io::Result<Option<Marker>> {
        let [inside, outside] = &self.paths;
        let is_there = || matches!(files::stat(&self.source), Ok(Some(found)) if found.kind == files::FileKind::File);
        match Marker::put(inside, note) {
            Err(first) if is_there() => Marker::put(outside, note).map(Some).map_err(|_| first),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            put => put.map(Some),
        }
    }
}

/// The path with its links followed, as far as it exists.
fn real(path: &Path) -> PathBuf {
    let found = path.ancestors().find_map(|above| {
        let real = files::resolved(if above.as_os_str().is_empty() { Path::new(".") } else { above }).ok()?;
        let below = path.strip_prefix(above).ok().filter(|below| !below.as_os_str().is_empty());
        Some(below.map_or(real.clone(), |below| real.join(below)))
    });
    found.unwrap_or_else(|| path.to_owned())
}

/// The last backup of `db` into `folder` that failed, if none has succeeded since.
pub(crate) fn last_failed(db: &Path, folder: &Path) -> Option<FailedAttempt> {
    MarkerPaths::of(db, folder).paths.iter().filter_map(|path| read(path)).max()
}

/// Whether a process makes a backup of `db` into `folder` at this moment.
pub(crate) fn is_under_way(db: &Path, folder: &Path) -> bool {
    MarkerPaths::of(db, folder).paths.iter().any(|path| matches!(Marker::read(path), Ok(Some(found)) if found.is_held))
}

fn read(path: &Path) -> Option<FailedAttempt> {
    let unreadable = |why: &str| FailedAttempt {
        begun_at: "an unknown time".to_owned(),
        why: Some(format!("the note of it in {} {why}", path.display())),
        hint: String::new(),
    };
    let found = match Marker::read(path) {
        Ok(found) => found?,
        Err(error) => return Some(unreadable(&format!("cannot be read ({error})"))),
    };
    match serde_json::from_str::<AttemptNote>(&found.text) {
        Ok(note) if note.is_under_way && !found.is_held => {
            Some(FailedAttempt { begun_at: note.begun_at, why: None, hint: String::new() })
        }
        Ok(note) => note.failed,
        Err(_) if found.is_held => None,
        Err(_) => Some(unreadable("cannot be understood")),
    }
}

impl Attempt {
    /// A backup of `db` into `folder`. Touches nothing.
    pub(crate) fn new(db: &Path, folder: &Path) -> Self {
        Self { places: MarkerPaths::of(db, folder), marker: None, before: None, begun_at: String::new() }
    }

    /// Puts the marker. Whoever calls this holds the lock for backups of the database.
    pub(crate) fn begin(&mut self, clock: &dyn Clock) {
        self.before = self.places.paths.iter().filter_map(|path| read(path)).max();
        self.begun_at = format!("{:.0}", clock.now());
        // Where none can be put, the backup is likely to fail too, and that is told then.
        self.marker = self.places.put(&self.note(true, self.before.as_ref())).ok().flatten();
    }

    /// Notes how the backup ended.
    pub(crate) fn end(mut self, failure: Option<&Error>, clock: &dyn Clock) {
        let kept = match failure {
            None => self.clear(),
            // It goes on until somebody sees to the other process, so it is remembered.
            Some(failure @ Error::OtherWriter { .. }) => self.keep(failure, clock),
            Some(failure) if failure.kind() == ErrorKind::Refused => self.withdraw(),
            Some(failure) => self.keep(failure, clock),
        };
        if let Err(error) = kept {
            let [inside, outside] = self.places.paths.each_ref().map(|path| path.display());
            let what = if failure.is_some() { "failed" } else { "succeeded" };
            tracing::warn!(
                "the check `backup` will not know that this backup {what}: neither {inside} nor {outside} can be written: {error}"
            );
        }
    }

    fn clear(&mut self) -> io::Result<()> {
        if let Some(marker) = self.marker.take() {
            marker.remove()?;
        }
        self.places.paths.iter().try_for_each(|path| files::remove(path))
    }

    /// What was refused says nothing of the registry: what was known before holds.
    fn withdraw(&mut self) -> io::Result<()> {
        match (self.marker.take(), &self.before) {
            (Some(marker), Some(before)) => marker.write(&self.note(false, Some(before))),
            (Some(marker), None) => marker.remove(),
            (None, _) => Ok(()),
        }
    }

    fn keep(&mut self, failure: &Error, clock: &dyn Clock) -> io::Result<()> {
        if self.begun_at.is_empty() {
            self.begun_at = format!("{:.0}", clock.now());
        }
        let failed = FailedAttempt {
            begun_at: self.begun_at.clone(),
            why: Some(printable(&failure.to_string(), MAX_TEXT_BYTES)),
            hint: printable(&failure.hint(), MAX_TEXT_BYTES),
        };
        let note = self.note(false, Some(&failed));
        match self.marker.take() {
            Some(marker) => marker.write(&note),
            None => self.places.put(&note).map(drop),
        }
    }

    fn note(&self, is_under_way: bool, failed: Option<&FailedAttempt>) -> String {
        let source = printable(&self.places.source.to_string_lossy(), MAX_TEXT_BYTES);
        let note = AttemptNote { source, begun_at: self.begun_at.clone(), is_under_way, failed: failed.cloned() };
        // A struct of text always serialises.
        serde_json::to_string_pretty(&note).unwrap_or_default()
    }
}
