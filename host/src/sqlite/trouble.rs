//! Why a database could not be looked at, or is bad: one variant and one exact sentence for each.
//!
//! Knows nothing of how it was looked at; `damage` sharpens what SQLite only calls corrupt.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::ffi;

use crate::value::{bytes, printable};

/// Why a look at a database failed. `Display` is one sentence that names the file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// There is no such file.
    #[error("there is no database at `{}`", shown(.0))]
    Missing(PathBuf),
    /// The path is a directory.
    #[error("`{}` is a directory, not a database", shown(.0))]
    Directory(PathBuf),
    /// The path is a device, a pipe or a socket.
    #[error("`{}` is not a regular file, so it is not a database", shown(.0))]
    NotAFile(PathBuf),
    /// This user may not read it.
    #[error("`{}` may not be read by the user that runs vitalsign", shown(.0))]
    Unreadable(PathBuf),
    /// It has zero bytes.
    #[error("`{}` is empty (0 bytes): it holds no database yet", shown(.0))]
    Empty(PathBuf),
    /// It does not begin as SQLite databases do.
    #[error("`{}` is not a SQLite database", shown(.0))]
    NotSqlite(PathBuf),
    /// It looks like noise in whole sectors, as encrypted databases do.
    #[error("`{}` looks encrypted (no SQLite header, and its bytes look random)", shown(.0))]
    Encrypted(PathBuf),
    /// The file ends before the database does.
    #[error("`{}` is truncated: its header promises {}, the file has {}", shown(.path), bytes(*.promised), bytes(*.found))]
    Truncated {
        /// The file.
        path: PathBuf,
        /// Page size times page count as the header says, in bytes.
        promised: u64,
        /// The size of the file in bytes.
        found: u64,
    },
    /// SQLite found it malformed.
    #[error("`{}` is corrupt: {detail}", shown(.path))]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// SQLite's words.
        detail: String,
    },
    /// Another process holds a lock that shuts readers out.
    #[error("`{}` is locked by another process, and stayed locked for {}", shown(.path), millis(*.waited))]
    Locked {
        /// The file.
        path: PathBuf,
        /// How long was waited for it.
        waited: Duration,
    },
    /// A transaction was cut off half way and has to be rolled back before anybody may read.
    #[error("`{}` has a hot journal: a write was cut off, and nobody has rolled it back yet", shown(.0))]
    HotJournal(PathBuf),
    /// The write-ahead log is there without its index, which a reader must not create.
    #[error("`{}` has a `-wal` file without its `-shm` file, and reading it would create one", shown(.0))]
    WalWithoutShm(PathBuf),
    /// The index of the write-ahead log has to be rebuilt by a writer.
    #[error("`{}` needs its write-ahead log recovered by a writer before it can be read", shown(.0))]
    WalIndex(PathBuf),
    /// Opening the log as root would change who owns it.
    #[error("`{}` belongs to another user than its `{suffix}` file, and opening them as root would change that", shown(.path))]
    OtherOwner {
        /// The database.
        path: PathBuf,
        /// `-wal` or `-shm`.
        suffix: &'static str,
    },
    /// The file was replaced or written to each time it was looked at.
    #[error("`{}` kept changing while it was looked at", shown(.0))]
    Changing(PathBuf),
    /// The read ran out of its time.
    #[error("reading `{}` was stopped after {}, so as not to hold up its write-ahead log", shown(.path), millis(*.limit))]
    OutOfTime {
        /// The file.
        path: PathBuf,
        /// The time the read was given.
        limit: Duration,
    },
    /// The write-ahead log grew too far while the read held it.
    #[error("reading `{}` was stopped: its write-ahead log grew by more than {} meanwhile", shown(.path), bytes(*.limit))]
    WalGrew {
        /// The file.
        path: PathBuf,
        /// The growth that was allowed, in bytes.
        limit: u64,
    },
    /// The system failed to read.
    #[error("`{}` could not be read: {detail}", shown(.path))]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's or SQLite's words.
        detail: String,
    },
    /// SQLite refused for a reason that has no case of its own.
    #[error("SQLite could not look at `{}`: {detail} (code {code})", shown(.path))]
    Other {
        /// The file.
        path: PathBuf,
        /// SQLite's extended result code.
        code: i32,
        /// SQLite's words.
        detail: String,
    },
}

