//! All of a database out of one snapshot: its pages, byte for byte, and the rows of a table.
//!
//! Pages come from `sqlite_dbpage`, which gives them as the snapshot has them: what is committed in the write-ahead log is
//! folded in, and the page that holds SQLite's lock bytes is zeros. Knows no archive.

use rusqlite::types::ValueRef;

use crate::{
    error::Error,
    read::snapshot::{Snapshot, quoted},
};

/// After so many pages it is seen whether a writer has come between: a few times a second.
const PAGES_BETWEEN_LOOKS: u64 = 10_000;

/// What a database says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Bytes a page.
    pub page_bytes: u64,
    /// Pages.
    pub pages: u64,
    /// `PRAGMA user_version`.
    pub user_version: i64,
    /// `PRAGMA application_id`.
    pub application_id: i64,
    /// `wal`, or `delete` for every kind of rollback journal.
    pub journal_mode: String,
    /// `UTF-8`, `UTF-16le` or `UTF-16be`.
    pub encoding: String,
    /// `PRAGMA auto_vacuum`: 0 none, 1 full, 2 incremental.
    pub auto_vacuum: i64,
}

/// A value as SQLite stores it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cell<'a> {
    /// NULL.
    Null,
    /// A 64-bit integer.
    Integer(i64),
    /// A floating-point number; never NaN, which SQLite stores as NULL.
    Real(f64),
    /// Text in UTF-8, or bytes that claim to be.
    Text(&'a [u8]),
    /// Bytes.
    Blob(&'a [u8]),
}

impl<'a> From<ValueRef<'a>> for Cell<'a> {
    fn from(value: ValueRef<'a>) -> Self {
        match value {
            ValueRef::Null => Self::Null,
            ValueRef::Integer(number) => Self::Integer(number),
            ValueRef::Real(number) => Self::Real(number),
            ValueRef::Text(bytes) => Self::Text(bytes),
            ValueRef::Blob(bytes) => Self::Blob(bytes),
        }
    }
}

impl Snapshot<'_> {
    /// What the database says of itself.
    ///
    /// # Errors
    /// Any [`Error`] of reading, as for every question below.
    pub fn facts(&self) -> Result<Facts, Error> {
        Ok(Facts {
            page_bytes: self.page_bytes()?,
            pages: self.page_count()?,
            user_version: self.user_version()?,
            application_id: self.number("PRAGMA application_id")?,
            journal_mode: self.journal_mode()?,
            encoding: self.row("PRAGMA encoding", [], |row| row.get(0))?.unwrap_or_default(),
            auto_vacuum: self.number("PRAGMA auto_vacuum")?,
        })
    }

    /// The number of rows in a table, counted; `None` when there is none of this name.
    ///
    /// # Errors
    /// Any [`Error`] of reading.
    pub fn counted(&self, table: &str) -> Result<Option<u64>, Error> {
        if !self.is_table(table)? {
            return Ok(None);
        }
        let counted = |how: &str| self.number(&format!("SELECT count(*) FROM {}{how}", quoted(table)));
        let rows = match counted("") {
            // SQLite counts the entries of an index where there is one, and the rows may be intact without it.
            Err(Error::Corrupt { .. }) => counted(" NOT INDEXED"),
            rows => rows,
        };
        Ok(Some(rows?.unsigned_abs()))
    }

    /// Hands every page to `each`, in order, until it says `false`.
    ///
    /// # Errors
    /// Any [`Error`] of reading; [`Error::Changing`] when a writer has come between.
    pub fn pages(&self, mut each: impl FnMut(&[u8]) -> bool) -> Result<(), Error> {
        let (page_bytes, pages) = (self.page_bytes()?, self.page_count()?);
        let failed = |error: rusqlite::Error| self.convert_error(&error);
        let mut read = 0;
        let mut statement = self.prepare("SELECT data FROM sqlite_dbpage")?;
        let mut rows = statement.query([]).map_err(failed)?;
        while let Some(row) = rows.next().map_err(failed)? {
            let page = row.get_ref(0).map_err(failed)?.as_bytes().unwrap_or_default();
            if page.len() as u64 != page_bytes {
                return Err(self.corrupt(&format!("page {} cannot be read", read + 1)));
            }
            read += 1;
            if !each(page) {
                return Ok(());
            }
            if read % PAGES_BETWEEN_LOOKS == 0 && !self.counts_so_far() {
                return Err(Error::Changing(self.path().to_owned()));
            }
        }
        if read == pages { Ok(()) } else { Err(self.corrupt(&format!("{read} of {pages} pages could be read"))) }
    }

    /// Why a table or view cannot be read as a whole; `None` when it can.
    #[must_use]
    pub fn unreadable(&self, table: &str) -> Option<Error> {
        self.prepare(&all_rows(table)).err()
    }

    /// Hands every row of a table or view to `each`, with the names of its columns, until it says `false`.
    ///
    /// # Errors
    /// Any [`Error`] of reading.
    pub fn all_rows(&self, table: &str, mut each: impl FnMut(&[String], &[Cell<'_>]) -> bool) -> Result<(), Error> {
        let failed = |error: rusqlite::Error| self.convert_error(&error);
        let mut statement = self.prepare(&all_rows(table))?;
        let names: Vec<String> = statement.column_names().map(str::to_owned).collect();
        let mut rows = statement.query([]).map_err(failed)?;
        while let Some(row) = rows.next().map_err(failed)? {
            let cells: rusqlite::Result<Vec<Cell<'_>>> =
                (0..names.len()).map(|column| row.get_ref(column).map(Cell::from)).collect();
            if !each(&names, &cells.map_err(failed)?) {
                return Ok(());
            }
        }
        Ok(())
    }
}

fn all_rows(table: &str) -> String {
    format!("SELECT * FROM {}", quoted(table))
}
