//! What can be asked of a database inside one read transaction, in typed questions.
//!
//! Names that come from outside are looked up in `sqlite_schema` and quoted before they stand in SQL.

use std::{
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use rusqlite::{OptionalExtension as _, Params, Row};

use crate::{
    connection::open::{ReadConnection, ReadMode},
    connection::vfs,
    error::Error,
    file::database_files::DatabaseFiles,
};
use vitalsign_base::clock::Deadline;

/// The time between two questions whether a long read is still wanted.
const ASK_EVERY: Duration = Duration::from_millis(50);

/// A database as it was at one moment.
pub struct Snapshot<'a> {
    open: &'a ReadConnection,
    path: &'a Path,
    until: Deadline,
    limit: Duration,
}

impl<'a> Snapshot<'a> {
    pub(crate) fn new(open: &'a ReadConnection, path: &'a Path, until: Deadline, limit: Duration) -> Self {
        Self { open, path, until, limit }
    }

    /// Where it lies, and what was beside it when it was opened.
    pub(crate) fn database_files(&self) -> &DatabaseFiles {
        &self.open.database_files
    }

    /// The share of its time that the read still has: 1 at its start, 0 at its end.
    pub(crate) fn time_left(&self) -> f64 {
        self.until.remaining().as_secs_f64() / self.limit.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    /// Reads for at most `limit`, within what the read as a whole may take. Gives whether it got to its end in that time.
    pub(crate) fn within(&self, limit: Duration, read: impl FnOnce() -> Result<(), Error>) -> Result<bool, Error> {
        let whole = self.open.limiter.shorten(limit);
        let ended = read();
        if let Some(whole) = whole {
            self.open.limiter.arm(whole);
        }
        match ended {
            Err(Error::OutOfTime { .. }) if !self.open.limiter.is_used_up() => Ok(false),
            ended => ended.map(|()| true),
        }
    }

    /// Reads until `is_cancelled` says so, which is asked from a thread of its own; the read then ends as one that is out of time.
    pub fn until<T>(&self, is_cancelled: &(dyn Fn() -> bool + Sync), read: impl FnOnce() -> T) -> T {
        let (limiter, is_over) = (&self.open.limiter, AtomicBool::new(false));
        thread::scope(|scope| {
            let asks = || {
                while !is_over.load(Ordering::SeqCst) {
                    if is_cancelled() {
                        // Again and again: whoever reads may have given itself more time meanwhile.
                        drop(limiter.shorten(Duration::ZERO));
                    }
                    thread::park_timeout(ASK_EVERY);
                }
            };
            // Without a thread the read goes on to its end.
            let asking = thread::Builder::new().name("cancel".to_owned()).spawn_scoped(scope, asks);
            let found = read();
            is_over.store(true, Ordering::SeqCst);
            if let Ok(asking) = asking {
                asking.thread().unpark();
            }
            found
        })
    }

    /// The trouble behind an error that came up in this read.
    pub(crate) fn convert_error(&self, error: &rusqlite::Error) -> Error {
        Error::of(self.path, error, self.limit)
    }

    /// The trouble with a database whose bytes do not fit together.
    pub(crate) fn corrupt(&self, detail: &str) -> Error {
        Error::Corrupt { path: self.path.to_owned(), detail: detail.to_owned() }
    }

    /// All rows of a statement.
    pub(crate) fn rows<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, Error> {
        let run = || self.open.conn.prepare_cached(sql)?.query_map(params, read)?.collect::<rusqlite::Result<Vec<T>>>();
        run().map_err(|error| self.convert_error(&error))
    }

    /// The first row of a statement, when there is one.
    pub(crate) fn row<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, Error> {
        let run = || self.open.conn.prepare_cached(sql)?.query_row(params, read).optional();
        run().map_err(|error| self.convert_error(&error))
    }

    /// Hands each row of a statement that is used once to `each`, which says whether it wants another.
    pub(crate) fn each(
        &self,
        sql: &str,
        mut each: impl FnMut(&Row<'_>) -> rusqlite::Result<bool>,
    ) -> Result<(), Error> {
        let mut run = || {
            let mut statement = self.open.conn.prepare(sql)?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                if !each(row)? {
                    break;
                }
            }
            Ok(())
        };
        run().map_err(|error| self.convert_error(&error))
    }

    /// Has every collation that this process does not know take bytes as they are.
    pub(crate) fn register_missing_collations(&self) -> Result<(), Error> {
        let stand_in = |conn: &rusqlite::Connection, name: &str| conn.create_collation(name, |a, b| a.cmp(b));
        self.open.conn.collation_needed(stand_in).map_err(|error| self.convert_error(&error))
    }

    /// A statement that is used once.
    pub(crate) fn prepare(&self, sql: &str) -> Result<rusqlite::Statement<'a>, Error> {
        self.open.conn.prepare(sql).map_err(|error| self.convert_error(&error))
    }

    /// The database's path as it was given.
    pub(crate) fn path(&self) -> &Path {
        self.path
    }

