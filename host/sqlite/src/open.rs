//! Opens a database so that looking changes nothing, and says how it was opened.
//!
//! There are three ways, and each database allows one of them:
//! - *still*: no write-ahead log in use. `immutable=1` opens nothing but the file itself and takes no lock; a plain
//!   `mode=ro` would make a `-wal` and a `-shm` and leave them behind. What was read counts only if nobody wrote meanwhile.
//! - *wal*: a log in use. `readonly_shm=1` reads the log's index without making or repairing it; where its writer was
//!   killed, SQLite builds a private index in memory.
//! - *rollback*: a rollback journal. A still read would show half of a commit, so it is read with locks, which makes no file.
//!
//! The `stat` that decides between them can be overtaken by a writer. `looking` sees to it that even then nothing is made:
//! SQLite fails to open what is gone, and the look starts over.

use std::{
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags, config::DbConfig};

use super::{
    allow, damage::MAGIC, ground::Ground, linear, looking, occupancy::Seat, trouble::Trouble, waiting, watchdog::Leash,
};
use vitalsign_base::{
    clock::Deadline,
    files::{self, Kind, Stat, beside},
};

/// How a database is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Still,
    Wal,
    Rollback,
    /// Through the log, as one of those who use it.
    Joined,
}

/// Whose SQL a connection runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trust {
    /// The checks' own.
    Ours,
    /// A plugin's: every statement is judged, and values are limited.
    Foreign,
}

/// An open connection.
pub(super) struct Open {
    // Dropped in this order: the database counts as closed only once the connection is.
    pub(super) conn: Connection,
    _seat: Seat,
    pub(super) leash: Arc<Leash>,
    /// What the authorizer last refused, in words.
    pub(super) refused: Arc<Mutex<Option<String>>>,
    pub(super) way: Way,
    pub(super) trust: Trust,
    pub(super) ground: Ground,
    /// Whether it is kept for another look when this one is over.
    pub(super) may_linger: bool,
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

impl Open {
    /// Opens the database at `path`.
    pub(super) fn new(path: &Path, trust: Trust) -> Result<Self, Trouble> {
        let ground = Ground::of(path)?;
        refuse(&ground, path)?;
        if ground.wal_in_use() {
            return Self::connect(path, ground, Way::Wal, trust);
        }
        let marked_wal = match is_marked_wal(&ground, path) {
            Ok(marked_wal) => marked_wal,
            // A writer in rollback mode may be half way through a commit just now, so an error may be of the moment.
            Err(_) if ground.is_too_young() => return Err(Trouble::Changing(path.to_owned())),
            Err(trouble) => return Err(trouble),
        };
        match marked_wal {
            false => Self::connect(path, ground, Way::Rollback, trust),
            true if ground.is_too_young() => Err(Trouble::Changing(path.to_owned())),
            true if ground.journal_is_filled() => Err(Trouble::HotJournal(path.to_owned())),
            true => Self::connect(path, ground, Way::Still, trust),
        }
    }

    /// Opens the database as its own program does, so that writers who come and go do not matter: a log that is not there is
    /// made, with the database's owner, and the last who closes the database folds it in and removes it.
    ///
    /// For long reads only, and only where looking without a trace was overtaken again and again.
    pub(super) fn joining(path: &Path) -> Result<Self, Trouble> {
        let ground = Ground::of(path)?;
        refuse(&ground, path)?;
        ground.refuse_another_owner(path)?;
        let mut open = Self::connect(path, ground, Way::Joined, Trust::Ours)?;
        open.may_linger = false;
        // Whoever closes the database just now has it locked for a moment.
        let ask = || open.conn.pragma_query_value(None, "journal_mode", |row| row.get::<_, String>(0));
        let mode = waiting::until(Deadline::after(JOIN_PATIENCE), ask);
        let mode = mode.map_err(|error| Trouble::of(path, &error, JOIN_PATIENCE))?;
        open.way = if mode == "wal" { Way::Joined } else { Way::Rollback };
        Ok(open)
    }

    /// Opens a private copy, which nobody writes to and which messages call `shown`.
    pub(super) fn as_it_lies(path: &Path, shown: &Path) -> Result<Self, Trouble> {
        let ground = Ground::of(path)?;
        refuse(&ground, shown)?;
        Self::connect(shown, ground, Way::Still, Trust::Ours)
    }

    fn connect(path: &Path, ground: Ground, way: Way, trust: Trust) -> Result<Self, Trouble> {
        let seat = Seat::take(ground.database.id);
        let options = match way {
            Way::Still => "?mode=ro&immutable=1",
            Way::Wal | Way::Rollback => "?mode=ro&readonly_shm=1",
            Way::Joined => "?mode=rw",
        };
        let uri = format!("file:{}{options}", escaped(&ground.real));
        let rights =
            if way == Way::Joined { OpenFlags::SQLITE_OPEN_READ_WRITE } else { OpenFlags::SQLITE_OPEN_READ_ONLY };
        let flags = rights | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let leash = Leash::new();
        let refused = Arc::default();
        let opened = if way == Way::Joined { open_joining(&uri, flags) } else { open_looking(&uri, flags) };
        let made = opened.and_then(|mut conn| {
            harden(&mut conn, &leash, trust)?;
            // The last to leave tidies up, or the log would stay behind.
            conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, way != Way::Joined)?;
            if trust == Trust::Foreign {
                allow::judge_statements(&mut conn, &refused)?;
            }
            Ok(conn)
        });
        let conn = made.map_err(|error| Trouble::of(path, &error, Duration::ZERO))?;
        leash.tie(conn.get_interrupt_handle());
        let wal = beside(&ground.real, "-wal");
        Ok(Self { conn, _seat: seat, leash, refused, way, trust, ground, may_linger: true, wal })
    }

