//! Processes that work on another database, or with another log, than the files that lie at the path of this one.
//!
//! SQLite knows files by their paths, and processes keep them open by what they are. Where the two part, each side goes on
//! without an error, and one of them loses what it commits. `/proc` tells: it names each process's open files and their paths.

use std::{
    ffi::OsString,
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{Database, connection::open::is_marked_wal, file::open_handles};
use vitalsign_base::{
    clock::Deadline,
    files::{self, FileId, OpenFile, Process, beside, folder_of},
    value::printable,
};

/// The pause before a second look: longer than an SQLite that closes a database takes to remove its log, and than this
/// program keeps an idle connection open.
const SECOND_LOOK_AFTER: Duration = Duration::from_millis(150);

/// The longest wait for the connections of this process to be closed, before the kernel is asked who else has the database open.
const LEASE_PATIENCE: Duration = Duration::from_millis(500);

/// A process that does not see the same database as whoever opens its path now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DetachedProcess {
    /// The process.
    pub process: Process,
    /// In which way it is apart.
    pub kind: Detachment,
    /// Whether the process may write, so that commits get lost.
    pub writes: bool,
    /// The file that it has open, in its own sight.
    pub file: PathBuf,
    /// The process's numbers for the deleted files that hold rows, each with what its copy's name ends in.
    pub rescue: Vec<(u32, &'static str)>,
}

/// In which way a process is apart from the files at the database's path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detachment {
    /// It has a file open that once lay at the path of the database, its log or the log's index, and was deleted or replaced.
    Deleted,
    /// It uses the log at this path, but with another file as the database.
    Renamed,
    /// It has this database open under another path, and writes its log beside that one.
    LogElsewhere,
    /// It has this database open under a path in another folder, where it would make its journal.
    OtherFolder,
}

impl Detachment {
    /// A stable word for machines.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Deleted => "deleted-in-use",
            Self::Renamed => "renamed-in-use",
            Self::LogElsewhere => "log-elsewhere",
            Self::OtherFolder => "other-folder",
        }
    }
}

impl DetachedProcess {
    /// Whether rows are lost, or are missing from what is read at the database's path.
    #[must_use]
    pub fn loses_rows(&self) -> bool {
        self.writes && self.kind != Detachment::OtherFolder
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        let pid = self.process.pid;
        match self.kind {
            Detachment::Deleted if self.rescue.is_empty() => "stop that process, and start it again".to_owned(),
            Detachment::Deleted => {
                let copy = |(descriptor, suffix): &(u32, &str)| format!("cp /proc/{pid}/fd/{descriptor} saved.sqlite{suffix}");
                let copies: Vec<_> = self.rescue.iter().map(copy).collect();
                format!(
                    "its rows can be saved only before that process ends: `{}`; then stop it, and start it again",
                    copies.join(" && ")
                )
            }
            Detachment::Renamed => {
                "stop that process, put the database that it has open back in its place or replace the log as well, and start it again"
                    .to_owned()
            }
            Detachment::LogElsewhere | Detachment::OtherFolder => {
                "mount the folder that holds the database, instead of the single file, and use one name for the database"
                    .to_owned()
            }
        }
    }
}

impl fmt::Display for DetachedProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Process { pid, name } = &self.process;
        let file = printable(&self.file.to_string_lossy(), 4096);
        write!(f, "process {pid} (`{name}`) ")?;
        match (self.kind, self.writes) {
            (Detachment::Deleted, true) => write!(
                f,
                "still writes to a file that was deleted or replaced, `{file}`: what it commits is lost when it ends"
            ),
            (Detachment::Deleted, false) => {
                write!(f, "still reads a file that was deleted or replaced, `{file}`: it does not see new rows")
            }
            (Detachment::Renamed, _) => write!(
                f,
                "uses the log `{file}` together with another database file, which was moved away from this path: its commits do not reach this database and may damage it"
            ),
            (Detachment::LogElsewhere, _) => write!(
                f,
                "has this database open under another path and keeps its log there, `{file}`: what it commits cannot be seen here"
            ),
            (Detachment::OtherFolder, _) => write!(
                f,
                "has this database open under a path in another folder, `{file}`: a log or journal that it makes there cannot be seen here"
            ),
        }
    }
}

