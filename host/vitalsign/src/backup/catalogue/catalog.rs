//! The archives in a folder, newest first, each with its state.
//!
//! Reads names, `stat` and records. Opens an archive only where it has no record, and reads only its first member. Changes nothing.

use std::{
    collections::HashSet,
    ffi::OsStr,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use jiff::SignedDuration;
use serde::Serialize;

use crate::backup::{
    Error, catalogue::manifest::Manifest, catalogue::manifest::PIN, catalogue::manifest::Structure,
    catalogue::manifest::Verdict,
};
use vitalsign_archive::{ArchiveReader, Compression, METADATA, Metadata, ReadError, Stamp, parse_file_name, walk};
use vitalsign_base::{clock::Timestamp, files};

/// Archives in a folder, whatever else is there: one an hour for two years, and room.
const MAX_FILES: usize = 20_100;

/// The largest `metadata.json` that is read for a list.
const MAX_METADATA_BYTES: u64 = 1 << 20;

/// How far the clocks of machines that share a folder may differ. An archive that is dated further ahead was made by a clock that
/// was wrong: how old it is, nobody knows.
pub(crate) const FUTURE_TOLERANCE: SignedDuration = SignedDuration::from_mins(10);

/// What is said of a name that leads nowhere.
const DANGLING: &str = "it is a symbolic link to a file that does not exist";

/// The state of an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ArchiveState {
    /// It was verified, and has not changed since.
    Verified,
    /// It was not verified, or its time stamp is another since.
    Unverified,
    /// It has changed since it was verified.
    Changed,
    /// It holds what was backed up, and the database in it has faults that lose no row.
    Flawed,
    /// It does not have everything that was committed.
    Incomplete,
    /// It does not hold what was backed up.
    Damaged,
    /// The system does not let anybody look at it.
    Unreadable,
}

impl ArchiveState {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::Unverified => "unverified",
            Self::Changed => "changed",
            Self::Flawed => "flawed",
            Self::Incomplete => "incomplete",
            Self::Damaged => "damaged",
            Self::Unreadable => "unreadable",
        }
    }

    /// Whether the archive can be restored as it is, as far as anybody knows.
    pub(crate) fn is_of_use(self) -> bool {
        matches!(self, Self::Verified | Self::Unverified)
    }
}

/// An archive in a folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CatalogEntry {
    /// Its path.
    #[serde(serialize_with = "crate::backup::beside::relative_path::as_text")]
    pub path: PathBuf,
    /// When it was begun, as its name says.
    pub created_at: Timestamp,
    /// Its place among those of the same second.
    #[serde(skip)]
    pub(crate) stamp: Stamp,
    /// What was added to its name.
    pub tag: Option<String>,
    /// How it is compressed, as its name says.
    pub compression: Compression,
    /// Its size in bytes.
    pub bytes: u64,
    /// Whether it is pinned: no rule removes it.
    pub pinned: bool,
    /// How it stands.
    pub standing: ArchiveState,
    /// When it was last proven, in UTC.
    pub verified_at: Option<String>,
    /// Whether the structure of its database was checked, if it has a record.
    pub structure: Option<Structure>,
    /// What is wrong, when something is.
    pub flaw: Option<String>,
    /// The database that was backed up.
    pub source: Option<String>,
    /// The machine or the container on which that was done.
    pub host: Option<String>,
    /// What tells that database from others of the same path.
    pub identity: Option<String>,
    /// Bytes of the database in it.
    pub database_bytes: Option<u64>,
    /// Rows in the records table.
    pub records: Option<u64>,
    /// Rows in the provenance table.
    pub provenance_rows: Option<u64>,
    /// What else of the registry is in it.
    pub include: Vec<String>,
    /// The place of the archive from which on fewer records were accepted.
    #[serde(skip)]
    pub(crate) fewer_rows_accepted: Option<Stamp>,
}

