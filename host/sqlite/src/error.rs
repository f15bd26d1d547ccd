//! Why a database could not be looked at, or is bad: one variant and one exact sentence for each.
//!
//! Knows nothing of how it was looked at; `damage` sharpens what SQLite only calls corrupt.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::ffi;

use vitalsign_base::value::{bytes, printable};

/// Why a look at a database failed. `Display` is one sentence that names the file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is no such file.
    #[error("there is no database at `{}`", shown(.0))]
    Missing(PathBuf),
    /// The path is a directory.
    #[error("`{}` is a directory, not a database", shown(.0))]
    Folder(PathBuf),
    /// The path is a device, a pipe or a socket.
    #[error("`{}` is not a regular file, so it is not a database", shown(.0))]
    NotAFile(PathBuf),
    /// Where SQLite keeps a file beside it lies a directory, a device, a pipe or a socket.
    #[error("`{}{suffix}` is not a regular file, so `{}` cannot be opened: SQLite could wait for it for ever", shown(.path), shown(.path))]
    SpecialFile {
        /// The database.
        path: PathBuf,
        /// `-wal`, `-shm` or `-journal`.
        suffix: &'static str,
    },
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
    /// SQLite cannot make sense of its header or its schema, so nothing in it can be read.
    #[error("`{}` is corrupt, and nothing in it can be read: {detail}", shown(.path))]
    Unintelligible {
        /// The file.
        path: PathBuf,
        /// SQLite's words.
        detail: String,
    },
    /// SQLite found a part of it malformed.
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
    #[error("`{}` kept changing while it was read", shown(.0))]
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
    #[error("SQLite could not read `{}`: {detail} (code {code})", shown(.path))]
    Other {
        /// The file.
        path: PathBuf,
        /// SQLite's extended result code.
        code: i32,
        /// SQLite's words.
        detail: String,
    },
}