impl Database {
    /// The processes that this user can see and that do not work on the same database as whoever opens its path; the file
    /// that they have open may be all that is left of it.
    ///
    /// Goes through `/proc`, which takes milliseconds. What is seen only for a moment, as while a database is closed, does
    /// not count.
    #[must_use]
    pub fn detached_processes(&self, deadline: Deadline) -> Vec<DetachedProcess> {
        let look = || PathFiles::of(self.path()).map(|here| look(&here, deadline)).unwrap_or_default();
        let first = look();
        if first.is_empty() {
            return first;
        }
        std::thread::park_timeout(SECOND_LOOK_AFTER.min(deadline.remaining()));
        let mut again = look();
        again.retain(|truth| first.contains(truth));
        again
    }

    /// Whether a process that `/proc` does not show, such as one of another container, writes this database with a log that does
    /// not lie beside it; `false` also where that cannot be told.
    ///
    /// The signs: the database is in WAL mode, there is no log here, and somebody has the database open for writing. Whoever
    /// writes such a database has a log beside it, in its own sight.
    #[must_use]
    pub fn has_hidden_writer(&self, deadline: Deadline) -> bool {
        let look = || {
            let database_files = self.database_files().ok().filter(|database_files| database_files.wal.is_none())?;
            let wal = is_marked_wal(&database_files, self.path()).ok()?;
            let asked = || files::is_written_elsewhere(&database_files.real).unwrap_or(false);
            let id = database_files.database.id;
            let written = wal && open_handles::while_closed(id, LEASE_PATIENCE, asked)?;
            Some(written && processes_with_files(deadline, |_, other, _| other == id).is_empty())
        };
        // A program that has just opened the database has no log yet.
        look().unwrap_or(false) && {
            std::thread::park_timeout(SECOND_LOOK_AFTER.min(deadline.remaining()));
            look().unwrap_or(false)
        }
    }
}

/// A process, with those of its open files that were asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProcessFiles {
    pub(crate) process: Process,
    pub(crate) files: Vec<OpenFile>,
}

/// The processes that have a file open which is `wanted` (see [`files::open_files`]), as far as the time reaches.
pub(crate) fn processes_with_files(
    deadline: Deadline,
    wanted: impl Fn(&Path, FileId, bool) -> bool,
) -> Vec<ProcessFiles> {
    let all = files::process_ids().into_iter().take_while(|_| !deadline.has_passed());
    let with_files = all.map(|pid| (pid, files::open_files(pid, &wanted))).filter(|(_, files)| !files.is_empty());
    with_files
        .map(|(pid, files)| ProcessFiles { process: Process { pid, name: files::process_name(pid) }, files })
        .collect()
}

/// What lies at the path of a database.
#[derive(Clone, Debug)]
struct PathFiles {
    path: PathBuf,
    folder: FileId,
    /// The names of the database and of the files beside it, without their folder, and what lies there under them.
    files: [(OsString, Option<FileId>); 4],
}

const DATABASE: usize = 0;
const LOG: usize = 1;
const INDEX: usize = 2;

impl PathFiles {
    /// `None` where there is no such folder, or the system will not say.
    fn of(path: &Path) -> Option<Self> {
        let real = files::resolved(path).ok()?;
        let id = |path: &Path| Some(files::stat(path).ok()?.map(|found| found.id));
        let file = |suffix| {
            let path = beside(&real, suffix);
            Some((path.file_name()?.to_owned(), id(&path)?))
        };
        let files = [file("")?, file("-wal")?, file("-shm")?, file("-journal")?];
        Some(Self { folder: id(folder_of(&real))??, files, path: real })
    }

    /// What lies there as the database, the log or its index.
    fn id(&self, role: usize) -> Option<FileId> {
        self.files.get(role).and_then(|(_, id)| *id)
    }

