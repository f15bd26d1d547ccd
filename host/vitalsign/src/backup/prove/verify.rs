//! Verifies an archive at any time: every sum, and the database in it.
//!
//! The database is unpacked into a private temporary folder, opened and checked there. The result goes into the archive's record
//! and into the ledger, where they can be written.

use crate::backup::examination::CHECK_LIMIT;
use std::{
    fs::File,
    path::{Path, PathBuf},
    thread,
};

use crate::backup::{
    Error, Progress, catalogue::manifest::Examination, catalogue::manifest::Manifest, catalogue::manifest::Verdict,
    error::stat, examination::INDEX_LIMIT, examination::judged, prove::include, prove::include::UnpackTargets,
    prove::plain_copy::nothing_follows, prove::unpack::unpack, prove::unpacked::Unpacked,
};
use vitalsign_archive::{Flaw, Member, parse_file_name};
use vitalsign_base::{
    clock::Clock,
    files::{self, beside},
};
use vitalsign_sqlite::{Depth, PrivateCopy};

/// Space that always stays free: other programs write to the same file system.
const RESERVE_BYTES: u64 = 16 << 20;

/// Where the members of an archive are unpacked to.
pub(crate) struct UnpackPlan {
    folder: PathBuf,
    export: Option<PathBuf>,
    included: UnpackTargets,
    depth: Depth,
    /// Room that stays free beside what is unpacked.
    spare_bytes: u64,
}

/// An archive whose database is unpacked, with its log folded in.
pub(crate) struct UnpackedBackup {
    pub(crate) unpacked: Unpacked,
    /// The database, ready for use.
    pub(crate) database: PathBuf,
    pub(crate) judged: Examination,
    /// Its `user_version`, read from the database itself: older archives do not say it.
    pub(crate) schema_version: i64,
    /// What is wrong with what is included.
    pub(crate) include_faults: Vec<String>,
}

/// What a verification found.
#[derive(Clone, Debug)]
pub struct Verified {
    /// What is known of the archive now.
    pub record: Manifest,
    /// Whether it contains sums, which then match; an older archive may have none.
    pub has_sums: bool,
}

impl UnpackPlan {
    /// Everything goes into `folder`, and the export in the end to the file `export`, if that is wanted.
    pub(crate) fn new(folder: PathBuf, export: Option<PathBuf>, depth: Depth) -> Self {
        Self { included: UnpackTargets::Databases(folder.clone()), folder, export, depth, spare_bytes: RESERVE_BYTES }
    }

    /// The same with a place for everything that is included.
    pub(crate) fn including(self, places: Vec<(String, PathBuf)>) -> Self {
        Self { included: UnpackTargets::Named(places), ..self }
    }

    /// Leaves at least so much room free.
    fn leaving_free(self, bytes: u64) -> Self {
        Self { spare_bytes: bytes.max(RESERVE_BYTES), ..self }
    }

    /// A place for the member: by its name, since what it is may only be known later.
    fn place(&self, found: &Member, archive: &Path) -> Result<Option<File>, Error> {
        let path = match found.is_included() {
            true => include::target(&self.included, found, archive)?,
            false => Some(self.folder.join(&found.name)),
        };
        let Some(path) = path else { return Ok(None) };
        // The folder itself is hidden, so what is said of room is said of the one that holds it.
        let into = if found.is_included() { files::folder_of(&path) } else { files::folder_of(&self.folder) };
        crate::backup::space::require_space(into, found.bytes.saturating_add(self.spare_bytes))?;
        files::create_private(&path).map(Some).map_err(|error| Error::io("create", &path, error))
    }

    /// Moves the export to where it is wanted, or copies it where that is another file system.
    fn place_export(&self, name: &str) -> Result<(), Error> {
        let Some(export) = &self.export else { return Ok(()) };
        let from = self.folder.join(name);
        let failed = |error| Error::io("write the provenance export to", export, error);
        if files::move_to(&from, export).is_ok() {
            return Ok(());
        }
        let mut to = files::create_private(export).map_err(failed)?;
        let mut from = files::open_regular(&from).map_err(failed)?;
        std::io::copy(&mut from, &mut to).and_then(|_| to.sync_all()).map_err(failed)
    }