impl CatalogEntry {
    /// Takes over what an archive says of itself.
    fn describe(&mut self, metadata: Metadata) {
        (self.source, self.host, self.identity) = (metadata.source, metadata.host, metadata.identity);
        self.database_bytes = metadata.sqlite.map(|sqlite| sqlite.page_size.saturating_mul(sqlite.page_count));
        (self.records, self.provenance_rows) = (metadata.records, metadata.provenance_rows);
        self.include = metadata.include.into_iter().map(|one| one.name).collect();
    }

    /// Whether it is dated in the future, beyond what clocks may differ.
    pub(crate) fn is_future(&self, now: Timestamp) -> bool {
        self.created_at.duration_since(now) > FUTURE_TOLERANCE
    }
}

/// The archives in `folder`, newest first; none when there is no such folder. `described` has archives without a record opened
/// for what they say of themselves.
///
/// # Errors
/// What the system says of the folder.
pub fn list(folder: &Path, described: bool) -> Result<Vec<CatalogEntry>, Error> {
    let failed = |error| Error::io("list the folder", folder, error);
    if files::stat(folder).map_err(failed)?.is_none() {
        return Ok(Vec::new());
    }
    let names = names(folder).map_err(failed)?;
    let pinned = |name: &OsStr| name.to_str().and_then(|name| name.strip_suffix(PIN)).map(str::to_owned);
    let pins: HashSet<String> = files::found_in(folder, MAX_FILES, pinned).map_err(failed)?.into_iter().collect();
    let mut listed: Vec<_> =
        names.iter().filter_map(|name| one(folder, name, pins.contains(name.as_str()), described)).collect();
    listed.sort_by(|one, other| (other.stamp, &other.path).cmp(&(one.stamp, &one.path)));
    Ok(listed)
}

/// A database, as archives tell of it.
struct DatabaseIdentity {
    /// What the operator calls it.
    named: Option<String>,
    identity: Option<String>,
    real: String,
    host: String,
}

impl DatabaseIdentity {
    /// The one at the real path `db`, which the operator may have `named`.
    fn database(db: &Path, named: Option<&str>) -> Self {
        Self {
            named: named.map(str::to_owned),
            identity: files::identity(db),
            real: db.display().to_string(),
            host: files::host_name(),
        }
    }

    /// Whether an archive that says this of itself was made of it; one that does not say counts.
    fn made(&self, source: Option<&str>, host: Option<&str>, identity: Option<&str>) -> bool {
        match (identity, &self.identity) {
            (Some(its), _) if self.named.as_deref() == Some(its) => true,
            (Some(its), Some(own)) if its == own => true,
            // Both have a name, and another one.
            (Some(its), _) if self.named.is_some() && !files::is_identity(its) => false,
            _ if source.is_some_and(|source| source != self.real) => false,
            // After a restore the file is another one, but the host is not.
            (Some(_), Some(_)) => host == Some(&self.host),
            _ => true,
        }
    }
}

/// Parts archives into those of the database at the real path `db`, with those that do not say of which they are, and the others.
pub(crate) fn of_database(
    listed: Vec<CatalogEntry>,
    db: &Path,
    named: Option<&str>,
) -> (Vec<CatalogEntry>, Vec<CatalogEntry>) {
    let known = DatabaseIdentity::database(db, named);
    let is_own = |one: &CatalogEntry| known.made(one.source.as_deref(), one.host.as_deref(), one.identity.as_deref());
    let (own, mut others): (Vec<_>, Vec<_>) = listed.into_iter().partition(is_own);
    if known.identity.is_some() {
        return (own, others);
    }
    let (own, elsewhere) = of_lost_database(own, &known);
    others.extend(elsewhere);
    (own, others)
}

