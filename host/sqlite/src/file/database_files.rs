//! The ground that a look stands on: what `stat` says of a database and the files beside it.
//!
//! Opens nothing. Whether the ground moved during a look is decided here and nowhere else.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::error::Error;
use vitalsign_base::{
    clock::{Clock as _, SystemClock},
    files::{self, FileKind, Stat, beside},
};

/// A time stamp younger than this may not change at the next write: the kernel's clock for them ticks every 1 to 10 ms.
const STAMP_TICK_NS: i128 = 20_000_000;

/// A database file and the files that SQLite keeps beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseFiles {
    /// The file itself, symbolic links resolved; its `-wal`, `-shm` and `-journal` lie beside it.
    pub real: PathBuf,
    /// The database.
    pub database: Stat,
    /// Its write-ahead log, when there is one.
    pub wal: Option<Stat>,
    /// The index of the log, when there is one.
    pub shm: Option<Stat>,
    /// Its rollback journal, when there is one.
    pub journal: Option<Stat>,
}

impl DatabaseFiles {
    /// Looks at `path` and beside the file that it leads to.
    pub(crate) fn of(path: &Path) -> Result<Self, Error> {
        let database = match files::stat(path).map_err(|error| io_trouble(path, &error))? {
            None => return Err(Error::Missing(path.to_owned())),
            Some(found) => match found.kind {
                FileKind::File => found,
                FileKind::Folder => return Err(Error::Folder(path.to_owned())),
                FileKind::Other => return Err(Error::NotAFile(path.to_owned())),
            },
        };
        let real = std::fs::canonicalize(path).map_err(|error| io_trouble(path, &error))?;
        let side = |suffix| files::stat(&beside(&real, suffix)).map_err(|error| io_trouble(path, &error));
        Ok(Self { database, wal: side("-wal")?, shm: side("-shm")?, journal: side("-journal")?, real })
    }

    /// Refuses what can be refused without opening anything.
    pub(crate) fn refuse_the_unreadable(&self, path: &Path) -> Result<(), Error> {
        if self.database.bytes == 0 {
            // SQLite deletes the `-wal` and the journal of an empty database, so it must not even see one.
            return Err(Error::Empty(path.to_owned()));
        }
        if !files::may_read(&self.real) {
            return Err(Error::Unreadable(path.to_owned()));
        }
        Ok(())
    }

    /// Refuses to open the database as any program does where that would change the owner of a file: as root SQLite gives its log
    /// and the log's index the owner of the database. A repair, perhaps, but a change all the same.
    pub(crate) fn refuse_another_owner(&self, path: &Path) -> Result<(), Error> {
        let files = [("-wal", &self.wal), ("-shm", &self.shm)];
        let is_other = |side: &Stat| (side.uid, side.gid) != (self.database.uid, self.database.gid);
        match files.into_iter().find(|(_, side)| side.as_ref().is_some_and(is_other)) {
            Some((suffix, _)) if rustix::process::geteuid().is_root() => {
                Err(Error::OtherOwner { path: path.to_owned(), suffix })
            }
            _ => Ok(()),
        }
    }

    /// Whether a write-ahead log may hold content, so that the database must be read through it.
    ///
    /// A log of zero bytes without an index is nobody's: whoever uses a log makes its index, or fills it.
    pub(crate) fn wal_in_use(&self) -> bool {
        self.wal.is_some_and(|wal| wal.bytes > 0 || self.shm.is_some())
    }

    /// Whether the database was written so recently that its time stamp would not show another write.
    pub(crate) fn is_too_young(&self) -> bool {
        let age = SystemClock.now().as_nanosecond() - self.database.modified_ns;
        (0..STAMP_TICK_NS).contains(&age)
    }

    /// Whether the first byte of the journal says that it holds something to roll back.
    ///
    /// SQLite locks the database and its `-shm` but never the journal, so reading it drops no lock.
    pub(crate) fn journal_is_filled(&self) -> bool {
        self.journal.is_some_and(|journal| journal.kind == FileKind::File && journal.bytes > 0)
            && files::read_at(&beside(&self.real, "-journal"), 0, 1)
                .is_ok_and(|head| head.iter().any(|byte| *byte != 0))
    }
}

pub(crate) fn io_trouble(path: &Path, error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::PermissionDenied => Error::Unreadable(path.to_owned()),
        io::ErrorKind::NotFound => Error::Missing(path.to_owned()),
        _ => Error::Io { path: path.to_owned(), detail: error.to_string() },
    }
}
