//! Opens a database so that looking changes nothing, and says how it was opened.
//!
//! There are three ways, and each database allows one of them:
//! - *still*: no write-ahead log in use. `immutable=1` opens nothing but the file itself and takes no lock; a plain
//!   `mode=ro` would make a `-wal` and a `-shm` and leave them behind. What was read counts only if nobody wrote meanwhile.
//! - *wal*: a log in use. `readonly_shm=1` reads the log's index without making or repairing it; where its writer was
//!   killed, SQLite builds a private index in memory.
//! - *rollback*: a rollback journal. A still read would show half of a commit, so it is read with locks, which makes no file.
//!
//! The `stat` that decides between them can be overtaken by a writer. `vfs` sees to it that even then nothing is made:
//! SQLite fails to open what is gone, and the look starts over.

use std::{
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags, config::DbConfig};

use crate::{
    connection::authorizer, connection::busy_handler, connection::functions, connection::vfs,
    connection::watchdog::ReadLimiter, error::Error, file::database_files::DatabaseFiles, file::header::MAGIC,
    file::open_handles::OpenHandle,
};
use vitalsign_base::{
    clock::Deadline,
    files::{self, FileKind, Stat, beside},
};

/// How a database is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadMode {
    Immutable,
    Wal,
    Rollback,
    /// Through the log, as one of those who use it.
    Joined,
}

/// Whose SQL a connection runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    /// The checks' own.
    Trusted,
    /// A plugin's: every statement is judged, and values are limited.
    Untrusted,
}

/// An open connection.
pub(crate) struct ReadConnection {
    // Dropped in this order: the database counts as closed only once the connection is.
    pub(crate) conn: Connection,
    _handle: OpenHandle,
    pub(crate) limiter: Arc<ReadLimiter>,
    /// What the authorizer last refused, in words.
    pub(crate) refused: Arc<Mutex<Option<String>>>,
    pub(crate) way: ReadMode,
    pub(crate) trust: Trust,
    pub(crate) database_files: DatabaseFiles,
    /// Whether it is kept for another look when this one is over.
    pub(crate) may_linger: bool,
    wal: PathBuf,
}

/// Opcodes between two looks at the clock: about 5 microseconds, or 20 ms where each one works on the largest value.
const PROGRESS_OPCODES: i32 = 200;

/// Memory that SQLite may take in this whole process: far above some hundred connections with their caches, far below what a
/// statement full of largest values would take. Whoever asks beyond it is told that memory ran out.
const HEAP_LIMIT_BYTES: i64 = 384 * 1024 * 1024;

/// Distinct statements kept prepared on a connection; a plugin has a handful.
const CACHED_STATEMENTS: usize = 32;

/// How long whoever joins the users of a database waits for those who open or close it.
const JOIN_PATIENCE: Duration = Duration::from_secs(10);

/// Where the header says which journal the database has.
const VERSIONS: std::ops::Range<usize> = 18..20;

impl ReadConnection {
    /// Opens the database at `path`.
    pub(crate) fn new(path: &Path, trust: Trust) -> Result<Self, Error> {
        let database_files = DatabaseFiles::of(path)?;
        refuse(&database_files, path)?;
        if database_files.wal_in_use() {
            return Self::connect(path, database_files, ReadMode::Wal, trust);
        }
        let marked_wal = match is_marked_wal(&database_files, path) {
            Ok(marked_wal) => marked_wal,
            // A writer in rollback mode may be half way through a commit just now, so an error may be of the moment.
            Err(_) if database_files.is_too_young() => return Err(Error::Changing(path.to_owned())),
            Err(trouble) => return Err(trouble),
        };
        match marked_wal {
            false => Self::connect(path, database_files, ReadMode::Rollback, trust),
            true if database_files.is_too_young() => Err(Error::Changing(path.to_owned())),
            true if database_files.journal_is_filled() => Err(Error::HotJournal(path.to_owned())),
            true => Self::connect(path, database_files, ReadMode::Immutable, trust),
        }
    }

