//! Brings a database that nobody has open into its one file, as its own program would at its next start.
//!
//! The one place that writes to a user's database: what is committed in its write-ahead log goes into the file, a hot journal
//! is rolled back, and both are removed by SQLite. Nothing else changes, and a crash half way changes nothing.

use std::{path::Path, time::Duration};

use rusqlite::{Connection, OpenFlags, config::DbConfig, ffi};

use super::error::Error;

/// Settles the database at `path`, a real path, while nobody else has it open.
///
/// # Errors
/// [`Error::Locked`] while another connection is there, or any other trouble: nothing of what was committed is lost then.
pub fn checkpoint(path: &Path) -> Result<(), Error> {
    let run = || -> rusqlite::Result<()> {
        let conn = open(path)?;
        conn.busy_timeout(Duration::ZERO)?;
        conn.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
        // Where this fails half way, closing must not throw away a log that could not be read.
        conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        // In this mode the first access takes a lock that no other connection can hold at the same time, an idle one neither.
        conn.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
        conn.execute_batch("BEGIN EXCLUSIVE; SELECT count(*) FROM sqlite_schema; COMMIT;")?;
        let (busy, left): (bool, bool) =
            conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| Ok((row.get(0)?, row.get::<_, i64>(1)? > 0)))?;
        if busy || left {
            return Err(rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_BUSY), None));
        }
        conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
        conn.close().map_err(|(_, error)| error)
    };
    run().map_err(|error| Error::of(path, &error, Duration::ZERO))
}

#[expect(clippy::disallowed_methods, reason = "this room is where databases are opened")]
fn open(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    Connection::open_with_flags(path, flags)
}
