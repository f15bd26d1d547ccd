//! Writes what is included into an archive, after the members of the registry's own database.
//!
//! Files change while they are read, and vanish: each is read until it held still, a bounded number of times. What could not be
//! had as it should be is a fault that the archive tells of. Databases are read through SQLite, into a private copy each.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs::File,
    io::{self, Read as _, Seek as _, Write as _},
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    backup::examination::{said, shown},
    backup::{
        Error, Include, Progress, beside::journal, catalogue::manifest::Examination, catalogue::manifest::Structure,
        examination::INDEX_LIMIT, examination::judged, include::contents::Contents, include::contents::Folder,
        include::contents::IncludedDatabase, include::contents::IncludedEntry, include::contents::IncludedKind,
        include::contents::Link, include::contents::stays_inside, make::snapshot::BackupContext,
        make::snapshot::facts_of, make::spool::Spool, prove::unpacked::MAX_LIST_BYTES, prove::unpacked::STEP_BYTES,
        side_files::SIDES, space::require_space,
    },
};
use vitalsign_archive::{CONTENTS, DATABASE_MAGIC, Header, INCLUDE, MAX_INCLUDED, MAX_INCLUDED_NAME_BYTES, Writer};
use vitalsign_base::{
    clock::Deadline,
    files::{self, FolderEntry, Stat},
    value::bytes,
};
use vitalsign_sqlite::{Database, Depth, DetachedProcess, Snapshot, TransactionLimits};

/// How often a file may change while it is read.
const MAX_TRIES: u32 = 5;

/// Files up to this size are read into memory before they are written into the archive, larger ones into a copy beside it.
const MAX_HELD_BYTES: u64 = 4 << 20;

/// The most bytes of one file, and of all together: what a day of reading takes from an ordinary disk.
const MAX_FILE_BYTES: u64 = 1 << 40;
const MAX_TOTAL_BYTES: u64 = 4 << 40;

/// Folders in folders: a path of more parts is longer than Linux takes, or nearly.
const MAX_DEPTH: usize = 128;

/// How long processes that work on other files than the included databases are looked for, for all of them together.
const OTHERS_LIMIT: Duration = Duration::from_secs(10);

/// Space that stays free beside a copy of a large file.
const RESERVE_BYTES: u64 = 16 << 20;

/// Writes everything that is included, and its description.
pub(in crate::backup) fn gather(
    include: &[Include],
    about: &BackupContext<'_>,
    writer: &mut Writer,
    (out, limits): (&Path, TransactionLimits),
    progress: &dyn Progress,
) -> Result<Contents, Error> {
    let mut gatherer = Gatherer {
        about,
        writer,
        out,
        limits,
        progress,
        contents: Contents::default(),
        members: 0,
        list_bytes: 0,
        total: 0,
        others: Deadline::after(OTHERS_LIMIT),
    };
    if journal::is_there(about.real) {
        // No other restore runs beside a backup, so this one was interrupted.
        gatherer.contents.fault(
            "a restore was interrupted, so it is not known whether all of this is of one moment; run `vitalsign restore --undo`, then make a new backup",
        );
    }
    progress.begin("backing up what is included", 0);
    let gathered = include.iter().try_for_each(|one| gatherer.one(one));
    progress.end();
    gathered?;
    let Gatherer { contents, .. } = gatherer;
    let text = contents.render();
    let header = about.header(CONTENTS, Some(text.len() as u64));
    let ended = writer.begin(header).and_then(|()| writer.write(text.as_bytes())).and_then(|()| writer.end());
    ended.map(|_| contents).map_err(|error| Error::io("write the archive in", out, error))
}

struct Gatherer<'a> {
    about: &'a BackupContext<'a>,
    writer: &'a mut Writer,
    out: &'a Path,
    limits: TransactionLimits,
    progress: &'a dyn Progress,
    contents: Contents,
    /// What is counted against the limits.
    members: usize,
    list_bytes: u64,
    total: u64,
    others: Deadline,
}

/// Where a file is: its root is a folder below which no link is followed.
#[derive(Clone, Copy)]
struct IncludedFile<'a> {
    root: &'a Path,
    inside: &'a Path,
    member: &'a str,
}

impl IncludedFile<'_> {
    fn path(&self) -> PathBuf {
        self.root.join(self.inside)
    }
}

/// A file that was read.
enum FileContent {
    Small(Vec<u8>),
    Large(File, Option<tempfile::TempDir>),
}

