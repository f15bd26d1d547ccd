//! Writes the members of an archive, in one pass over one snapshot of the database.
//!
//! Knows the names of the members, and no other path.

use std::{io, path::Path, thread};

use crate::{
    backup::examination::{INDEX_LIMIT, judged},
    backup::prove::unpacked::PLAIN_NAME,
    backup::{
        Error, Include, Progress, catalogue::manifest::Examination, catalogue::manifest::Structure, jsonl::Lines,
    },
};
use vitalsign_archive::{Header, INCLUDE, METADATA, MemberNames, Metadata, SqliteFacts, Writer, Written, is_reserved};
use vitalsign_base::{
    files::{self, Stat},
    value::Digest,
};
use vitalsign_sqlite::{Depth, Facts, Snapshot, linked_version};

/// The member with the rows of the provenance table.
const PROVENANCE: &str = "provenance.jsonl";

/// The longest name that a tar header holds.
const MAX_NAME_BYTES: usize = 100;

/// Lines are gathered to so many bytes before they are written.
const LINES_BYTES: usize = 64 * 1024;

/// What the metadata says beside the facts of the snapshot.
pub(crate) struct BackupContext<'a> {
    /// The database's real path.
    pub(crate) real: &'a Path,
    /// What `stat` says of it.
    pub(crate) stat: Stat,
    /// What the operator calls it.
    pub(crate) identity: Option<&'a str>,
    /// When the backup was begun, in UTC, and in seconds since 1970.
    pub(crate) created_at: String,
    pub(crate) created_seconds: u64,
    pub(crate) records_table: &'a str,
    pub(crate) provenance_table: &'a str,
    /// Whether the structure is checked as well.
    pub(crate) checked: bool,
    /// Why committed rows are missing, if they are.
    pub(crate) incomplete: Option<String>,
    /// What else goes into the archive.
    pub(crate) include: &'a [Include],
}

/// An archive that is finished, synced and, if that was asked for, proven.
pub(crate) struct ProvenArchive {
    pub(crate) written: Written,
    /// The archive's own digest, once it was read back.
    pub(crate) digest: Option<Digest>,
}

/// How far an archive is.
pub(crate) enum ArchiveStage {
    /// It holds the registry's own database, and what is included is still to come: reading that takes its time, in which the
    /// database is not to be held.
    Begun(Box<Writer>),
    /// It is finished.
    ProvenArchive(ProvenArchive),
}

/// What was written.
pub(crate) struct WrittenSnapshot {
    pub(crate) state: ArchiveStage,
    pub(crate) metadata: Metadata,
    pub(crate) judged: Examination,
}

impl BackupContext<'_> {
    /// The header of a member.
    pub(crate) fn header(&self, name: &str, bytes: Option<u64>) -> Header {
        let Stat { uid, gid, .. } = self.stat;
        Header { name: name.to_owned(), bytes, mode: 0o600, uid, gid, modified: self.created_seconds }
    }

    /// The header of the database or a file beside it, which keeps its mode.
    pub(crate) fn kept_header(&self, name: &str, bytes: u64) -> Header {
        Header { mode: self.stat.mode & 0o777, ..self.header(name, Some(bytes)) }
    }

    /// The metadata as far as no database has to be read for it.
    pub(crate) fn metadata(&self, files: MemberNames) -> Metadata {
        Metadata {
            created_at: Some(self.created_at.clone()),
            tool: Some(format!("vitalsign {}", env!("CARGO_PKG_VERSION"))),
            source: Some(self.real.display().to_string()),
            host: Some(files::host_name()),
            identity: self.identity.map(str::to_owned).or_else(|| files::identity(self.real)),
            files: Some(files),
            incomplete: self.incomplete.clone(),
            ..Metadata::new()
        }
        .including(self.include.iter().map(Include::stated).collect())
    }

    /// The database's own file name, where it fits a member.
    pub(crate) fn member(&self) -> String {
        let own = self.real.file_name().and_then(|name| name.to_str()).unwrap_or(PLAIN_NAME);
        // `-wal` has to fit behind it, and `sha256sum` writes a backslash or a line break in its own way.
        let fits = own.len() + 4 <= MAX_NAME_BYTES && !own.contains('\\') && !own.chars().any(char::is_control);
        // A reader of an archive without metadata goes by these endings.
        let means_another = [".jsonl", "-wal", "-shm", "-journal"].iter().any(|ending| own.ends_with(ending));
        let is_folder = own == INCLUDE && !self.include.is_empty();
        if fits && !means_another && !is_folder && !is_reserved(own) { own.to_owned() } else { PLAIN_NAME.to_owned() }
    }
}