    /// Unpacks an archive and checks its database.
    ///
    /// Where the export comes behind a database without a log, the database is checked while the export is still unpacked.
    pub(crate) fn unpack_and_check(
        &self,
        archive: &Path,
        hashed: bool,
        progress: &dyn Progress,
    ) -> Result<UnpackedBackup, Error> {
        thread::scope(|scope| {
            let mut placed = Vec::new();
            let mut early = None;
            let mut place = |found: &Member| {
                if let ([only], true, None) = (placed.as_slice(), found.name.ends_with(".jsonl"), &early) {
                    let database = self.folder.join(only);
                    let checking = move || check(archive, &database, self.depth, DAMAGED_COPY_HINT, progress);
                    // Without a thread the database is checked when the archive has been read to its end.
                    let checking = thread::Builder::new().name("check".to_owned()).spawn_scoped(scope, checking);
                    early = checking.ok().map(|checking| (String::clone(only), checking));
                }
                let file = self.place(found, archive)?;
                placed.extend(file.is_some().then(|| found.name.clone()));
                Ok(file)
            };
            let unpacked = unpack(archive, hashed, &self.folder, &mut place, progress)?;
            let early = early.map(|(name, checking)| (name, checking.join()));
            let path = |name: &String| self.folder.join(name);
            let Some(database) = unpacked.files.database.as_ref().map(path) else {
                let flaw = Flaw::Refused("it contains no database".to_owned());
                return Err(Error::Archive { path: archive.to_owned(), flaw });
            };
            let sides = [("-wal", &unpacked.files.wal), ("-journal", &unpacked.files.journal)];
            let sides = sides.map(|(suffix, name)| (suffix, name.as_ref().map(path)));
            let hint = if unpacked.is_plain { DAMAGED_PLAIN_HINT } else { DAMAGED_COPY_HINT };
            if sides.iter().any(|(_, side)| side.is_some()) {
                checkpoint_copy(archive, &database, &sides, hint)?;
            }
            let judged = match early {
                Some((name, Ok(found))) if unpacked.files.wal.is_none() && path(&name) == database => found,
                _ => {
                    progress.begin("checking the database", 0);
                    let found = check(archive, &database, self.depth, hint, progress);
                    progress.end();
                    found
                }
            };
            let (judged, schema_version) = judged?;
            if unpacked.is_plain {
                nothing_follows(archive, &database)?;
            }
            if let Some(name) = &unpacked.files.provenance {
                self.place_export(name)?;
            }
            let Unpacked { contents, pieces, .. } = &unpacked;
            let include_faults = include::checked(&self.included, contents, pieces, archive, self.depth, progress)?;
            Ok(UnpackedBackup { judged, schema_version, include_faults, unpacked, database })
        })
    }
}

/// Folds a log into its database, or rolls back the transaction in its journal.
fn checkpoint_copy(
    archive: &Path,
    database: &Path,
    sides: &[(&str, Option<PathBuf>)],
    hint: &'static str,
) -> Result<(), Error> {
    for (suffix, side) in sides {
        let beside = beside(database, suffix);
        if let Some(side) = side.as_ref().filter(|side| **side != beside) {
            files::move_to(side, &beside).map_err(|error| Error::io("move", side, error))?;
        }
    }
    // SQLite creates the index of a log again.
    files::remove(&beside(database, "-shm")).map_err(|error| Error::io("remove", database, error))?;
    vitalsign_sqlite::checkpoint(database).map_err(|error| about(archive, database, error, hint))
}

/// Turns an error of the unpacked copy into an error of the archive.
fn about(archive: &Path, database: &Path, error: vitalsign_sqlite::Error, hint: &'static str) -> Error {
    match error {
        vitalsign_sqlite::Error::OutOfTime { .. }
        | vitalsign_sqlite::Error::Io { .. }
        | vitalsign_sqlite::Error::Unreadable(_) => Error::Database(error),
        other => Error::Structure {
            what: format!("the database in {}", archive.display()),
            // The message must not name the temporary folder, which means nothing to a user.
            problems: vec![other.to_string().replace(&format!("{}/", files::folder_of(database).display()), "")],
            hint,
        },
    }
}

const DAMAGED_COPY_HINT: &str =
    "use another archive: `vitalsign list` shows which ones are verified; `tar` can still unpack this one";

const DAMAGED_PLAIN_HINT: &str = "use another copy, or an archive: `vitalsign list` shows those that are verified; `.recover` in the program `sqlite3` reads what is left of this one";

/// Opens the copy, checks it, and reads its schema version.
fn check(
    archive: &Path,
    database: &Path,
    depth: Depth,
    hint: &'static str,
    progress: &dyn Progress,
) -> Result<(Examination, i64), Error> {
    let what = format!("the database in {}", archive.display());
    let shown = Path::new(database.file_name().unwrap_or_default());
    let found = PrivateCopy::open(database, shown, CHECK_LIMIT).and_then(|copy| {
        copy.look(|snapshot| Ok((judged(snapshot, &what, hint, depth, progress)?, snapshot.user_version()?)))
    });
    let (judged, schema_version) = found.map_err(|error| about(archive, database, error, hint))?;
    Ok((judged?, schema_version))
}

/// Proves the archive at `path`, and with `full` looks at everything in its database however long it takes. `scratch` is where the copy goes when the archive's own folder may not be written.
///
/// # Errors
/// [`Error`] when the archive is damaged, which is written down as well, or cannot be read.
pub fn verify(
    path: &Path,
    full: bool,
    scratch: &Path,
    clock: &dyn Clock,
    progress: &dyn Progress,
) -> Result<Verified, Error> {
    let depth = if full { Depth::Everything } else { Depth::Within(INDEX_LIMIT) };
    verify_leaving_free(path, depth, RESERVE_BYTES, scratch, clock, progress)
}