impl Gatherer<'_> {
    fn one(&mut self, include: &Include) -> Result<(), Error> {
        let path = crate::backup::include::rules::real(&include.path);
        let name = &include.name;
        let mut entry =
            IncludedEntry { name: name.clone(), kind: IncludedKind::Missing, folders: Vec::new(), links: Vec::new() };
        match files::node(&path) {
            Ok(Some(FolderEntry::File(stat))) => {
                let member = format!("{INCLUDE}/{name}");
                let inside = PathBuf::from(path.file_name().unwrap_or_default());
                let at = IncludedFile { root: files::folder_of(&path), inside: &inside, member: &member };
                let faults = self.contents.faults.len();
                match self.file(&at, &stat, &[])? {
                    Some(kind) => entry.kind = kind,
                    // Of a folder nothing is missed that was removed meanwhile; but this one was asked for.
                    None if self.contents.faults.len() == faults => {
                        self.contents.fault(&format!("`{name}` was removed while the backup was made"));
                    }
                    None => {}
                }
            }
            Ok(Some(FolderEntry::Folder(stat))) => {
                entry.kind = IncludedKind::Folder;
                self.folder(&path, Path::new(""), &stat, &mut entry, 0)?;
            }
            Ok(Some(_)) => self.contents.fault(&format!("`{name}` is neither a file nor a folder")),
            Ok(None) => self.contents.fault(&format!("`{name}` did not exist when the backup was made")),
            Err(error) => self.contents.fault(&format!("`{name}` could not be accessed: {error}")),
        }
        self.contents.entries.push(entry);
        Ok(())
    }

    fn folder(
        &mut self,
        root: &Path,
        inside: &Path,
        stat: &Stat,
        entry: &mut IncludedEntry,
        depth: usize,
    ) -> Result<(), Error> {
        let Some(path) = inside.to_str() else { return Ok(()) };
        self.count(path, 0)?;
        let Stat { uid, gid, mode, .. } = *stat;
        let modified = stat.modified_seconds();
        entry.folders.push(Folder { path: path.to_owned(), mode: mode & 0o777, uid, gid, modified });
        let shown = |inside: &Path| format!("`{}`", Path::new(&entry.name).join(inside).display());
        let names = match files::names_in(&root.join(inside), MAX_INCLUDED) {
            _ if depth > MAX_DEPTH => Err(io::Error::other(format!("it is more than {MAX_DEPTH} folders deep"))),
            names => names,
        };
        let names = match names {
            Ok(names) => names,
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => return Err(too_many()),
            Err(error) => {
                let fault = format!("the folder {} could not be read: {error}", shown(inside));
                self.contents.fault(&fault);
                return Ok(());
            }
        };
        let mut found = Vec::new();
        for name in &names {
            let inside = inside.join(name);
            let shown = shown(&inside);
            let is_named = name.to_str().is_some_and(crate::backup::include::can_be_named)
                && inside.as_os_str().len() + entry.name.len() + INCLUDE.len() + 2 <= MAX_INCLUDED_NAME_BYTES;
            match files::node(&root.join(&inside)) {
                _ if !is_named => {
                    self.contents.fault(&format!("an archive cannot hold the name {shown}, so it is not in it"))
                }
                Ok(Some(node)) => found.push((inside, node)),
                // It was removed meanwhile.
                Ok(None) => {}
                Err(error) => self.contents.fault(&format!("{shown} could not be accessed: {error}")),
            }
        }
        // What SQLite keeps beside a database is in the consistent copy of the database.
        let sides = sides_of_databases(root, &found);
        for (inside, node) in &found {
            if sides.iter().any(|(_, side)| side == inside) {
                continue;
            }
            let shown = format!("`{}`", Path::new(&entry.name).join(inside).display());
            match node {
                FolderEntry::File(stat) => {
                    let member = format!("{INCLUDE}/{}/{}", entry.name, inside.display());
                    let own: Vec<_> =
                        sides.iter().filter(|(of, _)| of == inside).map(|(_, side)| side.clone()).collect();
                    self.file(&IncludedFile { root, inside, member: &member }, stat, &own)?;
                }
                FolderEntry::Folder(stat) => self.folder(root, inside, stat, entry, depth + 1)?,
                FolderEntry::Link(target) => match (inside.to_str(), target.to_str()) {
                    (Some(path), Some(to)) if stays_inside(path, to) => {
                        self.count(path, 0)?;
                        let (uid, gid) = (stat.uid, stat.gid);
                        entry.links.push(Link { path: path.to_owned(), target: to.to_owned(), uid, gid });
                    }
                    _ => self.contents.fault(&format!(
                        "{shown} is a symbolic link that leads out of its folder, so it is not in the archive"
                    )),
                },
                FolderEntry::Other(_) => {
                    let what = format!("{shown} is a socket, a pipe or a device");
                    tracing::warn!("{what}, which no archive holds; it is left out");
                    self.contents.leaves_out(&what);
                }
            }
        }
        Ok(())
    }

    /// One more member, folder or link, with so many bytes.
    fn count(&mut self, name: &str, bytes: u64) -> Result<(), Error> {
        self.members += 1;
        // A digest, two spaces, a line break; and as much for what describes a folder or a link.
        self.list_bytes += name.len() as u64 + 100;
        self.total = self.total.saturating_add(bytes);
        let what = if self.members > MAX_INCLUDED {
            return Err(too_many());
        } else if self.list_bytes > MAX_LIST_BYTES / 2 {
            format!("the names of what `backup.include` names take more than {}", self::bytes(MAX_LIST_BYTES / 2))
        } else if bytes > MAX_FILE_BYTES || self.total > MAX_TOTAL_BYTES {
            let (one, all) = (self::bytes(MAX_FILE_BYTES), self::bytes(MAX_TOTAL_BYTES));
            format!("what `backup.include` names has a file of more than {one}, or more than {all} in all")
        } else if self.progress.is_cancelled() {
            return Err(Error::Interrupted);
        } else {
            return Ok(());
        };
        Err(too_much(&what))
    }

    /// A file, or the database in it with what lies beside it. Gives what it was; `None` where it is not in the archive.
    fn file(&mut self, at: &IncludedFile<'_>, stat: &Stat, sides: &[PathBuf]) -> Result<Option<IncludedKind>, Error> {
        self.count(at.member, stat.bytes)?;
        let shown = shown(at.member);
        if stat.id == self.about.stat.id {
            self.contents.fault(&format!(
                "{shown} is another name of the registry's own database, so it is not in the archive twice"
            ));
            return Ok(None);
        }
        if is_database(at.root, at.inside) {
            match self.database(at, stat)? {
                Ok(()) => return Ok(Some(IncludedKind::Database)),
                Err(error) => {
                    let beside = if sides.is_empty() { "" } else { ", with what lies beside it" };
                    self.contents.fault(&format!("the database {shown} was copied as a file{beside}: {error}"));
                }
            }
            for side in sides {
                let name = side.file_name().unwrap_or_default().to_string_lossy();
                let folder = at.member.rsplit_once('/').map_or("", |(folder, _)| folder);
                let member = format!("{folder}/{name}");
                self.plain(&IncludedFile { root: at.root, inside: side, member: &member })?;
            }
        }
        Ok(self.plain(at)?.then_some(IncludedKind::File))
    }

    /// A file as it is; gives whether it is in the archive.
    fn plain(&mut self, at: &IncludedFile<'_>) -> Result<bool, Error> {
        let shown = shown(at.member);
        let mut last = None;
        for _ in 0..MAX_TRIES {
            match self.read_file(at)? {
                Ok((had, stat, true)) => {
                    self.member(at, &stat, had)?;
                    return Ok(true);
                }
                Ok((had, stat, false)) => last = Some((had, stat)),
                // It was removed meanwhile, as files of a registry in use are.
                Err(error) if error.kind() == io::ErrorKind::NotFound && last.is_none() => {
                    self.contents.leaves_out(&format!("{shown} was removed while the backup was made"));
                    return Ok(false);
                }
                Err(error) => {
                    self.contents.fault(&format!("{shown} could not be read: {error}"));
                    return Ok(false);
                }
            }
        }
        let Some((had, stat)) = last else { return Ok(false) };
        self.contents.fault(&format!("{shown} changed during each of {MAX_TRIES} attempts to read it"));
        self.member(at, &stat, had)?;
        Ok(true)
    }

    /// Reads a file once, and says whether it held still. The inner error comes from the file, the outer one is final.
    fn read_file(&self, at: &IncludedFile<'_>) -> Result<io::Result<(FileContent, Stat, bool)>, Error> {
        let (mut file, before) = match files::open_beneath(at.root, at.inside) {
            Ok(opened) => opened,
            Err(error) => return Ok(Err(error)),
        };
        let writing = |error| Error::io("write a copy of an included file to", self.out, error);
        let mut had = if before.bytes <= MAX_HELD_BYTES {
            FileContent::Small(Vec::with_capacity(usize::try_from(before.bytes).unwrap_or(0)))
        } else {
            require_space(self.out, before.bytes.saturating_mul(2).saturating_add(RESERVE_BYTES))?;
            let folder = files::temporary_folder(self.out).map_err(writing)?;
            FileContent::Large(files::create_private(&folder.path().join("file")).map_err(writing)?, Some(folder))
        };
        let (mut step, mut left) = (vec![0; STEP_BYTES], before.bytes);
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(STEP_BYTES).min(STEP_BYTES);
            let read = match file.read(step.get_mut(..most).unwrap_or_default()) {
                Ok(0) => break,
                Ok(count) => step.get(..count).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Ok(Err(error)),
            };
            left -= read.len() as u64;
            match &mut had {
                FileContent::Small(bytes) => bytes.extend_from_slice(read),
                FileContent::Large(file, _) => file.write_all(read).map_err(writing)?,
            }
            if self.progress.is_cancelled() {
                return Err(Error::Interrupted);
            }
        }
        let still = || -> io::Result<bool> {
            // Another file may have been put in its place, which is as good as a change.
            let (_, now) = files::open_beneath(at.root, at.inside)?;
            Ok(left == 0 && files::stat_of(&file)?.same_content(&before) && now.same_content(&before))
        };
        let still = still().unwrap_or(false);
        let read = Stat { bytes: before.bytes - left, ..before };
        Ok(Ok((had, read, still)))
    }

    fn member(&mut self, at: &IncludedFile<'_>, stat: &Stat, had: FileContent) -> Result<(), Error> {
        let writing = |error| Error::io("write the archive in", self.out, error);
        let header = Header {
            name: at.member.to_owned(),
            bytes: Some(stat.bytes),
            mode: stat.mode & 0o777,
            uid: stat.uid,
            gid: stat.gid,
            modified: stat.modified_seconds(),
        };
        self.writer.begin(header).map_err(writing)?;
        match had {
            FileContent::Small(bytes) => self.writer.write(&bytes).map_err(writing)?,
            FileContent::Large(mut file, _folder) => {
                file.rewind().map_err(writing)?;
                let mut step = vec![0; STEP_BYTES];
                loop {
                    match file.read(&mut step).map_err(writing)? {
                        0 => break,
                        count => self.writer.write(step.get(..count).unwrap_or_default()).map_err(writing)?,
                    }
                    if self.progress.is_cancelled() {
                        return Err(Error::Interrupted);
                    }
                }
            }
        }
        self.writer.end().map(drop).map_err(writing)
    }

    /// A database, from one read transaction. The inner error comes from the database, the outer one is final.
    fn database(&mut self, at: &IncludedFile<'_>, stat: &Stat) -> Result<Result<(), vitalsign_sqlite::Error>, Error> {
        let shown = shown(at.member);
        let registry = Database::new(at.path());
        let held = registry.long_read_or_join(self.limits, |snapshot| {
            // SQLite follows links, and one may have been put in the way since.
            if !files::is_open_beneath(at.root, at.inside).unwrap_or(false) {
                return Err(vitalsign_sqlite::Error::Changing(at.path()));
            }
            let facts = snapshot.facts()?;
            let needed = (facts.page_bytes * facts.pages).saturating_mul(2).saturating_add(RESERVE_BYTES);
            match require_space(self.out, needed) {
                Ok(()) => Spool::of(snapshot, self.out, self.progress),
                Err(failure) => Ok(Err(failure)),
            }
        });
        let truth = registry.detached_processes(self.others).into_iter().find(DetachedProcess::loses_rows);
        // Its files are read next, and no lock of this process may be on them then.
        drop(registry);
        let spool = match held {
            Ok(spool) => spool?,
            Err(_) if self.progress.is_cancelled() => return Err(Error::Interrupted),
            Err(error) => match self.checkpointed_copy(at)? {
                Some(spool) => {
                    // A process that was killed leaves it so, and nobody has it open: the files are all there is.
                    if !matches!(
                        error,
                        vitalsign_sqlite::Error::WalWithoutShm(_) | vitalsign_sqlite::Error::HotJournal(_)
                    ) {
                        self.contents
                            .fault(&format!("the database {shown} was copied with its log as they lay there: {error}"));
                    }
                    spool
                }
                None => return Ok(Err(error)),
            },
        };
        if let Some(truth) = truth {
            self.contents.fault(&format!("rows of the database {shown} are missing: {truth}"));
        }
        let what = format!("the database {shown}");
        let looked = spool.look(|snapshot| {
            let judged = judged(snapshot, &what, "", Depth::Within(INDEX_LIMIT), self.progress)?;
            // A damaged database may not let its rows be counted, and that is no reason not to keep it.
            Ok((judged, facts_of(&snapshot.facts()?), rows(snapshot)))
        });
        let (judged, sqlite, rows) = match looked {
            Ok(looked) => looked,
            Err(_) if self.progress.is_cancelled() => return Err(Error::Interrupted),
            Err(error) => return Ok(Err(error)),
        };
        let not_checked = match &judged {
            Ok(Examination { structure: Structure::NotChecked(why), .. }) => Some(why.clone()),
            Ok(Examination { checked, .. }) => checked.why_not.clone(),
            Err(_) => None,
        };
        if let Some(fault) = said(&shown, judged)? {
            self.contents.fault(&fault);
        }
        let writing = |error| Error::io("write the archive in", self.out, error);
        let (file, copied) = spool.opened().map_err(writing)?;
        self.member(at, &Stat { bytes: copied, ..*stat }, FileContent::Large(file, None))?;
        self.contents.databases.insert(at.member.to_owned(), IncludedDatabase { sqlite, rows, not_checked });
        Ok(Ok(()))
    }
}

