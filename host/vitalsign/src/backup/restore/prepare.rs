//! Restores a registry from an archive: unpacks it beside the destination, verifies it, then swaps it in.
//!
//! Nothing at the destination changes before the archive has been read to its end and its database checked. The staging folder
//! holds nothing but copies out of an archive, so a restore removes what a killed one left there.

use crate::backup::beside::destination::Destination;
use std::path::{Path, PathBuf};

use crate::backup::{
    Error, Progress, beside::journal, catalogue::catalog::metadata, catalogue::manifest::Examination,
    catalogue::manifest::LEDGER, catalogue::manifest::Structure, catalogue::manifest::note, error::stat,
    examination::INDEX_LIMIT, in_use::refuse_if_export_open, in_use::refuse_if_open, in_use::refuse_mount_point,
    locking::lock, prove::verify::UnpackPlan, prove::verify::UnpackedBackup, restore::include::IncludeDestination,
    restore::include::IncludePlan, restore::include::RestoredPath, restore::include::StagedPaths,
    restore::preflight::DatabaseSummary, restore::preflight::ExistingDatabase, restore::preflight::MustMatch,
    restore::preflight::TableNames, restore::preflight::require_same_database, restore::swap::Exchange,
    restore::swap::Swap, restore::swap::recover, restore::swap::swap,
};
use vitalsign_base::{
    clock::Clock,
    files::{self, FileKind, ProcessLock},
};
use vitalsign_sqlite::Depth;

/// What is asked for.
#[derive(Clone, Debug)]
pub struct RestoreRequest<'a> {
    /// The archive.
    pub archive: &'a Path,
    /// Where the database goes.
    pub db: &'a Path,
    /// Where the export of the provenance table goes.
    pub log: &'a Path,
    /// Whether what is there is replaced.
    pub force: bool,
    /// The only schema version (`user_version`) that is restored; `None` for any.
    pub schema_version: Option<i64>,
    /// What the archive must have in common with the database that it replaces.
    pub must_match: MustMatch,
    /// What the operator calls that database; `None` where only its file tells.
    pub identity: Option<&'a str>,
    /// The tables whose rows are told.
    pub tables: TableNames<'a>,
    /// Whether it is only a rehearsal, which ends before the swap.
    pub dry_run: bool,
    /// Whether a database is restored that has faults which lose no row.
    pub despite_faults: bool,
    /// Where what is included goes.
    pub include: IncludeDestination<'a>,
    /// Where locks lie when the database's own folder may not be written.
    pub scratch: &'a Path,
}

/// A registry that was restored, or could be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// The database, links resolved.
    pub database: PathBuf,
    /// The export, when the archive has one.
    pub log: Option<PathBuf>,
    /// Where what was replaced is kept.
    pub replaced: Option<PathBuf>,
    /// Whether the archive is none, but a plain copy of a database.
    pub is_plain: bool,
    /// When the archive was made, as it says.
    pub created_at: Option<String>,
    /// The path of the database that it was made of, as it says.
    pub source: Option<String>,
    /// The machine or the container on which it was made, as it says.
    pub host: Option<String>,
    /// What the archive's database holds.
    pub content: DatabaseSummary,
    /// The database that is replaced, if there is one.
    pub present: Option<ExistingDatabase>,
    /// What was found in the database.
    pub judged: Examination,
    /// Whether the archive has sums, which then hold.
    pub has_sums: bool,
    /// Why rows that were committed before the backup are missing, if they are.
    pub incomplete: Option<String>,
    /// What comes with the database.
    pub include: Vec<RestoredPath>,
    /// What the configuration includes and the archive does not contain: it stays as it is.
    pub not_included: Vec<String>,
}

/// A restore that can be done: the archive is unpacked and checked beside the destination, and nothing there has changed.
pub struct Prepared<'a> {
    request: &'a RestoreRequest<'a>,
    progress: &'a dyn Progress,
    database: Destination,
    log: Destination,
    found: UnpackedBackup,
    restored: Restored,
    // In this order: what is unpacked goes before the lock does.
    staging: Staging,
    stages: StagedPaths,
    _lock: ProcessLock,
}

