//! What is known of an archive: a record beside it, and a ledger of the folder that only grows.
//!
//! The record is `<archive>.json`. Its digest says which archive it is of. The size and the time stamp are what can be seen without
//! reading it: an archive of another size has changed, and one that differs only in its time stamp is not verified until it is read. The ledger is `registry-backup-ledger.jsonl`, a line an event.

use std::{
    io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::backup::{Error, error::stat};
use vitalsign_archive::{Stamp, parse_file_name};
use vitalsign_base::{
    clock::Clock,
    files::{self, beside},
    value::Digest,
};

/// The ledger's name, in the folder of the archives.
pub(crate) const LEDGER: &str = "registry-backup-ledger.jsonl";

/// The largest record: a few hundred bytes, and room for what later versions may add.
const MAX_RECORD_BYTES: u64 = 64 * 1024;

/// How often another process may write a record at the same moment: each of them verifies the same archive.
const MAX_PUT_TRIES: u32 = 10;

/// What the proof of an archive said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Read back from the disk: every hash and the database's structure hold.
    Verified,
    /// It was not verified.
    Unverified,
    /// It holds what was backed up, and the database in it has faults that lose no row.
    Flawed,
    /// It does not have everything that was committed: a process worked on the database in a way that the backup did not see.
    Incomplete,
    /// It does not hold what was backed up.
    Damaged,
}

impl Verdict {
    /// The verdict on an archive in which this is wrong with what is included.
    pub(crate) fn with(self, include_faults: &[String]) -> Self {
        if self == Self::Verified && !include_faults.is_empty() { Self::Flawed } else { self }
    }
}

/// What was found in the database in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Structure {
    /// Nothing that was looked at is bad.
    Sound,
    /// These faults, which lose no row: a row breaks a rule of its table, or an index disagrees with its table.
    Flawed(Vec<String>),
    /// It was not checked, and this is why.
    NotChecked(String),
}

/// What was looked at in the database in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Checked {
    /// Whether every page was read and belongs somewhere.
    pub pages: bool,
    /// Whether every row was read and held against the rules of its table.
    pub rows: bool,
    /// Whether every index was compared with its table.
    pub indexes: bool,
    /// Whether every reference to another row was followed.
    pub references: bool,
    /// Why the indexes were not compared, or something else was not looked at.
    pub why_not: Option<String>,
}

/// What was found in a database, and what was looked at for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Examination {
    /// What was found.
    pub structure: Structure,
    /// What was looked at.
    pub checked: Checked,
}

impl Examination {
    /// Nothing was looked at, and this is why.
    pub(crate) fn not_checked(why: impl Into<String>) -> Self {
        Self { structure: Structure::NotChecked(why.into()), checked: Checked::default() }
    }

    /// The verdict on an archive that holds exactly this database.
    pub(crate) fn verdict(&self, incomplete: Option<&String>) -> Verdict {
        match self.structure {
            _ if incomplete.is_some() => Verdict::Incomplete,
            Structure::Flawed(_) => Verdict::Flawed,
            _ => Verdict::Verified,
        }
    }

    /// The faults, in one sentence.
    #[must_use]
    pub fn faults(&self) -> Option<String> {
        match &self.structure {
            Structure::Flawed(faults) => Some(faults.join("; ")),
            _ => None,
        }
    }

    /// What was found, in words. `of` is the database.
    #[must_use]
    pub fn said(&self, of: &str) -> String {
        let Checked { indexes, references, why_not, .. } = &self.checked;
        let parts = match (indexes, references) {
            (true, true) => "pages, rows, indexes and references",
            (true, false) => "pages, rows and indexes",
            (false, _) => "pages and rows",
        };
        match &self.structure {
            Structure::Sound if *indexes => {
                let but = why_not.as_ref().map(|why| format!(", but {why}")).unwrap_or_default();
                format!("the {parts} of {of} are intact{but}")
            }
            Structure::Sound => format!(
                "the {parts} of {of} are intact; its indexes were not compared with its tables ({}), which `vitalsign verify --full` does",
                why_not.as_deref().unwrap_or("unknown")
            ),
            Structure::Flawed(faults) => {
                format!("every row of {of} can be read, but it has faults: {}", faults.join("; "))
            }
            Structure::NotChecked(why) => format!("the structure of {of} could not be checked ({why})"),
        }
    }
}

