//! The errors of backups, restores and the commands around them. Knows no exit code and no terminal.

use std::{
    io,
    path::{Path, PathBuf},
};

use vitalsign_archive::{Flaw, ReadError};
use vitalsign_base::{
    files::{self, Stat},
    value::bytes,
};

/// The kind of a failure, which decides on the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// Refused; nothing was changed.
    Refused,
    /// An archive or a database failed its verification.
    Damaged,
    /// The environment failed.
    Environment,
}

/// Why something failed. `Display` is one sentence that names the file.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request was refused.
    #[error("{what}")]
    Refused {
        /// The reason.
        what: String,
        /// What to do now.
        hint: String,
    },
    /// Another process works on the database in a way that a backup does not see.
    #[error("{}: {what}; no archive was made", .db.display())]
    OtherWriter {
        /// The database.
        db: PathBuf,
        /// Which process, and in which way.
        what: String,
        /// What to do about it.
        hint: String,
    },
    /// The user interrupted it.
    #[error("the command was interrupted; nothing was changed")]
    Interrupted,
    /// The database cannot be read.
    #[error("{0}")]
    Database(vitalsign_sqlite::Error),
    /// The database was read and is damaged inside.
    #[error("{what} is damaged: {}", .problems.join("; "))]
    Structure {
        /// Which database.
        what: String,
        /// The first problems that SQLite found.
        problems: Vec<String>,
        /// What to do now.
        hint: &'static str,
    },
    /// The database in an archive has faults that lose no row.
    #[error("the database in {} has faults: {}; nothing was changed", .path.display(), .faults.join("; "))]
    Faults {
        /// The archive.
        path: PathBuf,
        /// What is wrong.
        faults: Vec<String>,
    },
    /// What an archive has beside its database has faults.
    #[error("what is included in {} has faults: {}; nothing was changed", .path.display(), .faults.join("; "))]
    IncludeFaults {
        /// The archive.
        path: PathBuf,
        /// What is wrong.
        faults: Vec<String>,
    },
    /// The archive cannot be used.
    #[error("{} {flaw}", .path.display())]
    Archive {
        /// The archive.
        path: PathBuf,
        /// What is wrong with it.
        flaw: Flaw,
    },
    /// The file is an archive, but not the one that was recorded under its name.
    #[error(
        "{} is not the archive that was recorded under this name: that one is of {recorded}, and this file holds another one, of {found}",
        .path.display()
    )]
    Another {
        /// The archive.
        path: PathBuf,
        /// When the archive that was found was begun, in UTC.
        found: String,
        /// When the archive that was recorded was begun, in UTC.
        recorded: String,
    },
    /// A new archive does not hold what was written to it.
    #[error("the new archive in {} {flaw}; it was removed", .folder.display())]
    NewArchive {
        /// Its folder.
        folder: PathBuf,
        /// What is wrong with it.
        flaw: Flaw,
    },
    /// There is not enough free space.
    #[error("the folder {} has {} of free space, but {} are needed", .folder.display(), bytes(*.free), bytes(*.needed))]
    Space {
        /// The folder.
        folder: PathBuf,
        /// Bytes free there.
        free: u64,
        /// Bytes needed.
        needed: u64,
    },
    /// The system failed.
    #[error("cannot {doing} {}: {source}", .path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl Error {
    pub(crate) fn io(doing: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { doing, path: path.to_owned(), source }
    }

    pub(crate) fn refused(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Refused { what: what.into(), hint: hint.into() }
    }

    /// What reading the archive at `path` ended with.
    pub(crate) fn reading(path: &Path, error: ReadError) -> Self {
        match error {
            ReadError::Flaw(flaw) => Self::Archive { path: path.to_owned(), flaw },
            ReadError::Io(source) => Self::io("read", path, source),
        }
    }

    /// The kind of this failure.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Refused { .. } | Self::OtherWriter { .. } => ErrorKind::Refused,
            Self::Archive { .. }
            | Self::Another { .. }
            | Self::NewArchive { .. }
            | Self::Structure { .. }
            | Self::Faults { .. }
            | Self::IncludeFaults { .. } => ErrorKind::Damaged,
            Self::Database(error) if error.is_corrupt() => ErrorKind::Damaged,
            Self::Database(_) | Self::Space { .. } | Self::Io { .. } | Self::Interrupted => ErrorKind::Environment,
        }
    }

    /// What to do now; empty when the message says it.
    #[must_use]
    pub fn hint(&self) -> String {
        let text = match self {
            Self::Refused { hint, .. } => return hint.clone(),
            Self::OtherWriter { hint, .. } => {
                return format!(
                    "{hint}; `--despite-other-writers` makes an archive all the same, which lacks what that process commits"
                );
            }
            Self::Database(error) if error.is_corrupt() => {
                return match error {
                    vitalsign_sqlite::Error::NotSqlite(_) => error.hint(),
                    _ => "stop the registry, keep its files with `vitalsign backup --raw`, then restore the newest verified archive"
                        .to_owned(),
                };
            }
            Self::Database(vitalsign_sqlite::Error::OutOfTime { .. }) => {
                "raise `backup.timeLimitSeconds`, or back up when the machine is less busy"
            }
            Self::Database(vitalsign_sqlite::Error::WalGrew { .. }) => {
                "raise `backup.maxWalGrowthBytes`, or back up when less is written: SQLite cannot reset the write-ahead log while a backup reads"
            }
            Self::Database(error) => return error.hint(),
            Self::Interrupted => "",
            Self::Structure { hint, .. } => hint,
            Self::IncludeFaults { .. } => {
                "`--despite-faults` restores it as it is; or use an archive from before, which `vitalsign list` shows"
            }
            Self::Faults { .. } => {
                "every row can be read: `--despite-faults` restores it, and then the check `integrity` says how to correct each fault"
            }
            Self::Archive { flaw: Flaw::Empty | Flaw::Foreign(_) | Flaw::Refused(_), .. } => {
                "name a backup archive of a registry; `vitalsign list` shows the archives in the backup folder"
            }
            Self::Archive { .. } => "use another archive: `vitalsign list` shows which ones are verified",
            Self::Another { .. } => {
                "put the recorded archive back from another copy (its SHA-256 is in the record beside it), or move this file to another folder"
            }
            Self::NewArchive { .. } => {
                "check the disk and the memory of this machine (`dmesg`), then make the backup again"
            }
            Self::Space { .. } => "free some space there, or choose another folder",
            Self::Io { doing: "read", source, .. } if source.kind() == io::ErrorKind::InvalidInput => {
                "name a regular file; `-` stands for an archive on standard input"
            }
            Self::Io { source, .. } => match source.kind() {
                io::ErrorKind::PermissionDenied => {
                    "run the command as a user who has the permission, or change the permissions of the file"
                }
                io::ErrorKind::NotFound => "check the path",
                io::ErrorKind::IsADirectory => {
                    "name an archive, not a folder; `vitalsign list --out FOLDER` shows the archives in a folder"
                }
                io::ErrorKind::NotADirectory => "a part of the path is a file, not a folder; check the path",
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    "free some space there, then try again; no unfinished file was left behind"
                }
                io::ErrorKind::WouldBlock => {
                    "the system gives no more threads: raise the limit on processes (`ulimit -u`, or that of the container), or try again"
                }
                io::ErrorKind::ReadOnlyFilesystem => "choose a folder on a file system that can be written",
                _ => "check the disk and its file system; `dmesg` shows the errors of a disk",
            },
        };
        text.to_owned()
    }
}