/// The same, and leaves room for others.
pub(crate) fn verify_leaving_free(
    path: &Path,
    depth: Depth,
    spare_bytes: u64,
    scratch: &Path,
    clock: &dyn Clock,
    progress: &dyn Progress,
) -> Result<Verified, Error> {
    let folder = files::temporary_folder(files::folder_of(path))
        .or_else(|_| files::temporary_folder(scratch))
        .map_err(|error| Error::io("create a folder in", scratch, error))?;
    // SQLite follows no link on its way to what it writes.
    let real = files::resolved(folder.path()).map_err(|error| Error::io("find", folder.path(), error))?;
    let before = stat(path)?;
    let found = UnpackPlan::new(real, None, depth).leaving_free(spare_bytes).unpack_and_check(path, true, progress);
    let after = stat(path)?;
    if let (Some(before), Some(after)) = (&before, &after)
        && !before.same_content(after)
    {
        let what = format!("{} changed while it was read, so it could not be verified", path.display());
        return Err(Error::refused(what, "find out which process writes to it, then try again"));
    }
    let at = format!("{:.0}", clock.now());
    let known = Manifest::of(path);
    if let (Ok(found), Some(known)) = (&found, &known) {
        let verified_manifest = verified_manifest(path, found);
        if known.names_another(&verified_manifest) {
            return Err(another(path, known.clone(), &verified_manifest, &at));
        }
    }
    let mut record = match &found {
        // What somebody accepted does not stand in the archive.
        Ok(found) => Manifest {
            fewer_rows_accepted: known.and_then(|known| known.fewer_rows_accepted),
            ..verified_manifest(path, found)
        },
        Err(failure @ (Error::Archive { .. } | Error::Structure { .. })) => {
            let known = known.unwrap_or_else(|| Manifest::unknown(path));
            Manifest { verdict: Verdict::Damaged, flaw: Some(failure.to_string()), ..known }
        }
        // This error says nothing about the archive.
        Err(_) => Manifest::unknown(path),
    };
    record.verified_at = Some(at.clone());
    // A record is written only beside a file with the name of an archive, and only for a clear result. `prune` may have removed the
    // archive meanwhile.
    let is_ours = after.is_some()
        && record.verdict != Verdict::Unverified
        && path.file_name().and_then(|name| name.to_str()).is_some_and(|name| parse_file_name(name).is_some());
    let kept = record.stamp(path).and_then(|()| if is_ours { record.keep(path, "verify", &at) } else { Ok(()) });
    if let Err(failure) = kept {
        tracing::warn!("the result of the verification could not be recorded: {failure}");
    }
    found.map(|found| Verified { record, has_sums: found.unpacked.has_sums })
}

/// The file is a whole archive, but another one than its record tells of. What the record says of the archive that was here stays,
/// since nothing else tells of it any more; only the verdict changes.
fn another(path: &Path, mut known: Manifest, found: &Manifest, at: &str) -> Error {
    let failure = Error::Another {
        path: path.to_owned(),
        found: found.created_at.clone().unwrap_or_else(|| "an unknown time".to_owned()),
        recorded: known.created_at.clone().unwrap_or_else(|| "an unknown time".to_owned()),
    };
    (known.verdict, known.verified_at, known.flaw) = (Verdict::Damaged, Some(at.to_owned()), Some(failure.to_string()));
    if let Err(failure) = known.keep(path, "verify", at) {
        tracing::warn!("the result of the verification could not be recorded: {failure}");
    }
    failure
}

/// What is known of an archive that holds.
fn verified_manifest(path: &Path, found: &UnpackedBackup) -> Manifest {
    let unpacked = &found.unpacked;
    let database = unpacked.database();
    let metadata = &unpacked.metadata;
    let joined = (!found.include_faults.is_empty()).then(|| found.include_faults.join("; "));
    Manifest {
        sha256: unpacked.digest,
        created_at: metadata.created_at.clone(),
        verdict: found.judged.verdict(metadata.incomplete.as_ref()).with(&found.include_faults),
        flaw: metadata.incomplete.clone().or(found.judged.faults()).or(joined),
        structure: found.judged.structure.clone(),
        checked: Some(found.judged.checked.clone()),
        source: metadata.source.clone(),
        host: metadata.host.clone(),
        identity: metadata.identity.clone(),
        database_bytes: database.map_or(0, |piece| piece.found.bytes),
        database_sha256: database.map(|piece| piece.digest),
        records: metadata.records,
        provenance_rows: metadata.provenance_rows,
        include: metadata.include.iter().map(|one| one.name.clone()).collect(),
        include_faults: found.include_faults.clone(),
        ..Manifest::unknown(path)
    }
}