    /// Whether the connection, which was idle, still reads what it would read if it were opened now.
    pub(super) fn is_current(&self, path: &Path) -> bool {
        match self.way {
            // What a still connection reads is judged after each read anyway.
            Way::Still => true,
            // A commit in rollback mode may also have been a switch to WAL mode, so any change closes the connection.
            Way::Rollback | Way::Joined => self.stood_still(path),
            // The connection holds both files open, so neither's number can have been given to another file.
            Way::Wal => {
                let same = |path: &Path, before: Option<Stat>| {
                    files::stat(path).is_ok_and(|now| now.map(|now| now.id) == before.map(|before| before.id))
                };
                same(path, Some(self.ground.database)) && same(&self.wal, self.ground.wal)
            }
        }
    }

    /// Whether what was just read counts: always, when it was read with locks or through the log.
    pub(super) fn read_counts(&self, path: &Path) -> bool {
        self.way != Way::Still || self.stood_still(path)
    }

    /// Whether nobody has written since the database was opened, as far as `stat` can tell; no log was in use then.
    fn stood_still(&self, path: &Path) -> bool {
        let database = files::stat(path).ok().flatten();
        database.is_some_and(|database| database.same_content(&self.ground.database))
            && match files::stat(&self.wal) {
                Ok(None) => true,
                Ok(Some(wal)) => wal.bytes == 0 && Ground::of(path).is_ok_and(|now| !now.wal_in_use()),
                Err(_) => false,
            }
    }

    /// The trouble behind "cannot open" on a database with a log, which SQLite says in one word for several things.
    pub(super) fn explained(&self, path: &Path, trouble: &Trouble) -> Option<Trouble> {
        if self.way == Way::Still || !matches!(trouble, Trouble::Io { .. }) {
            return None;
        }
        match Ground::of(path) {
            Ok(now) if now.wal.is_some() && now.shm.is_none() => Some(Trouble::WalWithoutShm(path.to_owned())),
            Ok(_) if self.is_current(path) => None,
            _ => Some(Trouble::Changing(path.to_owned())),
        }
    }
}

/// Refuses what can be refused without opening anything.
fn refuse(ground: &Ground, path: &Path) -> Result<(), Trouble> {
    refuse_special_files(ground, path)?;
    ground.refuse_the_unreadable(path)
}

/// Refuses a database beside which something else lies where SQLite keeps a file: opening a pipe or a device can block for ever.
pub(super) fn refuse_special_files(ground: &Ground, path: &Path) -> Result<(), Trouble> {
    let beside = [("-wal", ground.wal), ("-shm", ground.shm), ("-journal", ground.journal)];
    match beside.into_iter().find(|(_, file)| file.is_some_and(|file| file.kind != Kind::File)) {
        Some((suffix, _)) => Err(Trouble::SpecialFile { path: path.to_owned(), suffix }),
        None => Ok(()),
    }
}

/// Whether the header says that the database is in WAL mode.
///
/// Bytes 18 and 19 are the file format's write and read versions: 1 is a rollback journal, 2 a write-ahead log.
pub(super) fn is_marked_wal(ground: &Ground, path: &Path) -> Result<bool, Trouble> {
    let head = looking::head(&ground.real, VERSIONS.end).map_err(|code| {
        let error = rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None);
        Trouble::of(path, &error, Duration::ZERO)
    })?;
    match head.get(VERSIONS) {
        Some(versions) if head.starts_with(MAGIC) => Ok(versions.contains(&2)),
        _ => Err(Trouble::NotSqlite(path.to_owned())),
    }
}

/// Opens through the file system that makes nothing.
#[expect(clippy::disallowed_methods, reason = "this room is where databases are opened")]
fn open_looking(uri: &str, flags: OpenFlags) -> rusqlite::Result<Connection> {
    looking::register().map_err(|code| {
        let said = "no file system to look through".to_owned();
        rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), Some(said))
    })?;
    Connection::open_with_flags_and_vfs(uri, flags, looking::NAME)
}

/// Opens as any program does.
#[expect(clippy::disallowed_methods, reason = "this room is where databases are opened")]
fn open_joining(uri: &str, flags: OpenFlags) -> rusqlite::Result<Connection> {
    Connection::open_with_flags(uri, flags)
}

/// Nothing on this connection writes, runs code from the schema, or outlives its allowance.
fn harden(conn: &mut Connection, leash: &Arc<Leash>, trust: Trust) -> rusqlite::Result<()> {
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    conn.set_prepared_statement_cache_capacity(CACHED_STATEMENTS);
    conn.execute_batch("PRAGMA query_only = ON")?;
    conn.pragma_update(None, "hard_heap_limit", HEAP_LIMIT_BYTES)?;
    if trust == Trust::Foreign {
        linear::install(conn)?;
    }
    conn.busy_handler(Some(waiting::for_lock))?;
    let leash = Arc::clone(leash);
    conn.progress_handler(PROGRESS_OPCODES, Some(move || leash.is_used_up()))
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
        let ground = Ground::of(&scene.path()).unwrap();
        assert_eq!(ground.wal, None);
        let before = scene.listing();
        // As when the last writer closes the database right after the `stat` that found a log.
        let open = Open::connect(&scene.path(), ground, Way::Wal, Trust::Ours).unwrap();
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