impl Gatherer<'_> {
    /// A copy of the files of a database that SQLite does not read where it is, with its log folded in there. `None` where they
    /// changed meanwhile, or make no database.
    fn checkpointed_copy(&self, at: &IncludedFile<'_>) -> Result<Option<Spool>, Error> {
        let writing = |error| Error::io("write a copy of an included database to", self.out, error);
        let folder = files::temporary_folder(self.out).map_err(writing)?;
        // SQLite follows no link on its way to what it writes here.
        let path = files::resolved(folder.path()).map_err(writing)?.join("database");
        let mut seen = Vec::new();
        for side in ["", "-wal", "-journal"] {
            let inside = files::beside(at.inside, side);
            let from = IncludedFile { inside: &inside, ..*at };
            match self.read_file(&from)? {
                Ok((had, stat, true)) => {
                    let mut to = files::create_private(&files::beside(&path, side)).map_err(writing)?;
                    match had {
                        FileContent::Small(bytes) => to.write_all(&bytes).map_err(writing)?,
                        FileContent::Large(mut file, _) => {
                            file.rewind().and_then(|()| io::copy(&mut file, &mut to)).map(drop).map_err(writing)?;
                        }
                    }
                    seen.push((inside, Some(stat)));
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound && !side.is_empty() => seen.push((inside, None)),
                Ok((.., false)) | Err(_) => return Ok(None),
            }
        }
        let held = seen.iter().all(|(inside, before)| match (files::open_beneath(at.root, inside), before) {
            (Ok((_, now)), Some(before)) => now.same_content(before),
            (Err(error), None) => error.kind() == io::ErrorKind::NotFound,
            _ => false,
        });
        Ok((held && vitalsign_sqlite::checkpoint(&path).is_ok()).then(|| Spool::at(path, folder)))
    }
}