    /// Whether what was read so far counts: nobody has written where that would show in it.
    pub(crate) fn counts_so_far(&self) -> bool {
        self.open.read_counts(self.path)
    }

    pub(crate) fn number(&self, sql: &str) -> Result<i64, Error> {
        Ok(self.row(sql, [], |row| row.get(0))?.unwrap_or_default())
    }

    /// The journal mode in SQLite's words: `wal`, or `delete` for every kind of rollback journal.
    ///
    /// The kinds of rollback journal differ only inside the connection that writes, so they cannot be told apart here.
    ///
    /// # Errors
    /// Any [`Error`] of reading, as for every question below.
    pub fn journal_mode(&self) -> Result<String, Error> {
        Ok(match self.open.way {
            ReadMode::Immutable | ReadMode::Wal | ReadMode::Joined => "wal".to_owned(),
            ReadMode::Rollback => "delete".to_owned(),
        })
    }

    /// The first 136 bytes of the log's index (the `-shm` file) as they are now, in the machine's byte order: two headers of 48
    /// bytes, then what is known of checkpoints and readers. `None` where the database is not read through an index that is shared.
    #[must_use]
    pub fn wal_index_head(&self) -> Option<[u8; vfs::INDEX_HEAD_BYTES]> {
        vfs::index_head(&self.open.conn)
    }

    /// `PRAGMA user_version`.
    ///
    /// # Errors
    /// Any [`Error`] of reading.
    pub fn user_version(&self) -> Result<i64, Error> {
        self.number("PRAGMA user_version")
    }

    /// The size of a page in bytes.
    ///
    /// # Errors
    /// Any [`Error`] of reading.
    pub fn page_bytes(&self) -> Result<u64, Error> {
        Ok(self.number("PRAGMA page_size")?.unsigned_abs())
    }

    /// The size of the database in pages.
    ///
    /// # Errors
    /// Any [`Error`] of reading.
    pub fn page_count(&self) -> Result<u64, Error> {
        Ok(self.number("PRAGMA page_count")?.unsigned_abs())
    }

    /// The names of all tables and views, SQLite's own left out, in name order.
    ///
    /// # Errors
    /// Any [`Error`] of reading.
    pub fn tables(&self) -> Result<Vec<String>, Error> {
        self.rows(
            "SELECT name FROM sqlite_schema WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' \
             ORDER BY name",
            [],
            |row| text(row, 0),
        )
    }

    /// Whether there is a table or view of this name; as everywhere in SQLite, case does not matter.
    ///
    /// # Errors
    /// Any [`Error`] of reading.
    pub fn has_table(&self, name: &str) -> Result<bool, Error> {
        let sql = "SELECT 1 FROM sqlite_schema WHERE type IN ('table', 'view') AND name = ?1 COLLATE NOCASE";
        Ok(self.row(sql, [name], |_| Ok(()))?.is_some())
    }

    /// Whether there is a table of this name; a view is none.
    ///
    /// # Errors
    /// Any [`Error`] of reading.
    pub fn is_table(&self, name: &str) -> Result<bool, Error> {
        let sql = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?1 COLLATE NOCASE";
        Ok(self.row(sql, [name], |_| Ok(()))?.is_some())
    }

    /// Whether there is a view of this name.
    ///
    /// # Errors
    /// Any [`Error`] of reading.
    pub fn is_view(&self, name: &str) -> Result<bool, Error> {
        let sql = "SELECT 1 FROM sqlite_schema WHERE type = 'view' AND name = ?1 COLLATE NOCASE";
        Ok(self.row(sql, [name], |_| Ok(()))?.is_some())
    }

    /// The names of a table's columns, in their order; none when there is no such table.
    ///
    /// # Errors
    /// Any [`Error`] of reading.
    pub fn columns(&self, table: &str) -> Result<Vec<String>, Error> {
        self.rows("SELECT name FROM pragma_table_info(?1)", [table], |row| text(row, 0))
    }

    /// The word that names the rowid of `table`, which a column of the same name hides; `None` when there is no rowid.
    pub(crate) fn rowid_word(&self, table: &str) -> Result<Option<&'static str>, Error> {
        let sql = "SELECT wr FROM pragma_table_list(?1) WHERE schema = 'main' AND type = 'table'";
        if self.row(sql, [table], |row| row.get::<_, bool>(0))? != Some(false) {
            return Ok(None);
        }
        let columns = self.columns(table)?;
        let hidden = |word: &str| columns.iter().any(|column| column.eq_ignore_ascii_case(word));
        Ok(["rowid", "_rowid_", "oid"].into_iter().find(|word| !hidden(word)))
    }
}

/// `name` as an identifier in SQL.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Text from a row; what is not UTF-8 is replaced, what is not text is written as text.
pub(crate) fn text(row: &Row<'_>, column: usize) -> rusqlite::Result<String> {
    use rusqlite::types::ValueRef;
    Ok(match row.get_ref(column)? {
        ValueRef::Null => String::new(),
        ValueRef::Integer(number) => number.to_string(),
        ValueRef::Real(number) => number.to_string(),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => String::from_utf8_lossy(bytes).into_owned(),
    })
}
