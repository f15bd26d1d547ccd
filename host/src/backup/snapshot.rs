//! Writes the members of an archive, in one pass over one snapshot of the database.
//!
//! Knows the names of the members, and no other path.

use std::{io, path::Path, thread};

use super::{Failure, Progress, jsonl::Lines, record::Structure};
use crate::{
    archive::{Files, Header, METADATA, Metadata, SqliteFacts, Writer, Written, is_reserved},
    files::Stat,
    sqlite::{Snapshot, Trouble, linked_version},
    value::Digest,
};

/// The member with the rows of the provenance table.
const PROVENANCE: &str = "provenance.jsonl";

/// The name in the archive of a database whose own name cannot be used there.
const PLAIN_NAME: &str = "database.sqlite";

/// The longest name that a tar header holds.
const MAX_NAME_BYTES: usize = 100;

/// Lines are gathered to so many bytes before they are written.
const LINES_BYTES: usize = 64 * 1024;

/// Problems of a database that are repeated in a message.
const MAX_PROBLEMS: u32 = 3;

/// What the metadata says beside the facts of the snapshot.
pub(super) struct About<'a> {
    /// The database's real path.
    pub(super) real: &'a Path,
    /// What `stat` says of it.
    pub(super) stat: Stat,
    /// When the backup was begun, in UTC, and in seconds since 1970.
    pub(super) created_at: String,
    pub(super) created_seconds: u64,
    pub(super) records_table: &'a str,
    pub(super) provenance_table: &'a str,
    /// Whether the structure is checked as well.
    pub(super) checked: bool,
    /// Why committed rows are missing, if they are.
    pub(super) incomplete: Option<String>,
}

/// An archive that is finished, synced and, if that was asked for, proven.
pub(super) struct Proven {
    pub(super) written: Written,
    /// The archive's own digest, once it was read back.
    pub(super) digest: Option<Digest>,
}

/// What was written.
pub(super) struct Taken {
    pub(super) proven: Proven,
    pub(super) metadata: Metadata,
    pub(super) structure: Structure,
}

impl About<'_> {
    /// The header of a member.
    pub(super) fn header(&self, name: &str, bytes: Option<u64>) -> Header {
        let Stat { uid, gid, .. } = self.stat;
        Header { name: name.to_owned(), bytes, mode: 0o600, uid, gid, modified: self.created_seconds }
    }

    /// The header of the database or a file beside it, which keeps its mode.
    pub(super) fn kept_header(&self, name: &str, bytes: u64) -> Header {
        Header { mode: self.stat.mode & 0o777, ..self.header(name, Some(bytes)) }
    }

    /// The metadata as far as no database has to be read for it.
    pub(super) fn metadata(&self, files: Files) -> Metadata {
        Metadata {
            created_at: Some(self.created_at.clone()),
            tool: Some(format!("vitalsign {}", env!("CARGO_PKG_VERSION"))),
            source: Some(self.real.display().to_string()),
            files: Some(files),
            incomplete: self.incomplete.clone(),
            ..Metadata::new()
        }
    }

    /// The database's own file name, where it fits a member.
    pub(super) fn member(&self) -> String {
        let own = self.real.file_name().and_then(|name| name.to_str()).unwrap_or(PLAIN_NAME);
        // `-wal` has to fit behind it, and `sha256sum` writes a backslash or a line break in its own way.
        let fits = own.len() + 4 <= MAX_NAME_BYTES && !own.contains('\\') && !own.chars().any(char::is_control);
        // A reader of an archive without metadata goes by these endings.
        let means_another = [".jsonl", "-wal", "-shm", "-journal"].iter().any(|ending| own.ends_with(ending));
        if fits && !means_another && !is_reserved(own) { own.to_owned() } else { PLAIN_NAME.to_owned() }
    }
}