/// What is known of an archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// The archive's file name.
    pub archive: String,
    /// Its size in bytes when this was written.
    pub bytes: u64,
    /// Its time stamp then, in nanoseconds since 1970, as text since JSON's numbers end before.
    pub modified_ns: String,
    /// Its SHA-256, once it was read back.
    pub sha256: Option<Digest>,
    /// When the backup was begun, in UTC.
    pub created_at: Option<String>,
    /// What was last found.
    pub verdict: Verdict,
    /// When that was, in UTC.
    pub verified_at: Option<String>,
    /// What was found of the database's structure.
    pub structure: Structure,
    /// What was looked at for that; `None` in a record of an older version.
    #[serde(default)]
    pub checked: Option<Checked>,
    /// What is wrong, when something is.
    pub flaw: Option<String>,
    /// The database that was backed up.
    pub source: Option<String>,
    /// The machine or the container on which that was done.
    #[serde(default)]
    pub host: Option<String>,
    /// What tells the database from others of the same path.
    #[serde(default)]
    pub identity: Option<String>,
    /// Bytes of the database in it.
    pub database_bytes: u64,
    /// The SHA-256 of the database in it.
    pub database_sha256: Option<Digest>,
    /// Rows in the records table.
    pub records: Option<u64>,
    /// Rows in the provenance table.
    pub provenance_rows: Option<u64>,
    /// What else of the registry is in it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub include: Vec<String>,
    /// What is wrong with that.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub include_faults: Vec<String>,
    /// The archive from which on fewer records were accepted: this one, or one before it. Later archives repeat it, since that one is
    /// removed some day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fewer_rows_accepted: Option<String>,
}

/// The path of an archive's record.
pub(crate) fn path_of(archive: &Path) -> PathBuf {
    beside(archive, ".json")
}

/// The marker of an archive that no rule removes: a file beside it, so that it is copied with the folder, and without a record too.
pub(crate) fn pin_of(archive: &Path) -> PathBuf {
    beside(archive, PIN)
}

/// The ending of such a marker.
pub(crate) const PIN: &str = ".pin";

/// Pins an archive, so that no rule removes it, or lets the rules decide again.
///
/// # Errors
/// [`Error`] when there is no such archive, or its marker cannot be written or removed.
pub fn pin(archive: &Path, pinned: bool, clock: &dyn Clock) -> Result<(), Error> {
    let is_archive =
        archive.file_name().and_then(|name| name.to_str()).is_some_and(|name| parse_file_name(name).is_some());
    let found = stat(archive)?;
    if is_archive && found.is_none() {
        return Err(Error::io("find", archive, io::ErrorKind::NotFound.into()));
    }
    if !is_archive || found.is_none_or(|found| found.kind != files::FileKind::File) {
        let what = format!("{} is not an archive with the name of a backup; nothing was changed", archive.display());
        return Err(Error::refused(what, "`vitalsign list` shows the archives in the backup folder"));
    }
    let marker = pin_of(archive);
    if stat(&marker)?.is_some() == pinned {
        return Ok(());
    }
    let removed = || files::remove(&marker).and_then(|()| files::sync_folder(files::folder_of(&marker)));
    let empty = || files::create_atomically(&marker, b"", 0o600, owner_beside(archive));
    if pinned { empty() } else { removed() }
        .map_err(|error| Error::io(if pinned { "create" } else { "remove" }, &marker, error))?;
    let name = archive.file_name().map(|name| name.to_string_lossy().into_owned());
    let event = if pinned { "pin" } else { "unpin" };
    note(archive, event, &format!("{:.0}", clock.now()), serde_json::json!({ "archive": name }))
}

impl Manifest {
    /// A record with nothing but the name of the archive.
    pub(crate) fn unknown(archive: &Path) -> Self {
        Self {
            archive: archive.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
            bytes: 0,
            modified_ns: String::new(),
            sha256: None,
            created_at: None,
            verdict: Verdict::Unverified,
            verified_at: None,
            structure: Structure::NotChecked("not verified yet".to_owned()),
            checked: None,
            flaw: None,
            source: None,
            host: None,
            identity: None,
            database_bytes: 0,
            database_sha256: None,
            records: None,
            provenance_rows: None,
            include: Vec::new(),
            include_faults: Vec::new(),
            fewer_rows_accepted: None,
        }
    }

