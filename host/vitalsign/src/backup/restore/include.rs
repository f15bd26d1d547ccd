//! Brings back what an archive includes: where each goes, whether it may, and how it is made ready beside its place.
//!
//! Places come from the configuration, or lie beside a database that is restored elsewhere; never from the archive. Puts nothing in
//! its place: `swap` does, together with the database.

use std::path::{Path, PathBuf};

use crate::backup::{
    Error, Include, beside::destination::Destination, beside::destination::STAGED, beside::journal, error::stat,
    in_use::refuse_if_in_use, in_use::refuse_mount_point, include::contents::Contents, include::contents::Folder,
    include::contents::IncludedEntry, include::contents::IncludedKind, include::contents::Link,
    prove::unpacked::UnpackedMember,
};
use vitalsign_archive::{INCLUDE, Metadata};
use vitalsign_base::{
    files::{self, FolderEntry, beside},
    value::{Digest, printable},
};

/// The folder beside a database that is restored elsewhere.
const BESIDE: &str = ".include";

/// The longest name out of an archive that is repeated.
const MAX_SHOWN_BYTES: usize = 300;

/// What is unpacked, in its staging folder.
const NEW: &str = "new";

/// Where a restore puts what is included.
#[derive(Clone, Copy, Debug)]
pub enum IncludeDestination<'a> {
    /// To where the registry has it.
    ByName(&'a [Include]),
    /// To the folder `<database>.include`.
    Beside,
}

/// What a restore does with an included path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoredPath {
    /// Its name in the archive.
    pub name: String,
    /// Where it goes.
    pub path: PathBuf,
    /// Whether it replaces what is there.
    pub replaces: bool,
    /// Whether the archive has it. Where it does not, what is there stays.
    pub is_there: bool,
}

/// What is included in an archive, and where it goes.
pub(in crate::backup) struct IncludePlan {
    names: Vec<String>,
    paths: Vec<PathBuf>,
    /// Configured paths that the archive does not have.
    lacking: Vec<String>,
    /// The folder beside a database that is restored elsewhere. It is for its owner alone, since the folders that the registry has
    /// above what is included may have been so.
    beside: Option<PathBuf>,
}

impl IncludePlan {
    /// Finds a place for everything that the archive says it includes.
    ///
    /// # Errors
    /// [`Error::Refused`] for what the configuration does not name.
    pub(in crate::backup) fn new(
        archive: &Path,
        metadata: Option<&Metadata>,
        putting: IncludeDestination<'_>,
        db: &Path,
    ) -> Result<Self, Error> {
        let names: Vec<_> =
            metadata.iter().flat_map(|metadata| &metadata.include).map(|one| one.name.clone()).collect();
        let mut paths = Vec::new();
        for name in &names {
            let path = match putting {
                IncludeDestination::ByName(include) => {
                    include.iter().find(|one| one.name == *name).map(|one| one.path.clone())
                }
                // The rules for names are those of the configuration.
                IncludeDestination::Beside => {
                    let is_plain = Include::new(name, Path::new("")).is_ok_and(|one| one.name == *name);
                    is_plain.then(|| beside(db, BESIDE).join(name))
                }
            };
            let Some(path) = path else {
                let shown = printable(name, MAX_SHOWN_BYTES);
                let what = format!(
                    "{} also contains `{shown}`, and the configuration does not say where that belongs; nothing was changed",
                    archive.display()
                );
                let hint = "name it in `backup.include`, or restore to another path with --db, which puts it into a folder beside that";
                return Err(Error::refused(what, hint));
            };
            paths.push(path);
        }
        let lacking = match putting {
            IncludeDestination::ByName(include) => {
                include.iter().map(|one| one.name.clone()).filter(|name| !names.contains(name)).collect()
            }
            IncludeDestination::Beside => Vec::new(),
        };
        let beside =
            matches!(putting, IncludeDestination::Beside).then(|| beside(db, BESIDE)).filter(|_| !names.is_empty());
        Ok(Self { names, paths, lacking, beside })
    }

    pub(in crate::backup) fn lacking(&self) -> &[String] {
        &self.lacking
    }

    /// Looks at the places.
    pub(in crate::backup) fn places(&self) -> Result<Vec<Destination>, Error> {
        let place = |path: &PathBuf| {
            if files::is_link(path) {
                let what = format!("{} is a symbolic link; nothing was changed", path.display());
                return Err(Error::refused(what, "write the path that it leads to in `backup.include`"));
            }
            Destination::of(path)
        };
        self.paths.iter().map(place).collect()
    }