    /// Opens the database as its own program does, so that writers who come and go do not matter: a log that is not there is
    /// made, with the database's owner, and the last who closes the database folds it in and removes it.
    ///
    /// For long reads only, and only where looking without a trace was overtaken again and again.
    pub(crate) fn joining(path: &Path) -> Result<Self, Error> {
        let database_files = DatabaseFiles::of(path)?;
        refuse(&database_files, path)?;
        database_files.refuse_another_owner(path)?;
        let mut open = Self::connect(path, database_files, ReadMode::Joined, Trust::Trusted)?;
        open.may_linger = false;
        // Whoever closes the database just now has it locked for a moment.
        let ask = || open.conn.pragma_query_value(None, "journal_mode", |row| row.get::<_, String>(0));
        let mode = busy_handler::until(Deadline::after(JOIN_PATIENCE), ask);
        let mode = mode.map_err(|error| Error::of(path, &error, JOIN_PATIENCE))?;
        open.way = if mode == "wal" { ReadMode::Joined } else { ReadMode::Rollback };
        Ok(open)
    }

    /// Opens a private copy, which nobody writes to and which messages call `shown`.
    pub(crate) fn private(path: &Path, shown: &Path) -> Result<Self, Error> {
        let database_files = DatabaseFiles::of(path)?;
        refuse(&database_files, shown)?;
        Self::connect(shown, database_files, ReadMode::Immutable, Trust::Trusted)
    }

    fn connect(path: &Path, database_files: DatabaseFiles, way: ReadMode, trust: Trust) -> Result<Self, Error> {
        let seat = OpenHandle::take(database_files.database.id);
        let options = match way {
            ReadMode::Immutable => "?mode=ro&immutable=1",
            ReadMode::Wal | ReadMode::Rollback => "?mode=ro&readonly_shm=1",
            ReadMode::Joined => "?mode=rw",
        };
        let uri = format!("file:{}{options}", escaped(&database_files.real));
        let rights =
            if way == ReadMode::Joined { OpenFlags::SQLITE_OPEN_READ_WRITE } else { OpenFlags::SQLITE_OPEN_READ_ONLY };
        let flags = rights | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let limiter = ReadLimiter::new();
        let refused = Arc::default();
        let opened = if way == ReadMode::Joined { open_joining(&uri, flags) } else { open_looking(&uri, flags) };
        let made = opened.and_then(|mut conn| {
            harden(&mut conn, &limiter, trust)?;
            // The last to leave tidies up, or the log would stay behind.
            conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, way != ReadMode::Joined)?;
            if trust == Trust::Untrusted {
                authorizer::install_authorizer(&mut conn, &refused)?;
            }
            Ok(conn)
        });
        let conn = made.map_err(|error| Error::of(path, &error, Duration::ZERO))?;
        limiter.attach(conn.get_interrupt_handle());
        let wal = beside(&database_files.real, "-wal");
        Ok(Self { conn, _handle: seat, limiter, refused, way, trust, database_files, may_linger: true, wal })
    }

    /// Whether the connection, which was idle, still reads what it would read if it were opened now.
    pub(crate) fn is_current(&self, path: &Path) -> bool {
        match self.way {
            // What a still connection reads is judged after each read anyway.
            ReadMode::Immutable => true,
            // A commit in rollback mode may also have been a switch to WAL mode, so any change closes the connection.
            ReadMode::Rollback | ReadMode::Joined => self.stood_still(path),
            // The connection holds both files open, so neither's number can have been given to another file.
            ReadMode::Wal => {
                let same = |path: &Path, before: Option<Stat>| {
                    files::stat(path).is_ok_and(|now| now.map(|now| now.id) == before.map(|before| before.id))
                };
                same(path, Some(self.database_files.database)) && same(&self.wal, self.database_files.wal)
            }
        }
    }

    /// Whether what was just read counts: always, when it was read with locks or through the log.
    pub(crate) fn read_counts(&self, path: &Path) -> bool {
        self.way != ReadMode::Immutable || self.stood_still(path)
    }

    /// Whether nobody has written since the database was opened, as far as `stat` can tell; no log was in use then.
    fn stood_still(&self, path: &Path) -> bool {
        let database = files::stat(path).ok().flatten();
        database.is_some_and(|database| database.same_content(&self.database_files.database))
            && match files::stat(&self.wal) {
                Ok(None) => true,
                Ok(Some(wal)) => wal.bytes == 0 && DatabaseFiles::of(path).is_ok_and(|now| !now.wal_in_use()),
                Err(_) => false,
            }
    }

    /// The trouble behind "cannot open" on a database with a log, which SQLite says in one word for several things.
    pub(crate) fn explained(&self, path: &Path, trouble: &Error) -> Option<Error> {
        if self.way == ReadMode::Immutable || !matches!(trouble, Error::Io { .. }) {
            return None;
        }
        match DatabaseFiles::of(path) {
            Ok(now) if now.wal.is_some() && now.shm.is_none() => Some(Error::WalWithoutShm(path.to_owned())),
            Ok(_) if self.is_current(path) => None,
            _ => Some(Error::Changing(path.to_owned())),
        }
    }
}

