//! What a restore would replace, and whether the archive is of the same database. Reads both, changes neither.

use std::{path::Path, time::Duration};

use crate::backup::{Error, examination::CHECK_LIMIT, prove::verify::UnpackedBackup};
use vitalsign_archive::Metadata;
use vitalsign_base::{
    clock::{Deadline, Timestamp},
    files::{self, Stat},
    value::printable,
};
use vitalsign_sqlite::{Database, PrivateCopy, RowCount, Snapshot};

/// The longest name or path out of an archive that is shown: the longest path that Linux takes.
const MAX_SHOWN_BYTES: usize = 4096;

/// How long looking at the database that is there may take: it is told to people, and decides on nothing but a refusal.
const LOOK_LIMIT: Duration = Duration::from_secs(2);

/// The tables whose rows are told.
#[derive(Clone, Copy, Debug)]
pub struct TableNames<'a> {
    /// The records.
    pub records: &'a str,
    /// The provenance.
    pub provenance: &'a str,
}

/// What the archive must have in common with the database that it replaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MustMatch {
    /// Nothing: somebody asked for another database.
    Nothing,
    /// A table, and the application id; and an archive of the same path was not made of another file on another host. Somebody
    /// named the database to be replaced, which may be a copy.
    Content,
    /// That, and no archive of another file on another host at all.
    Database,
}

/// What a database holds, in a few words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseSummary {
    /// `PRAGMA user_version`.
    pub schema_version: i64,
    /// Rows in the records table, if there is one.
    pub records: Option<RowCount>,
    /// Rows in the provenance table, if there is one.
    pub provenance_rows: Option<RowCount>,
    application_id: i64,
    tables: Vec<String>,
}

/// The database that a restore would replace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExistingDatabase {
    /// When its file was last written.
    pub modified_at: Option<Timestamp>,
    /// Its size in bytes, without a log.
    pub bytes: u64,
    /// What it holds, or why that cannot be read.
    pub content: Result<DatabaseSummary, String>,
}

impl DatabaseSummary {
    /// `counted` is what an archive says of its records and its provenance rows: that was counted, and is not estimated again.
    fn of(
        snapshot: &Snapshot<'_>,
        tables: TableNames<'_>,
        counted: (Option<u64>, Option<u64>),
    ) -> Result<Self, vitalsign_sqlite::Error> {
        let facts = snapshot.facts()?;
        let rows = |counted: Option<u64>, table: &str| match counted {
            Some(rows) => Some(RowCount { rows, exact: true }),
            // A table that cannot be counted is no reason not to restore.
            None => snapshot.row_count(table).ok().flatten(),
        };
        Ok(Self {
            schema_version: facts.user_version,
            records: rows(counted.0, tables.records),
            provenance_rows: rows(counted.1, tables.provenance),
            application_id: facts.application_id,
            tables: snapshot.tables()?,
        })
    }

    /// What the database in an archive holds.
    pub(crate) fn of_unpacked(found: &UnpackedBackup, tables: TableNames<'_>) -> Result<Self, Error> {
        let shown = Path::new(found.database.file_name().unwrap_or_default());
        let copy = PrivateCopy::open(&found.database, shown, CHECK_LIMIT).map_err(Error::Database)?;
        let counted = (found.unpacked.metadata.records, found.unpacked.metadata.provenance_rows);
        copy.look(|snapshot| Self::of(snapshot, tables, counted)).map_err(Error::Database)
    }

    /// Why this cannot be an older or a newer state of `other`.
    fn differs(&self, other: &Self) -> Option<String> {
        let (own, its) = (self.application_id, other.application_id);
        if own != its && own != 0 && its != 0 {
            return Some(format!("the archive's database has the application id {own}, and the present one {its}"));
        }
        let shares = |table: &String| other.tables.iter().any(|its| its.eq_ignore_ascii_case(table));
        let is_apart = !self.tables.is_empty() && !other.tables.is_empty() && !self.tables.iter().any(shares);
        is_apart.then(|| "the two databases have no table in common".to_owned())
    }
}

impl ExistingDatabase {
    /// Looks at the database at `real`, of which `stat` is known and which no other process uses.
    pub(crate) fn at(real: &Path, stat: &Stat, tables: TableNames<'_>) -> Self {
        // The registry closes its files before this returns, so that a lease on them can be had.
        let content = Database::new(real.to_owned())
            .look(Deadline::after(LOOK_LIMIT), |snapshot| DatabaseSummary::of(snapshot, tables, (None, None)));
        Self {
            modified_at: Timestamp::from_nanosecond(stat.modified_ns).ok(),
            bytes: stat.bytes,
            content: content.map_err(|error| error.to_string()),
        }
    }
}

/// Refuses an archive of another database than the one that it would replace, which the operator may have `named`. Where none is
/// there, only such names tell: the database that was lost had been made on any host, and of any file.
pub(crate) fn require_same_database(
    must: MustMatch,
    archive: &Path,
    metadata: &Metadata,
    archived: &DatabaseSummary,
    present: Option<&ExistingDatabase>,
    real: &Path,
    named: Option<&str>,
) -> Result<(), Error> {
    let its = metadata.identity.as_deref();
    let source = metadata.source.as_deref().unwrap_or("a path that it does not say");
    // Another path than that of the archive may be a copy to try things out on.
    let counts = must == MustMatch::Database || Path::new(source) == real;
    let named_otherwise = || {
        let (its, named) = (its.filter(|its| !files::is_identity(its))?, named?);
        let its = printable(its, MAX_SHOWN_BYTES);
        (its != named && counts).then(|| format!("it is of `{its}`, and `backup.identity` is `{named}`"))
    };
    // Several databases of one application may well replace each other on one host; of two hosts they are two that live.
    let made_elsewhere = || {
        let (own, here) = (files::identity(real), files::host_name());
        let host = metadata.host.as_ref().filter(|host| **host != here)?;
        let is_another = own.is_some() && its.is_some() && its != own.as_deref() && its != named;
        let (source, host) = (printable(source, MAX_SHOWN_BYTES), printable(host, MAX_SHOWN_BYTES));
        (is_another && counts)
            .then(|| format!("it was made of {source} on the host {host}, and this is the host {here}"))
    };
    let differs = || present.and_then(|present| archived.differs(present.content.as_ref().ok()?));
    let why = match must {
        MustMatch::Nothing => None,
        MustMatch::Content | MustMatch::Database => differs().or_else(named_otherwise).or_else(made_elsewhere),
    };
    let Some(why) = why else { return Ok(()) };
    let what = format!(
        "{} is an archive of another database than {}: {why}; nothing was changed",
        archive.display(),
        real.display()
    );
    Err(Error::refused(
        what,
        "`vitalsign list --json` shows of which database each archive is; add --another-database to restore this one all the same",
    ))
}