/// The archive from which on fewer records of the database at the real path `db` were accepted, as the newest record that knows says.
pub(crate) fn accepted(folder: &Path, db: &Path, named: Option<&str>) -> Option<String> {
    let own = DatabaseIdentity::database(db, named);
    let records =
        names(folder).unwrap_or_default().into_iter().rev().filter_map(|name| Manifest::of(&folder.join(name)));
    let mut own = records.filter(|one| own.made(one.source.as_deref(), one.host.as_deref(), one.identity.as_deref()));
    own.find_map(|one| one.fewer_rows_accepted)
}

/// Parts the archives of the path of a database that is not there, so that only its path tells it from others: those of this host
/// count, and those with the name that the operator gave. Where there are none, as in a container with a new name, all of them do if
/// they are of one database.
fn of_lost_database(listed: Vec<CatalogEntry>, known: &DatabaseIdentity) -> (Vec<CatalogEntry>, Vec<CatalogEntry>) {
    let is_here = |one: &CatalogEntry| {
        let has_its_name = known.named.is_some() && one.identity == known.named;
        has_its_name || one.host.as_ref().is_none_or(|its| *its == known.host)
    };
    if listed.iter().any(is_here) {
        return listed.into_iter().partition(is_here);
    }
    let identities: HashSet<_> = listed.iter().map(|one| &one.identity).collect();
    if identities.len() <= 1 { (listed, Vec::new()) } else { (Vec::new(), listed) }
}

/// The newest archive of the database at `db` that can be restored as it is, or the newest that was made until a time.
///
/// # Errors
/// [`Error`] when there is none, or it cannot be told of which of several databases; what the system says of the folder.
pub fn newest_until(
    folder: &Path,
    db: &Path,
    named: Option<&str>,
    until: Option<Timestamp>,
    now: Timestamp,
) -> Result<CatalogEntry, Error> {
    let real = files::resolved(db).unwrap_or_else(|_| db.to_owned());
    let (own, others) = of_database(list(folder, true)?, &real, named);
    let usable = |one: &CatalogEntry| {
        // A clock that was set back a little must not hide the newest one.
        let is_in_time = until.map_or_else(|| !one.is_future(now), |until| one.created_at <= until);
        is_in_time && one.standing.is_of_use()
    };
    let is_lost = own.is_empty() && files::identity(&real).is_none();
    let source = real.display().to_string();
    if let Some(found) = own.into_iter().find(usable) {
        return Ok(found);
    }
    if is_lost && others.iter().any(|one| one.source.as_ref() == Some(&source)) {
        let what = format!(
            "there is no database at {source}, and {} has archives of several databases that had this path on other hosts; nothing was changed",
            folder.display()
        );
        let hint = "`vitalsign list --json` shows of which host each archive is; name the one to restore";
        return Err(Error::refused(what, hint));
    }
    let until = until.map(|until| format!(" that was made until {until:.0} and")).unwrap_or_else(|| " that".to_owned());
    let what = format!("{} has no archive of {source}{until} can be restored; nothing was changed", folder.display());
    Err(Error::refused(what, "`vitalsign list` shows all archives; name the one to restore"))
}

/// When the newest archive of the database at `db` was begun, those from the future apart.
///
/// # Errors
/// What the system says of the folder.
pub fn last_made(folder: &Path, db: &Path, named: Option<&str>, now: Timestamp) -> Result<Option<Timestamp>, Error> {
    let real = files::resolved(db).unwrap_or_else(|_| db.to_owned());
    let (own, _) = of_database(list(folder, true)?, &real, named);
    Ok(own.into_iter().map(|one| one.created_at).find(|at| *at <= now))
}

/// The names of the archives in a folder.
pub(crate) fn names(folder: &Path) -> io::Result<Vec<String>> {
    let is_archive = |name: &OsStr| name.to_str().filter(|name| parse_file_name(name).is_some()).map(str::to_owned);
    files::found_in(folder, MAX_FILES, is_archive)
}