    /// The place in the list whose name `path` ends in.
    fn named(&self, path: &Path) -> Option<usize> {
        self.files.iter().position(|(name, _)| path.file_name() == Some(name))
    }

    /// Whether a file may tell something. One that is mounted alone may have any name.
    fn concerns(&self, path: &Path, id: FileId, mounted_alone: bool) -> bool {
        let is_a_log = || path.as_os_str().as_encoded_bytes().ends_with(b"-wal");
        let is_here = self.files.iter().any(|(_, here)| *here == Some(id));
        is_here || self.named(path).is_some() || is_a_log() || mounted_alone
    }
}

/// How a process sees the folder of the database.
trait ProcessView {
    /// Whether a path leads into it; `None` where that cannot be told.
    fn is_here(&self, pid: u32, path: &Path) -> Option<bool>;
    /// The place in the list of files that a file has or had.
    fn role(&self, pid: u32, file: &OpenFile) -> Option<usize>;
}

impl ProcessView for PathFiles {
    fn is_here(&self, pid: u32, path: &Path) -> Option<bool> {
        let seen = files::folder_seen_by(pid, folder_of(path)).ok()?;
        Some(seen == self.folder)
    }

    fn role(&self, pid: u32, file: &OpenFile) -> Option<usize> {
        let named = self.named(&file.path);
        // Where the folder is gone too, it was another one: ours is there.
        if named.is_some() && self.is_here(pid, &file.path) == Some(true) {
            return named;
        }
        if named.is_none() && !file.mounted_alone {
            return None;
        }
        // A container keeps what it has mounted, a single file or a folder, after that was deleted or replaced here.
        let seen = files::place_in_file_system(pid, &file.path).ok()??;
        let own = |name: &OsString| {
            let path = self.path.with_file_name(name);
            files::place_in_file_system(std::process::id(), &path).ok().flatten()
        };
        self.files.iter().position(|(name, _)| own(name).as_ref() == Some(&seen))
    }
}

fn look(here: &PathFiles, deadline: Deadline) -> Vec<DetachedProcess> {
    let processes_with_files =
        processes_with_files(deadline, |path, id, mounted_alone| here.concerns(path, id, mounted_alone));
    processes_with_files.iter().filter_map(|opener| detachment(opener, here, here)).collect()
}

/// In which way a process is apart, if it is, by those of its files that have to do with the database or with a log.
fn detachment(opener: &ProcessFiles, here: &PathFiles, sight: &dyn ProcessView) -> Option<DetachedProcess> {
    let pid = opener.process.pid;
    let truth = |kind, writes, file: &OpenFile| {
        Some(DetachedProcess {
            process: opener.process.clone(),
            kind,
            writes,
            file: file.path.clone(),
            rescue: Vec::new(),
        })
    };
    let mut lost: Vec<(usize, &OpenFile)> = Vec::new();
    for file in opener.files.iter().filter(|file| file.deleted) {
        // A name that was taken away and given back to the same file has lost nothing.
        let role = sight.role(pid, file).filter(|role| here.id(*role) != Some(file.id));
        lost.extend(role.map(|role| (role, file)));
    }
    // The database says most, then its log; and of two descriptors the one that can write.
    lost.sort_by_key(|(role, file)| (*role, !file.writable));
    if let Some((_, file)) = lost.first() {
        let writes = lost.iter().any(|(_, file)| file.writable);
        let rescue = if writes { rescue(opener, here, &lost) } else { Vec::new() };
        return truth(Detachment::Deleted, writes, file).map(|truth| DetachedProcess { rescue, ..truth });
    }
    let mut ours = opener.files.iter().filter(|file| Some(file.id) == here.id(DATABASE)).peekable();
    if ours.peek().is_none() {
        let is_log = |file: &&OpenFile| file.writable && [here.id(LOG), here.id(INDEX)].contains(&Some(file.id));
        return truth(Detachment::Renamed, true, opener.files.iter().find(is_log)?);
    }
    let mut elsewhere = None;
    for database in ours.filter(|file| !file.deleted) {
        let log = beside(&database.path, "-wal");
        // A program that opens and closes the database makes its log anew: one at our own place is only younger than our look.
        let is_ours = here.named(&log) == Some(LOG) && sight.is_here(pid, &log) == Some(true);
        let is_other = |file: &&OpenFile| file.path == log && Some(file.id) != here.id(LOG);
        if let Some(log) = opener.files.iter().find(is_other).filter(|_| !is_ours) {
            return truth(Detachment::LogElsewhere, log.writable, log);
        }
        if sight.is_here(pid, &database.path) == Some(false) {
            elsewhere = truth(Detachment::OtherFolder, database.writable, database);
        }
    }
    elsewhere
}