/// Refuses what can be refused without opening anything.
fn refuse(database_files: &DatabaseFiles, path: &Path) -> Result<(), Error> {
    refuse_special_files(database_files, path)?;
    database_files.refuse_the_unreadable(path)
}

/// Refuses a database beside which something else lies where SQLite keeps a file: opening a pipe or a device can block for ever.
pub(crate) fn refuse_special_files(database_files: &DatabaseFiles, path: &Path) -> Result<(), Error> {
    let beside = [("-wal", database_files.wal), ("-shm", database_files.shm), ("-journal", database_files.journal)];
    match beside.into_iter().find(|(_, file)| file.is_some_and(|file| file.kind != FileKind::File)) {
        Some((suffix, _)) => Err(Error::SpecialFile { path: path.to_owned(), suffix }),
        None => Ok(()),
    }
}

/// Whether the header says that the database is in WAL mode.
///
/// Bytes 18 and 19 are the file format's write and read versions: 1 is a rollback journal, 2 a write-ahead log.
pub(crate) fn is_marked_wal(database_files: &DatabaseFiles, path: &Path) -> Result<bool, Error> {
    let head = vfs::head(&database_files.real, VERSIONS.end).map_err(|code| {
        let error = rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None);
        Error::of(path, &error, Duration::ZERO)
    })?;
    match head.get(VERSIONS) {
        Some(versions) if head.starts_with(MAGIC) => Ok(versions.contains(&2)),
        _ => Err(Error::NotSqlite(path.to_owned())),
    }
}

/// Opens through the file system that makes nothing.
#[expect(clippy::disallowed_methods, reason = "this room is where databases are opened")]
fn open_looking(uri: &str, flags: OpenFlags) -> rusqlite::Result<Connection> {
    vfs::register().map_err(|code| {
        let said = "no file system to look through".to_owned();
        rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), Some(said))
    })?;
    Connection::open_with_flags_and_vfs(uri, flags, vfs::NAME)
}

/// Opens as any program does.
#[expect(clippy::disallowed_methods, reason = "this room is where databases are opened")]
fn open_joining(uri: &str, flags: OpenFlags) -> rusqlite::Result<Connection> {
    Connection::open_with_flags(uri, flags)
}

/// Nothing on this connection writes, runs code from the schema, or outlives its allowance.
fn harden(conn: &mut Connection, limiter: &Arc<ReadLimiter>, trust: Trust) -> rusqlite::Result<()> {
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    conn.set_prepared_statement_cache_capacity(CACHED_STATEMENTS);
    conn.execute_batch("PRAGMA query_only = ON")?;
    conn.pragma_update(None, "hard_heap_limit", HEAP_LIMIT_BYTES)?;
    if trust == Trust::Untrusted {
        functions::install(conn)?;
    }
    conn.busy_handler(Some(busy_handler::on_busy))?;
    let limiter = Arc::clone(limiter);
    conn.progress_handler(PROGRESS_OPCODES, Some(move || limiter.is_used_up()))
}

/// The path as part of a URI: everything that is not plainly harmless is escaped byte by byte.
fn escaped(path: &Path) -> String {
    let mut out = String::new();
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(*byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Scene;

    #[test]
    fn a_log_that_is_gone_is_not_made_anew() {
        let scene = Scene::with("PRAGMA journal_mode = wal; CREATE TABLE t(a)");
        let database_files = DatabaseFiles::of(&scene.path()).unwrap();
        assert_eq!(database_files.wal, None);
        let before = scene.listing();
        // As when the last writer closes the database right after the `stat` that found a log.
        let open = ReadConnection::connect(&scene.path(), database_files, ReadMode::Wal, Trust::Trusted).unwrap();
        open.conn.query_row("SELECT count(*) FROM t", [], |row| row.get::<_, i64>(0)).unwrap_err();
        drop(open);
        assert_eq!(scene.listing(), before);
    }

    #[test]
    fn paths_are_escaped_for_a_uri() {
        use std::os::unix::ffi::OsStrExt as _;
        let path = Path::new(std::ffi::OsStr::from_bytes(b"/a b/c?d#e%f\xff.db"));
        assert_eq!(escaped(path), "/a%20b/c%3Fd%23e%25f%FF.db");
    }
}