/// Prepares a restore.
///
/// # Errors
/// [`Error`]; nothing at the destination has changed then.
pub fn prepare<'a>(request: &'a RestoreRequest<'a>, progress: &'a dyn Progress) -> Result<Prepared<'a>, Error> {
    if stat(request.archive)?.is_none() {
        return Err(Error::io("read", request.archive, rustix::io::Errno::NOENT.into()));
    }
    let database = Destination::of(request.db)?;
    let log = Destination::of(request.log)?;
    are_apart(&database, &log, request.archive)?;
    let plan =
        IncludePlan::new(request.archive, metadata(request.archive, true).as_ref(), request.include, &database.real)?;
    plan.are_apart(&plan.places()?, &[&database.real, &log.real, request.archive])?;
    let any = database.stat.or(files::stat(&database.base).ok().flatten());
    let any = any.ok_or_else(|| Error::io("use", &database.base, rustix::io::Errno::NOENT.into()))?;
    let lock = lock(&database.base.join(database.name()), &any, request.scratch)?;
    if request.dry_run && journal::is_there(&database.real) {
        let what = format!("a restore or an undo of {} was interrupted", database.real.display());
        return Err(Error::refused(
            format!("{what}; nothing was changed (--dry-run)"),
            "run `vitalsign restore --undo` first: it puts the files back that were there before",
        ));
    }
    recover(&database.real)?;
    // A power loss may have left the new database under its old name too.
    Staging::at(&database, &log).remove()?;
    StagedPaths::at(&plan, &database.real)?.remove()?;
    // Again: this may have changed both.
    let (database, log) = (Destination::of(request.db)?, Destination::of(request.log)?);
    // A rehearsal says what would be replaced, and so needs no permission to do it.
    may_be_replaced(&database, &log, request.force || request.dry_run)?;
    let present = database.stat.map(|stat| ExistingDatabase::at(&database.real, &stat, request.tables));
    let stages = StagedPaths::at(&plan, &database.real)?;
    stages.make(request.force || request.dry_run)?;
    let staging = Staging::new(&database, &log)?;
    let layout = staging.layout().including(stages.targets());
    let found = layout.unpack_and_check(request.archive, false, progress)?;
    without_faults(request, &found)?;
    expected_schema(request, &found)?;
    let metadata = &found.unpacked.metadata;
    let content = DatabaseSummary::of_unpacked(&found, request.tables)?;
    require_same_database(
        request.must_match,
        request.archive,
        metadata,
        &content,
        present.as_ref(),
        &database.real,
        request.identity,
    )?;
    let exported = found.unpacked.files.provenance.is_some();
    staging.prepare(&found, &database, &log)?;
    let include = stages.prepare(&found.unpacked.contents, &found.unpacked.pieces)?;
    let restored = Restored {
        database: database.real.clone(),
        log: exported.then(|| log.real.clone()),
        replaced: None,
        is_plain: found.unpacked.is_plain,
        created_at: metadata.created_at.clone(),
        source: metadata.source.clone(),
        host: metadata.host.clone(),
        content,
        present,
        judged: found.judged.clone(),
        has_sums: found.unpacked.has_sums,
        incomplete: metadata.incomplete.clone(),
        include,
        not_included: plan.lacking().to_vec(),
    };
    if progress.is_cancelled() {
        return Err(Error::Interrupted);
    }
    Ok(Prepared { request, progress, database, log, found, restored, staging, stages, _lock: lock })
}

impl Prepared<'_> {
    /// What the restore would do.
    #[must_use]
    pub fn expected(&self) -> &Restored {
        &self.restored
    }

    /// Does it.
    ///
    /// # Errors
    /// [`Error`]; nothing at the destination has changed then, unless it was the very last sync that failed.
    pub fn complete(self, clock: &dyn Clock) -> Result<Restored, Error> {
        let Self { request, database, log, found, staging, stages, mut restored, .. } = self;
        if self.progress.is_cancelled() {
            return Err(Error::Interrupted);
        }
        let at = format!("{:.0}", clock.now());
        let by = format!("restore of {}", request.archive.display());
        // A new folder is for whom the database in it is for.
        let owner = database.rights(archived(&found)).0.filter(|_| files::is_root());
        for place in [&database, &log] {
            place.make_folder(owner)?;
        }
        stages.make_folders(owner)?;
        let exchanges = stages.exchanges()?;
        let include: Vec<_> = exchanges.iter().map(|(new, place)| Exchange::new(Some(new.as_path()), place)).collect();
        restored.replaced = swap(&Swap {
            real: &database.real,
            new: Some(&found.database),
            log: restored.log.as_deref().map(|log| (Some(staging.log.as_path()), log)),
            kind: journal::SwapKind::Restore,
            at: &at,
            by: &by,
            from: None,
            include: &include,
        })?;
        written_down(request.archive, &at, &restored);
        Ok(restored)
    }
}

/// Refuses paths of which one would overwrite the other.
fn are_apart(database: &Destination, log: &Destination, archive: &Path) -> Result<(), Error> {
    if files::is_same_file(&database.real, &log.real) {
        let what = format!("the database and the provenance export have the same path, {}", database.real.display());
        return Err(Error::refused(format!("{what}; nothing was changed"), "name another file with --log"));
    }
    let own = ["-wal", "-shm", "-journal", ".vitalsign-lock"].map(|suffix| files::beside(&database.real, suffix));
    if own.iter().any(|own| files::is_same_file(own, &log.real)) {
        let what = format!(
            "the provenance export cannot go to {}, which belongs to the database; nothing was changed",
            log.real.display()
        );
        return Err(Error::refused(what, "name another file with --log"));
    }
    for place in [database, log] {
        if files::is_same_file(&place.real, archive) {
            let what = format!("the destination {} is the archive itself; nothing was changed", place.real.display());
            return Err(Error::refused(what, "name another destination"));
        }
    }
    Ok(())
}

