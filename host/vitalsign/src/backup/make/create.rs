//! Makes a backup: one read transaction, one pass, and the proof that the archive holds what was read.
//!
//! The archive has its name only once it is whole, synced and proven. Nothing of it stays behind otherwise.

use crate::backup::make::request::SPARE_BYTES;
use std::{
    cell::RefCell,
    collections::HashMap,
    io::{self, Seek as _},
    path::{Path, PathBuf},
    thread::park_timeout,
    time::Duration,
};

use crate::{
    backup::locking::lock_within,
    backup::make::request::{Request, estimate},
    backup::space::require_space,
    backup::{
        Error, Progress, catalogue::attempt::Attempt, catalogue::manifest::Examination, catalogue::manifest::Manifest,
        catalogue::manifest::Verdict, include::contents::Contents, include::wrongly_included, make::gather::gather,
        make::raw, make::snapshot::ArchiveStage, make::snapshot::BackupContext, make::snapshot::ProvenArchive,
        make::snapshot::WrittenSnapshot, make::snapshot::damaged_source, make::snapshot::take, make::spool::Spool,
        prove::unpack::unpack, prove::unpacked::Unpacked,
    },
};
use vitalsign_archive::{
    Compression, Damage, Flaw, MAX_INCLUDED, Metadata, Stamp, Writer, Written, WrittenMember, file_name,
    parse_file_name,
};
use vitalsign_base::{
    clock::{Clock, Deadline, Timestamp},
    files::{self, Draft, FileKind},
    value::bytes,
};
use vitalsign_sqlite::{Database, DetachedProcess, Snapshot};

/// Archives in one folder with the same second in their name: a program that makes more of them runs in a loop by mistake.
const MAX_SAME_SECOND: u32 = 1000;

/// How long other processes that have the database open are looked for: a machine with some thousand processes takes a second.
const OTHERS_LIMIT: Duration = Duration::from_secs(10);

/// How long a process may look like one that works on other files: on a busy machine some take a while to become another program.
const NEWBORN_PATIENCE: Duration = Duration::from_secs(1);
const NEWBORN_STEP: Duration = Duration::from_millis(50);

/// A backup that was made.
#[derive(Clone, Debug)]
pub struct CreatedBackup {
    /// The archive.
    pub path: PathBuf,
    /// What is known of it.
    pub record: Manifest,
}

/// Makes a backup.
///
/// One that fails is remembered for the check on backups, until one succeeds. Raw copies are not: they are made of damaged
/// databases, and prove nothing.
///
/// # Errors
/// [`Error`]; there is then no archive.
pub fn create(request: &Request<'_>, clock: &dyn Clock, progress: &dyn Progress) -> Result<CreatedBackup, Error> {
    let mut attempt = (!request.raw).then(|| Attempt::new(request.db, request.out));
    let made = make(request, attempt.as_mut(), clock, progress);
    if let Some(attempt) = attempt {
        attempt.end(made.as_ref().err(), clock);
    }
    made
}