/// What `stat` says of a file, or the failure to ask.
pub(crate) fn stat(path: &Path) -> Result<Option<Stat>, Error> {
    files::stat(path).map_err(|error| Error::io("access", path, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kind, the message and the hint of one failure of each sort.
    #[test]
    fn every_failure_says_what_happened_and_what_to_do() {
        let path = Path::new("out/a.tar.gz");
        let archive = |flaw| Error::Archive { path: path.to_owned(), flaw };
        let io = |kind: io::ErrorKind| Error::io("read", path, io::Error::from(kind));
        let failures = [
            Error::refused("r.sqlite already exists; nothing was changed", "add --force to replace it"),
            Error::Structure { what: "the database r.sqlite".to_owned(), problems: vec!["a".into()], hint: "restore" },
            Error::OtherWriter {
                db: "r.sqlite".into(),
                what: "process 7 (`app`) writes elsewhere".to_owned(),
                hint: "stop it".to_owned(),
            },
            Error::IncludeFaults { path: path.to_owned(), faults: vec!["a".into(), "b".into()] },
            Error::Faults { path: path.to_owned(), faults: vec!["a".into(), "b".into()] },
            archive(Flaw::Empty),
            archive(Flaw::CutOff(2048)),
            Error::Another { path: path.to_owned(), found: "then".to_owned(), recorded: "later".to_owned() },
            Error::NewArchive { folder: "out".into(), flaw: Flaw::CutOff(2048) },
            Error::Space { folder: "out".into(), free: 0, needed: 1 << 20 },
            io(io::ErrorKind::PermissionDenied),
            io(io::ErrorKind::NotFound),
            io(io::ErrorKind::IsADirectory),
            io(io::ErrorKind::NotADirectory),
            io(io::ErrorKind::StorageFull),
            io(io::ErrorKind::ReadOnlyFilesystem),
            io(io::ErrorKind::TimedOut),
        ];
        let shown = failures.iter().map(|failure| format!("{:?}: {failure}\n→ {}\n", failure.kind(), failure.hint()));
        insta::assert_snapshot!(shown.collect::<String>(), @"
        Refused: r.sqlite already exists; nothing was changed
        → add --force to replace it
        Damaged: the database r.sqlite is damaged: a
        → restore
        Refused: r.sqlite: process 7 (`app`) writes elsewhere; no archive was made
        → stop it; `--despite-other-writers` makes an archive all the same, which lacks what that process commits
        Damaged: what is included in out/a.tar.gz has faults: a; b; nothing was changed
        → `--despite-faults` restores it as it is; or use an archive from before, which `vitalsign list` shows
        Damaged: the database in out/a.tar.gz has faults: a; b; nothing was changed
        → every row can be read: `--despite-faults` restores it, and then the check `integrity` says how to correct each fault
        Damaged: out/a.tar.gz is empty (0 bytes)
        → name a backup archive of a registry; `vitalsign list` shows the archives in the backup folder
        Damaged: out/a.tar.gz is incomplete: it ends after 2.0 KiB, but more data must follow
        → use another archive: `vitalsign list` shows which ones are verified
        Damaged: out/a.tar.gz is not the archive that was recorded under this name: that one is of later, and this file holds another one, of then
        → put the recorded archive back from another copy (its SHA-256 is in the record beside it), or move this file to another folder
        Damaged: the new archive in out is incomplete: it ends after 2.0 KiB, but more data must follow; it was removed
        → check the disk and the memory of this machine (`dmesg`), then make the backup again
        Environment: the folder out has 0 B of free space, but 1.0 MiB are needed
        → free some space there, or choose another folder
        Environment: cannot read out/a.tar.gz: permission denied
        → run the command as a user who has the permission, or change the permissions of the file
        Environment: cannot read out/a.tar.gz: entity not found
        → check the path
        Environment: cannot read out/a.tar.gz: is a directory
        → name an archive, not a folder; `vitalsign list --out FOLDER` shows the archives in a folder
        Environment: cannot read out/a.tar.gz: not a directory
        → a part of the path is a file, not a folder; check the path
        Environment: cannot read out/a.tar.gz: no storage space
        → free some space there, then try again; no unfinished file was left behind
        Environment: cannot read out/a.tar.gz: read-only filesystem or storage medium
        → choose a folder on a file system that can be written
        Environment: cannot read out/a.tar.gz: timed out
        → check the disk and its file system; `dmesg` shows the errors of a disk
        ");
        assert_eq!(Error::Interrupted.hint(), "", "the user knows why it ended");
    }
}