/// Refuses what has faults, unless somebody wants it all the same.
fn without_faults(request: &RestoreRequest<'_>, found: &UnpackedBackup) -> Result<(), Error> {
    let path = || request.archive.to_owned();
    match &found.judged.structure {
        _ if request.despite_faults => Ok(()),
        _ if !found.include_faults.is_empty() => {
            Err(Error::IncludeFaults { path: path(), faults: found.include_faults.clone() })
        }
        Structure::Flawed(faults) => Err(Error::Faults { path: path(), faults: faults.clone() }),
        _ => Ok(()),
    }
}

/// Refuses a database of another schema version than the one that the registry's program expects.
fn expected_schema(request: &RestoreRequest<'_>, found: &UnpackedBackup) -> Result<(), Error> {
    let version = found.schema_version;
    let Some(expected) = request.schema_version.filter(|expected| *expected != version) else { return Ok(()) };
    let what = format!(
        "the database in {} has the schema version {version}, but the configuration expects {expected}; nothing was changed",
        request.archive.display()
    );
    let hint = "restore an archive of the expected version; or add --any-schema, and start the version of the registry's program that goes with this archive";
    Err(Error::refused(what, hint))
}

/// Adds the restore to the ledger in the archive's folder, where there is one.
fn written_down(archive: &Path, at: &str, restored: &Restored) {
    let ledger = archive.with_file_name(LEDGER);
    if files::stat(&ledger).is_ok_and(|found| found.is_some()) {
        let name = archive.file_name().map(|name| name.to_string_lossy().into_owned());
        // As text: a path need not be UTF-8, and JSON has nothing else.
        let shown = |path: &Path| path.display().to_string();
        let (database, replaced) = (shown(&restored.database), restored.replaced.as_deref().map(shown));
        let details = serde_json::json!({ "archive": name, "database": database, "replaced": replaced });
        if let Err(failure) = note(archive, "restore", at, details) {
            tracing::warn!("the restore is done, but {failure}");
        }
    }
}

/// The mode and the owner of the database in an archive.
fn archived(found: &UnpackedBackup) -> Option<(u32, u32, u32)> {
    found.unpacked.database().map(|piece| (piece.found.mode, piece.found.uid, piece.found.gid))
}

/// Refuses a destination that exists without `force`, is not a plain file, or is in use.
fn may_be_replaced(database: &Destination, log: &Destination, force: bool) -> Result<(), Error> {
    for (place, what) in [(database, "the database"), (log, "the provenance export")] {
        let Some(found) = place.stat else { continue };
        let shown = place.real.display();
        refuse_mount_point(&place.real)?;
        let (why, hint) = match found.kind {
            FileKind::File if found.links > 1 && what == "the database" => (
                format!("{shown} has {} hard links, and its other names would keep the old content", found.links),
                "remove the other hard links, or restore to another path with --db and --log",
            ),
            FileKind::File if force => continue,
            FileKind::File => (
                format!("{shown} already exists"),
                "add --force to replace it (the old file is kept, and `vitalsign restore --undo` brings it back), or restore to another path with --db and --log",
            ),
            FileKind::Folder => (format!("{shown} is a folder, but {what} must be a file"), "name a file"),
            FileKind::Other => (format!("{shown} is not a regular file"), "name a file"),
        };
        return Err(Error::refused(format!("{why}; nothing was changed"), hint));
    }
    refuse_if_open(&database.real)?;
    refuse_if_export_open(&log.real)
}

/// The files that are unpacked beside the destination; dropping this removes them.
struct Staging {
    real: PathBuf,
    folder: PathBuf,
    log: PathBuf,
}

impl Staging {
    fn at(database: &Destination, log: &Destination) -> Self {
        Self { real: database.real.clone(), folder: database.staged(), log: log.staged() }
    }

    fn new(database: &Destination, log: &Destination) -> Result<Self, Error> {
        let staging = Self::at(database, log);
        // A kill leaves it to the next run, which may be that of the registry's own user.
        let owner = files::owner_for_new_file(&staging.folder, database.stat.map(|old| (old.uid, old.gid)));
        files::new_private_folder(&staging.folder, owner)
            .map_err(|error| Error::io("create a folder in", &database.base, error))?;
        Ok(staging)
    }

    fn layout(&self) -> UnpackPlan {
        UnpackPlan::new(self.folder.clone(), Some(self.log.clone()), Depth::Within(INDEX_LIMIT))
    }

    /// Gives the new files the owner, the rights and the attributes that they will have.
    fn prepare(&self, found: &UnpackedBackup, database: &Destination, log: &Destination) -> Result<(), Error> {
        database.give(&found.database, archived(found))?;
        if found.unpacked.files.provenance.is_some() { log.give(&self.log, archived(found)) } else { Ok(()) }
    }

    fn remove(&self) -> Result<(), Error> {
        let failed = |path: &Path, error| Error::io("remove", path, error);
        files::remove_folder(&self.folder).map_err(|error| failed(&self.folder, error))?;
        files::remove(&self.log).map_err(|error| failed(&self.log, error))
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // What an interrupted swap has not put in place yet is how the next restore finds out where it ended.
        if journal::is_there(&self.real) {
            return;
        }
        if let Err(failure) = self.remove() {
            tracing::warn!("{failure}; it is a temporary copy, and the next restore removes it");
        }
    }
}