    /// Refuses a place that is that of the database, of the export or of the archive, or holds one of them.
    pub(in crate::backup) fn are_apart(&self, places: &[Destination], others: &[&Path]) -> Result<(), Error> {
        for (index, place) in places.iter().enumerate() {
            let among = places.iter().enumerate().filter(|(at, _)| *at != index).map(|(_, place)| place.real.as_path());
            let clash = others
                .iter()
                .copied()
                .chain(among)
                .find(|other| other.starts_with(&place.real) || files::is_same_file(other, &place.real));
            if let Some(other) = clash {
                let what = format!(
                    "`{}` of the archive would go to {}, which is or holds {}; nothing was changed",
                    printable(self.names.get(index).map_or("", String::as_str), MAX_SHOWN_BYTES),
                    place.real.display(),
                    other.display()
                );
                return Err(Error::refused(
                    what,
                    "correct `backup.include`, or restore to another path with --db and --log",
                ));
            }
        }
        Ok(())
    }
}

/// Refuses a place where something is without `force`, or that is in use.
fn may_be_replaced(place: &Destination, force: bool) -> Result<(), Error> {
    let shown = place.real.display();
    let found = files::node(&place.real).map_err(|error| Error::io("access", &place.real, error))?;
    refuse_mount_point(&place.real)?;
    let (why, hint) = match found {
        None => return Ok(()),
        Some(FolderEntry::Folder(_)) if files::names_in(&place.real, 0).is_ok() => return Ok(()),
        Some(FolderEntry::File(stat)) if stat.links > 1 => (
            format!("{shown} has {} hard links, and its other names would keep the old content", stat.links),
            "remove the other hard links, or restore to another path with --db and --log",
        ),
        Some(FolderEntry::File(_) | FolderEntry::Folder(_)) if force => return refuse_if_in_use(&place.real),
        Some(FolderEntry::File(_) | FolderEntry::Folder(_)) => (
            format!("{shown} already exists, and the archive contains it too"),
            "add --force to replace it (the old one is kept, and `vitalsign restore --undo` brings it back), or restore to another path with --db and --log",
        ),
        Some(_) => (format!("{shown} is neither a file nor a folder"), "name another path in `backup.include`"),
    };
    Err(Error::refused(format!("{why}; nothing was changed"), hint))
}

/// What is made ready beside its places; dropping this removes it.
pub(in crate::backup) struct StagedPaths {
    db: PathBuf,
    beside: Option<PathBuf>,
    stages: Vec<StagedPath>,
}

struct StagedPath {
    name: String,
    place: Destination,
    folder: PathBuf,
}

impl StagedPath {
    fn unpacked(&self) -> PathBuf {
        self.folder.join(NEW)
    }
}

impl StagedPaths {
    /// The staging folders for a plan; a restore that was killed may have left them.
    pub(in crate::backup) fn at(plan: &IncludePlan, db: &Path) -> Result<Self, Error> {
        let stage = |(name, place): (&String, Destination)| {
            // Two places may have the same name, and the same folder that exists above them.
            let digest = Digest::of(place.real.as_os_str().as_encoded_bytes()).to_string();
            let folder = place.base.join(format!(".include-{}{STAGED}", digest.get(..16).unwrap_or_default()));
            StagedPath { name: name.clone(), place, folder }
        };
        let stages = plan.names.iter().zip(plan.places()?).map(stage).collect();
        Ok(Self { db: db.to_owned(), beside: plan.beside.clone(), stages })
    }

    /// Refuses places that may not be replaced, then makes the folders.
    pub(in crate::backup) fn make(&self, force: bool) -> Result<(), Error> {
        self.stages.iter().try_for_each(|stage| may_be_replaced(&stage.place, force))?;
        for stage in &self.stages {
            let owner = files::owner_for_new_file(&stage.folder, None);
            files::new_private_folder(&stage.folder, owner)
                .map_err(|error| Error::io("create a folder in", &stage.place.base, error))?;
        }
        Ok(())
    }

    /// Where each is unpacked to.
    pub(in crate::backup) fn targets(&self) -> Vec<(String, PathBuf)> {
        self.stages.iter().map(|stage| (stage.name.clone(), stage.unpacked())).collect()
    }

    /// Completes what was unpacked: folders, links, owners, modes and times.
    pub(in crate::backup) fn prepare(
        &self,
        contents: &Contents,
        pieces: &[UnpackedMember],
    ) -> Result<Vec<RestoredPath>, Error> {
        let base = stat(files::folder_of(&self.db))?;
        let mut puts = Vec::new();
        for stage in &self.stages {
            let entry = contents.entries.iter().find(|entry| entry.name == stage.name);
            let kind = entry.map_or(IncludedKind::Missing, |entry| entry.kind);
            if let (Some(entry), IncludedKind::Folder) = (entry, kind) {
                if let (Some(own), Some(base)) = (stat(&stage.place.base)?, base)
                    && own.id.device != base.id.device
                {
                    let what = format!(
                        "{} is on another file system than the database, so the two cannot be replaced together; nothing was changed",
                        stage.place.real.display()
                    );
                    return Err(Error::refused(
                        what,
                        "restore to another path with --db and --log, then copy the folder from beside it",
                    ));
                }
                folder(&stage.unpacked(), entry, pieces)?;
            } else if kind != IncludedKind::Missing {
                file(stage, pieces)?;
            }
            let replaces = stage.place.stat.is_some() && kind != IncludedKind::Missing;
            let path = stage.place.real.clone();
            puts.push(RestoredPath {
                name: stage.name.clone(),
                path,
                replaces,
                is_there: kind != IncludedKind::Missing,
            });
        }
        Ok(puts)
    }