/// The descriptors of the database and the log that a process works on. A log is worth nothing without its database, which
/// need not be deleted.
fn rescue(opener: &ProcessFiles, here: &PathFiles, lost: &[(usize, &OpenFile)]) -> Vec<(u32, &'static str)> {
    let of = |wanted: usize| lost.iter().find(|(role, _)| *role == wanted).map(|(_, file)| *file);
    let living = || opener.files.iter().find(|file| Some(file.id) == here.id(DATABASE));
    let Some(database) = of(DATABASE).or_else(living) else { return Vec::new() };
    let path = beside(&database.path, "-wal");
    let log = of(LOG).or_else(|| opener.files.iter().find(|file| file.path == path));
    let log = log.map(|log| (log.descriptor, "-wal"));
    [(database.descriptor, "")].into_iter().chain(log).collect()
}

#[cfg(test)]
mod tests {

    use super::*;

    const fn file(inode: u64) -> FileId {
        FileId { device: 1, inode }
    }

    /// A database at `/srv/r.db` with inode 10, its log with 11 and the log's index with 12, as far as they are there.
    fn here(there: [bool; 3]) -> PathFiles {
        let name = |suffix| OsString::from(format!("r.db{suffix}"));
        let at = |role: usize, inode| there.get(role).is_some_and(|there| *there).then(|| file(inode));
        PathFiles {
            path: "/srv/r.db".into(),
            folder: file(1),
            files: [
                (name(""), at(0, 10)),
                (name("-wal"), at(1, 11)),
                (name("-shm"), at(2, 12)),
                (name("-journal"), None),
            ],
        }
    }

    /// What is found of a process with these files: path, inode, and `d` for deleted, `r` for read-only, `a` for mounted alone.
    fn found(here: &PathFiles, files: &[(&str, u64, &str)]) -> Option<(Detachment, bool, String)> {
        let files = files.iter().enumerate().map(|(at, (path, inode, marks))| OpenFile {
            descriptor: at.try_into().unwrap(),
            path: path.into(),
            id: file(*inode),
            deleted: marks.contains('d'),
            mounted_alone: marks.contains('a'),
            writable: !marks.contains('r'),
        });
        let opener = ProcessFiles { process: Process { pid: 7, name: "app".to_owned() }, files: files.collect() };
        detachment(&opener, here, &Seen(here))
            .map(|truth| (truth.kind, truth.writes, truth.file.to_str().unwrap().to_owned()))
    }

