//! The errors of backups, restores and the commands around them. Knows no exit code and no terminal.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::{
    archive::{Flaw, ReadError},
    files::{self, Stat},
    sqlite::Trouble,
    value::bytes,
};

/// What a failure is, for whoever turns it into an exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Refused; nothing was changed.
    Refused,
    /// An archive or a database failed its verification.
    Damaged,
    /// The environment failed.
    Environment,
}

/// Why something failed. `Display` is one sentence that names the file.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The request was refused.
    #[error("{what}")]
    Refused {
        /// The reason.
        what: String,
        /// What to do now.
        hint: String,
    },
    /// The user interrupted it.
    #[error("the command was interrupted; nothing was changed")]
    Interrupted,
    /// The database cannot be read.
    #[error("{0}")]
    Database(Trouble),
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
    /// The archive cannot be used.
    #[error("{} {flaw}", .path.display())]
    Archive {
        /// The archive.
        path: PathBuf,
        /// What is wrong with it.
        flaw: Flaw,
    },
    /// There is not enough room.
    #[error("{} has {} of free space, but {} are needed", .folder.display(), bytes(*.free), bytes(*.needed))]
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

impl Failure {
    pub(super) fn io(doing: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { doing, path: path.to_owned(), source }
    }

    pub(super) fn refused(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Refused { what: what.into(), hint: hint.into() }
    }

    /// What reading the archive at `path` ended with.
    pub(super) fn reading(path: &Path, error: ReadError) -> Self {
        match error {
            ReadError::Flaw(flaw) => Self::Archive { path: path.to_owned(), flaw },
            ReadError::Io(source) => Self::io("read", path, source),
        }
    }

    /// The kind of this failure.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Refused { .. } => Kind::Refused,
            Self::Archive { .. } | Self::Structure { .. } => Kind::Damaged,
            Self::Database(trouble) if trouble.is_corrupt() => Kind::Damaged,
            Self::Database(_) | Self::Space { .. } | Self::Io { .. } | Self::Interrupted => Kind::Environment,
        }
    }

    /// What to do now; empty when the message says it.
    #[must_use]
    pub fn hint(&self) -> String {
        let text = match self {
            Self::Refused { hint, .. } => return hint.clone(),
            Self::Database(trouble) if trouble.is_corrupt() => {
                return match trouble {
                    Trouble::NotSqlite(_) => trouble.hint(),
                    _ => "stop the registry, keep its files with `vitalsign backup --raw`, then restore the newest verified archive"
                        .to_owned(),
                };
            }
            Self::Database(Trouble::OutOfTime { .. }) => {
                "raise `backup.timeLimitSeconds`, or back up when the machine is less busy"
            }
            Self::Database(Trouble::WalGrew { .. }) => {
                "raise `backup.maxWalGrowthBytes`, or back up when less is written: SQLite cannot reset the write-ahead log while a backup reads"
            }
            Self::Database(trouble) => return trouble.hint(),
            Self::Interrupted => "",
            Self::Structure { hint, .. } => hint,
            Self::Archive { flaw: Flaw::Empty | Flaw::Foreign(_) | Flaw::Refused(_), .. } => {
                "name a backup archive of a registry; `vitalsign list` shows the archives in the backup folder"
            }
            Self::Archive { .. } => "use another archive: `vitalsign list` shows which ones are verified",
            Self::Space { .. } => "free some space there, or choose another folder",
            Self::Io { source, .. } => match source.kind() {
                io::ErrorKind::PermissionDenied => {
                    "run the command as a user who has the permission, or change the permissions of the file"
                }
                io::ErrorKind::NotFound => "check the path",
                io::ErrorKind::IsADirectory => "name a file; `vitalsign list --out` shows the archives in a folder",
                io::ErrorKind::NotADirectory => "a part of the path is a file, not a folder; check the path",
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    "free some space there, then try again; no unfinished file was left behind"
                }
                io::ErrorKind::ReadOnlyFilesystem => "choose a folder on a file system that can be written",
                _ => "check the disk and its file system; `dmesg` shows the errors of a disk",
            },
        };
        text.to_owned()
    }
}

/// What `stat` says of a file, or the failure to ask.
pub(super) fn stat(path: &Path) -> Result<Option<Stat>, Failure> {
    files::stat(path).map_err(|error| Failure::io("access", path, error))
}