    /// Each new file or folder, with its place.
    pub(in crate::backup) fn exchanges(&self) -> Result<Vec<(PathBuf, PathBuf)>, Error> {
        let mut exchanges = Vec::new();
        for stage in &self.stages {
            let new = stage.unpacked();
            if stat(&new)?.is_some() {
                exchanges.push((new, stage.place.real.clone()));
            }
        }
        Ok(exchanges)
    }

    /// Makes the folders that hold the places.
    pub(in crate::backup) fn make_folders(&self, owner: Option<(u32, u32)>) -> Result<(), Error> {
        if let Some(beside) = &self.beside
            && stat(beside)?.is_none()
        {
            files::folder(files::folder_of(beside), owner)
                .and_then(|()| files::new_private_folder(beside, owner))
                .map_err(|error| Error::io("create the folder", beside, error))?;
        }
        self.stages.iter().try_for_each(|stage| stage.place.make_folder(owner))
    }

    /// Removes what is left of it.
    pub(in crate::backup) fn remove(&self) -> Result<(), Error> {
        self.stages.iter().try_for_each(|stage| {
            files::remove_folder(&stage.folder).map_err(|error| Error::io("remove", &stage.folder, error))
        })
    }
}

impl Drop for StagedPaths {
    fn drop(&mut self) {
        // What an interrupted swap has not put in place yet is how the next restore finds out where it ended.
        if journal::is_there(&self.db) {
            return;
        }
        if let Err(failure) = self.remove() {
            tracing::warn!("{failure}; it is a temporary copy, and the next restore removes it");
        }
    }
}

/// Who owns what root unpacks.
fn owner(uid: u32, gid: u32) -> Option<(u32, u32)> {
    files::is_root().then_some((uid, gid))
}

/// A single file, which takes the owner, the mode and the access list of the one that it replaces.
fn file(stage: &StagedPath, pieces: &[UnpackedMember]) -> Result<(), Error> {
    let (new, place) = (stage.unpacked(), &stage.place);
    let member = format!("{INCLUDE}/{}", stage.name);
    let Some(piece) = pieces.iter().find(|piece| piece.found.name == member) else { return Ok(()) };
    let (mode, uid, gid) = (piece.found.mode, piece.found.uid, piece.found.gid);
    // Before the mode, with which the owner may not open the file any more.
    files::set_modified(&new, piece.found.modified)
        .map_err(|error| Error::io("set the time of", &place.real, error))?;
    match place.stat {
        // A file takes the place of a file; beside a folder that goes there is nothing to copy.
        Some(old) if old.kind == files::FileKind::File => place.give(&new, Some((mode, uid, gid)))?,
        _ => files::set_owner_and_mode(&new, owner(uid, gid), mode)
            .map_err(|error| Error::io("set the owner and mode of", &place.real, error))?,
    }
    files::sync_folder(&stage.folder).map_err(|error| Error::io("sync", &stage.folder, error))
}

/// A folder as the archive describes it. Nothing leads out of `new`: links are made after all files.
fn folder(new: &Path, entry: &IncludedEntry, pieces: &[UnpackedMember]) -> Result<(), Error> {
    let failed = |what, path: &Path, error| Error::io(what, path, error);
    let at = |path: &str| if path.is_empty() { new.to_owned() } else { new.join(path) };
    let mut folders: Vec<&Folder> = entry.folders.iter().collect();
    folders.sort_by_key(|folder| folder.path.split('/').count());
    for Folder { path, .. } in &folders {
        files::make_folders(&at(path)).map_err(|error| failed("create the folder", &at(path), error))?;
    }
    let own = format!("{INCLUDE}/{}/", entry.name);
    for piece in pieces {
        let Some(inside) = piece.found.name.strip_prefix(&own) else { continue };
        let (path, found) = (new.join(inside), &piece.found);
        // The mode last: with it the owner may not open the file any more.
        files::set_modified(&path, found.modified)
            .and_then(|()| files::set_owner_and_mode(&path, owner(found.uid, found.gid), found.mode))
            .map_err(|error| failed("set the owner and mode of", &path, error))?;
    }
    for Link { path, target, uid, gid } in &entry.links {
        files::make_link(Path::new(target), &at(path), owner(*uid, *gid))
            .map_err(|error| failed("create the link", &at(path), error))?;
    }
    // The deepest first: a new name in a folder would change its time.
    for Folder { path, mode, uid, gid, modified } in folders.into_iter().rev() {
        files::finish_folder(&at(path), owner(*uid, *gid), mode & 0o777, *modified)
            .map_err(|error| failed("set the owner and mode of", &at(path), error))?;
    }
    files::sync_folder(files::folder_of(new)).map_err(|error| failed("sync", new, error))
}