/// Writes the archive of a snapshot into the folder `archive`. The outer error comes from the database, and the read may be started
/// again after it; the inner error is final.
pub(super) fn take(
    snapshot: &Snapshot<'_>,
    about: &About<'_>,
    mut writer: Writer,
    may_begin: &dyn Fn(u64) -> Result<(), Failure>,
    prove: &(dyn Fn(Written) -> Result<Proven, Failure> + Sync),
    archive: &Path,
    progress: &dyn Progress,
) -> Result<Result<Taken, Failure>, Trouble> {
    let facts = snapshot.facts()?;
    let total = facts.page_bytes * facts.pages;
    if let Err(failure) = may_begin(total) {
        return Ok(Err(failure));
    }
    let records = match snapshot.unreadable(about.records_table) {
        None => snapshot.counted(about.records_table)?,
        // The table does not exist, or only the registry's own program can read it.
        Some(_) => None,
    };
    let provenance = provenance(snapshot, about.provenance_table)?;
    let files = Files {
        database: Some(about.member()),
        provenance: provenance.map(|_| PROVENANCE.to_owned()),
        ..Files::default()
    };
    let metadata = Metadata {
        sqlite: Some(SqliteFacts {
            version: linked_version().to_owned(),
            page_size: facts.page_bytes,
            page_count: facts.pages,
            user_version: facts.user_version,
            application_id: facts.application_id,
            journal_mode: facts.journal_mode,
            encoding: facts.encoding,
            auto_vacuum: facts.auto_vacuum,
        }),
        records,
        provenance_rows: provenance,
        ..about.metadata(files)
    };
    progress.begin("backing up", total);
    let mut ended = text(&mut writer, about, &metadata);
    if ended.is_ok() {
        ended = database(snapshot, about, total, &mut writer, progress)?;
    }
    if ended.is_ok() && provenance.is_some() && !progress.is_cancelled() {
        ended = export(snapshot, about, &mut writer)?;
    }
    progress.end();
    if progress.is_cancelled() {
        return Ok(Err(Failure::Interrupted));
    }
    if let Err(error) = ended {
        return Ok(Err(Failure::io("write the archive in", archive, error)));
    }
    // The archive is finished and proven while its pages are checked: neither needs the other.
    let (proven, structure) = thread::scope(|scope| {
        let finish = || {
            writer.finish(&about.header("", None)).map_err(|error| Failure::io("write the archive in", archive, error))
        };
        let finishing = scope.spawn(|| finish().and_then(prove));
        let structure = if about.checked {
            structure(snapshot, about.real)
        } else {
            Ok(Ok(Structure::NotChecked("--no-verify".to_owned())))
        };
        (finishing.join(), structure)
    });
    let gone = || {
        Failure::io("write the archive in", archive, io::Error::other("the thread that writes it stopped unexpectedly"))
    };
    let structure = structure?;
    let proven = proven.unwrap_or_else(|_| Err(gone()));
    Ok(structure.and_then(|structure| Ok(Taken { proven: proven?, metadata, structure })))
}

/// The rows of the provenance table; `None` where there is none that can be read.
fn provenance(snapshot: &Snapshot<'_>, table: &str) -> Result<Option<u64>, Trouble> {
    if !snapshot.is_table(table)? {
        return Ok(None);
    }
    if let Some(trouble) = snapshot.unreadable(table) {
        tracing::warn!("the backup contains the table `{table}`, but its rows could not be exported: {trouble}");
        return Ok(None);
    }
    snapshot.counted(table)
}

/// `metadata.json`.
pub(super) fn text(writer: &mut Writer, about: &About<'_>, metadata: &Metadata) -> io::Result<()> {
    let text = metadata.render();
    writer.begin(about.header(METADATA, Some(text.len() as u64)))?;
    writer.write(text.as_bytes())?;
    writer.end().map(drop)
}

fn database(
    snapshot: &Snapshot<'_>,
    about: &About<'_>,
    total: u64,
    writer: &mut Writer,
    progress: &dyn Progress,
) -> Result<io::Result<()>, Trouble> {
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

fn export(snapshot: &Snapshot<'_>, about: &About<'_>, writer: &mut Writer) -> Result<io::Result<()>, Trouble> {
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

/// Checks the same pages that were written. The archive is compared with their hashes afterwards, so the result holds for the
/// database in the archive too, and no copy of it has to be unpacked.
fn structure(snapshot: &Snapshot<'_>, real: &Path) -> Result<Result<Structure, Failure>, Trouble> {
    judged(snapshot, &format!("the database {}", real.display()), DAMAGED_SOURCE_HINT)
}

const DAMAGED_SOURCE_HINT: &str =
    "keep its files with `vitalsign backup --raw`, then restore the newest verified archive";

/// What `quick_check` says of a database. One that uses functions or collations of its own program cannot be checked here.
pub(super) fn judged(
    snapshot: &Snapshot<'_>,
    what: &str,
    hint: &'static str,
) -> Result<Result<Structure, Failure>, Trouble> {
    match snapshot.quick_check(MAX_PROBLEMS) {
        Ok(found) if found.first.is_empty() => Ok(Ok(Structure::Sound)),
        Ok(found) => Ok(Err(Failure::Structure { what: what.to_owned(), problems: found.first, hint })),
        Err(Trouble::Other { detail, .. }) => Ok(Ok(Structure::NotChecked(detail))),
        Err(trouble) => Err(trouble),
    }
}