fn make(
    request: &Request<'_>,
    attempt: Option<&mut Attempt>,
    clock: &dyn Clock,
    progress: &dyn Progress,
) -> Result<CreatedBackup, Error> {
    let registry = Database::new(request.db.to_owned());
    let database_files = registry.database_files().map_err(Error::Database)?;
    let _lock = lock_within(request.wait, &database_files.real, &database_files.database, request.scratch, progress)?;
    let owner = (database_files.database.uid, database_files.database.gid);
    folder(request.out, owner)?;
    if let Some(attempt) = attempt {
        attempt.begin(clock);
    }
    may_be_included(request)?;
    let incomplete = other_writer(&registry, request)?;
    let draft = Draft::new(request.out).map_err(|error| Error::io("create a file in", request.out, error))?;
    // Whoever may read the database may read its archive, and nobody else.
    draft.set_owner(Some(owner).filter(|_| files::is_root()));
    let now = clock.now();
    let about = BackupContext {
        real: &database_files.real,
        stat: database_files.database,
        identity: request.identity,
        created_at: format!("{now:.0}"),
        created_seconds: u64::try_from(now.as_second()).unwrap_or(0),
        records_table: request.records_table,
        provenance_table: request.provenance_table,
        checked: request.verify,
        incomplete,
        include: if request.raw { &[] } else { request.include },
    };
    let prove = |written| proven(written, &draft, request, database_files.database.bytes, progress);
    let taken = if request.raw {
        raw::take(&about, request, || writer(&draft, request), &prove, progress)?
    } else {
        from_snapshot(&registry, &about, request, &draft, &prove, progress)?
    };
    let WrittenSnapshot { state, metadata, judged } = taken;
    let (proven, included) = match state {
        ArchiveStage::ProvenArchive(proven) => (proven, Contents::default()),
        ArchiveStage::Begun(writer) => included(*writer, &about, request, &prove, progress)?,
    };
    let mut record = new_manifest(&proven, &metadata, &judged, request.out);
    record.include = request_names(&about);
    record.include_faults = included.faults;
    if record.flaw.is_none() {
        record.flaw = record.include_fault();
    }
    // A raw copy holds the files as they are on the disk; nothing has checked whether they are a database that can be restored.
    if request.verify && !request.raw {
        record.verdict = judged.verdict(about.incomplete.as_ref()).with(&record.include_faults);
        record.verified_at = Some(format!("{:.0}", clock.now()));
    }
    if about.incomplete.is_some() {
        // That is known without looking at the archive.
        record.verdict = Verdict::Incomplete;
    }
    let accepted = if request.accept_fewer_rows {
        None
    } else {
        crate::backup::catalogue::catalog::accepted(request.out, &database_files.real, request.identity)
    };
    let path = publish(&draft, request, now)?;
    record.archive = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    record.fewer_rows_accepted = accepted.or_else(|| request.accept_fewer_rows.then(|| record.archive.clone()));
    // The archive is complete and has its name; without a record it counts as unverified.
    if let Err(failure) = record.stamp(&path).and_then(|()| record.keep(&path, "backup", &about.created_at)) {
        tracing::warn!(
            "the archive {} is complete, but that could not be written down, so it may be listed as unverified: {failure}",
            path.display()
        );
    }
    Ok(CreatedBackup { path, record })
}

/// Refuses what cannot be included: the configuration was judged by names, and there may be links since.
fn may_be_included(request: &Request<'_>) -> Result<(), Error> {
    let wrong = wrongly_included(request.include, request.db, request.out, true);
    let Some((index, why)) = wrong.first().filter(|_| !request.raw) else { return Ok(()) };
    let name = request.include.get(*index).map_or("", |one| one.name.as_str());
    let what = format!("`backup.include` names `{name}`, but {why}; no archive was made");
    Err(Error::refused(what, "correct `backup.include` in the configuration"))
}

fn request_names(about: &BackupContext<'_>) -> Vec<String> {
    about.include.iter().map(|one| one.name.clone()).collect()
}

/// Adds what is included to an archive, and finishes it. The database of the registry is not held meanwhile.
fn included(
    mut writer: Writer,
    about: &BackupContext<'_>,
    request: &Request<'_>,
    prove: &(dyn Fn(Written) -> Result<ProvenArchive, Error> + Sync),
    progress: &dyn Progress,
) -> Result<(ProvenArchive, Contents), Error> {
    // Added up only where it is told: a folder may have many files.
    let needed = || {
        let files =
            about.include.iter().flat_map(|one| files::files_below(&one.path, MAX_INCLUDED).unwrap_or_default());
        SPARE_BYTES + files.map(|(_, found)| found.bytes).sum::<u64>()
    };
    let filled = |failure| match failure {
        Error::Io { source, .. } if is_full(&source) => full(source, request.out, needed()),
        failure => failure,
    };
    let contents =
        gather(about.include, about, &mut writer, (request.out, request.limits), progress).map_err(filled)?;
    if progress.is_cancelled() {
        return Err(Error::Interrupted);
    }
    let written = writer.finish(&about.header("", None));
    let written = written.map_err(|error| {
        if is_full(&error) { full(error, request.out, needed()) } else { full(error, request.out, 0) }
    })?;
    Ok((prove(written)?, contents))
}