/// What is known of an archive by its record, and by what is at its path now.
fn state(record: &Manifest, found: &io::Result<files::Stat>) -> ArchiveState {
    match (record.verdict, found) {
        (_, Err(_)) => ArchiveState::Unreadable,
        (_, Ok(found)) if record.is_resized(found) => ArchiveState::Changed,
        (Verdict::Verified | Verdict::Flawed, Ok(found)) if record.is_restamped(found) => ArchiveState::Unverified,
        (Verdict::Verified, _) => ArchiveState::Verified,
        (Verdict::Unverified, _) => ArchiveState::Unverified,
        (Verdict::Flawed, _) => ArchiveState::Flawed,
        (Verdict::Incomplete, _) => ArchiveState::Incomplete,
        (Verdict::Damaged, _) => ArchiveState::Damaged,
    }
}

fn one(folder: &Path, name: &str, pinned: bool, described: bool) -> Option<CatalogEntry> {
    let (stamp, tag, compression) = parse_file_name(name)?;
    let path = folder.join(name);
    let found = match files::stat(&path) {
        // Such as one on a disk that is not mounted now.
        Ok(None) if files::is_link(&path) => Err(io::Error::new(io::ErrorKind::NotFound, DANGLING)),
        Ok(found) => Ok(found.filter(|found| found.kind == files::FileKind::File)?),
        Err(error) => Err(error),
    };
    let record = Manifest::of(&path);
    // Without a record, and where it may not be read itself, nobody knows of which database it is.
    let found = match &record {
        None => found.and_then(|found| files::open_regular(&path).map(|_| found)),
        Some(_) => found,
    };
    let mut listed = CatalogEntry {
        created_at: stamp.at,
        stamp,
        tag: tag.map(|tag| tag.as_str().to_owned()),
        compression,
        bytes: found.as_ref().map_or(0, |found| found.bytes),
        pinned,
        standing: ArchiveState::Unverified,
        verified_at: None,
        structure: None,
        flaw: None,
        source: None,
        host: None,
        identity: None,
        database_bytes: None,
        records: None,
        provenance_rows: None,
        include: Vec::new(),
        fewer_rows_accepted: None,
        path,
    };
    match record {
        Some(record) => {
            listed.standing = state(&record, &found);
            listed.fewer_rows_accepted = record.accepted_in();
            listed.verified_at = record.verified_at;
            listed.structure = Some(record.structure);
            listed.flaw = record.flaw;
            if listed.standing == ArchiveState::Unverified && listed.verified_at.is_some() {
                listed.flaw = Some("its time stamp is not the recorded one, as after a copy".to_owned());
            }
            (listed.source, listed.host, listed.identity) = (record.source, record.host, record.identity);
            listed.database_bytes = Some(record.database_bytes);
            (listed.records, listed.provenance_rows) = (record.records, record.provenance_rows);
            listed.include = record.include;
        }
        None if described && found.is_ok() => {
            if let Some(metadata) = metadata(&listed.path, false) {
                listed.describe(metadata);
            }
        }
        None => {}
    }
    if let Err(error) = found {
        listed.standing = ArchiveState::Unreadable;
        listed.flaw = Some(error.to_string());
    }
    Some(listed)
}

/// Ends the walk through an archive after its first member.
struct Enough;

impl From<ReadError> for Enough {
    fn from(_: ReadError) -> Self {
        Self
    }
}

/// What an archive says of itself, if it does so first, or wherever it does.
pub(crate) fn metadata(path: &Path, anywhere: bool) -> Option<Metadata> {
    let mut text = Vec::new();
    let source = ArchiveReader::open_head(path).ok()?;
    // It ends by `Enough` in any case; what was read until then is what counts.
    let _ = walk::<Enough>(source, |found, content| {
        if found.name == METADATA {
            content.take(MAX_METADATA_BYTES).read_to_end(&mut text).map_err(|_| Enough)?;
        }
        if anywhere && found.name != METADATA { Ok(()) } else { Err(Enough) }
    });
    Metadata::parse(&text).ok()
}