/// Writes the archive of a snapshot into the folder `archive`. The outer error comes from the database, and the read may be started
/// again after it; the inner error is final.
///
/// The metadata come first in an archive, and faults of the database are found last: where there are any, the archive is written
/// again with what is known then.
pub(crate) fn take(
    snapshot: &Snapshot<'_>,
    about: &BackupContext<'_>,
    writer: &dyn Fn() -> Result<Writer, Error>,
    may_begin: &dyn Fn(u64) -> Result<(), Error>,
    prove: &(dyn Fn(Written) -> Result<ProvenArchive, Error> + Sync),
    archive: &Path,
    progress: &dyn Progress,
) -> Result<Result<WrittenSnapshot, Error>, vitalsign_sqlite::Error> {
    let facts = snapshot.facts()?;
    if let Err(failure) = may_begin(facts.page_bytes * facts.pages) {
        return Ok(Err(failure));
    }
    let mut known = (!about.checked).then(|| Examination::not_checked("--no-verify"));
    loop {
        let writer = match writer() {
            Ok(writer) => writer,
            Err(failure) => return Ok(Err(failure)),
        };
        let taken = written(snapshot, about, &facts, writer, known.as_ref(), prove, archive, progress)?;
        match taken {
            Ok(taken) if known.is_none() && matches!(taken.judged.structure, Structure::Flawed(_)) => {
                known = Some(taken.judged);
            }
            taken => return Ok(taken),
        }
    }
}

/// One archive, from its first byte to its proof. What is not yet `known` of the database is found out meanwhile.
#[expect(clippy::too_many_arguments, reason = "what `take` was given, and what it knows")]
fn written(
    snapshot: &Snapshot<'_>,
    about: &BackupContext<'_>,
    facts: &Facts,
    mut writer: Writer,
    known: Option<&Examination>,
    prove: &(dyn Fn(Written) -> Result<ProvenArchive, Error> + Sync),
    archive: &Path,
    progress: &dyn Progress,
) -> Result<Result<WrittenSnapshot, Error>, vitalsign_sqlite::Error> {
    let total = facts.page_bytes * facts.pages;
    let metadata = described(snapshot, about, facts, known)?;
    progress.begin("backing up", total);
    let mut ended = text(&mut writer, about, &metadata);
    if ended.is_ok() {
        ended = database(snapshot, about, total, &mut writer, progress)?;
    }
    if ended.is_ok() && metadata.provenance_rows.is_some() && !progress.is_cancelled() {
        ended = export(snapshot, about, &mut writer)?;
    }
    progress.end();
    if progress.is_cancelled() {
        return Ok(Err(Error::Interrupted));
    }
    if let Err(error) = ended {
        return Ok(Err(Error::io("write the archive in", archive, error)));
    }
    if !about.include.is_empty() {
        let judged = match known {
            Some(known) => Ok(known.clone()),
            None => source_judged(snapshot, about.real, progress)?,
        };
        return Ok(judged.map(|judged| WrittenSnapshot {
            state: ArchiveStage::Begun(Box::new(writer)),
            metadata,
            judged,
        }));
    }
    // The archive is finished and proven while its pages are checked: neither needs the other.
    let (proven, judged) = thread::scope(|scope| {
        let finish = || {
            writer.finish(&about.header("", None)).map_err(|error| Error::io("write the archive in", archive, error))
        };
        let finishing =
            thread::Builder::new().name("proof".to_owned()).spawn_scoped(scope, || finish().and_then(prove));
        let judged = match known {
            _ if finishing.is_err() => Ok(Ok(Examination::not_checked("no archive"))),
            Some(known) => Ok(Ok(known.clone())),
            None => source_judged(snapshot, about.real, progress),
        };
        let gone = |_| Err(io::Error::other("the thread that writes it stopped unexpectedly"));
        (finishing.and_then(|thread| thread.join().map_or_else(gone, Ok)), judged)
    });
    let judged = judged?;
    let proven = proven.unwrap_or_else(|error| Err(Error::io("write the archive in", archive, error)));
    Ok(judged.and_then(|judged| Ok(WrittenSnapshot { state: ArchiveStage::ProvenArchive(proven?), metadata, judged })))
}

/// What the archive says of itself.
fn described(
    snapshot: &Snapshot<'_>,
    about: &BackupContext<'_>,
    facts: &Facts,
    known: Option<&Examination>,
) -> Result<Metadata, vitalsign_sqlite::Error> {
    let records = match snapshot.unreadable(about.records_table) {
        None => snapshot.counted(about.records_table)?,
        // The table does not exist, or only the registry's own program can read it.
        Some(_) => None,
    };
    let provenance = provenance(snapshot, about.provenance_table)?;
    let files = MemberNames {
        database: Some(about.member()),
        provenance: provenance.map(|_| PROVENANCE.to_owned()),
        ..MemberNames::default()
    };
    let faults = match known.map(|known| &known.structure) {
        Some(Structure::Flawed(faults)) => faults.clone(),
        _ => Vec::new(),
    };
    Ok(Metadata {
        sqlite: Some(facts_of(facts)),
        records,
        provenance_rows: provenance,
        faults,
        ..about.metadata(files)
    })
}