/// Refuses a backup that lacks what a process commits which works on the database in a way that does not show at its path; gives
/// the reason where the archive is made all the same. A raw copy is never refused: it is made of what is left, whatever that is.
fn other_writer(registry: &Database, request: &Request<'_>) -> Result<Option<String>, Error> {
    let deadline = Deadline::after(OTHERS_LIMIT);
    // A process that was just begun has the files of its parent open until it becomes another program.
    let until = Deadline::after(NEWBORN_PATIENCE);
    let found = loop {
        let found = registry.detached_processes(deadline).into_iter().find(DetachedProcess::loses_rows);
        if found.is_none() || until.has_passed() {
            break found;
        }
        park_timeout(NEWBORN_STEP);
    };
    let (what, hint) = match found {
        Some(truth) => (truth.to_string(), truth.hint()),
        None if !request.raw && registry.has_hidden_writer(deadline) => (
            "a process that cannot be seen from here, such as one in another container, has this database open for writing, but \
             there is no write-ahead log beside it: its log lies elsewhere, and what it commits cannot be seen here"
                .to_owned(),
            "mount the folder that holds the database, instead of the single file".to_owned(),
        ),
        None => return Ok(None),
    };
    if request.raw || request.despite_other_writers {
        return Ok(Some(what));
    }
    Err(Error::OtherWriter { db: request.db.to_owned(), what, hint })
}

/// Syncs the finished archive, reads it back from the disk and compares it with the hashes that were taken while it was written.
fn proven(
    written: Written,
    draft: &Draft,
    request: &Request<'_>,
    database_bytes: u64,
    progress: &dyn Progress,
) -> Result<ProvenArchive, Error> {
    draft.sync().map_err(|error| full(error, request.out, estimate(request, database_bytes)))?;
    if !request.verify {
        return Ok(ProvenArchive { written, digest: None });
    }
    draft.forget();
    let damaged = |flaw| Error::NewArchive { folder: request.out.to_owned(), flaw };
    let found =
        unpack(&draft.path(), true, request.out, &mut |_| Ok(None), progress).map_err(|failure| match failure {
            Error::Archive { flaw, .. } => damaged(flaw),
            failure => failure,
        })?;
    compare_members(&found, &written.members).map_err(damaged)?;
    Ok(ProvenArchive { written, digest: found.digest })
}

/// Makes the folder for archives, or accepts the one that is there.
fn folder(out: &Path, owner: (u32, u32)) -> Result<(), Error> {
    let failed = |error| Error::io("use the folder", out, error);
    match files::stat(out).map_err(failed)? {
        Some(found) if found.kind == FileKind::Folder => Ok(()),
        Some(_) => {
            let what =
                format!("{} is not a folder, so archives cannot be written there; nothing was changed", out.display());
            Err(Error::refused(what, "name a folder with --out"))
        }
        None => files::folder(out, files::owner_for_new_file(out, Some(owner)))
            .map_err(|error| Error::io("create the folder", out, error)),
    }
}

/// A writer at the start of the draft.
fn writer(draft: &Draft, request: &Request<'_>) -> Result<Writer, Error> {
    let begin = || {
        let mut file = draft.file().try_clone()?;
        file.set_len(0)?;
        file.rewind()?;
        Writer::new(file, request.compression, request.level.unwrap_or(request.compression.usual_level()))
    };
    begin().map_err(|error| Error::io("create a file in", request.out, error))
}

fn from_snapshot(
    registry: &Database,
    about: &BackupContext<'_>,
    request: &Request<'_>,
    draft: &Draft,
    prove: &(dyn Fn(Written) -> Result<ProvenArchive, Error> + Sync),
    progress: &dyn Progress,
) -> Result<WrittenSnapshot, Error> {
    let needed = RefCell::new(0);
    let may_begin = |bytes: u64| {
        needed.replace(estimate(request, bytes));
        require_space(request.out, *needed.borrow())
    };
    let writer = || writer(draft, request);
    let made = |snapshot: &Snapshot<'_>| take(snapshot, about, &writer, &may_begin, prove, request.out, progress);
    let held = registry.long_read_or_join(request.limits, |snapshot| {
        // A copy of the pages would not show it any more.
        if let Some(problem) = snapshot.cut_off()?.filter(|_| request.verify) {
            return Ok(Err(damaged_source(about.real, vec![problem.text])));
        }
        if has_room_for_copy(snapshot, request)? {
            return Ok(Spool::of(snapshot, request.out, progress)?.map(SnapshotResult::Copy));
        }
        Ok(made(snapshot)?.map(|taken| SnapshotResult::Archive(Box::new(taken))))
    });
    let taken = held.map_err(Error::Database)?.and_then(|held| match held {
        SnapshotResult::Archive(taken) => Ok(*taken),
        SnapshotResult::Copy(spool) => spool.look(made).map_err(Error::Database)?,
    });
    let needed = *needed.borrow();
    taken.map_err(|failure| match failure {
        Error::Io { source, .. } => full(source, request.out, needed),
        failure => failure,
    })
}