impl Trouble {
    /// A stable word for machines.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Missing(_) => "missing",
            Self::Directory(_) => "directory",
            Self::NotAFile(_) => "not-a-file",
            Self::Unreadable(_) => "unreadable",
            Self::Empty(_) => "empty",
            Self::NotSqlite(_) => "not-sqlite",
            Self::Encrypted(_) => "encrypted",
            Self::Truncated { .. } => "truncated",
            Self::Corrupt { .. } => "corrupt",
            Self::Locked { .. } => "locked",
            Self::HotJournal(_) => "hot-journal",
            Self::WalWithoutShm(_) => "wal-without-shm",
            Self::WalIndex(_) => "wal-recovery",
            Self::OtherOwner { .. } => "other-owner",
            Self::Changing(_) => "changing",
            Self::OutOfTime { .. } => "read-budget",
            Self::WalGrew { .. } => "wal-growth",
            Self::Io { .. } => "io",
            Self::Other { .. } => "sqlite",
        }
    }

    /// What to do now.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Missing(_) => "check `dbPath` (or `--db`), or start the registry once so that it makes its database",
            Self::Directory(_) | Self::NotAFile(_) => "let `dbPath` (or `--db`) name the database file itself",
            Self::Unreadable(_) => "run vitalsign as the registry's user, or let its user read the file and its folder",
            Self::Empty(_) => "start the registry once so that it makes its tables, or restore a backup",
            Self::NotSqlite(_) => "check `dbPath` (or `--db`); if this was the registry, restore a backup",
            Self::Encrypted(_) => "vitalsign reads plain SQLite only; if this was never encrypted, restore a backup",
            Self::Truncated { .. } | Self::Corrupt { .. } => {
                "stop the registry, keep a copy of its files, and restore a backup"
            }
            Self::Locked { .. } => "find the process that holds the lock (`fuser` on the file) and end its transaction",
            Self::HotJournal(_) => {
                "start the registry: its first access rolls the journal back; never delete the journal"
            }
            Self::WalWithoutShm(_) => {
                "start the registry: it makes the file; never delete the `-wal`, it holds committed rows"
            }
            Self::WalIndex(_) => {
                "start the registry: its first access recovers the log; never delete the `-wal` or `-shm`"
            }
            Self::OtherOwner { .. } => "run vitalsign as the registry's user, or give the files one owner",
            Self::Changing(_) => "look again; if it stays so, something keeps opening and closing the database",
            Self::OutOfTime { .. } => "look again when the disk is less busy",
            Self::WalGrew { .. } => "look again when less is written, or allow more growth",
            Self::Io { .. } => "look at the disk and its mount (`dmesg`), and at the free space",
            Self::Other { .. } => "look SQLite's code up at https://sqlite.org/rescode.html",
        }
        .to_owned()
    }

    /// Whether the database was looked at and is bad; otherwise it could not be looked at.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        matches!(
            self,
            Self::Missing(_)
                | Self::Directory(_)
                | Self::NotAFile(_)
                | Self::Empty(_)
                | Self::NotSqlite(_)
                | Self::Truncated { .. }
                | Self::Corrupt { .. }
        )
    }

    /// Whether the same look may succeed a moment later.
    pub(super) fn is_passing(&self) -> bool {
        // A writer that opens and closes the database all the time is between its files for a moment each time.
        matches!(self, Self::Changing(_) | Self::WalIndex(_) | Self::WalWithoutShm(_) | Self::Io { .. })
    }

    /// Whether reading the file's first bytes may tell more than SQLite did.
    pub(super) fn may_be_sharpened(&self) -> bool {
        matches!(self, Self::NotSqlite(_) | Self::Corrupt { .. })
    }

    /// The trouble behind an error of SQLite's. `limit` is the time the read was given.
    pub(super) fn of(path: &Path, error: &rusqlite::Error, limit: Duration) -> Self {
        let path = path.to_owned();
        let detail = words(error);
        let Some((primary, extended)) = codes(error) else {
            return Self::Other { path, code: 0, detail };
        };
        match (primary, extended) {
            (_, ffi::SQLITE_READONLY_ROLLBACK) => Self::HotJournal(path),
            (_, ffi::SQLITE_READONLY_RECOVERY | ffi::SQLITE_READONLY_CANTINIT) => Self::WalIndex(path),
            (ffi::SQLITE_BUSY | ffi::SQLITE_LOCKED | ffi::SQLITE_PROTOCOL, _) => Self::Locked { path, waited: limit },
            (ffi::SQLITE_INTERRUPT, _) => Self::OutOfTime { path, limit },
            (ffi::SQLITE_NOTADB, _) => Self::NotSqlite(path),
            (ffi::SQLITE_CORRUPT, _) => Self::Corrupt { path, detail },
            (ffi::SQLITE_IOERR | ffi::SQLITE_CANTOPEN | ffi::SQLITE_PERM | ffi::SQLITE_FULL, _) => {
                Self::Io { path, detail }
            }
            _ => Self::Other { path, code: extended, detail },
        }
    }
}

/// SQLite's primary and extended result codes, when the error is SQLite's.
pub(super) fn codes(error: &rusqlite::Error) -> Option<(i32, i32)> {
    match error {
        rusqlite::Error::SqliteFailure(error, _) | rusqlite::Error::SqlInputError { error, .. } => {
            Some((error.extended_code & 0xff, error.extended_code))
        }
        _ => None,
    }
}

/// SQLite's own message, safe to print.
pub(super) fn words(error: &rusqlite::Error) -> String {
    let text = match error {
        rusqlite::Error::SqliteFailure(_, Some(message)) | rusqlite::Error::SqlInputError { msg: message, .. } => {
            message.clone()
        }
        other => other.to_string(),
    };
    printable(&text, 500)
}

fn shown(path: &Path) -> String {
    printable(&path.to_string_lossy(), 4096)
}

fn millis(time: Duration) -> String {
    format!("{} ms", time.as_millis())
}