impl Error {
    /// A stable word for machines.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Missing(_) => "missing",
            Self::Folder(_) => "directory",
            Self::NotAFile(_) => "not-a-file",
            Self::SpecialFile { .. } => "special-file",
            Self::Unreadable(_) => "unreadable",
            Self::Empty(_) => "empty",
            Self::NotSqlite(_) => "not-sqlite",
            Self::Encrypted(_) => "encrypted",
            Self::Truncated { .. } => "truncated",
            Self::Unintelligible { .. } | Self::Corrupt { .. } => "corrupt",
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
            Self::Missing(_) => "check `dbPath` (or `--db`); if the database was lost, restore a backup; if there was none yet, start the registry once",
            Self::Folder(_) | Self::NotAFile(_) => "let `dbPath` (or `--db`) name the database file itself",
            Self::SpecialFile { .. } => "find out who put it there, and move it away while the registry is stopped",
            Self::Unreadable(_) => "run vitalsign as the registry's user, or let its user read the file and its folder",
            Self::Empty(_) => "start the registry once so that it makes its tables, or restore a backup",
            Self::NotSqlite(_) => "check `dbPath` (or `--db`); if this was the registry, restore a backup",
            Self::Encrypted(_) => "vitalsign reads plain SQLite only; if this was never encrypted, restore a backup",
            Self::Truncated { .. } | Self::Unintelligible { .. } | Self::Corrupt { .. } => {
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
            Self::Changing(_) => {
                "run the check again; if the message stays, find the program that opens and closes the database all the time"
            }
            Self::OutOfTime { .. } => {
                "give vitalsign more processor time, or run the check again when the disk is less busy"
            }
            Self::WalGrew { .. } => "run the check again when less is written, or allow the log to grow more meanwhile",
            Self::Io { .. } => "look for errors of the disk and its mount (`dmesg`), and at the free space",
            Self::Other { .. } => "look the code up at https://sqlite.org/rescode.html",
        }
        .to_owned()
    }

    /// Whether the database was looked at and is bad; otherwise it could not be looked at.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        matches!(
            self,
            Self::Missing(_) | Self::Folder(_) | Self::NotAFile(_) | Self::SpecialFile { .. } | Self::Empty(_)
        ) || self.is_corrupt()
    }

    /// Whether content of the database is lost or wrong, whoever finds it.
    ///
    /// A missing or empty file is not: that is how a registry begins. An encrypted one may be as it should be.
    #[must_use]
    pub fn is_corrupt(&self) -> bool {
        matches!(self, Self::NotSqlite(_) | Self::Truncated { .. } | Self::Unintelligible { .. } | Self::Corrupt { .. })
    }

    /// Whether it goes away when the registry opens the database for writing, and nobody else may do that.
    #[must_use]
    pub fn is_repaired_by_start(&self) -> bool {
        // With another owner of the log only we may not open it as root; the registry opens it, or says why it cannot.
        matches!(self, Self::HotJournal(_) | Self::WalWithoutShm(_) | Self::WalIndex(_) | Self::OtherOwner { .. })
    }

    /// Whether it concerns the database as a whole, so that nothing in it can be read: then every check that reads meets it.
    ///
    /// A malformed part is not of this kind, nor is a read that ran out of its time: the next one may succeed.
    #[must_use]
    pub fn is_of_database(&self) -> bool {
        !matches!(self, Self::Corrupt { .. } | Self::OutOfTime { .. } | Self::WalGrew { .. } | Self::Other { .. })
    }

    /// The trouble of a read that asks for nothing but the schema: what stops it stops every read.
    pub(super) fn of_all_reads(self) -> Self {
        match self {
            Self::Corrupt { path, detail } => Self::Unintelligible { path, detail },
            other => other,
        }
    }

    /// Whether the same look may succeed a moment later.
    pub(super) fn is_passing(&self) -> bool {
        // A writer that opens and closes the database all the time is between its files for a moment each time.
        matches!(self, Self::Changing(_) | Self::WalIndex(_) | Self::WalWithoutShm(_) | Self::Io { .. })
    }

    /// Whether reading the file's first bytes may tell more than SQLite did.
    pub(super) fn may_be_diagnosed(&self) -> bool {
        matches!(self, Self::NotSqlite(_) | Self::Unintelligible { .. } | Self::Corrupt { .. })
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

#[cfg(test)]
mod tests {
    use super::*;

    /// One of each variant. A variant that is added without a line here does not compile.
    fn all() -> Vec<Error> {
        let path = PathBuf::from("r.db");
        let (detail, limit) = ("said SQLite".to_owned(), Duration::from_millis(50));
        let mut all = vec![Error::Missing(path.clone())];
        loop {
            let path = path.clone();
            let detail = detail.clone();
            all.push(match all.last().unwrap() {
                Error::Missing(_) => Error::Folder(path),
                Error::Folder(_) => Error::NotAFile(path),
                Error::NotAFile(_) => Error::SpecialFile { path, suffix: "-wal" },
                Error::SpecialFile { .. } => Error::Unreadable(path),
                Error::Unreadable(_) => Error::Empty(path),
                Error::Empty(_) => Error::NotSqlite(path),
                Error::NotSqlite(_) => Error::Encrypted(path),
                Error::Encrypted(_) => Error::Truncated { path, promised: 8192, found: 4096 },
                Error::Truncated { .. } => Error::Unintelligible { path, detail },
                Error::Unintelligible { .. } => Error::Corrupt { path, detail },
                Error::Corrupt { .. } => Error::Locked { path, waited: limit },
                Error::Locked { .. } => Error::HotJournal(path),
                Error::HotJournal(_) => Error::WalWithoutShm(path),
                Error::WalWithoutShm(_) => Error::WalIndex(path),
                Error::WalIndex(_) => Error::OtherOwner { path, suffix: "-shm" },
                Error::OtherOwner { .. } => Error::Changing(path),
                Error::Changing(_) => Error::OutOfTime { path, limit },
                Error::OutOfTime { .. } => Error::WalGrew { path, limit: 4096 },
                Error::WalGrew { .. } => Error::Io { path, detail },
                Error::Io { .. } => Error::Other { path, code: 1, detail },
                Error::Other { .. } => return all,
            });
        }
    }

    #[test]
    fn what_each_trouble_means() {
        let mut table = String::new();
        for trouble in all() {
            let words = [
                (trouble.is_damage(), "damage"),
                (trouble.is_corrupt(), "corrupt"),
                (trouble.is_repaired_by_start(), "repaired-by-start"),
                (trouble.is_of_database(), "of-database"),
            ];
            let words: Vec<_> = words.into_iter().filter_map(|(holds, word)| holds.then_some(word)).collect();
            let words = if words.is_empty() { "none of these".to_owned() } else { words.join(" ") };
            table += &format!("{}: {words}\n", trouble.code());
        }
        insta::assert_snapshot!(table, @"
        missing: damage of-database
        directory: damage of-database
        not-a-file: damage of-database
        special-file: damage of-database
        unreadable: of-database
        empty: damage of-database
        not-sqlite: damage corrupt of-database
        encrypted: of-database
        truncated: damage corrupt of-database
        corrupt: damage corrupt of-database
        corrupt: damage corrupt
        locked: of-database
        hot-journal: repaired-by-start of-database
        wal-without-shm: repaired-by-start of-database
        wal-recovery: repaired-by-start of-database
        other-owner: repaired-by-start of-database
        changing: of-database
        read-budget: none of these
        wal-growth: none of these
        io: of-database
        sqlite: none of these
        ");
    }

    #[test]
    fn what_each_trouble_says() {
        let said: Vec<_> = all().iter().map(|trouble| format!("{trouble}\n  {}", trouble.hint())).collect();
        insta::assert_snapshot!(said.join("\n"), @"
        there is no database at `r.db`
          check `dbPath` (or `--db`); if the database was lost, restore a backup; if there was none yet, start the registry once
        `r.db` is a directory, not a database
          let `dbPath` (or `--db`) name the database file itself
        `r.db` is not a regular file, so it is not a database
          let `dbPath` (or `--db`) name the database file itself
        `r.db-wal` is not a regular file, so `r.db` cannot be opened: SQLite could wait for it for ever
          find out who put it there, and move it away while the registry is stopped
        `r.db` may not be read by the user that runs vitalsign
          run vitalsign as the registry's user, or let its user read the file and its folder
        `r.db` is empty (0 bytes): it holds no database yet
          start the registry once so that it makes its tables, or restore a backup
        `r.db` is not a SQLite database
          check `dbPath` (or `--db`); if this was the registry, restore a backup
        `r.db` looks encrypted (no SQLite header, and its bytes look random)
          vitalsign reads plain SQLite only; if this was never encrypted, restore a backup
        `r.db` is truncated: its header promises 8.0 KiB, the file has 4.0 KiB
          stop the registry, keep a copy of its files, and restore a backup
        `r.db` is corrupt, and nothing in it can be read: said SQLite
          stop the registry, keep a copy of its files, and restore a backup
        `r.db` is corrupt: said SQLite
          stop the registry, keep a copy of its files, and restore a backup
        `r.db` is locked by another process, and stayed locked for 50 ms
          find the process that holds the lock (`fuser` on the file) and end its transaction
        `r.db` has a hot journal: a write was cut off, and nobody has rolled it back yet
          start the registry: its first access rolls the journal back; never delete the journal
        `r.db` has a `-wal` file without its `-shm` file, and reading it would create one
          start the registry: it makes the file; never delete the `-wal`, it holds committed rows
        `r.db` needs its write-ahead log recovered by a writer before it can be read
          start the registry: its first access recovers the log; never delete the `-wal` or `-shm`
        `r.db` belongs to another user than its `-shm` file, and opening them as root would change that
          run vitalsign as the registry's user, or give the files one owner
        `r.db` kept changing while it was read
          run the check again; if the message stays, find the program that opens and closes the database all the time
        reading `r.db` was stopped after 50 ms, so as not to hold up its write-ahead log
          give vitalsign more processor time, or run the check again when the disk is less busy
        reading `r.db` was stopped: its write-ahead log grew by more than 4.0 KiB meanwhile
          run the check again when less is written, or allow the log to grow more meanwhile
        `r.db` could not be read: said SQLite
          look for errors of the disk and its mount (`dmesg`), and at the free space
        SQLite could not read `r.db`: said SQLite (code 1)
          look the code up at https://sqlite.org/rescode.html
        ");
    }

    #[test]
    fn what_stops_a_read_of_the_schema_stops_every_read() {
        let stays = |trouble: &Error| trouble.clone().of_all_reads() == *trouble;
        let changed: Vec<_> = all().into_iter().filter(|trouble| !stays(trouble)).collect();
        assert!(matches!(changed[..], [Error::Corrupt { .. }]));
    }
}