fn too_many() -> Error {
    too_much(&format!("what `backup.include` names has more than {MAX_INCLUDED} files, folders and links"))
}

fn too_much(what: &str) -> Error {
    Error::refused(
        format!("{what}; no archive was made"),
        "include less of it, and back the rest up with a program that is made for files",
    )
}

/// Rows in all tables; `None` where one of them cannot be counted.
fn rows(snapshot: &Snapshot<'_>) -> Option<u64> {
    let tables = snapshot.tables().ok()?;
    tables.iter().map(|table| snapshot.counted(table).ok()?).sum()
}

/// Whether a file begins as a SQLite database does. This closes the file, so it must not be one that this process has open
/// through SQLite: only the registry's own is.
fn is_database(root: &Path, inside: &Path) -> bool {
    let Ok((mut file, stat)) = files::open_beneath(root, inside) else { return false };
    let mut head = [0; DATABASE_MAGIC.len()];
    stat.bytes > DATABASE_MAGIC.len() as u64 && file.read_exact(&mut head).is_ok() && head == *DATABASE_MAGIC
}

/// What lies beside the databases in a folder, each with the path of its database.
fn sides_of_databases(root: &Path, found: &[(PathBuf, FolderEntry)]) -> Vec<(PathBuf, PathBuf)> {
    let files: BTreeSet<_> = found
        .iter()
        .filter(|(_, node)| matches!(node, FolderEntry::File(_)))
        .map(|(inside, _)| inside.as_path())
        .collect();
    let database = |side: &Path| {
        let name = side.as_os_str().as_bytes();
        let of = SIDES.iter().find_map(|ending| name.strip_suffix(ending.as_bytes()))?;
        let of = Path::new(OsStr::from_bytes(of));
        (files.contains(of) && is_database(root, of)).then(|| of.to_owned())
    };
    files.iter().filter_map(|side| Some((database(side)?, side.to_path_buf()))).collect()
}