/// What SQLite says of a database, as an archive writes it.
pub(crate) fn facts_of(facts: &Facts) -> SqliteFacts {
    SqliteFacts {
        version: linked_version().to_owned(),
        page_size: facts.page_bytes,
        page_count: facts.pages,
        user_version: facts.user_version,
        application_id: facts.application_id,
        journal_mode: facts.journal_mode.clone(),
        encoding: facts.encoding.clone(),
        auto_vacuum: facts.auto_vacuum,
    }
}

/// The rows of the provenance table, or of a view in its place; `None` where there is none that can be read.
fn provenance(snapshot: &Snapshot<'_>, table: &str) -> Result<Option<u64>, vitalsign_sqlite::Error> {
    let is_view = snapshot.is_view(table)?;
    if !is_view && !snapshot.is_table(table)? {
        return Ok(None);
    }
    let not_exported = |error: vitalsign_sqlite::Error| {
        let what = if is_view { "view" } else { "table" };
        tracing::warn!("the backup contains the {what} `{table}`, but its rows could not be exported: {error}");
        Ok(None)
    };
    if let Some(error) = snapshot.unreadable(table) {
        return not_exported(error);
    }
    if !is_view {
        return snapshot.counted(table);
    }
    // A view can fail at any row, and that must not be found out in the middle of the export.
    let mut rows = 0;
    match snapshot.all_rows(table, |_, _| {
        rows += 1;
        true
    }) {
        Ok(()) => Ok(Some(rows)),
        Err(error @ vitalsign_sqlite::Error::Other { .. }) => not_exported(error),
        Err(error) => Err(error),
    }
}

/// `metadata.json`.
pub(crate) fn text(writer: &mut Writer, about: &BackupContext<'_>, metadata: &Metadata) -> io::Result<()> {
    let text = metadata.render();
    writer.begin(about.header(METADATA, Some(text.len() as u64)))?;
    writer.write(text.as_bytes())?;
    writer.end().map(drop)
}

fn database(
    snapshot: &Snapshot<'_>,
    about: &BackupContext<'_>,
    total: u64,
    writer: &mut Writer,
    progress: &dyn Progress,
) -> Result<io::Result<()>, vitalsign_sqlite::Error> {
    let mut ended = writer.begin(about.kept_header(&about.member(), total));
    let mut done = 0;
    if ended.is_ok() {
        snapshot.pages(|page| {
            ended = writer.write(page);
            done += page.len() as u64;
            progress.at(done);
            ended.is_ok() && !progress.is_cancelled()
        })?;
    }
    Ok(ended.and_then(|()| writer.end().map(drop)))
}

fn export(
    snapshot: &Snapshot<'_>,
    about: &BackupContext<'_>,
    writer: &mut Writer,
) -> Result<io::Result<()>, vitalsign_sqlite::Error> {
    let mut ended = writer.begin(about.header(PROVENANCE, None));
    let mut lines = Lines::default();
    let mut gathered = Vec::with_capacity(LINES_BYTES * 2);
    if ended.is_ok() {
        snapshot.all_rows(about.provenance_table, |names, cells| {
            lines.add(names, cells, &mut gathered);
            if gathered.len() >= LINES_BYTES {
                ended = writer.write(&gathered);
                gathered.clear();
            }
            ended.is_ok()
        })?;
    }
    Ok(ended.and_then(|()| writer.write(&gathered)).and_then(|()| writer.end().map(drop)))
}

/// The database that is backed up may have lost rows.
pub(crate) fn damaged_source(real: &Path, problems: Vec<String>) -> Error {
    Error::Structure { what: said_of(real), problems, hint: DAMAGED_SOURCE_HINT }
}

fn said_of(real: &Path) -> String {
    format!("the database {}", real.display())
}

/// Checks the same pages that were written. The archive is compared with their hashes afterwards, so the result holds for the
/// database in the archive too, and no copy of it has to be unpacked.
fn source_judged(
    snapshot: &Snapshot<'_>,
    real: &Path,
    progress: &dyn Progress,
) -> Result<Result<Examination, Error>, vitalsign_sqlite::Error> {
    judged(snapshot, &said_of(real), DAMAGED_SOURCE_HINT, Depth::Within(INDEX_LIMIT), progress)
}

const DAMAGED_SOURCE_HINT: &str =
    "keep its files with `vitalsign backup --raw`, then restore the newest verified archive";