    /// A process that sees the folder twice, has the database mounted alone, and sees nothing of what is gone.
    struct Seen<'a>(&'a PathFiles);

    impl ProcessView for Seen<'_> {
        fn is_here(&self, _: u32, path: &Path) -> Option<bool> {
            (!path.starts_with("/gone")).then(|| path.starts_with("/srv") || path.starts_with("/mounted"))
        }

        fn role(&self, pid: u32, file: &OpenFile) -> Option<usize> {
            let single = file.mounted_alone.then_some(DATABASE);
            self.0.named(&file.path).filter(|_| self.is_here(pid, &file.path) == Some(true)).or(single)
        }
    }

    #[test]
    fn whoever_has_the_files_that_lie_there_is_not_apart() {
        let here = here([true; 3]);
        assert_eq!(found(&here, &[("/srv/r.db", 10, ""), ("/srv/r.db-wal", 11, ""), ("/srv/r.db-shm", 12, "")]), None);
        // A container that has the whole folder.
        assert_eq!(found(&here, &[("/mounted/r.db", 10, ""), ("/mounted/r.db-wal", 11, "")]), None);
        assert_eq!(found(&here, &[("/srv/r.db", 10, "")]), None);
        // A backup program that copies the log.
        assert_eq!(found(&here, &[("/srv/r.db-wal", 11, "r")]), None);
        // Other databases, of the same name and of others, deleted and not.
        assert_eq!(found(&here, &[("/other/r.db", 20, "d"), ("/other/r.db-wal", 21, "d")]), None);
        assert_eq!(found(&here, &[("/gone/r.db", 20, "d"), ("/gone/r.db-wal", 21, "d")]), None);
        assert_eq!(found(&here, &[("/other/r.db", 20, ""), ("/other/r.db-wal", 21, "")]), None);
        assert_eq!(found(&here, &[("/srv/r.db", 10, ""), ("/srv/s.db-wal", 21, "d")]), None);
    }

    #[test]
    fn deleted_and_replaced_files() {
        let is = |kind, writes, path: &str| Some((kind, writes, path.to_owned()));
        let here = here([true; 3]);
        let both = [("/srv/r.db-wal", 21, "d"), ("/srv/r.db", 20, "d")];
        assert_eq!(found(&here, &both), is(Detachment::Deleted, true, "/srv/r.db"));
        assert_eq!(found(&here, &[("/srv/r.db", 20, "dr")]), is(Detachment::Deleted, false, "/srv/r.db"));
        let log = [("/srv/r.db", 10, ""), ("/srv/r.db-wal", 21, "d")];
        assert_eq!(found(&here, &log), is(Detachment::Deleted, true, "/srv/r.db-wal"));
        let single = [("/single/x.db", 20, "da"), ("/single/x.db-wal", 21, "")];
        assert_eq!(found(&here, &single), is(Detachment::Deleted, true, "/single/x.db"));
        // The name was taken away and given back to the same file.
        assert_eq!(found(&here, &[("/srv/r.db", 10, "d"), ("/srv/r.db-wal", 11, "")]), None);
        let renamed = [("/srv/r.old", 20, ""), ("/srv/r.db-wal", 11, ""), ("/srv/r.db-shm", 12, "")];
        assert_eq!(found(&here, &renamed), is(Detachment::Renamed, true, "/srv/r.db-wal"));
    }

    #[test]
    fn what_is_left_of_a_database_that_is_gone() {
        let nothing = here([false; 3]);
        let all = [("/srv/r.db", 20, "d"), ("/srv/r.db-wal", 21, "d"), ("/srv/r.db-shm", 22, "d")];
        assert_eq!(found(&nothing, &all), Some((Detachment::Deleted, true, "/srv/r.db".to_owned())));
        assert_eq!(found(&nothing, &[("/other/r.db", 20, "d")]), None);
        assert_eq!(found(&nothing, &[("/other/r.db-wal", 20, "")]), None);
    }

    #[test]
    fn logs_in_other_folders() {
        let is = |kind, path: &str| Some((kind, true, path.to_owned()));
        for here in [here([true; 3]), here([true, false, false])] {
            let elsewhere = [("/app/x.db", 10, ""), ("/app/x.db-wal", 31, ""), ("/app/x.db-shm", 32, "")];
            assert_eq!(found(&here, &elsewhere), is(Detachment::LogElsewhere, "/app/x.db-wal"));
            // Another hard link in the same folder.
            let linked = [("/srv/x.db", 10, ""), ("/srv/x.db-wal", 31, "")];
            assert_eq!(found(&here, &linked), is(Detachment::LogElsewhere, "/srv/x.db-wal"));
            assert_eq!(found(&here, &[("/app/x.db", 10, "")]), is(Detachment::OtherFolder, "/app/x.db"));
        }
    }
}