/// What was made while the database was read.
enum SnapshotResult {
    /// The archive itself.
    Archive(Box<WrittenSnapshot>),
    /// A copy, of which the archive is still to be made.
    Copy(Spool),
}

/// Whether a copy is made first: outside of WAL mode writers wait for a reader, and reading takes less time than compressing.
fn has_room_for_copy(snapshot: &Snapshot<'_>, request: &Request<'_>) -> Result<bool, vitalsign_sqlite::Error> {
    let facts = snapshot.facts()?;
    if facts.journal_mode == "wal" || (request.compression == Compression::None && !request.verify) {
        return Ok(false);
    }
    let total = facts.page_bytes * facts.pages;
    let has_room = require_space(request.out, estimate(request, total).saturating_add(total)).is_ok();
    if !has_room {
        tracing::warn!(
            "writers wait until the archive is made: the database is not in WAL mode, and {} has no room for a copy of {} beside the archive",
            request.out.display(),
            bytes(total)
        );
    }
    Ok(has_room)
}

/// Adds how much space was needed, where the system only says that there was too little.
fn full(error: io::Error, out: &Path, needed: u64) -> Error {
    if is_full(&error) {
        return Error::Space { folder: out.to_owned(), free: files::free_bytes(out).unwrap_or(0), needed };
    }
    Error::io("write the archive in", out, error)
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn new_manifest(proven: &ProvenArchive, metadata: &Metadata, judged: &Examination, out: &Path) -> Manifest {
    let database = metadata.files.as_ref().and_then(|files| files.database.as_ref());
    let database = proven.written.members.iter().find(|member| Some(&member.name) == database);
    Manifest {
        bytes: proven.written.bytes,
        sha256: proven.digest,
        created_at: metadata.created_at.clone(),
        structure: judged.structure.clone(),
        checked: Some(judged.checked.clone()),
        flaw: metadata.incomplete.clone().or(judged.faults()),
        source: metadata.source.clone(),
        host: metadata.host.clone(),
        identity: metadata.identity.clone(),
        database_bytes: database.map_or(0, |member| member.bytes),
        database_sha256: database.map(|member| member.digest),
        records: metadata.records,
        provenance_rows: metadata.provenance_rows,
        ..Manifest::unknown(out)
    }
}

/// Compares what was read back with what was hashed while the snapshot was read.
fn compare_members(found: &Unpacked, taken: &[WrittenMember]) -> Result<(), Flaw> {
    let read: HashMap<_, _> =
        found.pieces.iter().map(|piece| (&piece.found.name, (piece.found.bytes, piece.digest))).collect();
    let same = |member: &&WrittenMember| read.get(&member.name) == Some(&(member.bytes, member.digest));
    let damages: Vec<Damage> = taken
        .iter()
        .filter(|member| !same(member))
        .map(|member| Damage { member: Some(member.name.clone()), range: 0..member.bytes })
        .collect();
    if damages.is_empty() && found.pieces.len() == taken.len() { Ok(()) } else { Err(Flaw::Differs { damages }) }
}

/// Gives the archive the first name of its second that is free.
fn publish(draft: &Draft, request: &Request<'_>, now: Timestamp) -> Result<PathBuf, Error> {
    for number in first_free(request.out, now)..=MAX_SAME_SECOND {
        let path = request.out.join(file_name(Stamp { at: now, number }, request.tag.as_ref(), request.compression));
        match draft.publish(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(Error::io("create the archive", &path, error)),
        }
    }
    let what =
        format!("{} already has {MAX_SAME_SECOND} archives of this second; nothing was changed", request.out.display());
    Err(Error::refused(what, "find the program that makes so many backups, and stop it"))
}

/// The first number that no archive of this second has, whatever its tag, so that their order is the order of their making.
fn first_free(out: &Path, now: Timestamp) -> u32 {
    let names = crate::backup::catalogue::catalog::names(out).unwrap_or_default();
    let stamps = names.iter().filter_map(|name| parse_file_name(name)).map(|(stamp, ..)| stamp);
    stamps.filter(|stamp| stamp.at.as_second() == now.as_second()).map(|stamp| stamp.number + 1).max().unwrap_or(1)
}