    /// What is wrong with what is included, in one sentence.
    #[must_use]
    pub fn include_fault(&self) -> Option<String> {
        (!self.include_faults.is_empty()).then(|| self.include_faults.join("; "))
    }

    /// What was found in the database, and what was looked at for it.
    #[must_use]
    pub fn judged(&self) -> Examination {
        Examination { structure: self.structure.clone(), checked: self.checked.clone().unwrap_or_default() }
    }

    /// The place of the archive from which on fewer records were accepted.
    pub(crate) fn accepted_in(&self) -> Option<Stamp> {
        parse_file_name(self.fewer_rows_accepted.as_ref()?).map(|(stamp, ..)| stamp)
    }

    /// Reads the record of an archive; `None` when there is none, or nothing that is one.
    pub(crate) fn of(archive: &Path) -> Option<Self> {
        let text = files::read_text(&path_of(archive), MAX_RECORD_BYTES).ok()?;
        serde_json::from_str(&text).ok()
    }

    /// Stores the archive's size and time stamp, which show later whether the archive has changed.
    pub(crate) fn stamp(&mut self, archive: &Path) -> Result<(), Error> {
        let found = stat(archive)?;
        if let Some(found) = found {
            (self.bytes, self.modified_ns) = (found.bytes, found.modified_ns.to_string());
        }
        Ok(())
    }

    /// Whether the archive has another size than when this record was written.
    pub(crate) fn is_resized(&self, found: &files::Stat) -> bool {
        self.bytes != found.bytes
    }

    /// Whether the archive has another time stamp than when this record was written. That is a hint and no more: a copy may keep
    /// only whole seconds, or none of it.
    pub(crate) fn is_restamped(&self, found: &files::Stat) -> bool {
        self.modified_ns != found.modified_ns.to_string()
    }

    /// Whether this record is of another archive than `found`, which was just read. An archive that was never read back is told by
    /// the database in it.
    pub(crate) fn names_another(&self, found: &Self) -> bool {
        match self.sha256 {
            Some(digest) => found.sha256 != Some(digest),
            None => self.database_sha256.is_some() && self.database_sha256 != found.database_sha256,
        }
    }

    /// Writes the record beside its archive and a line into the ledger.
    pub(crate) fn keep(&self, archive: &Path, event: &str, at: &str) -> Result<(), Error> {
        let path = path_of(archive);
        // A struct of text and numbers always serialises.
        let text = serde_json::to_string_pretty(self).unwrap_or_default() + "\n";
        put(&path, text.as_bytes(), owner_beside(archive))
            .map_err(|error| Error::io("write the record", &path, error))?;
        note(archive, event, at, serde_json::to_value(self).unwrap_or_default())
    }
}

/// Replaces a record. For a moment there is no record, and the archive counts as unverified. A process that is killed here never
/// leaves half a record or a file with another name.
fn put(path: &Path, bytes: &[u8], owner: Option<(u32, u32)>) -> io::Result<()> {
    for _ in 1..MAX_PUT_TRIES {
        files::remove(path)?;
        match files::create_atomically(path, bytes, 0o600, owner) {
            // Another process has just written its own, which is older now.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            written => return written,
        }
    }
    files::remove(path)?;
    files::create_atomically(path, bytes, 0o600, owner)
}

/// To whom root gives what it writes beside an archive: to the owner of the folder, else to that of the archive.
fn owner_beside(archive: &Path) -> Option<(u32, u32)> {
    let own = files::stat(archive).ok().flatten().map(|found| (found.uid, found.gid));
    files::owner_for_new_file(archive, own)
}

/// Adds a line to the ledger of the folder that holds `archive`.
pub(crate) fn note(archive: &Path, event: &str, at: &str, details: serde_json::Value) -> Result<(), Error> {
    let mut line = serde_json::json!({ "at": at, "event": event });
    if let (Some(line), serde_json::Value::Object(details)) = (line.as_object_mut(), details) {
        line.extend(details);
    }
    let ledger = archive.with_file_name(LEDGER);
    files::append_line(&ledger, &line.to_string(), owner_beside(archive))
        .map_err(|error| Error::io("write to the ledger", &ledger, error))
}
